"""Messages: typed once, to who can take them, and delivered when the agent says so."""

from typing import Any

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.receipts import is_receipt
from orchestrator.core.state import MessageState
from tests.core.worlds import Play, agent_spec, of, running


def send(play: Play, text: str, sender: str = "person") -> None:
    play.give(
        ev.SendRequested(
            agent="a", text=text, sender=sender, request=f"r{play.now}", **play.stamp("person")
        )
    )


def judge(play: Play, number: int, verdict: Any) -> None:
    play.give(
        ev.MessageJudged(number=number, agent="a", run=1, verdict=verdict, **play.stamp("crew"))
    )


def test_a_message_is_saved_before_it_is_typed_and_delivered_by_the_hook() -> None:
    play = running(agent_spec("a"))
    send(play, "hello")
    kinds = [e.kind for e in play.effects]
    assert kinds.index("save_message") < kinds.index("type_message")
    assert play.world.messages[1].state is MessageState.TYPING
    play.hook("a", "UserPromptSubmit", text="hello")
    assert play.world.messages == {}
    saved = of(play, ef.SaveMessage)[-1].message
    assert saved.state is MessageState.DELIVERED


def test_one_at_a_time_and_only_to_a_ready_agent() -> None:
    play = running(agent_spec("a"))
    send(play, "one")
    send(play, "two")
    assert of(play, ef.TypeMessage) == []
    play.hook("a", "UserPromptSubmit", text="one")
    assert of(play, ef.TypeMessage) == []
    play.hook("a", "Stop")
    assert of(play, ef.TypeMessage) == [], "in the CLI the turn is not over yet"
    play.status_file("a", "ready")
    assert [t.text for t in of(play, ef.TypeMessage)] == ["two"]


def test_a_status_file_that_does_not_tell_of_the_end_is_waited_for_a_moment() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="by hand")
    send(play, "one")
    play.hook("a", "Stop")
    assert of(play, ef.TypeMessage) == []
    play.due("ending:a")
    assert [t.text for t in of(play, ef.TypeMessage)] == ["one"]


def test_nothing_is_typed_to_who_works_or_asks() -> None:
    play = running(agent_spec("a"))
    play.status_file("a", "working")
    send(play, "one")
    assert of(play, ef.TypeMessage) == []
    play.status_file("a", "blocked")
    send(play, "two")
    assert of(play, ef.TypeMessage) == []
    play.status_file("a", "ready")
    assert [t.text for t in of(play, ef.TypeMessage)] == ["one"]


def test_another_prompt_is_no_receipt() -> None:
    play = running(agent_spec("a"))
    send(play, "y")
    play.hook("a", "UserPromptSubmit", text="maybe yes")
    assert play.world.messages[1].state is MessageState.TYPING


def test_an_agents_message_is_framed() -> None:
    play = running(agent_spec("a"), agent_spec("b"))
    send(play, "/clear", sender="b")
    assert of(play, ef.TypeMessage)[0].text == "[crew message 1 from b]\n/clear"
    play.hook("a", "UserPromptSubmit", text="[crew message 1 from b]\n/clear")
    assert play.world.messages == {}


def test_held_is_tried_again_and_never_counted() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    play.give(ev.MessageHeld(number=1, agent="a", run=1, reason="a draft", **play.stamp("crew")))
    assert play.world.messages[1].state is MessageState.QUEUED
    assert play.world.messages[1].attempts == 0
    play.due("held:a")
    assert len(of(play, ef.TypeMessage)) == 1


def test_without_a_receipt_it_is_judged_and_never_typed_without_proof() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    play.due("receipt:1")
    assert len(of(play, ef.JudgeMessage)) == 1
    judge(play, 1, "unknown")
    assert play.world.messages[1].state is MessageState.UNCONFIRMED
    assert of(play, ef.TypeMessage) == []
    play.hook("a", "UserPromptSubmit", text="x")
    assert play.world.messages == {}, "a late receipt is a receipt"


def test_proven_lost_is_typed_again_but_not_for_ever() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    for _ in range(2):
        play.due("receipt:1")
        judge(play, 1, "absent")
        assert len(of(play, ef.TypeMessage)) == 1
    play.due("receipt:1")
    judge(play, 1, "absent")
    assert play.world.messages[1].state is MessageState.UNCONFIRMED


def test_a_swallowed_submit_key_is_pressed_once_more() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    play.due("receipt:1")
    judge(play, 1, "draft")
    assert len(of(play, ef.PressSubmit)) == 1
    play.due("receipt:1")
    judge(play, 1, "draft")
    assert play.world.messages[1].state is MessageState.UNCONFIRMED


def test_what_was_being_typed_at_a_crash_is_judged() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    play.recovered(play.world.server, [play.pane("a")])
    assert of(play, ef.TypeMessage) == []
    play.due("receipt:1")
    assert len(of(play, ef.JudgeMessage)) == 1
    judge(play, 1, "absent")
    assert len(of(play, ef.TypeMessage)) == 1


def test_receipts_allow_for_the_clis_known_changes() -> None:
    assert is_receipt("a\tb  ", "a    b")
    long = "word " * 300
    assert is_receipt(long, f'\n\n<pasted_content id="1">\n{long}\n</pasted_content id="1">')
    assert is_receipt(long + "x" * 5000, (long + "x" * 5000)[:2000]), "the source cuts it"
    assert is_receipt("a" + " " * 3000 + "b", "a" + " " * 1999), "blanks count where it cuts"
    assert not is_receipt("b", "a b c")
    assert not is_receipt("continue", "")
    framed = "[crew message 7 from worker-1]\nx"
    assert is_receipt(framed, framed)
    assert not is_receipt(framed, "[crew message 8 from worker-1]\nx")


def test_what_is_compared_is_what_is_typed() -> None:
    play = running(agent_spec("a"))
    send(play, "fix \x1b[31mred\x1b[0m please")
    (typed,) = of(play, ef.TypeMessage)
    assert "\x1b" not in typed.text
    play.hook("a", "UserPromptSubmit", text=typed.text)
    assert play.world.messages == {}


def test_nothing_but_control_bytes_is_no_message() -> None:
    play = running(agent_spec("a"))
    send(play, "\x1b\x07")
    assert of(play, ef.Reply)[0].exit == 2


def test_a_judgement_that_fails_is_asked_for_again() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    play.due("receipt:1")
    play.give(
        ev.EffectFailed(effect="judge_message", agent="a", reason="gone", **play.stamp("crew"))
    )
    play.due("receipt:1")
    assert len(of(play, ef.JudgeMessage)) == 1


def test_the_receipt_of_an_absent_agent_costs_nothing_until_it_is_back() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    play.exited("a", signal=9)
    play.due("receipt:1")
    assert "receipt:1" not in play.world.deadlines
    play.due("restart:a")
    play.spawned("a", 200, resumed=True)
    play.status_file("a", "ready")
    play.due("receipt:1")
    assert len(of(play, ef.JudgeMessage)) == 1


def test_a_held_message_is_looked_at_ever_less_often() -> None:
    play = running(agent_spec("a"))
    send(play, "x")
    pauses = []
    for _ in range(8):
        before = play.now
        play.give(
            ev.MessageHeld(number=1, agent="a", run=1, reason="a draft", **play.stamp("crew"))
        )
        pauses.append(play.world.deadlines["held:a"] - before)
        play.due("held:a")
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_messages_to_who_left_the_team_go_to_nobody_of_that_name_later() -> None:
    play = running(agent_spec("a"), agent_spec("b"))
    play.status_file("a", "working")
    send(play, "for the old one")
    play.up(agent_spec("b"))
    play.exited("a", signal=15)
    saved = of(play, ef.SaveMessage)[-1].message
    assert (saved.state, play.world.messages) == (MessageState.ABANDONED, {})


def test_the_transcript_alone_lets_nothing_be_typed() -> None:
    """It may tell of a prompt before the status tells of its turn."""
    play = running(agent_spec("a"))
    send(play, "one")
    send(play, "two")
    play.give(ev.TranscriptSeen(agent="a", run=1, prompts=("one",), **play.stamp("transcript")))
    assert list(play.world.messages) == [2]
    assert of(play, ef.TypeMessage) == []


def test_how_to_go_on_comes_before_what_was_queued() -> None:
    play = running(agent_spec("a", resume_prompt="continue"))
    play.hook("a", "UserPromptSubmit", text="work")
    send(play, "queued before the crash")
    play.exited("a", signal=9)
    play.due("restart:a")
    play.spawned("a", 200, resumed=True)
    play.status_file("a", "ready")
    assert [t.text for t in of(play, ef.TypeMessage)] == ["continue"]


def test_what_is_typed_is_what_arrives_as_it_was_said() -> None:
    """Enter behind a backslash only breaks the line of an agent; a shell takes it as it is."""
    play = running(agent_spec("a"))
    send(play, "C:\\temp\\")
    (typed,) = of(play, ef.TypeMessage)
    assert typed.text == "C:\\temp\\ "
    play.hook("a", "UserPromptSubmit", text="C:\\temp\\")
    assert play.world.messages == {}
    play = running(agent_spec("a", cli="shell"))
    play.give(ev.ScreenSeen(agent="a", run=1, status="ready", **play.stamp("screen")))
    send(play, "echo a\\")
    (typed,) = of(play, ef.TypeMessage)
    assert typed.text == "echo a\\"


def test_nothing_but_what_cannot_be_seen_is_no_message() -> None:
    play = running(agent_spec("a"))
    send(play, "\u200b \ufeff")
    assert of(play, ef.Reply)[0].exit == 2
