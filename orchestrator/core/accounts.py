"""What agents have used, kept up to date by events: the sums themselves are in `usage.py`.

Events of an earlier run count too: what it has used, it has used.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, replace

from orchestrator.core import usage
from orchestrator.core.changes import of_agents
from orchestrator.core.events import HookReceived, StatusLineSeen, TranscriptSeen
from orchestrator.core.state import Agent, World
from orchestrator.core.step import Step
from orchestrator.core.tokens import NONE, Tokens
from orchestrator.core.values import value


@value
class Bill:
    """What the whole team of `world` has used and cost, and what each agent's part of it is.

    `costs`: by agent, in USD; `unknown`: those of whom it is not known.
    """

    world: World
    tokens: Tokens = NONE
    costs: Mapping[str, float] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()

    @property
    def cost(self) -> float | None:
        """In USD; unknown where that of one is."""
        return None if self.unknown else math.fsum(self.costs.values())


def bill(world: World, before: Bill | None = None) -> Bill:
    """The bill of `world`, told from that of a world `before`: only what has changed is counted."""
    if before is None or before.world.team is not world.team:
        return _with(Bill(world=world), world.agents.values())
    old = before.world.agents
    changed, gone = of_agents(before.world, world)
    others = [agent for agent in changed if _counts(old.get(agent.name), agent)]
    if not others and not gone:
        return replace(before, world=world)
    over = {*gone, *(agent.name for agent in others)} & old.keys()
    costs = dict(before.costs)
    for name in over:
        costs.pop(name, None)
    tokens = before.tokens - _tokens(old[name] for name in over)
    unknown = before.unknown - over
    return _with(Bill(world=world, tokens=tokens, costs=costs, unknown=unknown), others)


def _with(known: Bill, more: Collection[Agent]) -> Bill:
    """The bill with these agents besides."""
    costs = {agent.name: cost_of(known.world, agent)[0] for agent in more}
    return replace(
        known,
        tokens=known.tokens + _tokens(more),
        costs={**known.costs, **{name: cost for name, cost in costs.items() if cost is not None}},
        unknown=known.unknown | {name for name, cost in costs.items() if cost is None},
    )


def _tokens(agents: Iterable[Agent]) -> Tokens:
    return sum((usage.total(agent.usage.models) for agent in agents), NONE)


def _counts(before: Agent | None, agent: Agent) -> bool:
    """Whether what it has used or cost may be another: its process was to report what it cost."""
    if before is None or before.usage is not agent.usage:
        return True
    return (before.process, before.run) != (agent.process, agent.run)


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
