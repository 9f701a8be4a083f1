"""Runs one after another, each short: `python -m tests.oneshot.turning DIRECTORY PARALLEL TURNS`.

Says "at it" after the first. Ends with status 1 if more than PARALLEL of these processes are in a
run at the same time.
"""

import asyncio
import fcntl
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from orchestrator.oneshot.slots import PRIORITIES, Slots, Urgency

# <linux/sched.h>: the process is on its way out.
PF_EXITING = 0x4


@contextmanager
def counted(files: Sequence[IO[str]]) -> Iterator[None]:
    """Hold one of these files, which the kernel takes back from one that is killed: perhaps a
    moment after its slot."""
    while (held := _taken(files)) is None:
        holders = _holders(files)
        if len(holders) == len(files) and not any(map(_leaves, holders)):
            raise SystemExit("more than may run at once")
    yield
    fcntl.flock(held, fcntl.LOCK_UN)


def _taken(files: Sequence[IO[str]]) -> IO[str] | None:
    for file in files:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
    return None


def _holders(files: Sequence[IO[str]]) -> list[int]:
    """The processes that hold them. A line: `1: FLOCK ADVISORY WRITE PID DEVICE:INODE 0 EOF`."""
    inodes = {str(os.fstat(file.fileno()).st_ino) for file in files}
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [int(lock[4]) for lock in locks if lock[1] == "FLOCK" and _inode(lock[5]) in inodes]


def _inode(place: str) -> str:
    return place.rpartition(":")[2]


def _leaves(pid: int) -> bool:
    """Whether the process is ending, or has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    state, *_, flags = stat.rpartition(")")[2].split()[:7]
    return state in "ZX" or bool(int(flags) & PF_EXITING)


async def main(directory: Path, parallel: int, turns: int) -> None:
    files = [(directory / f"run-{number}").open("w") for number in range(parallel)]
    slots = Slots(directory, parallel, 1000)
    for turn in range(turns):
        if turn == 1:
            print("at it", flush=True)
        async with slots.slot(Urgency(random.choice(PRIORITIES))):
            with counted(files):
                await asyncio.sleep(random.choice((0, 0, 0.001)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
