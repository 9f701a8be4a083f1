"""Whether watches work here, tried by the very code that a session watches with.

A process of its own, run as `-I -m orchestrator.doctor.watching DIRECTORY`, as a supervisor is:
nothing of the command line imports the sources. It prints one line of JSON:

    {"package": where it was imported from,
     "refused": [what the system would not give, as sentences],
     "unnoticed": [what was written to and woke nobody: "a file", "a terminal"]}
"""

import asyncio
import json
import os
import pty
import sys
import threading
from pathlib import Path

from orchestrator.locations import PACKAGE
from orchestrator.sources.ptys import Terminals
from orchestrator.sources.watches import Watches

# Seconds. A wake-up takes less than a thousandth of this.
WAKES = 5.0


def watch_directory(directory: Path, refused: list[str]) -> bool:
    """Whether a file that is made in `directory` is told of."""
    told = threading.Event()
    watches = Watches[str](lambda _: told.set(), lambda: None, refused.append)
    if watches.settle([], {directory: "made"}).slow:
        return True  # It was said in `refused`.
    (directory / "made").touch()
    return told.wait(WAKES)


async def watch_terminal(refused: list[str]) -> bool:
    """Whether a write to a terminal is told of."""
    wrote = asyncio.Event()
    terminals = Terminals(asyncio.get_running_loop(), lambda _: wrote.set(), refused.append)
    main, side = pty.openpty()
    before = len(refused)
    try:
        terminals.arm("doctor", os.ttyname(side))
        if len(refused) > before:
            return True  # As above.
        os.write(side, b"x")
        async with asyncio.timeout(WAKES):
            await wrote.wait()
    except TimeoutError:
        return False
    finally:
        terminals.close()
        os.close(main)
        os.close(side)
    return True


def main(directory: str) -> None:
    refused: list[str] = []
    woken = {
        "a file": watch_directory(Path(directory), refused),
        "a terminal": asyncio.run(watch_terminal(refused)),
    }
    unnoticed = [what for what, noticed in woken.items() if not noticed]
    print(json.dumps({"package": str(PACKAGE), "refused": refused, "unnoticed": unnoticed}))


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    # Watchdog's threads may take half a second to end; nothing is left to lose.
    os._exit(0)
