"""The copy of the world is in step with it, and is not written for what a look would tell."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core import events as ev
from orchestrator.core.state import World
from orchestrator.sinks.spare import Spare
from tests.core.worlds import Play, agent_spec, running


class Copy(Spare):
    """A spare whose writes are counted, and fail while `full`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writes = 0
        self.full = False

    def _replace(self, world: World) -> None:
        self.writes += 1
        if self.full:
            raise OSError("the disk is full")
        super()._replace(world)

    async def settled(self) -> int:
        """How often it was written by now."""
        if self._task is not None:
            await asyncio.wait_for(self._task, 20)
        return self.writes


@pytest.fixture
def spare(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "world.json")


def _send(play: Play) -> None:
    stamp = play.stamp("person")
    play.give(ev.SendRequested(agent="a", text="hello", sender="person", request="r", **stamp))


def _leaves(play: Play) -> None:
    agents = {name: agent for name, agent in play.world.agents.items() if name != "b"}
    play.world = replace(play.world, agents=agents)


CHANGES: dict[str, Callable[[Play], object]] = {
    "a prompt was taken": lambda play: play.hook("a", "UserPromptSubmit", text="go"),
    "its transcript is known": lambda play: play.hook("a", "SessionStart", transcript="/t"),
    "it has died": lambda play: play.exited("a", signal=9),
    "a message waits": _send,
    "somebody has left": _leaves,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_what_only_the_world_knows_is_written_once(
    spare: Copy, change: Callable[[Play], object]
) -> None:
    play = running(agent_spec("a"), agent_spec("b"), agent_spec("c"))
    spare.follow(play.world)
    assert await spare.settled() == 1
    change(play)
    spare.follow(play.world)
    assert await spare.settled() == 2
    assert spare.read() == play.world
    spare.follow(play.world)
    play.status_file("c", "working")
    spare.follow(play.world)
    assert await spare.settled() == 2, "a look tells what somebody does"


async def test_a_write_that_failed_is_made_good_by_the_next_change(spare: Copy) -> None:
    play = running(agent_spec("a"))
    spare.full = True
    spare.follow(play.world)
    assert await spare.settled() == 1
    spare.full = False
    play.status_file("a", "working")
    spare.follow(play.world)
    assert await spare.settled() == 2
    assert spare.read() == play.world


async def test_what_comes_while_it_is_written_is_written_too(spare: Copy) -> None:
    play = running(agent_spec("a"))
    spare.follow(play.world)
    _send(play)
    spare.follow(play.world)
    await spare.close()
    assert spare.read() == play.world
