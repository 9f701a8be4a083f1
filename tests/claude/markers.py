"""The grammar in which a prompt says what it is answered with. Pure.

    [[say: TEXT]]              answer with this text; several are lines of one answer
    [[text N words]]           answer with N words of filler
    [[hold NAME]]              wait here until the test releases NAME
    [[sleep S]]                wait S seconds here
    [[tool NAME: ARGUMENT]]    call a tool; the argument is its main parameter
    [[tool NAME {JSON}]]       call a tool with this input
    [[ask: TEXT|A|B]]          call AskUserQuestion with these options (none: Yes and No)

These are steps, done in the order in which they stand. A tool call ends the answer, and what
stands behind it is the next one, to the tool's result; `[[parallel]]` puts all calls into one
answer. The last answer says `ok: ` and the prompt's first 80 characters if it has no text.
The rest holds for each answer to the prompt, wherever it stands:

    [[slow S]]                 spread an answer's text over S seconds
    [[think N]]                think N words first
    [[usage IN OUT [CACHE_READ [CACHE_WRITE [CACHE_WRITE_1H]]]]]     tokens to report
    [[stop REASON]]            how the last answer ended
    [[error CODE]]             refuse with this HTTP status
    [[retry-after S]]          ... and this header
    [[midfail]]                drop the connection in the middle of the answer
    [[stall]]                  fall silent there, until the peer leaves
    [[sseerror TYPE]]          an error event there

Those five take ` xN` at their end: only the first N answers to the prompt fail. A marker's text
may hold markers, for whoever it reaches: `[[tool Bash: crew send worker-1 '[[say: hi]]']]`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

# The parameter that a bare argument fills, and what else the tool's input must have.
_MAIN = {
    "Bash": "command",
    "Edit": "file_path",
    "Glob": "pattern",
    "Grep": "pattern",
    "Read": "file_path",
    "Skill": "skill",
    "ToolSearch": "query",
    "WebFetch": "url",
    "WebSearch": "query",
    "Write": "file_path",
    "Agent": "prompt",
}
_BESIDE: dict[str, dict[str, Any]] = {
    "Agent": {"description": "a scripted agent", "subagent_type": "general-purpose"},
    "Bash": {"description": "Run a scripted command"},
    "WebFetch": {"prompt": "summarise"},
    "Write": {"content": "a scripted line\n"},
}
_TOOL = re.compile(r"([\w.-]+)\s*(:?)\s*(.*)", re.DOTALL)
_TIMES = re.compile(r"(.*?)(?:\s*\bx(\d+))?", re.DOTALL)
_FAULTS = {"error", "midfail", "stall", "sseerror"}


class BadMarker(ValueError):
    """A marker that means nothing: the test that wrote it is wrong."""


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Hold:
    name: str


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    tool: str
    input: dict[str, Any]


Step = Say | Hold | Sleep | Call


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as an answer reports them; `cache_write_1h` is a part of `cache_write`."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.cache_write_1h + other.cache_write_1h,
        )


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    detail: str
    times: int | None  # None: always


@dataclass(frozen=True, slots=True)
class Script:
    """What a prompt's markers ask for."""

    steps: tuple[Step, ...] = ()
    plain: str = ""
    parallel: bool = False
    slow: float = 0.0
    think: int = 0
    usage: Usage | None = None
    stop: str = "end_turn"
    fault: Fault | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, called: int) -> tuple[Step, ...]:
        """The steps of the next answer, after `called` tool calls."""
        calls = [n for n, step in enumerate(self.steps) if isinstance(step, Call)]
        if self.parallel and calls:
            if not called:
                return (*self.steps[: calls[0]], *(self.steps[n] for n in calls))
            rest = self.steps[calls[0] :]
            return self._with_text(tuple(step for step in rest if not isinstance(step, Call)))
        bounds = [-1, *calls, len(self.steps)]
        number = min(called, len(calls))
        steps = self.steps[bounds[number] + 1 : bounds[number + 1] + 1]
        return steps if number < len(calls) else self._with_text(steps)

    def _with_text(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if any(isinstance(step, Say) for step in steps):
            return steps
        return (*steps, Say(f"ok: {self.plain[:80]}" if self.plain else "ok"))


def split(prompt: str) -> tuple[list[str], str]:
    """The outermost markers of a prompt, and the words around them."""
    found, plain, start, depth, at = [], "", 0, 0, 0
    while at < len(prompt):
        pair = prompt[at : at + 2]
        if pair == "[[":
            depth += 1
            if depth == 1:
                plain += prompt[start:at]
                start = at
        elif pair == "]]" and depth:
            depth -= 1
            if not depth:
                found.append(prompt[start + 2 : at].strip())
                start = at + 2
        at += 2 if pair in ("[[", "]]") else 1
    return found, " ".join((plain + prompt[start:]).split())


def parse(prompt: str) -> Script:
    found, plain = split(prompt)
    steps: list[Step] = []
    rest: dict[str, Any] = {"headers": {}}
    for marker in found:
        try:
            step = _step(marker)
            if step is None:
                _apply(marker, rest)
            else:
                steps.append(step)
        except (ValueError, IndexError, TypeError) as error:
            raise BadMarker(f"[[{marker}]]: {error}") from error
    return Script(tuple(steps), plain, **rest)


def _step(marker: str) -> Step | None:
    word, _, rest = marker.partition(" ")
    if marker.startswith("say:"):
        return Say(marker.removeprefix("say:").strip())
    if marker.startswith("ask:"):
        return _ask(marker.removeprefix("ask:"))
    match word:
        case "text":
            return Say(" ".join(f"word{n}" for n in range(int(rest.split()[0]))))
        case "hold":
            return Hold(rest.strip())
        case "sleep":
            return Sleep(float(rest))
        case "tool":
            return _tool(rest.strip())
    return None


def _tool(text: str) -> Call:
    match = _TOOL.fullmatch(text)
    if match is None:
        raise ValueError("names no tool")
    name, colon, argument = match.groups()
    if not colon and argument.startswith("{"):
        return Call(name, json.loads(argument))
    return Call(name, {**_BESIDE.get(name, {}), _MAIN.get(name, "input"): argument})


def _ask(text: str) -> Call:
    question, *labels = (part.strip() for part in text.split("|"))
    options = [{"label": each, "description": f"choose {each}"} for each in labels or ("Yes", "No")]
    asked = {"question": question, "header": "Choice", "multiSelect": False, "options": options}
    return Call("AskUserQuestion", {"questions": [asked]})


def _apply(marker: str, rest: dict[str, Any]) -> None:
    word, _, value = marker.partition(" ")
    value = value.strip()
    if word in _FAULTS:
        detail, times = _TIMES.fullmatch(value).groups()  # type: ignore[union-attr]  # matches all
        if word == "error":
            int(detail)
        rest["fault"] = Fault(word, detail, int(times) if times else None)
        return
    match word:
        case "parallel":
            rest["parallel"] = True
        case "slow":
            rest["slow"] = float(value)
        case "think":
            rest["think"] = int(value.split()[0])
        case "usage":
            rest["usage"] = Usage(*map(int, value.split()))
        case "stop":
            rest["stop"] = value
        case "retry-after":
            rest["headers"]["retry-after"] = value
        case _:
            raise ValueError("no such marker")
