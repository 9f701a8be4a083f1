"""Telling the session that is here what becomes of a question, for its dashboard.

Its supervisor is never started for it, and hardly waited for: most asks are over in milliseconds.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import CrewError
from orchestrator.locations import NAME, SessionPaths, session_paths, state_root

# Seconds for each word with the supervisor. It answers in a millisecond or two; on a busy machine
# it waits for its turn, and what it has not heard by our end does not count. It may be stopped.
PATIENCE = 1.0


class Telling:
    """One question, from when it waits for its turn until it is answered.

    The connection stays open meanwhile: if this process is killed, the supervisor knows.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._socket: socket.socket | None = None

    def waits(self) -> None:
        self._say("waiting")

    def runs(self) -> None:
        self._say("running")

    def ended(self, outcome: str, saved_usd: float | None) -> None:
        """Say how it ended, and that it is heard: what is said with the last breath is not."""
        self._say("ended", outcome=outcome, saved_usd=saved_usd or 0.0)
        if self._socket is not None:
            with self._socket, contextlib.suppress(OSError):
                self._socket.recv(1)

    def _say(self, state: str, **more: Any) -> None:
        if self._socket is None and state != "running":
            self._socket = _dial(self._environ)
        if self._socket is not None:
            line = json.dumps({"id": state, "verb": "oneshot", "state": state, **more})
            with contextlib.suppress(OSError):
                self._socket.sendall(line.encode() + b"\n")


def _dial(environ: Mapping[str, str]) -> socket.socket | None:
    """A connection to the supervisor that looks after this place, if one does."""
    with contextlib.suppress(OSError, CrewError):
        for paths in _here(environ):
            dialled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            dialled.settimeout(PATIENCE)
            with contextlib.suppress(OSError):
                dialled.connect(str(paths.socket))
                return dialled
            dialled.close()
    return None


def _here(environ: Mapping[str, str]) -> Iterator[SessionPaths]:
    """The session that is named, else those whose root is this directory or the nearest above."""
    if named := environ.get("CREW_SESSION"):
        yield session_paths(named)
        return
    roots: dict[str, list[str]] = {}
    for name in sorted(os.listdir(state_root())):  # noqa: PTH208 - names
        if NAME.fullmatch(name):
            with contextlib.suppress(OSError):
                link = SessionPaths(state_root() / name).root_link
                roots.setdefault(os.readlink(link), []).append(name)  # noqa: PTH115 - a string
    here = Path.cwd()
    for directory in (here, *here.parents):
        if near := roots.get(str(directory)):
            yield from map(session_paths, near)
            return
