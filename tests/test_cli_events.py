"""events: what is asked for, what is left out, and what is on disk."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import start
from orchestrator.core.events import DeadlinePassed, ProcessExited
from orchestrator.core.state import World
from orchestrator.core.text import width
from orchestrator.locations import SessionPaths, session_paths
from orchestrator.sinks.store import Store
from orchestrator.verbs import journal, look
from tests.cli_support import NOW, crew, ended, launched, record, refused
from tests.fake_supervisor import FakeSupervisor, agent


@pytest.fixture
def cwd(home: Path, noon: float, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(session_paths("demo"), agent("boss"), agent("worker-1")) as fake:
        yield fake


@pytest.fixture
def world(cwd: Path) -> World:
    return launched(cwd)


EVENT: dict[str, Any] = {
    "seq": 17,
    "at": NOW,
    "mono": 5.0,
    "kind": "hook_received",
    "agent": "boss",
    "source": "hook",
    "key": "hook:1",
    "run": 1,
    "hook": "PreToolUse",
    "tool": "Bash",
    "argument": "ls",
    "text": None,
    "background": 0,
}


def test_events_are_one_line_each(fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    fake.streams["events"] = lambda _: iter([{"event": {**EVENT, "at": now}}, {"exit": 0}])
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    assert crew("events").out == f"{clock}  boss        runs Bash: ls\n"
    assert crew("events", "--all").out == f"    17  {clock}  boss        runs Bash: ls\n"
    fake.streams["events"] = lambda _: iter([{"event": EVENT}, {"exit": 0}])
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW))
    assert crew("events").out == f"{day}  boss        runs Bash: ls\n"
    monkeypatch.setenv("COLUMNS", "40")
    assert width(crew("events").out.rstrip("\n")) <= 40
    assert json.loads(crew("events", "--json").out) == EVENT


def test_what_says_nothing_is_shown_where_it_is_asked_for(fake: FakeSupervisor) -> None:
    dull: list[dict[str, Any]] = [
        {"kind": "deadline_passed", "name": "x"},
        {"kind": "panes_seen", "audit": False, "panes": []},
        {"kind": "transcript_seen", "prompts": [], "last_words": None},
    ]
    told = [{**EVENT, **event} for event in [*dull, {"kind": "panes_seen", "audit": True}, EVENT]]
    fake.streams["events"] = lambda _: iter([*[{"event": event} for event in told], {"exit": 0}])
    assert crew("events").out.count("\n") == 2
    assert crew("events", "--kind", "deadline_passed").out.count("\n") == 5
    for flag in ("--all", "--json"):
        assert crew("events", flag).out.count("\n") == 5


# -- events: what is asked for ---------------------------------------------------------------------


def test_events_ask_for_what_is_wanted(fake: FakeSupervisor) -> None:
    fake.streams["events"] = lambda request: iter([{"exit": 0}])
    crew("events", "--all")
    crew(
        "events", "--since", "5", "--agent", "boss", "--kind", "recovered", "--kind", "server_lost"
    )
    crew("events", "-n", "3", "--json")
    crew("events")
    wanted: list[dict[str, Any]] = [
        {k: line.get(k) for k in ("since", "limit", "agent", "kinds", "follow")}
        for line in fake.asked("events")
        if "follow" in line
    ]
    usual: dict[str, Any] = {
        "since": None,
        "limit": 50,
        "agent": None,
        "kinds": [],
        "follow": False,
    }
    narrow = {"since": 5, "limit": None, "agent": "boss", "kinds": ["recovered", "server_lost"]}
    assert wanted[:3] == [usual, {**usual, **narrow}, {**usual, "limit": 3}]
    assert {*journal.KINDS} - {*wanted[3]["kinds"]} == {"deadline_passed"}, "it would take places"


def test_unknown_agents_and_kinds_are_refused_with_what_there_is(fake: FakeSupervisor) -> None:
    fake.streams["events"] = lambda request: iter(
        [{"event": {**EVENT, "agent": "gone"}}, {"exit": 0}]
        if request["agent"] == "gone"
        else [{"exit": 0}]
    )
    refused(
        crew("events", "--agent", "nobody"),
        2,
        "there is no agent 'nobody' here: there is boss, worker-1",
    )
    ran = crew("events", "--kind", "server_lots")
    assert ran.status == 2
    assert ran.err.startswith("crew: there is no kind 'server_lots': there is up_requested, ")
    assert crew("events", "--agent", "gone").status == 0, "it was in the team once"


def test_following_ends_with_the_session(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`crew down` elsewhere: the follower does not bring the supervisor back."""
    monkeypatch.setattr(look, "follow_while_up", lambda _: lambda: False)

    def last(_: object) -> Iterator[dict[str, Any]]:
        yield {"event": EVENT}
        fake.leave()

    fake.streams["events"] = last
    ran = crew("events", "-f")
    assert ran.status == 0
    assert ran.out.count("\n") == 1


@pytest.fixture
def down(world: World, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    """A session that is down, with a journal; no supervisor can be started."""
    monkeypatch.setattr(start, "supervisor_argv", lambda _: ["/no/such/program"])
    paths = record(ended(world))
    store, _ = Store.open(paths.database, now=NOW)
    try:
        store.take_over()
        stamp: dict[str, Any] = {"at": NOW, "mono": 3.0}
        common: dict[str, Any] = {"run": 1, "jitter": 0.5, "source": "process", **stamp}
        store.commit(
            [
                *(ProcessExited(agent=name, code=0, **common) for name in ("boss", "gone")),
                DeadlinePassed(name="finish", due=3.0, jitter=0.5, source="clock", **stamp),
            ],
            [],
        )
    finally:
        store.close()
    return paths


def test_events_of_a_session_that_is_down_are_read_from_disk(down: SessionPaths) -> None:
    ran = crew("events")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[2:] for line in ran.out.splitlines()] == [
        ["boss", "exit", "status", "0"],
        ["gone", "exit", "status", "0"],
    ]
    whole = [json.loads(line) for line in crew("events", "--json").out.splitlines()]
    assert [event["kind"] for event in whole] == [*["process_exited"] * 2, "deadline_passed"]
    assert crew("events", "-n", "1").out.split()[2] == "gone", "the newest"
    assert crew("events", "--since", str(whole[0]["seq"]), "-n", "1").out.split()[2] == "gone"
    assert crew("events", "--agent", "gone", "--follow").out.count("\n") == 1
    assert crew("events", "--agent", "worker-1").out == ""
    refused(
        crew("events", "--agent", "nobody"),
        2,
        "there is no agent 'nobody' here: there is boss, worker-1, worker-2",
    )
    assert not down.socket.exists()
