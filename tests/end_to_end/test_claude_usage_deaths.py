"""Tokens and cost of real CLIs agree with what their API reported, whatever dies in between."""

import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.claude.api import Request
from tests.claude.markers import Usage
from tests.end_to_end.claude_team import Claude
from tests.support import alive, wait_until

# Each starts real CLIs several times.
pytestmark = pytest.mark.timeout(240)

ONE = """
[[agents]]
name = "boss"
restart = { backoff = 0.01 }
"""
OPUS = "claude-opus-5-5"
# USD per million tokens, as the CLI has them.
PRICES = {"input": 4, "output": 20, "cache_write": 5, "cache_read": 0.2}


# A compaction is in no transcript: its tokens are known to nobody but the API and the CLI.
COMPACTION = "CRITICAL: Respond with TEXT ONLY."


def compacts(request: Request) -> bool:
    return COMPACTION in str(request.messages[-1])


def reported(claude: Claude, *, compaction: bool) -> dict[str, int]:
    """What the API has reported in answers that were sent whole."""
    found = Usage()
    for request in claude.api.requests:
        if request.usage and (compaction or not compacts(request)):
            found += request.usage
    return {kind: getattr(found, kind) for kind in PRICES}


def agrees(claude: Claude, what: str) -> dict[str, Any]:
    """Wait until tokens and cost are those that the API reported; returns the usage."""

    def look(view: Mapping[str, Any]) -> bool:
        billed = reported(claude, compaction=True)
        cost = sum(PRICES[kind] * count for kind, count in billed.items()) / 1e6
        used = view["agents"][0]["usage"]
        return bool(
            used["models"].get(OPUS) == reported(claude, compaction=False)
            and used["cost_usd"] == pytest.approx(cost)
            and used["cost_usd"] == view["usage"]["cost_usd"]
        )

    try:
        # A sub-agent's transcript is looked at when anything else tells of news, or now and then.
        view = claude.crew.wait(look, f"the usage {what}", 60)
    except AssertionError as error:
        used = claude.crew.agent("boss")["usage"]
        told = reported(claude, compaction=False)
        raise AssertionError(f"{error}; it is {used}, not {told}") from None
    usage: dict[str, Any] = view["agents"][0]["usage"]
    assert usage["cost_source"] == "cli"
    return usage


def answered(claude: Claude, prompt: str) -> None:
    """The whole answer to a prompt was sent."""
    claude.api.wait_for(lambda r: r.newest == prompt and r.usage is not None, prompt)


def say(claude: Claude, prompt: str) -> None:
    """Send a message and wait for the end of its turn."""
    claude.crew("send", "boss", prompt)
    answered(claude, prompt)
    # Told of later than it is answered, it may seem to be ready still.
    claude.crew.wait(lambda view: not view["messages"], "it is delivered", 30)
    claude.crew.wait_status(30, boss="ready")


def another(claude: Claude, command: str) -> None:
    """Go over to another conversation."""
    before = claude.conversation("boss")
    claude.keys("boss", command, "Enter")
    claude.crew.wait(lambda view: view["agents"][0]["conversation"] != before, command, 30)
    claude.crew.wait_status(30, boss="ready")


def kill_supervisor(claude: Claude) -> None:
    pid = claude.crew.supervisor()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the supervisor is gone")


@pytest.fixture
def boss(claude: Claude) -> Claude:
    """A team of one, at its prompt."""
    (claude.root / "n.txt").write_text("n")
    claude.blueprint(ONE)
    claude.crew("up", "--trust", "--wait")
    return claude


def test_usage_over_the_end_of_the_supervisor_and_of_a_conversation(boss: Claude) -> None:
    crew = boss.crew
    nothing = crew.agent("boss")["usage"]
    assert (nothing["models"], nothing["cost_usd"]) == ({}, 0.0)
    say(boss, "one [[tool Read: n.txt]] [[say: read]] [[usage 1000 100 500 200]]")
    usage = agrees(boss, "of a turn with a tool")
    assert usage["output"] == 200
    assert usage["context"] == {"used": 1700, "size": 1_000_000}

    pane = crew.agent("boss")["pane"]
    kill_supervisor(boss)
    two = "two [[think 5]] [[say: two]] [[usage 2000 20]]"
    crew.tmux("send-keys", "-t", pane, "-l", two)
    capture = partial(crew.tmux, "capture-pane", "-p", "-t", pane)
    wait_until(lambda: two in capture(), "it is drawn", 30)
    crew.tmux("send-keys", "-t", pane, "Enter")
    answered(boss, two)
    agrees(boss, "of a turn that nobody watched")

    another(boss, "/clear")
    say(boss, "three [[say: three]] [[usage 3000 30]]")
    agrees(boss, "of two conversations")
    # Its transcript begins with a copy of the one that it branches off.
    another(boss, "/branch")
    say(boss, "four [[say: four]] [[usage 4000 40]]")
    agrees(boss, "of a branch")

    crew("down")
    agrees(boss, "of a session that is down")
    crew("restore")
    crew.wait_status(30, boss="ready")
    say(boss, "five [[say: five]] [[usage 5000 50]]")
    agrees(boss, "of a session that was restored")


def written(boss: Claude, text: str) -> None:
    """Wait until the CLI has written this to its transcript, a tenth of a second behind itself."""
    path = Path(boss.crew.agent("boss")["transcript"])
    wait_until(lambda: text.encode() in path.read_bytes(), f"{text} is written", 30)


def test_usage_over_the_death_of_the_agent_and_of_everything(boss: Claude) -> None:
    """The CLI's own count goes on from what it saved last: it forgets what a kill cut off."""
    crew = boss.crew
    say(boss, "one [[say: one]] [[usage 1000 10]]")
    agrees(boss, "before")
    os.kill(crew.agent("boss")["pid"], signal.SIGKILL)
    crew.wait(lambda view: view["agents"][0]["run"] == 2, "the second run", 30)
    crew.wait_status(30, boss="ready")
    agrees(boss, "after the agent was killed")
    say(boss, "two [[say: two]] [[usage 2000 20]]")
    # At once, before the status line was told: what it would have said is in the transcript.
    written(boss, '"output_tokens":20')
    os.kill(crew.agent("boss")["pid"], signal.SIGKILL)
    crew.wait(lambda view: view["agents"][0]["run"] == 3, "the third run", 30)
    crew.wait_status(30, boss="ready")
    agrees(boss, "of the second run")

    # A power cut in the middle of a turn: its last answer reaches nobody.
    crew("send", "boss", "three [[tool Read: n.txt]] [[hold x]] [[say: three]] [[usage 300 3]]")
    boss.api.wait_held("x")
    written(boss, '"output_tokens":3,')
    crew.kill_all()
    crew.wait_status(30, boss="ready")
    agrees(boss, "after a power cut")
    say(boss, "four [[say: four]] [[usage 4000 40]]")
    agrees(boss, "at the end")


def test_usage_of_sub_agents_and_of_a_compaction(boss: Claude) -> None:
    task = '{"description": "d", "prompt": "sub [[say: s]] [[usage 700 70]]"}'
    say(boss, f"one [[tool Agent {task}]] [[say: one]] [[usage 5000 50]]")
    answered(boss, "sub [[say: s]] [[usage 700 70]]")
    usage = agrees(boss, "of a sub-agent")
    assert usage["input"] >= 10_700
    boss.keys("boss", "/compact", "Enter")
    boss.api.wait_for(lambda r: compacts(r) and r.usage, "a compaction")
    agrees(boss, "after a compaction")
    say(boss, "two [[say: two]] [[usage 2000 20]]")
    agrees(boss, "of a compacted conversation")


def test_a_model_without_a_price_has_an_unknown_cost(claude: Claude) -> None:
    """The CLI itself would guess one."""
    claude.blueprint(ONE + 'model = "no-such-model-9"\n')
    claude.crew("up", "--trust", "--wait")
    assert claude.crew.agent("boss")["usage"]["cost_usd"] == 0.0
    say(claude, "one [[say: one]] [[usage 1000 10]]")
    view = claude.crew.wait(lambda view: view["agents"][0]["usage"]["models"], "its tokens", 30)
    used = view["agents"][0]["usage"]
    assert {m: t["output"] for m, t in used["models"].items()} == {"no-such-model-9": 10}
    assert (used["cost_usd"], used["cost_source"]) == (None, None)
    assert view["usage"]["cost_usd"] is None
    assert "1.0k tok $?" in claude.crew("status", env={"COLUMNS": "120"}).stdout
