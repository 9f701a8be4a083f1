"""A throw-away session: directories like a session's, and what runs in them, gone afterwards.

A leading dot: no session of a person's can have its name. Every process that was started by an
agent on the bench is found by the spool in its environment, also one that has detached itself.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths, ensure_private, state_root
from orchestrator.tmux.bootstrap import kill_server, start_server

PREFIX = ".doctor-"
# Seconds for what was told to end, then for what was killed.
_END_TIMEOUT, _KILL_TIMEOUT = 1.5, 5.0
_STEP = 0.02
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def set_up() -> Iterator[SessionPaths]:
    """The paths of a session of its own, whose server is not started yet.

    Whatever ends us but SIGKILL, all of it is ended and removed; what a SIGKILL has left, the next
    one removes. Raises OSError or CrewError where it cannot be made.
    """
    base = state_root()
    made = not base.exists()
    if made:  # One that is there stays as it is: its mode is a finding.
        ensure_private(base)
    with _signals_raise():
        _sweep(base)
        paths = SessionPaths(Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)))
        lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for directory in paths.directories():
                ensure_private(directory)
            yield paths
        finally:
            with _deferred():
                _clear(paths)
                os.close(lock)
                if made:
                    with contextlib.suppress(OSError):  # A session may be there by now.
                        base.rmdir()


def start(paths: SessionPaths, environ: Mapping[str, str]) -> None:
    """Start its tmux server. Raises CrewError; a signal waits until it is known what runs."""
    with _deferred():
        start_server(paths, environ)


def _sweep(base: Path) -> None:
    """Clear what a doctor that was killed has left: its lock is free."""
    for root in base.glob(f"{PREFIX}*"):
        paths = SessionPaths(root)
        with contextlib.suppress(OSError):
            lock = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear(paths)
            finally:
                os.close(lock)


def _clear(paths: SessionPaths) -> None:
    with contextlib.suppress(CrewError):
        kill_server(paths)
    mark = os.fsencode(f"CREW_SPOOL={paths.spool}\0")
    # The end of its terminal is told to each; its last hooks go into the spool.
    if not _gone(mark, _END_TIMEOUT):
        # Again and again: one of them may have started another before it was killed itself.
        _gone(mark, _KILL_TIMEOUT, meanwhile=_kill)
    shutil.rmtree(paths.root, ignore_errors=True)


def _gone(
    mark: bytes, seconds: float, meanwhile: Callable[[list[int]], None] = lambda _: None
) -> bool:
    """Whether no process has `mark` in its environment, within `seconds`; `meanwhile` is called
    with those that have."""
    deadline = time.monotonic() + seconds
    while found := _processes(mark):
        meanwhile(found)
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP)
    return True


def _kill(processes: list[int]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _processes(mark: bytes) -> list[int]:
    """The processes that have `mark` in their environment. Of a zombie that is empty."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended, or is another user's.
            if mark in (directory / "environ").read_bytes():
                found.append(int(directory.name))
    return found


# -- signals ---------------------------------------------------------------------------------------


def _raise(number: int, _: FrameType | None = None) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _signals_raise() -> contextlib.AbstractContextManager[None]:
    """While it lasts a signal that would end us at once ends us by an exception."""
    return _handled(_raise)


@contextlib.contextmanager
def _deferred() -> Iterator[None]:
    """Put signals off to the end. A handler, not a mask: what is started would inherit that."""
    received: list[int] = []
    with _handled(lambda number, _: received.append(number)):
        yield
    if received:
        _raise(received[0])


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    # What is ignored stays so: it may be meant to outlive its terminal.
    handled = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
