"""Time: what it is now, which boot this is, and one timer for every deadline of the world.

Durations and "which is newer" use CLOCK_BOOTTIME: it never jumps, it goes on while the machine is
suspended, and every process of one boot reads the same.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping

# The loop's own clock stands still while the machine is suspended. So no timer is set further
# ahead than this (s): a deadline that passed during a suspend is at most this late.
LONGEST = 60.0


def mono() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> tuple[float, float]:
    """The wall clock (s since the epoch) and CLOCK_BOOTTIME (s) of this instant."""
    return time.time(), mono()


def roll() -> float:
    """A random number in [0, 1): for jitter, never for secrets."""
    return random.random()  # noqa: S311


class Deadlines:
    """Calls `fire(name, due)` once per deadline, on one loop timer for the earliest of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[str, float], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._deadlines: Mapping[str, float] = {}
        # What was fired and is still asked for: the mapping is changed by others, and later.
        self._fired: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._set_for: float | None = None

    def follow(self, deadlines: Mapping[str, float]) -> None:
        """Watch these deadlines, name -> CLOCK_BOOTTIME seconds, and no others."""
        if deadlines is self._deadlines:
            return
        self._deadlines = deadlines
        if self._fired:
            self._fired = {n: d for n, d in self._fired.items() if deadlines.get(n) == d}
        self._set_timer()

    def close(self) -> None:
        """Fire nothing any more."""
        self.follow({})

    def _waiting(self) -> Mapping[str, float]:
        if not self._fired:
            return self._deadlines
        return {n: d for n, d in self._deadlines.items() if self._fired.get(n) != d}

    def _set_timer(self) -> None:
        earliest = min(self._waiting().values(), default=None)
        if earliest == self._set_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._set_for = None, earliest
        if earliest is not None:
            delay = min(max(0.0, earliest - mono()), LONGEST)
            self._timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        """Fire what is due, in order of time."""
        self._timer = self._set_for = None
        present = mono()
        due = sorted((d, n) for n, d in self._waiting().items() if d <= present)
        try:
            for instant, name in due:
                # `fire` may have changed what is followed.
                if self._deadlines.get(name) == instant and self._fired.get(name) != instant:
                    self._fired[name] = instant
                    self._fire(name, instant)
        finally:
            # Also if one call failed: the others are still due.
            self._set_timer()
