"""Options and arguments that verbs share, with their completion.

What a completion asks a session with is imported when it is: most verbs never do.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from orchestrator.core.text import safe_text
from orchestrator.locations import check_name, sessions

F = TypeVar("F", bound=Callable[..., Any])

# Seconds. A shell waits for completions with the person's keyboard in hand.
COMPLETION = 0.3


def _checked(ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
    if name is None and ctx.parent is not None:  # `crew -s NAME VERB`
        name = ctx.parent.params.get("session")
    return None if name is None else check_name(name, "session")


def session_option(function: F) -> F:
    return click.option(
        "-s",
        "--session",
        metavar="NAME",
        callback=_checked,
        shell_complete=complete_session,
        help="The session; needed only where several run.",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(
        function
    )


def agent_argument(function: F) -> F:
    return click.argument("agent", shell_complete=complete_agent)(function)


# -- completion: quick, and silent whatever happens -----------------------------------------------


def _seen(ctx: click.Context) -> dict[str, Any]:
    from orchestrator.client import Client
    from orchestrator.verbs.common import choose_session

    name = ctx.params.get("session")
    with Client.connect(choose_session(name, COMPLETION), start=False) as client:
        found: dict[str, Any] = client.request("status", timeout=COMPLETION)["view"]
        return found


def complete_agent(ctx: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Names of agents, with their status as help."""
    try:
        agents = _seen(ctx)["agents"]
        return [
            CompletionItem(a["name"], help=a["status"])
            for a in agents
            if a["name"].startswith(start)
        ]
    except Exception:  # a shell would show it in the middle of the person's line
        return []


def complete_choice(ctx: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Keys of what the agent asks, with their labels as help."""
    try:
        from orchestrator.verbs.common import agent_of

        ask = agent_of(_seen(ctx), ctx.params["agent"])["ask"]
        options = ask["options"] if ask else []
        return [
            CompletionItem(o["key"], help=safe_text(o["label"]))
            for o in options
            if o["key"].startswith(start)
        ]
    except Exception:  # as above
        return []


def complete_session(_: click.Context, __: click.Parameter, start: str) -> list[CompletionItem]:
    try:
        return [CompletionItem(name) for name in sessions() if name.startswith(start)]
    except Exception:  # as above
        return []
