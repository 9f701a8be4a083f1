"""The table of the team: which agents, in which order, in which columns. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.core import numbers
from orchestrator.core.text import width
from orchestrator.core.wording import View
from orchestrator.dashboard.lines import Line, Look, Run, cell, one_line
from orchestrator.dashboard.model import LOOKS, UNKNOWN, doing, sample_of, tokens

# Columns that what an agent does has at least: others drop out for it, in this order.
DOING = 24
DROPS = ("memory", "cpu", "tokens", "role", "context", "cost", "since")
# Columns that a name and a role have at most.
NAME, ROLE = 20, 14
GAP = 2
# Left of each row: where the widget marks the one that is chosen.
MARK = 2
TITLES = {
    "name": "NAME",
    "role": "ROLE",
    "status": "STATUS",
    "since": "SINCE",
    "doing": "DOING",
    "context": "CTX",
    "tokens": "TOKENS",
    "cost": "COST",
    "cpu": "CPU",
    "memory": "MEM",
}
RIGHT = frozenset({"since", "context", "tokens", "cost", "cpu", "memory"})
# The order of attention: who needs a person first.
URGENCY = (
    "blocked",
    "failed",
    "lost",
    "limited",
    "backoff",
    "working",
    "starting",
    "ready",
    "stopping",
    "exited",
    "stopped",
)


@dataclass(frozen=True)
class Table:
    """`names[n]` is the agent that `rows[n]` shows. `head` is as wide as the rows are."""

    head: Line
    names: tuple[str, ...]
    rows: tuple[Line, ...]


def _urgency(agent: View, _: View) -> object:
    status = agent["status"]
    return URGENCY.index(status) if status in URGENCY else len(URGENCY)


def _cost(agent: View) -> float:
    return (agent.get("usage") or {}).get("cost_usd") or 0.0


# Those that grow are shown with the largest first.
SORTS: dict[str, Callable[[View, View], Any]] = {
    "team": lambda agent, view: 0,
    "urgency": _urgency,
    "name": lambda agent, view: str(agent["name"]),
    "since": lambda agent, view: -agent["since"],
    "tokens": lambda agent, view: -tokens(agent.get("usage")),
    "cost": lambda agent, view: -_cost(agent),
    "cpu": lambda agent, view: -(sample_of(view, agent["name"]).get("cpu") or 0.0),
    "memory": lambda agent, view: -(sample_of(view, agent["name"]).get("rss") or 0),
}


def chosen_agents(view: View, wanted: str = "", sort: str = "team") -> list[View]:
    """The agents that `wanted` finds (all of its words, anywhere in name, role, CLI, status and
    detail), in the order of `sort`."""
    words = wanted.casefold().split()
    found = [agent for agent in view["agents"] if all(word in _text(agent) for word in words)]
    key = SORTS[sort]
    return sorted(found, key=lambda agent: key(agent, view))


def _text(agent: View) -> str:
    keys = ("name", "role", "cli", "status", "detail")
    return " ".join(one_line(agent.get(key)) for key in keys).casefold()


def table(view: View, columns: int, now: float, *, wanted: str = "", sort: str = "team") -> Table:
    """The team in `columns` columns."""
    agents = chosen_agents(view, wanted, sort)
    cells = [_cells(agent, view, now) for agent in agents]
    widths = _widths(cells, columns)
    shown = list(widths)
    head = tuple(_head(name, widths[name], sort) for name in shown)
    rows = [
        _row([(row[name][0], row[name][1], widths[name], name) for name in shown]) for row in cells
    ]
    return Table(_row(head), tuple(str(a["name"]) for a in agents), tuple(rows))


def _head(name: str, columns: int, sort: str) -> tuple[str, Look, int, str]:
    title = TITLES[name]
    marked = f"{title}▾" if name == sort and len(title) < columns else title
    return marked, "dim", columns, name


def _row(cells: Any) -> Line:
    runs: list[Run] = [(" " * MARK, "")]
    for number, (text, look, columns, name) in enumerate(cells):
        if number:
            runs.append((" " * GAP, ""))
        runs.append((cell(text, columns, right=name in RIGHT), look))
    return tuple(runs)


def _cells(agent: View, view: View, now: float) -> dict[str, tuple[str, Look]]:
    """What each column holds, whether it is shown or not."""
    glyph, look = LOOKS.get(agent["status"], UNKNOWN)
    usage, sample = agent.get("usage") or {}, sample_of(view, agent["name"])
    asks, used = agent.get("ask"), tokens(usage)
    spent = numbers.cost(usage.get("cost_usd")) if used or usage.get("cost_usd") else ""
    return {
        "name": (one_line(agent["name"]), "strong"),
        "role": (one_line(agent.get("role")), "dim"),
        "status": (f"{glyph} {one_line(agent['status'])}", look),
        "since": (numbers.age(now - agent["since"]), "dim"),
        # How a process ended that a person ended is of no interest.
        "doing": ("" if view["state"] == "down" else doing(agent, now), look if asks else ""),
        "context": _context(usage.get("context")),
        "tokens": (numbers.count(used) if used else "", ""),
        "cost": (spent, ""),
        "cpu": (numbers.share(sample.get("cpu")), "dim"),
        "memory": (numbers.memory(sample.get("rss")), "dim"),
    }


def _context(context: View | None) -> tuple[str, Look]:
    """How full it is; as tokens where its size is not known."""
    if not context or context.get("used") is None:
        return "", ""
    if not context.get("size"):
        return numbers.count(context["used"]), ""
    full = context["used"] / context["size"]
    return numbers.share(full), "warn" if full > 0.8 else ""


def _width(name: str, cells: list[dict[str, tuple[str, Look]]]) -> int:
    bound = {"name": NAME, "role": ROLE}.get(name, 99)
    most = max((width(text) for text in {row[name][0] for row in cells}), default=0)
    return max(len(TITLES[name]) + (name in SORTS), min(bound, most))


def _widths(cells: list[dict[str, tuple[str, Look]]], columns: int) -> dict[str, int]:
    """The columns for which there is room, in their order, and how wide each is. What nobody has
    a value for is left out."""
    shown = [name for name in TITLES if name not in DROPS or any(row[name][0] for row in cells)]
    # What an agent does takes what is left.
    widths = {name: 0 if name == "doing" else _width(name, cells) for name in shown}
    for drop in DROPS:
        if columns - _taken(widths) >= DOING:
            break
        widths.pop(drop, None)
    return widths | {"doing": max(0, columns - _taken(widths))}


def _taken(widths: dict[str, int]) -> int:
    """By everything but what an agent does."""
    return MARK + sum(width + GAP for name, width in widths.items() if name != "doing")
