"""Fix: restart and stop one agent."""

import click

from orchestrator.verbs.common import choose_session, dial
from orchestrator.verbs.options import agent_argument, session_option
from orchestrator.verbs.output import say


@click.command(epilog="Example: crew restart worker-1")
@agent_argument
@session_option
def restart(agent: str, session: str | None) -> None:
    """Start an agent again, with its conversation."""
    with dial(choose_session(session)) as client:
        client.request("restart", agent=agent)
    say(f"{agent} is being restarted")


@click.command(epilog="Example: crew stop worker-1")
@agent_argument
@session_option
def stop(agent: str, session: str | None) -> None:
    """End an agent, until `crew restart` or `crew up`."""
    with dial(choose_session(session)) as client:
        client.request("stop", agent=agent)
    say(f"{agent} is being stopped")
