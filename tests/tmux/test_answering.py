"""Answers by keys, to dialogs in a real terminal: none is pressed that was not seen to be right."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import answering
from orchestrator.answering import Outcome
from orchestrator.asking import Asking
from orchestrator.core.effects import GiveAnswer
from orchestrator.core.screen import read
from orchestrator.core.state import Agent, Ask, World, empty_world
from orchestrator.definitions import read_definition
from orchestrator.locations import PACKAGE
from orchestrator.tmux.control import Control
from tests.core.worlds import agent_spec, running
from tests.tmux.conftest import program_pane, until

CLAUDE = read_definition("claude", PACKAGE.parent / "agents/claude.toml")

TRUST = {
    "text": "Accessing workspace:\n/r\nSecurity guide",
    "options": ["No, exit", "Yes, I trust this folder"],
    "footer": " Enter to confirm · Esc to cancel",
}
MENU = {
    "text": "Which of them?",
    "options": ["None", "One", "Two", "Three", "All"],
    "footer": " Enter to confirm · Esc to cancel",
}
BASH = {
    "text": "Bash command\ntouch a\nDo you want to proceed?",
    "options": ["Yes", "Yes, and don't ask again for: touch *", "No"],
    "footer": " Esc to cancel · Tab to amend",
    "keys": True,
}
QUESTION = {
    "text": "Which colour?",
    "options": ["Red", "Blue", "Type something.", "Chat about this"],
    "footer": "Enter to select · ↑/↓ to navigate · Esc to cancel",
    "keys": True,
    "own": 2,
}


class Shown:
    """A pane that shows dialogs, and an agent that asks what the first of them asks."""

    def __init__(self, control: Control, home: Path, pane: str, kind: Any) -> None:
        self.control = control
        self.home = home
        self.pane = pane
        self.ask = Ask(kind=kind, text="?")

    async def lines(self) -> Sequence[str]:
        return await self.control.snapshot(self.pane) or []

    def agent(self) -> Agent:
        return replace(running(agent_spec("a")).world.agents["a"], ask=self.ask)

    async def answer(self, choice: str) -> Outcome:
        effect = GiveAnswer(
            agent="a",
            run=1,
            pane=self.pane,
            cli=CLAUDE,
            ask=self.ask,
            choice=choice,
            request="r",
        )
        return await answering.give(self.control, effect, Asking(_no_world, _no_keys), self.agent)

    def chosen(self) -> list[Any]:
        """What the program took, as [place, text]."""
        return [json.loads(line) for line in (self.home / "result").read_text().splitlines()]


def _no_world() -> World:
    return empty_world("t")


async def _no_keys(keys: Sequence[str]) -> set[str]:
    return set(keys)


async def showing(
    control: Control, home: Path, *dialogs: dict[str, Any], kind: str = "dialog"
) -> Shown:
    """Dialogs in a pane, the first of them drawn."""
    (home / "plan").write_text(json.dumps(dialogs))
    pane = await program_pane(control, "dialogs.py", str(home / "plan"), str(home / "result"))
    shown = Shown(control, home, pane, kind)

    async def drawn() -> bool:
        return read(await shown.lines(), CLAUDE.screen).status == "blocked"

    await until(drawn, "the dialog")
    return shown


@pytest.mark.parametrize("cursor", [0, 2, 4])
@pytest.mark.parametrize("choice", ["None", "3", "all"])
async def test_a_menu_is_answered_by_moving(
    control: Control, home: Path, cursor: int, choice: str
) -> None:
    shown = await showing(control, home, {**MENU, "cursor": cursor, "deaf": 0.15})
    outcome = await shown.answer(choice)
    assert (outcome.by, outcome.refused, outcome.after) == ("keys", None, None)
    assert outcome.label == {"3": "Two", "all": "All"}.get(choice, choice)
    assert shown.chosen() == [[{"None": 0, "3": 2, "all": 4}[choice], ""]]


async def test_a_key_waits_for_a_dialog_that_was_just_drawn(control: Control, home: Path) -> None:
    shown = await showing(control, home, {**BASH, "deaf": 0.15}, kind="permission")
    outcome = await shown.answer("2")
    assert (outcome.by, outcome.refused) == ("keys", None)
    assert shown.chosen() == [[1, ""]]


async def test_a_first_run_dialog_is_answered_with_a_word(control: Control, home: Path) -> None:
    shown = await showing(control, home, {**TRUST, "deaf": 0.15}, {**MENU, "text": "Next?"})
    outcome = await shown.answer("yes")
    assert shown.chosen() == [[1, ""]]
    assert outcome.after is not None, "the next dialog is there at once, and told of"
    assert (outcome.after.text, len(outcome.after.options)) == ("Next?", 5)


@pytest.mark.parametrize("choice", ["no", "yes"])
async def test_a_first_key_that_is_let_fall_is_pressed_again(
    control: Control, home: Path, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key may have been meant for what was there before the dialog."""
    # The mark is away for so long that no busy machine misses it, and it is looked for longer.
    monkeypatch.setattr(answering, "MOVES", 200)
    monkeypatch.setattr(answering, "PATIENCE", 200)
    shown = await showing(control, home, {**TRUST, "guarded": 2.0})
    outcome = await shown.answer(choice)
    assert (outcome.by, outcome.refused, outcome.after) == ("keys", None, None)
    assert shown.chosen() == [[int(choice == "yes"), ""]]


async def test_enter_is_not_pressed_where_the_mark_does_not_move(
    control: Control, home: Path
) -> None:
    """It stands on No, or on Yes: nobody has chosen that."""
    shown = await showing(control, home, {**TRUST, "stuck": True})
    outcome = await shown.answer("yes")
    assert outcome.refused is not None
    assert "is not seen to move to 2" in outcome.refused
    assert shown.chosen() == []


async def test_a_menu_without_a_mark_is_not_answered(control: Control, home: Path) -> None:
    shown = await showing(control, home, {**TRUST, "plain": True})
    assert (await shown.answer("yes")).refused is not None
    assert shown.chosen() == []


async def test_a_dialog_that_comes_in_between_gets_no_key(control: Control, home: Path) -> None:
    """The first key had another effect than was thought: it stops there."""
    shown = await showing(control, home, {**MENU, "jumps": True}, {**TRUST, "text": "Sure?"})
    outcome = await shown.answer("Two")
    assert outcome.refused == "a asks something else now: Sure?"
    assert shown.chosen() == [["nothing", ""]]


async def test_choices_come_from_the_screen(control: Control, home: Path) -> None:
    """What was remembered of another dialog counts for nothing."""
    shown = await showing(control, home, BASH, kind="permission")
    remembered = (("1", "Yes"), ("2", "No"))
    shown.ask = Ask(kind="permission", text="Bash: touch a", tool="Bash", options=remembered)
    assert (await shown.answer("no")).refused is None
    assert shown.chosen() == [[2, ""]]


async def test_a_choice_that_there_is_not(control: Control, home: Path) -> None:
    shown = await showing(control, home, BASH, kind="permission")
    outcome = await shown.answer("maybe")
    assert outcome.mistake
    assert outcome.refused == (
        "'maybe' is no choice of a's: 1 (Yes), 2 (Yes, and don't ask again for: touch *), 3 (No)"
    )
    assert shown.chosen() == []


async def test_another_dialog_than_the_one_that_was_seen(control: Control, home: Path) -> None:
    shown = await showing(control, home, BASH, kind="permission")
    shown.ask = Ask(kind="permission", text="Bash: rm", tool="Bash", shown="Bash command\nrm")
    outcome = await shown.answer("yes")
    assert outcome.refused == f"a asks something else now: {BASH['text']}"
    assert outcome.after is not None, "which is told of"
    assert outcome.after is not None, "what is there instead is told of"
    assert outcome.after.text == BASH["text"]
    assert shown.chosen() == []


# -- questions ------------------------------------------------------------------------------------


async def test_the_next_question_is_told_of(control: Control, home: Path) -> None:
    second = {**QUESTION, "text": "Which size?", "options": ["Small", "Large"], "own": None}
    shown = await showing(control, home, QUESTION, second, kind="question")
    outcome = await shown.answer("Blue")
    assert shown.chosen() == [[1, ""]]
    assert outcome.after is not None
    assert outcome.after.options == (("1", "Small"), ("2", "Large"))


@pytest.mark.parametrize("cursor", [0, 2])
async def test_an_answer_in_own_words(control: Control, home: Path, cursor: int) -> None:
    shown = await showing(control, home, {**QUESTION, "cursor": cursor}, kind="question")
    text = "a light green, 1 of the darker ones; with $dots and `ticks` " + "x" * 60
    outcome = await shown.answer(text)
    assert (outcome.refused, shown.chosen()) == (None, [[2, text]])


async def test_own_words_are_for_a_question_that_takes_them(control: Control, home: Path) -> None:
    without = {**QUESTION, "options": ["Red", "Blue"], "own": None}
    shown = await showing(control, home, without, kind="question")
    assert (await shown.answer("green")).mistake
    shown.ask = Ask(kind="permission", text="?")
    assert (await shown.answer("green")).mistake
    assert shown.chosen() == []


@pytest.mark.parametrize("text", ["two\nlines", "x" * 201])
async def test_own_words_are_few(control: Control, home: Path, text: str) -> None:
    shown = await showing(control, home, QUESTION, kind="question")
    outcome = await shown.answer(text)
    assert (outcome.mistake, shown.chosen()) == (True, [])


async def test_own_words_that_do_not_show_are_not_submitted(control: Control, home: Path) -> None:
    """The choice is marked, and takes no text."""
    shown = await showing(control, home, {**QUESTION, "mute": True}, kind="question")
    outcome = await shown.answer("green")
    assert outcome.refused == "the text does not show in a's dialog: look at it"
    assert shown.chosen() == []
