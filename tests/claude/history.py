"""What a request's messages hold: the prompts, and what was done since the newest. Pure.

The CLI sends one user message for what a person typed, what tools gave back, and what it adds of
its own; so prompts are told from the rest by their text, block by block.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>\s*", re.DOTALL)
# What the CLI says of itself in a user's turn. Nobody wrote it, and no marker in it counts.
_NOTICE = re.compile(
    r"\s*(<(command-|local-command|ide_|bash-|task-notification)|\[Request interrupted"
    r"|CRITICAL: Respond with TEXT ONLY|This session is being continued from a previous)"
)
# A prompt that was queued while a tool ran comes with the tool's result, framed.
_QUEUED = re.compile(
    r"(?:<system-reminder>\s*)?The user sent a new message while you were working:\n(.*?)"
    r"\n\nThis is how Claude Code surfaces messages.*",
    re.DOTALL,
)
# Turns that begin without a prompt: something in the background has ended, or the conversation
# is to be summed up.
_OTHER_TURN = re.compile(
    r"\s*(?:<system-reminder>\s*\[SYSTEM NOTIFICATION.*)?"
    r"(?:<task-notification>|CRITICAL: Respond with TEXT ONLY)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Newest:
    """The prompt that a request is about."""

    prompt: str  # "" for a turn that no prompt began
    number: int  # of the prompts in this history
    called: int  # tools called since


def blocks(message: Message) -> list[dict[str, Any]]:
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    return "\n".join(block.get("text", "") for block in blocks({"content": content}))


def prompt_in(text: str) -> str:
    """The prompt in one text block of a user's turn; empty if it holds none."""
    queued = _QUEUED.fullmatch(text)
    if queued:
        return queued[1].rstrip("\n")
    rest = _REMINDER.sub("", text)
    if not rest.strip() or _NOTICE.match(rest):
        return ""
    return rest.rstrip("\n")


def _texts(messages: list[Message]) -> Iterator[tuple[int, str]]:
    """Every text in a user's turn, with the place of its message."""
    for at, message in enumerate(messages):
        if message.get("role") == "user":
            for block in blocks(message):
                if block.get("type") == "text":
                    yield at, block["text"]


def prompts(messages: list[Message]) -> tuple[str, ...]:
    return tuple(prompt for _, text in _texts(messages) if (prompt := prompt_in(text)))


def newest(messages: list[Message]) -> Newest:
    at, prompt, number = -1, "", 0
    for place, text in _texts(messages):
        found = prompt_in(text)
        # Such a notice in the middle of a turn comes with a tool's result, and begins none.
        if found or (_OTHER_TURN.match(text) and not _has_result(messages[place])):
            at, prompt, number = place, found, number + 1
    called = sum(
        block.get("type") == "tool_use"
        for message in messages[at + 1 :]
        if message.get("role") == "assistant"
        for block in blocks(message)
    )
    return Newest(prompt, number, called)


def _has_result(message: Message) -> bool:
    return any(block.get("type") == "tool_result" for block in blocks(message))


def results(messages: list[Message]) -> tuple[str, ...]:
    """What the tools gave back, as text, oldest first."""
    found = []
    for message in messages:
        for block in blocks(message):
            if block.get("type") == "tool_result":
                found.append(text_of(block.get("content")))
    return tuple(found)
