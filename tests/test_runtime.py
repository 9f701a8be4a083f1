"""The loop: on disk before any effect, and still right when the disk is full."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.core.effects import AnyEffect, Reply, StartServer
from orchestrator.core.events import AnyEvent
from orchestrator.core.reducer import reduce_safely
from orchestrator.core.state import Message, World, empty_world
from orchestrator.errors import Fenced, StorageFull
from orchestrator.runtime import Runtime
from orchestrator.sinks.publish import Publisher
from orchestrator.sinks.store import Store
from orchestrator.sinks.worker import Worker
from tests.core.worlds import Play, agent_spec


class Disk:
    """A real store behind a tap: `full` makes each write fail as a full disk does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.full = False
        self.tries = 0

    def commit(self, events: Sequence[AnyEvent], messages: Sequence[Message]) -> list[int]:
        self.tries += 1
        if self.full:
            raise StorageFull("the disk is full")
        return self.store.commit(events, messages)

    def save_world(self, world: World, seq: int) -> None:
        if self.full:
            raise StorageFull("the disk is full")
        self.store.save_world(world, seq)


class Loop:
    """A runtime with everything it did written down, in order."""

    def __init__(self, path: Path) -> None:
        store, _ = Store.open(path, now=0.0)
        store.take_over()
        self.disk = Disk(store)
        self.worker = Worker()
        self.log: list[str] = []
        world = empty_world("t")
        self.publisher = Publisher(world)
        self.runtime = Runtime(
            world,
            0,
            self.disk,
            self.worker,
            self.publisher,
            follow=lambda old, new: self.log.append("follow"),
            run=self._ran,
            committed=lambda events: self.log.extend(f"committed {e.kind}" for e in events),
        )
        self.ran: list[AnyEffect] = []

    def _ran(self, effects: Sequence[AnyEffect]) -> None:
        self.log.extend(f"ran {e.kind}" for e in effects)
        self.ran.extend(effects)

    def loaded(self) -> tuple[World, int]:
        loaded = self.disk.store.load("t", reduce_safely)
        return loaded.world, loaded.seq


@pytest.fixture
async def loop(home: Path) -> AsyncIterator[Loop]:
    made = Loop(home / "crew.db")
    task = asyncio.create_task(made.runtime.run())
    yield made
    made.runtime.leave("now")
    with contextlib.suppress(Fenced):
        await asyncio.wait_for(task, 20)
    made.disk.store.close()
    made.worker.close()


async def until(look: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0)
    assert look(), what


def some_events() -> list[AnyEvent]:
    play = Play()
    play.recovered()
    play.up(agent_spec("a"))
    return play.journal


async def test_effects_run_after_the_commit_and_the_world_is_the_journal(loop: Loop) -> None:
    loop.runtime.post(*some_events())
    await until(lambda: any(isinstance(e, StartServer) for e in loop.ran), "the effects ran")
    assert loop.log.index("committed up_requested") < loop.log.index("ran start_server")
    world, seq = loop.loaded()
    assert seq == 2
    assert world == loop.runtime.world == loop.publisher.world


async def test_a_full_disk_holds_every_effect_and_loses_no_event(loop: Loop) -> None:
    loop.disk.full = True
    recovered, up = some_events()
    loop.runtime.post(recovered, up)
    await until(lambda: loop.publisher.health["storage"], "it is said")
    assert loop.publisher.world.agents, "what is known is shown all the same"
    assert loop.ran == []
    assert loop.loaded()[1] == 0
    loop.disk.full = False
    await until(lambda: any(isinstance(e, Reply) for e in loop.ran), "it goes on by itself")
    assert loop.publisher.health["storage"] is None
    assert loop.loaded() == (loop.runtime.world, 2)


async def test_a_supervisor_that_was_replaced_writes_nothing_more(home: Path) -> None:
    made = Loop(home / "crew.db")
    other, _ = Store.open(home / "crew.db", now=0.0)
    other.take_over()
    made.runtime.post(*some_events())
    with pytest.raises(Fenced):
        await asyncio.wait_for(made.runtime.run(), 20)
    assert made.ran == []
    assert other.load("t", reduce_safely).seq == 0
    other.close()
    made.disk.store.close()
    made.worker.close()
