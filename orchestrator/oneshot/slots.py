"""How many runs of a CLI there are at once, over all processes of a person, and who is next.

A run holds one of a few locks (locks.py), its slot. Who finds none free queues up: a ticket is a
lock too, whose name tells its place, `queue/PRIORITY-NUMBER`. A waiter waits for the ticket right
before its own; the first one waits for the slots. Whatever wakes it, it looks again at all of it.
So a slot or a place is free the moment its process ends, in whatever way, and each end of a run
wakes one waiter. One that becomes more urgent takes another ticket.

Where the cache's directory cannot be written there is nothing to share: every run goes ahead.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from orchestrator.errors import CrewError
from orchestrator.oneshot.locks import Lock, any_free

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

# A CLI mostly waits for its model: more of them run well than there are cores.
PER_CORE = 4
# Bytes that one of them takes, all of its processes together.
MEMORY = 250_000_000
MOST = 32


class QueueFull(CrewError):
    """As many as may wait do."""


class Place(NamedTuple):
    """A ticket's place in the queue; they sort as they are served."""

    rank: int
    number: int

    @classmethod
    def of(cls, name: str) -> "Place | None":
        """The place that a ticket's file name tells; None: it is no ticket."""
        priority, _, number = name.partition("-")
        if priority not in PRIORITIES or not number.isdecimal():
            return None
        return cls(PRIORITIES.index(priority), int(number))

    @property
    def name(self) -> str:
        return f"{PRIORITIES[self.rank]}-{self.number}"


class Urgency:
    """Of all who wait for one answer, the highest priority."""

    def __init__(self, priority: Priority) -> None:
        self.rank = PRIORITIES.index(priority)
        # Look again: it is more urgent now, or something is free.
        self.woken = asyncio.Event()

    def also(self, rank: int) -> None:
        """Somebody with this rank waits for it too."""
        if 0 <= rank < self.rank:
            self.rank = rank
            self.woken.set()


class Slots:
    """`parallel` runs at once and `length` more that wait, below the cache's `directory`.

    Processes that were given different figures share what both of them have.
    """

    def __init__(self, directory: Path, parallel: int, length: int) -> None:
        self._slots = [directory / "slots" / str(number) for number in range(parallel)]
        self._queue = directory / "queue"
        self._length = length

    @contextlib.asynccontextmanager
    async def slot(self, urgency: Urgency) -> AsyncIterator[float]:
        """Hold a slot; gives the seconds that were waited for it.

        Raises QueueFull if as many wait as may. That is looked at before this one queues up, so
        that some that come in the same instant may all be let in.
        """
        began = time.monotonic()
        slot = await self._acquire(urgency)
        try:
            yield time.monotonic() - began
        finally:
            if slot is not None:
                slot.release()

    async def _acquire(self, urgency: Urgency) -> Lock | None:
        """A slot, when it is this one's turn; None where no files can be made."""
        rank = urgency.rank
        try:
            for directory in (self._slots[0].parent, self._queue):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            ticket = self._queue_up(rank)
        except OSError:
            return None
        try:
            while True:
                urgency.woken.clear()
                if urgency.rank != rank:
                    rank = urgency.rank
                    behind, ticket = ticket, self._ticket(rank)
                    behind.release()
                if (ahead := self._ahead(ticket)) is not None:
                    await any_free([ahead], urgency.woken)
                elif (slot := _first(self._slots)) is not None:
                    return slot
                else:
                    await any_free(self._slots, urgency.woken)
        except OSError:
            return None
        finally:
            ticket.release()

    def _places(self) -> list[Place]:
        """Of all tickets, also those whose process was killed; the next one first."""
        found = map(Place.of, os.listdir(self._queue))  # noqa: PTH208 - the names alone
        return sorted(place for place in found if place is not None)

    def _ahead(self, ticket: Lock) -> Path | None:
        """The ticket right before `ticket`."""
        own = Place.of(ticket.path.name)
        before = [place for place in self._places() if own is not None and place < own]
        return self._queue / before[-1].name if before else None

    def _queue_up(self, rank: int) -> Lock:
        places = self._places()
        if len(places) >= self._length:
            self._refuse_if_full(places)
        return self._ticket(rank)

    def _ticket(self, rank: int) -> Lock:
        """A ticket behind all others of this rank."""
        while True:
            last = max((place.number for place in self._places() if place.rank == rank), default=0)
            # Another process may be quicker to take this number.
            if ticket := Lock.take(self._queue / Place(rank, last + 1).name):
                return ticket

    def _refuse_if_full(self, places: list[Place]) -> None:
        """Raise QueueFull, unless some tickets are of processes that were killed, or will be
        served at once."""
        waiting = sum(not Lock.is_free(self._queue / place.name) for place in places)
        free = sum(Lock.is_free(slot) for slot in self._slots)
        if waiting >= self._length + free:
            raise QueueFull(
                f"{len(self._slots)} questions are being answered and {waiting} wait, which is as "
                f"many as may: ask again later, or set `queue` above {self._length}"
            )


def _first(slots: Iterable[Path]) -> Lock | None:
    """The first of the slots that nobody holds."""
    return next(filter(None, map(Lock.take, slots)), None)


def default_parallel() -> int:
    """How many runs this machine takes at once, by its cores and the memory that is free now."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(PER_CORE * cores, _available() // MEMORY, MOST))


def _available() -> int:
    """Bytes of memory that programs may still take."""
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kibibytes) * 1024
