"""A Claude CLI in simulated time, the files that it writes, and a supervisor's readers of them.

It takes prompts as the real one was seen to: it runs its hooks, writes its status file and, late,
its transcript, and keeps what comes in the middle of a turn for its end. It can be killed or frozen
at any moment; what is on disk stays. Everything is drawn from one seed, and nothing asks a clock.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from orchestrator.core import events as ev
from tests.core.worlds import RAW

Action = Callable[[], object]
Source = Literal["spool", "status", "transcript"]

# Wall clock (s) at the simulated time 0.
WALL = 1_000_000.0


class Span(NamedTuple):
    """Seconds that something takes on an idle machine; and how often it is held up besides."""

    low: float
    high: float
    held_up: float = 0.0


# Of the CLI. Measured with 2.1.329 are sums of these: from its launch 0.46 s to the idle status
# file, 0.41 to 0.5 to the input line, 0.32 to 0.45 to the SessionStart hook (0.5 to 0.65 where it
# resumes); from the submit key 30 to 94 ms to the UserPromptSubmit hook; from the end of an answer
# 31 to 126 ms to the Stop hook and 68 to 191 to the status file.
UP, DRAWN, STARTED = Span(0.25, 0.45), Span(0.35, 0.5, 0.1), Span(0.3, 0.6)
READ, HOOK, FILE = Span(0.005, 0.05, 0.05), Span(0.02, 0.1, 0.05), Span(0.005, 0.1, 0.05)
ENDED = Span(0.01, 0.1)
# Lines of the transcript are gathered for a tenth of a second: a timer, which load stretches less.
GATHERED, NEXT_LINE, TIMER = Span(0.05, 0.12, 0.05), Span(0.001, 0.001, 0.02), 3.0
# The model's answer, which no load here stretches: one at once, and any other.
QUICK, TURN = Span(0.02, 0.1), Span(0.4, 3.0)
# Seconds that a frozen CLI stands still: between the first and the second question for a receipt.
FROZEN = 50.0


class Timeline:
    """Simulated time, and chance. `load`: how much longer all takes than on an idle machine."""

    def __init__(self, seed: int, load: float, now: float) -> None:
        self.chance = random.Random(seed)
        self.load = load
        self.now = now
        self.log: list[str] = []
        self._due: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def after(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._due, (self.now + max(0.0, seconds), next(self._order), action))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, action = heapq.heappop(self._due)
            action()

    def takes(self, span: Span, most: float = math.inf) -> float:
        """Seconds that it takes now. `most`: more than so many times does no load stretch it."""
        seconds = self.chance.uniform(span.low, span.high) * min(self.load, most)
        if self.chance.random() < span.held_up:
            seconds += self.chance.uniform(0.2, 2.0) * self.load / 4
        return seconds

    def say(self, what: str) -> None:
        self.log.append(f"{self.now:10.3f} {what}")


class Line(NamedTuple):
    kind: Literal["prompt", "queued", "words"]
    text: str
    at: float


class Hook(NamedTuple):
    name: str
    run: int
    text: str | None
    reason: str | None
    at: float


def _nobody(source: Source) -> None:
    """No supervisor runs."""


class Disk:
    """What the CLI and its hooks have written outlives them. `changed` is told of each write."""

    def __init__(self, time: Timeline) -> None:
        self.spool: list[Hook] = []
        self.transcript: list[Line] = []
        # By process: its status, and when that was its status.
        self.status: dict[int, tuple[str, float]] = {}
        self.changed: Callable[[Source], object] = _nobody
        self._time = time
        self._writes = 0
        self._behind: dict[int, Action] = {}

    def behind(self, number: int, action: Action) -> None:
        """Do it at that write: what is dangerous happens between two of them. One at each."""
        self._behind[number] = action

    def hook(self, hook: Hook) -> None:
        self._time.say(f"    hook {hook.name} of run {hook.run}: {hook.text}")
        self.spool.append(hook)
        self._wrote("spool")

    def line(self, line: Line) -> None:
        self._time.say(f"    line {line.kind} of {line.at:.3f}: {line.text}")
        self.transcript.append(line)
        self._wrote("transcript")

    def file(self, pid: int, status: str, at: float) -> None:
        self._time.say(f"    status file {pid} of {at:.3f}: {status}")
        self.status[pid] = (status, at)
        self._wrote("status")

    def _wrote(self, source: Source) -> None:
        self._writes += 1
        if self._writes in self._behind:
            self._behind.pop(self._writes)()
        self.changed(source)


class Cli:
    """A process of the CLI, ready for a prompt. Killed, it loses what it has not written."""

    def __init__(self, time: Timeline, disk: Disk, run: int, pid: int, *, quick: bool) -> None:
        self.run, self.pid, self.began = run, pid, time.now
        self.is_alive, self.is_busy = True, False
        # Its input line is drawn: what is pasted before is kept, and read then.
        self.is_drawn = True
        # What stands in its terminal's input queue.
        self.unread: list[str] = []
        self._time, self._disk, self._quick = time, disk, quick
        self._queue: list[str] = []
        self._unwritten: deque[Line] = deque()
        self._stands_until, self._filed = 0.0, 0.0

    def launch(self) -> None:
        """It was only just started, to go on with the conversation."""
        self.is_drawn = False
        self._later(UP, partial(self._file, "ready"))
        self._later(DRAWN, self._draw)
        self._later(STARTED, partial(self._hook, "SessionStart", reason="resume"))

    def paste(self, text: str) -> None:
        if self.is_alive:
            self.unread.append(text)
            self._later(READ, self._read)

    def freeze(self) -> None:
        self._stands_until = self._time.now + FROZEN

    def kill(self) -> None:
        self.is_alive = False

    def _later(self, span: Span, action: Action, most: float = math.inf) -> None:
        self._time.after(self._time.takes(span, most), partial(self._go_on, action))

    def _go_on(self, action: Action) -> None:
        still = self._stands_until - self._time.now
        if self.is_alive and still > 0:
            self._time.after(still + 0.001, partial(self._go_on, action))
        elif self.is_alive:
            action()

    def _draw(self) -> None:
        self.is_drawn = True
        self._read()

    def _read(self) -> None:
        while self.is_drawn and self.unread:
            text = self.unread.pop(0)
            if self.is_busy:
                self._queue.append(text)
                self._line("queued", text, self._time.now)
                self._hook("UserPromptSubmit", text)
            else:
                self._take(text)

    def _take(self, text: str) -> None:
        """A prompt that was just typed: its hook is waited for, before its turn is told of."""
        self.is_busy = True
        now = self._time.now

        def hooked() -> None:
            self._file("working")
            self._begin(text, now)

        self._hook("UserPromptSubmit", text, then=hooked)

    def _begin(self, text: str, at: float) -> None:
        self._line("prompt", text, at)
        quick = self._quick and self._time.chance.random() < 0.5
        self._later(QUICK if quick else TURN, self._end, most=1.0)

    def _end(self) -> None:
        self._line("words", "done", self._time.now)
        self._hook("Stop", "done", then=lambda: self._later(ENDED, self._ended))

    def _ended(self) -> None:
        """What came meanwhile is made into one prompt; the status file tells of no end then."""
        if self._queue:
            text, self._queue = "\n".join(self._queue), []
            self._begin(text, self._time.now)
        else:
            self.is_busy = False
            self._file("ready")
            self._read()

    def _file(self, status: str) -> None:
        """It is written in the order of what happened, however late."""
        now = self._time.now
        self._filed = max(self._filed, now + self._time.takes(FILE))
        write = partial(self._disk.file, self.pid, status, now)
        self._time.after(self._filed - now, partial(self._go_on, write))

    def _hook(
        self,
        name: str,
        text: str | None = None,
        reason: str | None = None,
        then: Action | None = None,
    ) -> None:
        """Its script is a process of its own, and goes on where the CLI is killed."""

        def written() -> None:
            self._disk.hook(Hook(name, self.run, text, reason, self._time.now))
            if then is not None:
                self._go_on(then)

        self._time.after(self._time.takes(HOOK), written)

    def _line(self, kind: Literal["prompt", "queued", "words"], text: str, at: float) -> None:
        self._unwritten.append(Line(kind, text, at))
        if len(self._unwritten) == 1:
            self._later(GATHERED, self._write, TIMER)

    def _write(self) -> None:
        self._disk.line(self._unwritten.popleft())
        if self._unwritten:
            self._later(NEXT_LINE, self._write, 1.0)


def stamp(source: str, mono: float) -> dict[str, Any]:
    return {"at": WALL + mono, "mono": mono, "source": source}


class Sources:
    """A supervisor's readers of the files. Each tells only what it has not told before."""

    def __init__(self, disk: Disk, hooks: frozenset[int], offset: int) -> None:
        # Up to this line of the transcript it was read; these hooks were.
        self.offset = offset
        # The process is gone, and what it wrote last is still to be read.
        self.is_parting = False
        self._disk = disk
        self._hooks = set(hooks)
        self._pid: int | None = None
        self._run, self._floor = 0, 0.0
        self._status: tuple[str, float] | None = None

    def point(self, pid: int, run: int, floor: float) -> None:
        """Read of this process from now on. Prompts up to `floor` are history, but for those that
        the process before has just written."""
        if pid != self._pid:
            self._pid, self._status = pid, None
        if not (self.is_parting and self.offset < len(self._disk.transcript)):
            self._floor = floor
        self.is_parting, self._run = False, run

    def part(self) -> None:
        self._pid, self.is_parting = None, True

    def read(self, *sources: Source) -> list[ev.AnyEvent]:
        """What is new there, in the order in which it happened."""
        reads = {"spool": self._spool, "status": self._file, "transcript": self._lines}
        found = [event for source in sources for event in reads[source]()]
        return sorted(found, key=lambda event: event.mono)

    def _spool(self) -> Sequence[ev.AnyEvent]:
        new = [n for n in range(len(self._disk.spool)) if n not in self._hooks]
        self._hooks.update(new)
        return [_hook_received(n, self._disk.spool[n]) for n in new]

    def _file(self) -> Sequence[ev.AnyEvent]:
        now = self._disk.status.get(self._pid or 0)
        if now is None or now == self._status:
            return []
        self._status = now
        seen: dict[str, Any] = {"status": now[0], "raw": RAW[now[0]], **stamp("status", now[1])}
        return [ev.StatusFileSeen(agent="a", run=self._run, **seen)]

    def _lines(self) -> Sequence[ev.AnyEvent]:
        new = self._disk.transcript[self.offset :]
        self.offset = len(self._disk.transcript)
        young = [line for line in new if line.at > self._floor]
        prompts = tuple(line.text for line in young if line.kind == "prompt")
        queued = tuple(line.text for line in young if line.kind == "queued")
        words = next((line.text for line in reversed(new) if line.kind == "words"), None)
        if not (prompts or queued or words):
            return []
        seen: dict[str, Any] = {"prompts": prompts, "queued": queued, "last_words": words}
        seen |= stamp("transcript", new[-1].at)
        return [ev.TranscriptSeen(agent="a", run=self._run, **seen)]


def _hook_received(number: int, hook: Hook) -> ev.HookReceived:
    told: dict[str, Any] = {"hook": hook.name, "text": hook.text, "reason": hook.reason}
    told |= stamp("hook", hook.at)
    return ev.HookReceived(agent="a", run=hook.run, key=str(number), **told)
