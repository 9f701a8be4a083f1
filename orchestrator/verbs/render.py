"""Views as text for a terminal: pure functions from a view, a width in columns and the time.

Whatever an agent, a file or a person wrote goes through `safe_text` here.
"""

import time
from collections.abc import Iterable, Sequence

import click

from orchestrator.core import numbers
from orchestrator.core.text import clip, pad, safe_text, span, width
from orchestrator.core.wording import View, asks, due, state_of, waiting
from orchestrator.verbs import program

# Glyph and colour of each status. The glyphs are those of `core.views`, which takes longer to
# import than everything that `crew status` needs.
LOOKS = {
    "starting": ("◌", "cyan"),
    "ready": ("○", "green"),
    "working": ("●", "blue"),
    "blocked": ("?", "yellow"),
    "limited": ("◔", "magenta"),
    "backoff": ("↻", "magenta"),
    "stopping": ("▽", None),
    "stopped": ("■", None),
    "exited": ("□", None),
    "failed": ("✗", "red"),
    "lost": ("!", "red"),
}
UNKNOWN = (" ", None)  # of a newer supervisor
GAP = "  "
TOKENS = ("input", "output", "cache_write", "cache_read")
# Columns beyond which a role gives way to the detail.
ROLE = 16
ROLE_NARROW = 8
DETAIL = 20
# Columns from which on there is room for what each agent has used.
WIDE = 100
NEED = frozenset({"blocked", "failed"})
# Seconds for which it is worth saying that the supervisor is a new one.
NEWS = 60.0


def table(rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Aligned lines of at most `columns` columns. The last cell of a row takes what is left."""
    widths = [max(map(width, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [pad(cell, size) for cell, size in zip(row[:-1], widths[:-1], strict=True)]
        lines.append(clip(GAP.join([*cells, row[-1]]).rstrip(), columns))
    return lines


def _status(agent: View) -> str:
    doing = agent.get("doing")
    return f"{agent['status']} ({doing})" if doing else str(agent["status"])


def detail_of(agent: View, now: float) -> str:
    """Remarks, what it is about, and what waits for it: one line."""
    ask = agent.get("ask")
    parts = [
        *agent.get("flags", ()),
        asks(ask, safe_text) if ask else safe_text(agent.get("detail") or ""),
        *due(agent, now),
        waiting(agent, safe_text),
    ]
    return " · ".join(dict.fromkeys(part for part in parts if part))


def used_by(agent: View) -> str:
    """Tokens and cost in short: `12.3k $0.42`. Nothing of who has used nothing yet."""
    usage = agent.get("usage") or {}
    tokens = sum(usage.get(kind) or 0 for kind in TOKENS)
    cost = usage.get("cost_usd")
    if not tokens and not cost:
        return ""
    return f"{numbers.count(tokens)} tok {numbers.cost(cost)}"


def coloured(line: str, status: str) -> str:
    """A line of a table, its glyph and more in the colour of the status."""
    _, colour = LOOKS.get(status, UNKNOWN)
    return click.style(line, fg=colour) if colour else line


def agent_lines(view: View, columns: int, now: float) -> list[str]:
    """One line for each agent: glyph, name, role, status, since when, detail."""
    agents = view["agents"]
    if not agents:
        return []
    ended = view.get("state") == "down"  # on purpose: how each process ended is of no interest
    used = columns >= WIDE and any(map(used_by, agents))
    lines: list[str] = []
    for role, more in ((ROLE, used), (ROLE, False), (ROLE_NARROW, False)):
        rows = [
            (
                LOOKS.get(agent["status"], UNKNOWN)[0],
                agent["name"],
                clip(safe_text(agent["role"]), role),
                _status(agent),
                span(now - agent["since"]),
                *((used_by(agent),) if more else ()),
                "" if ended else detail_of(agent, now),
            )
            for agent in agents
        ]
        lines = table(rows, columns)
        taken = sum(max(map(width, cells)) for cells in list(zip(*rows, strict=True))[:-1])
        if columns - taken - len(GAP) * (len(rows[0]) - 1) >= DETAIL:
            break
    return [coloured(line, agent["status"]) for line, agent in zip(lines, agents, strict=True)]


def session_line(view: View, now: float) -> str:
    """What the session is: its name, state, size, place, and whether it was left alone."""
    agents = view["agents"]
    needy = sum(agent["status"] in NEED for agent in agents) if view["state"] != "down" else 0
    parts = [
        f"{view['session']} is {state_of(view)}",
        f"{len(agents)} agent{'' if len(agents) == 1 else 's'}",
        f"{needy} need{'s' if needy == 1 else ''} you" if needy else "",
        f"in {safe_text(view['root'])}" if view.get("root") else "",
        _restarted(view, now),
    ]
    return " · ".join(part for part in parts if part)


def _restarted(view: View, now: float) -> str:
    """That the supervisor came back to agents that were there before it."""
    supervisor, agents = view.get("supervisor"), view["agents"]
    if not supervisor or now - supervisor["since"] > NEWS:
        return ""
    if all(agent["since"] >= supervisor["since"] for agent in agents):
        return ""
    return f"supervisor restarted {span(now - supervisor['since'])} ago"


def session_remarks(view: View) -> list[str]:
    """What is wrong or out of date with the session as a whole."""
    remarks: list[str] = []
    health = view.get("health") or {}
    # The loop's are numbers, for a dashboard. One thing may be wrong for two reasons.
    wrongs = [health.get(key) for key in ("storage", "tmux", "behind")]
    wrongs += (health.get("sources") or {}).values()
    remarks += [f"! {safe_text(wrong)}" for wrong in dict.fromkeys(filter(None, wrongs))]
    if view["state"] == "paused":
        remarks.append(
            program.as_typed("! too many restarts: nothing is started again; `crew up` goes on")
        )
    if view.get("edited"):
        files = ", ".join(safe_text(file) for file in view["edited"])
        remarks.append(program.as_typed(f"! edited since `crew up`: {files}; `crew up` applies it"))
    missed = view.get("missed_events") or 0
    if missed:
        remarks.append(f"! {missed} change(s) were noticed late, by the audit")
    return remarks


def command(view: View, flag: bool, verb: str, *words: str) -> str:
    """A command to type; with `flag` it names the session."""
    return program.command(verb, *(["-s", view["session"]] if flag else []), *words)


def _asks(view: View, agent: View, columns: int, flag: bool) -> list[str]:
    """What a blocked agent asks, with a line for each answer that can be given."""
    ask = agent["ask"] or {"kind": "dialog", "text": "", "options": []}
    lines = [clip(f"{agent['name']} {asks(ask, safe_text)}", columns)]
    for option in ask["options"]:
        answer = command(view, flag, "answer", agent["name"], safe_text(option["key"]))
        lines.append(_typed(answer, safe_text(option["label"]), columns))
    if not ask["options"]:
        lines.append(_typed(command(view, flag, "attach", agent["name"]), "", columns))
    return lines


def _typed(what: str, remark: str, columns: int) -> str:
    """A command to type. The remark is cut before the command is: that must stay whole."""
    return f"    {what}    {clip(remark, max(0, columns - width(what) - 8))}".rstrip()


def needs(view: View, columns: int, *, flag: bool = False) -> list[str]:
    """Who needs a person, and exactly what to type. Nobody does in a session that is down."""
    lines: list[str] = []
    if view["state"] == "down":
        return lines
    for agent in view["agents"]:
        if agent["status"] == "blocked":
            lines += _asks(view, agent, columns, flag)
        elif agent["status"] == "failed":
            reason = safe_text(agent["detail"]) or "no reason known"
            lines.append(clip(f"{agent['name']} failed: {reason}", columns))
            again = command(view, flag, "restart", agent["name"])
            lines.append(_typed(again, "tries again", columns))
    for message in view.get("messages", ()):
        if message["state"] == "unconfirmed":
            look = command(view, flag, "attach", message["to"])
            lines.append(f"message {message['number']} to {message['to']} is unconfirmed")
            lines.append(_typed(look, "shows whether it was taken", columns))
    return lines


def commands(rows: Iterable[tuple[str, str]], columns: int) -> list[str]:
    """Aligned lines of a command and what it does."""
    shown = list(rows)
    size = max((width(what) for what, _ in shown), default=0)
    return [_typed(pad(what, size), remark, columns) for what, remark in shown]


def status_lines(
    view: View, columns: int, now: float, *, flag: bool = False, up: Sequence[str] = ("up",)
) -> list[str]:
    """The whole of `crew status`. `flag`: commands must name the session; `up`: what launches it
    anew."""
    lines = [clip(session_line(view, now), columns)]
    lines += [clip(line, columns) for line in session_remarks(view)]
    for part in (agent_lines(view, columns, now), needs(view, columns, flag=flag)):
        if part:
            lines += ["", *part]
    if view["state"] == "down":
        back = program.command("restore", *([view["session"]] if flag else []))
        hints = (back, "with their conversations"), (program.command(*up), "afresh")
        lines += ["", *commands(hints, columns)]
    return lines


def short_lines(agents: Iterable[View], columns: int, now: float) -> list[str]:
    """The table after `crew up`: glyph, name, status, detail."""
    shown = list(agents)
    if not shown:
        return []
    rows = [
        (LOOKS.get(a["status"], UNKNOWN)[0], a["name"], _status(a), detail_of(a, now))
        for a in shown
    ]
    lines = table(rows, columns)
    return [coloured(line, a["status"]) for line, a in zip(lines, shown, strict=True)]


def moment(at: float, now: float) -> str:
    """A time, seconds since the epoch, as the local clock showed it and as how long ago."""
    return f"{time.strftime('%H:%M:%S', time.localtime(at))} ({span(now - at)} ago)"
