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
from orchestrator.core import changes
from orchestrator.core.state import Agent, World
from orchestrator.sinks.records import dump_world, load_world

log = logging.getLogger(__name__)


class Spare:
    """Keeps the copy at `path` in step with the world."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: World | None = None
        # The newest has what is not in the file.
        self._stale = False
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
        before, self._newest = self._newest, world
        self._stale = self._stale or before is None or _is_other(before, world)
        busy = self._task is not None and not self._task.done()
        if self._stale and not busy:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Write until the newest is written; after an error, the next change tries again."""
        while self._stale and self._newest is not None:
            self._stale = False
            try:
                await asyncio.to_thread(self._replace, self._newest)
            except OSError as error:
                self._stale = True
                log.warning("the copy of the world was not written: %s", error)
                return

    def _replace(self, world: World) -> None:
        half = self._path.with_name(f".{self._path.name}.half")
        failpoints.hit(failpoints.FILE)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(dump_world(world))
        failpoints.hit(failpoints.FILE)
        half.replace(self._path)

    async def close(self) -> None:
        """Write what is outstanding."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write()


def _is_other(old: World, new: World) -> bool:
    """Whether they differ in what a new start could not find out by looking."""
    if (old.team, old.state) != (new.team, new.state) or old.messages != new.messages:
        return True
    changed, gone = changes.of_agents(old, new)
    return bool(gone) or any(_essence(old.agents.get(a.name)) != _essence(a) for a in changed)


def _essence(a: Agent | None) -> object:
    if a is None:
        return None
    return a.run, a.wanted, a.begun, a.conversation, a.transcript, a.turns > 0, a.process
