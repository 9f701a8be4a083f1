"""What a CLI prints while it answers one question. The lines are those of Claude Code 2.1.329."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.oneshots import (
    GAP,
    SENTENCE,
    Answer,
    Failure,
    Piece,
    Retry,
    Stream,
    begin,
    ended,
    lasting,
    step,
)
from orchestrator.core.tokens import Tokens

OPUS = "claude-opus-5-5"
Line = dict[str, Any]

INIT: Line = {"type": "system", "subtype": "init", "model": OPUS}
STOP: Line = {"type": "content_block_stop", "index": 0}


def event(inside: Line, parent: str | None = None) -> Line:
    return {"type": "stream_event", "event": inside, "parent_tool_use_id": parent}


def start(model: str = OPUS) -> Line:
    return event({"type": "message_start", "message": {"model": model, "content": []}})


def block(kind: str = "text") -> Line:
    return event({"type": "content_block_start", "content_block": {"type": kind}})


def delta(text: str, parent: str | None = None) -> Line:
    inside = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    return event(inside, parent)


def stopped(reason: str) -> Line:
    return event({"type": "message_delta", "delta": {"stop_reason": reason}})


def message(*texts: str, parent: str | None = None, model: str = OPUS, **more: Any) -> Line:
    content = [{"type": "text", "text": text} for text in texts]
    whole = {"model": model, "content": content, "stop_reason": None}
    return {"type": "assistant", "message": whole, "parent_tool_use_id": parent, **more}


def tool(parent: str | None = None) -> Line:
    content = [{"type": "tool_use", "name": "Read", "input": {}}]
    whole = {"model": OPUS, "content": content}
    return {"type": "assistant", "message": whole, "parent_tool_use_id": parent}


def result(text: str = "fine", **more: Any) -> Line:
    used = {"inputTokens": 5, "outputTokens": 7, "cacheReadInputTokens": 3}
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": text,
        "session_id": "c-1",
        "total_cost_usd": 0.25,
        "terminal_reason": "completed",
        "stop_reason": "end_turn",
        "modelUsage": {OPUS: used, "claude-haiku-5-5": {**used, "cacheCreationInputTokens": 2}},
        **more,
    }


def error(status: int | None, kind: str = "server_error", said: str = "API Error") -> list[Line]:
    told = message(said, model="<synthetic>", error=kind, is_api_error_message=True)
    more = {"is_error": True, "terminal_reason": "api_error", "api_error_status": status}
    return [told, result(said, **more)]


def streamed(*texts: str) -> list[Line]:
    """A message with its text in parts, and whole."""
    return [start(), block(), *map(delta, texts), message("".join(texts)), event(STOP)]


def read(*lines: Line) -> tuple[Stream, list[Piece | Retry]]:
    stream, said = begin("claude"), []
    for line in lines:
        stream, more = step(stream, json.dumps(line) + "\n")
        said += [more] if more else []
    return stream, said


def pieces(*lines: Line) -> list[str]:
    return [piece.text for piece in read(*lines)[1] if isinstance(piece, Piece)]


def answered(*lines: Line) -> Answer:
    found = ended(read(*lines)[0], 0, "")
    assert isinstance(found, Answer)
    return found


def failed(*lines: Line, exit_code: int | None = 1, stderr: str = "") -> Failure:
    found = ended(read(*lines)[0], exit_code, stderr)
    assert isinstance(found, Failure)
    return found


# -- an answer -------------------------------------------------------------------------------------


def test_an_answer() -> None:
    lines = [INIT, *streamed("fi", "ne"), stopped("end_turn"), result()]
    assert pieces(*lines) == ["fi", "ne"]
    assert answered(*lines) == Answer(
        text="fine",
        model=OPUS,
        tokens=Tokens(input=10, output=14, cache_read=6, cache_write=2),
        cost_usd=0.25,
        conversation="c-1",
        tools=False,
    )
    assert lasting(answered(*lines))


def test_the_cost_can_be_unknown() -> None:
    for cost in (None, -1, "1", True, float("inf")):
        assert answered(message("fine"), result(total_cost_usd=cost)).cost_usd is None


def test_without_partial_messages_the_pieces_are_whole_messages() -> None:
    assert pieces(INIT, message("fine"), result()) == ["fine"]


def test_thinking_is_not_told() -> None:
    thinking = event({"type": "content_block_delta", "delta": {"type": "thinking_delta"}})
    whole = {"model": OPUS, "content": [{"type": "thinking", "thinking": "hm"}]}
    lines = [start(), block("thinking"), thinking, {"type": "assistant", "message": whole}]
    assert pieces(*lines, *streamed("a")) == ["a"]


def test_texts_around_a_tool_are_told_apart_and_the_last_one_is_the_answer() -> None:
    lines = [*streamed("let me see"), block("tool_use"), tool(), *streamed("done"), result("done")]
    assert pieces(*lines) == ["let me see", f"{GAP}done"]
    assert answered(*lines).text == "done"


@pytest.mark.parametrize(
    "line", [block("tool_use"), tool(), tool("toolu_1"), block("server_tool_use")]
)
def test_a_tool_is_noticed(line: Line) -> None:
    found = answered(INIT, line, *streamed("fine"), result())
    assert found.tools
    assert not lasting(found)


def test_a_refused_tool_too() -> None:
    assert answered(message("fine"), result(permission_denials=[{"tool_name": "Read"}])).tools


def test_sub_agents_are_not_heard() -> None:
    lines = [message("helped", parent="toolu_1"), delta("helped", parent="toolu_1")]
    assert pieces(*lines, message("fine")) == ["fine"]


def test_of_two_results_the_last_one_counts() -> None:
    lines = [*streamed("started"), result("started"), *streamed("all done"), result("all done")]
    assert answered(*lines).text == "all done"


@pytest.mark.parametrize("reason", ["max_tokens", "refusal"])
def test_an_answer_that_the_model_was_stopped_in_is_not_given_again(reason: str) -> None:
    # The CLI then asks for the rest by itself, and only that is the result.
    lines = [*streamed("the beg"), stopped(reason), *streamed("inning"), result("inning")]
    assert answered(*lines).cut
    assert not lasting(answered(*lines))
    assert answered(message("a"), result("a", stop_reason=reason)).cut


def test_nor_one_that_the_model_did_not_give() -> None:
    said = "/help isn't available in this environment."
    lines = [INIT, message(said, model="<synthetic>"), result(said, modelUsage={})]
    assert pieces(*lines) == [said]
    assert (answered(*lines).model, answered(*lines).tokens) == ("", Tokens())
    assert not lasting(answered(*lines))


def test_nor_an_empty_one() -> None:
    assert not lasting(answered(start(), result("")))


# -- attempts that broke off -----------------------------------------------------------------------


def test_an_attempt_that_repeats_what_was_told_is_told_once() -> None:
    lines = [start(), block(), delta("one "), delta("two "), event(STOP)]
    assert pieces(*lines, *streamed("one ", "two ", "three")) == ["one ", "two ", "three"]


def test_also_where_the_cli_gives_up_streaming() -> None:
    lines = [start(), block(), delta("one "), event(STOP), message("one two")]
    assert pieces(*lines) == ["one ", "two"]


def test_another_text_follows_what_was_told() -> None:
    lines = [start(), block(), delta("one "), event(STOP)]
    assert pieces(*lines, *streamed("another ", "one")) == ["one ", f"{GAP}another ", "one"]


TEXT = st.text(st.sampled_from("ab \n\u00e9\U0001f600"), max_size=12)


@given(st.lists(TEXT, min_size=1), st.lists(st.integers(0, 12), max_size=3), st.booleans())
def test_the_pieces_are_the_answer(texts: list[str], broken: list[int], streaming: bool) -> None:
    """However it comes in parts, and however often it begins again from the beginning."""
    whole = "".join(texts)
    lines = [INIT]
    for length in broken:
        lines += [start(), block(), *map(delta, whole[:length]), event(STOP)]
    lines += streamed(*texts) if streaming else [message(whole)]
    lines.append(result(whole))
    assert "".join(pieces(*lines)) == answered(*lines).text == whole


@given(st.lists(TEXT), st.lists(TEXT, min_size=1))
def test_the_answer_ends_what_is_told(broken: list[str], texts: list[str]) -> None:
    lines = [start(), block(), *map(delta, broken), event(STOP), *streamed(*texts)]
    assert "".join(pieces(*lines)).endswith("".join(texts))


# -- failures --------------------------------------------------------------------------------------


def test_a_retry_of_the_clis_own() -> None:
    line = {"type": "system", "subtype": "api_retry", "attempt": 1, "retry_delay_ms": 590}
    _, said = read(INIT, {**line, "error_status": 529, "error": "overloaded"})
    assert said == [Retry(attempt=1, delay=0.59, status=529, error="overloaded")]
    _, said = read({**line, "error_status": None, "error": "unknown"})
    assert said == [Retry(attempt=1, delay=0.59, status=None, error="unknown")]


@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (529, "overloaded", True),
        (429, "overloaded", True),
        (503, "overloaded", True),
        (500, "api", True),
        (502, "api", True),
        (504, "api", True),
        (400, "api", False),
        (401, "api", False),
        (403, "api", False),
        (404, "api", False),
        (413, "api", False),
    ],
)
def test_an_error_of_the_api(status: int, kind: str, retry: bool) -> None:
    found = failed(INIT, *error(status))
    assert (found.kind, found.status, found.retry) == (kind, status, retry)
    assert found.sentence == "API Error"


def test_an_errors_text_is_no_piece_of_an_answer() -> None:
    assert pieces(INIT, *error(529)) == []


def test_an_error_without_a_status() -> None:
    assert failed(*error(None, "authentication_failed")).retry is False
    refused = failed(*error(None))
    assert (refused.kind, refused.status, refused.retry) == ("api", None, True)
    broke_off = failed(start(), block(), delta("one"), *error(None))
    assert (broke_off.kind, broke_off.retry) == ("cut", True)


def test_an_end_that_is_no_answer() -> None:
    many = failed(result(subtype="error_max_turns", result=None, errors=["too", "many"]))
    assert many == Failure(kind="cli", sentence="too; many", retry=False)
    assert failed(result(result=None)).kind == "cli"


def test_a_process_that_did_not_begin() -> None:
    found = failed(exit_code=1, stderr="error: unknown option '--x'\n\x1b[31m(see --help)\n")
    said = "it ended with exit status 1: error: unknown option '--x' (see --help)"
    assert found == Failure(kind="cli", sentence=said, retry=False)


def test_a_process_that_ended_in_the_middle() -> None:
    lines = [INIT, start(), block(), delta("one")]
    for code, how in ((None, ""), (143, " with exit status 143"), (-9, " by signal 9")):
        said = f"it ended{how} before its answer was whole"
        assert failed(*lines, exit_code=code) == Failure(kind="cut", sentence=said, retry=True)
    assert failed(exit_code=-9).retry


def test_a_whole_answer_is_one_whatever_the_process_does_then() -> None:
    assert isinstance(ended(read(message("fine"), result())[0], -9, "killed"), Answer)


def test_a_sentence_is_one_line_and_bounded() -> None:
    found = failed(*error(500, said="a\n\n" + "b" * 1000))
    assert found.sentence.startswith("a b")
    assert len(found.sentence) == SENTENCE


# -- whatever it prints ----------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["", "hello", "[1]", "null", "{", '{"type": 7}', "[" * 100_000])
def test_other_lines_are_passed_over(line: str) -> None:
    stream = begin("claude")
    assert step(stream, line) == (stream, None)


def test_half_a_surrogate_pair_does_not_come_through() -> None:
    assert pieces(message("a\ud83db")) == ["a?b"]
    assert answered(message("x"), result("a\ud83db")).text == "a?b"


KEYS = st.sampled_from(
    [
        *("type", "subtype", "event", "message", "delta", "content", "content_block", "text"),
        *("result", "is_error", "api_error_status", "modelUsage", "parent_tool_use_id", "model"),
        *("errors", "stop_reason", "retry_delay_ms", "attempt", "inputTokens", "total_cost_usd"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(
        [
            *("system", "assistant", "stream_event", "result", "success", "text", "text_delta"),
            *("api_retry", "content_block_delta", "content_block_start", "message_start"),
        ]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
SPOILT = st.sampled_from(
    [INIT, start(), block(), delta("x"), stopped("end_turn"), message("x"), tool(), result()]
).flatmap(
    lambda line: st.dictionaries(st.sampled_from(sorted(line)), JSON).map(
        lambda bad: {**line, **bad}
    )
)


@given(
    st.lists(SPOILT | st.dictionaries(KEYS, JSON), max_size=4), st.none() | st.integers(-64, 255)
)
def test_any_lines_end_in_an_answer_or_a_failure(lines: list[Line], code: int | None) -> None:
    stream, said = read(*lines)
    found = ended(stream, code, "x")
    assert isinstance(found, Answer | Failure)
    assert all(isinstance(each, Piece | Retry) for each in said)
    json.dumps([piece.text for piece in said if isinstance(piece, Piece)]).encode()
