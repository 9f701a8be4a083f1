"""The socket: lines of JSON from the command line, the dashboard and agents' own calls.

One request a line, `{"id", "verb", ...}`; answers carry the same `id`, the last one an `exit`
(0 done, 1 failed, 2 the user's mistake) and, when not 0, one sentence as `error`. This module
moves lines and says who is calling; what a verb means is in `requests.py`.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.core.spec import TeamSpec

log = logging.getLogger(__name__)

# A line holds a team with its role prompts and a person's environment; 500 kB messages exist.
LINE_MAX = 16 * 1024 * 1024
# Requests of one client that are served side by side; its next lines are not read before one of
# them is answered. A client has a few: whoever sends a thousand at once waits for the answers.
AT_ONCE = 100
_UCRED = struct.Struct("3i")


class Connection:
    """One client: `pid` is the calling process, as the kernel tells it."""

    def __init__(self, pid: int, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._writer = writer
        self._lock = asyncio.Lock()

    async def send(self, **line: Any) -> bool:
        """Write one line; False when the client has gone."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            async with self._lock:
                self._writer.write(data)
                await self._writer.drain()
        except (ConnectionError, RuntimeError):
            return False
        return True

    async def final(self, request: str, exit: int, body: dict[str, Any]) -> None:
        await self.send(id=request, exit=exit, **body)


_TEAM = TypeAdapter(TeamSpec)


def parse_team(data: object) -> TeamSpec:
    """The team of an `up` request. Raises ValueError with one sentence."""
    try:
        return _TEAM.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"the team is not understood at {where}: {first['msg']}") from None


Handle = Callable[[dict[str, Any], Connection], Coroutine[Any, Any, None]]


async def serve(path: Path, handle: Handle) -> asyncio.Server:
    """Listen on `path` (0600). A socket file left by a dead supervisor is replaced.

    The caller holds the session's lock: nobody else can be listening there.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    umask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(
            lambda reader, writer: _talk(reader, writer, handle), path, limit=LINE_MAX
        )
    finally:
        os.umask(umask)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handle) -> None:
    """Serve one client until it leaves; its requests are handled side by side."""
    tasks: set[asyncio.Task[None]] = set()
    try:
        pid, uid = _peer(writer)
        if uid != os.getuid():
            log.warning("refused a caller", extra={"uid": uid, "pid": pid})
            return
        connection = Connection(pid, writer)
        while line := await reader.readline():
            request = _parse(line)
            if request is None:
                await connection.final("", 2, {"error": "not a request: a line of JSON is"})
                continue
            task = asyncio.create_task(handle(request, connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            # It begins, also where its client has left by now: what that has told counts.
            await asyncio.sleep(0)
            while len(tasks) >= AT_ONCE:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except (ConnectionError, ValueError, asyncio.CancelledError):
        pass  # Gone, or a line without an end: there is nobody to tell.
    finally:
        for task in tasks:
            task.cancel()
        writer.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    valid = (
        isinstance(request, dict)
        and isinstance(request.get("id"), str)
        and isinstance(request.get("verb"), str)
    )
    return request if valid else None


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    peer: socket.socket = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return pid, uid
