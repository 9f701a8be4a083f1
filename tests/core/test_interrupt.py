"""An interruption: what the keys are pressed with, and what is answered."""

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core import views
from orchestrator.core.reports import PROMPT
from tests.core.worlds import Play, agent_spec, of, running


def asked(play: Play) -> list[ef.SendInterrupt]:
    play.give(ev.InterruptRequested(agent="a", request="r", **play.stamp("person")))
    return of(play, ef.SendInterrupt)


def test_the_beginning_of_the_newest_prompt_is_known() -> None:
    """The CLI may put it back into its input line."""
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="long ago")
    play.hook("a", "UserPromptSubmit", text="x" * 5000)
    play.hook("a", "UserPromptSubmit", text="a sub-agent's", subagent="s")
    (effect,) = asked(play)
    assert effect.prompt == "x" * PROMPT


def test_what_stands_in_the_input_line_is_told() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="do it")
    asked(play)
    done = ev.InterruptSent(agent="a", run=1, request="r", note="a draft", **play.stamp("crew"))
    play.give(done)
    (reply,) = of(play, ef.Reply)
    assert (reply.exit, dict(reply.body)) == (0, {"note": "a draft"})


def test_who_is_in_no_turn_is_not_interrupted() -> None:
    play = running(agent_spec("a"))
    assert asked(play) == []
    (reply,) = of(play, ef.Reply)
    assert (reply.exit, dict(reply.body)["error"]) == (1, "a is ready: nothing to interrupt")


def test_a_view_tells_where_the_words_are_and_how_they_are_read() -> None:
    play = running(agent_spec("a"), agent_spec("s", cli="shell"))
    play.hook("a", "UserPromptSubmit", text="do it", transcript="/t.jsonl")
    first, second = views.view(play.world)["agents"]
    assert (first["transcript"], first["dialect"]) == ("/t.jsonl", "claude")
    assert (second["transcript"], second["dialect"]) == (None, None)
