"""What agents have used, from events to the view; and over the ends of whatever tells of it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import events as ev
from orchestrator.core.accounts import bill
from orchestrator.core.reducer import reduce
from orchestrator.core.spec import PriceSpec, PricesSpec
from orchestrator.core.state import Status
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import Answer, Mark
from orchestrator.core.views import bill_view, change, view
from orchestrator.sinks.store import dump_world, load_event, load_world
from tests.core.worlds import CLI, Play, agent_spec, any_event, running, team

PRICES = PricesSpec(
    dated="2026-11-01",
    models={"m": PriceSpec(input=1, output=10, cache_write=2, cache_read=0.5)},
)
PRICED = replace(CLI, prices=PRICES)
DOLLAR = Tokens(output=100_000)


def play_of(*names: str, cli: Any = PRICED) -> Play:
    """A team at work whose CLI has a price list."""
    play = Play()
    play.recovered()
    whole = replace(team(*(agent_spec(name) for name in names)), clis={"demo": cli})
    conversations = {name: f"c-{name}" for name in names}
    play.give(
        ev.UpRequested(team=whole, conversations=conversations, request="r", **play.stamp("person"))
    )
    play.server_started()
    for number, name in enumerate(names, 100):
        play.spawned(name, number)
        play.status_file(name, "ready")
    return play


def lines(
    play: Play,
    name: str,
    tokens: Mapping[str, Tokens],
    *,
    offset: int = 1,
    run: int | None = None,
    transcript: str = "/t",
    file: str | None = None,
    **fields: Any,
) -> None:
    """The source has read some lines of a transcript."""
    play.give(
        ev.TranscriptSeen(
            agent=name,
            run=play.world.agents[name].run if run is None else run,
            tokens=tokens,
            transcript=transcript,
            file=file or transcript,
            mark=Mark(offset=offset),
            **fields,
            **play.stamp("transcript"),
        )
    )


def line(play: Play, name: str, cost: float, **fields: Any) -> None:
    """The CLI has told its status line."""
    given = {"run": play.world.agents[name].run, "conversation": f"c-{name}", "model": "m"}
    play.give(
        ev.StatusLineSeen(agent=name, cost_usd=cost, **{**given, **fields}, **play.stamp("hook"))
    )


def usage(play: Play, name: str) -> dict[str, Any]:
    agents = {agent["name"]: agent for agent in view(play.world)["agents"]}
    used: dict[str, Any] = agents[name]["usage"]
    return used


def test_the_usage_of_an_agent_in_its_view() -> None:
    play = play_of("a")
    nothing = {"input": 0, "output": 0, "cache_write": 0, "cache_read": 0}
    assert usage(play, "a") == {
        "models": {},
        **nothing,
        "cost_usd": 0.0,
        "cost_source": "prices 2026-11-01",
        "context": None,
    }
    lines(play, "a", {"m": Tokens(input=1000, cache_read=2000)})
    lines(play, "a", {"m": Tokens(output=30), "m-20260101": Tokens(cache_write=400)}, offset=2)
    assert usage(play, "a") == {
        "models": {
            "m": {**nothing, "input": 1000, "cache_read": 2000, "output": 30},
            "m-20260101": {**nothing, "cache_write": 400},
        },
        "input": 1000,
        "output": 30,
        "cache_write": 400,
        "cache_read": 2000,
        "cost_usd": pytest.approx(0.0031),
        "cost_source": "prices 2026-11-01",
        "context": None,
    }
    line(play, "a", 0.5, context_used=3000, context_size=200_000, answered=True)
    used = usage(play, "a")
    assert (used["cost_usd"], used["cost_source"]) == (0.5, "cli")
    assert used["context"] == {"used": 3000, "size": 200_000}


def test_the_usage_of_the_team_is_the_sum_and_unknown_where_one_is() -> None:
    play = play_of("a", "b")
    lines(play, "a", {"m": DOLLAR})
    lines(play, "b", {"m": DOLLAR + DOLLAR})
    assert view(play.world)["usage"]["cost_usd"] == 3.0
    assert view(play.world)["usage"]["output"] == 300_000
    lines(play, "b", {"new": Tokens(input=1)}, offset=2)
    assert view(play.world)["usage"]["cost_usd"] is None
    assert usage(play, "a")["cost_usd"] == 1.0
    assert (usage(play, "b")["cost_usd"], usage(play, "b")["cost_source"]) == (None, None)


def test_a_change_tells_the_sum_only_when_it_is_another() -> None:
    play = play_of("a", "b")
    old = play.world
    lines(play, "a", {"m": DOLLAR})
    part = change(old, play.world)
    assert [agent["name"] for agent in part["agents"]] == ["a"]
    assert part["usage"] == view(play.world)["usage"]
    old = play.world
    play.status_file("a", "working")
    assert "usage" not in change(old, play.world)


@given(st.lists(any_event(), max_size=20))
def test_the_bill_told_from_the_one_before_is_that_of_the_world(events: list[ev.AnyEvent]) -> None:
    play = play_of("a", "b")
    known = bill(play.world)
    for event in events:
        play.world, _ = reduce(play.world, event)
        known = bill(play.world, known)
        assert bill_view(known) == bill_view(bill(play.world)) == view(play.world)["usage"]
        assert known.costs.keys() | known.unknown == play.world.agents.keys()


def test_a_bill_goes_on_over_more_use_other_prices_and_who_leaves() -> None:
    play = play_of("a", "b", "c")
    known = bill(play.world)

    def goes_on(cost: float | None, output: int) -> None:
        nonlocal known
        known = bill(play.world, known)
        assert (known.cost, known.tokens.output) == (cost, output)
        assert bill_view(known) == view(play.world)["usage"]

    lines(play, "a", {"m": DOLLAR})
    goes_on(1.0, 100_000)
    lines(play, "a", {"m": DOLLAR}, offset=2)
    lines(play, "b", {"new": DOLLAR})
    goes_on(None, 300_000)
    lines(play, "c", {"m": DOLLAR})
    goes_on(None, 400_000)
    prices = replace(PRICES, models={**PRICES.models, "new": PRICES.models["m"]})
    whole = play.world.team
    assert whole is not None
    edited = replace(whole, clis={"demo": replace(PRICED, prices=prices)})
    play.world = replace(play.world, team=edited)
    goes_on(4.0, 400_000)
    line(play, "c", 5.0, answered=True)
    goes_on(8.0, 400_000)
    left = {name: agent for name, agent in play.world.agents.items() if name != "b"}
    play.world = replace(play.world, agents=left)
    goes_on(7.0, 300_000)


def test_who_has_left_is_no_reason_for_an_unknown_cost() -> None:
    play = play_of("a", "b")
    lines(play, "b", {"new": DOLLAR})
    known = bill(play.world)
    assert known.cost is None
    left = {"a": play.world.agents["a"]}
    assert bill(replace(play.world, agents=left), known).cost == 0.0


def test_a_status_line_is_no_report_of_a_status() -> None:
    play = play_of("a")
    play.status_file("a", "working")
    before = play.world.agents["a"]
    line(play, "a", 0.5)
    after = play.world.agents["a"]
    assert replace(after, usage=before.usage) == before
    assert play.effects == []


def test_lines_with_nothing_but_tokens_say_nothing() -> None:
    """Else they would take the place of the last words, and of the last time a prompt was read."""
    play = play_of("a")
    lines(play, "a", {"m": DOLLAR}, last_words="done")
    before = play.world.agents["a"].said
    lines(play, "a", {"m": DOLLAR}, offset=2)
    assert play.world.agents["a"].said == before
    assert usage(play, "a")["output"] == 200_000


def test_lines_and_status_lines_of_an_earlier_run_count() -> None:
    play = play_of("a")
    line(play, "a", 0.0)
    line(play, "a", 1.0, answered=True)
    play.exited("a", signal=9)
    play.due("restart:a")
    assert play.world.agents["a"].run == 2
    lines(play, "a", {"m": DOLLAR}, run=1)
    line(play, "a", 2.0, run=1, answered=True)
    assert usage(play, "a")["output"] == 100_000
    assert usage(play, "a")["cost_usd"] == 2.0
    play.spawned("a", 200, resumed=True)
    line(play, "a", 0.0)
    line(play, "a", 0.5, answered=True)
    # Read later than what came after it.
    line(play, "a", 9.0, run=1, answered=True)
    assert usage(play, "a")["cost_usd"] == 2.5


def test_what_a_killed_process_did_not_report_counts_from_its_end_on() -> None:
    play = play_of("a")
    line(play, "a", 0.0)
    lines(play, "a", {"m": DOLLAR})
    line(play, "a", 1.0, answered=True)
    lines(play, "a", {"m": DOLLAR}, offset=2)
    assert usage(play, "a")["cost_usd"] == 1.0
    play.exited("a", signal=9)
    assert usage(play, "a")["cost_usd"] == 2.0
    play.due("restart:a")
    play.spawned("a", 200, resumed=True)
    assert usage(play, "a")["cost_usd"] == 2.0
    line(play, "a", 0.0)
    assert usage(play, "a")["cost_usd"] == 2.0


def test_nothing_of_another_agent_of_that_name_counts() -> None:
    play = play_of("a")
    play.exited("a", code=0)
    play.give(ev.DownRequested(request="d", **play.stamp("person")))
    play.up(agent_spec("a"))
    assert play.world.agents["a"].status is Status.STARTING
    lines(play, "a", {"m": DOLLAR}, run=1)
    line(play, "a", 1.0, run=1, answered=True)
    play.give(
        ev.HookReceived(
            agent="a",
            run=1,
            hook="SessionStart",
            conversation="old",
            transcript="/old",
            **play.stamp("hook"),
        )
    )
    assert usage(play, "a")["models"] == {}
    assert usage(play, "a")["cost_usd"] == 0.0
    assert play.world.agents["a"].usage.transcripts == {}


def test_conversations_are_remembered_with_the_time_they_were_taken_up() -> None:
    play = play_of("a")
    began = play.world.agents["a"].usage.since
    play.hook("a", "SessionStart", conversation="c-a", transcript="/a")
    # It may be told by the status file first.
    play.status_file("a", "ready", conversation="c2")
    cleared = play.stamp()["at"]
    play.hook("a", "SessionStart", reason="clear", conversation="c2", transcript="/b")
    play.hook("a", "SessionEnd", reason="clear", conversation="c-a", transcript="/a")
    play.hook("a", "Stop", conversation="c2", transcript="/b")
    play.hook("a", "Stop", subagent="x", conversation="c2", transcript="/x")
    known = play.world.agents["a"].usage.transcripts
    assert known == {"/a": began, "/b": cleared}
    # Of a run that is over, read late: its lines are still to be counted.
    play.exited("a", signal=9)
    play.due("restart:a")
    late = play.stamp()["at"]
    play.give(
        ev.HookReceived(
            agent="a",
            run=1,
            hook="SessionStart",
            conversation="c3",
            transcript="/c",
            **play.stamp("hook"),
        )
    )
    assert play.world.agents["a"].usage.transcripts == {**known, "/c": late}
    assert play.world.agents["a"].transcript == "/b"


def test_the_transcript_of_the_launch_is_left_behind_like_any_other() -> None:
    play = running(agent_spec("a"))
    agent = play.world.agents["a"]
    play.world = replace(play.world, agents={"a": replace(agent, transcript="/a")})
    play.hook("a", "SessionStart", reason="clear", conversation="c2", transcript="/b")
    assert list(play.world.agents["a"].usage.transcripts) == ["/a", "/b"]


# -- what is on disk ------------------------------------------------------------------------------


def test_a_journal_of_before_tokens_were_counted_by_model_is_read() -> None:
    old = (
        '{"kind": "transcript_seen", "at": 1.5, "mono": 2.0, "source": "transcript", "key": null,'
        ' "agent": "a", "run": 1, "prompts": ["do it"], "last_words": "done",'
        ' "input_tokens": 12, "output_tokens": 7}'
    )
    event = load_event(old)
    assert isinstance(event, ev.TranscriptSeen)
    assert (event.prompts, event.last_words, event.tokens) == (("do it",), "done", {})
    play = running(agent_spec("a"))
    world, _ = reduce(play.world, replace(event, at=2e6, mono=play.now))
    assert world.agents["a"].said["transcript"].text == "done"
    assert world.agents["a"].usage == play.world.agents["a"].usage


def test_a_world_of_before_usage_was_kept_is_read() -> None:
    play = running(agent_spec("a"))
    stored = json.loads(dump_world(play.world))
    del stored["agents"]["a"]["usage"]
    world = load_world(json.dumps(stored))
    assert world.agents["a"].usage.transcripts == {}
    assert view(world)["agents"][0]["usage"]["cost_usd"] == 0.0
    # All of its conversation counts, as nothing of it has yet.
    assert world.agents["a"].usage.since == 0.0


@given(st.lists(any_event(), max_size=30), st.integers(0, 30))
def test_stored_anywhere_it_goes_on_to_the_same_sums(events: list[ev.AnyEvent], where: int) -> None:
    play = play_of("a", "b")
    straight = stored = play.world
    for n, event in enumerate(events):
        if n == where:
            stored = load_world(dump_world(stored))
        straight, _ = reduce(straight, event)
        stored, _ = reduce(stored, event)
    assert view(stored)["usage"] == view(straight)["usage"]


def test_answers_in_a_mark_are_kept() -> None:
    play = play_of("a")
    mark = Mark(offset=5, before="x", at=2.0, answers={"i": Answer(model="m", tokens=DOLLAR)})
    play.give(
        ev.TranscriptSeen(
            agent="a", run=1, transcript="/t", file="/t", mark=mark, **play.stamp("transcript")
        )
    )
    assert play.world.agents["a"].usage.marks == {"/t": mark}
