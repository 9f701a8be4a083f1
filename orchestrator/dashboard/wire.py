"""One connection to the supervisor: a request goes out as a line of JSON, lines come back."""

import asyncio
import contextlib
import json
import socket
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Self

from orchestrator.client import Json
from orchestrator.errors import CrewError, UserError

# Bytes of one line: as much as the supervisor itself reads as one.
LINE_MAX = 16 * 1024 * 1024


class Broken(Exception):
    """Nothing listens, or the connection ended before the final answer."""


class Talk:
    """A connection. One request at a time; ended with the block that opened it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """Dial. Raises Broken if nothing listens."""
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_MAX)
        except OSError as error:
            raise Broken from error
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    @property
    def peer(self) -> int:
        """The pid of who answers, as the kernel tells it."""
        found = self._writer.get_extra_info("socket")
        credentials = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], sys.byteorder)

    async def ask(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        """What comes, up to and with the final answer. Raises CrewError if it is a refusal."""
        request = {"id": uuid.uuid4().hex, "verb": verb, **args}
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
            while line := await self._reader.readline():
                answer = json.loads(line)
                if answer.get("id") != request["id"]:
                    continue
                _raise_for(answer)
                yield answer
                if "exit" in answer:
                    return
        except (OSError, ValueError) as error:  # also a line that is no JSON, or has no end
            raise Broken from error
        raise Broken

    async def final(self, verb: str, **args: Any) -> Json:
        """The final answer alone."""
        async with contextlib.aclosing(self.ask(verb, **args)) as answers:
            async for answer in answers:
                if "exit" in answer:
                    return answer
        raise Broken


def _raise_for(answer: Json) -> None:
    if answer.get("exit", 0) == 0:
        return
    sentence = str(answer.get("error") or "it failed, and no reason was given")
    raise UserError(sentence) if answer["exit"] == 2 else CrewError(sentence)
