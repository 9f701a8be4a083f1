"""A hook that is written after the end of its turn: the status file has the last word."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.reports import OUTVOTED, PROMPT
from orchestrator.core.state import Doing, Flag, MessageState, Status
from tests.core.worlds import CLI, Play, agent_spec, of, running

OUTVOTE = "outvoted:a"
assert CLI.status_file is not None
STATES = CLI.status_file.states


def filed(play: Play, raw: str, at: float | None = None) -> None:
    """The status file says `raw`, in the CLI's own words."""
    play.give(
        ev.StatusFileSeen(
            agent="a",
            run=play.world.agents["a"].run,
            status=STATES[raw],
            raw=raw,
            **play.stamp("status", at),
        )
    )


def ready() -> Play:
    """An agent that has a turn behind it, all of which was told."""
    play = running(agent_spec("a"))
    filed(play, "busy")
    play.hook("a", "UserPromptSubmit", text="before")
    play.hook("a", "Stop", text="done")
    filed(play, "idle")
    return play


def late(play: Play, hook: str = "UserPromptSubmit", **fields: Any) -> None:
    """A turn is interrupted, and a hook of it is written afterwards."""
    filed(play, "busy")
    filed(play, "idle")
    play.hook("a", hook, **{"text": "do it", **fields})


def test_a_turn_that_only_a_late_hook_tells_of_is_none() -> None:
    play = ready()
    late(play)
    assert play.status("a") == "working", "most files follow their hook"
    written = play.journal[-1].mono
    assert play.world.deadlines[OUTVOTE] == written + OUTVOTED
    play.due(OUTVOTE)
    agent = play.world.agents["a"]
    assert (agent.status, agent.detail) == (Status.READY, "interrupted")
    assert agent.flags == {Flag.INTERRUPTED}
    assert (agent.evidence.kind, agent.evidence.source) == ("status_file_seen", "status")
    assert written < agent.evidence.mono < written + 0.001, (
        "what is newer than the hook is still news"
    )
    assert OUTVOTE not in play.world.deadlines


def test_what_is_queued_goes_on_then() -> None:
    play = ready()
    late(play)
    play.give(
        ev.SendRequested(agent="a", sender="b", text="next", request="r", **play.stamp("person"))
    )
    assert of(play, ef.TypeMessage) == []
    play.due(OUTVOTE)
    assert len(of(play, ef.TypeMessage)) == 1
    assert [m.state for m in play.world.messages.values()] == [MessageState.TYPING]


def test_a_status_file_that_follows_keeps_the_turn() -> None:
    play = ready()
    play.hook("a", "UserPromptSubmit", text="do it")
    assert OUTVOTE in play.world.deadlines
    filed(play, "busy", at=play.now - 0.9)
    assert OUTVOTE not in play.world.deadlines
    assert play.status("a") == "working"


def test_one_that_is_read_after_the_time_brings_the_turn_back() -> None:
    play = ready()
    play.hook("a", "UserPromptSubmit", text="do it")
    written = play.journal[-1].mono
    play.due(OUTVOTE)
    assert play.status("a") == "ready"
    filed(play, "busy", at=written + 0.1)
    assert play.status("a") == "working"
    assert play.world.agents["a"].flags == frozenset()


def test_each_further_late_hook_does_not_make_it_longer() -> None:
    play = ready()
    late(play, "PreToolUse", tool="Bash")
    due = play.world.deadlines[OUTVOTE]
    play.hook("a", "PostToolUse", tool="Bash")
    assert play.world.deadlines[OUTVOTE] == due
    play.due(OUTVOTE)
    assert play.status("a") == "ready"


def test_a_whole_turn_that_is_read_behind_its_end_has_its_last_words() -> None:
    """As after a supervisor that hung: files are read in any order."""
    play = ready()
    begun = play.now
    filed(play, "idle", at=begun + 2.0)
    play.hook("a", "UserPromptSubmit", text="do it", at=begun + 0.5)
    play.hook("a", "Stop", text="did it", at=begun + 1.9)
    agent = play.world.agents["a"]
    assert (agent.status, agent.detail, agent.flags) == (Status.READY, "did it", frozenset())
    play.hook("a", "Stop", text="long before", at=begun - 10)
    assert play.world.agents["a"].detail == "did it"


def test_a_status_file_that_is_not_kept_up_is_not_believed() -> None:
    """It has missed the turn before: it would end each turn."""
    play = ready()
    play.hook("a", "UserPromptSubmit", text="do it")
    play.due(OUTVOTE)
    play.hook("a", "PostToolUse", tool="Bash")
    assert play.status("a") == "working"
    assert OUTVOTE not in play.world.deadlines


def test_what_a_status_file_may_know_nothing_of_goes_on() -> None:
    for hook, background in (("Stop", 2), ("PreCompact", 0)):
        play = ready()
        play.hook("a", hook, background=background)
        assert play.status("a") == "working"
        assert OUTVOTE not in play.world.deadlines


def test_background_work_that_is_told_meanwhile_goes_on() -> None:
    play = ready()
    play.hook("a", "UserPromptSubmit", text="do it")
    play.hook("a", "Stop", background=1)
    assert OUTVOTE not in play.world.deadlines
    assert play.world.agents["a"].doing is Doing.BACKGROUND


def test_a_dialog_and_an_end_are_no_turn_of_a_hook_alone() -> None:
    for hook in ("PermissionRequest", "Stop"):
        play = ready()
        play.hook("a", "UserPromptSubmit", text="do it")
        play.hook("a", hook, tool="Bash")
        assert OUTVOTE not in play.world.deadlines


def test_a_hook_from_before_this_supervisor_is_given_the_same_time() -> None:
    """The status file is read beside the hooks, not before them."""
    play = ready()
    written = play.now
    play.now += 600
    play.recovered(play.world.server, [play.pane("a")])
    came = play.journal[-1].mono
    play.hook("a", "UserPromptSubmit", at=written, text="do it")
    assert play.world.deadlines[OUTVOTE] == came + OUTVOTED


# What a CLI reports of a whole turn, in the order in which it happens.
STORY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("busy", {}),
    ("UserPromptSubmit", {"text": "do it"}),
    ("PreToolUse", {"tool": "Bash"}),
    ("PostToolUse", {"tool": "Bash"}),
)


@given(st.integers(1, 4), st.lists(st.floats(0.0, 1.9), min_size=4, max_size=4), st.data())
def test_an_interrupted_turn_is_over_however_late_its_hooks_are(
    length: int, delays: list[float], data: st.DataObject
) -> None:
    """Hooks are written late, in any order, and read twice; the status file is in time."""
    play = ready()
    begun = play.now
    reports: list[tuple[float, str, dict[str, Any]]] = []
    for number, (what, fields) in enumerate(STORY[:length]):
        late = 0.0 if what in STATES else delays[number]
        reports.append((begun + number / 100 + late, what, fields))
    reports.append((begun + length / 100, "idle", {}))
    in_time = sorted(reports, key=lambda r: r[0])
    for at, what, fields in (*in_time, *data.draw(st.permutations(reports))):
        due = play.world.deadlines.get(OUTVOTE, math.inf)
        if due <= at:
            play.due(OUTVOTE)
        if what in STATES:
            filed(play, what, at=at)
        else:
            play.hook("a", what, at=at, **fields)
    if OUTVOTE in play.world.deadlines:
        play.due(OUTVOTE)
    assert play.status("a") == "ready"


def test_the_newest_prompt_is_told_by_whatever_comes_first() -> None:
    play = ready()
    words = "x" * 500
    written = ev.TranscriptSeen(
        agent="a", run=1, prompts=("one", words), **play.stamp("transcript")
    )
    play.give(written)
    assert play.world.agents["a"].prompt == "x" * PROMPT
    play.hook("a", "UserPromptSubmit", at=play.now - 5, text="an older one")
    assert play.world.agents["a"].prompt == "x" * PROMPT
    play.hook("a", "UserPromptSubmit", text="a newer one")
    assert play.world.agents["a"].prompt == "a newer one"
    play.give(written)
    assert play.world.agents["a"].prompt == "a newer one"


# -- whether hooks tell of a turn at all -----------------------------------------------------------


def test_a_start_just_before_a_turn_without_hooks_makes_it_no_interrupted_one() -> None:
    play = ready()
    play.hook("a", "SessionStart", reason="compact")
    filed(play, "busy", at=play.now - 0.99)
    filed(play, "idle")
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset())


def test_a_turn_is_interrupted_whose_hook_was_read_after_a_newer_status_file() -> None:
    play = ready()
    written = play.now
    filed(play, "busy", at=written + 0.5)
    play.hook("a", "UserPromptSubmit", at=written, text="do it")
    filed(play, "idle")
    play.settle("a")
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset({Flag.INTERRUPTED}))


@st.composite
def turns(draw: st.DrawFn) -> tuple[bool, float, bool, bool, bool]:
    """Whether hooks tell of it, and how long before the status file; a start just before; whether
    it is interrupted; which of two is read first."""
    hooks, start, first = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    return hooks, draw(st.floats(-3.0, 3.0)), start, draw(st.booleans()), first


@given(st.lists(turns(), min_size=1, max_size=4), st.data())
def test_a_turn_is_interrupted_if_hooks_told_of_it_and_not_of_its_end(
    story: list[tuple[bool, float, bool, bool, bool]], data: st.DataObject
) -> None:
    """In whatever order its reports are read, and however often older ones are read again."""
    play = ready()
    known: list[tuple[str, float]] = []

    def read(reports: list[tuple[str, float]], *, reverse: bool) -> None:
        for what, at in reversed(reports) if reverse else reports:
            again = data.draw(st.lists(st.sampled_from(known), max_size=2)) if known else []
            for one, then in (*again, (what, at)):
                newest = play.world.agents["a"].evidence.mono
                if one in STATES:
                    filed(play, one, at=then)
                else:
                    play.hook("a", one, at=then, text="words")
                assert play.world.agents["a"].evidence.mono >= newest
            known.append((what, at))

    at = play.now
    for hooks, before, start, interrupted, reverse in story:
        at += 10
        if start:
            read([("SessionStart", at - 3.01)], reverse=False)
        begin = [("UserPromptSubmit", at - before)] if hooks else []
        read([*begin, ("busy", at)], reverse=reverse)
        assert play.status("a") == "working"
        ends = [("Stop", at + 5)] if hooks and not interrupted else []
        read([*ends, ("idle", at + 5.1)], reverse=reverse)
        play.settle("a")
        agent = play.world.agents["a"]
        cut = frozenset({Flag.INTERRUPTED} if hooks and interrupted else ())
        assert (agent.status, agent.flags) == (Status.READY, cut)
