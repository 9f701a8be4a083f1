"""What the agents use, and how the loop keeps up: numbers for whoever watches, never journalled.

The process trees of all agents are measured in one pass, in a thread: seldom while nobody
watches, every few seconds while somebody does. It is the one thing here that is looked at by the
clock: the kernel tells nobody that a process has become busy. What a tree shares is told apart
only for agents whose screen somebody looks at: that takes far longer.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from orchestrator.core.events import AnyEvent
from orchestrator.core.state import Process
from orchestrator.core.views import View
from orchestrator.sources import processes
from orchestrator.sources.processes import Usage

log = logging.getLogger(__name__)

# Seconds between two passes: while nobody watches, while somebody does, and after the first one
# for somebody who just came: the CPU's use is a difference of two.
IDLE, WATCHED, SOON = 60.0, 5.0, 1.0
# While nobody watches, at least so many for each agent: each makes a pass longer.
IDLE_EACH = 2.0
# What differs by less is the same, and is not told again.
CPU_DIGITS = 2
RSS_STEP = 1024 * 1024
LATENCY_DIGITS = 1


class Meter:
    """How the loop keeps up, from one `reading` to the next."""

    def __init__(self) -> None:
        # Posted and not on disk yet, in the order in which they will be. One that is told twice
        # is dropped by the loop, and stays here until a later one is on disk.
        self._waiting: deque[AnyEvent] = deque()
        self._published = 0.0
        self._queue = 0
        self._events = 0
        self._latency: float | None = None

    def posted(self, events: Sequence[AnyEvent]) -> None:
        self._waiting.extend(events)
        self._queue = max(self._queue, len(self._waiting))

    def published(self, mono: float) -> None:
        """A new world was published, at CLOCK_BOOTTIME seconds: that of the next `committed`."""
        self._published = mono

    def committed(self, events: Sequence[AnyEvent]) -> None:
        """These are on disk. What changed nothing was never published, and is only counted."""
        while self._waiting and self._waiting.popleft() is not events[-1]:
            pass
        self._events += len(events)
        late = self._published - min(event.mono for event in events)
        if late >= 0:
            self._latency = max(late, self._latency or 0.0)

    def reading(self) -> View:
        """`queue`: the most events that waited at once, `latency_ms`: the longest time from an
        event to its publication (ms, None: there was none), `events`: how many, since the last
        reading."""
        latency = None if self._latency is None else round(self._latency * 1000, LATENCY_DIGITS)
        read = {"queue": self._queue, "latency_ms": latency, "events": self._events}
        self._queue, self._events, self._latency = len(self._waiting), 0, None
        return read


class Sampler:
    """Measures while `run` runs, and tells `say(samples, load)` after each pass.

    `samples`: by agent, of its process and all below it, `cpu` as a fraction of one core since the
    last pass (None: not known yet), `rss` in bytes, `children`: how many live below it, and `pss`
    in bytes, where what they share counts once (None: not in `shown()`, or it may not be read).
    `load`: the meter's reading, None while nobody watches.
    """

    def __init__(
        self,
        watched: Callable[[], Mapping[str, Process]],
        meter: Meter,
        say: Callable[[View, View | None], None],
        *,
        shown: Callable[[], Collection[str]] = frozenset,
        usage: Callable[
            [Mapping[str, Process], Collection[str]], Mapping[str, Usage]
        ] = processes.usage,
        idle: float = IDLE,
        every: float = WATCHED,
        soon: float = SOON,
    ) -> None:
        self._processes = watched
        self._meter = meter
        self._say = say
        self._shown = shown
        self._usage = usage
        self._idle, self._every, self._soon = idle, every, soon
        self._watchers = 0
        self._came = asyncio.Event()
        self._samples: View = {}
        # Of each agent's process at the last pass: the CPU seconds it had used.
        self._used: dict[str, tuple[Process, float]] = {}
        # Loop time (s) of the last pass.
        self._at = float("-inf")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Somebody watches while inside."""
        self._watchers += 1
        if self._watchers == 1:
            self._meter.reading()  # What was before is nobody's interval.
            self._came.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._say(self._samples, None)

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        pause = self._idle
        while True:
            came = await self._first_watcher(pause)
            idle = max(self._idle, IDLE_EACH * len(self._processes()))
            pause = self._soon if came else self._every if self._watchers else idle
            if came and loop.time() - self._at < self._soon:
                continue  # What was just measured is shown already.
            try:
                await self._measure()
            except Exception:  # the next pass may do better, and nothing else hangs on it
                log.exception("the processes were not measured")
                continue
            load = self._meter.reading() if self._watchers and not came else None
            self._say(self._samples, load)

    async def _first_watcher(self, within: float) -> bool:
        """Whether somebody came to watch, where nobody was, in so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._came.wait()
        except TimeoutError:
            return False
        self._came.clear()
        return True

    async def _measure(self) -> None:
        found = dict(self._processes())
        shown = frozenset(self._shown())
        used = await asyncio.to_thread(self._usage, found, shown) if found else {}
        now = asyncio.get_running_loop().time()
        passed, self._at = now - self._at, now
        before, self._used = self._used, {n: (found[n], use.cpu) for n, use in used.items()}
        self._samples = {
            name: {
                "cpu": _fraction(before.get(name), self._used[name], passed),
                "rss": _stepped(use.rss),
                "children": use.children,
                "pss": None if use.pss is None else _stepped(use.pss),
            }
            for name, use in used.items()
        }


def _stepped(size: int) -> int:
    return round(size / RSS_STEP) * RSS_STEP


def _fraction(
    before: tuple[Process, float] | None, now: tuple[Process, float], passed: float
) -> float | None:
    """The cores' time per time that passed; None for a process that was not measured before."""
    if before is None or before[0] != now[0] or passed <= 0:
        return None
    # The sum falls when a child that has left the tree took its share along.
    return max(0.0, round((now[1] - before[1]) / passed, CPU_DIGITS))
