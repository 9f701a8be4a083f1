"""Tokens and cost are what the API reported: all of it, once, through whatever happens."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.locations import PACKAGE
from tests.claude.markers import Usage
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.looks import of, settled, up, view, wait, wait_status
from tests.support import wait_until

# Each starts real CLIs several times.
pytestmark = pytest.mark.timeout(240)

AGENT = """
[[agents]]
name = "{name}"
model = "{model}"
restart = {{ backoff = 0.05 }}
"""
OPUS, SONNET, NOBODY = "claude-opus-5-5", "claude-sonnet-5-5", "no-such-model-9"
# USD per million tokens of input, output, cache reads and cache writes, as the CLI has them.
PRICES = {OPUS: (4, 20, 0.2, 5), SONNET: (2, 10, 0.1, 2.5)}
SHIPPED = PACKAGE.parent / "agents/claude.toml"


def blueprint(**models: str) -> str:
    return "".join(AGENT.format(name=name, model=model) for name, model in models.items())


def tokens(used: Usage) -> dict[str, int]:
    return {
        "input": used.input,
        "output": used.output,
        "cache_write": used.cache_write,
        "cache_read": used.cache_read,
    }


def reported(claude: Claude, *models: str, more: Usage | None = None) -> dict[str, dict[str, int]]:
    """What the stand-in reported of these models; `more` of the first."""
    sums = dict(claude.api.usage())
    sums[models[0]] += more or Usage()
    return {model: tokens(sums[model]) for model in models}


def cost(models: Mapping[str, Mapping[str, int]]) -> float:
    kinds = ("input", "output", "cache_read", "cache_write")
    return sum(
        models[model][kind] * price / 1_000_000
        for model in models
        for kind, price in zip(kinds, PRICES[model], strict=True)
    )


def agree(used: Mapping[str, Any], models: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether these are the tokens, and their price the cost."""
    about = None if used["cost_usd"] is None else round(used["cost_usd"], 6)
    return bool(used["models"] == models and about == round(cost(models), 6))


def costs(claude: Claude, agent: str, models: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Wait until these are the tokens of the agent, and their price its cost; its usage."""

    def look(seen: dict[str, Any]) -> bool:
        return agree(of(seen, agent)["usage"], models)

    try:
        return dict(of(wait(claude.crew, look, "the sums"), agent)["usage"])
    except AssertionError:
        used = of(view(claude.crew), agent)["usage"]
        assert (used["models"], used["cost_usd"]) == (models, cost(models))
        raise


def send(claude: Claude, agent: str, text: str) -> None:
    claude.crew("send", "--wait", agent, text)
    settled(claude.crew)


def test_tokens_and_cost_through_everything(claude: Claude) -> None:
    up(claude, blueprint(boss="opus", stranger=NOBODY))
    crew = claude.crew
    read = f"[[tool Read: {claude.root / 'crew.toml'}]]"
    costs(claude, "boss", {})
    send(claude, "boss", f"[[usage 100000 20000 3000 400]] {read} [[think 5]] {read} [[say: read]]")
    send(claude, "boss", f"[[usage 1000 200]] [[parallel]] {read} {read} [[say: both]]")
    used = costs(claude, "boss", reported(claude, OPUS))
    assert (used["cost_source"], used["input"]) == ("cli", 302_000)
    assert used["context"] == {"used": 1_000, "size": 1_000_000}

    # Interrupted: what its beginning told of is all that anybody knows.
    # What the CLI has not read yet it does not know of; it counts a token for four letters.
    crew("send", "boss", "[[usage 50000 9000]] [[say: a]] [[say: b]] [[hold half]]")
    claude.api.wait_held("half")
    wait_until(lambda: "● a\n" in claude.pane("boss"), "the beginning is read", 30)
    wait_status(crew, boss="working")
    crew("interrupt", "boss")
    claude.api.wait_let_go("half")
    settled(crew)
    begun = Usage(input=50_000, output=1)
    send(claude, "boss", "[[usage 7 7 7 7]] next")
    costs(claude, "boss", reported(claude, OPUS, more=begun))

    # Killed at rest: the CLI's own figure falls back by all that it has not saved.
    run, pid = of(view(crew), "boss")["run"], of(view(crew), "boss")["pid"]
    faults.kill(pid)
    wait(crew, lambda seen: of(seen, "boss")["run"] == run + 1, "it is launched again")
    settled(crew)
    costs(claude, "boss", reported(claude, OPUS, more=begun))
    send(claude, "boss", "[[usage 2000 100]] resumed")
    costs(claude, "boss", reported(claude, OPUS, more=begun))

    # A new conversation, of which a supervisor hears that comes later.
    crew("send", "boss", "/clear")
    old = claude.api.requests[-1].conversation
    wait(crew, lambda seen: of(seen, "boss")["conversation"] != old, "it is cleared")
    settled(crew)
    pid = crew.supervisor()
    crew("send", "boss", "[[usage 30000 3000]] [[say: unheard]] [[hold unheard]]")
    claude.api.wait_held("unheard")
    faults.kill(pid)
    claude.api.release("unheard")
    claude.api.wait_for(lambda r: r.text == "unheard", "the turn ends without a supervisor")
    costs(claude, "boss", reported(claude, OPUS, more=begun))

    # The same conversation, with another model.
    settled(crew)
    up(claude, blueprint(boss="sonnet", stranger=NOBODY))
    send(claude, "boss", "[[usage 10000 1000 100 10]] another")
    known = costs(claude, "boss", reported(claude, OPUS, SONNET, more=begun))

    # Nobody knows what the other one costs: not nothing, and not what its CLI takes it for.
    send(claude, "stranger", "[[usage 250000 0]] who am I")
    billed = reported(claude, NOBODY)
    wait(crew, lambda seen: of(seen, "stranger")["usage"]["models"] == billed, "its tokens")
    seen = crew.view()
    unknown = of(seen, "stranger")["usage"]
    assert (unknown["cost_usd"], unknown["cost_source"]) == (None, None)
    assert (of(seen, "boss")["usage"]["cost_usd"], seen["usage"]["cost_usd"]) == (
        known["cost_usd"],
        None,
    )
    assert seen["usage"]["input"] == known["input"] + 250_000
    lines = crew("status").stdout.splitlines()
    (line,) = [line for line in lines if line.split()[1:2] == ["stranger"]]
    assert "250.0k" in line
    assert "$?" in line
    assert all("$?" not in line for line in lines if "boss" in line)


def test_cost_without_a_status_line_and_the_tokens_of_sub_agents(claude: Claude) -> None:
    shipped = SHIPPED.read_text()
    changed = shipped.replace("status_line = true", "status_line = false")
    assert changed != shipped
    faults.define(claude.crew, "claude", changed)
    up(claude, blueprint(boss="opus"))
    send(claude, "boss", "[[usage 1000 200 300 400]] hello")
    used = costs(claude, "boss", reported(claude, OPUS))
    assert used["cost_source"].startswith("prices 20")
    assert used["context"] is None
    sub = "do it [[usage 7000 900]] [[say: did it]]"
    claude.crew("send", "boss", f"[[usage 100 10]] [[tool Agent: {sub}]] [[say: sent]]")
    # Told of its end in a turn of its own, or in the one that still goes on.
    claude.api.wait_for(lambda r: r.text == "did it", "the sub-agent")
    settled(claude.crew)

    def look(seen: dict[str, Any]) -> bool:
        return agree(of(seen, "boss")["usage"], reported(claude, OPUS))

    # Its transcript is looked at when anything else tells of news, or now and then.
    wait(claude.crew, look, "the sums with the sub-agent's", 60)
