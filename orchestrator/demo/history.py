"""What a conversation's records say: prompts, the turn that was cut, what waits. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .files import Record

INTERRUPTED = "[Request interrupted by user]"
PUT_BACK = "put_back"
CONTINUE = "continue"
_FRAME = re.compile(r"^\[crew message \d+ from ([A-Za-z0-9][A-Za-z0-9_-]*)\]$", re.MULTILINE)


class Part(NamedTuple):
    """One message of a prompt; `sender` is the agent that it is from, None for a person."""

    sender: str | None
    text: str


class Cut(NamedTuple):
    """A turn that did not end: its prompt's place among the records, and the steps begun in it."""

    place: int
    prompt: str
    begun: int


def parts(prompt: str) -> list[Part]:
    """The messages that a prompt is made of: several may have been merged into one."""
    pieces = _FRAME.split(prompt)
    found = [Part(None, pieces[0].strip())] if pieces[0].strip() or len(pieces) == 1 else []
    for place in range(1, len(pieces), 2):
        found.append(Part(pieces[place], pieces[place + 1].strip()))
    return found


def merged(prompts: Sequence[str]) -> str:
    """Several prompts as one message."""
    return "\n".join(prompts)


def is_continue(prompt: str) -> bool:
    return [part.text.casefold() for part in parts(prompt)] == [CONTINUE]


def prompt_of(record: Record) -> str | None:
    """The text, if the record is a prompt."""
    if record.get("type") != "user":
        return None
    content = _content(record)
    return content if isinstance(content, str) else None


def _content(record: Record) -> Any:
    message = record.get("message")
    return message.get("content") if isinstance(message, dict) else None


def blocks(record: Record, kind: str) -> list[dict[str, Any]]:
    """The blocks of that type ("text", "tool_use", "tool_result") in the record's message."""
    content = _content(record)
    found = content if isinstance(content, list) else []
    return [block for block in found if isinstance(block, dict) and block.get("type") == kind]


def _ends_turn(record: Record) -> bool:
    if record.get("type") == "system":
        return record.get("subtype") in ("turn_duration", PUT_BACK)
    return record.get("type") == "user" and any(
        block.get("text") == INTERRUPTED for block in blocks(record, "text")
    )


def cut_turn(records: Sequence[Record]) -> Cut | None:
    """The last turn, if it did not end; a cut `continue` stands for the turn that it took up."""
    begun = 0
    for place in range(len(records) - 1, -1, -1):
        record = records[place]
        if _ends_turn(record):
            return None
        if record.get("subtype") == "step" and isinstance(record.get("step"), int):
            begun = max(begun, record["step"])
        prompt = prompt_of(record)
        if prompt is not None and not is_continue(prompt):
            return Cut(place, prompt, begun)
    return None


def queued(records: Sequence[Record]) -> list[str]:
    """Prompts that were taken while a turn ran, and have not been submitted yet."""
    waiting: list[str] = []
    for record in records:
        if waiting and prompt_of(record) == merged(waiting):
            # Submitted; the crash came before the line that says so.
            waiting.clear()
        match record:
            case {"type": "queue-operation", "operation": "enqueue", "content": str(text)}:
                waiting.append(text)
            case {"type": "queue-operation", "operation": "dequeue"}:
                waiting.clear()
    return waiting


def heard(records: Sequence[Record], *, waiting: bool = True) -> Iterator[str]:
    """Everything that was said to the agent, in order; `waiting`: had its turn or not."""
    for record in records:
        prompt = prompt_of(record)
        if prompt is not None:
            yield prompt
    if waiting:
        yield from queued(records)


def exchanges(records: Sequence[Record], count: int) -> list[tuple[str, list[str]]]:
    """The last `count` prompts, each with the texts that answered it."""
    found: list[tuple[str, list[str]]] = []
    for record in records:
        prompt = prompt_of(record)
        if prompt is not None:
            found.append((prompt, []))
        elif found and record.get("type") == "assistant":
            found[-1][1].extend(
                block["text"]
                for block in blocks(record, "text")
                if isinstance(block.get("text"), str)
            )
    return found[-count:]
