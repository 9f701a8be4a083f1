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

from orchestrator.core.dialects import dialect_of
from orchestrator.core.events import AnyEvent, FilesEdited, HookReceived, StatusLineSeen
from orchestrator.core.spec import CliSpec
from orchestrator.core.state import Process
from orchestrator.core.usage import Usage
from orchestrator.core.values import value
from orchestrator.sources.conversations import Conversations
from orchestrator.sources.reading import read_plain, stamp_of
from orchestrator.sources.spool import Spool
from orchestrator.sources.status_files import StatusFile, Unfinished
from orchestrator.sources.watches import Watches

# Bytes of a file that a person edits; a larger one counts as unchanged.
EDITABLE = 4 * 1024 * 1024
EditKind = Literal["team", "input"]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@value
class Look:
    """Token: this file of `agent` (or the spool) may have changed; `beside`: one of those of its
    sub-agents, which nothing watches: they are looked at when anything else tells of news."""

    what: Literal["spool", "status", "transcript", "beside"]
    agent: str = ""


@value
class Edit:
    """Token: this file of the team, or one that a question is about, may have been edited."""

    path: Path
    what: EditKind = "team"


Token = Look | Edit
SPOOL = Look(what="spool")


@value
class Follow:
    """What is read of one run of an agent; without a process only what is left to count."""

    run: int
    cli: CliSpec
    process: Process | None
    status: Path | None
    transcript: Path | None
    since: float | None = None
    usage: Usage = Usage()


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
    edits: dict[EditKind, tuple[Path, ...]] = field(default_factory=dict)
    consumed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """What came of it: events with the token they were found under, and what is due again."""

    events: list[tuple[Token, AnyEvent]] = field(default_factory=list)
    again: set[Token] = field(default_factory=set)
    unfinished: set[Token] = field(default_factory=set)
    # What questions are about that is edited now.
    inputs: list[Path] = field(default_factory=list)
    # Not watched: to be looked at by the clock.
    slow: frozenset[Token] = frozenset()
    # What there was a reason to look at, beside a full look.
    expected: frozenset[Token] = frozenset()
    # Why hooks do not arrive now.
    wrong: str | None = None


class Desk:
    """The readers of a session. `report` is told of what cannot be read."""

    def __init__(self, spool: Path, watches: Watches[Token], report: Callable[[str], None]) -> None:
        self.spool = Spool(spool, report)
        self._watches = watches
        self._report = report
        self._statuses: dict[str, StatusFile] = {}
        # Kept when the agent is not followed any more: what is read may not be committed yet.
        self._conversations: dict[str, Conversations] = {}
        # The digest of each watched file when it was last there.
        self._edits: dict[Edit, bytes | None] = {}
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
        for what, paths in work.edits.items():
            known = self._edits
            self._edits = {edit: digest for edit, digest in known.items() if edit.what != what}
            for edit in (Edit(path=path, what=what) for path in paths):
                self._edits[edit] = known[edit] if edit in known else _digest(edit.path)
        expected = set(look)
        if work.settle or work.everything:
            team = self._places("team")
            files = [*self._reports(), *self._places("input")]
            settled = self._watches.settle(files, {self.spool.new: SPOOL}, team)
            look |= settled.fresh
            # A directory that only the full look found to be another one was missed.
            expected |= settled.fresh if work.settle else set()
            self._slow = settled.slow
        # Once it is watched: what is made then is told.
        wrong = self.spool.mend(whole=work.everything)
        seen = Seen(slow=self._slow, expected=frozenset(expected), wrong=wrong)
        if work.everything:
            self.spool.sweep()
            look |= {SPOOL, *(token for _, token in self._files())}
        self._read(look, seen)
        seen.unfinished -= work.retried
        return seen

    def _follow(self, agent: str, follow: Follow | None) -> set[Token]:
        """Change the readers of an agent; what goes on keeps its place. Returns what is new."""
        new: set[Token] = set()
        if self._follow_status(agent, follow):
            new.add(Look(what="status", agent=agent))
        if self._follow_transcript(agent, follow):
            new.add(Look(what="transcript", agent=agent))
        return new

    def _follow_status(self, agent: str, follow: Follow | None) -> bool:
        spec = follow.cli.status_file if follow is not None else None
        if follow is None or follow.process is None or follow.status is None or spec is None:
            self._statuses.pop(agent, None)
            return False
        reader = StatusFile(
            agent,
            follow.run,
            follow.process,
            spec=spec,
            path=follow.status,
            report=self._report,
        )
        if agent in self._statuses and self._statuses[agent].is_like(reader):
            return False
        self._statuses[agent] = reader
        return True

    def _follow_transcript(self, agent: str, follow: Follow | None) -> bool:
        known = self._conversations.get(agent)
        if follow is None:
            return known is not None and known.end()
        if known is None:
            known = self._conversations[agent] = Conversations(agent, dialect_of(follow.cli))
        if follow.process is None:
            return known.end(follow.run, follow.transcript, follow.usage)
        floor = max(_started(follow.process), follow.since or 0.0)
        return known.follow(follow.run, follow.transcript, floor, follow.usage)

    def _files(self) -> list[tuple[Path, Token]]:
        """Every file that is read, with its token."""
        return [*self._reports(), *self._places("team"), *self._places("input")]

    def _reports(self) -> list[tuple[Path, Token]]:
        """What CLIs write, without closing it, perhaps."""
        files: list[tuple[Path, Token]] = []
        for name, status in self._statuses.items():
            files.append((status.path, Look(what="status", agent=name)))
        for name, conversations in self._conversations.items():
            if conversations.path is not None:
                files.append((conversations.path, Look(what="transcript", agent=name)))
        return files

    def _places(self, what: EditKind) -> list[tuple[Path, Token]]:
        """The files that may be edited. A link's target is edited too."""
        edits = [edit for edit in self._edits if edit.what == what]
        return [(p, e) for e in edits for p in {e.path, Path(os.path.realpath(e.path))}]

    def _read(self, look: set[Token], seen: Seen) -> None:
        if SPOOL in look:
            hooks, more = self.spool.read()
            seen.events += [(SPOOL, hook) for hook in hooks]
            look |= {Look(what="beside", agent=h.agent) for h in hooks if _is_of_sub_agent(h)}
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
        elif token.what == "transcript" and token.agent in self._conversations:
            lines, more = self._conversations[token.agent].read()
            seen.events += [(token, event) for event in lines]
            seen.again |= {token} if more else set()
            self._look_beside(token.agent, seen)
        elif token.what == "beside" and token.agent in self._conversations:
            self._look_beside(token.agent, seen)

    def _look_beside(self, agent: str, seen: Seen) -> None:
        token = Look(what="beside", agent=agent)
        lines, more = self._conversations[agent].read_beside()
        seen.events += [(token, event) for event in lines]
        seen.again |= {token} if more else set()
        seen.expected |= {token}

    def _edited(self, tokens: Sequence[Edit], seen: Seen) -> None:
        """Say what has another content now. One that is away is being replaced."""
        changed = []
        for token in tokens:
            digest = _digest(token.path) if token in self._edits else None
            if digest is not None and digest != self._edits[token]:
                self._edits[token] = digest
                changed.append(token)
        seen.inputs = [token.path for token in changed if token.what == "input"]
        team = [token for token in changed if token.what == "team"]
        if team:
            at, mono = stamp_of(time.time())
            files = tuple(sorted(str(token.path) for token in team))
            event = FilesEdited(at=at, mono=mono, source="crew", files=files)
            seen.events.append((team[0], event))


def _is_of_sub_agent(hook: HookReceived | StatusLineSeen) -> bool:
    """Whether it may tell of a sub-agent; its answers change the status line too."""
    return isinstance(hook, StatusLineSeen) or hook.subagent is not None


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
