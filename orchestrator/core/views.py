"""The world as others see it: plain JSON values for the socket, the dashboard and scripts."""

from collections.abc import Mapping
from typing import Any

from orchestrator.core import accounts, changes
from orchestrator.core.accounts import Bill
from orchestrator.core.doubts import doubts_of, flags_of
from orchestrator.core.lifecycle import AT_WORK, TRANSITIONS
from orchestrator.core.state import (
    NEEDS_HUMAN,
    Agent,
    Message,
    MessageState,
    Status,
    World,
)
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import total
from orchestrator.core.versions import for_version

View = dict[str, Any]

# Of a cost in USD: what an answer costs has seven at most.
COST_DIGITS = 9

MESSAGE_HEAD = 200  # characters of a message's text in a view

# The supervisor's own health when nothing is known to be wrong: sentences or None, but for `loop`
# (numbers, None while nobody watches) and `sources` (a sentence or None for each). `behind`: more
# comes than can be taken in.
HEALTH: View = {
    "storage": None,
    "tmux": None,
    "behind": None,
    "loop": None,
    "sources": {"files": None, "screens": None, "tmux": None},
}

# How CLIs are asked from within the session when nobody has asked yet: `done` is all that ended,
# `hits` came from disk, `joined` from another's run; `saved_usd` is what both did not cost.
ASKS: View = {
    "running": 0,
    "waiting": 0,
    "done": 0,
    "hits": 0,
    "joined": 0,
    "failed": 0,
    "saved_usd": 0.0,
}

GLYPHS: Mapping[Status, str] = {
    Status.STARTING: "◌",
    Status.READY: "○",
    Status.WORKING: "●",
    Status.BLOCKED: "?",
    Status.LIMITED: "◔",
    Status.BACKOFF: "↻",
    Status.STOPPING: "▽",
    Status.STOPPED: "■",
    Status.EXITED: "□",
    Status.FAILED: "✗",
    Status.LOST: "!",
}


def agent_view(world: World, agent: Agent) -> View:
    """One agent. `since` and `limited_until` are seconds since the epoch."""
    waiting = [
        m
        for m in world.messages.values()
        if m.to == agent.name and m.state in (MessageState.QUEUED, MessageState.TYPING)
    ]
    ask = agent.ask
    return {
        "name": agent.name,
        "role": agent.spec.role,
        "cli": agent.spec.cli,
        "status": agent.status.value,
        "doing": agent.doing.value if agent.doing else None,
        "flags": sorted(flag.value for flag in flags_of(agent)),
        "doubts": [said.text for said in doubts_of(agent).values()],
        "since": agent.since,
        "detail": agent.detail,
        "pid": agent.process.pid if agent.process else None,
        "pane": agent.pane,
        "conversation": agent.conversation,
        "transcript": agent.transcript,
        # How that is read; None where nothing but the screen tells when a turn is over.
        "dialect": _dialect(world, agent),
        "run": agent.run,
        "ask": None
        if ask is None
        else {
            "kind": ask.kind,
            "text": ask.text,
            "tool": ask.tool,
            "name": ask.name,
            "answering": agent.answering is not None,
            "hook": ask.hook,
            "options": [{"key": key, "label": label} for key, label in ask.options],
        },
        "exit": agent.exit,
        "wanted": agent.wanted,
        "waiting_for": list(agent.waiting_for),
        "queued": len(waiting),
        # Why the first of them is not typed now, where something stands in its way.
        "held": next((m.detail for m in waiting if m.detail), None),
        "limited_until": agent.limited_until,
        "usage": usage_view(world, agent),
        "restart_at": _restart_at(world, agent),
    }


def _dialect(world: World, agent: Agent) -> str | None:
    cli = world.team.clis.get(agent.spec.cli) if world.team else None
    return cli.hooks.dialect if cli and cli.hooks else None


def usage_view(world: World, agent: Agent) -> View:
    """Tokens by model and in sum, and what they cost; a cost of None is unknown."""
    used = agent.usage
    cost, source = accounts.cost_of(world, agent)
    return {
        "models": {model: tokens_view(tokens) for model, tokens in used.models.items()},
        **tokens_view(total(used.models)),
        "cost_usd": None if cost is None else round(cost, COST_DIGITS),
        "cost_source": source,
        "context": None
        if used.context_used is None
        else {"used": used.context_used, "size": used.context_size},
    }


def tokens_view(tokens: Tokens) -> View:
    return {
        "input": tokens.input,
        "output": tokens.output,
        "cache_write": tokens.cache_write,
        "cache_read": tokens.cache_read,
    }


def bill_view(bill: Bill) -> View:
    """The sums over the team; the cost is unknown where that of one is."""
    cost = bill.cost
    rounded = None if cost is None else round(cost, COST_DIGITS)
    return {**tokens_view(bill.tokens), "cost_usd": rounded}


def _restart_at(world: World, agent: Agent) -> float | None:
    """When an agent in backoff is started again: seconds since the epoch."""
    due = world.deadlines.get(f"restart:{agent.name}")
    return None if due is None else agent.evidence.at + due - agent.evidence.mono


def message_view(message: Message) -> View:
    return {
        "number": message.number,
        "to": message.to,
        "sender": message.sender,
        "state": message.state.value,
        "detail": message.detail,
        "typed_at": message.typed_at,
        "text": message.text[:MESSAGE_HEAD],
    }


def session_view(world: World) -> View:
    """Everything but the agents, and what they have used."""
    return {
        "session": world.session,
        "state": world.state.value,
        "root": world.team.root if world.team else None,
        "blueprint": world.team.blueprint if world.team else None,
        "layout": world.team.layout if world.team else None,
        "supervisor": {"pid": world.supervisor, "since": world.supervisor_since},
        "server": world.server.pid if world.server else None,
        "messages": [message_view(m) for m in world.messages.values()],
        "missed_events": world.missed_events,
        "edited": list(world.edited),
    }


def view(
    world: World,
    health: View | None = None,
    samples: View | None = None,
    asks: View | None = None,
) -> View:
    """The whole session. `samples`: by agent, what its process tree uses: `cpu` (of one core),
    `rss`, `children` and `pss` (bytes, None: nobody looks at its screen, or it may not be read).
    """
    return {
        **session_view(world),
        "usage": bill_view(accounts.bill(world)),
        "agents": [agent_view(world, agent) for agent in world.agents.values()],
        "samples": samples or {},
        "health": health or HEALTH,
        "asks": asks or ASKS,
    }


def change(
    old: World,
    new: World,
    health: View | None = None,
    samples: View | None = None,
    asks: View | None = None,
    bills: tuple[Bill, Bill] | None = None,
) -> View:
    """What is different in `new`: agents that changed, names that are gone, session fields.

    `health`, `samples` and `asks` are given where they changed, and told whole. `bills`: of `old`
    and `new`, where they are known.
    """
    part: View = {}
    before, after = session_view(old), session_view(new)
    part.update({key: value for key, value in after.items() if before[key] != value})
    changed, gone = changes.of_agents(old, new)
    agents = {agent.name: agent for agent in changed}
    touched = {name: new.agents[name] for name in changes.addressed(old, new) & new.agents.keys()}
    if agents or touched:
        part["agents"] = [agent_view(new, agent) for agent in {**agents, **touched}.values()]
    if bills is None:
        bills = (first := accounts.bill(old)), accounts.bill(new, first)
    if bills[0].costs is not bills[1].costs:
        used, usage = map(bill_view, bills)
        part.update({"usage": usage} if usage != used else {})
    if gone:
        part["gone"] = gone
    if health is not None:
        part["health"] = health
    if samples is not None:
        part["samples"] = samples
    if asks is not None:
        part["asks"] = asks
    return part


def why(world: World, agent: Agent) -> View:
    """The status of an agent with its evidence, and what would change it."""
    return {
        "agent": agent.name,
        "status": agent.status.value,
        "doing": agent.doing.value if agent.doing else None,
        "detail": agent.detail,
        "since": agent.since,
        "flags": sorted(flag.value for flag in flags_of(agent)),
        "doubts": {s: {"text": said.text, "at": said.at} for s, said in doubts_of(agent).items()},
        "quiet_since": agent.quiet_since,
        "version": agent.version,
        "guess": _guess(world, agent),
        "evidence": {
            "kind": agent.evidence.kind,
            "source": agent.evidence.source,
            "at": agent.evidence.at,
        },
        "said": {source: {"text": said.text, "at": said.at} for source, said in agent.said.items()},
        "next": sorted(status.value for status in TRANSITIONS[agent.status]),
        "deadlines": sorted(
            name for name in world.deadlines if name.partition(":")[2] == agent.name
        ),
    }


def _guess(world: World, agent: Agent) -> str | None:
    """What is to be said where the screens of its CLI's version are not known."""
    cli = world.team.clis.get(agent.spec.cli) if world.team else None
    return None if cli is None else for_version(cli.screen, agent.version)[1]


def summary(world: World) -> str:
    """The team in a few words, for the status line: who needs a person comes first."""
    statuses = [agent.status for agent in world.agents.values()]
    counts = (
        (needy := sum(s in NEEDS_HUMAN for s in statuses), f"need{'s' * (needy == 1)} you"),
        (sum(s in (Status.WORKING, Status.LIMITED) for s in statuses), "working"),
        (sum(s is Status.READY for s in statuses), "ready"),
        (sum(s not in AT_WORK and s not in NEEDS_HUMAN for s in statuses), "not running"),
    )
    return " · ".join(f"{n} {what}" for n, what in counts if n) or "nobody here"
