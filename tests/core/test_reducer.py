"""The reducer, event by event: what follows from what."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.agents import SESSION_RESTARTS
from orchestrator.core.reducer import reduce, reduce_safely
from orchestrator.core.spec import RestartPolicy, RestartWhen
from orchestrator.core.state import ALIVE, SessionState, Status, empty_world
from tests.core.worlds import (
    BOOT,
    CLI,
    Play,
    agent_spec,
    any_event,
    of,
    process,
    running,
    team,
)


def test_up_starts_the_server_once_then_every_agent() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a"), agent_spec("b"))
    assert len(of(play, ef.StartServer)) == 1
    assert of(play, ef.Spawn) == []
    play.server_started()
    assert [(s.agent, s.run, s.resume, s.place) for s in of(play, ef.Spawn)] == [
        ("a", 1, False, 1),
        ("b", 1, False, 2),
    ]


def test_an_agent_waits_for_what_it_depends_on() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a", depends_on=("b",)), agent_spec("b"))
    play.server_started()
    assert [s.agent for s in of(play, ef.Spawn)] == ["b"]
    assert play.world.agents["a"].detail == "waits for b"
    play.spawned("b", 100)
    assert of(play, ef.Spawn) == []
    play.status_file("b", "ready")
    assert [s.agent for s in of(play, ef.Spawn)] == ["a"]


def test_a_second_up_adopts_starts_changes_and_removes() -> None:
    play = running(agent_spec("a"), agent_spec("b"), agent_spec("c"))
    play.give(ev.StopRequested(agent="b", request="r", **play.stamp("person")))
    play.exited("b", signal=15)
    play.up(agent_spec("a"), agent_spec("b"), agent_spec("d"))
    body = of(play, ef.Reply)[0].body
    assert body == {"started": ["b", "d"], "adopted": ["a"], "changed": [], "removed": ["c"]}
    play.exited("c", signal=15)
    assert "c" not in play.world.agents
    play.up(agent_spec("a", model="other"), agent_spec("b"), agent_spec("d"))
    assert of(play, ef.Reply)[0].body["changed"] == ["a"]
    play.exited("a", signal=15)
    assert of(play, ef.Spawn)[0].spec.model == "other"


def test_the_first_prompt_is_sent_once_and_only_in_a_fresh_conversation() -> None:
    play = running(agent_spec("a", prompt="go"))
    typed = [e for e in play.effects if isinstance(e, ef.TypeMessage)]
    assert [t.text for t in typed] == ["go"]
    play.hook("a", "UserPromptSubmit", text="go")
    assert play.world.messages == {}
    play.exited("a", signal=9)
    play.due("restart:a")
    play.spawned("a", 200, resumed=True)
    play.status_file("a", "ready")
    assert of(play, ef.TypeMessage) == []


def test_a_cut_turn_is_continued_after_the_resume() -> None:
    play = running(agent_spec("a", resume_prompt="continue"))
    play.hook("a", "UserPromptSubmit", text="work")
    play.exited("a", signal=9)
    play.due("restart:a")
    assert of(play, ef.Spawn)[0].resume is True
    play.spawned("a", 200, resumed=True)
    play.status_file("a", "ready")
    assert [t.text for t in of(play, ef.TypeMessage)] == ["continue"]


def test_a_conversation_that_is_gone_is_handed_over_aloud() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="work")
    play.exited("a", signal=9)
    play.due("restart:a")
    play.spawned("a", 200, resumed=False)
    assert "fresh conversation" in of(play, ef.Notify)[0].text
    play.status_file("a", "ready")
    assert "could not be resumed" in of(play, ef.TypeMessage)[0].text


def test_exit_statuses_and_policies() -> None:
    cases: tuple[tuple[RestartWhen, dict[str, int], Status], ...] = (
        ("on-failure", {"code": 0}, Status.EXITED),
        ("on-failure", {"code": 1}, Status.BACKOFF),
        ("on-failure", {"signal": 9}, Status.BACKOFF),
        ("on-failure", {}, Status.BACKOFF),
        ("always", {"code": 0}, Status.BACKOFF),
        ("never", {"signal": 9}, Status.EXITED),
    )
    for when, fields, expected in cases:
        play = running(agent_spec("a", restart=RestartPolicy(when=when)))
        play.exited("a", **fields)
        assert play.world.agents["a"].status is expected, (when, fields)


def test_a_death_is_known_before_its_exit_status() -> None:
    play = running(agent_spec("a"))
    play.exited("a", known=False)
    assert play.status("a") == "exited"
    play.exited("a", code=3)
    assert play.status("a") == "backoff"
    assert play.world.agents["a"].detail.startswith("exit status 3")


def test_a_crash_loop_fails_after_exactly_the_allowed_starts() -> None:
    play = running(agent_spec("a", restart=RestartPolicy(limit=3)))
    starts = 1
    for pid in range(200, 220):
        play.exited("a", code=1)
        if play.world.agents["a"].status is Status.FAILED:
            break
        play.due("restart:a")
        starts += len(of(play, ef.Spawn))
        play.spawned("a", pid)
    assert starts == 4
    assert play.world.agents["a"].status is Status.FAILED
    assert len(of(play, ef.Notify)) == 1
    assert "restart:a" not in play.world.deadlines


def test_restarts_outside_the_window_do_not_count() -> None:
    play = running(agent_spec("a", restart=RestartPolicy(limit=1, window=50)))
    for pid in (200, 201, 202):
        play.exited("a", code=1)
        assert play.world.agents["a"].status is Status.BACKOFF
        play.due("restart:a")
        play.spawned("a", pid)
        play.now += 60


def test_too_many_restarts_pause_the_session_until_up() -> None:
    specs = [agent_spec(f"a{n}") for n in range(SESSION_RESTARTS)]
    play = running(*specs)
    for spec in specs:
        play.exited(spec.name, code=1)
    assert play.world.state.value == "paused"
    assert "paused" in of(play, ef.Notify)[0].text
    play.up(*specs)
    assert play.world.state.value == "up"
    assert len(of(play, ef.Spawn)) == SESSION_RESTARTS


def test_one_death_restarts_that_agent_alone() -> None:
    play = running(agent_spec("a"), agent_spec("b"))
    before = play.world.agents["b"]
    play.exited("a", signal=9)
    play.due("restart:a")
    assert [s.agent for s in of(play, ef.Spawn)] == ["a"]
    assert of(play, ef.Spawn)[0].pane == "%100", "in its place"
    assert play.world.agents["b"] is before


def test_the_loss_of_the_server_brings_everyone_back_and_ends_survivors_first() -> None:
    play = running(agent_spec("a"), agent_spec("b"))
    play.exited("a", signal=1)  # read before the loss of the server is known
    play.give(ev.ServerLost(reason="gone", **play.stamp("tmux")))
    assert {a.status for a in play.world.agents.values()} == {Status.STARTING}
    assert len(of(play, ef.StartServer)) == 1
    play.server_started(60)
    spawns = {s.agent: s for s in of(play, ef.Spawn)}
    assert spawns["b"].end_first == process(101), "it may have ignored the hang-up"
    assert all(s.resume and s.pane is None for s in spawns.values())
    assert play.world.agents["a"].restarts == (), "the server's death is not the agent's"


def test_who_dies_after_the_loss_of_the_server_dies_of_it() -> None:
    names = [f"a{n}" for n in range(12)]
    policies = [RestartPolicy(when="never"), *(RestartPolicy(limit=1) for _ in names[1:])]
    specs = [agent_spec(n, restart=each) for n, each in zip(names, policies, strict=True)]
    play = running(*specs)
    processes = {name: play.world.agents[name].process for name in names}
    play.give(ev.ServerLost(reason="gone", **play.stamp("tmux")))
    for name in names:
        play.exited(name, known=False)
        play.exited(name, signal=1)
    assert play.world.state is SessionState.UP
    assert {play.status(name) for name in names} == {"starting"}
    assert play.world.restarts == ()
    play.server_started(60)
    swept = {spawn.agent: spawn.end_first for spawn in of(play, ef.Spawn)}
    assert swept == processes, "what they left in their process sessions ends with them"


def test_a_pane_closed_by_hand_is_a_wish() -> None:
    play = running(agent_spec("a"))
    play.exited("a", pane_gone=True)
    assert play.world.agents["a"].status is Status.STOPPED
    assert not play.world.agents["a"].wanted


def test_down_ends_all_then_the_server_then_itself_and_restore_brings_back_who_was_wanted() -> None:
    play = running(agent_spec("a"), agent_spec("b"), agent_spec("c"))
    play.give(ev.StopRequested(agent="b", request="r", **play.stamp("person")))
    play.exited("b", signal=15)
    play.give(ev.DownRequested(request="r", **play.stamp("person")))
    assert sorted(e.agent for e in of(play, ef.EndProcess)) == ["a", "c"]
    play.exited("a", signal=15)
    assert of(play, ef.Finish) == []
    play.exited("c", signal=15)
    kinds = [type(e) for e in play.effects]
    assert kinds == [ef.EndProcess, ef.KillServer, ef.Finish], "what it left is swept first"
    play.recovered()
    assert of(play, ef.Finish) == []
    play.give(ev.RestoreRequested(request="r", **play.stamp("person")))
    assert of(play, ef.Reply)[0].body == {"restored": ["a", "c"]}
    play.server_started()
    assert [(s.agent, s.resume) for s in of(play, ef.Spawn)] == [("a", True), ("c", True)]


def test_up_after_down_starts_clean() -> None:
    play = running(agent_spec("a"))
    play.give(
        ev.SendRequested(agent="a", text="x", sender="person", request="m", **play.stamp("person"))
    )
    play.hook("a", "UserPromptSubmit", text="other")
    play.give(ev.DownRequested(request="r", **play.stamp("person")))
    play.exited("a", signal=15)
    play.recovered()
    play.up(agent_spec("a"))
    assert play.world.messages == {}
    play.server_started()
    assert of(play, ef.Spawn)[0].resume is False


def test_recovery_adopts_what_lives() -> None:
    play = running(agent_spec("a"), agent_spec("b"))
    play.hook("a", "UserPromptSubmit", text="work")
    server = play.world.server
    play.recovered(server, [play.pane("a"), play.pane("b")])
    assert [e for e in play.effects if not isinstance(e, ef.Notify)] == []
    assert play.world.agents["a"].status is Status.WORKING


def test_recovery_adopts_a_launch_that_nobody_heard_of() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a", prompt="go"))
    play.server_started()
    pane = play.pane("a", process=process(300))
    play.recovered(process(50), [pane])
    assert of(play, ef.Spawn) == []
    assert play.world.agents["a"].process == process(300)
    play.status_file("a", "ready")
    assert [t.text for t in of(play, ef.TypeMessage)] == ["go"]


def test_recovery_repeats_a_launch_that_did_not_happen_under_a_new_run() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a"))
    play.server_started()
    play.recovered(process(50), [])
    assert [(s.agent, s.run) for s in of(play, ef.Spawn)] == [("a", 2)]
    stray = play.pane("a", run=1, process=process(300), pane="%9")
    play.recovered(process(50), [stray])
    assert [e.process for e in of(play, ef.EndProcess)] == [process(300)]
    assert [e.pane for e in of(play, ef.ClosePane)] == ["%9"]


def test_recovery_never_forgets_a_survivor_between_order_and_launch() -> None:
    play = running(agent_spec("a"))
    play.give(ev.ServerLost(reason="gone", **play.stamp("tmux")))
    play.server_started(60)
    assert of(play, ef.Spawn)[0].end_first == process(100)
    play.recovered(process(60), [])
    assert of(play, ef.Spawn)[0].end_first == process(100)


def test_another_boot_restores_and_keeps_no_old_clock() -> None:
    play = running(agent_spec("a"), agent_spec("b", restart=RestartPolicy(backoff=300)))
    play.exited("b", code=1, jitter=0.99)
    play.now = 3.0
    play.recovered(None, [], boot="boot-2")
    assert len(of(play, ef.StartServer)) == 1
    assert all(due <= play.now for due in play.world.deadlines.values())
    play.server_started(70)
    assert [s.agent for s in of(play, ef.Spawn)] == ["a", "b"], "no pause of another clock"
    play.spawned("a", 500, resumed=True)
    play.status_file("a", "ready")
    assert play.world.agents["a"].status is Status.READY


def test_the_audit_counts_and_repairs_what_was_missed() -> None:
    play = running(agent_spec("a"))
    pane = play.pane("a", dead=True, code=1, process=None)
    play.give(ev.PanesSeen(panes=(pane,), audit=True, jitter=0.5, **play.stamp("tmux")))
    assert play.world.missed_events == 1
    assert play.world.agents["a"].status is Status.BACKOFF
    play.due("restart:a")
    play.spawned("a", 300)
    play.give(ev.PanesSeen(panes=(play.pane("a"),), audit=True, jitter=0.5, **play.stamp("tmux")))
    assert play.world.missed_events == 1


def test_requests_about_nobody_are_the_users_mistake() -> None:
    play = running(agent_spec("a"))
    play.give(ev.StopRequested(agent="x", request="r", **play.stamp("person")))
    reply = of(play, ef.Reply)[0]
    assert (reply.exit, reply.body["error"]) == (2, "there is no agent 'x' here: there is a")


@given(st.lists(any_event(), max_size=40))
def test_no_events_in_any_order_break_the_world(events: list[ev.AnyEvent]) -> None:
    world = empty_world("t")
    for event in events:
        world, _ = reduce(world, event)
        for agent in world.agents.values():
            assert (agent.ask is not None) == (agent.status is Status.BLOCKED)
            assert agent.doing is None or agent.status is Status.WORKING
            assert agent.process is None or agent.status in ALIVE | {Status.LOST}
    again = empty_world("t")
    for event in events:
        again, _ = reduce(again, event)
    assert again == world


def test_a_world_knows_its_boot() -> None:
    play = running(agent_spec("a"))
    assert play.world.boot == BOOT


def test_an_agent_whose_launch_cannot_be_read_any_more_is_brought_back() -> None:
    play = running(agent_spec("a"))
    hole = replace(play.world.agents["a"], process=None, pane=None, tty=None)
    play.world = replace(play.world, agents={"a": hole})
    play.recovered(play.world.server, [])
    assert [(s.agent, s.run, s.resume) for s in of(play, ef.Spawn)] == [("a", 2, True)]


# -- found by review: each of these once went wrong ------------------------------------------------


def test_a_launch_that_fails_while_it_is_to_end_is_the_end() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a"))
    play.server_started()
    play.give(ev.DownRequested(request="d", **play.stamp("person")))
    assert play.status("a") == "stopping"
    play.give(
        ev.SpawnFailed(
            agent="a", run=1, reason="full", permanent=False, jitter=0.5, **play.stamp("crew")
        )
    )
    assert play.status("a") == "stopped"
    assert len(of(play, ef.Finish)) == 1


def test_restart_and_edit_of_who_waits_keep_it_waiting() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a"), agent_spec("b", depends_on=("a",)))
    play.server_started()
    play.give(ev.RestartRequested(agent="b", request="x", **play.stamp("person")))
    assert play.status("b") == "starting"
    play.up(agent_spec("a"), agent_spec("b", depends_on=("a",), prompt="x"))
    assert play.status("b") == "starting"
    play.spawned("a", 100)
    play.status_file("a", "ready")
    assert [s.agent for s in of(play, ef.Spawn)] == ["b"]
    assert of(play, ef.Spawn)[0].spec.prompt == "x"


def test_the_loss_of_the_server_does_not_pause_or_fail_anybody() -> None:
    """A dozen deaths are read before the loss of the server is known."""
    names = [f"a{n}" for n in range(12)]
    specs = [agent_spec(name, restart=RestartPolicy(limit=1)) for name in names]
    play = running(*specs)
    play.exited("a0", code=1)  # its one restart is used up before
    play.due("restart:a0")
    play.spawned("a0", 900)
    play.now += 100
    for name in names:
        play.exited(name, signal=1)
        play.now -= 0.999
    assert play.world.state.value == "paused"
    assert play.status("a0") == "failed"
    play.give(ev.ServerLost(reason="gone", **play.stamp("tmux")))
    assert play.world.state.value == "up"
    assert {play.status(name) for name in names} == {"starting"}


def test_an_awaited_exit_status_is_resolved_at_recovery() -> None:
    for boot in (BOOT, "boot-2"):
        play = running(agent_spec("a"))
        play.exited("a", known=False)
        play.now += 10
        play.recovered(server=None, boot=boot)
        assert play.status("a") in ("backoff", "starting"), boot


def test_what_seemed_dead_is_ended_before_its_conversation_goes_on() -> None:
    play = running(agent_spec("a"))
    dead = play.pane("a", dead=True, process=None)
    play.give(ev.PanesSeen(panes=(dead,), audit=True, jitter=0.5, **play.stamp("tmux")))
    assert [e.process for e in of(play, ef.EndProcess)] == [process(100)]
    play.due("restart:a")
    assert of(play, ef.Spawn)[0].end_first == process(100)


def test_a_launch_of_the_old_team_is_never_taken_for_the_new_one() -> None:
    play = Play()
    play.recovered()
    play.up(agent_spec("a", prompt="old"))
    play.server_started()
    play.give(ev.DownRequested(request="d", **play.stamp("person")))
    play.up(agent_spec("a", prompt="new"))
    assert "just going down" in of(play, ef.Reply)[0].body["error"]
    play.spawned("a", 100)
    play.exited("a", signal=15)
    play.up(agent_spec("a", prompt="new"))
    play.server_started()
    assert of(play, ef.Spawn)[0].run == 2, "a run's number is never used again"


def test_a_definition_lives_as_long_as_who_uses_it() -> None:
    both = [agent_spec("a"), agent_spec("s", cli="shell")]
    play = running(*both)
    less = replace(team(agent_spec("a")), clis={"demo": CLI})
    play.give(
        ev.UpRequested(team=less, conversations={"a": "1"}, request="r", **play.stamp("person"))
    )
    assert play.status("s") == "stopping"
    assert play.world.team is not None
    assert "shell" in play.world.team.clis
    play.up(*both)
    assert of(play, ef.Reply)[0].exit == 0


def test_a_defect_answers_whoever_waits() -> None:
    play = running(agent_spec("a"))
    broken = ev.UpRequested(
        team=team(agent_spec("z")), conversations={}, request="r", **play.stamp("person")
    )
    world, effects = reduce_safely(play.world, broken)
    assert world is play.world
    assert [e.exit for e in effects if isinstance(e, ef.Reply)] == [1]


def test_two_answers_to_one_dialog_press_one_key() -> None:
    play = running(agent_spec("a"))
    play.hook("a", "PermissionRequest", tool="Bash", argument="ls")

    def answer(request: str) -> None:
        play.give(
            ev.AnswerRequested(agent="a", choice="1", request=request, **play.stamp("person"))
        )

    answer("one")
    assert len(of(play, ef.GiveAnswer)) == 1
    answer("two")
    assert of(play, ef.GiveAnswer) == []
    assert "just being answered" in of(play, ef.Reply)[0].body["error"]
    play.give(
        ev.AnswerGiven(
            agent="a", run=1, request="one", choice="1", refused="gone", **play.stamp("crew")
        )
    )
    answer("three")
    assert len(of(play, ef.GiveAnswer)) == 1


def test_a_paused_session_says_how_to_go_on() -> None:
    play = running(agent_spec("a"))
    play.world = replace(play.world, state=SessionState.PAUSED)
    play.give(ev.RestartRequested(agent="a", request="x", **play.stamp("person")))
    assert "crew up" in of(play, ef.Reply)[0].body["error"]
    assert play.status("a") == "ready"


def test_what_a_dead_agent_left_behind_is_swept_again_after_a_crash() -> None:
    play = running(agent_spec("a", restart=RestartPolicy(when="never")))
    play.exited("a", code=1)
    assert [e.process for e in of(play, ef.EndProcess)] == [process(100)]
    play.recovered(play.world.server, [])
    assert [e.process for e in of(play, ef.EndProcess)] == [process(100)]


def test_a_supervisor_that_nobody_gives_a_team_leaves() -> None:
    play = Play()
    play.recovered()
    assert of(play, ef.Finish) == []
    play.due("finish")
    assert len(of(play, ef.Finish)) == 1
    play = Play()
    play.recovered()
    play.up(agent_spec("a"))
    assert "finish" not in play.world.deadlines
