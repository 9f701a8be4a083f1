"""A run in a process of its own: `python -m tests.oneshot.queueing DIRECTORY PARALLEL LENGTH
PRIORITY`.

Prints "in" once it has its slot, which it holds until its standard input ends, or "full".
"""

import asyncio
import sys
from pathlib import Path

from orchestrator.oneshot.slots import Priority, QueueFull, Slots, Urgency


async def main(directory: Path, parallel: int, length: int, priority: Priority) -> None:
    try:
        async with Slots(directory, parallel, length).slot(Urgency(priority)):
            print("in", flush=True)
            sys.stdin.read()
    except QueueFull:
        print("full", flush=True)


if __name__ == "__main__":
    _, root, parallel, length, given = sys.argv
    asyncio.run(main(Path(root), int(parallel), int(length), given))  # type: ignore[arg-type]
