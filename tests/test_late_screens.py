"""A CLI that stands still for seconds: what it draws late is waited for, and nothing is guessed."""

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from orchestrator import answering, speaking
from orchestrator.answering import Outcome
from orchestrator.asking import Asking
from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.effects import GiveAnswer, TypeMessage
from orchestrator.core.reports import UNDRAWN
from orchestrator.core.state import Agent
from orchestrator.definitions import read_definition
from orchestrator.locations import PACKAGE
from orchestrator.speaking import LOOKS, look_for_dialog, taken_by_screen
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control
from tests.core.worlds import Play, agent_spec, of, running

CLAUDE = read_definition("claude", PACKAGE.parent / "agents/claude.toml")
RULE = "─" * 40
IDLE = ["● said", "", RULE, "❯\xa0", RULE]
TYPED = ["● said", "", RULE, "❯\xa0exit", RULE]
ENDED = ["● said", "", "Resume this session with:"]
TAKEN = ["● said", "", "❯ /clear", "", RULE, "❯\xa0", RULE]
QUESTION = [
    RULE,
    "Which colour?",
    "",
    "❯ 1. Red",
    "  2. Green",
    "Enter to select · ↑/↓ to navigate · Esc to cancel",
]
FIRST = [" Accessing workspace:", " /r", "", " ❯ No, exit", "   Yes, I trust this folder"]
MOVED = [*FIRST[:3], "   No, exit", " ❯ Yes, I trust this folder"]
DIALOG = [
    RULE,
    "ls a",
    "Do you want to proceed?",
    "❯ 1. Yes",
    "  2. No",
    " Esc to cancel · Tab to amend",
]


class Pane:
    """A pane that shows each of these screens for so many looks, and the last one from then on.

    With `keys` those that come behind are begun with by a key each.
    """

    def __init__(
        self, *shown: tuple[Sequence[str], int], keys: Sequence[tuple[Sequence[str], int]] = ()
    ) -> None:
        self._screens = [screen for screen, looks in shown for _ in range(looks)]
        self._keys = list(keys)
        self.looks = 0
        self.pressed: list[str] = []

    async def snapshot(self, pane: str) -> Sequence[str]:
        self.looks += 1
        if len(self._screens) > 1:
            return self._screens.pop(0)
        return self._screens[0]

    async def run(self, argv: Sequence[str]) -> None:
        """A key: what it changes is drawn so many looks later."""
        self.pressed.append(argv[-1])
        screen, late = self._keys.pop(0)
        self._screens += [*self._screens[-1:] * late, screen]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (speaking, "LOOK_PAUSE"),
        (answering, "LOOK_PAUSE"),
        (answering, "SETTLING"),
    ):
        monkeypatch.setattr(module, name, 0.0)

    async def in_mode(control: Control, pane: str) -> bool:
        return False

    monkeypatch.setattr(panes, "in_mode", in_mode)


@pytest.mark.parametrize(("is_due", "found"), [(lambda: True, True), (lambda: False, False)])
async def test_a_dialog_that_is_due_is_looked_for_longer(
    is_due: Callable[[], bool], found: bool
) -> None:
    pane = Pane((IDLE, 4 * LOOKS), (DIALOG, 1))
    look = await look_for_dialog(cast(Control, pane), "%1", CLAUDE, is_due)
    assert look is not None
    assert (look.status == "blocked") is found
    assert (pane.looks > 2 * LOOKS) is found


async def answered(pane: Pane, play: Play, choice: str) -> Outcome:
    """The outcome of an answer by keys to what is asked; its CLI tells nothing of it."""
    agent: Agent = play.world.agents["a"]
    assert agent.ask is not None
    effect = GiveAnswer(
        agent="a",
        run=agent.run,
        pane="%1",
        cli=CLAUDE,
        ask=agent.ask,
        choice=choice,
        request="r",
    )
    asking = cast(Asking, None)
    return await answering.give(cast(Control, pane), effect, asking, lambda: agent)


async def test_a_question_that_is_drawn_late_is_answered(noon: float) -> None:
    play = running(agent_spec("a"))
    play.now = noon - play.stamp(at=0.0)["at"]
    play.hook("a", "PermissionRequest", tool="AskUserQuestion", question="Which colour?", key="k")
    pane = Pane((IDLE, 4 * LOOKS), (QUESTION, 1), keys=[(IDLE, 3 * LOOKS)])
    outcome = await answered(pane, play, "green")
    assert (outcome.refused, outcome.label, pane.pressed) == (None, "Green", ["2"])


async def test_a_mark_that_moves_late_is_waited_for() -> None:
    play = running(agent_spec("a"))
    play.status_file("a", "blocked", waiting_for="dialog open")
    pane = Pane((FIRST, 1), keys=[(MOVED, 3 * LOOKS), (IDLE, 6 * LOOKS)])
    outcome = await answered(pane, play, "yes")
    assert (outcome.refused, pane.pressed) == (None, ["Down", "Enter"])


def command(text: str) -> TypeMessage:
    return TypeMessage(agent="a", run=1, pane="%1", cli=CLAUDE, number=1, text=text)


async def test_a_line_that_is_empty_before_anything_is_drawn_is_no_proof() -> None:
    """The word makes the CLI leave: whether it was taken nobody can say."""
    pane = Pane((IDLE, LOOKS), (TYPED, 2), (ENDED, 1))
    assert await taken_by_screen(cast(Control, pane), command("exit")) is None


@pytest.mark.parametrize("before", [0, 1, LOOKS], ids=["at once", "soon", "late"])
async def test_a_command_that_was_taken_between_two_looks(before: int) -> None:
    pane = Pane((IDLE, before), (TAKEN, 1))
    look = await taken_by_screen(cast(Control, pane), command("/clear"))
    assert look is not None
    assert look.draft == ""


PATH = "/tmp/shot.png"
READING = ["● said", "", RULE, f"❯\xa0{PATH}", RULE]
IMAGE = ["● said", "", RULE, "❯\xa0[Image #1]", RULE]


@pytest.mark.parametrize(
    ("shown", "pressed"),
    [
        # Its submit key came while the image was read.
        ([(IDLE, 3), (IMAGE, 1)], ["Enter"]),
        ([(READING, 3), (IMAGE, 1)], ["Enter"]),
        # It was taken, a moment after it was drawn or before.
        ([(IDLE, 3), (READING, 3), (IDLE, 1)], []),
        ([(IDLE, 1)], []),
        ([(IMAGE, 3), (DIALOG, 1)], []),
        ([(IDLE, 3), (["● said", "", RULE, "❯\xa0mine", RULE], 1)], []),
    ],
)
async def test_the_submit_key_is_pressed_again_on_images(
    shown: list[tuple[Sequence[str], int]], pressed: list[str]
) -> None:
    pane = Pane(*shown, keys=[(IDLE, 1)])
    await speaking.submit_images(cast(Control, pane), command(PATH), lambda: True)
    assert pane.pressed == pressed


async def test_what_was_taken_is_not_looked_for() -> None:
    pane = Pane((IMAGE, 1), keys=[(IDLE, 1)])
    await speaking.submit_images(cast(Control, pane), command(PATH), lambda: False)
    assert (pane.looks, pane.pressed) == (0, [])


def asked() -> Play:
    play = running(agent_spec("a"))
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls", key="k")
    return play


def nothing_seen(play: Play, later: float = 0.0) -> int:
    """The screen is seen to show no dialog, so much later; how many looks at it follow."""
    play.now += later
    play.give(ev.ScreenSeen(agent="a", run=1, status=None, **play.stamp("screen")))
    return len(of(play, ef.LookAtScreen))


def test_a_dialog_that_is_not_drawn_yet_is_looked_for_again() -> None:
    play = asked()
    assert [nothing_seen(play) for _ in range(3)] == [1, 1, 1]
    assert nothing_seen(play, UNDRAWN) == 0, "it is none that can be read"


def test_what_is_asked_no_more_is_not_looked_for() -> None:
    play = asked()
    play.status_file("a", "working")
    assert nothing_seen(play) == 0
