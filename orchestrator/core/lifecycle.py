"""Which status may follow which: one table, and the one function that changes a status.

An agent is started (STARTING), lives through what it reports (READY, WORKING, BLOCKED, LIMITED),
and ends by a person's will (STOPPING, STOPPED), by its own (EXITED), by accident (BACKOFF, and
FAILED when there were too many) or with its pane (LOST). Only a start leads back.
"""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.events import Event
from orchestrator.core.state import Agent, Ask, Doing, Evidence, Flag, Status

# What an agent's own reports can change, and can change into.
REPORTING = frozenset(
    {Status.STARTING, Status.READY, Status.WORKING, Status.BLOCKED, Status.LIMITED}
)
# Past its start: what others wait for when they depend on it.
AT_WORK = REPORTING - {Status.STARTING}

_ENDS = frozenset(
    {
        Status.STOPPING,
        Status.STOPPED,
        Status.BACKOFF,
        Status.EXITED,
        Status.FAILED,
        Status.LOST,
    }
)

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.STARTING: AT_WORK | _ENDS,
    Status.READY: AT_WORK | _ENDS,
    Status.WORKING: AT_WORK | _ENDS,
    # BLOCKED -> STARTING: a dialog of its first run is gone, and it has reported nothing yet.
    Status.BLOCKED: REPORTING | _ENDS,
    Status.LIMITED: AT_WORK | _ENDS,
    Status.STOPPING: frozenset({Status.STOPPED, Status.STARTING, Status.LOST}),
    Status.BACKOFF: frozenset({Status.STARTING, Status.STOPPED, Status.FAILED, Status.LOST}),
    Status.STOPPED: frozenset({Status.STARTING}),
    # EXITED -> BACKOFF, FAILED: the exit status was learned after the death.
    Status.EXITED: frozenset(
        {Status.STARTING, Status.STOPPED, Status.BACKOFF, Status.FAILED, Status.LOST}
    ),
    # FAILED -> LOST: the last straw was the tmux server's death.
    Status.FAILED: frozenset({Status.STARTING, Status.STOPPED, Status.LOST}),
    Status.LOST: frozenset({Status.STARTING, Status.STOPPED, Status.FAILED}),
}


def evidence_of(event: Event) -> Evidence:
    """The evidence that `event` is."""
    kind = getattr(event, "kind", type(event).__name__)
    return Evidence(kind=kind, source=event.source, at=event.at, mono=event.mono)


def become(
    agent: Agent,
    status: Status,
    event: Event,
    *,
    detail: str = "",
    doing: Doing | None = None,
    ask: Ask | None = None,
    flags: frozenset[Flag] = frozenset(),
    limited_until: float | None = None,
) -> Agent:
    """Change what an agent is doing. `since` moves only when the status itself changes.

    Raises AssertionError for a change that the table does not have: callers look first.
    """
    changed = agent.status is not status
    assert not changed or status in TRANSITIONS[agent.status], f"{agent.status} -> {status}"
    assert (ask is not None) == (status is Status.BLOCKED), "who is blocked asks something"
    assert doing is None or status is Status.WORKING, "only who works does something"
    return replace(
        agent,
        status=status,
        since=event.at if changed else agent.since,
        evidence=evidence_of(event),
        detail=detail,
        doing=doing,
        ask=ask,
        behind=agent.behind if ask else (),
        # An answer on its way is to what was asked, and to nothing that comes after it.
        answering=agent.answering if ask and agent.ask and _same(ask, agent.ask) else None,
        flags=flags,
        limited_until=limited_until,
        quiet_since=agent.quiet_since if event.source == "screen" else None,
    )


def _same(ask: Ask, before: Ask) -> bool:
    """Whether it is still asked; two requests may be of the same words."""
    return ask.text == before.text and before.hook in (None, ask.hook)
