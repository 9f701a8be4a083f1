"""Which session a command is about, and whether a command that is shown must name it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import VERBS, cli
from orchestrator.errors import UserError
from orchestrator.locations import builtin, config_root, session_paths, state_root
from orchestrator.verbs import common
from tests.cli_support import CONTEXT, crew, known, refused
from tests.fake_supervisor import FakeSupervisor, agent, ask, session


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(session_paths("demo"), agent("boss"), agent("worker-1")) as fake:
        yield fake


# -- the session that is meant ---------------------------------------------------------------------


def test_no_session_at_all(cwd: Path) -> None:
    refused(crew("status"), 2, "there is no session yet: `crew up` starts one")


def test_the_only_session_that_lives_is_meant(fake: FakeSupervisor) -> None:
    known("old", "down")
    assert crew("status").out.startswith("demo is up")


def test_a_session_that_is_up_without_a_supervisor_counts(cwd: Path) -> None:
    known("old", "down")
    known("crashed", "up")
    assert common.choose_session(None).name == "crashed"


def test_one_session_that_is_down_is_meant_where_there_is_no_other(cwd: Path) -> None:
    known("old", "down")
    assert common.choose_session(None).name == "old"


def test_several_sessions_are_listed(fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    known("other", "up")
    known("old", "down")
    refused(crew("status"), 2, "which session? Say -s with one of: demo, other")


def test_flag_before_environment_before_project(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("crew.toml").write_text('name = "project"\n')
    assert common.choose_session(None).name == "project"
    monkeypatch.setenv("CREW_SESSION", "environment")
    assert common.choose_session(None).name == "environment"
    assert common.choose_session("flag").name == "flag"


@pytest.mark.parametrize("text", ["name = 1", "no toml", "", "name = '\xff'"])
def test_a_project_file_that_says_no_name_is_passed_over(cwd: Path, text: str) -> None:
    Path("crew.toml").write_bytes(text.encode("latin-1"))
    refused(crew("status"), 2, "there is no session yet: `crew up` starts one")


def test_a_session_that_never_was_is_not_made(fake: FakeSupervisor) -> None:
    refused(crew("status", "-s", "typo"), 2, "there is no session 'typo': there is demo")
    assert not session_paths("typo").root.exists()


@pytest.mark.parametrize("name", ["../x", "a b", "#(id)", "", "x" * 33, "a\nb"])
def test_a_bad_name_is_refused_by_every_verb(cwd: Path, name: str) -> None:
    for verb in sorted({*VERBS} - {"ls", "doctor", "ask", "cache"}):
        needed = [p for p in cli.require(CONTEXT, verb).params if p.param_type_name == "argument"]
        arguments = ["status" if verb == "report" else "x" for p in needed if p.required]
        ran = crew(verb, *arguments, "-s", name)
        assert ran.status == 2
        assert ran.err.startswith("crew: session name ")
        assert ran.err.count("\n") == 1
    assert not state_root().exists()


# -- by the directory ------------------------------------------------------------------------------


def meant() -> str:
    return common.choose_session(None).name


def test_the_session_of_the_nearest_directory_above(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = cwd / "a" / "b"
    deep.mkdir(parents=True)
    known("outer", "down", cwd)
    known("inner", "up", cwd / "a")
    known("elsewhere", "up", cwd / "other")
    known("nowhere", "up")
    assert meant() == "outer", "though others are up and this one is not"
    monkeypatch.chdir(deep)
    assert meant() == "inner"
    (deep / "crew.toml").write_text('name = "own"\n')
    assert meant() == "own", "the project's own blueprint goes before"
    monkeypatch.chdir("/")
    refused(crew("status"), 2, "which session? Say -s with one of: elsewhere, inner, nowhere")


def test_of_two_in_one_directory_the_one_that_is_up(cwd: Path) -> None:
    known("first", "down", cwd)
    known("second", "up", cwd)
    known("elsewhere", "up", cwd / "other")
    assert meant() == "second"
    known("third", "up", cwd)
    with pytest.raises(UserError, match="one of: elsewhere, second, third"):
        meant()


def test_the_root_of_a_session_that_lives_is_asked_for(fake: FakeSupervisor, cwd: Path) -> None:
    known("other", "up", cwd / "other")
    with pytest.raises(UserError):
        meant()
    fake.publish(root=str(cwd))
    assert meant() == "demo"


def test_a_supervisor_that_hangs_counts_as_up_and_its_record_is_read(
    fake: FakeSupervisor, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.serve = lambda *_: True
    known("old", "down")
    assert common.choose_session(None, timeout=0.1).name == "demo"


def test_a_directory_that_was_removed(cwd: Path) -> None:
    known("a", "up", cwd)
    known("b", "down", cwd)
    cwd.rmdir()
    assert meant() == "a"
    assert crew("status", "-s", "b").status == 0


# -- the option before the verb --------------------------------------------------------------------


def test_the_session_may_stand_before_the_verb(fake: FakeSupervisor) -> None:
    known("other", "up")
    assert crew("-s", "demo", "status").out.startswith("demo is up")
    assert crew("--session", "other", "status", "-s", "demo").out.startswith("demo is up")
    refused(crew("-s", "typo", "status"), 2, "there is no session 'typo': there is demo, other")
    assert crew("-s", "a b", "status").err.startswith("crew: session name 'a b' is not allowed")


# -- what is to be typed ---------------------------------------------------------------------------


def test_commands_name_the_session_only_where_it_would_not_be_found(
    fake: FakeSupervisor, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = agent("boss", "blocked", ask=ask("Run rm?", k1="Yes"))
    fake.publish(agents=[asking])

    def shown() -> str:
        return next(line for line in crew("status", "-s", "demo").out.splitlines() if "Yes" in line)

    assert shown() == "    crew answer boss 1    Yes", "the only one"
    known("other", "down")
    assert shown() == "    crew answer boss 1    Yes", "the only one that is up"
    known("another", "up")
    assert shown() == "    crew answer -s demo boss 1    Yes"
    fake.handlers["send"] = lambda _: {
        "message": {"number": 7, "state": "unconfirmed", "detail": ""}
    }
    assert "(`crew attach -s demo boss`)" in crew("send", "-s", "demo", "boss", "hi").err
    monkeypatch.setenv("CREW_SESSION", "demo")
    assert shown() == "    crew answer boss 1    Yes"
    monkeypatch.delenv("CREW_SESSION")
    fake.publish(root=str(cwd))
    assert shown() == "    crew answer boss 1    Yes", "found by its directory"


def test_what_launches_a_team_anew(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def up(name: str, file: Path) -> list[str]:
        return common.up_words(session(name, blueprint=str(file)))

    shipped = builtin() / "sessions"
    assert up("demo", shipped / "demo.toml") == ["up"], "what is taken where nothing is said"
    own = cwd / "crew.toml"
    own.write_text('name = "own"\n')
    assert up("own", own) == ["up"]
    assert up("second", own) == ["up", "-s", "second"]
    assert up("demo", shipped / "demo.toml") == ["up", "demo"]
    mine = config_root() / "sessions" / "mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text('name = "mine"\n')
    assert up("mine", mine) == ["up", "mine"]
    monkeypatch.chdir("/")
    assert up("own", own) == ["up", str(own)]
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("CREW_SESSION", "second")
    assert up("second", own) == ["up"]
    assert up("own", own) == ["up", "-s", "own"]
