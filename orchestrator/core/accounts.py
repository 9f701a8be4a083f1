"""What agents have used, kept up to date by events: the sums themselves are in `usage.py`.

Events of an earlier run count too: what it has used, it has used.
"""

from dataclasses import replace

from orchestrator.core import usage
from orchestrator.core.events import HookReceived, StatusLineSeen, TranscriptSeen
from orchestrator.core.state import Agent, World
from orchestrator.core.step import Step


def hook_received(step: Step, event: HookReceived) -> None:
    """A conversation that is gone on in: what it held before is not the agent's own."""
    agent = _agent(step, event)
    # The end of the old conversation may be read after the start of the new one.
    if agent is None or event.transcript is None or event.subagent or event.hook == "SessionEnd":
        return
    known = agent.usage
    if agent.transcript is not None:
        known = usage.taken_up(known, agent.transcript, known.since)
    # The status file may have told of another conversation before this, but not of its transcript.
    since = event.at if known.transcripts else known.since
    known = usage.taken_up(known, event.transcript, since)
    if known is not agent.usage:
        step.put(replace(agent, usage=known))


def transcript_seen(step: Step, event: TranscriptSeen) -> None:
    agent = _agent(step, event)
    if agent is None or event.transcript is None or event.file is None or event.mark is None:
        return
    known = usage.taken_up(agent.usage, event.transcript, agent.usage.since)
    known = usage.counted(known, event.file, event.mark, event.tokens)
    step.put(replace(agent, usage=known))


def status_line_seen(step: Step, event: StatusLineSeen) -> None:
    agent, team = _agent(step, event), step.world.team
    if agent is None or team is None or event.run < agent.usage.meter.run:
        return
    known = usage.reported(
        agent.usage,
        team.clis[agent.spec.cli].prices,
        run=event.run,
        conversation=event.conversation,
        cost=event.cost_usd,
        answered=event.answered,
    )
    known = replace(
        known,
        model=event.model,
        context_used=event.context_used,
        context_size=event.context_size,
    )
    step.put(replace(agent, usage=known, version=event.version or agent.version))


def cost_of(world: World, agent: Agent) -> tuple[float | None, str | None]:
    """What an agent has cost (USD), and who says so."""
    cli = world.team.clis.get(agent.spec.cli) if world.team is not None else None
    over = agent.process is None or agent.run != agent.usage.meter.run
    return usage.cost_of(agent.usage, cli.prices if cli is not None else None, over=over)


def _agent(step: Step, event: HookReceived | TranscriptSeen | StatusLineSeen) -> Agent | None:
    """The agent that it is about, unless it is of an earlier one of the same name."""
    agent = step.world.agents.get(event.agent)
    return agent if agent is not None and event.run > agent.usage.former else None
