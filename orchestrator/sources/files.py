"""Files as a source of events: spool, status files, transcripts, and the team's own files.

A notification is only a hint. It says which file may have changed; then one thread call drains
what there is to drain, and what was new is posted. Notifications that come meanwhile are taken
together, in one more call. While nothing happens, nothing runs: no timer, no thread wakes up.

    watchdog's threads --tokens--> loop --work--> worker thread --events--> loop --> post

All reading is done by the one worker at a time (`desk.py`), so the readers need no locks.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections import Counter
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path

from orchestrator.core.events import AnyEvent, StatusFileGone
from orchestrator.core.spec import CliSpec
from orchestrator.core.state import Process, Source
from orchestrator.core.usage import Usage
from orchestrator.sources.desk import SPOOL, Desk, Edit, EditKind, Follow, Look, Seen, Token, Work
from orchestrator.sources.watches import Settle, Watches

log = logging.getLogger(__name__)

# Seconds. A status file that did not parse is being written; it takes less than a millisecond.
UNFINISHED = 0.02
# An editor writes a file in several steps. A question about it costs more than a remark.
EDITED: Mapping[EditKind, float] = {"team": 0.1, "input": 0.5}
# Between two looks at a directory that cannot be watched, or written.
SLOW = 0.5
# How late a notification may come before what a full look found counts as not told.
LATE = 2.0
# A worker that failed is tried again after this.
AGAIN = 1.0
# Descriptors that must be left for reading: where there is none, all looks as if it were gone.
SPARE = 4
# Sentences remembered so as not to be said again.
SAID = 1000


async def always() -> None:
    """The room of a loop that is never behind."""


def _can_open(count: int) -> bool:
    """Whether so many files can be open beside those that are."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(count):
                fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
        except OSError:
            return False
    return True


class Files:
    """The files of one session. Made in the running loop; every method is called from its thread.

    `post` takes the events. `already(keys)` tells which keys the journal has, once, at the start.
    `report` takes sentences for people, each once. `doubt(source, reason)`: something may have
    been missed; the full look that follows is under way. `wrong(sentence)`: what is out of order
    for long, and None when nothing is any more; without it, `report` takes the sentences.
    `room()` waits until the loop can take in more: meanwhile files stay as they are.
    """

    def __init__(
        self,
        spool: Path,
        *,
        post: Callable[[Sequence[AnyEvent]], None],
        already: Callable[[Sequence[str]], set[str]],
        report: Callable[[str], None],
        doubt: Callable[[Source, str], None],
        wrong: Callable[[str | None], None] | None = None,
        room: Callable[[], Awaitable[object]] = always,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._post = post
        self._already = already
        self._tell = report
        self._doubt = doubt
        self._said: set[str] = set()
        self._wrong = wrong or self._say_if_any
        self._room = room
        # Why files are looked at by the clock: as last refused, and as told; and what is told.
        self._refused: list[str] = []
        self._unwatched: str | None = None
        self._told_wrong: str | None = None
        self._edited: Callable[[Collection[Path]], None] = lambda _: None
        self._watches = Watches[Token](self._told, self._overflowed, self._unwatchable)
        self._desk = Desk(spool, self._watches, self._report)
        self._work = Work()
        self._due = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        # What watchdog's threads have told and the loop has not taken yet.
        self._mail: set[Token | Settle] = set()
        self._mail_lock = threading.Lock()
        self._rescans: list[asyncio.Future[int]] = []
        # Told since the latest rescan began.
        self._heard: set[Token | Settle] = set()
        self._judges: set[asyncio.Task[None]] = set()
        self._stopping = False

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Clear up what an earlier supervisor left, then watch and read."""
        spool = self._desk.spool
        await asyncio.to_thread(spool.sweep)
        known = self._already(await asyncio.to_thread(spool.keys))
        if known:
            await asyncio.to_thread(spool.forget, known)
        self._watches.listen()
        self._ask(settle=True, look=[SPOOL])
        self._task = asyncio.create_task(self._run(), name="files")

    async def stop(self) -> None:
        """End every watch, thread and timer."""
        self._stopping = True
        self._watches.stop_listening()
        for timer in self._timers.values():
            timer.cancel()
        for judge in list(self._judges):
            judge.cancel()
        if self._task is not None:
            # Not cancelled: its thread would go on behind our back.
            self._due.set()
            await self._task
        for future in self._rescans:
            future.cancel()
        await asyncio.to_thread(self._desk.close)

    # -- what is watched ---------------------------------------------------------------------------

    def follow(
        self,
        agent: str,
        run: int,
        cli: CliSpec,
        *,
        process: Process | None,
        status_path: Path | None,
        transcript_path: Path | None,
        since: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Read these files of a run of `agent`, and no others of it, from now on. Without a
        process: read once more what is to be counted.

        Lines of the transcript are news if they are younger than the process, and than `since`:
        the `at` of the last `TranscriptSeen` of this agent, wall clock seconds, if there was one.
        `usage`: up to where its transcripts are counted.
        """
        self._work.follow[agent] = Follow(
            run=run,
            cli=cli,
            process=process,
            status=status_path,
            transcript=transcript_path,
            since=since,
            usage=usage or Usage(),
        )
        self._ask(settle=True)

    def unfollow(self, agent: str) -> None:
        """Leave the files of `agent` alone, once its transcripts are read to the end."""
        self._work.follow[agent] = None
        self._ask(settle=True)

    def watch_edits(self, files: Iterable[Path | str]) -> None:
        """Tell when the content of one of these, and no others, becomes another."""
        self._work.edits["team"] = tuple(Path(file) for file in files)
        self._ask(settle=True)

    def watch_inputs(
        self, files: Iterable[Path], edited: Callable[[Collection[Path]], None]
    ) -> None:
        """Call `edited` when the content of some of these, and of no others, becomes another."""
        self._edited = edited
        self._work.edits["input"] = tuple(files)
        self._ask(settle=True)

    def consumed(self, keys: Iterable[str | None]) -> None:
        """Events with these keys are committed: their files are unlinked."""
        mine = [key for key in keys if key is not None and key.startswith("hook:")]
        if mine:
            self._work.consumed.extend(mine)
            self._ask()

    async def settled(self) -> None:
        """Wait until all that there was a reason to read is read and posted."""
        if self._task is not None:
            await self._idle.wait()

    async def rescan(self) -> int:
        """Look at everything. Returns how many events it found that no notification told of."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._rescans.append(future)
        self._ask()
        return await future

    # -- from other threads ------------------------------------------------------------------------

    def _told(self, tokens: Collection[Token | Settle]) -> None:
        """In watchdog's thread: hand over; the loop is woken once for all that come together."""
        with self._mail_lock:
            first = not self._mail
            self._mail.update(tokens)
        if first:
            self._call(self._take_mail)

    def _overflowed(self) -> None:
        self._call(self._look_everywhere, "the kernel's queue of file notifications overflowed")

    def _report(self, text: str) -> None:
        self._call(self._say, text)

    def _unwatchable(self, text: str) -> None:
        self._call(self._refused.append, text)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        # The loop may be closed while watchdog's threads are still ending.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    # -- in the loop -------------------------------------------------------------------------------

    def _take_mail(self) -> None:
        with self._mail_lock:
            tokens, self._mail = self._mail, set()
        self._heard |= tokens
        for token in tokens:
            match token:
                case Settle():
                    self._ask(settle=True)
                case Edit():
                    self._later(EDITED[token.what], token, [token])
                case Look():
                    self._ask(look=[token])

    def _say(self, text: str) -> None:
        if text not in self._said and len(self._said) < SAID:
            self._said.add(text)
            self._tell(text)

    def _say_if_any(self, text: str | None) -> None:
        if text is not None:
            self._say(text)

    def _say_wrong(self, seen: Seen) -> None:
        """Tell what is out of order for long, each time that it is something else."""
        refused, self._refused = self._refused, []
        if not seen.slow:
            self._unwatched = None
        elif refused and self._unwatched not in refused:
            self._unwatched = refused[0]
        wrong = seen.wrong or self._unwatched
        if wrong != self._told_wrong:
            self._told_wrong = wrong
            self._wrong(wrong)

    def _look_everywhere(self, reason: str) -> None:
        self._doubt("hook", reason)
        self._ask(everything=True)

    def _ask(
        self, *, settle: bool = False, everything: bool = False, look: Iterable[Token] = ()
    ) -> None:
        self._work.settle |= settle
        self._work.everything |= everything
        self._work.look.update(look)
        self._due.set()
        self._idle.clear()

    def _later(
        self,
        delay: float,
        name: Hashable,
        look: Collection[Token],
        *,
        settle: bool = False,
        everything: bool = False,
        retried: bool = False,
    ) -> None:
        """Look again after `delay` seconds; what is already set for `name` stands."""
        if name in self._timers or self._stopping:
            return

        def due() -> None:
            del self._timers[name]
            if retried:
                self._work.retried.update(look)
            self._ask(settle=settle, everything=everything, look=look)

        self._timers[name] = self._loop.call_later(delay, due)

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            await self._room()
            if self._stopping:
                return
            self._due.clear()
            if not _can_open(SPARE):
                self._say("no file can be opened: too many are open, or the system has no more")
                self._later(AGAIN, "starved", ())
                continue
            work, self._work = self._work, Work()
            rescans, self._rescans = self._rescans, []
            if rescans:
                work.everything = True
                self._heard.clear()
            try:
                seen = await asyncio.to_thread(self._desk.work, work)
            except Exception:  # whatever the defect is, the other files are still to be read
                log.exception("files could not be read")
                self._say("files could not be read: see the log")
                self._later(AGAIN, "failed", (), everything=True)
                seen = Seen()
            else:
                self._say_wrong(seen)
            self._take(seen)
            if not self._due.is_set():
                self._idle.set()
            if rescans:
                judge = asyncio.create_task(self._judge(rescans, seen))
                self._judges.add(judge)
                judge.add_done_callback(self._judges.discard)

    def _take(self, seen: Seen) -> None:
        """Post what was seen, as it happened, and look again where more is due."""
        if seen.events:
            self._post(sorted((event for _, event in seen.events), key=lambda e: e.mono))
        if seen.inputs:
            self._edited(seen.inputs)
        if seen.again:
            self._ask(look=seen.again)
        for token in seen.unfinished:
            self._later(UNFINISHED, token, [token], retried=True)
        if seen.slow or seen.wrong:
            self._later(SLOW, "slow", seen.slow, settle=True)

    async def _judge(self, rescans: Sequence[asyncio.Future[int]], seen: Seen) -> None:
        """Count what was not told of, after the time that a notification may be under way."""
        excused = seen.expected | seen.slow | set(self._timers)
        # A file that went with its directory may be told of as that alone.
        found = Counter(
            token
            for token, event in seen.events
            if token not in excused and not isinstance(event, StatusFileGone)
        )
        deadline = self._loop.time() + LATE
        try:
            while set(found) - self._heard and self._loop.time() < deadline:
                await asyncio.sleep(LATE / 10)
            missed = sum(count for token, count in found.items() if token not in self._heard)
            for future in rescans:
                if not future.done():
                    future.set_result(missed)
        finally:
            for future in rescans:
                future.cancel()
