"""A question in a process of its own: `python -m tests.oneshot.flying DIRECTORY KEY RUNS GATE`.

Who leads notes its pid in RUNS, says "one ", waits until GATE exists, and says "two", then writes
DIRECTORY/answer: who comes when all is over finds it there, as it would in the cache. Each process
prints what it hears, a line of JSON a piece, then its result.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from orchestrator.oneshot.flight import Teller, fly


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


async def main(directory: Path, key: str, runs: Path, gate: Path) -> None:
    answer = directory / "answer"

    async def lead(tell: Teller) -> bytes:
        if answer.exists():
            tell("one two")
            return b"the result"
        notes = os.open(runs, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(notes, f"{os.getpid()}\n".encode())
        os.close(notes)
        tell("one ")
        while not gate.exists():
            await asyncio.sleep(0.01)
        tell("two")
        answer.touch()
        return b"the result"

    flight = await fly(
        directory, key, lead, lambda text: say(heard=text), lambda: say(restarted=True)
    )
    say(result=flight.result.decode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
