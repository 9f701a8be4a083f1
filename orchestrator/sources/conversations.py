"""All transcripts of an agent: its conversation's, its sub-agents', and those it has left behind.

Prompts and words are taken from the conversation that goes on. Tokens are counted in all of them:
in one that was left behind, and when the process is gone, once more up to the end.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from orchestrator.core.dialects import Dialect, subagents_of
from orchestrator.core.events import TranscriptSeen
from orchestrator.core.usage import Mark, Usage
from orchestrator.sources.transcripts import Transcript

SUFFIX = ".jsonl"


class Conversations:
    """The transcripts of one agent, over all its runs that this supervisor sees."""

    def __init__(self, agent: str, dialect: Dialect) -> None:
        # The one that is watched.
        self.path: Path | None = None
        self._agent = agent
        self._dialect: Dialect = dialect
        self._run = 0
        self._usage = Usage()
        # Its process is gone: what there is, is read once more.
        self._over = False
        # The conversation that goes on, and its sub-agents' by path.
        self._main: Transcript | None = None
        self._beside: dict[str, Transcript] = {}
        # Main files that were left behind: to be read to the end, and those that were.
        self._left: set[str] = set()
        self._done: set[str] = set()
        # As far as this process has read, by real path; the journal may not be there yet.
        self._marks: dict[str, Mark] = {}

    def follow(self, run: int, path: Path | None, floor: float, usage: Usage) -> bool:
        """Read a run of the agent from now on. Returns whether there is something to look at."""
        self._run, self._usage, self._over, self.path = run, usage, False, path
        changed = self._turn_to(path, floor)
        self._left |= {*usage.transcripts} - self._done - {str(path)}
        return changed or bool(self._left)

    def end(self, run: int = 0, path: Path | None = None, usage: Usage | None = None) -> bool:
        """Its process is gone: read what is left, and watch nothing. Without arguments: as it was
        followed. Returns whether there is something to look at."""
        if usage is not None:
            self._run, self._usage = run, usage
            # Whether a prompt was told before its process was gone is not known.
            self._turn_to(path, math.inf)
        self._left |= {*self._usage.transcripts}
        self._over, self.path = True, None
        return self._main is not None or bool(self._left)

    def _turn_to(self, path: Path | None, floor: float) -> bool:
        """Make `path` the one that goes on, if it is not."""
        if self._main is not None and self._main.path != path:
            self._leave(self._main.path)
        if path is None or self._main is not None:
            return False
        self._main = self._reader(path, path, floor)
        self._done.discard(str(path))
        return True

    def _leave(self, path: Path) -> None:
        self._left.add(str(path))
        self._main, self._beside = None, {}

    def read(self) -> tuple[list[TranscriptSeen], bool]:
        """What is new, at most one event of a file, and whether more may be read at once."""
        events: list[TranscriptSeen] = []
        more = False
        if self._main is not None:
            path = self._main.path
            more = self._read(self._main, path, events, to_end=self._over)
            if self._over:
                self._leave(path)
        for left in self._left:
            self._read_out(Path(left), events)
        self._done |= self._left
        self._left = set()
        return events, more

    def read_beside(self) -> tuple[list[TranscriptSeen], bool]:
        """`read`, for the sub-agents of the conversation that goes on."""
        events: list[TranscriptSeen] = []
        more = False
        if self._main is not None:
            for reader in self._sub_agents(self._main.path, self._beside):
                again = self._read(reader, self._main.path, events, tokens_only=True)
                more = more or again
        return events, more

    def _read_out(self, main: Path, events: list[TranscriptSeen]) -> None:
        if self._main is not None and _real(main) == _real(self._main.path):
            return  # By another name it goes on.
        reader = self._reader(main, main, math.inf)
        for each in (reader, *self._sub_agents(main, {})):
            self._read(each, main, events, to_end=True, tokens_only=True)

    def _read(
        self,
        reader: Transcript,
        main: Path,
        events: list[TranscriptSeen],
        *,
        to_end: bool = False,
        tokens_only: bool = False,
    ) -> bool:
        first, before = not reader.looked, reader.mark
        event, more = reader.read(self._run, to_end=to_end)
        # The real path takes far longer than a look at a file that is as it was.
        if first or reader.mark is not before:
            self._marks[_real(reader.path)] = reader.mark
        if event is not None and tokens_only:
            event = replace(event, prompts=(), queued=(), last_words=None) if event.tokens else None
        if event is not None:
            events.append(replace(event, transcript=str(main)))
        return more

    def _sub_agents(self, main: Path, known: dict[str, Transcript]) -> Iterator[Transcript]:
        """The readers of those sub-agents of `main` that have news; new ones go into `known`."""
        found: list[str] = []
        directory = subagents_of(self._dialect, str(main))
        with contextlib.suppress(OSError), os.scandir(directory) as there:
            for entry in there:
                reader = known.get(entry.path)
                if entry.name.endswith(SUFFIX) and (reader is None or reader.is_behind(entry)):
                    found.append(entry.path)
        for path in sorted(found):
            if path not in known:
                known[path] = self._reader(Path(path), main, math.inf)
            yield known[path]

    def _reader(self, path: Path, main: Path, floor: float) -> Transcript:
        """A reader that goes on where the one before came to."""
        usage, real = self._usage, _real(path)
        mark = self._marks.get(real) or usage.marks.get(real)
        since = usage.transcripts.get(str(main), usage.since)
        if mark is None:
            since = max(since, usage.forgotten)
        return Transcript(self._agent, self._dialect, path, floor, since=since, mark=mark)


def _real(path: Path) -> str:
    return os.path.realpath(path)
