"""The transcript of a conversation: JSON lines that its CLI appends to. Only new lines are read.

Three things tell news from history. The position (inode, offset), checked against the bytes
before it, for a file that grows as it should. The identity of the last lines (their uuid, else
their bytes), for one that was cut, replaced or rotated and has to be read again. And a time, the
`floor`: a line that is not younger was there before the agent's process was, or was digested by
an earlier supervisor. A prompt that is history must never be told: a message of the same words
that is under way would count as received.
"""

import os
from collections import deque
from pathlib import Path

from orchestrator.core.dialects import Dialect, TranscriptLine, read_transcript_line
from orchestrator.core.events import TranscriptSeen
from orchestrator.sources.reading import open_plain, stamp_of

# Bytes. Of a file that is there at the first look: enough for its last words.
TAIL = 256 * 1024
# Bytes read in one go. A longer line (a picture) tells nothing that its hook has not told.
CHUNK = 4 * 1024 * 1024
# Bytes read again, at most, of a file that was cut or replaced.
AGAIN = 16 * 1024 * 1024
# Bytes before the position that must still be there.
CHECK = 64
# Seconds that a line may be younger than its file's time, which the kernel rounds down.
SLACK = 1.0
# Lines known by identity, and answers of the model whose tokens are counted.
KNOWN = 1024
ANSWERS = 64


class Transcript:
    """The transcript of an agent at `path`; lines up to wall clock time `floor` are history."""

    def __init__(self, agent: str, dialect: Dialect, path: Path, floor: float) -> None:
        self.agent = agent
        self.path = path
        self._dialect: Dialect = dialect
        self._floor = floor
        self._inode: tuple[int, int] | None = None
        self._offset = 0
        self._before = b""
        self._unchanged: tuple[int, ...] = ()
        # In the middle of a line: what comes up to its end is no line.
        self._torn = False
        # Up to here a file lay there before it was looked at for the first time.
        self._old = 0
        self._looked = False
        self._order: deque[tuple[int, float | None]] = deque()
        self._known: set[int] = set()
        self._answers: dict[str, tuple[int, int]] = {}

    def read(self, run: int) -> tuple[TranscriptSeen | None, bool]:
        """What is new, if anything is, and whether there is more to read at once."""
        first, self._looked = not self._looked, True
        try:
            fd, info = open_plain(self.path)
        except OSError:
            return None, False  # not there before the first prompt
        try:
            state = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
            if state == self._unchanged:
                return None, False
            self._place(fd, info, first=first)
            data = os.pread(fd, CHUNK, self._offset)
        finally:
            os.close(fd)
        lines, more = self._split(data), self._offset < info.st_size and len(data) == CHUNK
        # Half a line at the end is waited for.
        self._unchanged = () if more else state
        return self._digest(lines, run, info.st_mtime), more

    def _place(self, fd: int, info: os.stat_result, *, first: bool) -> None:
        """Set the position, if the one that we know is of another file than this."""
        inode = (info.st_dev, info.st_ino)
        size = info.st_size
        if self._inode is None:
            if first:
                self._old = size
                self._go(max(0, size - TAIL))
        elif (
            inode != self._inode
            or size < self._offset
            or os.pread(fd, len(self._before), self._offset - len(self._before)) != self._before
        ):
            self._old = 0
            self._go(max(0, size - AGAIN))
        self._inode = inode

    def _go(self, offset: int) -> None:
        self._offset, self._before, self._torn = offset, b"", offset > 0

    def _split(self, data: bytes) -> list[tuple[int, bytes]]:
        """The whole lines of `data`, which starts at the position, each with its end's offset."""
        whole, newline, _ = data.rpartition(b"\n")
        taken = len(whole) + len(newline)
        if not newline:
            if len(data) < CHUNK:
                return []  # half a line
            self._torn, taken = True, len(data)
            self._before = data[-CHECK:]
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

    def _digest(
        self, lines: list[tuple[int, bytes]], run: int, mtime: float
    ) -> TranscriptSeen | None:
        prompts: list[str] = []
        words: str | None = None
        given = taken = 0
        when: float | None = None
        for end, raw in lines:
            line = read_transcript_line(self._dialect, raw)
            if line is None or self._is_known(line, raw):
                continue
            words = line.words or words
            when = line.at or when
            if self._is_history(line, end):
                self._count(line)
                continue
            if line.prompt:
                prompts.append(line.prompt)
            more_given, more_taken = self._count(line)
            given, taken = given + more_given, taken + more_taken
        if not (prompts or words or given or taken):
            return None
        # The line's own time, so that it is not taken for news by the next supervisor.
        at, mono = stamp_of(when if when is not None and when < mtime + SLACK else mtime)
        return TranscriptSeen(
            at=at,
            mono=mono,
            source="transcript",
            agent=self.agent,
            run=run,
            prompts=tuple(prompts),
            last_words=words,
            input_tokens=given,
            output_tokens=taken,
        )

    def _is_history(self, line: TranscriptLine, end: int) -> bool:
        """Told by its time; without one, by whether it was there before we were."""
        return end <= self._old if line.at is None else line.at <= self._floor

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
            self._floor = max(self._floor, at or 0.0)
        return False

    def _count(self, line: TranscriptLine) -> tuple[int, int]:
        """The tokens that this line adds: an answer of several lines repeats its sum on each."""
        if line.message is None:
            return line.input_tokens, line.output_tokens
        given, taken = self._answers.pop(line.message, (0, 0))
        now = (max(given, line.input_tokens), max(taken, line.output_tokens))
        self._answers[line.message] = now
        if len(self._answers) > ANSWERS:
            del self._answers[next(iter(self._answers))]
        return now[0] - given, now[1] - taken
