"""Dialogs that stand open while the rest of the agent goes on, and those that change."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core import events as ev
from orchestrator.core.spec import StatusFileSpec
from tests.core.worlds import CLI, Play, agent_spec, running

STATES: Any = {"busy": "working", "idle": "ready", "waiting": "blocked"}
YES_NO = (("1", "Yes"), ("2", "No"))


@pytest.fixture
def play() -> Play:
    """`a` works, and its status file has a word for an open dialog."""
    play = running(agent_spec("a"))
    team = play.world.team
    assert team is not None
    cli = replace(CLI, status_file=StatusFileSpec(path="{pid}", states=STATES))
    play.world = replace(play.world, team=replace(team, clis={**team.clis, "demo": cli}))
    play.hook("a", "UserPromptSubmit", text="go")
    return play


def file(play: Play, raw: str) -> None:
    play.give(
        ev.StatusFileSeen(
            agent="a",
            run=1,
            status=STATES[raw],
            raw=raw,
            waiting_for="permission prompt" if raw == "waiting" else None,
            **play.stamp("status"),
        )
    )


def screen(play: Play, text: str) -> None:
    play.give(
        ev.ScreenSeen(
            agent="a",
            run=1,
            status="blocked",
            ask="permission",
            text=text,
            options=YES_NO,
            **play.stamp("screen"),
        )
    )


@pytest.mark.parametrize("hook", ["UserPromptSubmit", "PreToolUse", "PostToolBatch"])
def test_a_dialog_stands_while_its_status_file_says_so(play: Play, hook: str) -> None:
    """A sub-agent asks; another one ends, of which the agent is told in a turn."""
    file(play, "waiting")
    screen(play, "Bash command\ntouch a\nDo you want to proceed?")
    play.hook("a", hook, text="<task-notification>", tool="Bash")
    assert play.status("a") == "blocked"
    file(play, "busy")
    assert play.status("a") == "working"
    play.hook("a", hook, text="go on", tool="Bash")
    assert play.status("a") == "working"


def test_a_turn_that_is_over_is_believed(play: Play) -> None:
    file(play, "waiting")
    play.hook("a", "Stop", text="done")
    assert play.status("a") == "ready"


def test_a_dialog_without_a_hook_is_what_the_screen_shows_now(play: Play) -> None:
    file(play, "waiting")
    screen(play, "Bash command\ntouch a\nDo you want to proceed?")
    other = "Bash command\ntouch b\nDo you want to proceed?"
    screen(play, other)
    ask = play.world.agents["a"].ask
    assert ask is not None
    assert (ask.text, ask.shown, ask.hook) == (other, other, None)


def test_another_dialog_than_the_one_of_the_hook_is_not_taken_for_it(play: Play) -> None:
    """What a person approves is what they read."""
    asked: dict[str, Any] = {"tool": "Bash", "argument": "touch a", "key": "hook:1"}
    play.hook("a", "PermissionRequest", **asked)
    screen(play, "Bash command\ntouch a\nDo you want to proceed?")
    screen(play, "Bash command   1 of 2\ntouch a\nDo you want to proceed?")
    ask = play.world.agents["a"].ask
    assert ask is not None
    assert (ask.text, ask.hook) == ("Bash: touch a", "hook:1"), "drawn in another way"
    other = "Bash command\ntouch b\nDo you want to proceed?"
    screen(play, other)
    ask = play.world.agents["a"].ask
    assert ask is not None
    assert (ask.text, ask.tool, ask.hook) == (other, None, None)
