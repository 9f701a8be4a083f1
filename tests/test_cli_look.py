"""status, ls, logs, events, why: against a supervisor, and from what is on disk."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import start
from orchestrator.core.state import World
from orchestrator.core.views import view
from orchestrator.errors import SupervisorError
from orchestrator.locations import session_paths
from orchestrator.verbs import render
from tests.cli_support import NOW, crew, ended, known, launched, record, refused
from tests.fake_supervisor import FakeSupervisor, agent, ask, session
from tests.terminal import Terminal

LONG = "reads a very long file and thinks about it for a while " * 5


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    team = (
        agent("boss", "working", doing="tool", role="boss", detail=LONG, queued=2),
        agent("worker-1", "blocked", detail="asks", ask=ask("Run rm?", k1="Yes", k2="No")),
        agent("worker-2", "failed", detail="exit status 1; gave up", pid=None),
        agent("日本", "ready", role="翻訳者", detail="訳した" * 60),
    )
    with FakeSupervisor(session_paths("demo"), *team) as fake:
        yield fake


@pytest.fixture
def world(cwd: Path) -> World:
    return launched(cwd)


# -- what is on disk -------------------------------------------------------------------------------


def test_the_views_of_the_core_can_be_shown(world: World) -> None:
    """The fake's views have the shape of the real ones, and real ones are shown."""
    real = view(world)
    made = session("demo", agent("boss"))
    assert real.keys() == made.keys()
    assert real["agents"][0].keys() == made["agents"][0].keys()
    lines = render.status_lines(real, 80, NOW + 5)
    assert [line.split()[1] for line in lines[2:]] == ["boss", "worker-1", "worker-2"]


def test_a_session_that_is_down_is_read_without_a_supervisor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(ended(world))
    monkeypatch.setattr(start, "supervisor_argv", lambda _: ["/no/such/program"])
    ran = crew("status")
    assert ran.out.startswith("demo is down · 3 agents · in /")
    assert json.loads(crew("status", "--json").out)["supervisor"] is None
    assert json.loads(crew("ls", "--json").out)[0] == {
        "session": "demo",
        "state": "down",
        "supervised": False,
        "agents": 3,
        "need_you": 0,
        "root": world.team.root if world.team else None,
        "problem": None,
    }
    refused(
        crew("send", "boss", "hi"),
        2,
        "session demo is down: `crew restore demo` brings its agents back",
    )
    assert crew("down").out == "demo is down already\n"


def test_a_session_that_is_up_gets_its_supervisor_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = record(world)

    def started(*_: object) -> str:
        fakes.append(FakeSupervisor(paths, agent("fresh")).__enter__())
        return "ready"

    fakes: list[FakeSupervisor] = []
    monkeypatch.setattr("orchestrator.client.start_supervisor", started)
    try:
        assert "fresh" in crew("status").out
        assert len(fakes) == 1
    finally:
        for fake in fakes:
            fake.leave()


def test_what_is_recorded_is_shown_when_no_supervisor_can_be_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(world)

    def fails(*_: object) -> str:
        raise SupervisorError("the file system is read-only")

    monkeypatch.setattr("orchestrator.client.start_supervisor", fails)
    ran = crew("status")
    assert ran.status == 0
    assert ran.out.startswith("demo is unwatched"), "nobody looks after it"
    assert ran.err == "crew: the file system is read-only; this is what was last recorded\n"


def test_a_damaged_database_is_left_to_the_supervisor(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = session_paths("demo")
    paths.root.mkdir(parents=True)
    paths.database.write_bytes(b"this is no database" * 99)
    fakes: list[FakeSupervisor] = []

    def started(*_: object) -> str:
        fakes.append(FakeSupervisor(paths, agent("fresh")).__enter__())
        return "ready"

    monkeypatch.setattr("orchestrator.client.start_supervisor", started)
    try:
        assert "fresh" in crew("status").out
    finally:
        for fake in fakes:
            fake.leave()


# -- ls --------------------------------------------------------------------------------------------


def test_ls_lists_what_lives_and_what_cannot_be_read(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    broken = session_paths("broken")
    broken.root.mkdir()
    broken.database.write_bytes(b"this is no database, and long enough to be looked at" * 9)
    lines = crew("ls").out.splitlines()
    assert lines[0].split() == ["SESSION", "STATE", "AGENTS", "NEED", "YOU", "ROOT"]
    assert lines[1].split()[:3] == ["broken", "unknown", "0"]
    assert str(broken.database) in lines[1]
    assert lines[2].split() == ["demo", "up", "4", "2", "/srv/project"]


def test_ls_shows_who_lost_its_supervisor_and_what_to_type(
    fake: FakeSupervisor, world: World
) -> None:
    known("ended", "down")
    record(dataclasses.replace(world, session="alone"))
    lines = crew("ls").out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["alone", "unwatched"],
        ["demo", "up"],
        ["ended", "down"],
    ]
    assert lines[4:] == [
        "",
        "alone has no supervisor now; any command about it brings one back, such as",
        "    crew status -s alone",
    ], "the blueprint in this directory has another name"
    Path("crew.toml").unlink()
    assert crew("ls").out.endswith("\n    crew status\n"), "found by its directory"
    states = {one["session"]: one for one in json.loads(crew("ls", "--json").out)}
    assert (states["alone"]["state"], states["alone"]["supervised"]) == ("up", False)


def test_ls_without_a_session(cwd: Path) -> None:
    assert crew("ls").out == "no session yet: `crew up` starts one\n"
    assert json.loads(crew("ls", "--json").out) == []


# -- logs ------------------------------------------------------------------------------------------


def test_logs(fake: FakeSupervisor) -> None:
    fake.handlers["logs"] = lambda request: {"text": f"{request['lines']} lines\n\x1b[1mlast\n\n"}
    assert crew("logs", "boss", "-n", "7").out == "7 lines\nlast\n"
    assert fake.asked("logs")[0]["agent"] == "boss"


@pytest.mark.parametrize("columns", [None, "30"])
def test_logs_are_cut_to_a_terminal_and_nowhere_else(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    fake.handlers["logs"] = lambda _: {"text": "x" * 100 + "\nshort"}
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "30")
        assert crew("logs", "boss").out == "x" * 100 + "\nshort\n"
    wide = {} if columns is None else {"COLUMNS": columns}
    with Terminal("logs", "boss", **wide) as terminal:
        assert terminal.wait() == 0
    room = int(columns or 80) - 1
    assert terminal.shown.splitlines() == ["x" * room + "…", "short"]


@pytest.mark.parametrize("status", ["starting", "backoff"])
def test_logs_of_who_is_just_being_started_are_those_of_its_screen(
    fake: FakeSupervisor, status: str
) -> None:
    fake.publish(agents=[agent("boss", status)])
    asked: list[Any] = []

    def logs(request: Any) -> dict[str, str]:
        asked.append(request)
        if len(asked) == 1:
            threading.Timer(0.1, lambda: fake.publish(agents=[agent("boss", "ready")])).start()
            return {"text": "\n\n"}
        return {"text": "its conversation\n"}

    fake.handlers["logs"] = logs
    assert crew("logs", "boss").out == "its conversation\n"


def test_logs_of_a_screen_that_is_empty(fake: FakeSupervisor) -> None:
    fake.publish(agents=[agent("boss", "ready")])
    fake.handlers["logs"] = lambda _: {"text": "\n"}
    assert crew("logs", "boss").out == "\n"


def test_logs_of_a_session_that_is_down_are_those_that_were_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = record(ended(world))
    monkeypatch.setattr(start, "supervisor_argv", lambda _: ["/no/such/program"])
    paths.panes.mkdir()
    (paths.panes / "boss.txt").write_bytes(b"one\ntwo\n\x1b[1mthr\xffee\n\n")
    assert crew("logs", "boss", "-n", "2").out == "two\nthr�ee\n"
    for dead in ("ended (status 143): crew restart boss", "Pane is dead (status 143)"):
        (paths.panes / "boss.txt").write_text(
            f"one\n\n\ntwo{chr(10) * 30}three{chr(10) * 30}{dead}\n"
        )
        assert crew("logs", "boss").out == "one\n\n\ntwo\n\nthree\n", "no restart: it is down"
    refused(crew("logs", "worker-1"), 1, "nothing was kept of worker-1's pane")
    refused(
        crew("logs", "../boss"),
        2,
        "there is no agent '../boss' here: there is boss, worker-1, worker-2",
    )
    assert not paths.socket.exists()
