"""What 10, 100 and 300 idle agents cost while nobody looks, and what asking on a timer would.

Five of each team are real Claude CLIs, the others demo agents; each team has a supervisor, a tmux
server and a HOME of its own. The smallest idles alone, and the two others together with it: that
takes less time, and makes them dearer rather than cheaper, as a supervisor measures its agents
among all processes of the machine. The polling way forks `tmux capture-pane` for each pane and half
second; what one round of it takes is measured with each team.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.kernel import Cost, Team, costs, resident_mib
from tests.bench.teams import LAUNCH, LOOKS, all_ready, claude_team, polling, team_of
from tests.claude.api import MessagesApi

GROUPS, REAL = ((10,), (100, 300)), 5
TEAM = """
[[agents]]
name = "c"
cli = "claude"
count = {real}

[[agents]]
name = "d"
count = {rest}
"""
# Seconds: what follows a launch is over; what is counted; and what is for each agent of the largest
# team, so that all that is done now and then is in it (`supervising.AUDIT_EACH`,
# `sampling.IDLE_EACH`).
CALM, PERIOD, EACH = 10.0, 60.0, 2.0
FULL = bool(os.environ.get("CREW_BENCH_FULL"))


@dataclass(frozen=True)
class Idle:
    """A team that idles, and what launching and looking at it has cost."""

    agents: int
    launch: float
    polling: float
    team: Team


def measure(home: Path) -> Iterator[Figure]:
    """The teams of a group are launched, one by one, and then left alone."""
    found: list[tuple[Idle, float]] = []
    with ExitStack() as stack:
        api = stack.enter_context(MessagesApi())
        for sizes in GROUPS:
            idle = [_idle(stack, home / str(agents), api, agents) for agents in sizes]
            time.sleep(CALM)
            period = max(PERIOD, EACH * max(sizes)) if FULL else PERIOD
            counted = costs([each.team for each in idle], partial(time.sleep, period))
            for each, cost in zip(idle, counted, strict=True):
                yield from _told(each, cost, period)
                found.append((each, (cost.cpu + cost.server) / period))
    if FULL:
        yield _growth(found)


def _idle(stack: ExitStack, home: Path, api: MessagesApi, agents: int) -> Idle:
    home.mkdir()
    text = TEAM.format(real=REAL, rest=agents - REAL)
    crew = stack.enter_context(claude_team(home, text, api))
    begun = time.monotonic()
    crew.run("up", "--trust", "--timeout", f"{LAUNCH:.0f}", timeout=LAUNCH)
    launch = time.monotonic() - begun
    all_ready(crew)
    team = team_of(crew)
    return Idle(agents, launch, polling(crew, team.tmux), team)


def _told(idle: Idle, cost: Cost, period: float) -> Iterator[Figure]:
    what = f"{idle.agents} idle agents"
    ours, theirs = 100 * (cost.cpu + cost.server) / period, 100 * idle.polling
    forks = idle.agents * period / LOOKS
    yield Figure(f"{what}: crew up, once", idle.launch, "s")
    yield Figure(f"{what}: forks in {period:.0f} s", cost.forks, "", 0, forks)
    yield Figure(f"{what}: wake-ups a second", cost.woken / period, "", 1)
    yield Figure(f"{what}: of a core, tmux with it", ours, "%", 0.2, theirs)
    yield Figure(f"{what}: of what polling takes", 100 * ours / theirs, "%", 10, 100)
    yield Figure(f"{what}: resident memory", resident_mib(idle.team.supervisor), "MiB", 80)


def _growth(found: Sequence[tuple[Idle, float]]) -> Figure:
    (few, low), (many, high) = found[0], found[-1]
    what = f"idle cost grows from {few.agents} to {many.agents} agents"
    return Figure(what, high / low, "times", 1.5, many.polling / few.polling)
