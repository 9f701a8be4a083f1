"""What a view says of an agent or a session: in the same words wherever it is shown. Pure.

`clean` makes one safe line of what somebody else wrote.
"""

from collections.abc import Callable
from typing import Any

from orchestrator.core.text import span

View = dict[str, Any]
Clean = Callable[[str], str]

# Tools whose names are verbs that take what follows.
VERBS = frozenset({"Read", "Write", "Edit", "MultiEdit", "NotebookEdit", "Glob", "Grep"})


def to_use(tool: str, argument: str) -> str:
    """What a tool is to do, as it stands behind `asks to`."""
    if tool in VERBS and argument:
        return f"{tool} {argument}"
    verb = "run" if tool == "Bash" else "use"
    return f"{verb} {tool}: {argument}" if argument else f"{verb} {tool}"


def asks(ask: View, clean: Clean) -> str:
    """What a blocked agent asks: one clause."""
    text, tool = clean(ask.get("text") or ""), clean(ask.get("tool") or "")
    named, _, argument = text.partition(": ")
    if ask.get("kind") == "permission" and tool and tool == named:
        return f"asks to {to_use(tool, argument)}"
    what = clean(ask.get("name") or ask.get("kind") or "")
    return f"asks ({what}): {text}" if text else f"asks ({what})"


def due(agent: View, now: float) -> list[str]:
    """What happens to an agent at a time."""
    times = (("restart_at", "starts again in"), ("limited_until", "its limit ends in"))
    return [f"{what} {span(agent[key] - now)}" for key, what in times if agent.get(key)]


def waiting(agent: View, clean: Clean) -> str:
    """How many messages wait for the agent, and what stands in their way if something does."""
    queued, held = agent.get("queued"), clean(agent.get("held") or "")
    return f"{queued} queued{f': {held}' if held else ''}" if queued else ""


def state_of(view: View) -> str:
    """The session's state; `unwatched` if it should be up and nobody looks after it."""
    watched = view["state"] in ("down", "unknown") or view.get("supervisor")
    return str(view["state"]) if watched else "unwatched"
