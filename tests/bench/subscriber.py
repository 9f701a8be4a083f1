"""A subscriber of a session's supervisor: told of every change, as a dashboard is."""

import json
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from orchestrator.client import Json


class Subscriber:
    """Listens at the supervisor's `path` until its block ends."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        request = {"id": uuid.uuid4().hex, "verb": "watch"}
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def until(self, seen: Callable[[Json], object], deadline: float = 10.0) -> float:
        """When it was told of an agent of which `seen` is true; as `time.monotonic`.

        A change of an agent holds what is different, and its name.
        """
        end = time.monotonic() + deadline
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                line = json.loads(self._lines.readline())
            except TimeoutError:
                break
            at = time.monotonic()
            told = line.get("view") or line.get("change") or {}
            if any(seen(agent) for agent in told.get("agents", ())):
                return at
        raise AssertionError(f"not told within {deadline} s")
