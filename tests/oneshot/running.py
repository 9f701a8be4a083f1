"""One run in a process of its own: `python -m tests.oneshot.running COMMAND [ARGUMENT...]`."""

import asyncio
import os
import sys
from pathlib import Path

from orchestrator.oneshot.process import run

if __name__ == "__main__":
    asyncio.run(run(sys.argv[1:], "", os.environ, Path("/"), "claude", None, lambda _: None))
