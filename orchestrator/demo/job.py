"""The demo job: a boss has the lines of code below its directory counted by its workers.

What has been handed out and heard is read from the conversation itself, so the job goes on after a
crash at any place, and a message that comes twice changes nothing.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from . import counting
from .children import Steps
from .counting import Count, Counts
from .messages import Report, Task, helpers, is_below, report_text, reports_of, task_text, tasks_of
from .session import Result, Session

T = TypeVar("T")

# Seconds, all scaled by the pace.
LOOK, HAND_OUT, BEFORE_READING, SUM_UP, RETRY = 1.5, 1.0, 1.2, 1.5, 1.0
COUNT_MIN, COUNT_MAX, COUNT_PER_FILE = 3.0, 8.0, 0.15
# Seconds of work after which keys and the screen get their turn.
SLICE = 0.02
ATTEMPTS = 3


# -- the boss --------------------------------------------------------------------------------------


def lead(session: Session, order: str) -> Steps[None]:
    """Hand the directory out to the workers. What an earlier, cut turn handed out stays so."""
    yield from session.think(LOOK)
    done = {name: task for name, task in tasks_of(session.transcript.records).items() if task.sent}
    taken = {name for task in done.values() for name in task.names}
    weights = yield from _weigh(session)
    workers = [name for name in helpers(order) if name not in done]
    rest = {name: weight for name, weight in weights.items() if name not in taken}
    if not weights:
        session.say("There is nothing to count in this folder.")
        return
    for worker, names in zip(workers, counting.split(rest, len(workers)), strict=True):
        if names:
            yield from session.think(HAND_OUT, f"Handing {len(names)} entries to {worker}")
            result = yield from _send(session, worker, task_text(names))
            if not result.error:
                done[worker] = Task(names, sent=True)
    if done:
        session.say(f"I wait for {_and(sorted(done))} to report.")
    else:
        session.say("None of the workers could be reached.")


def _weigh(session: Session) -> Steps[dict[str, int]]:
    """The entries of the directory that hold something, with their numbers of files."""
    root = Path(session.cwd)
    weights: dict[str, int] = {}

    def work() -> Steps[Result]:
        try:
            names = counting.entries(root)
        except OSError as error:
            return Result(f"{root}: {error.strerror}", error=True)
        for name in names:
            session.view.doing = f"Looking at {name}"
            found = yield from _gathered(counting.files(root / name))
            if found:
                weights[name] = len(found)
        return Result("\n".join(f"{name}  {_files(count)}" for name, count in weights.items()))

    yield from session.tool("LS", {"path": str(root)}, work, shown=str(root))
    return weights


def hear(session: Session) -> Steps[None]:
    """Take in a report: say who is missing, or draw the table."""
    records = session.transcript.records
    tasks = {name: task for name, task in tasks_of(records).items() if task.names}
    now = reports_of(records, tasks)
    before = reports_of(records[: session.place], tasks, waiting=False)
    if not now:
        session.say("Thank you, but nothing was asked.")
        return
    missing = [name for name, task in tasks.items() if task.sent and name not in now]
    if now == before and not missing:
        session.say("That was reported already: nothing changes.")
    elif missing:
        session.say(f"{_and(sorted(now))} reported. I wait for {_and(missing)}.")
    else:
        yield from session.think(SUM_UP, "Adding up")
        session.say(_summary(tasks, now))


def _summary(tasks: dict[str, Task], reports: dict[str, Report]) -> str:
    counts: Counts = {}
    for report in reports.values():
        for language, count in (report.counts or {}).items():
            counting.add(counts, language, count)
    lines = [counting.table(counts)]
    for name, task in tasks.items():
        what = ", ".join(task.names)
        match reports.get(name):
            case None:
                lines.append(f"Not counted, as {name} could not be reached: {what}")
            case Report(counts=None):
                lines.append(f"Not counted, as {name} was refused: {what}")
            case Report(unreadable=number) if number:
                lines.append(f"{number} files could not be read by {name}.")
    return "\n".join(lines)


# -- a worker --------------------------------------------------------------------------------------


def work(session: Session, boss: str, names: list[str]) -> Steps[None]:
    """Count what the boss named, and report. A person may have to allow the reading."""
    yield from session.think(BEFORE_READING)
    root = Path(session.cwd)
    here = [root / name for name in names if is_below(name)]
    found = yield from _gathered(path for entry in here for path in counting.files(entry))
    counts: Counts = {}
    unreadable: list[Path] = []

    def count() -> Steps[Result]:
        yield from _count(session, root, found, counts, unreadable)
        lines = sum(count.lines for count in counts.values())
        return Result(f"{_files(len(found) - len(unreadable))}, {lines:,} lines")

    shown = f"Read {_files(len(found))} below {root}: {', '.join(names)}"
    tool_input = {"file_path": str(root), "description": shown}
    result = yield from session.tool("Read", tool_input, count, shown=shown, ask=True)
    counted = None if result.refused else counts
    sent = yield from _send(session, boss, report_text(names, counted, len(unreadable)))
    if sent.error:
        session.say(f"{boss} could not be reached.")
    elif result.refused:
        session.say(f"I was not allowed to read, and have told {boss}.")
    else:
        session.say(f"I counted {result.text} and told {boss}.")


def _count(
    session: Session, root: Path, found: list[Path], counts: Counts, unreadable: list[Path]
) -> Steps[None]:
    """Count the files, spread over a time that a person can watch."""
    spread = min(COUNT_MAX, max(COUNT_MIN, COUNT_PER_FILE * len(found))) * session.pace
    start = time.monotonic()
    for number, path in enumerate(found, 1):
        session.view.doing = f"Counting {path.relative_to(root)}"
        language = counting.language_of(path.name) or ""
        try:
            counting.add(counts, language, Count(1, counting.count_lines(path)))
        except OSError:
            unreadable.append(path)
        end = start + spread * number / len(found)
        yield 0.0
        while time.monotonic() < end:
            yield end


# -- both ------------------------------------------------------------------------------------------


def _send(session: Session, to: str, text: str) -> Steps[Result]:
    """`crew send TO -`, a few times if it must be: who takes the message may be coming back."""

    def work() -> Steps[Result]:
        for attempt in range(1, ATTEMPTS + 1):
            result = yield from session.run(["crew", "send", to, "-"], text.encode())
            if not result.error or attempt == ATTEMPTS:
                break
            yield from session.think(RETRY, f"Trying again to reach {to}")
        return result

    tool_input = {"command": f"crew send {to} -", "stdin": text}
    return session.tool("Bash", tool_input, work, shown=f"crew send {to} -")


def _gathered(items: Iterator[T]) -> Steps[list[T]]:
    """All items, with a turn for the keys and the screen now and then."""
    found: list[T] = []
    due = time.monotonic() + SLICE
    for item in items:
        found.append(item)
        if time.monotonic() >= due:
            yield 0.0
            due = time.monotonic() + SLICE
    return found


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
