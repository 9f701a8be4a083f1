"""The loop. Read this first.

    post(event) -> queue -> reduce -> journal -> effects -> publish

Whatever happens is posted as an event by a source. The loop takes all that is queued, folds it
into the world in one expression, publishes the world, commits the events in one transaction, and
only then hands the effects to the runner. A result of an effect is posted as an event again.

When more comes than can be taken in, the queue is bounded by its sources. Those that have a place
where things can stay wait for `room` before they look: a hook stays in its file, a transcript and
a terminal are read later (what they showed meanwhile is read in one go), a command is answered
later. The others are bounded by what there is: a process dies once, a deadline passes once, an
effect has one result, and none runs before its cause is on disk. In the queue a newer sample
stands for an older one where the world cannot tell the difference (`sample_of`); what a hook or
a person said is never merged and never dropped. That the queue is long is said (`health`).

When the database cannot be written (disk full), the world goes on and is shown, nothing is
accepted from people, no effect runs, and the same batch is tried again until it is on disk.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, Protocol

from orchestrator.core.effects import AnyEffect, SaveMessage
from orchestrator.core.events import AnyEvent, SourceDoubted, TerminalSeen, agent_of
from orchestrator.core.reducer import reduce_safely
from orchestrator.core.state import Message, SessionState, World
from orchestrator.errors import StorageFull
from orchestrator.sinks.publish import Publisher
from orchestrator.sinks.worker import Worker

log = logging.getLogger(__name__)

# Events taken at once: bounds how long one drain keeps subscribers waiting.
BATCH = 500
# The world is written whole after this many events, and so many for each agent, as each makes it
# longer: what a new supervisor replays at most.
SNAPSHOT, SNAPSHOT_EACH = 500, 5
# Events that wait to be taken in; beyond it sources have to wait. Twice what the spool hands over
# before any of it is committed: one source alone does not make the others wait.
QUEUE = 2_000
# Events that wait from which on it is said: more than one drain takes.
BEHIND = BATCH
# Events held in memory while the disk is full; beyond it none is taken in.
HELD = 20_000
# Keys that are remembered, so that a fact given twice in a row is taken once.
KEYS = 20_000
# Seconds between two tries to write to a full disk.
RETRY = 1.0


class Journal(Protocol):
    """The part of `sinks.store.Store` that the loop needs."""

    def commit(self, events: Sequence[AnyEvent], messages: Sequence[Message]) -> Sequence[int]: ...

    def save_world(self, world: World, seq: int) -> None: ...


def sample_of(event: AnyEvent) -> Hashable | None:
    """What a wake-up or a sample is of: a newer one of the same stands for it. None: it is a fact.

    Only what leaves the world as the newer one alone does: how a terminal is at last, and that a
    full look is due. What a screen or a status file said is no sample: each reading is one step
    of what the agent did.
    """
    match event:
        case TerminalSeen(key=None):
            return event.kind, event.agent, event.run
        case SourceDoubted(key=None):
            return event.kind, event.doubted, event.reason
        case _:
            return None


class Queue:
    """What was posted and is not taken in yet, in order."""

    def __init__(self) -> None:
        self._events: deque[AnyEvent] = deque()
        # The samples behind the last fact: nothing lies between them that could have used one.
        self._samples: dict[Hashable, AnyEvent] = {}
        self._room = asyncio.Event()
        self._over = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def full(self) -> bool:
        return len(self._events) >= QUEUE

    def put(self, event: AnyEvent) -> None:
        sample = sample_of(event)
        if sample is None:
            self._samples.clear()
        else:
            older = self._samples.get(sample)
            # One that is read late says nothing of what is newer.
            if older is not None and older.mono <= event.mono:
                self._drop(older)
            self._samples[sample] = event
        self._events.append(event)

    def _drop(self, older: AnyEvent) -> None:
        """Take back a sample that a newer one stands for, if it is not taken in yet."""
        for back in range(1, len(self._events) + 1):
            if self._events[-back] is older:
                del self._events[-back]
                return

    def take(self) -> AnyEvent:
        event = self._events.popleft()
        if not self._events:
            self._samples.clear()
        return event

    def let_in(self) -> None:
        """Wake who waits for room, if there is some. Once a drain: each of them looks again."""
        if not self.full:
            self._room.set()

    async def room(self) -> bool:
        """Return when there is room, or nothing is taken any more; whether there was none."""
        waited = False
        while self.full and not self._over:
            waited = True
            self._room.clear()
            await self._room.wait()
        return waited

    def release(self) -> None:
        """Nothing is taken any more: nobody is to wait for it."""
        self._over = True
        self._room.set()


class Runtime:
    """One session's loop.

    `follow(old, new)` points the sources at what the new world watches; `run(effects)` starts
    effects; `committed(events)` is told what is safely on disk. None of them may block.
    """

    def __init__(
        self,
        world: World,
        seq: int,
        journal: Journal,
        worker: Worker,
        publisher: Publisher,
        *,
        follow: Callable[[World, World], None],
        run: Callable[[Sequence[AnyEffect]], None],
        committed: Callable[[Sequence[AnyEvent]], None],
    ) -> None:
        self.world = world
        self.publisher = publisher
        self._seq = seq
        self._saved = seq
        self._journal = journal
        self._worker = worker
        self._follow = follow
        self._run = run
        self._committed = committed
        self._queue = Queue()
        self._wake = asyncio.Event()
        self._uncommitted: list[AnyEvent] = []
        self._waiting: list[AnyEffect] = []
        # "down": leave once the session is down and everything is written; "now": leave.
        self.leaving: Literal["no", "down", "now"] = "no"
        self._retry_at = 0.0
        self._keys: OrderedDict[str, None] = OrderedDict()

    def post(self, *events: AnyEvent) -> None:
        """Queue events. Only from the loop's own thread."""
        before = len(self._queue)
        for event in events:
            self._queue.put(event)
        self._wake.set()
        if any(before < limit <= len(self._queue) for limit in (BEHIND, QUEUE)):
            self._say_behind()

    async def room(self) -> bool:
        """Wait until the queue has room; whether that took a wait, in which all may have changed.

        For sources that can wait, right before they look or post. Never from what the loop itself
        waits for.
        """
        return await self._queue.room()

    def _say_behind(self) -> None:
        """Say that more waits than one drain takes, or that it does not any more."""
        waiting, told = len(self._queue), None
        if waiting >= BEHIND:
            told = f"the supervisor is behind: {waiting:,} events wait to be taken in"
        if self._queue.full:
            told = f"{told}, so hooks wait in their files and commands for their answers"
        if told != self.publisher.health["behind"]:
            self.publisher.say(behind=told)

    def leave(self, how: Literal["down", "now"]) -> None:
        """End the loop: at once, or if the session is still down when the queue is empty."""
        if self.leaving != "now":
            self.leaving = how
        self._wake.set()

    def _told_to_leave(self) -> bool:
        return self.leaving != "no"

    def _over(self) -> bool:
        if self.leaving == "down" and self.world.state is not SessionState.DOWN:
            self.leaving = "no"  # Somebody has restored it meanwhile.
        if self.leaving == "now":
            # What cannot be written now is lost with us; what led to it is still in the spool.
            return not self._queue or bool(self._uncommitted)
        return self.leaving == "down" and not self._queue and not self._uncommitted

    async def run(self) -> None:
        """Run until told to leave. Raises Fenced when another supervisor has taken over."""
        try:
            while not self._over():
                await self._next()
                self._fold(self._take())
                await self._commit()
            if not self._uncommitted:
                await self.save()
        finally:
            self._queue.release()

    async def _next(self) -> None:
        """Wait for an event, or for the time to try a full disk again."""
        loop = asyncio.get_running_loop()
        full = len(self._uncommitted) >= HELD
        if self._told_to_leave() or (self._queue and not full):
            return
        self._wake.clear()
        timeout = max(0.0, self._retry_at - loop.time()) if self._uncommitted else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while full or not self._queue:
                    await self._wake.wait()
                    if self._told_to_leave():
                        return
                    self._wake.clear()

    def _take(self) -> list[AnyEvent]:
        """The next events; a fact that was given twice is taken once."""
        batch: list[AnyEvent] = []
        most = min(BATCH, HELD - len(self._uncommitted))
        while self._queue and len(batch) < most:
            event = self._queue.take()
            if event.key is not None:
                if event.key in self._keys:
                    continue
                self._keys[event.key] = None
                if len(self._keys) > KEYS:
                    self._keys.popitem(last=False)
            batch.append(event)
        self._queue.let_in()
        self._say_behind()
        return batch

    def _fold(self, batch: Sequence[AnyEvent]) -> None:
        """The one place where the world of a running supervisor changes."""
        old = self.world
        for event in batch:
            self.world, effects = reduce_safely(self.world, event)
            self._waiting.extend(effects)
            log.debug("took in %s", event.kind, extra={"agent": agent_of(event)})
        self._uncommitted.extend(batch)
        if self.world is not old:
            self.publisher.publish(self.world)
            try:
                self._follow(old, self.world)
            except Exception:  # a defect there must not end the loop: the audit looks again
                log.exception("the sources could not be pointed at the new world")

    async def _commit(self) -> None:
        """Write what is not on disk yet; then, and only then, run the effects."""
        events, effects = self._uncommitted, self._waiting
        loop = asyncio.get_running_loop()
        if not events or (loop.time() < self._retry_at and self.leaving == "no"):
            return
        # A message may have changed several times in one batch: the last row is the truth.
        rows = {e.message.number: e.message for e in effects if isinstance(e, SaveMessage)}
        try:
            seqs = await self._worker.call(self._journal.commit, events, list(rows.values()))
        except StorageFull as error:
            if self.publisher.health["storage"] is None:
                log.error("read-only: %s", error)
            self.publisher.say(storage=str(error))
            self._retry_at = loop.time() + RETRY
            return
        if self.publisher.health["storage"] is not None:
            log.warning("the database can be written again")
            self.publisher.say(storage=None)
        self._uncommitted, self._waiting, self._retry_at = [], [], 0.0
        self._seq = seqs[-1]
        self._committed(events)
        self._run([e for e in effects if not isinstance(e, SaveMessage)])
        self.publisher.commit(self._seq)
        if self._seq - self._saved >= max(SNAPSHOT, SNAPSHOT_EACH * len(self.world.agents)):
            await self.save()

    async def save(self) -> None:
        """Write the world whole. The journal has it already, so a failure costs only time."""
        started = time.monotonic()
        try:
            await self._worker.call(self._journal.save_world, self.world, self._seq)
        except StorageFull as error:
            log.warning("the world was not saved: %s", error)
            return
        self._saved = self._seq
        log.debug("saved the world", extra={"took": round(time.monotonic() - started, 4)})
