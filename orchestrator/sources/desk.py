"""The worker behind `files.py`: takes one piece of work, returns what was seen.

One thread at a time is in here. It holds the readers, and tells `watches.py` what they need.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.core.dialects import Dialect
from orchestrator.core.events import AnyEvent, FilesEdited
from orchestrator.core.spec import CliSpec
from orchestrator.core.state import Process
from orchestrator.core.values import value
from orchestrator.sources.reading import read_plain, stamp_of
from orchestrator.sources.spool import Spool
from orchestrator.sources.status_files import StatusFile, Unfinished
from orchestrator.sources.transcripts import Transcript
from orchestrator.sources.watches import Watches

# Bytes of a file that a person edits; a larger one counts as unchanged.
EDITABLE = 4 * 1024 * 1024
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@value
class Look:
    """Token: this file of `agent` (or the spool) may have changed."""

    what: Literal["spool", "status", "transcript"]
    agent: str = ""


@value
class Edit:
    """Token: this file of the team may have been edited."""

    path: Path


Token = Look | Edit
SPOOL = Look(what="spool")


@value
class Follow:
    """What is read of one run of an agent."""

    run: int
    cli: CliSpec
    process: Process
    status: Path | None
    transcript: Path | None
    since: float | None = None


@dataclass(slots=True)
class Work:
    """What is to be done in one go, gathered in the loop."""

    settle: bool = False
    everything: bool = False
    look: set[Token] = field(default_factory=set)
    # Of these: what was found unfinished before, and is not looked at a third time.
    retried: set[Token] = field(default_factory=set)
    # None: no longer.
    follow: dict[str, Follow | None] = field(default_factory=dict)
    edits: tuple[Path, ...] | None = None
    consumed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """What came of it: events with the token they were found under, and what is due again."""

    events: list[tuple[Token, AnyEvent]] = field(default_factory=list)
    again: set[Token] = field(default_factory=set)
    unfinished: set[Token] = field(default_factory=set)
    # Not watched: to be looked at by the clock.
    slow: frozenset[Token] = frozenset()
    # What there was a reason to look at, beside a full look.
    expected: frozenset[Token] = frozenset()


class Desk:
    """The readers of a session. `report` is told of what cannot be read."""

    def __init__(self, spool: Path, watches: Watches[Token], report: Callable[[str], None]) -> None:
        self.spool = Spool(spool, report)
        self._watches = watches
        self._report = report
        self._runs: dict[str, int] = {}
        self._statuses: dict[str, StatusFile] = {}
        self._transcripts: dict[str, Transcript] = {}
        # The digest of each watched file when it was last there.
        self._edits: dict[Path, bytes | None] = {}
        self._slow: frozenset[Token] = frozenset()

    def close(self) -> None:
        self._watches.close()

    def work(self, work: Work) -> Seen:
        """Unlink, watch, read: in this order, so nothing falls between watching and reading."""
        self.spool.consumed(work.consumed)
        look = set(work.look)
        if work.consumed and self.spool.held:
            look.add(SPOOL)
        for agent, follow in work.follow.items():
            look |= self._follow(agent, follow)
        if work.edits is not None:
            known = self._edits
            self._edits = {p: known[p] if p in known else _digest(p) for p in work.edits}
        expected = set(look)
        if work.settle or work.everything:
            settled = self._watches.settle(self._files(), {self.spool.new: SPOOL})
            look |= settled.fresh
            # A directory that only the full look found to be another one was missed.
            expected |= settled.fresh if work.settle else set()
            self._slow = settled.slow
        seen = Seen(slow=self._slow, expected=frozenset(expected))
        if work.everything:
            look |= {SPOOL, *(token for _, token in self._files())}
        self._read(look, seen)
        seen.unfinished -= work.retried
        return seen

    def _follow(self, agent: str, follow: Follow | None) -> set[Token]:
        """Change the readers of an agent; what goes on keeps its place. Returns what is new."""
        if follow is None:
            for readers in (self._runs, self._statuses, self._transcripts):
                readers.pop(agent, None)
            return set()
        self._runs[agent] = follow.run
        status, transcript = Look(what="status", agent=agent), Look(what="transcript", agent=agent)
        new: set[Token] = set()
        spec = follow.cli.status_file
        if follow.status is None or spec is None:
            self._statuses.pop(agent, None)
        else:
            reader = StatusFile(
                agent,
                follow.run,
                follow.process,
                spec=spec,
                path=follow.status,
                report=self._report,
            )
            if agent not in self._statuses or not self._statuses[agent].is_like(reader):
                self._statuses[agent] = reader
                new.add(status)
        if follow.transcript is None:
            self._transcripts.pop(agent, None)
        elif agent not in self._transcripts or self._transcripts[agent].path != follow.transcript:
            dialect: Dialect = follow.cli.hooks.dialect if follow.cli.hooks else "claude"
            floor = max(_started(follow.process), follow.since or 0.0)
            self._transcripts[agent] = Transcript(agent, dialect, follow.transcript, floor)
            new.add(transcript)
        return new

    def _files(self) -> list[tuple[Path, Token]]:
        """Every file that is read, with its token. A link's target is edited too."""
        files: list[tuple[Path, Token]] = []
        for name, status in self._statuses.items():
            files.append((status.path, Look(what="status", agent=name)))
        for name, transcript in self._transcripts.items():
            files.append((transcript.path, Look(what="transcript", agent=name)))
        for path in self._edits:
            edit = Edit(path=path)
            files += [(place, edit) for place in {path, Path(os.path.realpath(path))}]
        return files

    def _read(self, look: set[Token], seen: Seen) -> None:
        if SPOOL in look:
            hooks, more = self.spool.read()
            seen.events += [(SPOOL, hook) for hook in hooks]
            if more:
                seen.again.add(SPOOL)
        for token in look - {SPOOL}:
            if isinstance(token, Look):
                self._look(token, seen)
        self._edited([token for token in look if isinstance(token, Edit)], seen)

    def _look(self, token: Look, seen: Seen) -> None:
        if token.what == "status" and token.agent in self._statuses:
            try:
                status = self._statuses[token.agent].read()
            except Unfinished:
                seen.unfinished.add(token)
            else:
                seen.events += [(token, status)] if status else []
        elif token.what == "transcript" and token.agent in self._transcripts:
            lines, more = self._transcripts[token.agent].read(self._runs[token.agent])
            seen.events += [(token, lines)] if lines else []
            seen.again |= {token} if more else set()

    def _edited(self, tokens: Sequence[Edit], seen: Seen) -> None:
        """Say what has another content now. One that is away is being replaced."""
        changed = []
        for token in tokens:
            digest = _digest(token.path) if token.path in self._edits else None
            if digest is not None and digest != self._edits[token.path]:
                self._edits[token.path] = digest
                changed.append(token)
        if changed:
            at, mono = stamp_of(time.time())
            files = tuple(sorted(str(token.path) for token in changed))
            event = FilesEdited(at=at, mono=mono, source="crew", files=files)
            seen.events.append((changed[0], event))


def _digest(path: Path) -> bytes | None:
    try:
        data, _ = read_plain(path, EDITABLE)
    except OSError:
        return None
    return hashlib.sha256(data).digest()


def _started(process: Process) -> float:
    """When the process was started, wall clock seconds."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - process.start / CLOCK_TICKS
    return time.time() - age
