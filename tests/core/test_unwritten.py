"""A process that is killed between its hook and its transcript takes a message along."""

from typing import Literal

import pytest

from orchestrator.core import events as ev
from orchestrator.core.effects import JudgeMessage, TypeMessage
from orchestrator.core.state import MessageState
from tests.core.worlds import Play, agent_spec, of, running

TEXT = "precious"


def sent(play: Play, text: str = TEXT) -> int:
    """Send a message to `a`, which is ready; its number."""
    play.give(
        ev.SendRequested(
            agent="a", sender="person", text=text, request=text, **play.stamp("person")
        )
    )
    (typed,) = of(play, TypeMessage)
    number: int = typed.number
    return number


def written(play: Play, *prompts: str, queued: tuple[str, ...] = ()) -> None:
    play.give(
        ev.TranscriptSeen(
            agent="a",
            run=play.world.agents["a"].run,
            prompts=prompts,
            queued=queued,
            last_words=None,
            **play.stamp("transcript"),
        )
    )


def judge(
    play: Play,
    number: int,
    verdict: Literal["taken", "queued", "absent"],
    since: float | None = None,
) -> None:
    play.give(
        ev.MessageJudged(
            agent="a",
            run=play.world.agents["a"].run,
            number=number,
            verdict=verdict,
            since=since,
            **play.stamp("crew"),
        )
    )


def back(play: Play) -> None:
    """`a` is killed, started again and ready."""
    play.exited("a", code=None, signal=9)
    play.due("restart:a")
    play.spawned("a", 200, resumed=True)
    play.status_file("a", "ready")


@pytest.fixture
def play() -> Play:
    return running(agent_spec("a"))


def test_what_only_the_hook_told_of_is_looked_for_after_a_crash(play: Play) -> None:
    number = sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT)
    assert play.world.messages == {}, "it is delivered"
    back(play)
    assert play.world.messages[number].state is MessageState.TYPING
    play.due(f"receipt:{number}")
    (judge,) = of(play, JudgeMessage)
    assert judge.text == TEXT


@pytest.mark.parametrize(("verdict", "again"), [("absent", 1), ("taken", 0)])
def test_it_is_typed_again_only_where_it_is_not_in_the_conversation(
    play: Play, verdict: Literal["absent", "taken"], again: int
) -> None:
    number = sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT)
    back(play)
    play.due(f"receipt:{number}")
    judge(play, number, verdict)
    assert [e.text for e in of(play, TypeMessage)] == [TEXT] * again
    assert bool(play.world.messages) == bool(again)


@pytest.mark.parametrize("order", ["hook first", "transcript first"])
def test_what_its_transcript_has_is_not_doubted(play: Play, order: str) -> None:
    sent(play)
    if order == "transcript first":
        written(play, TEXT)
    play.hook("a", "UserPromptSubmit", text=TEXT)
    if order == "hook first":
        assert play.world.agents["a"].unwritten
        written(play, TEXT)
    assert play.world.agents["a"].unwritten == ()
    back(play)
    assert play.world.messages == {}


@pytest.mark.parametrize("order", ["hook first", "transcript first", "judged"])
def test_what_waits_in_the_queue_of_its_cli_is_delivered_and_doubted(
    play: Play, order: str
) -> None:
    number = sent(play)
    if order == "hook first":
        play.hook("a", "UserPromptSubmit", text=TEXT)
    if order == "judged":
        judge(play, number, "queued")
    else:
        # Before the status tells that it is at work.
        written(play, queued=(TEXT,))
    play.status_file("a", "working")
    assert play.world.messages == {}, "it is delivered"
    back(play)
    assert play.world.messages[number].state is MessageState.TYPING
    play.due(f"receipt:{number}")
    (looked,) = of(play, JudgeMessage)
    assert (looked.typed_in, looked.run) == (1, 2)


def test_what_waited_and_was_begun_with_is_not_doubted(play: Play) -> None:
    sent(play)
    play.status_file("a", "working")
    written(play, TEXT, queued=(TEXT,))
    assert play.world.agents["a"].unwritten == ()


def test_a_turn_that_is_over_was_written_where_there_is_no_transcript(play: Play) -> None:
    sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT)
    play.hook("a", "Stop", text="done")
    assert play.world.agents["a"].unwritten == ()


def says(play: Play, words: str) -> None:
    play.give(ev.TranscriptSeen(agent="a", run=1, last_words=words, **play.stamp("transcript")))


@pytest.mark.parametrize("order", ["words first", "hook first"])
def test_a_turn_that_is_over_was_written_once_its_words_are(play: Play, order: str) -> None:
    """A CLI may be a tenth of a second behind its own hooks."""
    play.hook("a", "SessionStart", transcript="/t", reason="startup")
    says(play, "before")
    sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT, transcript="/t")
    if order == "words first":
        says(play, "done")
        assert play.world.agents["a"].unwritten, "what it says may be of the turn before"
    play.hook("a", "Stop", text="done")
    assert bool(play.world.agents["a"].unwritten) is (order == "hook first")
    says(play, "done")
    assert play.world.agents["a"].unwritten == ()


def test_a_turn_that_a_person_ended_is_theirs(play: Play) -> None:
    play.hook("a", "SessionStart", transcript="/t", reason="startup")
    sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT, transcript="/t")
    play.status_file("a", "working")
    play.status_file("a", "ready")
    play.settle("a")
    assert play.world.agents["a"].unwritten == ()


def test_what_was_taken_in_another_conversation_is_past(play: Play) -> None:
    play.hook("a", "SessionStart", transcript="/t", conversation="c1", reason="startup")
    sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT, transcript="/t", conversation="c1")
    play.hook("a", "Stop", text="done", conversation="c1")
    assert play.world.agents["a"].unwritten
    play.hook("a", "SessionStart", transcript="/u", conversation="c2", reason="clear")
    assert play.world.agents["a"].unwritten == ()


def test_a_verdict_counts_once(play: Play) -> None:
    """Two may have been asked for, of one and the same text."""
    number = sent(play)
    typed_at = play.world.messages[number].typed_at
    back(play)
    play.due(f"receipt:{number}")
    judge(play, number, "absent", since=typed_at)
    assert len(of(play, TypeMessage)) == 1
    judge(play, number, "absent", since=typed_at)
    assert of(play, TypeMessage) == []
    assert play.world.messages[number].attempts == 2


def test_a_prompt_typed_by_hand_is_no_message(play: Play) -> None:
    play.hook("a", "UserPromptSubmit", text="by hand")
    assert play.world.agents["a"].unwritten == ()


def test_what_was_typed_into_a_process_that_is_gone_is_looked_for_soon(play: Play) -> None:
    """Nothing can confirm it any more but the conversation."""
    number = sent(play)
    back(play)
    assert play.world.deadlines[f"receipt:{number}"] - play.now < 2.0
    play.due(f"receipt:{number}")
    assert of(play, JudgeMessage)


@pytest.mark.parametrize(("turns", "notes"), [(0, 0), (1, 1)])
def test_who_has_lost_nothing_but_it_is_told_of_no_loss(play: Play, turns: int, notes: int) -> None:
    """The conversation was to begin with it, and will."""
    for _ in range(turns):
        play.hook("a", "UserPromptSubmit", text="by hand")
        play.hook("a", "Stop")
    number = sent(play)
    play.hook("a", "UserPromptSubmit", text=TEXT)
    play.exited("a", code=None, signal=9)
    play.due("restart:a")
    play.spawned("a", 200, resumed=False)
    assert [m.sender for m in play.world.messages.values() if m.number != number] == (
        ["crew"] * notes
    )
    assert number in play.world.messages
