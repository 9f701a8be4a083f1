"""What the sessions of a test that failed had been through: it may not fail again for days."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.locations import SessionPaths
from orchestrator.sinks.reader import Reader
from tests.end_to_end import audited

# The last events of a session, and characters of each.
EVENTS, LENGTH = 80, 500


def told(home: Path, environ: Mapping[str, str]) -> str:
    """The ends of the journals, the outboxes and the screens below this HOME; never an error."""
    found: list[str] = []
    for paths in audited.sessions(home):
        for part in (_journal, _screens):
            try:
                found += part(paths, environ)
            except Exception as error:
                found.append(f"{paths.name}: {error!r}")
    return "\n".join(found)


def _journal(paths: SessionPaths, environ: Mapping[str, str]) -> Iterator[str]:
    with Reader.look(paths.database) as reader:
        for each in reader.events(limit=EVENTS, newest=True) + reader.messages():
            yield json.dumps(each, default=str)[:LENGTH]


def _screens(paths: SessionPaths, environ: Mapping[str, str]) -> Iterator[str]:
    for pane in _tmux(paths, environ, "list-panes", "-aF", "#{pane_id} #{@crew_name}").split("\n"):
        if pane:
            yield f"-- {pane}"
            yield _tmux(paths, environ, "capture-pane", "-p", "-t", pane.split()[0]).rstrip()


def _tmux(paths: SessionPaths, environ: Mapping[str, str], *arguments: str) -> str:
    return subprocess.run(
        ["tmux", "-S", str(paths.tmux_socket), *arguments],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=audited.ANSWERS,
        check=False,
    ).stdout
