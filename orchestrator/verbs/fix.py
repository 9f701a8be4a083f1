"""Fix: restart and stop one agent."""

import click

from orchestrator.verbs.common import agent_argument, choose_session, dial, say, session_option


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
