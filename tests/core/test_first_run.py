"""Dialogs that come before a CLI says anything of itself, and how an agent took its leave."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.core import events as ev
from orchestrator.core.effects import AnyEffect, GiveAnswer, Notify
from orchestrator.core.spec import RestartPolicy
from orchestrator.core.state import Flag
from tests.core.worlds import Play, agent_spec

TRUST = "Accessing workspace:\n/r\nIs this a project you trust?"


def play(**fields: Any) -> Play:
    play = Play()
    play.recovered()
    play.up(agent_spec("a", **fields))
    play.server_started()
    play.spawned("a", 60)
    return play


def sees(
    play: Play, status: str | None, name: str | None = None, text: str = ""
) -> list[AnyEffect]:
    fields: dict[str, Any] = {"ask": "dialog", "name": name, "text": text} if name else {}
    seen = ev.ScreenSeen(
        agent="a",
        run=1,
        status=status,  # type: ignore[arg-type] # a word of the test's own
        options=(("1", "No, exit"), ("2", "Yes, I trust this folder")) if name else (),
        **fields,
        **play.stamp("screen"),
    )
    return list(play.give(seen))


def answers(effects: Sequence[AnyEffect]) -> list[GiveAnswer]:
    return [effect for effect in effects if isinstance(effect, GiveAnswer)]


def test_a_first_run_dialog_blocks_under_its_name_and_gives_way_to_the_next() -> None:
    p = play()
    assert answers(sees(p, "blocked", "trust", TRUST)) == []
    agent = p.world.agents["a"]
    assert (agent.status, agent.detail[:26]) == ("blocked", "asks: trust: Accessing wor")
    assert agent.ask is not None
    assert agent.ask.options[1] == ("2", "Yes, I trust this folder")
    sees(p, None)
    assert p.status("a") == "starting", "between two dialogs nothing is asked"
    sees(p, "blocked", "api key", "Detected a custom API key")
    assert p.world.agents["a"].detail == "asks: api key: Detected a custom API key"
    p.hook("a", "SessionStart", reason="startup")
    p.status_file("a", "ready")
    agent = p.world.agents["a"]
    assert (agent.status, agent.flags, agent.ask) == ("ready", frozenset(), None)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("awaited", [False, True])
def test_a_no_ends_it_and_it_is_not_started_again(gone: bool, awaited: bool) -> None:
    p = play()
    sees(p, "blocked", "trust", TRUST)
    if gone:
        sees(p, None)
    if awaited:
        p.exited("a", known=False)
    p.exited("a", code=1)
    agent = p.world.agents["a"]
    assert (agent.status, agent.detail) == ("exited", "left at its trust dialog (exit status 1)")


def test_what_ends_otherwise_than_by_a_no_is_started_again() -> None:
    p = play()
    sees(p, "blocked", "trust", TRUST)
    p.exited("a", signal=9)
    assert p.status("a") == "backoff"
    p = play()
    sees(p, "blocked", "trust", TRUST)
    p.status_file("a", "ready")
    p.exited("a", code=1)
    assert p.status("a") == "backoff", "the dialog was over"
    p = play(restart=RestartPolicy(when="always"))
    sees(p, "blocked", "trust", TRUST)
    p.exited("a", code=1)
    assert p.status("a") == "backoff", "as its policy says"


@pytest.mark.parametrize("gone", [False, True])
def test_its_first_report_may_be_older_than_the_last_look_at_the_screen(gone: bool) -> None:
    """It is ready, and only then the screen is read where the dialog has gone, or still stands."""
    p = play()
    sees(p, "blocked", "trust", TRUST)
    ready = p.now
    p.now += 1
    if gone:
        sees(p, None)
    else:
        sees(p, "blocked", "trust", TRUST + "!")
    p.status_file("a", "ready", at=ready)
    assert p.status("a") == "ready"


def test_once_it_reports_its_screen_blocks_no_more() -> None:
    p = play()
    p.status_file("a", "ready")
    sees(p, "blocked", "trust", TRUST)
    assert p.status("a") == "ready"


def test_the_folder_is_trusted_when_the_blueprint_says_so() -> None:
    p = play(trust_folder=True)
    (given,) = answers(sees(p, "blocked", "trust", TRUST))
    assert (given.choice, given.ask.name) == ("yes", "trust")
    assert answers(sees(p, "blocked", "trust", TRUST)) == [], "once"
    assert answers(sees(p, "blocked", "api key", "Detected a custom API key")) == []
    p.status_file("a", "working")
    assert Flag.INTERRUPTED not in p.world.agents["a"].flags


@pytest.mark.parametrize("text", ["Accessing workspace:\n/other", "Accessing workspace:"])
def test_only_the_sessions_own_folder_is_trusted(text: str) -> None:
    assert answers(sees(play(trust_folder=True), "blocked", "trust", text)) == []


def test_a_folded_path_is_still_the_root() -> None:
    p = play(trust_folder=True)
    folded = TRUST.replace("/r", "/\n r")
    assert len(answers(sees(p, "blocked", "trust", folded))) == 1


def test_a_trust_that_could_not_be_told_is_said_aloud_and_tried_again() -> None:
    p = play(trust_folder=True)
    (given,) = answers(sees(p, "blocked", "trust", TRUST))
    told = p.give(
        ev.AnswerGiven(
            agent="a",
            run=1,
            request=given.request,
            choice="yes",
            refused="no menu",
            **p.stamp("crew"),
        )
    )
    assert [effect.text for effect in told if isinstance(effect, Notify)] == [
        "a was not told that its folder is trusted: no menu"
    ]
    assert len(answers(sees(p, "blocked", "trust", TRUST))) == 1


@pytest.mark.parametrize("late", [False, True])
def test_an_exit_says_how_it_was_taken(late: bool) -> None:
    p = play()
    p.status_file("a", "ready")
    if not late:
        p.hook("a", "SessionEnd", reason="prompt_input_exit")
    p.exited("a", code=0)
    if late:
        p.hook("a", "SessionEnd", reason="prompt_input_exit")
    agent = p.world.agents["a"]
    assert (agent.status, agent.detail) == ("exited", "left at its prompt (exit status 0)")


def test_a_cleared_conversation_is_shown_and_followed() -> None:
    p = play()
    p.status_file("a", "ready")
    p.hook("a", "SessionEnd", reason="clear", conversation="c-a")
    p.hook("a", "SessionStart", reason="clear", conversation="c-2", transcript="/t/c-2.jsonl")
    agent = p.world.agents["a"]
    assert (agent.status, agent.detail) == ("ready", "a fresh conversation, after /clear")
    assert (agent.conversation, agent.transcript) == ("c-2", "/t/c-2.jsonl")
