"""What an event costs by the size of the team, what stays of many, and what the journal answers.

Cost: the growth is what counts, for the design says that an event costs what happened, not what
exists. Each size is measured in turn with the others, some rounds, and the best is taken: the rest
is what the machine did beside. The polling way keeps its whole state in one file, which it reads
and writes at each change.

The journal has no index but that of its numbers and keys. One by agent and one by kind were
measured: the rarest events would come in 1 ms in place of 40, each commit would cost half as much
again, and the check of the file at each start of a supervisor would take twice as long.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, percentile
from tests.bench.surroundings import environment, module

SIZES = (10, 100, 1000)
# Events that are counted, of each size in each round.
EVENTS, ROUNDS = 1500, 2
# The team of the other two, and how many events.
TEAM, MANY = 100, 100_000
# Milliseconds in which a person sees an answer come without a wait.
ANSWERED = 250
# What is asked of the journal, and how that is called here.
ASKED = {
    "newest": "the newest 50",
    "of one": "the newest 50 of one agent",
    "of a few": "those of one who has long gone",
    "of a kind": "the newest deaths",
    "a page": "500 from the middle on",
    "what came": "what has just come",
    "seen": "are 500 hooks known",
    "world": "the world, with the last events",
}


def measure(home: Path) -> Iterator[Figure]:
    """Each in a process of its own."""
    taken: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for number in range(ROUNDS):
        for size in SIZES:
            taken[size].append(_run(home / f"{number}-{size}", "cost", size, EVENTS))
    best = {
        size: {what: min(r[what] for r in taken[size]) for what in taken[size][0]} for size in SIZES
    }
    for size in SIZES:
        of = best[size]
        yield Figure(f"an event, {size} agents: the reducer", of["reducer"], "us")
        yield Figure(f"an event, {size} agents: all of it", of["loop"], "us", None, of["polling"])
    least, most = best[SIZES[0]], best[SIZES[-1]]
    for name, what in (("reducer", "the reducer"), ("loop", "all of it")):
        grown, polled = (most[way] / least[way] for way in (name, "polling"))
        times = f"an event, {SIZES[0]} to {SIZES[-1]} agents: {what}, times"
        yield Figure(times, grown, "", 1.5, polled)
    yield from _memory(home)
    yield from _queries(home)


def _memory(home: Path) -> Iterator[Figure]:
    left = _run(home / "memory", "memory", TEAM, MANY)
    yield Figure(f"{MANY:,} events: memory grows by", left["grown"], "MiB", 10)
    yield Figure(f"{MANY:,} events: the database", left["database"], "MiB", 256)


def _queries(home: Path) -> Iterator[Figure]:
    taken = _run(home / "queries", "queries", TEAM, MANY)
    dumped = percentile(taken["dump"], 50)
    for name, what in ASKED.items():
        p50, p99 = (percentile(taken[name], p) for p in (50, 99))
        yield Figure(f"journal of {MANY:,}: {what}, p50", p50, "ms", ANSWERED, dumped)
        yield Figure(f"journal of {MANY:,}: {what}, p99", p99, "ms")
    look = percentile(taken["look"], 50)
    yield Figure(f"journal of {MANY:,}: opened and checked", look, "ms")


def _run(home: Path, what: str, agents: int, events: int) -> dict[str, Any]:
    home.mkdir()
    done = subprocess.run(
        module("replaying", what, str(agents), str(events)),
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{what} of {agents} agents: {done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found
