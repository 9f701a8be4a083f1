"""Where the pinned Claude CLI is, or why it is not there."""

import functools
import os
import subprocess
from pathlib import Path

from tests.checkouts import ROOT

PIN = Path(__file__).with_name("pin.txt").read_text().strip()
# bin/test installs it there, unless it is told of another place.
PREFIX = Path(os.environ.get("CREW_TEST_CLAUDE") or ROOT / ".cache/claude" / PIN)
BIN = PREFIX / "node_modules/.bin"
CLAUDE = BIN / "claude"


@functools.cache
def available() -> str | None:
    """None if the pinned CLI can be run, else why not."""
    try:
        said = subprocess.run(
            [CLAUDE, "--version"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except OSError:
        return f"the Claude CLI is not in {PREFIX}: bin/test installs it (it needs npm)"
    except subprocess.SubprocessError as error:
        return f"the Claude CLI does not run: {error}"
    if said.split()[0] != PIN:
        return f"the Claude CLI in {PREFIX} is {said.split()[0]}, and the tests want {PIN}"
    return None
