"""Who needs a person, with what they ask and which answers there are. Pure."""

from dataclasses import dataclass
from typing import Any

from orchestrator.core.wording import View, asks, due
from orchestrator.dashboard.lines import Line, Look, fit, line_width, one_line, wrap
from orchestrator.dashboard.model import LOOKS

# Lines that what is asked may take when it is the one in hand: a command is to be read whole
# before it is allowed.
LINES = 8
UNDELIVERED = ("unconfirmed", "abandoned")
# What a person can do something about comes first.
ORDER = [LOOKS[status][0] for status in ("blocked", "failed", "lost", "limited")]


@dataclass(frozen=True)
class Choice:
    """One answer: `press` is the key for it here, `send` what the supervisor is told."""

    press: str
    send: str
    label: str


@dataclass(frozen=True)
class Need:
    """One thing for a person. `key` tells it from others while it lasts."""

    key: str
    agent: str
    glyph: str
    look: Look
    headline: str
    text: str = ""
    choices: tuple[Choice, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class NeedLine:
    """A line of the panel: which need it is about, and the answer that it is, if it is one."""

    need: Need
    line: Line
    choice: Choice | None = None


def choices(ask: View | None) -> tuple[Choice, ...]:
    """The answers to `ask`. Without options of its own, a permission is a yes or a no."""
    if ask is None:
        return ()
    options = ask.get("options") or ()
    if not options and ask.get("kind") == "permission":
        return (Choice("y", "yes", "yes"), Choice("n", "no", "no"))
    made = []
    for number, option in enumerate(options, 1):
        key, label = str(option.get("key") or ""), str(option.get("label") or "")
        press = key if len(key) == 1 and key.isalnum() else str(number)
        made.append(Choice(press, key or label, one_line(label)))
    return tuple(made)


def choice_of(ask: View | None, pressed: str) -> str | None:
    """What the supervisor is told when `pressed` is: a digit, `y` or `n`. None: no such answer."""
    found = next((one.send for one in choices(ask) if one.press == pressed), None)
    if found is None and ask is not None:
        return {"y": "yes", "n": "no"}.get(pressed)
    return found


def binding(ask: View) -> dict[str, Any]:
    """What binds an answer to this ask: if something else is asked by now, it is refused."""
    return {"asked": ask["text"], "hook": ask.get("hook")}


def needs(view: View | None, now: float) -> list[Need]:
    """Everything that waits for a person. Nothing does in a session that is down."""
    if view is None or view["state"] == "down":
        return []
    found = [need for agent in view["agents"] if (need := _of_agent(agent, now))]
    found += [need for one in view.get("messages") or () if (need := _of_message(one))]
    return sorted(found, key=lambda need: ORDER.index(need.glyph))


def _of_agent(agent: View, now: float) -> Need | None:
    name, status = str(agent["name"]), agent["status"]
    glyph, look = LOOKS.get(status, ("!", "warn"))
    detail = one_line(agent.get("detail"))
    match status:
        case "blocked":
            ask = agent.get("ask") or {"kind": "dialog", "text": ""}
            answers = choices(agent.get("ask"))
            hint = "" if answers else "enter goes to its window, where it is answered"
            if ask["kind"] == "question":
                hint = "t answers in your own words"
            if ask.get("answering"):
                hint = "the answer is on its way"
            return Need(
                name, name, glyph, look, asks(ask, one_line), str(ask["text"]), answers, hint
            )
        case "failed":
            return Need(name, name, glyph, look, f"failed: {detail or 'no reason known'}",
                        hint="R starts it again, enter goes to its window")  # fmt: skip
        case "limited":
            return Need(name, name, glyph, look, "; ".join(["is limited", *due(agent, now)]))
    return None


def _of_message(message: View) -> Need | None:
    if message["state"] not in UNDELIVERED:
        return None
    number, to, detail = message["number"], str(message["to"]), one_line(message.get("detail"))
    why = f": {detail}" if detail else ""
    headline = f"message {number} is {message['state']}{why}"
    hint = "enter goes to its window; send it again only if it was not taken"
    return Need(f"message:{number}", to, "!", "warn", headline, str(message["text"]), hint=hint)


def need_lines(found: list[Need], chosen: str | None, columns: int) -> list[NeedLine]:
    """The panel: a line for each need; the one of `chosen` (its key) with all that it asks."""
    lines: list[NeedLine] = []
    for need in found:
        lines.append(NeedLine(need, _headline(need, columns)))
        if need.key != chosen:
            continue
        room = columns - 4
        if "\n" in need.text or need.key.startswith("message:") or _cut(need, columns):
            for text in wrap(need.text, room, LINES):
                lines.append(NeedLine(need, (("    ", ""), (text, ""))))
        for choice in need.choices:
            line: Line = (("    ", ""), (choice.press, "key"), (f"  {choice.label}", ""))
            lines.append(NeedLine(need, fit(line, columns), choice))
        if need.hint:
            lines.append(NeedLine(need, fit((("    ", ""), (need.hint, "dim")), columns)))
    return lines


def _headline(need: Need, columns: int) -> Line:
    runs: Line = (
        ("  ", ""),
        (f"{need.glyph} ", need.look),
        (one_line(need.agent), "strong"),
        (f" {need.headline}", need.look),
    )
    return fit(runs, columns)


def _cut(need: Need, columns: int) -> bool:
    """Whether the headline does not show the whole of what is asked."""
    return line_width(_headline(need, 1 << 16)) > columns
