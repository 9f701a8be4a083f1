"""`crew report`: the questions that are asked most about a team, answered from what is recorded.

The team's state comes from its supervisor's view, its errors from the journal, the figures of asks
from the cache's records. No model is asked, and nothing is measured for it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator import locations
from orchestrator.client import QUESTION
from orchestrator.core import numbers
from orchestrator.core.text import clip, safe_text, span
from orchestrator.core.wording import state_of
from orchestrator.errors import UserError
from orchestrator.verbs import recorded, render
from orchestrator.verbs.common import View, choose_session, flag_needed, reach, require_known
from orchestrator.verbs.look import see
from orchestrator.verbs.options import json_option, session_option
from orchestrator.verbs.output import columns, say, say_json

if TYPE_CHECKING:
    from orchestrator.sinks.history import Asked

Report = dict[str, Any]

# Errors that are shown, the newest of each sort.
NEWEST = 20
PERCENTILES = (50, 95, 99)
# Statuses in which an agent does not do what it was launched for, and nobody asked for that.
IN_TROUBLE = frozenset({"failed", "lost", "backoff", "limited"})
# Kinds of events that may tell of a failure: `is_failure` has the last word.
FAILURES = (
    "server_failed",
    "server_lost",
    "spawn_failed",
    "process_exited",
    "hook_received",
    "effect_failed",
    "source_doubted",
    "events_missed",
)
# Of the journal: failures among them are shown.
LOOKED_AT = 1000


@click.command(epilog="Example: crew report performance --json")
@click.argument("about", type=click.Choice(["status", "health", "performance", "errors"]))
@session_option
@json_option
def report(about: str, session: str | None, as_json: bool) -> None:
    """Report on the team and on asks, without a model.

    status: who does what, who needs you. health: what is wrong with the session. performance: what
    agents use, how long asks take, how many the cache answers. errors: what failed, of agents and
    of asks.
    """
    of: dict[str, Callable[[str | None], tuple[Report, list[str]]]] = {
        "status": _status,
        "health": _health,
        "performance": _performance,
        "errors": _errors,
    }
    found, lines = of[about](session)
    if as_json:
        say_json(found)
    else:
        say("\n".join(lines))


def _fitting(lines: Iterable[str]) -> list[str]:
    return [clip(line, columns()) for line in lines]


# -- the team -------------------------------------------------------------------------------------


def _status(session: str | None) -> tuple[Report, list[str]]:
    view, now = see(choose_session(session)), time.time()
    agents = view["agents"]
    counts = Counter[str](agent["status"] for agent in agents)
    usage = view.get("usage") or {}
    found = {
        **_named(view),
        "agents": len(agents),
        "statuses": dict(counts),
        "need_you": [agent["name"] for agent in agents if _needs(view, agent)],
        "working": [agent["name"] for agent in agents if agent["status"] == "working"],
        "queued": sum(agent.get("queued") or 0 for agent in agents),
        "tokens": sum(usage.get(kind) or 0 for kind in render.TOKENS),
        "cost_usd": usage.get("cost_usd"),
    }
    lines = [
        render.session_line(view, now),
        ", ".join(f"{number} {status}" for status, number in counts.most_common()) or "nobody here",
        f"{found['queued']} messages wait · {numbers.count(found['tokens'])} tokens, "
        f"{numbers.cost(found['cost_usd'])}",
    ]
    lines = _fitting(lines)
    if needs := render.needs(view, columns(), flag=flag_needed(view["session"])):
        lines += ["", *needs]
    return found, lines


def _health(session: str | None) -> tuple[Report, list[str]]:
    view, now = see(choose_session(session)), time.time()
    remarks = [remark.removeprefix("! ") for remark in render.session_remarks(view)]
    supervisor = view.get("supervisor") or {}
    troubled = [
        {key: agent.get(key) for key in ("name", "status", "since", "detail", "flags")}
        for agent in view["agents"]
        if _needs(view, agent) or _troubled(view, agent)
    ]
    since = supervisor.get("since")
    found = {
        **_named(view),
        "healthy": not remarks and not troubled and state_of(view) in ("up", "down"),
        "remarks": remarks,
        "supervisor": {
            "pid": supervisor.get("pid"),
            "up_for": None if since is None else now - since,
        },
        "missed_events": view.get("missed_events") or 0,
        "agents": troubled,
    }
    watched = f"its supervisor runs for {span(now - since)}" if since else "no supervisor runs"
    well = "nothing is wrong" if found["healthy"] else "not all is well"
    lines = [f"{view['session']} is {state_of(view)}: {well} · {watched}"]
    lines += [f"! {remark}" for remark in remarks]
    lines += [
        f"{one['name']} is {one['status']} for {span(now - one['since'])}: "
        f"{_words([*one['flags'], one['detail']])}"
        for one in troubled
    ]
    return found, _fitting(lines)


def _named(view: View) -> Report:
    return {"session": view["session"], "state": state_of(view)}


def _needs(view: View, agent: View) -> bool:
    """A session that is down needs nobody."""
    return agent["status"] in render.NEED and view["state"] != "down"


def _troubled(view: View, agent: View) -> bool:
    flagged = {"stalled", "disagreement"} & set(agent.get("flags") or ())
    return view["state"] != "down" and (agent["status"] in IN_TROUBLE or bool(flagged))


def _words(parts: Iterable[str | None]) -> str:
    return safe_text(" · ".join(part for part in parts if part)) or "no reason known"


# -- performance ----------------------------------------------------------------------------------


def _performance(session: str | None) -> tuple[Report, list[str]]:
    """That of asks can be told without a session."""
    uses = _uses(session)
    asks, lines = _of_asks()
    if uses:
        lines = [*_uses_lines(uses), "", *lines]
    return {"agents": uses, **asks}, lines


def _uses(session: str | None) -> list[View]:
    """What each agent's process tree used when it was last measured. Nothing of a session that
    nobody watches, nor where none was named and it is not clear which one is meant."""
    if not session and not locations.sessions():
        return []
    try:
        paths = choose_session(session)
        require_known(paths)
    except UserError:
        if session:
            raise
        return []
    view, _, _ = recorded.glance(paths, QUESTION)
    return [{"name": name, **use} for name, use in (view.get("samples") or {}).items()]


def _uses_lines(uses: list[View]) -> list[str]:
    rows: list[Sequence[str]] = [("AGENT", "CPU", "MEMORY", "CHILDREN")]
    rows += [
        (
            safe_text(use["name"]),
            numbers.share(use.get("cpu")) or "-",
            numbers.memory(use.get("rss")) or "-",
            str(use.get("children", "-")),
        )
        for use in uses
    ]
    return render.table(rows, columns())


def _of_asks() -> tuple[Report, list[str]]:
    from orchestrator.verbs import savings

    records = _records()
    figures = savings.figures(records)
    hits = [asked for asked in records if asked.outcome == "hit"]
    ran = [asked for asked in records if asked.outcome in ("ran", "joined", "stale", "failed")]
    waited = [asked.waited for asked in ran]
    kinds = {
        "all": [asked.took for asked in records],
        "hit": [asked.took for asked in hits],
        "run": [asked.took for asked in ran],
    }
    found: Report = {
        "asks": figures.asks,
        "hit_rate": figures.hit_rate,
        "joined": figures.outcomes.get("joined", 0),
        "took": {kind: percentiles(taken) for kind, taken in kinds.items()},
        "waited": percentiles(waited),
        "clis": {
            cli: percentiles([asked.took for asked in ran if asked.cli == cli])
            for cli in sorted({asked.cli for asked in ran})
        },
    }
    if not records:
        return found, ["nothing was asked yet"]
    rate = "-" if figures.hit_rate is None else f"{figures.hit_rate:.0%}"
    rows: list[Sequence[str]] = [("SECONDS", *(f"P{share}" for share in PERCENTILES))]
    rows += [(f"{kind} asks", *_seconds(one)) for kind, one in found["took"].items()]
    rows += [("waited for a slot", *_seconds(found["waited"]))]
    rows += [(f"run by {safe_text(cli)}", *_seconds(one)) for cli, one in found["clis"].items()]
    lines = [f"{figures.asks:,} asks · {rate} hits · {found['joined']:,} joined", ""]
    return found, _fitting(lines) + render.table(rows, columns())


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """By nearest rank: each is one that was measured. None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    # The rank is rounded up, in whole numbers.
    return {f"p{p}": ordered[max(0, -(-p * len(ordered) // 100) - 1)] for p in PERCENTILES}


def _seconds(of: dict[str, float] | None) -> list[str]:
    return [f"{of[f'p{share}']:.3f}" if of else "-" for share in PERCENTILES]


def _records() -> list["Asked"]:
    from orchestrator.verbs.cache import opened

    with opened() as store:
        return store.records()


# -- errors ---------------------------------------------------------------------------------------


def _errors(session: str | None) -> tuple[Report, list[str]]:
    """Those of asks can be told without a session."""
    from orchestrator.verbs.journal import event_line

    agents: list[View] = []
    events: list[View] = []
    if session or locations.sessions():
        paths = choose_session(session)
        view = see(paths)
        agents = [agent for agent in view["agents"] if agent["status"] in ("failed", "lost")]
        events = [event for event in _events(paths) if is_failure(event)][-NEWEST:]
    failed = [asked for asked in _records() if asked.error]
    clis = Counter[str](asked.cli for asked in failed)
    found: Report = {
        "agents": [
            {key: agent.get(key) for key in ("name", "status", "since", "detail", "exit")}
            for agent in agents
        ],
        "events": events,
        "asks": {
            "clis": dict(clis),
            "newest": [
                {"at": one.at, "cli": one.cli, "outcome": one.outcome, "error": one.error}
                for one in failed[-NEWEST:]
            ],
        },
    }
    now = time.time()
    lines = [
        f"{agent['name']} is {agent['status']} for {span(now - agent['since'])}: "
        f"{_words([agent.get('detail')])}"
        for agent in agents
    ]
    lines += [event_line(event, columns(), now) for event in events]
    lines += [f"failed asks of {safe_text(cli)}: {number:,}" for cli, number in clis.most_common()]
    lines += [
        f"{span(now - one.at)} ago  {safe_text(one.cli)}: {safe_text(one.error)}"
        for one in failed[-NEWEST:]
    ]
    return found, _fitting(lines) or ["no errors are on record"]


def _events(paths: Any) -> list[View]:
    """The newest events of the kinds that may tell of failures, oldest first."""
    asked: dict[str, Any] = {"since": None, "agent": None, "kinds": FAILURES, "limit": LOOKED_AT}
    client = reach(paths)
    if client is None:
        return recorded.events(paths, **asked)
    with client:
        return [answer["event"] for answer in client.stream("events", follow=False, **asked)]


def is_failure(event: View) -> bool:
    """Whether an event of these kinds tells of one: most processes and hooks end well."""
    of = event.get
    match of("kind"):
        case "process_exited":
            return bool(of("code") or of("signal")) or not of("known", True)
        case "hook_received":
            return of("hook") in ("StopFailure", "PostToolUseFailure")
        case _:
            return True
