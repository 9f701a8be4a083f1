"""How long an answer waits for the hook that can take it."""

import time
from collections.abc import Sequence
from typing import cast

import pytest

from orchestrator import answering
from orchestrator.answering import COMES
from orchestrator.asking import Asking
from orchestrator.core.effects import GiveAnswer
from orchestrator.core.state import Agent
from orchestrator.definitions import read_definition
from orchestrator.locations import PACKAGE
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control
from tests.core.worlds import agent_spec, running

CLAUDE = read_definition("claude", PACKAGE.parent / "agents/claude.toml")


class Blank:
    """A screen that shows nothing."""

    async def snapshot(self, pane: str) -> Sequence[str]:
        return []


class Hooks:
    """Hooks of which none comes; how long each was waited for."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def comes(self, agent: str, hook: str, within: float) -> bool:
        self.waited.append(within)
        return False


def asking(*ages: float) -> Agent:
    """An agent that asks: its requests came so many seconds ago."""
    play = running(agent_spec("a"))
    for age in ages:
        play.now = time.time() - age - play.stamp(at=0.0)["at"]
        play.hook("a", "PermissionRequest", tool="Bash", argument=f"ls {age}", key=f"k{age}")
    return play.world.agents["a"]


def order(agent: Agent, choice: str, reason: str | None = None) -> GiveAnswer:
    assert agent.ask is not None
    return GiveAnswer(
        agent="a",
        run=1,
        pane="%1",
        cli=CLAUDE,
        ask=agent.ask,
        choice=choice,
        reason=reason,
        request="r",
    )


@pytest.mark.parametrize(
    ("ages", "waits"),
    [((0.0,), COMES), ((60.0, 0.0), COMES), ((60.0, 30.0), 0.0), ((0.2,), COMES - 0.2)],
    ids=["new", "new after an old one", "old", "on its way"],
)
async def test_the_hook_of_the_newest_request_is_waited_for(
    noon: float, ages: tuple[float, ...], waits: float
) -> None:
    agent, hooks = asking(*ages), Hooks()
    effect = order(agent, "yes", "because")
    await answering.give(cast(Control, Blank()), effect, cast(Asking, hooks), lambda: agent)
    (within,) = hooks.waited
    assert within == pytest.approx(waits)


DRAWN = ["Do you want to proceed?", "❯ 1. Yes", "  2. No, and say why", "  3. No"]
FIRST = ["────────", "ls a", *DRAWN]
SECOND = ["────────", "ls b", *DRAWN]
FOOTER = " Esc to cancel · Tab to amend"


class Drawing:
    """A pane that asks; on a key it asks something else, drawn one line more at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        self.drawn = 4
        monkeypatch.setattr(panes, "in_mode", self._in_mode)

    @staticmethod
    async def _in_mode(control: Control, pane: str) -> bool:
        return False

    async def run(self, argv: Sequence[str]) -> None:
        self.keys.append(argv[-1])

    async def snapshot(self, pane: str) -> Sequence[str]:
        if not self.keys:
            return [*FIRST, FOOTER]
        self.drawn += 1
        return [*SECOND[: self.drawn], FOOTER]


async def test_the_dialog_after_an_answer_is_told_of_once_it_is_drawn(
    noon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, pane = asking(60.0), Drawing(monkeypatch)
    effect = order(agent, "3")
    outcome = await answering.give(
        cast(Control, pane), effect, cast(Asking, Hooks()), lambda: agent
    )
    assert (outcome.refused, outcome.label, pane.keys) == (None, "No", ["3"])
    assert outcome.after is not None
    assert outcome.after.options == (("1", "Yes"), ("2", "No, and say why"), ("3", "No"))


class Unhooked(Hooks):
    """Hooks of which none comes; meanwhile another request takes the place of the first."""

    def __init__(self, world: list[Agent]) -> None:
        super().__init__()
        self._world = world

    async def comes(self, agent: str, hook: str, within: float) -> bool:
        self._world.pop(0)
        return await super().comes(agent, hook, within)


async def test_an_answer_is_not_pressed_on_the_request_that_came_meanwhile(
    noon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first one the screen has shown nothing, so nothing but the world tells them apart."""
    asked, other, pane = asking(1.0), asking(0.0), Drawing(monkeypatch)
    outcome = await answering.give(
        cast(Control, pane),
        order(asked, "yes"),
        cast(Asking, Unhooked(world := [asked, other])),
        lambda: world[0],
    )
    assert pane.keys == []
    assert outcome.refused is not None
    assert "asks something else now" in outcome.refused
