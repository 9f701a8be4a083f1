"""`python -m tests.check_definitions`: every shipped definition and blueprint loads.

What is installed on the machine, or set up by its user, does not matter: agent CLIs are stood in
for by empty programs on a PATH of their own, and the user's own layer is an empty directory.
"""

import os
import sys
import tempfile
from pathlib import Path

from orchestrator import locations
from orchestrator.blueprints import load_team
from orchestrator.definitions import load_definition
from orchestrator.errors import CrewError


def _stand_in(directory: Path, command: str) -> None:
    if "/" not in command and "{" not in command:
        program = directory / command
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)


def problems(base: Path, scratch: Path) -> list[str]:
    """One line for each file below `base` that does not load; `scratch` is an empty directory."""
    found = []
    for file in sorted((base / "agents").glob("*.toml")):
        try:
            _stand_in(scratch, load_definition(file.stem, None).launch.command[0])
        except CrewError as error:
            found.append(str(error))
    environ = {"PATH": str(scratch), "HOME": str(scratch), "SHELL": "/bin/sh"}
    for file in sorted((base / "sessions").glob("*.toml")):
        try:
            load_team(file, cwd=scratch, environ=environ, session=None)
        except CrewError as error:
            found.append(str(error))
    return found


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="crew-") as scratch:
        os.environ["XDG_CONFIG_HOME"] = scratch
        found = problems(locations.builtin(), Path(scratch))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
