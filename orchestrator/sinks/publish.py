"""What subscribers are told: the world as it is now, and how far the journal goes.

A subscriber keeps the world that it was last told and compares it with the newest when it comes
to it: a slow one is told less often, never wrong, and nothing is queued for it.
"""

import asyncio
from collections.abc import AsyncGenerator

from orchestrator.core import views
from orchestrator.core.state import World
from orchestrator.core.views import View


class Publisher:
    """Holds the newest world and wakes whoever waits for a newer one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.health: View = {"storage": None, "tmux": None}
        self.committed = 0
        self._wake = asyncio.Event()

    def publish(self, world: World) -> None:
        if world is not self.world:
            self.world = world
            self._ring()

    def say(self, **health: str | None) -> None:
        """Change what is said of the supervisor's own health."""
        new = {**self.health, **health}
        if new != self.health:
            self.health = new
            self._ring()

    def commit(self, seq: int) -> None:
        """The journal holds events up to `seq` now."""
        if seq > self.committed:
            self.committed = seq
            self._ring()

    def _ring(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    async def changed(self) -> None:
        """Return at the next change of anything."""
        await self._wake.wait()

    async def watch(self) -> AsyncGenerator[dict[str, View], None]:
        """The whole view once, then each change."""
        world, health = self.world, self.health
        yield {"view": views.view(world, health)}
        while True:
            wake = self._wake
            if self.world is world and self.health is health:
                await wake.wait()
                continue
            part = views.change(world, self.world, self.health if self.health != health else None)
            world, health = self.world, self.health
            if part:
                yield {"change": part}
