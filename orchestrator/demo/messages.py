"""What the boss and the workers of the demo job say to each other, and what has been said. Pure.

a person          "Count the lines of code below this folder, together with worker-1 and ..."
boss -> worker    "Count these and report to boss: [names]"
worker -> boss    "Report: {...}"
"""

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from . import history
from .counting import Count, Counts
from .files import Record
from .history import Part

_ORDER = re.compile(r"count the lines of code", re.IGNORECASE)
_HELPERS = re.compile(r"together with ([\w ,-]+)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_TASK = re.compile(r"Count these and report to ([A-Za-z0-9][A-Za-z0-9_-]{0,31}): (\[.*\])")
_REPORT = re.compile(r"Report: (\{.*\})")
_SEND = re.compile(r"crew send ([A-Za-z0-9][A-Za-z0-9_-]{0,31}) -")
HELPERS = ("worker-1", "worker-2")


class Task(NamedTuple):
    """What a worker was given; `sent`: `crew` has taken the message."""

    names: list[str]
    sent: bool


class Report(NamedTuple):
    """What a worker answered. `counts` None: a person did not let it read."""

    counts: Counts | None
    unreadable: int = 0


def is_order(part: Part) -> bool:
    return _ORDER.search(part.text) is not None


def is_report(part: Part) -> bool:
    return part.sender is not None and _REPORT.fullmatch(part.text) is not None


def task_of(part: Part) -> tuple[str, list[str]] | None:
    """Whom to report to and what is to be counted, if the message is a task."""
    task = _task(part.text)
    # Who sent it wants to know, whatever name the text uses.
    return (part.sender or task[0], task[1]) if task else None


def _task(text: str) -> tuple[str, list[str]] | None:
    match = _TASK.fullmatch(text)
    names = _parse(match[2]) if match else None
    if match is None or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return None
    return match[1], names


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def task_text(names: list[str]) -> str:
    return f"Count these and report to boss: {json.dumps(names)}"


def _mark(names: Sequence[str]) -> str:
    """Tells the report on one task from that on another."""
    return f"{zlib.crc32(json.dumps(names).encode()):08x}"


def helpers(order: str) -> list[str]:
    match = _HELPERS.search(order)
    words = _NAME.findall(match[1]) if match else []
    return list(dict.fromkeys(word for word in words if word != "and")) or list(HELPERS)


def tasks_of(records: Sequence[Record]) -> dict[str, Task]:
    """What was handed out, or tried to be, since the last order."""
    uses: dict[str, tuple[str, list[str]]] = {}
    tasks: dict[str, Task] = {}
    for record in records[_last_order(records) :]:
        for block in history.blocks(record, "tool_use"):
            if found := _handed(block.get("input")):
                uses[str(block.get("id"))] = found
                tasks.setdefault(found[0], Task(found[1], sent=False))
        for block in history.blocks(record, "tool_result"):
            use = uses.get(str(block.get("tool_use_id")))
            if use is not None and not block.get("is_error"):
                tasks[use[0]] = Task(use[1], sent=True)
    return tasks


def _handed(tool_input: object) -> tuple[str, list[str]] | None:
    if not isinstance(tool_input, dict):
        return None
    command = _SEND.fullmatch(str(tool_input.get("command")))
    task = _task(str(tool_input.get("stdin")))
    return (command[1], task[1]) if command and task else None


def _last_order(records: Sequence[Record]) -> int:
    for place in range(len(records) - 1, -1, -1):
        prompt = history.prompt_of(records[place])
        if prompt is not None and any(is_order(part) for part in history.parts(prompt)):
            return place
    return len(records)


def reports_of(
    records: Sequence[Record], tasks: dict[str, Task], *, waiting: bool = True
) -> dict[str, Report]:
    """What each worker reported on the task it was given; the last report counts.

    `waiting`: also what has been taken while a turn ran and has had no turn yet.
    """
    found: dict[str, Report] = {}
    for prompt in history.heard(records[_last_order(records) :], waiting=waiting):
        for part in history.parts(prompt):
            match = _REPORT.fullmatch(part.text)
            said = _parse(match[1]) if match else None
            task = tasks.get(part.sender or "")
            if task and isinstance(said, dict) and said.get("task") == _mark(task.names):
                found[part.sender or ""] = _report(said)
    return found


def _report(said: dict[str, Any]) -> Report:
    languages = said.get("languages")
    if said.get("refused") or not isinstance(languages, dict):
        return Report(None)
    counts: Counts = {}
    for language, pair in languages.items():
        match pair:
            case [int(files), int(lines)]:
                counts[str(language)] = Count(files, lines)
    unreadable = said.get("unreadable")
    return Report(counts, unreadable if isinstance(unreadable, int) else 0)


def is_below(name: str) -> bool:
    """Whether a name that came in a message is below the directory: no message leads out of it."""
    path = PurePath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def report_text(names: Sequence[str], counts: Counts | None, unreadable: int) -> str:
    """A worker's report on a task; `counts` None: it was not allowed to read."""
    report: dict[str, Any] = {"task": _mark(names)}
    if counts is None:
        report["refused"] = True
    else:
        report |= {"languages": counts, "unreadable": unreadable}
    return f"Report: {json.dumps(report)}"
