"""Runs one after another, each short: `python -m tests.oneshot.turning DIRECTORY PARALLEL TURNS`.

Says "at it" after the first. Ends with status 1 if more than PARALLEL of these processes are in a
run at the same time.
"""

import asyncio
import fcntl
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.oneshot.slots import PRIORITIES, Slots, Urgency


@contextmanager
def counted(files: Sequence[IO[str]]) -> Iterator[None]:
    """Hold one of these files, which the kernel takes back from one that is killed."""
    for file in files:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        yield
        fcntl.flock(file, fcntl.LOCK_UN)
        return
    raise SystemExit("more than may run at once")


async def main(directory: Path, parallel: int, turns: int) -> None:
    # Before any slot: of one that is killed the kernel closes the lowest descriptors first, so its
    # file is free when its slot is.
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
