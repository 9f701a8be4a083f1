"""What subscribers are told: the world as it is now, and how far the journal goes.

A subscriber keeps the world that it was last told and compares it with the newest when it comes
to it: a slow one is told less often, never wrong, and nothing is queued for it.
"""

import asyncio
from collections.abc import AsyncGenerator

from orchestrator.core import accounts, views
from orchestrator.core.state import World
from orchestrator.core.views import View


class Publisher:
    """Holds the newest world and wakes whoever waits for a newer one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.health: View = dict(views.HEALTH)
        self.samples: View = {}
        self.asks: View = views.ASKS
        self.committed = 0
        self._ended = False
        self._wake = asyncio.Event()

    def publish(self, world: World) -> None:
        if world is not self.world:
            self.world = world
            self._ring()

    def say(self, **health: str | View | None) -> None:
        """Change what is said of the supervisor's own health (`views.HEALTH`)."""
        new = {**self.health, **health}
        if new != self.health:
            self.health = new
            self._ring()

    def sample(self, samples: View) -> None:
        """Change what is said of the agents' use of the machine."""
        if samples != self.samples:
            self.samples = samples
            self._ring()

    def count(self, asks: View) -> None:
        """Change what is said of how CLIs are asked (`views.ASKS`)."""
        if asks != self.asks:
            self.asks = asks
            self._ring()

    def end(self) -> None:
        """Nothing more will come: each subscriber is told what is left, and done."""
        self._ended = True
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

    def _all(self) -> tuple[World, View, View, View]:
        return self.world, self.health, self.samples, self.asks

    async def watch(self) -> AsyncGenerator[dict[str, View], None]:
        """The whole view once, then each change, until `end`."""
        told = world, health, samples, asks = self._all()
        bill = accounts.bill(world)
        yield {"view": views.view(*told)}
        while True:
            wake = self._wake
            if all(new is old for new, old in zip(self._all(), told, strict=True)):
                if self._ended:
                    return
                await wake.wait()
                continue
            before, bill = bill, accounts.bill(self.world, bill)
            part = views.change(
                world,
                self.world,
                self.health if self.health != health else None,
                self.samples if self.samples != samples else None,
                self.asks if self.asks != asks else None,
                (before, bill),
            )
            told = world, health, samples, asks = self._all()
            if part:
                yield {"change": part}
