"""Locks between processes that can be waited for in an event loop.

A lock is a named pipe, and who has flocked it holds it: the kernel lets go of it however its
holder ends. `flock` itself can be waited for by blocking a thread only, one for each lock. A pipe
tells its readers when its last writer closes it: the holder keeps it open for writing, so the
wait is a descriptor in the loop. There may be many such waits at once, for many locks, each can
be cancelled, and none of them needs a timer.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self


class Lock:
    """A lock that this process holds, until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Take the lock at `path`; None if somebody holds it. Raises OSError where no file can
        be made."""
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            try:
                return cls._hold(path)
            except FileNotFoundError:
                continue  # Its holder has just removed it.

    @classmethod
    def _hold(cls, path: Path) -> Self | None:
        """Hold the lock whose file exists; None if somebody else does."""
        # For writing too, always: a reader is told of the end of a writer only.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        lock = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Its holder may have removed the file between the two calls above.
        if not lock._is_at_path():
            os.close(descriptor)
            raise FileNotFoundError(path)
        return lock

    def release(self) -> None:
        """Let it go, and wake all who wait for it."""
        # A file that cannot be removed any more stays: it is the descriptor that holds the lock.
        with contextlib.suppress(OSError):
            if self._is_at_path():
                self.path.unlink()
        os.close(self._descriptor)

    def _is_at_path(self) -> bool:
        """Not so once a person has emptied the directory: another lock may be there by now."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        return False

    @classmethod
    def is_free(cls, path: Path) -> bool:
        """Whether nobody holds it. What a holder that died has left is removed."""
        try:
            lock = cls._hold(path)
        except FileNotFoundError:
            return True
        if lock is not None:
            lock.release()
        return lock is not None


async def any_free(paths: Iterable[Path], woken: asyncio.Event | None = None) -> None:
    """Wait until one of the locks may be free, or `woken` is set, which a free lock does as well;
    another process may be quicker to take it."""
    loop = asyncio.get_running_loop()
    freed = woken or asyncio.Event()
    readers: list[int] = []
    try:
        for path in paths:
            try:
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            except FileNotFoundError:
                return
            readers.append(reader)
            loop.add_reader(reader, freed.set)
            # After opening: a holder that lets go from here on is a writer that we hear of.
            if Lock.is_free(path):
                return
        await freed.wait()
    finally:
        for reader in readers:
            loop.remove_reader(reader)
            os.close(reader)
