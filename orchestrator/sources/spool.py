"""The spool: hooks as files. Each is read once, in order, and unlinked when it is committed.

The files are the truth: a wake-up only says that it is time to look. Consumed files are unlinked
and bad ones linked elsewhere first, never renamed: watchdog holds back all that follows a rename
out of a watched directory for half a second.

Nothing here is asynchronous; one thread at a time calls it.
"""

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from orchestrator import failpoints
from orchestrator.core.dialects import Malformed, parse_hook, parse_status_line
from orchestrator.core.events import HookReceived, StatusLineSeen
from orchestrator.sources.reading import read_plain, stamp_of

# <agent>.<run>.<hook>.<pid>, with -<n> where a pid came round again.
FILE_NAME = re.compile(
    r"(?P<agent>[A-Za-z0-9][A-Za-z0-9_-]{0,31})\.(?P<run>\d{1,9})\.(?P<hook>[A-Za-z]{1,40})"
    r"\.(?P<pid>\d{1,10})(?:-\d{1,9})?"
)
# The hook's name of what the CLI tells its status line.
STATUS_LINE = "StatusLine"
# Bytes. A hook carries what its tool read; ten times the largest seen.
HOOK_MAX = 10 * 1024 * 1024
# Files read in one go, so that one flood does not keep other sources waiting.
ROUND = 256
# Files read and not yet committed: beyond it the disk is behind, and the rest stays where it is.
PENDING = 4 * ROUND
# What a process is short of that cannot open a file which another could.
STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# What could not be read is kept for a person, the newest of it.
BAD = 100
# Seconds after which a file in tmp/ is a hook that was killed while it wrote.
HALF = 60.0
# Further looks at the directory, at most: a file that is dated ahead makes all that come older.
AGAIN = 5


class Entry(NamedTuple):
    """A file of `new/`, in the order in which they are read."""

    mtime_ns: int
    pid: int
    name: str

    @property
    def key(self) -> str:
        """The identity of the fact in the journal: names come round again, with other times."""
        return f"hook:{self.name}:{self.mtime_ns}"


class Spool:
    """The hooks in `root/new`. `report` is told once of each file that is no hook."""

    def __init__(self, root: Path, report: Callable[[str], None]) -> None:
        self.new = root / "new"
        self._root = root
        self._tmp = root / "tmp"
        self._bad = root / "bad"
        self._report = report
        # Listed, still to be read; the next comes last.
        self._listed: list[Entry] = []
        # Read, still to be committed.
        self._pending: dict[str, Entry] = {}
        # The status line of each agent, as it was last.
        self._lines: dict[str, tuple[object, ...]] = {}
        # Neither readable nor movable: not tried again.
        self._refused: set[Entry] = set()

    def mend(self, *, whole: bool) -> str | None:
        """Make anew what is gone; what keeps hooks out of the spool now, if anything does.

        While somebody removes it, this would be in their way: what is missing below a spool that
        is there, the next hook makes by itself. `whole`: now is the time for that as well.
        """
        if whole or not self._root.exists():
            for directory in (self._root, self._tmp, self.new, self._bad):
                with contextlib.suppress(OSError):
                    directory.mkdir(mode=0o700)
        for directory in (self._tmp, self.new):
            # One that is missing can be made by a hook.
            place = directory if os.path.lexists(directory) else self._root
            if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
                return f"{place} cannot be written: what the agents' hooks tell is lost"
        return None

    def sweep(self) -> None:
        """Remove what killed hooks left half written."""
        with contextlib.suppress(OSError), os.scandir(self._tmp) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > HALF:
                        os.unlink(entry.path)  # noqa: PTH108 - no object for each of thousands

    def keys(self) -> list[str]:
        """The keys of all hooks that lie there."""
        return [entry.key for entry in self._list() if FILE_NAME.fullmatch(entry.name)]

    def forget(self, keys: Collection[str]) -> None:
        """Unlink files that nobody has read in this life: they are in the journal already."""
        for entry in self._list():
            if entry.key in keys:
                self._unlink(entry)

    def consumed(self, keys: Iterable[str]) -> None:
        """Unlink files whose events are committed."""
        for key in keys:
            entry = self._pending.pop(key, None)
            if entry is not None:
                self._unlink(entry)

    def read(self) -> tuple[list[HookReceived | StatusLineSeen], bool]:
        """The next hooks in order, at most a round, and whether more may be read at once."""
        if not self._listed:
            waiting = {entry.name for entry in self._pending.values()}
            found = [entry for entry in self._list() if entry.name not in waiting]
            self._refused.intersection_update(found)
            self._listed = sorted(set(found) - self._refused, reverse=True)
        events: list[HookReceived | StatusLineSeen] = []
        room = min(ROUND, PENDING - len(self._pending))
        while self._listed and room > 0:
            room -= 1
            entry = self._listed.pop()
            try:
                event = self._hook(entry)
            except OSError as error:
                if error.errno not in STARVED:
                    raise
                # This process is short of something: the file is as good as ever.
                self._listed.append(entry)
                break
            if event is not None:
                self._pending[entry.key] = entry
                events.append(event)
        return events, bool(self._listed) and len(self._pending) < PENDING

    @property
    def held(self) -> bool:
        """Whether files wait for earlier ones to be committed."""
        return bool(self._listed)

    def _list(self) -> set[Entry]:
        """The files that lie there; of what one process told, none without those before it.

        A directory is not read in one go where we are stopped meanwhile: a file may come where it
        was read already, and the next one of that process where it was not. Another look finds the
        first.
        """
        found = self._scan()
        newest = max((entry.mtime_ns for entry in found), default=-1)
        for _ in range(AGAIN if found else 0):
            more = {entry for entry in self._scan() if entry.mtime_ns <= newest} - found
            if not more:
                break
            found |= more
        return found

    def _scan(self) -> set[Entry]:
        """The files that one look at the directory shows."""
        seen = set()
        try:
            with os.scandir(self.new) as found:
                for item in found:
                    with contextlib.suppress(FileNotFoundError):
                        info = item.stat(follow_symlinks=False)
                        match = FILE_NAME.fullmatch(item.name)
                        pid = int(match["pid"]) if match else 0
                        seen.add(Entry(info.st_mtime_ns, pid, item.name))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._report(f"{self.new}: hooks cannot be read: {error.strerror}")
        return seen

    def _hook(self, entry: Entry) -> HookReceived | StatusLineSeen | None:
        """Read one file; None: it is gone, or was set aside, or tells nothing new. Raises OSError
        where no file could be read now."""
        match = FILE_NAME.fullmatch(entry.name)
        if match is None:
            self._refuse(entry, "is not named as a hook is")
            return None
        try:
            data, _ = read_plain(self.new / entry.name, HOOK_MAX, follow=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in STARVED:
                raise
            self._refuse(entry, error.strerror or str(error))
            return None
        if match["hook"] == STATUS_LINE:
            return self._status_line(entry, match["agent"], int(match["run"]), data)
        found = parse_hook("claude", match["hook"], data)
        if isinstance(found, Malformed):
            self._refuse(entry, found.reason)
            return None
        at, mono = stamp_of(entry.mtime_ns / 1e9)
        return HookReceived(
            at=at,
            mono=mono,
            source="hook",
            key=entry.key,
            agent=match["agent"],
            run=int(match["run"]),
            hook=match["hook"],
            conversation=found.conversation,
            transcript=found.transcript,
            tool=found.tool,
            argument=found.argument,
            text=found.text,
            reason=found.reason,
            question=found.question,
            options=found.options,
            subagent=found.subagent,
            background=found.background,
        )

    def _status_line(
        self, entry: Entry, agent: str, run: int, data: bytes
    ) -> StatusLineSeen | None:
        """The CLI tells its status line whenever it draws: what is as it was is no event."""
        found = parse_status_line("claude", data)
        if isinstance(found, Malformed):
            self._refuse(entry, found.reason)
            return None
        known = (run, found)
        if self._lines.get(agent) == known:
            self._unlink(entry)
            return None
        self._lines[agent] = known
        at, mono = stamp_of(entry.mtime_ns / 1e9)
        return StatusLineSeen(
            at=at,
            mono=mono,
            source="hook",
            key=entry.key,
            agent=agent,
            run=run,
            conversation=found.conversation,
            model=found.model,
            cost_usd=found.cost_usd,
            answered=found.answered,
            context_used=found.context_used,
            context_size=found.context_size,
            version=found.version,
        )

    def _unlink(self, entry: Entry) -> None:
        failpoints.hit(failpoints.FILE)
        with contextlib.suppress(OSError):
            (self.new / entry.name).unlink()

    def _refuse(self, entry: Entry, reason: str) -> None:
        """Set a file aside, and say so once."""
        # The name may hold bytes that are no text.
        name = entry.name.encode("utf-8", "replace").decode()
        try:
            self._set_aside(entry.name)
        except OSError as error:
            self._refused.add(entry)
            self._report(f"hook {name!r}: {reason}; it cannot be set aside: {error.strerror}")
        else:
            self._report(f"hook {name!r}: {reason}; it was set aside in {self._bad}")

    def _set_aside(self, name: str) -> None:
        source, target = self.new / name, self._bad / name
        try:
            target.unlink(missing_ok=True)
            target.hardlink_to(source)
            source.unlink()
        except OSError:
            # A directory, or a file system without links: the half second is the lesser evil.
            source.replace(target)
        kept = sorted(self._bad.iterdir(), key=lambda path: path.lstat().st_ctime_ns)
        for path in kept[:-BAD]:
            with contextlib.suppress(OSError):
                path.unlink()
