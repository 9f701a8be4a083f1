"""One thread for the database: SQLite's connection is used by it alone, one call at a time.

It is also where the large texts of a supervisor are made: the whole world as JSON, every so many
events. glibc takes what is freed of that size as a sign to keep as much in its heap from then on,
where it leaves holes: a supervisor grew by more than 11 MiB over 100,000 events, and does by less
than 5 MiB where such a text has pages of its own.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

# Bytes: what is larger goes back to the system when it is freed. It is glibc's own value, which,
# once set, stays; the number is M_MMAP_THRESHOLD of its malloc.h.
LARGE = 128 * 1024
_M_MMAP_THRESHOLD = -3

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Runs calls in its thread, in order."""

    def __init__(self) -> None:
        _keep_heap_small()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: function(*args, **kwargs))

    def wait(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """From any thread: run the call and wait for it."""
        return self._executor.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        self._executor.shutdown()


def _keep_heap_small() -> None:
    """For the whole process; nothing, where the C library has no such setting."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)
