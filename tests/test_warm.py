"""What is asked ahead, as a blueprint says it; and how asks are counted, told and shown."""

import contextlib
import dataclasses
import os
import select
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator import trust
from orchestrator.core import views
from orchestrator.core.comparison import compare
from orchestrator.core.spec import TeamSpec, WarmSpec
from orchestrator.core.state import SessionState, World, empty_world
from orchestrator.dashboard import model
from orchestrator.dashboard.lines import plain
from orchestrator.locations import SessionPaths, ensure_private, session_paths
from orchestrator.sinks.publish import Publisher
from orchestrator.tally import Tally
from orchestrator.verbs.telling import PATIENCE, Telling
from orchestrator.warming import _files as files_of
from tests.fake_supervisor import agent, session
from tests.projects import ONE, TOOL, Project, write
from tests.sources.test_files import make_spool, running, until

ASKED = '[ask]\ncommand = ["tool", "-p"]\ndialect = "claude"\nmodel = ["--model", "{model}"]\n'


@pytest.fixture
def project(home: Path) -> Project:
    made = Project(home)
    write(made.user / "agents" / "asked.toml", TOOL + ASKED)
    return made


def warm(*items: str) -> str:
    return ONE + f"[ask]\nwarm = [{', '.join(items)}]\n"


# -- the blueprint ---------------------------------------------------------------------------------


def test_an_item_is_text_or_a_table(project: Project) -> None:
    whole = (
        '{ prompt = "Why?", cli = "asked", model = "m", input = ["a.md", "b/c.md"], '
        'context = "git" }'
    )
    team = project.load(warm('"What?"', whole, '"What?"', '{ prompt = "S?", system = "Short." }'))
    assert team.warm == (
        WarmSpec(prompt="What?"),
        WarmSpec(prompt="Why?", cli="asked", model="m", input=("a.md", "b/c.md"), context="git"),
        WarmSpec(prompt="S?", system="Short."),
    )
    assert project.load(ONE).warm == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[ask]\nwram = []\n", "ask.wram: there is no such key (did you mean 'warm'?)"),
        ('[ask]\nwarm = "What?"\n', 'ask.warm: should be a list, not text: write ["What?"]'),
        ("[ask]\nwarm = [7]\n", "ask.warm[0]: should be the prompt as text, or a table"),
        ('[ask]\nwarm = ["a", " "]\n', "ask.warm[1].prompt: is empty: say what is to be asked"),
        ("[ask]\nwarm = [{}]\n", "ask.warm[0].prompt: is missing: add it"),
        (
            '[[ask.warm]]\nprompt = "a"\nmodle = "b"\n',
            "ask.warm[0].modle: there is no such key (did you mean 'model'?)",
        ),
        (
            '[[ask.warm]]\nprompt = "a"\ncontext = "gti"\n',
            "ask.warm[0].context: should be one of 'git' (did you mean 'git'?)",
        ),
        ('[[ask.warm]]\nprompt = "a"\ninput = [""]\n', "ask.warm[0].input[0]: is empty"),
        (
            '[[ask.warm]]\nprompt = "a"\ncli = "tool"\n',
            "ask.warm[0].cli: 'tool' cannot be asked: U/agents/tool.toml has no [ask] table",
        ),
        (
            '[[ask.warm]]\nprompt = "a"\ncli = "askd"\n',
            "ask.warm[0].cli: there is no agent CLI 'askd' (did you mean 'asked'?)",
        ),
        (
            '[[ask.warm]]\nprompt = "a"\ncli = "asked"\nsystem = "s"\n',
            "ask.warm[0].system: the agent CLI 'asked' takes no system when it is asked: remove it",
        ),
    ],
)
def test_what_is_wrong_is_said(project: Project, text: str, sentence: str) -> None:
    assert project.refusal(ONE + text).startswith(f"P/crew.toml: {sentence}")


def test_a_definition_of_the_projects_own_is_never_asked(project: Project) -> None:
    write(project.path / ".crew" / "agents" / "mine.toml", TOOL + ASKED)
    item = '{ prompt = "a", cli = "mine" }'
    said = project.refusal(warm(item))
    assert "ask.warm[0].cli: there is no agent CLI 'mine'" in said
    assert ".crew" not in said
    # Nor in the place of one of the same name that is the user's.
    write(project.path / ".crew" / "agents" / "tool.toml", TOOL + ASKED)
    assert "U/agents/tool.toml has no [ask]" in project.refusal(warm(item.replace("mine", "tool")))


def test_any_change_of_it_asks_for_trust_again_and_is_shown(project: Project) -> None:
    project.load(ONE)
    digests = {project.load(ONE).digest}
    table = '{{ prompt = "{0}", cli = "asked", model = "{1}", input = ["{2}"]{3} }}'
    for values in (
        ("a", "b", "c", ""),
        ("A", "b", "c", ""),
        ("a", "B", "c", ""),
        ("a", "b", "C", ""),
        ("a", "b", "c", ', context = "git"'),
    ):
        digests.add(project.load(warm(table.format(*values))).digest)
    assert len(digests) == 6
    team = project.load(warm('"Why?\\u001b[2J"', table.format("a", "b", "c", ', context = "git"')))
    assert not trust.is_trusted(team)
    lines = list(trust.would_run(team, project.environ).lines())
    first = lines.index("  asks claude ahead: Why?\\x1b[2J")
    assert lines[first + 1 : lines.index("by these files:")] == [
        "  asks asked ahead: a",
        "    model: b",
        "    with the files: c",
        f"    it runs in {project.path}, and may read what is there",
    ]


def test_a_difference_is_told(project: Project) -> None:
    team = project.load(warm('"One?"'))
    world = up(team)
    assert compare(world, project.load(warm('"One?"'))).warm is None
    change = compare(world, project.load(warm('"One?"', '"Two?"'))).warm
    assert change is not None
    assert change.shown == (["One?"], ["One?", "Two?"])
    other = compare(world, project.load(warm('{ prompt = "One?", model = "big" }')))
    assert other.warm is not None
    assert (other.warm.key, other.warm.shown) == ("ask.warm", None)
    assert not other.same


def up(team: TeamSpec) -> World:
    return dataclasses.replace(empty_world("t"), team=team, state=SessionState.UP)


# -- files that questions are about ----------------------------------------------------------------


async def test_an_edited_input_is_told_apart_from_an_edit_of_the_team(tmp_path: Path) -> None:
    both, one = tmp_path / "crew.toml", tmp_path / "one.md"
    both.write_text("a")
    told: list[Path] = []
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        files.watch_edits([both])
        files.watch_inputs([both, one, tmp_path / "no" / "way.md"], told.extend)
        await files.rescan()
        one.write_text("it is there now")
        await until(lambda: told == [one], "the new file")
        assert not seen.events
        both.write_text("b")
        await until(lambda: told == [one, both], "the edited file")
        assert [event.kind for event in seen.events] == ["files_edited"]
        os.utime(one)
        files.watch_inputs([], told.extend)
        await files.rescan()
        one.write_text("other")
        both.write_text("c")
        await until(lambda: len(seen.events) == 2, "the second edit of the team")
        assert told == [one, both]


def test_the_place_of_the_commits_is_found_from_any_working_tree(tmp_path: Path) -> None:
    asked = WarmSpec(prompt="What?", input=("a.md",), context="git")
    own, other = tmp_path / "own", tmp_path / "other"
    (own / ".git").mkdir(parents=True)
    (own / "below").mkdir()
    assert list(files_of(asked, own / "below")) == (
        [own / "below" / "a.md", own / ".git" / "HEAD", own / ".git" / "logs" / "HEAD"]
    )
    other.mkdir()
    (other / ".git").write_text("gitdir: ../own/.git/worktrees/other\n")
    place = other / "../own/.git/worktrees/other"
    assert list(files_of(asked, other))[1:] == [place / "HEAD", place / "logs" / "HEAD"]
    (other / ".git").unlink()
    os.mkfifo(other / ".git")
    assert list(files_of(asked, other)) == [other / "a.md"]


# -- counting --------------------------------------------------------------------------------------


def test_what_is_asked_is_counted() -> None:
    told: list[views.View] = []
    tally = Tally(told.append)
    with tally.asking("a"), tally.asking("b"):
        tally.runs("a")
        assert told[-1] == {**views.ASKS, "running": 1, "waiting": 1}
        tally.ended("a", "ran", 0.0, ahead=False)
        tally.ended("b", "joined", 0.5, ahead=False)
        one = {**views.ASKS, "done": 2, "joined": 1, "saved_usd": 0.5}
        assert told[-1] == one
    assert told[-1] == one
    for outcome in ("hit", "stale", "failed", "refused", "timeout", "absent"):
        tally.ended(outcome, outcome, float("nan"), ahead=False)
    assert told[-1] == {**one, "done": 8, "hits": 2, "failed": 3}
    tally.ended("c", "hit", 1.0, ahead=True)
    assert told[-1] == {**one, "done": 8, "hits": 2, "failed": 3}
    tally.ended("c", "ran", 0.0, ahead=True)
    assert told[-1]["done"] == 9
    with pytest.raises(ValueError, match="'lost' is no outcome"):
        tally.ended("c", "lost", 0.0, ahead=False)


async def test_the_numbers_are_told_when_they_differ() -> None:
    publisher = Publisher(empty_world("t"))
    async with contextlib.aclosing(publisher.watch()) as told:
        assert (await anext(told))["view"]["asks"] == views.ASKS
        publisher.count({**views.ASKS, "done": 1})
        assert (await anext(told))["change"] == {"asks": {**views.ASKS, "done": 1}}
        publisher.count({**views.ASKS, "done": 1})
        publisher.end()
        assert [line async for line in told] == []


@pytest.mark.parametrize(
    ("numbers", "segment"),
    [
        ({}, ""),
        ({"done": 12, "hits": 10, "running": 2}, "asks 12, 83 % from disk, 2 running"),
        ({"done": 1, "failed": 1, "waiting": 3}, "asks 1, 0 % from disk, 3 waiting"),
        ({"running": 1, "waiting": 1}, "asks, 1 running, 1 waiting"),
        ({"done": 12_345, "hits": 12_345}, "asks 12.3k, 100 % from disk"),
    ],
)
def test_the_header_says_so_where_there_is_room(numbers: Mapping[str, int], segment: str) -> None:
    view = session("t", agent("a"), asks={**views.ASKS, **numbers})
    line = plain(model.header(view, None, 120))
    bare = plain(model.header(session("t", agent("a")), None, 120))
    if not segment:
        assert line == bare
    else:
        assert f" · {segment} " in line
        narrow = plain(model.header(view, None, 40))
        assert narrow == plain(model.header(session("t", agent("a")), None, 40))


# -- telling ---------------------------------------------------------------------------------------


class Listener:
    """Listens where a supervisor would; answers nothing."""

    def __init__(self, paths: SessionPaths) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        paths.socket.unlink(missing_ok=True)
        self._socket.bind(str(paths.socket))
        self._socket.listen(8)

    def heard(self) -> bytes:
        """What the next caller says before it leaves."""
        self._socket.settimeout(30)
        caller, _ = self._socket.accept()
        said = b""
        with caller:
            caller.settimeout(30)
            while chunk := caller.recv(4096):
                said += chunk
        return said

    def was_called(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        self._socket.close()


def place(name: str, root: Path) -> SessionPaths:
    """A session whose team works in `root`."""
    paths = session_paths(name)
    for directory in (paths.root.parent, paths.root):
        ensure_private(directory)
    paths.root_link.symlink_to(root)
    return paths


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory below a project's."""
    directory = home / "project" / "below"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)
    return directory


def hit(environ: Mapping[str, str], listener: Listener) -> bytes:
    """What is said of an answer from disk."""
    heard: list[bytes] = []
    thread = threading.Thread(target=lambda: heard.append(listener.heard()))
    thread.start()
    Telling(environ).ended("hit", 0.5)
    thread.join()
    return heard[0]


HIT = b'"state": "ended", "outcome": "hit", "saved_usd": 0.5}\n'


def test_the_session_of_the_nearest_directory_is_told(here: Path, home: Path) -> None:
    far, near = place("far", home), place("near", here.parent)
    with contextlib.closing(Listener(far)) as outer, contextlib.closing(Listener(near)) as inner:
        assert hit({}, inner).endswith(HIT)
        assert hit({"CREW_SESSION": "far"}, outer).endswith(HIT)
    # It is down: the outer one is not meant.
    with contextlib.closing(Listener(far)) as outer:
        near.socket.unlink()
        Telling({}).ended("hit", None)
        assert not outer.was_called()


@pytest.mark.parametrize("environ", [{}, {"CREW_SESSION": "none"}, {"CREW_SESSION": "no/name"}])
def test_without_a_session_nothing_is_said(here: Path, environ: dict[str, Any]) -> None:
    telling = Telling(environ)
    telling.waits()
    telling.runs()
    telling.ended("ran", None)
    assert here.is_dir()


def test_one_that_does_not_accept_is_not_waited_for(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = place("busy", here)
    waited: list[float | None] = []
    timed = socket.socket.settimeout

    def settimeout(self: socket.socket, seconds: float | None) -> None:
        waited.append(seconds)
        timed(self, seconds)

    with contextlib.closing(Listener(paths)):
        monkeypatch.setattr(socket.socket, "settimeout", settimeout)
        telling = Telling({})
        telling.waits()
        telling.ended("ran", None)
    assert waited == [PATIENCE]
