"""The session in words: its header, what is wrong with it, and one agent. Pure."""

from collections.abc import Callable

from orchestrator.core.numbers import age, cost, count, memory, share
from orchestrator.core.text import width
from orchestrator.core.wording import View, asks, due, state_of, waiting
from orchestrator.dashboard.lines import (
    DOT,
    Line,
    Look,
    Run,
    fit,
    joined,
    line_width,
    one_line,
    spread,
    wrap,
)

# Glyph and look of each status: with its word beside it, it can be read without colours.
LOOKS: dict[str, tuple[str, Look]] = {
    "starting": ("◌", "busy"),
    "ready": ("○", "good"),
    "working": ("●", "busy"),
    "blocked": ("?", "ask"),
    "limited": ("◔", "warn"),
    "backoff": ("↻", "warn"),
    "stopping": ("▽", "dim"),
    "stopped": ("■", "dim"),
    "exited": ("□", "dim"),
    "failed": ("✗", "bad"),
    "lost": ("!", "bad"),
}
UNKNOWN: tuple[str, Look] = (" ", "")  # of a newer supervisor
NEED = frozenset({"blocked", "failed"})
TOKENS = ("input", "output", "cache_write", "cache_read")
# Milliseconds and events from which on the supervisor is said to be slow.
SLOW, LONG = 250.0, 100
# What is shown of them when all is well: a queue from this length on, a latency in these steps.
QUEUE = 10
STEPS = (10, 25, 50, 100, 250)
# Lines that one remark may take: its end is the remedy.
REMARK = 3


def agent_of(view: View | None, name: str | None) -> View | None:
    """The agent `name`, if it is there."""
    agents = view["agents"] if view else ()
    return next((agent for agent in agents if agent["name"] == name), None)


def sample_of(view: View, name: str) -> View:
    """What was last measured of the agent's process tree; empty if nothing was."""
    found = (view.get("samples") or {}).get(name)
    return found if isinstance(found, dict) else {}


def uses(sample: View, columns: int) -> str:
    """What its process tree uses, as much of it as there is room for: the memory that it takes of
    the machine (PSS), where that is known, before what its processes see (RSS)."""
    cpu, pss, rss = share(sample.get("cpu")), memory(sample.get("pss")), memory(sample.get("rss"))
    below = sample.get("children") or 0
    parts = [
        f"CPU {cpu}" if cpu else "",
        f"PSS {pss}" if pss else "",
        f"RSS {rss}" if rss else "",
        f"{below} child{'ren' * (below != 1)}" if below else "",
    ]
    told = [part for part in parts if part]
    while told and width(DOT.join(told)) > columns:
        told.pop()
    return DOT.join(told)


def tokens(usage: View | None) -> int:
    """All of them, of whatever kind."""
    return sum((usage or {}).get(kind) or 0 for kind in TOKENS)


def ages(view: View, now: float) -> list[str]:
    """All that is told of agents and depends on the time."""
    return [
        told for agent in view["agents"] for told in (age(now - agent["since"]), *due(agent, now))
    ]


def doing(agent: View, now: float) -> str:
    """What it is about, its remarks, and what waits for it."""
    ask = agent.get("ask")
    about = asks(ask, one_line) if ask else one_line(agent.get("detail"))
    what = one_line(agent.get("doing"))
    if what and what != "tool":
        about = f"{what}: {about}" if about else what
    flags = [one_line(flag) for flag in agent.get("flags") or ()]
    parts = [*flags, about, *due(agent, now), waiting(agent, one_line)]
    return DOT.join(dict.fromkeys(part for part in parts if part))


def header(view: View | None, trouble: str | None, columns: int) -> Line:
    """The session, its sums, and at the right end how its supervisor is."""
    if view is None:
        return fit((("connecting …" if trouble is None else "not connected", "dim"),), columns)
    agents, usage = view["agents"], view.get("usage") or {}
    state = one_line(state_of(view))
    down = state == "down"
    needy = 0 if down else sum(agent["status"] in NEED for agent in agents)
    busy = sum(agent["status"] == "working" for agent in agents)
    used = tokens(usage)
    parts: list[Run] = [
        (one_line(view["session"]), "strong"),
        (state, "good" if state == "up" else "bad"),
        (f"{needy} need{'s' * (needy == 1)} you" if needy else "", "ask"),
        (cost(usage.get("cost_usd")) if used or usage.get("cost_usd") else "", ""),
        (f"{len(agents)} agent{'s' * (len(agents) != 1)}", ""),
        (f"{busy} working" if busy else "", "busy"),
        (f"{count(used)} tokens" if used else "", ""),
        (asked(view.get("asks") or {}), ""),
    ]
    right = _supervisor(view, trouble)
    room = columns - line_width(right) - 1
    # The last of them go first; none is cut in the middle.
    while len(parts) > 2 and line_width(joined(parts)) > room:
        parts.pop()
    return spread(joined(parts), right, columns)


def asked(asks: View) -> str:
    """How CLIs are asked from within the session, in a few words; nothing if they are not."""
    done, hits = asks.get("done") or 0, asks.get("hits") or 0
    now = {what: asks.get(what) or 0 for what in ("running", "waiting")}
    if not done and not any(now.values()):
        return ""
    told = [f"asks {count(done)}"] if done else ["asks"]
    told += [f"{100 * hits // done} % from disk"] if done else []
    told += [f"{number} {what}" for what, number in now.items() if number]
    return ", ".join(told)


def _supervisor(view: View, trouble: str | None) -> Line:
    """How the supervisor is, in a few words; what is wrong stands in the remarks."""
    if view["state"] == "down":
        return ()
    if trouble is not None or not view.get("supervisor"):
        return (("✗ not watched", "bad"),)
    health = view.get("health") or {}
    loop = health.get("loop") or {}
    wrong = any(isinstance(value, str) for value in health.values()) or unwell(health)
    parts = ["✗ supervisor" if wrong else "✓ supervisor"]
    if (loop.get("queue") or 0) >= QUEUE:
        parts.append(f"{loop['queue']} events wait")
    if loop.get("latency_ms") is not None:
        parts.append(_latency(loop["latency_ms"]))
    return ((DOT.join(parts), "bad" if wrong else "dim"),)


def _latency(milliseconds: float) -> str:
    """In steps: a figure that always changes would be painted for ever."""
    step = next((step for step in STEPS if milliseconds <= step), None)
    return f"{round(milliseconds)} ms" if step is None else f"≤{step} ms"


def unwell(health: View) -> list[str]:
    """What the figures of the supervisor's loop and sources say is wrong."""
    told: list[str] = []
    loop, sources = health.get("loop") or {}, health.get("sources")
    slow = (loop.get("latency_ms") or 0) > SLOW or (loop.get("queue") or 0) > LONG
    if slow and not health.get("behind"):  # which says it better
        told.append(
            f"the supervisor is slow: {loop.get('queue') or 0} events wait, "
            f"{round(loop.get('latency_ms') or 0)} ms each"
        )
    for name, state in sources.items() if isinstance(sources, dict) else ():
        wrong = state.get("wrong") if isinstance(state, dict) else state
        if isinstance(wrong, str) and wrong not in ("", "ok"):
            told.append(f"{one_line(name)}: {one_line(wrong)}")
    return told


def remarks(
    view: View | None, trouble: str | None, columns: int, typed: Callable[[str], str] = str
) -> list[Line]:
    """What is wrong or out of date, the worst first; most of the time nothing.

    `typed` puts the commands in a sentence as they are to be typed here.
    """
    told: list[Run] = [(f"✗ {trouble}", "bad")] if trouble else []
    if view is not None and view["state"] != "down":
        health = view.get("health") or {}
        told += [(f"✗ {wrong}", "bad") for wrong in health.values() if _said(wrong)]
        told += [(f"✗ {wrong}", "bad") for wrong in unwell(health)]
        if view["state"] == "paused":
            text = "too many restarts: nothing is started again; `crew up` goes on"
            told.append((f"! {text}", "bad"))
        if view.get("edited"):
            files = ", ".join(str(file) for file in view["edited"])
            told.append((f"! edited since `crew up`: {files}; `crew up` applies it", "warn"))
        if missed := view.get("missed_events"):
            told.append((f"! {missed} change(s) were noticed late, by the audit", "warn"))
    return [
        ((line, look),)
        for text, look in told
        for line in wrap(typed(one_line(text)), columns, REMARK)
    ]


def _said(wrong: object) -> bool:
    return isinstance(wrong, str) and bool(wrong)


def footer(groups: list[tuple[str, str]], columns: int) -> tuple[Line, list[tuple[int, int]]]:
    """Keys and what they do, as many as there is room for; and where each begins and ends."""
    runs: list[Run] = []
    places: list[tuple[int, int]] = []
    at = 0
    for key, what in groups:
        size = len(key) + 1 + len(what)
        gap = 2 if places else 0
        if at + gap + size > columns:
            break
        runs += [(" " * gap, ""), (key, "key"), (f" {what}", "dim")]
        places.append((at + gap, at + gap + size))
        at += gap + size
    return tuple(runs), places
