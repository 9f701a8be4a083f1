"""What a prompt makes the agent do: the demo job, or a script of markers, for tests.

    [[say: TEXT]]              says it
    [[tool Bash: COMMAND]]     runs it (also [[tool Read: PATH]])
    [[ask-tool Bash: COMMAND]] asks for permission, then runs it
    [[ask: QUESTION|A|B]]      asks a question, and says the answer
    [[sleep S]]                thinks for S seconds
    [[limit S]]                is kept waiting by a rate limit for S seconds
    [[flood KB]]               prints that much
    [[exit CODE]]              ends
    [[crash SIGNAL]]           ends itself with a signal (9, KILL, SEGV; STOP hangs)

They are done in order; other text between them means nothing. A tool that another agent's message
asks for always needs permission: what agents say to each other may hold anything.
"""

import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import history, job, messages
from .children import Steps
from .session import Interrupted, Result, Session

HEARD = 60
FLOOD_CHUNK = 16
FLOOD_COLUMNS = 64
_MARKER = re.compile(
    r"\[\[(say|tool|ask-tool|ask|sleep|limit|flood|exit|crash)\b(.*?)\]\]", re.DOTALL
)
_NUMBER = re.compile(r"\s+(?P<text>\d+(?:\.\d+)?)\s*")
_TOOL = re.compile(r"\s+(?P<name>Bash|Read):\s*(?P<text>.*?)\s*", re.DOTALL)
_TEXT = re.compile(r":\s*(?P<text>.*?)\s*", re.DOTALL)
_SIGNALS = {str(int(s)): s for s in signal.Signals} | {s.name[3:]: s for s in signal.Signals}
_SIGNAL = re.compile(rf"\s+(?:SIG)?(?P<text>{'|'.join(_SIGNALS)})\s*")
_SHAPES: Mapping[str, re.Pattern[str]] = {
    "say": _TEXT,
    "tool": _TOOL,
    "ask-tool": _TOOL,
    "ask": _TEXT,
    "sleep": _NUMBER,
    "limit": _NUMBER,
    "flood": _NUMBER,
    "exit": _NUMBER,
    "crash": _SIGNAL,
}


class Step(NamedTuple):
    """One marker: what to do, with what, and for a tool its name."""

    verb: str
    text: str
    tool: str = ""


def parse(text: str) -> list[Step]:
    """The markers of a text; what is not of a marker's shape is plain text."""
    steps = []
    for marker in _MARKER.finditer(text):
        found = _SHAPES[marker[1]].fullmatch(marker[2])
        if found is not None:
            steps.append(Step(marker[1], found["text"], found.groupdict().get("name", "")))
    return steps


def perform(session: Session, prompt: str, begun: int = 0) -> Steps[None]:
    """Do what the prompt says. `begun` steps of it were begun in a turn that was cut."""
    parts = history.parts(prompt)
    if any(map(messages.is_report, parts)):
        yield from job.hear(session)
    number = 0
    for part in parts:
        task = messages.task_of(part)
        steps = parse(part.text)
        if messages.is_report(part):
            continue
        if task is not None:
            yield from job.work(session, *task)
        elif messages.is_order(part):
            yield from job.lead(session, part.text)
        elif steps:
            for step in steps:
                number += 1
                if number > begun or (number == begun and step.verb not in ("exit", "crash")):
                    session.transcript.append("system", subtype="step", step=number)
                    yield from _step(session, step, trusted=part.sender is None)
        else:
            session.say(f"heard: {part.text[:HEARD]}")


def go_on(session: Session, cut: history.Cut | None) -> Steps[None]:
    """Go on with the turn that was cut: what it had done is not done again."""
    if cut is None:
        session.say("There is nothing to go on with.")
        return
    session.place = cut.place
    yield from perform(session, cut.prompt, cut.begun)


def _step(session: Session, step: Step, *, trusted: bool) -> Steps[None]:
    match step.verb:
        case "say":
            session.say(step.text)
        case "tool":
            yield from _tool(session, step, ask=not trusted)
        case "ask-tool":
            yield from _tool(session, step, ask=True)
        case "ask":
            question, *options = step.text.split("|")
            labels = tuple(options) or ("Yes", "No")
            session.say((yield from session.question(question, "Choice", labels)))
        case "sleep":
            yield from session.pause(float(step.text))
        case "limit":
            yield from session.wait_for_limit(float(step.text))
        case "flood":
            yield from _flood(session, float(step.text))
        case "exit":
            sys.exit(int(float(step.text)))
        case "crash":
            _crash(step.text)


def _tool(session: Session, step: Step, *, ask: bool) -> Steps[None]:
    def bash() -> Steps[Result]:
        return session.run(["sh", "-c", step.text])

    def read() -> Steps[Result]:
        yield 0.0
        try:
            return Result(Path(session.cwd, step.text).read_text("utf-8", "replace"))
        except OSError as error:
            return Result(f"{step.text}: {error.strerror}", error=True)

    work, key = (bash, "command") if step.tool == "Bash" else (read, "file_path")
    tool_input = {key: step.text, "description": "Run a scripted command"}
    result = yield from session.tool(step.tool, tool_input, work, shown=step.text, ask=ask)
    if result.refused and not result.told:
        # "No" ends the turn, as it does in the agent CLI that this one is modelled on. A hook's no
        # is told to the agent, which goes on.
        raise Interrupted


def _flood(session: Session, kilobytes: float) -> Steps[None]:
    """Print, with a turn for keys and screen after each chunk."""
    session.view.doing = "Printing"
    left = int(kilobytes * 1024)
    number = 0
    while left > 0:
        lines = []
        for _ in range(FLOOD_CHUNK * 1024 // FLOOD_COLUMNS):
            number += 1
            lines.append(f"{number:08d} ".ljust(FLOOD_COLUMNS - 1, "=")[: max(0, left - 1)])
            left -= FLOOD_COLUMNS
            if left <= 0:
                break
        session.view.print("\n".join(lines))
        yield 0.0


def _crash(name: str) -> None:
    number = _SIGNALS[name]
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
