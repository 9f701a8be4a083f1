"""The spare: a copy of the world beside the database, for the day that the database is damaged.

Written, atomically and in a thread, when who is in the team, which conversation each has, or what
waits to be delivered has changed. A damaged database is set aside, and the new one starts from
the spare: panes are adopted and conversations resumed as if nothing had happened; only the old
events are in the file that was set aside.
"""

import asyncio
import logging
import os
from pathlib import Path

from orchestrator import failpoints
from orchestrator.core.state import World
from orchestrator.sinks.records import dump_world, load_world

log = logging.getLogger(__name__)


class Spare:
    """Keeps the copy at `path` in step with the world."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: World | None = None
        self._written: object = None
        self._task: asyncio.Task[None] | None = None

    def read(self) -> World | None:
        """The copy, if there is one that can be read."""
        try:
            return load_world(self._path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("the copy of the world cannot be used: %s", error)
            return None

    def follow(self, world: World) -> None:
        """Write the copy again if what it is for has changed. Never blocks."""
        self._newest = world
        busy = self._task is not None and not self._task.done()
        if not busy and _essence(world) != self._written:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Write until the newest is written; after an error, the next change tries again."""
        while (world := self._newest) is not None and _essence(world) != self._written:
            try:
                await asyncio.to_thread(self._replace, world)
            except OSError as error:
                log.warning("the copy of the world was not written: %s", error)
                return
            self._written = _essence(world)

    def _replace(self, world: World) -> None:
        half = self._path.with_name(f".{self._path.name}.half")
        failpoints.hit("file")
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(dump_world(world))
        failpoints.hit("file")
        half.replace(self._path)

    async def close(self) -> None:
        """Write what is outstanding."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write()


def _essence(world: World) -> object:
    """What a new start could not find out by looking."""
    agents = tuple(
        (a.name, a.run, a.wanted, a.begun, a.conversation, a.transcript, a.turns > 0, a.process)
        for a in world.agents.values()
    )
    return world.team, world.state, agents, tuple(world.messages.values())
