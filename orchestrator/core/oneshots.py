"""What a CLI prints while it answers one question, read as it comes. Pure, and total.

`begin`, a `step` for each line, `ended`: then there is an `Answer` or a `Failure`. Lines, keys and
values that nobody knows are passed over.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from orchestrator.core.text import safe_text
from orchestrator.core.tokens import NONE, Tokens
from orchestrator.core.untyped import object_of, objects, text_of
from orchestrator.core.values import value

Dialect = Literal["claude"]

# Statuses of HTTP that say: too much at the moment.
OVERLOADED = frozenset({429, 503, 529})
# Below 500, those after which the same request can succeed.
PASSING = frozenset({408, 429})
# What is said of a failure without a status that stays, however often it is tried.
LASTING = frozenset(
    {"authentication_failed", "billing_error", "invalid_request", "model_not_found"}
)
# How a message of the model ends that is whole.
WHOLE = frozenset({"end_turn", "stop_sequence", "tool_use"})
# What the CLI itself put into an answer's place. As in `dialects.py`, whose imports are too much
# for an answer that comes from the cache.
SYNTHETIC = "<synthetic>"
# Between texts that do not belong together.
GAP = "\n\n"
# Characters of a failure's sentence.
SENTENCE = 500
# A count beyond it is none.
MOST = 10**12


@value
class Answer:
    """`cost_usd` None: the CLI does not say. `tools`: one was used, so that it was about more than
    the question. `cut`: the model was stopped, and the text is not all that it had to say. `model`
    "": the CLI answered by itself, as it does to its own commands.
    """

    text: str
    model: str
    tokens: Tokens
    cost_usd: float | None
    conversation: str | None
    tools: bool
    cut: bool = False


@value
class Failure:
    """No answer. `status`: of HTTP, if the model's server gave one. `retry`: it may pass.

    cli: the CLI did not take the question or did not go through with it. cut: it, or its
    connection, ended in the middle. timeout and missing are for whoever runs it.
    """

    kind: Literal["overloaded", "api", "cli", "cut", "timeout", "missing"]
    status: int | None = None
    sentence: str
    retry: bool


@value
class Piece:
    """More of the text."""

    text: str


@value
class Retry:
    """The CLI tries again by itself, in `delay` seconds."""

    attempt: int
    delay: float
    status: int | None
    error: str


@value
class Stream:
    """What the lines so far have said.

    `heard` is the text of the block that is being said, in the attempt that is being made; `told`
    what went out of it, in earlier attempts too.
    """

    dialect: Dialect
    # It has printed anything that we know.
    began: bool = False
    heard: str = ""
    told: str = ""
    # Blocks before this one went out.
    earlier: bool = False
    model: str = ""
    tools: bool = False
    cut: bool = False
    # What the CLI calls the failure that it told of last.
    error: str = ""
    result: Answer | Failure | None = None


def begin(dialect: Dialect) -> Stream:
    return Stream(dialect=dialect)


def step(stream: Stream, line: str) -> tuple[Stream, Piece | Retry | None]:
    """`line` is printed."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return stream, None
    if not isinstance(event, dict):
        return stream, None
    match stream.dialect:
        case "claude":
            return _claude(stream, event)


def ended(stream: Stream, exit_code: int | None, stderr: str) -> Answer | Failure:
    """The process has ended; `exit_code` as Python has it, negative for a signal, None: unknown."""
    if stream.result is not None:
        return stream.result
    how = "" if exit_code is None else f" with exit status {exit_code}"
    if exit_code is not None and exit_code < 0:
        how = f" by signal {-exit_code}"
    said = f": {stderr.strip()}" if stderr.strip() else ""
    if not stream.began and exit_code is not None and exit_code >= 0:
        return Failure(kind="cli", sentence=_sentence(f"it ended{how}{said}"), retry=False)
    sentence = _sentence(f"it ended{how} before its answer was whole{said}")
    return Failure(kind="cut", sentence=sentence, retry=True)


def lasting(answer: Answer) -> bool:
    """Whether it may be given again: it is the model's, whole, and of the question alone."""
    return bool(answer.text and answer.model) and not (answer.tools or answer.cut)


def _told(stream: Stream, heard: str) -> tuple[Stream, Piece | None]:
    """The block's text is `heard` so far: what of it has not gone out yet goes out.

    An attempt that broke off is made again from its beginning. Where it says the same, nothing is
    repeated; where it says something else, that follows as a text of its own.
    """
    if stream.told.startswith(heard):
        return replace(stream, heard=heard), None
    if heard.startswith(stream.told):
        more = heard[len(stream.told) :]
        more = GAP + more if stream.earlier and not stream.told else more
    else:
        more = GAP + heard
    return replace(stream, heard=heard, told=heard), Piece(text=more)


def _whole(stream: Stream, text: str) -> tuple[Stream, str]:
    """The block is `text`, and nothing will be added to it; what of it has not gone out yet."""
    stream, piece = _told(stream, text)
    more = piece.text if piece else ""
    if text and stream.told != text:  # an attempt that broke off had said more
        more = GAP + text
    return replace(stream, heard="", told="", earlier=stream.earlier or bool(stream.told)), more


# -- Claude ----------------------------------------------------------------------------------------


def _claude(stream: Stream, event: Mapping[str, Any]) -> tuple[Stream, Piece | Retry | None]:
    main = event.get("parent_tool_use_id") is None
    match event.get("type"):
        case "system":
            retry = _claude_retry(event) if event.get("subtype") == "api_retry" else None
            return replace(stream, began=True), retry
        case "stream_event":
            return _claude_partial(stream, object_of(event.get("event")), main)
        case "assistant":
            return _claude_message(stream, event, main)
        case "result":
            return replace(stream, began=True, result=_claude_result(stream, event)), None
        case _:
            return stream, None


def _claude_retry(event: Mapping[str, Any]) -> Retry:
    return Retry(
        attempt=_count(event.get("attempt")),
        delay=(_number(event.get("retry_delay_ms")) or 0.0) / 1000,
        status=_status(event.get("error_status")),
        error=_text(event.get("error")),
    )


def _claude_partial(
    stream: Stream, event: Mapping[str, Any], main: bool
) -> tuple[Stream, Piece | None]:
    match event.get("type"):
        case "message_start" if main:
            return _of_model(stream, object_of(event.get("message"))), None
        case "content_block_start":
            block = object_of(event.get("content_block"))
            stream = replace(stream, tools=stream.tools or _is_tool(block))
            return (replace(stream, heard="") if main else stream), None
        case "content_block_delta" if main:
            delta = object_of(event.get("delta"))
            if delta.get("type") == "text_delta":
                return _told(stream, stream.heard + _text(delta.get("text")))
        case "message_delta" if main:
            return _stopped(stream, object_of(event.get("delta"))), None
    return stream, None


def _claude_message(
    stream: Stream, event: Mapping[str, Any], main: bool
) -> tuple[Stream, Piece | None]:
    """A message, or a whole block of one: with partial messages it has been heard already."""
    message = object_of(event.get("message"))
    blocks = list(objects(message.get("content")))
    stream = replace(stream, began=True, tools=stream.tools or any(map(_is_tool, blocks)))
    if not main:
        return stream, None
    if message.get("model") == SYNTHETIC:
        # An error, which the result has too; or the CLI's answer to a command of its own.
        stream = replace(stream, error=_text(event.get("error")))
        if event.get("is_api_error_message") or stream.error:
            return stream, None
    stream = _stopped(_of_model(stream, message), message)
    text = ""
    for block in blocks:
        if block.get("type") == "text":
            stream, more = _whole(stream, _text(block.get("text")))
            text += more
    return stream, Piece(text=text) if text else None


def _of_model(stream: Stream, message: Mapping[str, Any]) -> Stream:
    model = _text(message.get("model"))
    return replace(stream, model=model) if model and model != SYNTHETIC else stream


def _stopped(stream: Stream, message: Mapping[str, Any]) -> Stream:
    reason = _text(message.get("stop_reason"))
    return replace(stream, cut=True) if reason and reason not in WHOLE else stream


def _is_tool(block: Mapping[str, Any]) -> bool:
    return _text(block.get("type")).endswith("tool_use")


def _claude_result(stream: Stream, event: Mapping[str, Any]) -> Answer | Failure:
    """A turn's end. Another one follows where something went on in the background: the last counts,
    and its figures are those of the whole process.
    """
    text = event.get("result")
    if event.get("is_error") or event.get("subtype") != "success" or not isinstance(text, str):
        return _claude_failure(stream, event)
    return Answer(
        text=_text(text),
        model=stream.model,
        tokens=_claude_tokens(event),
        cost_usd=_number(event.get("total_cost_usd")),
        conversation=_text(event.get("session_id")) or None,
        tools=stream.tools or bool(event.get("permission_denials")),
        cut=_stopped(stream, event).cut,
    )


def _claude_tokens(event: Mapping[str, Any]) -> Tokens:
    by_model = event.get("modelUsage")
    tokens = [
        Tokens(
            input=_count(used.get("inputTokens")),
            output=_count(used.get("outputTokens")),
            cache_write=_count(used.get("cacheCreationInputTokens")),
            cache_read=_count(used.get("cacheReadInputTokens")),
        )
        for used in map(object_of, by_model.values() if isinstance(by_model, dict) else ())
    ]
    return sum(tokens, NONE)


def _claude_failure(stream: Stream, event: Mapping[str, Any]) -> Failure:
    status = _status(event.get("api_error_status"))
    errors = event.get("errors")
    listed = [_text(each) for each in errors] if isinstance(errors, list) else []
    said = _text(event.get("result")) or "; ".join(listed) or _text(event.get("subtype"))
    sentence = _sentence(said or "it gave no answer")
    if status is not None:
        kind: Literal["overloaded", "api"] = "overloaded" if status in OVERLOADED else "api"
        retry = status >= 500 or status in PASSING
        return Failure(kind=kind, status=status, sentence=sentence, retry=retry)
    if event.get("terminal_reason") != "api_error":
        return Failure(kind="cli", sentence=sentence, retry=False)
    if stream.error in LASTING:
        return Failure(kind="api", sentence=sentence, retry=False)
    # No server, or its answer broke off.
    return Failure(kind="cut" if stream.told else "api", sentence=sentence, retry=True)


# -- values ----------------------------------------------------------------------------------------


def _text(item: object) -> str:
    return text_of(item) or ""


def _number(item: object) -> float | None:
    """What counts something: JSON as Python reads it has infinities too."""
    if isinstance(item, bool) or not isinstance(item, int | float):
        return None
    return float(item) if 0 <= item < MOST else None


def _count(item: object) -> int:
    return int(_number(item) or 0)


def _status(item: object) -> int | None:
    return item if type(item) is int and 100 <= item < 1000 else None


def _sentence(text: str) -> str:
    whole = " ".join(safe_text(text).split())
    return whole if len(whole) <= SENTENCE else whole[: SENTENCE - 1] + "…"
