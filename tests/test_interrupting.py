"""Interrupting, on a screen and an agent that only seem to be there."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator import interrupting
from orchestrator.core.effects import SendInterrupt
from orchestrator.core.state import Agent, Status
from orchestrator.definitions import read_definition
from orchestrator.locations import PACKAGE
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control
from tests.core.worlds import agent_spec, running

DEMO = read_definition("demo", PACKAGE.parent / "agents/demo.toml")
WORKS = "  esc to interrupt"
QUIET = "  ? for shortcuts"
TAKEN_BACK = "it had not begun to answer: the prompt was taken back"


class Cli:
    """An agent in its turn, and its screen. `on_key` is what the interrupting keys do to it."""

    def __init__(self, prompt: str) -> None:
        self.agent: Agent = replace(
            running(agent_spec("a")).world.agents["a"],
            status=Status.WORKING,
            turn_began=50.0,
            prompt=prompt,
            prompted=1.0,
        )
        self.draft = ""
        self.pressed: list[str] = []
        self.on_key: Callable[[], None] = self.put_back

    # -- what a pane does --------------------------------------------------------------------------

    async def snapshot(self, pane: str) -> Sequence[str]:
        works = self.agent.status is Status.WORKING
        return [f"❯ {self.draft}".rstrip(), WORKS if works else QUIET]

    async def run(self, *commands: Sequence[str]) -> list[list[bytes]]:
        for *_, key in commands:
            self.pressed.append(key)
            if key == "Escape":
                self.on_key()
            elif key == "C-u":
                self.draft = ""
        return []

    # -- what can happen ---------------------------------------------------------------------------

    def be(self, status: Status, **fields: Any) -> None:
        self.agent = replace(self.agent, status=status, **fields)

    def put_back(self) -> None:
        self.draft = "do it"
        self.be(Status.READY)

    async def interrupt(
        self, prompt: str, now: Callable[[], Agent] | None = None
    ) -> tuple[str | None, str]:
        effect = SendInterrupt(agent="a", run=1, pane="%1", cli=DEMO, request="r", prompt=prompt)
        known = now or (lambda: self.agent)
        return await interrupting.interrupt(cast(Control, self), effect, known)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_in_mode(control: Control, pane: str) -> bool:
        return False

    monkeypatch.setattr(panes, "in_mode", not_in_mode)
    monkeypatch.setattr(interrupting, "PAUSE", 0.0)


async def test_a_prompt_that_is_told_after_the_order_is_cleared() -> None:
    """The order has an older one: the hook of this one was on its way."""
    cli = Cli("do it")
    assert await cli.interrupt("long ago") == (None, TAKEN_BACK)
    assert (cli.draft, cli.pressed) == ("", ["Escape", "C-u"])


async def test_a_prompt_that_is_told_after_the_end_of_its_turn_is_cleared() -> None:
    cli = Cli("long ago")
    asked: list[None] = []

    def now() -> Agent:
        """The agent, of whose prompt the hook comes a while after it is ready."""
        if cli.draft:
            asked.append(None)
        if len(asked) == 10:
            cli.be(Status.WORKING, prompt="do it")
        return cli.agent

    assert await cli.interrupt("long ago", now) == (None, TAKEN_BACK)
    assert (cli.draft, cli.pressed) == ("", ["Escape", "C-u"])


async def test_what_is_no_prompt_stays() -> None:
    cli = Cli("long ago")
    assert await cli.interrupt("long ago") == (None, "in its input line stands: do it")
    assert (cli.draft, cli.pressed) == ("do it", ["Escape"])


async def test_a_key_that_was_lost_is_pressed_again() -> None:
    """It is not interrupted as long as the agent says that its turn goes on."""
    cli = Cli("do it")

    def taken_the_second_time() -> None:
        cli.on_key = cli.put_back

    cli.on_key = taken_the_second_time
    assert await cli.interrupt("do it") == (None, TAKEN_BACK)
    assert cli.pressed == ["Escape", "Escape", "C-u"]


async def test_a_turn_that_goes_on_is_said() -> None:
    cli = Cli("do it")
    cli.on_key = lambda: None
    refused, note = await cli.interrupt("do it")
    assert (refused, note) == ("a goes on with its turn: look at its pane", "")
    assert cli.pressed == ["Escape"] * interrupting.PRESSES


async def test_what_was_queued_is_not_interrupted_as_well() -> None:
    """The transcript tells of its prompt; the status file saw no end in between."""
    cli = Cli("do it")
    cli.on_key = lambda: cli.be(Status.WORKING, prompt="next", prompted=time.time() + 1)
    assert await cli.interrupt("do it") == (None, "")
    assert cli.pressed == ["Escape"]
