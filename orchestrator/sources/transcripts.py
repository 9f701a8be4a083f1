"""A transcript: JSON lines that an agent's CLI appends to. Only new lines are read.

What tells news from history. The position, checked against the bytes before it, for a file that
grows as it should; it is kept across supervisors (`Mark`), so each answer counts once, whenever
it was written. For a file that was cut, replaced or rotated and has to be read again: the identity
of the last lines (their uuid, else their bytes), and before those their time.

Prompts have a `floor` besides: a line that is not younger was there before the agent's process
was, or was digested by an earlier supervisor. A prompt that is history must never be told: a
message of the same words that is under way would count as received.
"""

import hashlib
import os
from collections import deque
from pathlib import Path

from orchestrator.core.dialects import Dialect, TranscriptLine, read_transcript_line
from orchestrator.core.events import TranscriptSeen
from orchestrator.core.tokens import NONE, Tokens
from orchestrator.core.usage import Answer, Mark
from orchestrator.sources.reading import open_plain, stamp_of

# Bytes, the last ones, that are read of a file that was never counted.
FIRST = 256 * 1024 * 1024
# Bytes read in one go. A longer line (a picture) tells nothing that its hook has not told.
CHUNK = 4 * 1024 * 1024
# Bytes read again, at most, of a file that was cut or replaced.
AGAIN = 16 * 1024 * 1024
# Bytes before the position that must still be there: a line or two, with their ids and times.
CHECK = 1024
# Seconds that a line may be younger than its file's time, which the kernel rounds down.
SLACK = 1.0
# Lines known by identity; answers of the model whose tokens are counted, and those in a mark.
KNOWN = 1024
ANSWERS = 64
MARKED = 4


class Transcript:
    """The transcript of an agent at `path`. For prompts, lines up to wall clock time `floor` are
    history. `mark`: up to where an earlier reader counted; what the file begins with, up to time
    `since`, is not the agent's own (a branch of a conversation begins with a copy of it).
    """

    def __init__(
        self,
        agent: str,
        dialect: Dialect,
        path: Path,
        floor: float,
        *,
        since: float = 0.0,
        mark: Mark | None = None,
    ) -> None:
        self.agent = agent
        self.path = path
        self.mark = mark or Mark()
        self._dialect: Dialect = dialect
        self._floor = floor
        self._since = since
        # Time of the newest line.
        self._at = self.mark.at
        self._placed = False
        self._offset = 0
        self._before = b""
        self._unchanged: tuple[int, ...] = ()
        # In the middle of a line: what comes up to its end is no line.
        self._torn = False
        # Up to here a file lay there before it was looked at for the first time.
        self._old = 0
        self.looked = False
        # Up to here it is read again: lines up to this time were counted.
        self._again: tuple[int, float] = (0, 0.0)
        self._order: deque[tuple[int, float | None]] = deque()
        self._known: set[int] = set()
        # Of lines that were read and are not known: they are not younger.
        self._forgotten = self.mark.at
        self._answers = dict(self.mark.answers)

    def is_behind(self, entry: os.DirEntry[str]) -> bool:
        """Whether the file is another than when it was read to the end."""
        return _state(entry.stat()) != self._unchanged

    def read(self, run: int, *, to_end: bool = False) -> tuple[TranscriptSeen | None, bool]:
        """What is new, if anything is, and whether there is more to read at once.

        `to_end`: all there is, in one event.
        """
        first, self.looked = not self.looked, True
        found = _Found()
        try:
            fd, info = open_plain(self.path)
        except OSError:
            return None, False  # not there before the first prompt
        try:
            state = _state(info)
            if state == self._unchanged:
                return None, False
            self._place(fd, info.st_size, first=first)
            more = True
            while more:
                data = os.pread(fd, CHUNK, self._offset)
                self._digest(self._split(data), found)
                more = self._offset < info.st_size and len(data) == CHUNK
                # What is read again is read in one go: the mark does not tell how far that is.
                if not to_end and self._offset >= self._again[0]:
                    break
        finally:
            os.close(fd)
        # Half a line at the end is waited for.
        self._unchanged = () if more else state
        return self._event(found, run, info.st_mtime), more

    def _place(self, fd: int, size: int, *, first: bool) -> None:
        """Set the position, if the one that we know is of another file than this."""
        if not self._placed:
            self._placed = True
            if first:
                self._old = size
            mark = self.mark
            if mark.offset == 0:
                self._go(fd, max(0, size - FIRST))
            elif _fingerprint(_read_before(fd, mark.offset)) == mark.before:
                self._go(fd, mark.offset)
                self._torn = False
            else:
                self._read_again(fd, size)
        elif _read_before(fd, self._offset) != self._before:
            self._old = 0
            self._read_again(fd, size)

    def _read_again(self, fd: int, size: int) -> None:
        self._again = (size, self._forgotten)
        self._go(fd, max(0, size - AGAIN))

    def _go(self, fd: int, offset: int) -> None:
        self._offset, self._torn = offset, offset > 0
        self._before = _read_before(fd, offset)

    def _split(self, data: bytes) -> list[tuple[int, bytes]]:
        """The whole lines of `data`, which starts at the position, each with its end's offset."""
        whole, newline, _ = data.rpartition(b"\n")
        taken = len(whole) + len(newline)
        if not newline:
            if len(data) < CHUNK:
                return []  # half a line
            self._torn, taken = True, len(data)
            self._before = (self._before + data)[-CHECK:]
            self._offset += taken
            return []
        lines, at = [], self._offset
        for line in whole.split(b"\n"):
            at += len(line) + 1
            lines.append((at, line))
        if self._torn:
            self._torn = False
            del lines[0]
        self._before = (self._before + data[:taken])[-CHECK:]
        self._offset += taken
        return lines

    def _digest(self, lines: list[tuple[int, bytes]], found: "_Found") -> None:
        for end, raw in lines:
            line = read_transcript_line(self._dialect, raw)
            if line is None or self._is_known(line, raw):
                continue
            found.words = line.words or found.words
            found.failed = line.failed if line.words else found.failed
            found.when = line.at or found.when
            more = self._count(line)
            if not self._is_counted(line, end):
                found.count(line.model, more)
            if line.prompt and not self._is_history(line, end):
                found.prompts.append(line.prompt)
            if line.queued and not self._is_history(line, end):
                found.queued.append(line.queued)
            self._at = max(self._at, line.at or 0.0)
        answers = dict(list(self._answers.items())[-MARKED:])
        before = _fingerprint(self._before)
        self.mark = Mark(offset=self._offset, before=before, at=self._at, answers=answers)

    def _event(self, found: "_Found", run: int, mtime: float) -> TranscriptSeen | None:
        if not (found.prompts or found.queued or found.words or found.tokens):
            return None
        when = found.when
        # The line's own time, so that it is not taken for news by the next supervisor.
        at, mono = stamp_of(when if when is not None and when < mtime + SLACK else mtime)
        return TranscriptSeen(
            at=at,
            mono=mono,
            source="transcript",
            agent=self.agent,
            run=run,
            prompts=tuple(found.prompts),
            queued=tuple(found.queued),
            last_words=found.words,
            failed=found.failed,
            tokens=found.tokens,
            file=os.path.realpath(self.path),
            mark=self.mark,
        )

    def _is_history(self, line: TranscriptLine, end: int) -> bool:
        """Told by its time; without one, by whether it was there before we were."""
        return end <= self._old if line.at is None else line.at <= self._floor

    def _is_counted(self, line: TranscriptLine, end: int) -> bool:
        """Whether an answer is another's, or was counted when the file was another one."""
        again, until = self._again
        if end <= again:
            return line.at is None or line.at <= until
        return line.at is not None and max(self._at, line.at) <= self._since

    def _is_known(self, line: TranscriptLine, raw: bytes) -> bool:
        """Whether this line was digested before; from now on it was."""
        identity = hash(line.uuid or raw)
        if identity in self._known:
            return True
        self._known.add(identity)
        self._order.append((identity, line.at))
        if len(self._order) > KNOWN:
            forgotten, at = self._order.popleft()
            self._known.discard(forgotten)
            # Read again, it would not be known: its time stands for it.
            self._forgotten = max(self._forgotten, at or 0.0)
            self._floor = max(self._floor, at or 0.0)
        return False

    def _count(self, line: TranscriptLine) -> Tokens:
        """The tokens that this line adds: an answer of several lines repeats its sum on each."""
        if line.message is None or line.tokens == NONE:
            return line.tokens
        before = self._answers.pop(line.message, None)
        known = before.tokens if before is not None else NONE
        now = known.most(line.tokens)
        self._answers[line.message] = Answer(model=line.model, tokens=now)
        if len(self._answers) > ANSWERS:
            del self._answers[next(iter(self._answers))]
        return now - known


class _Found:
    """What some lines hold that is new."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.queued: list[str] = []
        self.words: str | None = None
        self.failed = False
        self.tokens: dict[str, Tokens] = {}
        self.when: float | None = None

    def count(self, model: str, tokens: Tokens) -> None:
        if tokens != NONE:
            self.tokens[model] = self.tokens.get(model, NONE) + tokens


def _state(info: os.stat_result) -> tuple[int, ...]:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def _read_before(fd: int, offset: int) -> bytes:
    size = min(CHECK, offset)
    return os.pread(fd, size, offset - size)


def _fingerprint(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
