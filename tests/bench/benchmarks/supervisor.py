"""The supervisor and real demo agents: launch, hooks, deaths, and coming back."""

import os
import signal
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from orchestrator.client import Json
from tests.bench.figures import Figure, percentile
from tests.bench.subscriber import Subscriber
from tests.bench.teams import all_ready, real_team
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew

AGENTS = 10
ROUNDS, TURNS = 3, 100
TEAM = f'[[agents]]\nname = "a"\ncount = {AGENTS}\nrestart = {{ when = "never" }}\n'


def measure(home: Path) -> Iterator[Figure]:
    """One team, launched, spoken of, abandoned by its supervisor, and killed, some times over."""
    with real_team(home, TEAM) as crew:
        launches, returns, deaths, hooks = [], [], [], []
        for _ in range(ROUNDS):
            launches.append(_launch(crew))
            hooks += _hooks(crew)
            returns.append(_return(crew))
            deaths += _deaths(crew)
            crew("down")
    yield Figure(f"crew up, {AGENTS} agents, p50 of {ROUNDS}", statistics.median(launches), "s", 1)
    yield Figure(f"hook to subscriber, p50 of {len(hooks)}", percentile(hooks, 50), "ms", 10)
    yield Figure(f"hook to subscriber, p99 of {len(hooks)}", percentile(hooks, 99), "ms", 50)
    back = statistics.median(returns)
    yield Figure(f"supervisor killed to all adopted, p50 of {ROUNDS}", back, "s", 1)
    yield Figure(f"death to subscriber, p50 of {len(deaths)}", percentile(deaths, 50), "ms")
    yield Figure(f"death to subscriber, p99 of {len(deaths)}", percentile(deaths, 99), "ms", 20)


def _launch(crew: Crew) -> float:
    """Seconds until the prompt is back; the team is ready afterwards."""
    begun = time.monotonic()
    crew.up()
    taken = time.monotonic() - begun
    all_ready(crew)
    return taken


def _hooks(crew: Crew) -> list[float]:
    """Milliseconds from the file's rename to the status that it makes, at a subscriber."""
    name, run = "a-1", crew.agent("a-1")["run"]
    taken = []
    with Subscriber(crew.state / "crew.sock") as subscriber:
        for number in range(TURNS):
            for event, status in (("UserPromptSubmit", "working"), ("Stop", "ready")):
                written = time.monotonic()
                faults.spool(crew, f"{name}.{run}.{event}.{number + 1}", faults.payload(event))
                told = subscriber.until(partial(_is, name, status))
                taken.append(1000 * (told - written))
    return taken


def _is(name: str, status: str, agent: Json) -> bool:
    return bool(agent["name"] == name and agent.get("status") == status)


def _return(crew: Crew) -> float:
    """Seconds from the supervisor's end to the answer of one that has every agent again."""
    agents = {agent["name"]: agent["pid"] for agent in crew.view()["agents"]}
    pid = crew.supervisor()
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    view = crew.wait(lambda view: view["supervisor"], "one watches again")
    taken = time.monotonic() - killed
    assert {agent["name"]: agent["pid"] for agent in view["agents"]} == agents
    return taken


def _deaths(crew: Crew) -> list[float]:
    """Milliseconds from SIGKILL of an agent to its other status, at a subscriber."""
    taken = []
    agents = crew.view()["agents"]
    with Subscriber(crew.state / "crew.sock") as subscriber:
        for agent in agents:
            subscriber_sees = partial(_left, agent["name"], agent["status"])
            killed = time.monotonic()
            os.kill(agent["pid"], signal.SIGKILL)
            taken.append(1000 * (subscriber.until(subscriber_sees) - killed))
    return taken


def _left(name: str, status: str, agent: Json) -> bool:
    return bool(agent["name"] == name and agent.get("status") not in (None, status))
