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
from tests.bench.teams import LAUNCH, all_ready, real_team
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew

AGENTS, MANY = 10, 50
ROUNDS, TURNS = 3, 100
TEAM = '[[agents]]\nname = "a"\ncount = {count}\n'
# One that is killed is not to come back while the others are.
MORTAL = TEAM + 'restart = {{ when = "never" }}\n'
# Seconds in which a lost team is back, or will not be.
BACK = 60.0


def measure(home: Path) -> Iterator[Figure]:
    """One team, launched, spoken of, abandoned by its supervisor, restored, and killed, some times
    over; then a larger one, launched, and one that is lost with its tmux."""
    with real_team(home, MORTAL.format(count=AGENTS)) as crew:
        # Python is compiled, and what is read of the disk is in memory, as it mostly is.
        _launch(crew)
        crew("down")
        launches, waits, returns, restored, deaths, hooks = [], [], [], [], [], []
        for _ in range(ROUNDS):
            launched, ready = _launch(crew)
            launches.append(launched)
            waits.append(ready)
            hooks += _hooks(crew)
            returns.append(_return(crew))
            crew("down")
            restored.append(_restore(crew))
            deaths += _deaths(crew)
            crew("down")
    yield _middle(f"crew up, {AGENTS} agents", launches, 1)
    yield _middle(f"crew up, {AGENTS} agents, until all are ready", waits)
    yield Figure(f"hook to subscriber, p50 of {len(hooks)}", percentile(hooks, 50), "ms", 10)
    yield Figure(f"hook to subscriber, p99 of {len(hooks)}", percentile(hooks, 99), "ms", 50)
    yield _middle("supervisor killed to all adopted", returns, 1)
    yield _middle(f"crew restore to all {AGENTS} back", restored)
    yield Figure(f"death to subscriber, p50 of {len(deaths)}", percentile(deaths, 50), "ms")
    yield Figure(f"death to subscriber, p99 of {len(deaths)}", percentile(deaths, 99), "ms", 20)
    yield _many(home / "many")
    yield _lost(home / "lost")


def _middle(what: str, values: list[float], budget: float | None = None) -> Figure:
    return Figure(f"{what}, p50 of {len(values)}", statistics.median(values), "s", budget)


def _lost(home: Path) -> Figure:
    """Seconds from the end of the tmux server, with all agents, until all are ready again."""
    home.mkdir()
    with real_team(home, TEAM.format(count=AGENTS)) as crew:
        _launch(crew)
        lost = []
        for _ in range(ROUNDS):
            view = crew.view()
            killed = time.monotonic()
            os.kill(view["server"], signal.SIGKILL)
            _all_back(crew, view)
            lost.append(time.monotonic() - killed)
    return _middle(f"tmux killed to all {AGENTS} back", lost)


def _many(home: Path) -> Figure:
    home.mkdir()
    with real_team(home, TEAM.format(count=MANY)) as crew:
        launches = []
        for _ in range(ROUNDS):
            launches.append(_launch(crew)[0])
            crew("down", timeout=LAUNCH)
    return _middle(f"crew up, {MANY} agents", launches, 3)


def _launch(crew: Crew) -> tuple[float, float]:
    """Seconds until the prompt is back, and until everybody is ready."""
    begun = time.monotonic()
    crew.up()
    taken = time.monotonic() - begun
    all_ready(crew)
    return taken, time.monotonic() - begun


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


def _restore(crew: Crew) -> float:
    """Seconds from the order on, of a team that is down, until all are ready again."""
    view = crew.view()
    begun = time.monotonic()
    crew("restore")
    _all_back(crew, view)
    return time.monotonic() - begun


def _all_back(crew: Crew, before: Json) -> None:
    """Wait until each agent of that view is ready, in another run."""
    runs = {agent["name"]: agent["run"] for agent in before["agents"]}

    def back(view: Json) -> bool:
        agents = view["agents"]
        return all(a["status"] == "ready" and a["run"] > runs[a["name"]] for a in agents)

    crew.wait(back, "all are back", BACK)


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
