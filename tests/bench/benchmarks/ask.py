"""`crew ask` with the real Claude CLI, before a stand-in for its model that takes 2 s.

Beside each figure stands what the same costs without the cache and without joining, eight at a
time like it. The many questions come at a fixed rate, faster than this CLI can be run on two cores,
and what one takes is counted from when it came. Were the next one asked only when there is a place
for it, a tenth of the time would be out of reach of any cache: 95 of 1,000 questions are new.

CPU is that of all processes that were started, as the kernel counted it; memory the sum of their
proportional set sizes (PSS), sampled four times a second. CREW_BENCH_FULL=1 asks 1,000 questions,
100 of them distinct, which takes about a quarter of an hour.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median

from tests.bench.asking import ask_all, measured, question, timed
from tests.bench.figures import Figure, percentile
from tests.bench.surroundings import CREW, environment, scripted
from tests.bench.traces import Filled, best_hits, our_hits, spaced, zipf
from tests.claude import home as claude_home
from tests.claude.api import MessagesApi
from tests.claude.cli import CLAUDE, available

FULL = bool(os.environ.get("CREW_BENCH_FULL"))
# Seconds that the model takes, and how many questions are asked at a time.
DELAY, PARALLEL = 2.0, 8
QUESTIONS = 1000 if FULL else 160
DISTINCT, SEED = QUESTIONS // 10, 5
# So many of them come in a second.
RATE = 4
# Distinct questions at a time; and how many of such are asked one after another.
SPREAD, ALONE = (100, 10) if FULL else (32, 4)
# A cache with less room than there are questions, of which one in so many is spaced differently.
TRACE, MANY, ROOM, SPACED = 1000, 400, 150, 5
HITS, RUNS = 40, 5
# Entries of a large and a small cache, and hits that are measured in each.
LARGE, SMALL, LOOKS, TURNS = 100_000, 1_000, 4_000, 40
AGENTS = 50


def measure(home: Path) -> Iterator[Figure]:
    """Many questions, a hit, distinct questions, a small cache, a large one, a report."""
    why = available()
    assert why is None, why
    claude_home.prepare(home, home)
    settings = home / ".config/crewmux/ask.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"parallel = {PARALLEL}\n")
    with MessagesApi() as api:
        env = claude_home.environment(api, home, os.environ["PATH"])
        # The first one learns what the CLI is, and compiles Python.
        ask_all([-1], env, 0, 1)
        yield from _many(env)
        yield from _hit(env)
        yield from _distinct(env)
    yield from _bounded(home)
    yield from _inside(home)
    yield from _report(home)


def _many(env: Mapping[str, str]) -> Iterator[Figure]:
    trace = zipf(QUESTIONS, DISTINCT, SEED)
    ours = ask_all(trace, env, DELAY, PARALLEL, every=1 / RATE)
    alone = ask_all(trace, env, DELAY, PARALLEL, "--no-cache", every=1 / RATE)
    what = f"ask {QUESTIONS:,}, {DISTINCT} distinct, {RATE} a second"
    ran = 100 * (QUESTIONS - ours.count("hit", "joined")) / QUESTIONS
    joined = 100 * ours.count("joined") / QUESTIONS
    yield Figure(f"{what}: no hit and not joined", ran, "%", 15, 100)
    yield Figure(f"{what}: joined", joined, "%")
    yield Figure(f"{what}: mean", ours.mean, "s", alone.mean / 10, alone.mean)
    yield Figure(f"{what}: CPU", ours.cpu, "s", 0.6 * alone.cpu, alone.cpu)
    memory, without = ours.memory / 1024, alone.memory / 1024
    yield Figure(f"{what}: memory", memory, "GiB·s", 0.7 * without, without)
    yield Figure(f"{what}: peak", ours.peak, "MiB", None, alone.peak)
    yield Figure(f"{what}: in all", ours.seconds, "s", None, alone.seconds)


def _hit(env: Mapping[str, str]) -> Iterator[Figure]:
    text = question(-2, DELAY)
    timed([CREW, "ask", text], env)
    with measured() as hit:
        hits = [1000 * timed([CREW, "ask", text], env)[0] for _ in range(HITS)]
    with measured() as run:
        runs = [1000 * (timed([str(CLAUDE), "-p"], env, text)[0] - DELAY) for _ in range(RUNS)]
    what = f"a hit, whole process, of {HITS}"
    yield Figure(
        f"{what}: p50 (beside it claude -p less 2 s)", median(hits), "ms", 150, median(runs)
    )
    yield Figure(f"{what}: p95", percentile(hits, 95), "ms", 150, percentile(runs, 95))
    yield Figure(f"{what}: CPU", 1000 * hit.cpu / HITS, "ms", None, 1000 * run.cpu / RUNS)


def _distinct(env: Mapping[str, str]) -> Iterator[Figure]:
    first = 10_000
    ours = ask_all(range(first, first + SPREAD), env, DELAY, PARALLEL)
    assert ours.count("ran") == SPREAD
    alone = ask_all(range(first + SPREAD, first + SPREAD + ALONE), env, DELAY, 1)
    extrapolated = alone.seconds * SPREAD / ALONE
    what = f"ask {SPREAD} distinct (beside it one by one, from {ALONE})"
    yield Figure(what, ours.seconds, "s", extrapolated / 4, extrapolated)


def _bounded(home: Path) -> Iterator[Figure]:
    trace = zipf(TRACE, MANY, SEED)
    ours = our_hits(spaced(trace, SPACED, SEED), ROOM, home / "bounded")
    best = best_hits(trace, ROOM)
    what = f"{TRACE:,} of {MANY} in {ROOM} entries"
    rates = 100 * ours / TRACE, 100 * best / TRACE
    yield Figure(f"{what}: hits (beside it the best eviction's)", rates[0], "%", None, rates[1])
    yield Figure(f"{what}: of the best's hits, missed", 100 * (1 - ours / best), "%", 15)


def _inside(home: Path) -> Iterator[Figure]:
    with (
        closing(Filled(home / "small", SMALL)) as small,
        closing(Filled(home / "large", LARGE)) as large,
    ):
        quick, slow = list[float](), list[float]()
        # By turns: what else the machine does is to slow both of them.
        for turn in range(TURNS):
            quick += small.hits(LOOKS // TURNS, turn)
            slow += large.hits(LOOKS // TURNS, turn)
    what = f"a hit inside, {LARGE:,} entries (beside it {SMALL:,})"
    middle = percentile(quick, 50)
    yield Figure(f"{what}: p50", percentile(slow, 50), "ms", 1.5 * middle, middle)
    yield Figure(f"{what}: p99", percentile(slow, 99), "ms", 5, percentile(quick, 99))


def _report(home: Path) -> Iterator[Figure]:
    session = "bench"
    argv = [CREW, "report", "status", "-s", session]
    with scripted(home, session, AGENTS):
        seconds = [timed(argv, environment(home))[0] for _ in range(HITS + 1)][1:]
    taken = [1000 * each for each in seconds]
    what = f"report status, {AGENTS} scripted agents, of {HITS}"
    yield Figure(f"{what}: p50", median(taken), "ms", 150)
    yield Figure(f"{what}: p95", percentile(taken, 95), "ms", 150)
