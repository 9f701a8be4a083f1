"""down and restore: who is ended and brought back, and what to type next."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.client import Client
from orchestrator.locations import SessionPaths, session_paths
from orchestrator.verbs import team as team_verbs
from tests.cli_support import crew, known, refused
from tests.fake_supervisor import FakeSupervisor, agent, process
from tests.support import alive


@pytest.fixture
def paths(home: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    monkeypatch.chdir(home)
    return session_paths("demo")


@pytest.fixture
def fake(paths: SessionPaths) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(paths, agent("boss")) as fake:
        yield fake


def test_down_waits_until_the_supervisor_has_gone(paths: SessionPaths) -> None:
    with process("demo") as pid:
        assert crew("down").out == (
            "demo is down: ended boss; crew restore brings them back, "
            "crew up /srv/project/crew.toml -s demo starts afresh\n"
        )
        assert not alive(pid)
    assert not paths.socket.exists()


def test_down_says_plainly_what_brings_back_the_team_of_this_directory(
    fake: FakeSupervisor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "crew.toml").write_text('name = "demo"\n')
    fake.publish(blueprint=str(home / "crew.toml"))
    said = "ended boss, worker; crew restore brings them back, crew up starts afresh"
    fake.handlers["down"] = lambda _: {"ending": ["boss", "worker"]}
    # Its process is this one, which does not end.
    monkeypatch.setattr(Client, "wait_closed", lambda *_: True)
    assert crew("down").out == f"demo is down: {said}\n"


def test_down_that_takes_too_long(fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Client.wait_closed
    # It answers in time, on a busy machine too, and is not waited for that long.
    monkeypatch.setattr(team_verbs, "DOWN", 600.0)
    monkeypatch.setattr(Client, "wait_closed", lambda self, seconds: closed(self, seconds / 3000))
    fake.handlers["down"] = lambda _: {"ending": []}
    monkeypatch.setattr(fake, "leave", lambda: None)
    ran = crew("down")
    monkeypatch.undo()
    refused(ran, 1, f"session demo is still ending after 600 s: see {fake.paths.log}")


def test_down_goes_on_where_the_supervisor_ended_before_it_was_done(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.paths.tmux_socket.touch()

    def ends(_: object) -> dict[str, object]:
        fake.publish(state="down")
        if len(fake.asked("down")) == 2:
            fake.paths.tmux_socket.unlink()
        return {"ending": ["boss"]}

    fake.handlers["down"] = ends
    monkeypatch.setattr(fake, "leave", lambda: None)
    monkeypatch.setattr(Client, "wait_closed", lambda *_: True)
    ran = crew("down")
    monkeypatch.undo()
    assert ran.out.startswith("demo is down: ended boss; ")
    assert len(fake.asked("down")) == 2


def test_down_leaves_alone_what_somebody_has_restored_meanwhile(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tmux server is there again: it is the restored session's."""
    fake.paths.tmux_socket.touch()
    monkeypatch.setattr(fake, "leave", lambda: None)
    monkeypatch.setattr(Client, "wait_closed", lambda *_: True)
    ran = crew("down")
    monkeypatch.undo()
    refused(ran, 1, "session demo was ended, and somebody has started it again meanwhile")
    assert len(fake.asked("down")) == 1


def test_restore(fake: FakeSupervisor) -> None:
    fake.publish(state="down")
    fake.handlers["restore"] = lambda _: {"restored": ["boss", "worker"]}
    assert crew("restore", "demo").out == "demo is up again: boss, worker\n"
    assert json.loads(crew("restore", "--json").out)["restored"] == ["boss", "worker"]


def test_restore_of_what_is_up(fake: FakeSupervisor) -> None:
    fake.handlers["restore"] = lambda _: {"restored": ["boss", "worker"]}
    fake.publish(state="up", agents=[agent("boss"), agent("worker")])
    ran = crew("restore")
    assert (ran.status, ran.out) == (0, "demo is up already: boss, worker\n")
    assert json.loads(crew("restore", "--json").out)["already"] is True
    fake.publish(agents=[agent("worker", "failed"), agent("gone", "stopped", wanted=False)])
    ran = crew("restore")
    assert ran.out == "demo is up already: boss, worker; starts again: worker\n"


def test_restore_of_what_should_be_up_and_has_no_supervisor(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    known("demo", "up")
    fakes: list[FakeSupervisor] = []

    def started(*_: object) -> str:
        fakes.append(FakeSupervisor(paths, agent("boss")).__enter__())
        fakes[0].handlers["restore"] = lambda _: {"restored": ["boss"]}
        return "ready"

    monkeypatch.setattr("orchestrator.client.start_supervisor", started)
    try:
        assert crew("restore").out == "demo is up again: boss\n"
    finally:
        fakes[0].leave()


def test_restore_of_what_never_was(fake: FakeSupervisor) -> None:
    refused(crew("restore", "typo"), 2, "there is no session 'typo': there is demo")
