"""What agents report: fused into a status, the newest first, whatever the order of reading."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.reducer import reduce
from orchestrator.core.state import Doing, Flag, Status, World
from tests.core.worlds import CLI, RAW, Play, agent_spec, of, running


def test_a_turn_with_a_tool_and_a_permission() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="do it")
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing, agent.detail) == (
        Status.WORKING,
        Doing.THINKING,
        "on: do it",
    )
    play.hook("a", "PreToolUse", tool="Bash", argument="ls")
    assert play.world.agents["a"].detail == "Bash: ls"
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls")
    agent = play.world.agents["a"]
    assert agent.status is Status.BLOCKED
    assert agent.detail == "asks permission: Bash: ls"
    assert len(of(play, ef.LookAtScreen)) == 1
    play.status_file("a", "blocked", waiting_for="permission prompt")
    assert play.world.agents["a"].detail == "asks permission: Bash: ls", "the better text stays"
    play.give(
        ev.ScreenSeen(
            agent="a",
            run=1,
            status="blocked",
            ask="permission",
            text="Bash command ls",
            options=(("1", "Yes"), ("2", "No")),
            **play.stamp("screen"),
        )
    )
    ask = play.world.agents["a"].ask
    assert ask is not None
    assert (ask.options, ask.shown) == ((("1", "Yes"), ("2", "No")), "Bash command ls")
    play.status_file("a", "working")
    assert play.world.agents["a"].status is Status.WORKING
    play.hook("a", "Stop", text="done")
    agent = play.world.agents["a"]
    assert (agent.status, agent.detail, agent.flags) == (Status.READY, "done", frozenset())


def test_an_interrupt_is_told_by_the_status_file_alone() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="work")
    play.status_file("a", "ready")
    assert play.status("a") == "working", "it may have been an error"
    play.settle("a")
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset({Flag.INTERRUPTED}))


def test_an_error_whose_hook_comes_behind_the_status_file_was_no_interrupt() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="work")
    play.status_file("a", "ready")
    play.hook("a", "StopFailure", text="API Error: 400")
    play.settle("a")
    agent = play.world.agents["a"]
    assert (agent.flags, agent.detail) == (frozenset(), "error: API Error: 400")


def test_a_turn_that_begins_right_after_an_interrupt_goes_on() -> None:
    """Of what was queued; between the two, the file said for a moment that it was ready."""
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="work")
    play.status_file("a", "working")
    play.status_file("a", "ready")
    play.status_file("a", "working")
    play.settle("a")
    assert play.status("a") == "working"


def test_a_stop_hook_that_is_read_late_takes_back_the_interrupt() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="work")
    stop = play.now
    play.now += 1
    play.status_file("a", "ready")
    play.hook("a", "Stop", at=stop, text="done")
    agent = play.world.agents["a"]
    assert (agent.flags, agent.detail) == (frozenset(), "done")


def test_a_sub_agents_end_is_not_the_sessions() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="work")
    play.hook("a", "Stop", subagent="x")
    assert play.world.agents["a"].status is Status.WORKING


def test_background_work_after_the_turn_is_work() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "Stop", background=2)
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing) == (Status.WORKING, Doing.BACKGROUND)


def test_reports_of_an_earlier_run_say_nothing() -> None:
    play = running(agent_spec("a"))
    play.give(ev.HookReceived(agent="a", run=0, hook="UserPromptSubmit", **play.stamp("hook")))
    assert play.world.agents["a"].status is Status.READY


def test_a_limit_has_an_end() -> None:
    play = running(agent_spec("a"))
    play.status_file("a", "limited", until=1_000_000.0 + play.now + 60)
    agent = play.world.agents["a"]
    assert agent.status is Status.LIMITED
    assert "limit:a" in play.world.deadlines
    play.status_file("a", "working")
    assert "limit:a" not in play.world.deadlines


def test_a_shell_is_read_from_its_screen() -> None:
    play = running(agent_spec("s", cli="shell"))
    play.give(ev.ScreenSeen(agent="s", run=1, status="working", **play.stamp("screen")))
    assert play.world.agents["s"].status is Status.WORKING


def test_conversation_follows_the_cli() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "SessionStart", reason="clear", conversation="c2", transcript="/t2")
    agent = play.world.agents["a"]
    assert (agent.conversation, agent.transcript) == ("c2", "/t2")


HOOKS = ("UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "Stop")
REPORTS = st.lists(
    st.tuples(st.sampled_from([*HOOKS, "working", "ready", "blocked"]), st.integers(200, 300)),
    unique_by=lambda r: r[1],
    min_size=1,
    max_size=12,
)


def settled(world: World) -> World:
    """With what was held back."""
    due = world.deadlines.get("cut:a")
    if due is None:
        return world
    passed = ev.DeadlinePassed(at=due, mono=due, source="clock", name="cut:a", due=due, jitter=0.5)
    return reduce(world, passed)[0]


@given(REPORTS, st.data())
def test_any_order_of_reading_ends_in_the_newest_status(
    reports: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Late, repeated and reordered reports never make a newer status older."""
    play = running(agent_spec("a"))

    def event(what: str, mono: float) -> ev.AnyEvent:
        common = {"agent": "a", "run": 1, "at": 1_000_000.0 + mono, "mono": mono}
        if what in HOOKS:
            return ev.HookReceived(hook=what, tool="Bash", source="hook", **common)  # type: ignore[arg-type] # the dict holds fields of the event
        return ev.StatusFileSeen(status=what, raw=RAW.get(what, what), source="status", **common)  # type: ignore[arg-type] # the same

    events = [event(what, float(mono)) for what, mono in reports]
    in_order = play.world
    for one in sorted(events, key=lambda e: e.mono):
        in_order, _ = reduce(in_order, one)
    in_order = settled(in_order)
    shuffled = data.draw(st.permutations(events)) + data.draw(st.permutations(events))
    world, newest = play.world, play.world.agents["a"].evidence.mono
    for one in shuffled:
        world, _ = reduce(world, one)
        mono = world.agents["a"].evidence.mono
        assert mono >= newest
        newest = mono
    world = settled(world)
    known = in_order.agents["a"]
    if known.own_hook is not None and known.own_hook.text == "Stop" and known.doing:
        # A prompt that was queued is one only for who has read it before the end of the turn.
        assert world.agents["a"].status in (Status.WORKING, Status.READY)
        return
    assert world.agents["a"].status is in_order.agents["a"].status
    assert replace(world.agents["a"].evidence) == in_order.agents["a"].evidence


def test_background_work_that_ends_was_not_interrupted() -> None:
    play = running(agent_spec("a"))
    play.status_file("a", "working")
    play.hook("a", "UserPromptSubmit", text="do it")
    play.hook("a", "Stop", background=1)
    play.status_file("a", "ready")
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags, agent.detail) == (Status.READY, frozenset(), "")


@pytest.mark.parametrize("told", [True, False])
def test_a_compaction_that_ends_was_not_interrupted(told: bool) -> None:
    """Of one that is asked for, there is no Stop hook; of one that is cut, no hook at all."""
    play = running(agent_spec("a"))
    play.status_file("a", "working")
    play.hook("a", "PreCompact", reason="manual")
    if told:
        play.hook("a", "PostCompact", reason="manual")
    play.status_file("a", "ready")
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset())


def test_a_turn_goes_on_after_its_compaction() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="do it")
    play.hook("a", "PreCompact", reason="auto")
    play.hook("a", "PostCompact", reason="auto")
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing) == (Status.WORKING, Doing.THINKING)


def test_a_tool_that_was_over_before_its_answer_was_told_runs_no_more() -> None:
    play = running(agent_spec("a"))
    play.status_file("a", "working")
    play.hook("a", "UserPromptSubmit", text="do it")
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls")
    play.status_file("a", "blocked", waiting_for="permission prompt")
    play.now -= 0.5
    play.hook("a", "PostToolBatch")
    play.status_file("a", "working")
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing) == (Status.WORKING, Doing.THINKING)


def queued() -> Play:
    """A second prompt is submitted in the middle of a turn."""
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="one")
    play.give(status(play, "busy"))
    play.hook("a", "UserPromptSubmit", text="two")
    return play


def status(play: Play, raw: str, at: float | None = None) -> ev.StatusFileSeen:
    """In the CLI's own words."""
    assert CLI.status_file is not None
    run, said = play.world.agents["a"].run, CLI.status_file.states[raw]
    stamp = play.stamp("status", at)
    return ev.StatusFileSeen(agent="a", run=run, status=said, raw=raw, **stamp)


def test_a_turn_that_was_queued_goes_on_after_the_stop_of_the_one_before() -> None:
    """The CLI's file says busy all the time, and no other hook tells of it."""
    play = queued()
    play.hook("a", "Stop", text="first")
    assert play.status("a") == "working"
    play.hook("a", "Stop", text="second")
    assert play.status("a") == "ready"
    play.give(status(play, "idle"))
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags, agent.detail) == (Status.READY, frozenset(), "second")


def test_a_prompt_that_went_into_the_same_turn_ends_with_it() -> None:
    play = queued()
    play.hook("a", "Stop", text="both")
    play.give(status(play, "idle"))
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset())


def test_a_file_that_told_of_the_end_before_the_stop_is_believed() -> None:
    play = queued()
    play.give(status(play, "idle"))
    play.hook("a", "Stop", text="both")
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset())


def test_a_prompt_whose_turn_the_file_told_of_first_is_not_queued() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="one")
    play.give(status(play, "busy"))
    play.hook("a", "Stop", text="done")
    play.give(status(play, "idle"))
    play.give(status(play, "busy"))
    play.hook("a", "UserPromptSubmit", text="two")
    play.hook("a", "Stop", text="done")
    assert play.status("a") == "ready"


def test_a_sub_agent_that_asks_after_the_turn_goes_on_in_the_background() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="one")
    play.give(status(play, "busy"))
    play.hook("a", "Stop", background=1)
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls", subagent="s")
    play.status_file("a", "blocked", waiting_for="permission prompt")
    play.give(status(play, "busy"))
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing) == (Status.WORKING, Doing.BACKGROUND)
    play.hook("a", "PostToolBatch", subagent="s")
    play.give(status(play, "idle"))
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags) == (Status.READY, frozenset())


def test_an_end_that_was_filed_just_before_its_stop_hook_is_the_end() -> None:
    """The hook of it was written late, and read first."""
    play = queued()
    play.hook("a", "Stop", text="both")
    play.give(status(play, "idle", at=play.journal[-1].mono - 0.02))
    assert play.status("a") == "ready"


def test_a_prompt_that_was_queued_in_a_compaction_goes_on_after_it() -> None:
    play = running(agent_spec("a"))
    play.give(status(play, "busy"))
    play.hook("a", "PreCompact", reason="manual")
    play.hook("a", "UserPromptSubmit", text="queued")
    play.hook("a", "PostCompact", reason="manual")
    assert play.status("a") == "working"


def test_a_prompt_that_is_queued_leaves_what_goes_on_as_it_is() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="one")
    play.hook("a", "PreToolUse", tool="Bash", argument="ls")
    play.hook("a", "UserPromptSubmit", text="two")
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing, agent.detail) == (Status.WORKING, Doing.TOOL, "Bash: ls")


def test_a_prompt_while_something_goes_on_in_the_background_begins_a_turn() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="one")
    play.hook("a", "Stop", background=1)
    play.hook("a", "UserPromptSubmit", text="two")
    agent = play.world.agents["a"]
    assert (agent.doing, agent.detail, agent.queued) == (Doing.THINKING, "on: two", False)


def test_the_words_of_a_turn_that_was_taken_for_followed_stay() -> None:
    play = queued()
    play.hook("a", "Stop", text="both")
    play.give(status(play, "idle"))
    assert play.world.agents["a"].detail == "both"


def test_an_error_is_no_interruption_though_its_hook_comes_later() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="one")
    play.give(status(play, "busy"))
    run = play.world.agents["a"].run
    stamp = play.stamp("transcript")
    play.give(ev.TranscriptSeen(agent="a", run=run, last_words="400", failed=True, **stamp))
    play.give(status(play, "idle"))
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags, agent.detail) == (Status.READY, frozenset(), "error: 400")
    play.hook("a", "UserPromptSubmit", text="two")
    play.give(status(play, "busy"))
    play.give(status(play, "idle"))
    play.settle("a")
    assert play.world.agents["a"].flags == {Flag.INTERRUPTED}, "that was the turn before"
