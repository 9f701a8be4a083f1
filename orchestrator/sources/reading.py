"""How files of others are read: never a pipe, never more than a bound, with their time."""

import os
import stat
import time
from pathlib import Path

# Seconds that the two clocks may drift apart before their difference is taken anew. It is kept
# so that times which are in order stay in order: each reading of two clocks is off by some
# microseconds, which would make the later of two hooks of one instant look the older.
DRIFT = 0.005
# Readings from which the quickest is taken: a process that waits for its turn between the two
# clocks reads a difference that is none.
READINGS = 5

_difference = 0.0


class NotReadable(OSError):
    """Not a plain file, or larger than the bound."""


def stamp_of(wall: float) -> tuple[float, float]:
    """(`at`, `mono`) of something that happened at wall clock `wall`, in seconds.

    `mono` is CLOCK_BOOTTIME; nothing happened later than now.
    """
    global _difference
    if abs(_read()[1] - _difference) > DRIFT:
        _, difference = min(_read() for _ in range(READINGS))
        if abs(difference - _difference) > DRIFT:
            _difference = difference
    return wall, min(wall + _difference, time.clock_gettime(time.CLOCK_BOOTTIME))


def _read() -> tuple[float, float]:
    """How long the reading of both clocks took, and how far CLOCK_BOOTTIME is ahead."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    wall = time.time()
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    return after - before, before - wall


def open_plain(path: Path | str, *, follow: bool = True) -> tuple[int, os.stat_result]:
    """A descriptor of a plain file, and its state; `follow`: links lead to it.

    Raises NotReadable if it is anything else: opening a pipe would wait for ever.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise NotReadable("is not a plain file")
    return fd, info


def read_plain(
    path: Path | str, limit: int, *, follow: bool = True
) -> tuple[bytes, os.stat_result]:
    """The whole of a plain file of at most `limit` bytes, and its state when it was opened."""
    fd, info = open_plain(path, follow=follow)
    try:
        if info.st_size > limit:
            raise NotReadable(f"is {info.st_size} bytes long; at most {limit} are read")
        # One read is enough unless a signal or a writer comes between.
        data = os.read(fd, info.st_size + 1)
        while len(data) <= limit and (more := os.read(fd, limit + 1 - len(data))):
            data += more
    finally:
        os.close(fd)
    if len(data) > limit:
        raise NotReadable(f"is growing past {limit} bytes")
    return data, info
