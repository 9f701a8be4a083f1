"""Which directories are watched: the home of watchdog.

`settle` compares what is wanted with what is, and acts on the difference. A directory that does
not exist yet is stood in for by its nearest parent that does; one that cannot be watched (the
system's inotify limits) is named in `slow`, to be looked at by the clock instead.

Facts about watchdog 7.1 that shape this. On overflow of the kernel's queue it drops what is
pending and only logs. Two watches of one directory share the mask of the later one, so each
directory is watched once, under its real path (a link is watched as a link). A directory without
the right to read is "watched" without an error. A rename out of a watched directory holds back
what follows for half a second. `unschedule` may wait as long: all but `stop_listening` runs in
a worker thread.
"""

import errno
import logging
import os
from abc import ABCMeta
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

# Reading emits events too (opened, closed without a write): left out, or we would wake ourselves.
FILES: tuple[type[FileSystemEvent], ...] = (
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileClosedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
)
# Files that a person edits are told of when they are closed: a log that grows beside them wakes
# nobody.
EDITS = tuple(event for event in FILES if event is not FileModifiedEvent)
# A directory that stands in for a missing one below it.
PARENT = (FileCreatedEvent, DirCreatedEvent, DirMovedEvent, DirDeletedEvent)


class _Gone(FileSystemEvent, metaclass=ABCMeta):
    """In a filter: the end of the directory itself, of which the kernel always tells. To name
    `DirDeletedEvent` there would ask it for every deletion in the directory as well.
    """


_Gone.register(DirDeletedEvent)
# Files only arrive by rename; without deletions, which are our own and would wake us for each.
ARRIVALS = (FileCreatedEvent, _Gone)

OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
REMEDY = {
    errno.ENOSPC: "sysctl fs.inotify.max_user_watches=524288",
    errno.EMFILE: "sysctl fs.inotify.max_user_instances=1024 (or a higher ulimit -n)",
}
# Directories that may appear one below the other while we look.
DEPTH = 64

Filter = tuple[type[FileSystemEvent], ...]


T = TypeVar("T", bound=Hashable)


class Settle:
    """The token of a change among directories: `settle` is due."""

    def __repr__(self) -> str:
        return "SETTLE"


SETTLE = Settle()


class _Armed(NamedTuple):
    watch: ObservedWatch
    filter: Filter
    # (device, inode): a directory of the same name may be another one.
    identity: tuple[int, int]


class Settled(NamedTuple, Generic[T]):
    """Tokens to look at once, as they are watched from now on; and by the clock, as they cannot."""

    fresh: frozenset[T]
    slow: frozenset[T]


class _Handler(FileSystemEventHandler):
    def __init__(self, seen: Callable[[FileSystemEvent], None]) -> None:
        self._seen = seen

    def dispatch(self, event: FileSystemEvent) -> None:
        self._seen(event)


class _OverflowHandler(logging.Handler):
    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._overflowed = overflowed

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._overflowed()


class Watches(Generic[T]):
    """Watches of directories, for files that are told apart by tokens.

    `told(tokens)` and `overflowed()` are called in watchdog's threads and must only hand over.
    `report` is told once of each limit that is met.
    """

    def __init__(
        self,
        told: Callable[[Collection[T | Settle]], None],
        overflowed: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        self._told = told
        self._report = report
        self._handler = _Handler(self._seen)
        self._overflow = _OverflowHandler(overflowed)
        self._observer: BaseObserver | None = None
        self._armed: dict[str, _Armed] = {}
        # Seen to be deleted: one that is made anew may well have the same inode.
        self._dead: set[str] = set()
        # Real path of a file or directory -> whom it tells. Replaced as a whole: read by threads.
        self._interest: Mapping[str, tuple[T | Settle, ...]] = {}
        self._arrivals: Mapping[str, T] = {}

    def listen(self) -> None:
        """Take note of overflows; watchdog's own log stays quiet below warnings."""
        logging.getLogger("watchdog").setLevel(logging.WARNING)
        logging.getLogger(OVERFLOW_LOGGER).addHandler(self._overflow)

    def stop_listening(self) -> None:
        logging.getLogger(OVERFLOW_LOGGER).removeHandler(self._overflow)

    def close(self) -> None:
        """End all watches and threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
        self._armed.clear()

    def settle(
        self,
        files: Sequence[tuple[Path, T]],
        arrivals: Mapping[Path, T],
        edits: Sequence[tuple[Path, T]] = (),
    ) -> Settled[T]:
        """Watch the directories of `files` and `edits`, and `arrivals` themselves, and nothing
        else. What is written to one of `edits` is told of when it is closed."""
        fresh: set[str] = set()
        slow: set[str] = set()
        for _ in range(DEPTH):
            wanted, interest = self._plan(files, arrivals, edits)
            # Before the watches are there: what they tell must not be dropped.
            self._arrivals = {os.path.realpath(path): token for path, token in arrivals.items()}
            told, self._interest = self._interest == interest, interest
            new, slow = self._arm(wanted)
            fresh |= new
            if told and not new and not slow:
                break  # All of it was watched, for the same files, before it was looked for.
            # What stands in was looked for before it was watched: it may be there by now.
            if self._plan(files, arrivals, edits)[0] == wanted:
                break
        told_of = (*files, *edits)
        places = [*((path.parent, token) for path, token in told_of), *arrivals.items()]
        return Settled(self._of(places, fresh), self._of(places, slow))

    @staticmethod
    def _of(places: Sequence[tuple[Path, T]], directories: set[str]) -> frozenset[T]:
        """The tokens whose directory, or what stands in for it, is one of these."""
        if not directories:
            return frozenset()
        found = {place: _nearest(os.path.realpath(place)) for place, _ in places}
        return frozenset(token for place, token in places if found[place] in directories)

    def _plan(
        self,
        files: Sequence[tuple[Path, T]],
        arrivals: Mapping[Path, T],
        edits: Sequence[tuple[Path, T]],
    ) -> tuple[dict[str, Filter], dict[str, tuple[T | Settle, ...]]]:
        """The directories to watch, and what a change of which path tells whom."""
        wanted: dict[str, Filter] = {}
        interest: dict[str, tuple[T | Settle, ...]] = {}
        # The files last: a directory that has some of both is watched for all that they need.
        for some, events in ((edits, EDITS), (files, FILES)):
            reals: dict[Path, str] = {}
            for path, token in some:
                if path.parent not in reals:
                    reals[path.parent] = self._place(path.parent, events, wanted, interest)
                name = f"{reals[path.parent]}/{path.name}"
                interest[name] = (*interest.get(name, ()), token)
        for directory in arrivals:
            self._place(directory, ARRIVALS, wanted, interest)
        for watched in wanted:
            interest[watched] = (*interest.get(watched, ()), SETTLE)
        return wanted, interest

    def _place(
        self,
        directory: Path,
        events: Filter,
        wanted: dict[str, Filter],
        interest: dict[str, tuple[T | Settle, ...]],
    ) -> str:
        """Want `directory`, or the nearest parent of it that exists. Returns its real path."""
        real = os.path.realpath(directory)
        there = _nearest(real)
        if there == real:
            wanted[real] = events
        else:
            wanted.setdefault(there, PARENT)
        missing = real
        while missing != there:
            interest[missing] = (SETTLE,)
            missing = _parent(missing)
        return real

    def _arm(self, wanted: Mapping[str, Filter]) -> tuple[set[str], set[str]]:
        """Make the watches those that are wanted; returns what is new and what failed."""
        emitters = self._observer.emitters if self._observer is not None else set()
        at_work = {emitter.watch for emitter in emitters if emitter.should_keep_running()}
        for path, armed in list(self._armed.items()):
            same = _identity(path) == armed.identity and path not in self._dead
            same = same and armed.watch in at_work
            if wanted.get(path) != armed.filter or not same:
                del self._armed[path]
                self._dead.discard(path)
                if self._observer is not None:
                    self._observer.unschedule(armed.watch)
        new, slow = set(), set()
        for path, events in wanted.items():
            if path in self._armed:
                continue
            try:
                self._armed[path] = self._watch(path, events)
                new.add(path)
            except (OSError, RuntimeError) as error:  # no watch, or no thread for it
                slow.add(path)
                self._say(path, error)
        return new, slow

    def _watch(self, path: str, events: Filter) -> _Armed:
        if self._observer is None:
            observer = Observer()
            observer.start()
            self._observer = observer
        identity = _identity(path)
        if identity is None or not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, "it may not be read")
        watch = self._observer.schedule(self._handler, path, event_filter=list(events))
        return _Armed(watch, events, identity)

    def _say(self, path: str, error: OSError | RuntimeError) -> None:
        number = error.errno if isinstance(error, OSError) else None
        remedy = REMEDY.get(number or 0)
        if remedy is None:
            self._report(f"{path} cannot be watched ({error}): it is looked at every half second")
            return
        self._report(
            f"the system's limit of file watches is reached ({error}): "
            f"files are looked at every half second instead. Remedy: {remedy}"
        )

    def _seen(self, event: FileSystemEvent) -> None:
        """In watchdog's thread: whom does it concern?"""
        tokens: set[T | Settle] = set()
        if isinstance(event, DirDeletedEvent) and event.src_path in self._armed:
            self._dead.add(os.fsdecode(event.src_path))
        for path in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
            if not path:
                continue
            tokens.update(self._interest.get(path, ()))
            arrived = self._arrivals.get(_parent(path))
            if arrived is not None:
                tokens.add(arrived)
        if tokens:
            self._told(tokens)


def _parent(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120 - strings, as watchdog's are


def _nearest(path: str) -> str:
    """The directory, or the nearest one above it that exists."""
    while not os.path.isdir(path):  # noqa: PTH112 - strings, as watchdog's are
        path = _parent(path)
    return path


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)  # noqa: PTH116 - strings, as watchdog's are
    except OSError:
        return None
    return info.st_dev, info.st_ino
