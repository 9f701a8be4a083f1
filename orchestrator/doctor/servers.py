"""tmux: there, new enough, and able to run a server with our configuration."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from orchestrator.doctor.bench import start
from orchestrator.doctor.findings import Finding, bad, note, ok
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.tmux import conf
from orchestrator.tmux.version import check_tmux

# Options of our configuration that an older tmux passes over, and since when there are such.
_NEWER = {"remain-on-exit-format": "3.3", "allow-passthrough": "3.3", "allow-set-title": "3.5"}
# Seconds.
_ANSWERS = 5.0


def tmux(paths: SessionPaths | None, environ: Mapping[str, str]) -> Finding:
    """Look for tmux and start a server at `paths`, if there is a place for one."""
    try:
        version = check_tmux()
    except UserError as error:
        text, _, remedy = str(error).partition(": ")
        return bad("tmux", text, remedy)
    found = f"{version}, {shutil.which('tmux', path=environ.get('PATH', os.defpath))}"
    if paths is None:
        return ok("tmux", found)
    try:
        start(paths, environ)
        lacks = [f"{option} ({since})" for option, since in _lacking(paths)]
    except (CrewError, OSError, subprocess.SubprocessError) as error:
        remedy = "see that `tmux -L test new-session -d` works, and `tmux -L test kill-server`"
        return bad("tmux", f"{found}: a server does not start: {error}", remedy)
    return ok("tmux", f"{found}; does without {', '.join(lacks)}" if lacks else found)


def _lacking(paths: SessionPaths) -> Iterator[tuple[str, str]]:
    """Asked of the server itself: a version says little of a build from source."""
    for option, since in _NEWER.items():
        argv = ["tmux", "-N", "-S", str(paths.tmux_socket), "show-options", "-gw", option]
        asked = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWERS, check=False
        )
        if asked.returncode != 0:
            yield option, since


def nesting(nested: bool) -> Iterator[Finding]:
    """`nested`: the prefix of a team's windows goes to another tmux first."""
    if nested:
        text = f"this is inside a tmux, whose prefix comes first: {conf.KEYS_NESTED} leaves a team"
        yield note("nested", text)
