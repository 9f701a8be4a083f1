"""Dialogs that only the real CLI has: of tools that ask at once, and for an answer in own words."""

import json
from typing import Any

import pytest

from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.test_answers import nobody_waits, waiting
from tests.support import wait_until

ONE = '[[agents]]\nname = "a"\n'


@pytest.fixture
def team(claude: Claude) -> Claude:
    claude.blueprint(ONE)
    claude.crew("up", "--trust", "--wait", timeout=60)
    return claude


def asked(team: Claude, text: str) -> dict[str, Any]:
    """What `a` asks, once it is about `text` and all is known: its hook, and its choices."""

    def look(view: dict[str, Any]) -> bool:
        ask = view["agents"][0]["ask"]
        return bool(ask and text in ask["text"] and ask["hook"] and ask["options"])

    view = team.crew.wait(look, f"it asks: {text}")
    ask: dict[str, Any] = view["agents"][0]["ask"]
    return ask


def results(team: Claude) -> tuple[str, ...]:
    """What tools gave back, as the newest request has it."""
    return team.api.requests[-1].results


def requests(team: Claude) -> int:
    """How many requests for a permission its hooks have told of."""
    told = faults.journal(team.crew, "hook_received")
    return sum(event["hook"] == "PermissionRequest" for event in told)


def ready(team: Claude) -> None:
    team.crew.wait_status(a="ready")
    nobody_waits(team.crew)


def test_tools_that_ask_at_once_are_answered_one_by_one(team: Claude) -> None:
    for name in ("one", "two"):
        (team.home / name).write_text(f"this is {name}\n")
    reads = " ".join(f"[[tool Read: {team.home / name}]]" for name in ("one", "two"))
    team.crew("send", "a", f"go [[parallel]] {reads} [[say: done]]")
    asked(team, "Read: ")
    # Which of them is shown first may still change until both are known.
    wait_until(lambda: requests(team) == 2, "both are told of", 30)
    wait_until(lambda: len(waiting(team.crew)) == 2, "both hooks run", 30)
    socket = team.crew.state / "crew.sock"
    wait_until(lambda: faults.connections(socket) == 2, "both wait", 30)
    first = asked(team, "Read: ")
    assert team.crew("answer", "a", "yes").stdout == "answered a: Yes\n"
    names = {"one", "two"} - {first["text"].rpartition("/")[2]}
    second = asked(team, f"Read: {team.home / names.pop()}")
    assert second["hook"] != first["hook"]
    team.crew("answer", "a", "no", "--because", "that one is private")
    ready(team)
    assert len(results(team)) == 2
    assert "that one is private" in results(team)
    assert sum("this is " in result for result in results(team)) == 1


def test_questions_are_answered_with_choices_and_in_own_words(team: Claude) -> None:
    questions = [
        {
            "question": f"Which {what}?",
            "header": what,
            "multiSelect": False,
            "options": [{"label": one, "description": one}, {"label": other, "description": other}],
        }
        for what, one, other in (("colour", "Red", "Blue"), ("size", "Small", "Large"))
    ]
    tool = json.dumps({"questions": questions})
    team.crew("send", "a", f"go [[tool AskUserQuestion {tool}]] [[say: done]]")
    ask = asked(team, "Which colour?")
    # The hook tells of two choices; that there are more is seen once the dialog is drawn.
    team.crew.wait(lambda v: len(v["agents"][0]["ask"]["options"]) > 2, "the dialog is drawn")
    labels = [option["label"] for option in ask["options"]]
    assert labels[:2] == ["Red", "Blue"]
    team.crew("answer", "a", "light green, with 2 dots")
    ask = asked(team, "Which size?")
    team.crew("answer", "a", "large")
    # What was answered is shown once more, to be submitted.
    team.crew.wait(lambda v: "Submit" in str(v["agents"][0]["ask"]), "it asks whether that is all")
    team.crew("answer", "a", "yes")
    ready(team)
    (result,) = results(team)
    assert "light green, with 2 dots" in result
    assert "Large" in result
