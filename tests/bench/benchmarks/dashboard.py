"""The dashboard before a scripted team of 100: first paint, keys, at rest, and under load."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Figure, percentile
from tests.bench.kernel import cpu_seconds, resident_mib, wake_ups
from tests.bench.surroundings import CREW, environment, module, scripted
from tests.bench.window import Window

SESSION, AGENTS = "bench", 100
# Every row of the team is in sight: the most that there can be to draw.
SIZE = (200, 115)
STARTS, KEYS = 5, 98
# Seconds between two keys: what the one before has asked for is drawn by then.
STROKE = 0.17
# Seconds for which costs are counted, and for which nothing is drawn before.
PERIOD, QUIET = 10.0, 0.6


@dataclass(frozen=True)
class Cost:
    """Of a second: bytes drawn, wake-ups, and the share of a core in percent."""

    drawn: float
    woken: float
    core: float


@dataclass(frozen=True)
class Taken:
    """What one dashboard took: seconds for each start, milliseconds from each key to its paint."""

    starts: list[float]
    keys: list[float]
    rest: Cost
    loaded_keys: list[float]
    load: Cost
    resident: float


# What is told of both: its name, its unit, its budget.
TOLD: tuple[tuple[str, str, float | None, Callable[[Taken], float]], ...] = (
    (f"start to first paint, p50 of {STARTS}", "s", 0.8, lambda t: statistics.median(t.starts)),
    ("key to paint, p50", "ms", 50, lambda t: percentile(t.keys, 50)),
    ("key to paint, p99", "ms", 50, lambda t: percentile(t.keys, 99)),
    ("at rest: drawn a second", "B", 0, lambda t: t.rest.drawn),
    ("at rest: of a core", "%", 0.2, lambda t: t.rest.core),
    ("at rest: wake-ups a second", "", None, lambda t: t.rest.woken),
    ("all change 10 times a second: of a core", "%", 20, lambda t: t.load.core),
    ("all change: drawn a second", "kB", None, lambda t: t.load.drawn / 1000),
    ("all change: key to paint, p50", "ms", 50, lambda t: percentile(t.loaded_keys, 50)),
    ("all change: key to paint, p99", "ms", None, lambda t: percentile(t.loaded_keys, 99)),
    ("resident memory", "MiB", None, lambda t: t.resident),
)


def measure(home: Path) -> Iterator[Figure]:
    """Ours, then the polling one, before the same supervisor."""
    socket = home / ".local/state/crewmux" / SESSION / "crew.sock"
    with scripted(home, SESSION, AGENTS) as say:
        ours = _take([CREW, "watch", "-s", SESSION], home, say)
        polling = _take(module("polling", str(socket)), home, say)
    for what, unit, budget, look in TOLD:
        yield Figure(f"dashboard: {what}", look(ours), unit, budget, look(polling))


def _take(argv: list[str], home: Path, say: Callable[[str], None]) -> Taken:
    # The first start compiles Python and reads the disk.
    starts = [_first_paint(argv, home) for _ in range(STARTS + 1)][1:]
    with Window(argv, environment(home), SIZE) as window:
        window.until(_name(AGENTS))
        window.watch(QUIET)
        keys = _keys(window)
        window.watch(QUIET)
        rest = _cost(window)
        say("busy")
        window.watch(QUIET)
        load = _cost(window)
        loaded_keys = _keys(window)
        say("quiet")
        return Taken(starts, keys, rest, loaded_keys, load, resident_mib(window.pid))


def _first_paint(argv: list[str], home: Path) -> float:
    """Until the last row of the team is drawn."""
    with Window(argv, environment(home), SIZE) as window:
        return window.until(_name(AGENTS)) - window.started


def _keys(window: Window) -> list[float]:
    """Down the team, a row at a time: until the row that is chosen by it is drawn anew."""
    window.press(b"\x1b[H")
    window.watch(2 * STROKE)
    taken = []
    for number in range(2, KEYS + 2):
        pressed = window.press(b"j")
        taken.append(1000 * (window.until(_name(number)) - pressed))
        window.watch(STROKE)
    return taken


def _cost(window: Window) -> Cost:
    cpu, woken = cpu_seconds(window.pid), wake_ups(window.pid)
    drawn = window.watch(PERIOD)
    core = 100 * (cpu_seconds(window.pid) - cpu) / PERIOD
    return Cost(drawn / PERIOD, (wake_ups(window.pid) - woken) / PERIOD, core)


def _name(number: int) -> bytes:
    return f"agent-{number:03d}".encode()
