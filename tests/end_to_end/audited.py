"""What a session's supervisor has missed, asked at the end of a test.

Its own audit looks every half minute, which most tests do not live to see. So the same is looked at
from outside as well: what tmux and the spool show must be what the supervisor thinks, and the count
that is in the database must be 0.
"""

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.client import Client
from orchestrator.core.reducer import reduce_safely
from orchestrator.core.state import ALIVE
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from orchestrator.sinks.store import read_world
from tests.support import wait_until

# Seconds for a difference to go: more than its audit takes to find, mend and count it.
SETTLES = 40.0
# Seconds for an answer. Who gives none is asked nothing: tests leave processes hanging.
ANSWERS = 2.0


def sessions(home: Path) -> list[SessionPaths]:
    """The sessions that have been, below this HOME."""
    states = home / ".local/state/crewmux"
    return [SessionPaths(found.parent) for found in sorted(states.glob("*/crew.db"))]


def missed(paths: SessionPaths) -> int:
    """What the audit has counted; its supervisor may be gone."""
    return read_world(paths.database, paths.name, reduce_safely).world.missed_events


def difference(paths: SessionPaths, environ: Mapping[str, str]) -> str | None:
    """What is not as the supervisor thinks, and stays so, in words; None where it is, or where
    nobody answers."""
    found: list[str] = []

    def agrees() -> bool:
        found[:] = _differences(paths, environ)
        return not found

    with contextlib.suppress(AssertionError):
        wait_until(agrees, "what is shown is what is thought", SETTLES)
    return "; ".join(found) or None


def _differences(paths: SessionPaths, environ: Mapping[str, str]) -> list[str]:
    try:
        # First: what is seen in them may be known by the time of the answer.
        panes = _panes(paths, environ)
        hooks = list((paths.spool / "new").iterdir())
        with Client.connect(paths, start=False, environ=environ) as client:
            view: dict[str, Any] = client.request("status", timeout=ANSWERS)["view"]
    except (CrewError, OSError, subprocess.TimeoutExpired):
        return []
    found = [
        f"{agent['name']} is {agent['status']} (pid {agent['pid']}), and tmux shows {sorted(panes)}"
        for agent in view["agents"]
        if agent["status"] in ALIVE and agent["pid"] is not None
        if (agent["pane"], str(agent["pid"]), "0") not in panes
    ]
    return found + [f"nobody has read {hook.name}" for hook in hooks if hook.exists()]


def _panes(paths: SessionPaths, environ: Mapping[str, str]) -> set[tuple[str, ...]]:
    """(pane, process, whether it is dead) of each; empty where there is no server."""
    fields = "#{pane_id} #{pane_pid} #{pane_dead}"
    done = subprocess.run(
        ["tmux", "-S", str(paths.tmux_socket), "list-panes", "-a", "-F", fields],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=ANSWERS,
        check=False,
    )
    return {tuple(line.split()) for line in done.stdout.splitlines()}
