"""Proof that no conversation ever has two writers: each CLI looks around before it starts."""

import os
from pathlib import Path

from tests.claude.cli import CLAUDE
from tests.end_to_end.conftest import Crew

# The id to look for comes from a file: on the command line of grep it would be found there.
_WRAPPER = f"""#!/bin/sh
echo "$1 $2" >>"{{notes}}/starts"
echo "$2" >"{{notes}}/id.$$"
for found in $(grep -laF -f "{{notes}}/id.$$" /proc/[0-9]*/cmdline 2>/dev/null); do
    [ "$found" = "/proc/$$/cmdline" ] || echo "$2 $found" >>"{{notes}}/others"
done
exec "{CLAUDE}" "$@"
"""


class Writers:
    """Stands before the CLI on the PATH of `crew`: `starts` and `others` are what it noted."""

    def __init__(self, crew: Crew) -> None:
        self._notes = crew.home / "writers"
        self._notes.mkdir()
        wrapper = self._notes / "claude"
        wrapper.write_text(_WRAPPER.format(notes=self._notes))
        wrapper.chmod(0o755)
        crew.env["PATH"] = f"{self._notes}{os.pathsep}{crew.env['PATH']}"

    def starts(self) -> list[list[str]]:
        """[option, conversation] of each start, oldest first."""
        return [line.split() for line in _lines(self._notes / "starts")]

    def others(self) -> list[str]:
        """Processes that had the conversation of one that was just about to start."""
        return _lines(self._notes / "others")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
