"""report: the team and its asks in figures, from what is recorded."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import locations, start
from orchestrator.cli import cli
from orchestrator.core.text import width
from orchestrator.locations import session_paths
from orchestrator.sinks.cache import DiskCache
from orchestrator.verbs import journal
from orchestrator.verbs import report as verb
from tests.cli_support import Ran, crew, ended, launched, record
from tests.fake_supervisor import FakeSupervisor, agent, ask
from tests.sinks.answers import asked, cache_in


@pytest.fixture
def cwd(home: Path, noon: float, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cli, "commands", {**cli.commands, "report": verb.report})
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    team = (
        agent("boss", "working", doing="tool", queued=2),
        agent("worker-1", "blocked", detail="asks", ask=ask("Run rm?", k1="Yes")),
        agent("worker-2", "failed", detail="exit status 1; gave up", pid=None),
        agent("worker-3", "working", flags=["stalled"]),
    )
    with FakeSupervisor(session_paths("demo"), *team) as fake:
        yield fake


@pytest.fixture
def store(cwd: Path) -> Iterator[DiskCache]:
    locations.ensure_private(locations.cache_root())
    store = cache_in(locations.cache_root(), now=time.time())
    yield store
    store.close()


def told(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(crew("report", *arguments, "--json").out)
    return found


def well(ran: Ran) -> list[str]:
    assert (ran.status, ran.err) == (0, "")
    return ran.out.splitlines()


# -- status ----------------------------------------------------------------------------------------


def test_status(fake: FakeSupervisor) -> None:
    fake.publish(usage={"input": 1000, "output": 500, "cost_usd": 0.5})
    lines = well(crew("report", "status"))
    assert lines[:3] == [
        "demo is up · 4 agents · 2 need you · in /srv/project",
        "2 working, 1 blocked, 1 failed",
        "2 messages wait · 1.5k tokens, $0.50",
    ]
    assert lines[4:6] == [
        "worker-1 asks (permission): Run rm?",
        "    crew answer worker-1 1    Yes",
    ]
    assert told("status") == {
        "session": "demo",
        "state": "up",
        "agents": 4,
        "statuses": {"working": 2, "blocked": 1, "failed": 1},
        "need_you": ["worker-1", "worker-2"],
        "working": ["boss", "worker-3"],
        "queued": 2,
        "tokens": 1500,
        "cost_usd": 0.5,
    }


def test_status_of_a_session_that_is_down(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(ended(launched(cwd)))
    monkeypatch.setattr(start, "supervisor_argv", lambda _: ["/no/such/program"])
    found = told("status")
    assert (found["state"], found["need_you"]) == ("down", [])
    assert told("health")["healthy"] is True
    assert well(crew("report", "health")) == ["demo is down: nothing is wrong · no supervisor runs"]


# -- health ----------------------------------------------------------------------------------------


def test_health(fake: FakeSupervisor) -> None:
    fake.publish(health={"storage": "the disk is full"}, missed_events=3)
    lines = well(crew("report", "health"))
    assert lines == [
        "demo is up: not all is well · its supervisor runs for 3m",
        "! the disk is full",
        "! 3 change(s) were noticed late, by the audit",
        "worker-1 is blocked for 12s: asks",
        "worker-2 is failed for 12s: exit status 1; gave up",
        "worker-3 is working for 12s: stalled",
    ]
    found = told("health")
    assert (found["healthy"], found["missed_events"]) == (False, 3)
    assert [one["name"] for one in found["agents"]] == ["worker-1", "worker-2", "worker-3"]
    assert 180 <= found["supervisor"]["up_for"] < 240


def test_health_of_a_team_that_is_well(cwd: Path) -> None:
    with FakeSupervisor(session_paths("demo"), agent("boss")):
        assert told("health")["healthy"] is True
        (line,) = well(crew("report", "health"))
        assert line.startswith("demo is up: nothing is wrong · ")


# -- performance -----------------------------------------------------------------------------------


def test_performance_needs_no_session(store: DiskCache) -> None:
    assert well(crew("report", "performance")) == ["nothing was asked yet"]
    for number in range(1, 101):
        store.note(asked(number, "hit", took=number / 1000))
    for number in range(1, 5):
        store.note(asked(number, "ran", took=float(number), waited=number / 2, cli="codex"))
    store.note(asked(1, "joined", took=1.5))
    lines = well(crew("report", "performance"))
    assert lines == [
        "105 asks · 96% hits · 1 joined",
        "",
        "SECONDS            P50    P95    P99",
        "all asks           0.053  0.100  3.000",
        "hit asks           0.050  0.095  0.099",
        "run asks           2.000  4.000  4.000",
        "waited for a slot  1.000  2.000  2.000",
        "run by claude      1.500  1.500  1.500",
        "run by codex       2.000  4.000  4.000",
    ]
    found = told("performance")
    assert found["took"]["hit"] == {"p50": 0.05, "p95": 0.095, "p99": 0.099}
    assert (found["asks"], found["joined"], found["waited"]["p50"]) == (105, 1, 1.0)
    assert found["hit_rate"] == pytest.approx(100 / 104)


def test_performance_tells_what_agents_use(fake: FakeSupervisor, store: DiskCache) -> None:
    boss = {"cpu": 0.126, "rss": 412 << 20, "children": 3, "pss": 240 << 20}
    worker = {"cpu": None, "rss": 9 << 20, "children": 0, "pss": None}
    fake.publish(samples={"boss": boss, "worker-1": worker})
    assert well(crew("report", "performance")) == [
        "AGENT     CPU  MEMORY  CHILDREN",
        "boss      13%  412M    3",
        "worker-1  -    9M      0",
        "",
        "nothing was asked yet",
    ]
    store.note(asked(1, "hit", took=0.5))
    found = told("performance")
    assert found["agents"] == [{"name": "boss", **boss}, {"name": "worker-1", **worker}]
    assert found["asks"] == 1


def test_performance_does_without_a_session_unless_one_is_named(
    fake: FakeSupervisor, store: DiskCache
) -> None:
    fake.publish(samples={"boss": {"cpu": 0.5, "rss": 1 << 20, "children": 1, "pss": None}})
    with FakeSupervisor(session_paths("other"), agent("a")):
        assert well(crew("report", "performance")) == ["nothing was asked yet"]
        assert [one["name"] for one in told("performance", "-s", "demo")["agents"]] == ["boss"]
        assert told("performance", "-s", "other")["agents"] == []
    ran = crew("report", "performance", "-s", "nowhere")
    assert ran.status != 0
    assert "there is no session 'nowhere'" in ran.err


def test_performance_of_a_session_that_is_down(cwd: Path, store: DiskCache) -> None:
    record(ended(launched(cwd)))
    assert told("performance")["agents"] == []


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_measured_values_in_order(values: list[float]) -> None:
    found = verb.percentiles(values)
    assert found is not None
    assert list(found) == ["p50", "p95", "p99"]
    assert sorted(found.values()) == list(found.values())
    for share, one in zip((50, 95, 99), found.values(), strict=True):
        assert one in values
        assert 100 * sum(each <= one for each in values) >= share * len(values)
        assert 100 * sum(each < one for each in values) < share * len(values)


# -- errors ----------------------------------------------------------------------------------------


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"seq": 1, "at": time.time(), "kind": kind, "agent": "boss", "source": "crew", **more}


EVENTS = [
    event("process_exited", code=0, signal=None, known=True),
    event("process_exited", code=3, signal=None, known=True),
    event("hook_received", hook="Stop", text="done"),
    event("hook_received", hook="StopFailure", text="overloaded"),
    event("effect_failed", effect="spawn", reason="no such program"),
]


def test_errors(fake: FakeSupervisor, store: DiskCache) -> None:
    fake.streams["events"] = lambda _: iter([*({"event": one} for one in EVENTS), {"exit": 0}])
    now = time.time()
    store.note(asked(1, "ran", now))
    store.note(asked(2, "failed", now - 70, error="the API is \x1b[31moverloaded"))
    store.note(asked(3, "timeout", now - 5, error="no answer in time"))
    lines = well(crew("report", "errors"))
    assert lines[0] == "worker-2 is failed for 12s: exit status 1; gave up"
    # In front stands the time; with the date, where midnight was in between.
    assert [line.partition(" boss ")[2].strip() for line in lines[1:4]] == [
        "exit status 3",
        "its turn failed: overloaded",
        "spawn failed: no such program",
    ]
    assert lines[4:] == [
        "failed asks of claude: 2",
        "1m ago  claude: the API is overloaded",
        "5s ago  claude: no answer in time",
    ]
    (request,) = fake.asked("events")
    assert (request["since"], request["agent"]) == (None, None)
    assert {*request["kinds"]} <= {*journal.KINDS}
    found = told("errors")
    assert [one["name"] for one in found["agents"]] == ["worker-2"]
    assert [one["kind"] for one in found["events"]] == [
        "process_exited",
        "hook_received",
        "effect_failed",
    ]
    assert found["asks"]["clis"] == {"claude": 2}
    assert [one["outcome"] for one in found["asks"]["newest"]] == ["failed", "timeout"]


def test_errors_of_asks_need_no_session(store: DiskCache) -> None:
    assert well(crew("report", "errors")) == ["no errors are on record"]
    store.note(asked(1, "failed", time.time(), error="overloaded"))
    assert well(crew("report", "errors"))[0] == "failed asks of claude: 1"


def test_errors_of_a_session_that_is_down(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ended(launched(cwd))
    monkeypatch.setattr(start, "supervisor_argv", lambda _: ["/no/such/program"])
    record(dataclasses.replace(world))
    assert told("errors") == {"agents": [], "events": [], "asks": {"clis": {}, "newest": []}}


@pytest.mark.parametrize("about", ["status", "health", "performance", "errors"])
def test_lines_fit_the_terminal(
    fake: FakeSupervisor, store: DiskCache, monkeypatch: pytest.MonkeyPatch, about: str
) -> None:
    fake.streams["events"] = lambda _: iter([*({"event": one} for one in EVENTS), {"exit": 0}])
    fake.publish(samples={"boss" * 9: {"cpu": 0.5, "rss": 1 << 20, "children": 1, "pss": None}})
    store.note(asked(1, "failed", error="very long " * 40))
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(width, well(crew("report", about)))) <= 40


def test_there_are_four_reports(cwd: Path) -> None:
    ran = crew("report", "weather")
    assert ran.status == 2
    assert "'status', 'health', 'performance', 'errors'" in ran.err
