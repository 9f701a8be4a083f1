"""Requests of a real CLI that fail, and one that stands still: what only its screen tells."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.claude.cli import PIN
from tests.counts import measured
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.freezing import frozen

ONE = """
[[agents]]
name = "a"
"""


def newest(claude: Claude) -> int:
    number: int = claude.crew.events("-n", "1", "--all")[-1]["seq"]
    return number


def first(view: dict[str, Any]) -> dict[str, Any]:
    agent: dict[str, Any] = view["agents"][0]
    return agent


def ends(claude: Claude) -> None:
    """Wait for the end as it is: several sources tell of it, one after the other."""

    def look(view: dict[str, Any]) -> bool:
        agent = first(view)
        return (agent["status"], agent["detail"], agent["flags"]) == ("ready", "done", [])

    claude.crew.wait(look, "the end")


def test_requests_that_are_made_again_are_shown_so(claude: Claude) -> None:
    claude.blueprint(ONE)
    claude.crew.up("--wait")
    claude.crew.run("send", "a", "[[error 500 x4]][[say: done]][[hold end]]")
    claude.crew.wait(lambda view: first(view)["doing"] == "retrying", "it tries again")
    assert first(claude.crew.view())["status"] == "working"
    reasons = json.loads(claude.crew.run("why", "a", "--json").stdout)
    assert (reasons["version"], reasons["guess"]) == (PIN, None)
    claude.crew.wait(lambda view: first(view)["doing"] == "thinking", "it is answered")
    claude.api.release("end")
    ends(claude)


def test_a_limit_is_shown_with_its_end(claude: Claude) -> None:
    claude.blueprint(ONE)
    claude.crew.up("--wait")
    claude.crew.run("send", "a", "[[error 429 x4]][[say: done]][[hold end]]")
    limited = first(claude.crew.wait(lambda view: first(view)["status"] == "limited", "a limit"))
    assert limited["limited_until"] is None or limited["limited_until"] >= limited["since"]
    claude.crew.wait(lambda view: first(view)["status"] == "working", "it goes on", 120)
    claude.api.release("end")
    ends(claude)


# A tool that is longer than any agent may stand still.
LONG = "[[tool Bash: timeout 40 tail -f /dev/null; true]]"
AT_WORK = """
[[agents]]
name = "a"
count = {}
permissions = {{ allow = ["Bash"] }}
"""


@pytest.mark.full
def test_long_tools_are_not_stalled_and_who_is_frozen_is(
    claude: Claude, count: Callable[[str, int, int], int]
) -> None:
    calls = count("long tool calls", 2, 100)
    agents = min(calls, 10)
    claude.blueprint(AT_WORK.format(agents))
    crew = claude.crew
    crew.up("--wait")
    names = [agent["name"] for agent in crew.view()["agents"]]
    since = newest(claude)
    for name in names:
        crew.run("send", name, f"[[parallel]] {LONG * (calls // agents)} [[say: done]]")
    crew.wait_status(60, **dict.fromkeys(names, "working"))
    crew.wait_status(600, **dict.fromkeys(names, "ready"))
    assert crew.events("--since", str(since), "--kind", "terminal_seen") == []
    crew.wait(lambda view: {a["detail"] for a in view["agents"]} == {"done"}, "their last words")
    crew.run("send", names[0], f"{LONG} [[say: done]]")
    crew.wait(lambda view: first(view)["doing"] == "tool", "the tool runs")
    began = time.monotonic()
    with frozen(crew.agent(names[0])["pid"]):
        crew.wait(lambda view: "stalled" in first(view)["flags"], "it is stalled", 120)
        measured("frozen in a turn: shown stalled after", time.monotonic() - began, "s")
        assert "nothing has moved since" in crew.run("why", names[0]).stdout
    crew.wait(lambda view: "stalled" not in first(view)["flags"], "it moves again")
    crew.wait_status(120, **{names[0]: "ready"})
