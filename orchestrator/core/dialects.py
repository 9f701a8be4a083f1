"""What an agent CLI says in its own words, read into the fields of our events.

Pure, and total: any bytes give a value. A payload that is cut, of a wrong shape or of a wrong type
where the type decides something gives None (or `Malformed`, with the reason); a text of a wrong
type is only left out. Texts are cut here, so nothing behind this module meets a large one.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, assert_never

from orchestrator.core.spec import CliSpec
from orchestrator.core.tokens import NONE, Tokens
from orchestrator.core.turns import TurnLine
from orchestrator.core.untyped import count_of, object_of, objects, parsed, text_of
from orchestrator.core.values import value

Dialect = Literal["claude"]

# Characters. The argument is what a person allows, so what is cut of it must be seen to be cut; a
# prompt is compared with what was typed, so it is kept nearly whole; last words are read by people.
ARGUMENT = 2_000
LABEL = 200
PROMPT = 65_536
WORDS = 2_000
TRANSCRIPT_PROMPT = 2_000
TRANSCRIPT_WORDS = 500
OPTIONS = 20
# Ids and paths: PATH_MAX of Linux.
NAME = 4_096
# Of a conversation; Claude Code's are UUIDs.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Objects tried as the start of a whole record in a line that is none; half a line has a few.
CUT_STARTS = 64
# USD: what nobody ever spends in one conversation.
COST = 1e9
# Of an answer that does not say which; and of what the CLI itself put into the answer's place.
UNKNOWN_MODEL = "unknown"
SYNTHETIC = "<synthetic>"

# Which field of a payload is `reason`, and which is `text` (with its length), by hook.
REASON: Mapping[str, str] = {
    "SessionStart": "source",
    "SessionEnd": "reason",
    "StopFailure": "error",
    "Notification": "notification_type",
    "PreCompact": "trigger",
    "PostCompact": "trigger",
}
# What goes on in the background without the model: its end begins no turn.
SHELL_TASK = "shell"
TEXT: Mapping[str, tuple[str, int]] = {
    "UserPromptSubmit": ("prompt", PROMPT),
    "Stop": ("last_assistant_message", WORDS),
    "StopFailure": ("last_assistant_message", WORDS),
    "SubagentStop": ("last_assistant_message", WORDS),
    "Notification": ("message", WORDS),
    "MessageDisplay": ("delta", WORDS),
}
# The input of a tool that says most, the first that it has.
MAIN = ("command", "file_path", "notebook_path", "pattern", "url", "query", "path", "description")
# User lines that nobody typed as a prompt.
NOT_TYPED = (
    "[Request interrupted by user",
    "<command-name>",
    "<command-message>",
    "<local-command-",
    "<bash-",
    "<task-notification>",
)
# What the CLI puts in by itself after a turn that was cut off.
FILLER = "No response requested."
# What it puts in where a person ended a turn, and why a model ends one by itself.
INTERRUPTED = NOT_TYPED[0]
ENDS = frozenset({"end_turn", "stop_sequence", "max_tokens", "refusal"})


@value
class HookFields:
    """The fields of a `HookReceived` that come from the payload."""

    conversation: str | None = None
    transcript: str | None = None
    tool: str | None = None
    argument: str | None = None
    text: str | None = None
    reason: str | None = None
    question: str | None = None
    options: tuple[str, ...] = ()
    subagent: str | None = None
    background: int = 0


@value
class Malformed:
    """No hook can be read from this, and why: one clause."""

    reason: str


@value
class TranscriptLine:
    """What one line of a transcript holds for us; every field may be missing.

    `at` is the line's own time, wall clock seconds. `queued` is a prompt that the CLI keeps for the
    end of its turn: no part of the conversation yet, and lost with the process. `message` is the
    answer of `model` that `tokens` belong to: an answer of several lines repeats them, growing, on
    each. `failed`: the words are an error that ended the turn.
    """

    uuid: str | None = None
    at: float | None = None
    prompt: str | None = None
    queued: str | None = None
    words: str | None = None
    failed: bool = False
    message: str | None = None
    model: str = UNKNOWN_MODEL
    tokens: Tokens = NONE


@value
class StatusLine:
    """The fields of a `StatusLineSeen` that come from the payload."""

    conversation: str
    model: str | None
    cost_usd: float
    answered: bool
    context_used: int | None
    context_size: int | None
    version: str | None = None


class _WrongTypeError(Exception):
    """A field that decides something is not of its type."""


def dialect_of(cli: CliSpec) -> Dialect:
    """How its hooks and its transcript are read; a definition without hooks names none."""
    return cli.hooks.dialect if cli.hooks else "claude"


def parse_hook(dialect: Dialect, hook: str, data: bytes) -> HookFields | Malformed:
    """The fields of `hook` from the bytes that it got, or why it cannot be one."""
    payload = parsed(data)
    if payload is None:
        return Malformed(reason="is not a JSON object")
    try:
        return _fields(dialect, hook, payload)
    except _WrongTypeError as error:
        return Malformed(reason=str(error))


def read_transcript_line(dialect: Dialect, line: bytes) -> TranscriptLine | None:
    """What a line of the transcript tells, or None if it tells nothing (or is no such line)."""
    match dialect:
        case "claude":
            return _claude_line(line)
        case _:
            assert_never(dialect)


def is_conversation(dialect: Dialect, line: bytes) -> bool:
    """Whether this line of a transcript holds what somebody said: without any, the CLI has no
    conversation to go on with."""
    match dialect:
        case "claude":
            entry = parsed(line)
            return entry is not None and entry.get("type") in ("user", "assistant")
        case _:
            assert_never(dialect)


def read_turn_line(dialect: Dialect, line: bytes) -> TurnLine | None:
    """What a line of the transcript tells of a turn, its texts whole; None if nothing."""
    match dialect:
        case "claude":
            entry = parsed(line) or _after_cut(line)
            return None if entry is None else _claude_turn(entry)
        case _:
            assert_never(dialect)


def parse_status_line(dialect: Dialect, data: bytes) -> StatusLine | Malformed:
    """Read what the CLI gives to the command that draws its status line."""
    payload = parsed(data)
    if payload is None:
        return Malformed(reason="is not a JSON object")
    match dialect:
        case "claude":
            return _claude_status_line(payload)
        case _:
            assert_never(dialect)


def subagents_of(dialect: Dialect, transcript: str) -> str:
    """The directory where the sub-agents of a conversation have their transcripts."""
    match dialect:
        case "claude":
            return transcript.removesuffix(".jsonl") + "/subagents"
        case _:
            assert_never(dialect)


def _fields(dialect: Dialect, hook: str, payload: Mapping[str, Any]) -> HookFields:
    match dialect:
        case "claude":
            return _claude_hook(hook, payload)
        case _:
            assert_never(dialect)


# -- Claude: hooks --------------------------------------------------------------------------------


def _claude_hook(hook: str, payload: Mapping[str, Any]) -> HookFields:
    """What decides a status is checked; what people read is taken as far as it is readable."""
    named = _strict(payload, "hook_event_name", str)
    if named != hook:
        raise _WrongTypeError(f"hook_event_name is {str(named)[:40]!r}, not {hook!r}")
    tasks = _strict(payload, "background_tasks", list)
    tool_input = payload.get("tool_input")
    tool_input = tool_input if isinstance(tool_input, dict) else {}
    question, options = _question(tool_input)
    field, limit = TEXT.get(hook, ("", 0))
    return HookFields(
        conversation=_conversation(payload),
        transcript=text_of(_strict(payload, "transcript_path", str), NAME),
        tool=text_of(_strict(payload, "tool_name", str), NAME),
        argument=_argument(tool_input),
        text=text_of(payload.get(field), limit),
        reason=text_of(payload.get(REASON.get(hook, "")), LABEL),
        question=question,
        options=options,
        subagent=text_of(_strict(payload, "agent_id", str), NAME) or None,
        background=sum(task.get("type") != SHELL_TASK for task in objects(tasks)),
    )


def _conversation(payload: Mapping[str, Any]) -> str | None:
    found = _strict(payload, "session_id", str)
    told = conversation_id(found)
    if found is not None and told is None:
        raise _WrongTypeError(f"session_id is {found[:40]!r}, which is no id")
    return told


def conversation_id(found: object) -> str | None:
    """The id, if it is one. An agent is started again with what it told: it must not be able to
    put there what its CLI takes for an option."""
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _strict(payload: Mapping[str, Any], key: str, kind: type) -> Any:
    """The field, None if it is missing or null; raises if it is of another type."""
    found = payload.get(key)
    if found is not None and not isinstance(found, kind):
        raise _WrongTypeError(f"{key} is of type {type(found).__name__}")
    return found


def _argument(tool_input: Mapping[str, Any]) -> str | None:
    """The main argument of a tool in one line."""
    known = (tool_input.get(key) for key in MAIN)
    # A tool that nobody has heard of: its first text says most.
    for found in (*known, *tool_input.values()):
        # Far more than is kept: blanks are folded after the cut.
        text = text_of(found, 10 * ARGUMENT)
        if text and (line := " ".join(text.split())):
            whole = len(line) <= ARGUMENT and len(str(found)) <= 10 * ARGUMENT
            return line if whole else f"{line[: ARGUMENT - 1]}…"
    return None


def _question(tool_input: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The first question of AskUserQuestion and the labels of its options."""
    first = next(objects(tool_input.get("questions")), {})
    question = text_of(first.get("question"), WORDS)
    if question is None:
        return None, ()
    labels = (text_of(option.get("label"), LABEL) for option in objects(first.get("options")))
    return question, tuple(label for label in labels if label)[:OPTIONS]


# -- Claude: status line --------------------------------------------------------------------------


def _claude_status_line(payload: Mapping[str, Any]) -> StatusLine | Malformed:
    conversation = conversation_id(payload.get("session_id"))
    cost = object_of(payload.get("cost")).get("total_cost_usd")
    cost = None if isinstance(cost, bool) else cost
    if conversation is None or not isinstance(cost, int | float) or not 0 <= cost <= COST:
        return Malformed(reason="has no session_id, or no total_cost_usd in cost")
    context = object_of(payload.get("context_window"))
    usage = context.get("current_usage")
    return StatusLine(
        conversation=conversation,
        model=text_of(object_of(payload.get("model")).get("id"), NAME),
        cost_usd=float(cost),
        # There from the first answer on that this process got.
        answered=bool(object_of(payload.get("prompt_cache")).get("requests")),
        context_used=_given(usage) if isinstance(usage, dict) else None,
        context_size=count_of(context.get("context_window_size")) or None,
        version=text_of(payload.get("version"), LABEL) or None,
    )


def _given(usage: Mapping[str, Any]) -> int:
    """All that the model was given for an answer, which is what the context holds."""
    tokens = _tokens(usage)
    return tokens.input + tokens.cache_write + tokens.cache_read


def _tokens(usage: Mapping[str, Any]) -> Tokens:
    return Tokens(
        input=count_of(usage.get("input_tokens")),
        output=count_of(usage.get("output_tokens")),
        cache_write=count_of(usage.get("cache_creation_input_tokens")),
        cache_read=count_of(usage.get("cache_read_input_tokens")),
    )


# -- Claude: transcript ---------------------------------------------------------------------------


def _claude_line(line: bytes) -> TranscriptLine | None:
    entry = parsed(line) or _after_cut(line)
    if entry is None:
        return None
    found: TranscriptLine | None
    match entry.get("type"):
        case "user":
            found = _claude_user(entry)
        case "queue-operation" if entry.get("operation") == "enqueue":
            found = _prompt(entry, entry.get("content"))
            found = found and replace(found, prompt=None, queued=found.prompt)
        case "attachment":
            found = _joining(entry)
        case "assistant":
            found = _claude_assistant(entry)
        case _:
            found = None
    return found


def _after_cut(line: bytes) -> dict[str, Any] | None:
    """The whole record at the end of a line: the file was cut in mid-line and written on."""
    start = 0
    for _ in range(CUT_STARTS):
        start = line.find(b'{"', start + 1)
        if start < 0:
            break
        # An object inside of the record fails on the braces behind it.
        if found := parsed(line[start:]):
            return found
    return None


def _claude_user(
    entry: Mapping[str, Any], limit: int | None = TRANSCRIPT_PROMPT
) -> TranscriptLine | None:
    not_typed = ("isMeta", "isSidechain", "isCompactSummary", "isVisibleInTranscriptOnly")
    if any(entry.get(mark) for mark in not_typed) or "toolUseResult" in entry:
        return None
    message = entry.get("message")
    return _prompt(entry, message.get("content"), limit) if isinstance(message, dict) else None


def _prompt(
    entry: Mapping[str, Any], content: object, limit: int | None = TRANSCRIPT_PROMPT
) -> TranscriptLine | None:
    if any(block.get("type") == "tool_result" for block in objects(content)):
        return None
    text = _content(content, limit)
    if not text or text.lstrip().startswith(NOT_TYPED):
        return None
    return TranscriptLine(uuid=_uuid(entry), at=_time(entry), prompt=text)


def _joining(
    entry: Mapping[str, Any], limit: int | None = TRANSCRIPT_PROMPT
) -> TranscriptLine | None:
    """A queued prompt that the turn which went on has taken in."""
    command = object_of(entry.get("attachment"))
    if command.get("type") != "queued_command":
        return None
    return _prompt(entry, command.get("prompt"), limit)


def _claude_assistant(entry: Mapping[str, Any]) -> TranscriptLine | None:
    message = entry.get("message")
    if not isinstance(message, dict):
        return None
    model = text_of(message.get("model"), NAME) or UNKNOWN_MODEL
    words = _content(message.get("content"), TRANSCRIPT_WORDS)
    if entry.get("isSidechain") or words == FILLER:
        words = None  # a sub-agent's, or the CLI's own
    found = TranscriptLine(
        uuid=_uuid(entry),
        at=_time(entry),
        words=words or None,
        message=text_of(message.get("id"), NAME),
        model=model,
        failed=bool(entry.get("isApiErrorMessage")) and not entry.get("isSidechain"),
        tokens=NONE if model == SYNTHETIC else _tokens(object_of(message.get("usage"))),
    )
    return found if found.words or found.tokens != NONE else None


def _claude_turn(entry: Mapping[str, Any]) -> TurnLine | None:
    if entry.get("isSidechain"):
        return None  # a sub-agent's
    uuid, at = _uuid(entry), _time(entry)
    message = object_of(entry.get("message"))
    content = message.get("content")
    match entry.get("type"):
        case "user" if isinstance(content, list) and _is_interruption(content):
            return TurnLine(uuid=uuid, at=at, ends="interrupted")
        case "user":
            typed = _claude_user(entry, None)
            return None if typed is None else TurnLine(uuid=uuid, at=at, prompt=typed.prompt)
        case "queue-operation" if entry.get("operation") == "enqueue":
            queued = _prompt(entry, entry.get("content"), None)
            return None if queued is None else TurnLine(uuid=uuid, at=at, queued=queued.prompt)
        case "attachment":
            joining = _joining(entry, None)
            if joining is None:
                return None
            return TurnLine(uuid=uuid, at=at, prompt=joining.prompt, joins=True)
        case "system" if entry.get("subtype") == "turn_duration":
            return TurnLine(uuid=uuid, at=at, ends="over")
        case "assistant":
            words = _content(content, None)
            if entry.get("isApiErrorMessage") or message.get("model") == SYNTHETIC:
                error = None if words == FILLER else words
                return TurnLine(uuid=uuid, at=at, error=error) if error else None
            if words == FILLER:
                return None
            ends: Literal["over"] | None = "over" if message.get("stop_reason") in ENDS else None
            return TurnLine(uuid=uuid, at=at, works=True, words=words, ends=ends)
        case _:
            return None


def _is_interruption(content: object) -> bool:
    return any(
        isinstance(text := block.get("text"), str) and text.startswith(INTERRUPTED)
        for block in objects(content)
    )


def _content(content: object, limit: int | None) -> str | None:
    """The text of a message: a string, or the text blocks of a list."""
    if isinstance(content, str):
        return text_of(content, limit)
    texts = (text_of(b.get("text"), limit) for b in objects(content) if b.get("type") == "text")
    joined = "\n".join(text for text in texts if text)
    return joined[:limit] or None


def _uuid(entry: Mapping[str, Any]) -> str | None:
    return text_of(entry.get("uuid"), NAME)


def _time(entry: Mapping[str, Any]) -> float | None:
    stamp = entry.get("timestamp")
    if not isinstance(stamp, str):
        return None
    try:
        return datetime.fromisoformat(stamp[:40]).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
