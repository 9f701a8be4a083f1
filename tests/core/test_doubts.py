"""A source that is silent is named, and named no more once it speaks; and who does not move."""

from typing import Any

import pytest

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.doubts import BEFORE, LATE, LATE_START, NO_FILE, SENTENCES
from orchestrator.core.state import Doing, Flag, Status
from orchestrator.core.views import agent_view, why
from tests.core.worlds import Play, agent_spec, of, running

DOUBT = "doubt:a"


def filed(play: Play, status: Any, waiting_for: str | None = None, at: float | None = None) -> None:
    run = play.world.agents["a"].run
    raw = {"working": "busy", "ready": "idle", "blocked": "waiting"}[status]
    play.give(
        ev.StatusFileSeen(
            agent="a",
            run=run,
            status=status,
            raw=raw,
            waiting_for=waiting_for,
            **play.stamp("status", at),
        )
    )


def prompted(play: Play, text: str = "do it") -> None:
    """The transcript tells of a prompt."""
    run = play.world.agents["a"].run
    play.give(ev.TranscriptSeen(agent="a", run=run, prompts=(text,), **play.stamp("transcript")))


def screen(play: Play, status: Any, name: str = "a", **fields: Any) -> None:
    run = play.world.agents[name].run
    play.give(ev.ScreenSeen(agent=name, run=run, status=status, **fields, **play.stamp("screen")))


def gone(play: Play) -> None:
    run = play.world.agents["a"].run
    play.give(ev.StatusFileGone(agent="a", run=run, **play.stamp("status")))


def doubted(play: Play, name: str = "a") -> set[str]:
    """The sources in doubt, as they are shown."""
    agent = play.world.agents[name]
    shown = agent_view(play.world, agent)
    assert ("disagreement" in shown["flags"]) == bool(agent.doubts)
    known = {*SENTENCES.values(), NO_FILE}
    assert set(shown["doubts"]) <= known
    assert len(shown["doubts"]) == len(agent.doubts)
    assert set(why(play.world, agent)["doubts"]) == set(agent.doubts)
    return set(agent.doubts)


def silent() -> Play:
    """A whole turn was told by all but the hooks, which spoke long before."""
    play = running(agent_spec("a"))
    play.hook("a", "SessionStart")
    play.now += 2 * BEFORE
    filed(play, "working")
    prompted(play)
    filed(play, "ready")
    return play


def test_a_turn_that_no_hook_told_of_is_a_doubt_about_the_hooks() -> None:
    play = silent()
    assert doubted(play) == set(), "they may be late"
    play.due(DOUBT)
    assert doubted(play) == {"hook"}
    assert play.status("a") == "ready"


def test_the_next_hook_ends_the_doubt() -> None:
    play = silent()
    play.due(DOUBT)
    play.hook("a", "UserPromptSubmit", text="next")
    assert doubted(play) == set()


def test_hooks_that_come_in_time_are_not_doubted() -> None:
    play = silent()
    play.hook("a", "Stop", text="done")
    assert DOUBT not in play.world.deadlines
    assert doubted(play) == set()


def test_a_command_of_the_cli_itself_has_no_hook() -> None:
    play = running(agent_spec("a"))
    play.now += 2 * BEFORE
    filed(play, "working")
    filed(play, "ready")
    assert DOUBT not in play.world.deadlines


def test_an_interrupted_turn_is_no_doubt() -> None:
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="do it")
    prompted(play)
    play.now += 10 * BEFORE
    filed(play, "ready")
    play.settle("a")
    assert play.world.agents["a"].flags == {Flag.INTERRUPTED}
    assert DOUBT not in play.world.deadlines


def test_a_request_that_no_hook_told_of_is_a_doubt_about_the_hooks() -> None:
    play = running(agent_spec("a"))
    play.now += 2 * BEFORE
    filed(play, "working")
    filed(play, "blocked", "permission prompt")
    assert play.status("a") == "blocked", "it asks, whoever tells"
    play.due(DOUBT)
    assert doubted(play) == {"hook"}


def test_a_dialog_of_the_cli_itself_has_no_hook() -> None:
    play = running(agent_spec("a"))
    play.now += 2 * BEFORE
    filed(play, "blocked", "dialog open")
    assert DOUBT not in play.world.deadlines


def test_a_status_file_that_is_gone_is_doubted_until_it_is_there_again() -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    gone(play)
    assert doubted(play) == set(), "it may be the end of its process"
    play.due(DOUBT)
    assert doubted(play) == {"status"}
    filed(play, "ready")
    assert doubted(play) == set()


def test_a_file_that_went_with_its_process_is_no_doubt() -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    gone(play)
    play.exited("a")
    play.due(DOUBT)
    assert doubted(play) == set()


def test_the_next_process_begins_without_doubts() -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    gone(play)
    play.due(DOUBT)
    play.exited("a", signal=9)
    play.due("restart:a")
    play.spawned("a", 2)
    assert doubted(play) == set()
    assert DOUBT not in play.world.deadlines, "the word of the one before is not its own"


def test_a_status_file_that_is_not_kept_up_does_not_outvote_and_is_doubted() -> None:
    """It may stand on a disk that is full: its last word is that of the turn before."""
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="one")
    play.hook("a", "Stop", text="done")
    filed(play, "ready")
    play.now += 2 * BEFORE
    play.hook("a", "UserPromptSubmit", text="two")
    assert "outvoted:a" not in play.world.deadlines
    play.due(DOUBT)
    assert doubted(play) == {"status"}
    assert play.status("a") == "working"
    filed(play, "working")
    assert doubted(play) == set()


def test_a_turn_that_follows_another_at_once_is_no_doubt() -> None:
    """What was queued goes on at once: the file says busy all the time."""
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="one")
    play.now += 2 * BEFORE
    play.hook("a", "Stop", text="done")
    play.hook("a", "PreToolUse", tool="Bash")
    assert DOUBT not in play.world.deadlines


def test_without_its_status_file_a_turn_goes_on() -> None:
    """It told of the end of the turn before, and can tell of nothing since."""
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="one")
    play.hook("a", "Stop", text="done")
    filed(play, "ready")
    gone(play)
    play.due(DOUBT)
    play.hook("a", "UserPromptSubmit", text="two")
    assert "outvoted:a" not in play.world.deadlines
    assert play.status("a") == "working"


def test_a_file_that_goes_in_a_turn_does_not_outvote_its_hooks() -> None:
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="one")
    play.hook("a", "Stop", text="done")
    filed(play, "ready")
    play.hook("a", "UserPromptSubmit", text="two")
    gone(play)
    play.due("outvoted:a")
    assert play.status("a") == "working"


@pytest.mark.parametrize("status", ["ready", "blocked"])
def test_without_its_status_file_the_screen_tells(status: Any) -> None:
    """Of an interrupt, say, or of a dialog that has no hook."""
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="one")
    screen(play, status, text="?")
    assert play.status("a") == "working", "the file knows better"
    gone(play)
    play.due(DOUBT)
    screen(play, status, text="?")
    assert play.status("a") == status


def test_a_screen_that_nobody_can_read_is_doubted_where_nothing_else_tells() -> None:
    play = running(agent_spec("a", cli="shell"))
    screen(play, "ready")
    screen(play, None)
    play.due(DOUBT)
    assert doubted(play) == {"screen"}
    assert play.status("a") == "ready"
    screen(play, "working")
    assert doubted(play) == set()


def test_a_screen_that_says_nothing_for_a_moment_is_not_doubted() -> None:
    play = running(agent_spec("a", cli="shell"))
    screen(play, "ready")
    screen(play, None)
    assert play.world.deadlines[DOUBT] == play.journal[-1].mono + LATE
    screen(play, "working")
    assert DOUBT not in play.world.deadlines


def test_a_look_that_failed_while_tmux_was_away_is_taken_again() -> None:
    """Of a dialog, only the screen tells the options."""
    play = running(agent_spec("a"))
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls")
    assert len(of(play, ef.LookAtScreen)) == 1
    run = play.world.agents["a"].run
    doubted = ev.SourceDoubted(doubted="tmux", reason="it was away", **play.stamp("crew"))
    play.give(doubted)
    assert len(of(play, ef.LookAtScreen)) == 1
    options = (("1", "Yes"), ("2", "No"))
    asked: dict[str, Any] = {"ask": "permission", "text": "Bash: ls", "options": options}
    play.give(ev.ScreenSeen(agent="a", run=run, status="blocked", **asked, **play.stamp("screen")))
    play.give(doubted)
    assert of(play, ef.LookAtScreen) == []


def test_a_status_file_that_is_put_back_as_it_was_is_believed() -> None:
    play = running(agent_spec("a"))
    old = play.now
    filed(play, "ready")
    gone(play)
    play.due(DOUBT)
    filed(play, "ready", at=old)
    assert doubted(play) == set()
    assert DOUBT not in play.world.deadlines


def test_an_old_word_of_a_status_file_is_none_over_an_open_dialog() -> None:
    """Nothing may be typed into that."""
    play = running(agent_spec("a"))
    old = play.now
    filed(play, "ready")
    gone(play)
    play.due(DOUBT)
    play.hook("a", "UserPromptSubmit", text="do it")
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls")
    screen(play, "blocked", text="Bash: ls", options=(("1", "Yes"),))
    filed(play, "ready", at=old)
    assert play.status("a") == "blocked"


def test_a_dialog_that_has_gone_in_mid_session_is_no_start() -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    gone(play)
    play.due(DOUBT)
    screen(play, "blocked", text="a menu")
    screen(play, None)
    assert play.status("a") == "blocked"
    screen(play, "ready")
    assert play.status("a") == "ready"


def test_the_screen_is_not_doubted_where_it_is_not_needed() -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    gone(play)
    play.due(DOUBT)
    screen(play, None)
    play.due(DOUBT)
    assert doubted(play) == {"status", "screen"}
    filed(play, "ready")
    assert doubted(play) == set()


def test_who_is_not_there_is_not_doubted() -> None:
    play = silent()
    play.due(DOUBT)
    play.exited("a", code=0)
    shown = agent_view(play.world, play.world.agents["a"])
    assert (shown["flags"], shown["doubts"]) == ([], [])
    assert why(play.world, play.world.agents["a"])["doubts"] == {}


def test_a_start_without_a_status_file_ends_by_the_screen() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a"))
    play.server_started()
    play.spawned("a", 100)
    play.hook("a", "SessionStart", reason="startup")
    screen(play, "ready")
    assert play.status("a") == "starting", "the file tells when its prompt is ready"
    assert play.world.deadlines[DOUBT] >= play.now + LATE_START - 2
    play.due(DOUBT)
    assert doubted(play) == {"status"}
    screen(play, "ready")
    assert play.status("a") == "ready"


def test_hooks_that_nobody_read_for_long_give_their_file_time() -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    play.now += 60
    told = play.now
    play.now += 60
    play.recovered(server=play.world.server, panes=[play.pane("a")])
    play.hook("a", "UserPromptSubmit", at=told, text="do it")
    assert play.world.deadlines[DOUBT] >= play.world.supervisor_since - 1_000_000 + LATE


# -- what only the screen shows of a turn ----------------------------------------------------------


def at_work() -> Play:
    play = running(agent_spec("a"))
    filed(play, "working")
    play.hook("a", "UserPromptSubmit", text="do it")
    return play


def test_a_request_that_is_made_again_is_shown_and_its_end() -> None:
    play = at_work()
    screen(play, "working", doing="retrying")
    agent = play.world.agents["a"]
    assert (agent.status, agent.doing) == (Status.WORKING, Doing.RETRYING)
    assert agent.detail == "on: do it"
    screen(play, "working")
    assert play.world.agents["a"].doing is Doing.THINKING


def test_a_limit_is_shown_with_its_end_and_the_turn_after_it() -> None:
    play = at_work()
    screen(play, "limited", seconds=24.0)
    agent = play.world.agents["a"]
    assert agent.status is Status.LIMITED
    assert agent.limited_until == agent.evidence.at + 24.0
    screen(play, "working")
    assert play.status("a") == "working"
    play.hook("a", "Stop", text="done")
    assert play.status("a") == "ready"


def test_an_interrupted_limit_is_an_interrupted_turn() -> None:
    play = at_work()
    screen(play, "limited", seconds=24.0)
    filed(play, "ready")
    play.settle("a")
    assert play.world.agents["a"].flags == {Flag.INTERRUPTED}


@pytest.mark.parametrize("shown", ["limited", "working"])
def test_an_end_that_was_told_while_a_snapshot_was_taken_is_the_end(shown: str) -> None:
    """What the screen showed last is older than it seems."""
    play = at_work()
    screen(play, "working", doing="retrying")
    screen(play, shown, seconds=24.0 if shown == "limited" else None)
    seen = play.journal[-1].mono
    play.hook("a", "Stop", at=seen - 0.2, text="done")
    assert play.status("a") == "ready"
    filed(play, "ready", at=seen - 0.1)
    agent = play.world.agents["a"]
    assert (agent.status, agent.flags, agent.detail) == (Status.READY, frozenset(), "done")


def test_the_limit_that_a_status_file_tells_of_is_not_ended_by_a_screen() -> None:
    """Which may be drawn a moment later."""
    play = at_work()
    until = 1_000_500.0
    run = play.world.agents["a"].run
    play.give(
        ev.StatusFileSeen(
            agent="a", run=run, status="limited", raw="limited", until=until, **play.stamp("status")
        )
    )
    screen(play, "working")
    screen(play, "limited", seconds=3.0)
    agent = play.world.agents["a"]
    assert (agent.status, agent.limited_until) == (Status.LIMITED, until)


@pytest.mark.parametrize("status", ["ready", "working", "blocked", "limited", None])
def test_a_screen_says_nothing_of_who_is_ready(status: Any) -> None:
    play = running(agent_spec("a"))
    filed(play, "ready")
    screen(play, status, doing="retrying" if status == "working" else None)
    assert play.status("a") == "ready"


# -- who does not move -----------------------------------------------------------------------------


def stands_still(play: Play, since: float | None = 1.0) -> None:
    run = play.world.agents["a"].run
    play.give(ev.TerminalSeen(agent="a", run=run, quiet_since=since, **play.stamp("screen")))


def flags(play: Play) -> list[str]:
    found: list[str] = agent_view(play.world, play.world.agents["a"])["flags"]
    return found


def test_who_does_not_move_at_work_is_stalled_until_it_moves() -> None:
    play = at_work()
    stands_still(play)
    assert flags(play) == ["stalled"]
    assert play.status("a") == "working"
    stands_still(play, None)
    assert flags(play) == []


def test_any_report_is_a_movement() -> None:
    play = at_work()
    stands_still(play)
    play.hook("a", "PreToolUse", tool="Bash")
    assert flags(play) == []
    stands_still(play)
    prompted(play)
    assert flags(play) == []


def test_who_does_not_work_is_not_stalled() -> None:
    play = at_work()
    play.hook("a", "Stop", text="done")
    stands_still(play)
    assert flags(play) == []


def test_what_was_seen_before_the_newest_report_is_old() -> None:
    play = at_work()
    run = play.world.agents["a"].run
    old = ev.TerminalSeen(agent="a", run=run, quiet_since=1.0, **play.stamp("screen"))
    play.now += 1
    play.hook("a", "PreToolUse", tool="Bash")
    play.give(old)
    assert flags(play) == []


def test_a_screen_that_is_drawn_after_the_hook_of_the_end_does_not_undo_it() -> None:
    play = at_work()
    gone(play)
    play.due(DOUBT)
    play.hook("a", "Stop", text="done")
    play.now -= 0.8
    screen(play, "working")
    assert play.status("a") == "ready"
    screen(play, "ready")
    play.now += 5
    screen(play, "working")
    assert play.status("a") == "working", "a command of the CLI itself, say"
