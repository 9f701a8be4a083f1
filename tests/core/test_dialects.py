"""What a CLI says, read: real payloads, and everything that is not quite one."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.dialects import (
    ARGUMENT,
    PROMPT,
    TRANSCRIPT_PROMPT,
    TRANSCRIPT_WORDS,
    WORDS,
    HookFields,
    Malformed,
    StatusLine,
    TranscriptLine,
    parse_hook,
    parse_status_line,
    read_transcript_line,
)
from orchestrator.core.tokens import Tokens

PAYLOADS = {
    p.stem: p.read_bytes() for p in (Path(__file__).parents[1] / "payloads/claude").glob("*.json")
}
NAMES = sorted(PAYLOADS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def fields(name: str, **changes: object) -> HookFields:
    payload = {**json.loads(PAYLOADS[name]), **changes}
    found = parse_hook("claude", name, json.dumps(payload).encode())
    assert isinstance(found, HookFields)
    return found


def line(**entry: object) -> TranscriptLine | None:
    return read_transcript_line("claude", json.dumps(entry).encode())


# -- hooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_real_payload_is_read(name: str) -> None:
    found = fields(name)
    assert found.conversation is not None
    assert found.transcript is not None
    assert found.transcript.endswith(f"{found.conversation}.jsonl")


def test_fields_of_the_payloads() -> None:
    assert fields("SessionStart").reason == "fork"
    assert fields("SessionEnd").reason == "other"
    assert fields("PreCompact").reason == "manual"
    assert fields("UserPromptSubmit").text == (
        "one [[tool Read: /home/dev/project/w.txt]] [[say: hi]] [[usage 5000 300]]"
    )
    tool = fields("PreToolUse")
    assert (tool.tool, tool.argument) == ("Read", "/home/dev/project/w.txt")
    asks = fields("PermissionRequest")
    assert (asks.tool, asks.argument) == ("Bash", "touch /home/dev/project/o")
    assert fields("MessageDisplay").text == "done"
    assert (fields("Stop").text, fields("Stop").background) == ("done", 0)
    note = fields("Notification")
    assert (note.reason, note.text) == ("idle_prompt", "Claude is waiting for your input")
    failed = fields("StopFailure")
    assert (failed.reason, failed.text) == ("unknown", "API Error: 400 scripted error 400")
    assert failed.subagent == "a7908fd8eb8e24b7e"
    assert fields("PostToolUse").subagent is None


def test_an_empty_agent_id_is_no_sub_agent() -> None:
    assert fields("Stop", agent_id="").subagent is None


def test_background_tasks_are_counted() -> None:
    assert fields("Stop", background_tasks=[{"id": "1"}, {"id": "2"}]).background == 2
    shell, agent = {"id": "1", "type": "shell"}, {"id": "2", "type": "subagent"}
    assert fields("Stop", background_tasks=[shell, agent]).background == 1, "a shell is no turn"


def test_a_question_with_its_options() -> None:
    options = [{"label": "Yes", "description": "go"}, {"label": "No"}, "odd", {"label": 3}]
    asked = {"questions": [{"question": "Ship it?", "header": "Choice", "options": options}]}
    found = fields("PermissionRequest", tool_name="AskUserQuestion", tool_input=asked)
    assert (found.question, found.options) == ("Ship it?", ("Yes", "No"))


@pytest.mark.parametrize(
    ("given_input", "shown"),
    [
        ({"command": "ls\n  -l\t/"}, "ls -l /"),
        ({"pattern": "TODO", "path": "src"}, "TODO"),
        ({"url": "https://example.org", "prompt": "read it"}, "https://example.org"),
        ({"description": "look around", "prompt": "…"}, "look around"),
        ({"of_some_server": "text", "n": 1}, "text"),
        ({"n": 1}, None),
        ("odd", None),
        ({"command": "x" * 10_000_000}, "x" * (ARGUMENT - 1) + "…"),
    ],
)
def test_the_argument_is_one_short_line(given_input: object, shown: str | None) -> None:
    assert fields("PreToolUse", tool_input=given_input).argument == shown


def test_long_texts_are_cut() -> None:
    assert len(fields("UserPromptSubmit", prompt="x" * 500_000).text or "") == PROMPT
    assert len(fields("Stop", last_assistant_message="x" * 500_000).text or "") == WORDS


def test_half_a_surrogate_pair_can_be_stored() -> None:
    payload = PAYLOADS["Stop"].replace(b'"done"', rb'"a\ud800b"')
    found = parse_hook("claude", "Stop", payload)
    assert isinstance(found, HookFields)
    assert (found.text or "").encode() == b"a?b"


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("background_tasks", "none"),
        ("agent_id", 7),
        ("session_id", ["x"]),
        ("session_id", ""),
        ("session_id", "--dangerously-skip-permissions"),
        ("session_id", "a b"),
        ("session_id", "x\0arg y"),
        ("session_id", "x" * 129),
        ("tool_name", {}),
        ("hook_event_name", "Start"),
        ("hook_event_name", None),
    ],
)
def test_what_decides_has_to_be_right(field: str, odd: object) -> None:
    payload = {**json.loads(PAYLOADS["Stop"]), field: odd}
    found = parse_hook("claude", "Stop", json.dumps(payload).encode())
    assert isinstance(found, Malformed)
    assert field in found.reason


@given(st.sampled_from(NAMES), st.floats(0, 1, exclude_max=True))
def test_a_truncated_payload_is_malformed(name: str, part: float) -> None:
    data = PAYLOADS[name].rstrip()
    assert isinstance(parse_hook("claude", name, data[: int(part * len(data))]), Malformed)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"\xff\xfe{", b"[" * 100_000, b"1" * 10_000_000]
)
def test_what_is_no_object_is_malformed(data: bytes) -> None:
    assert isinstance(parse_hook("claude", "Stop", data), Malformed)


@given(st.sampled_from(NAMES), st.data())
def test_no_type_of_any_field_raises(name: str, data: st.DataObject) -> None:
    payload: dict[str, Any] = json.loads(PAYLOADS[name])
    for key in data.draw(st.sets(st.sampled_from([*sorted(payload), "tool_input", "agent_id"]))):
        payload[key] = data.draw(JSON)
    found = parse_hook("claude", name, json.dumps(payload).encode())
    if isinstance(found, HookFields):
        json.dumps([found.text, found.argument, found.options], ensure_ascii=False).encode()


@given(st.sampled_from(NAMES), st.data())
def test_flipped_bytes_never_raise(name: str, data: st.DataObject) -> None:
    payload = bytearray(PAYLOADS[name])
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=8)):
        payload[at] ^= data.draw(st.integers(1, 255))
    assert isinstance(parse_hook("claude", name, bytes(payload)), HookFields | Malformed)


# -- transcript -----------------------------------------------------------------------------------


def test_a_prompt_as_it_was_typed() -> None:
    found = line(
        type="user",
        uuid="u1",
        timestamp="2026-11-20T12:54:14.441Z",
        message={"role": "user", "content": "do it"},
    )
    assert found is not None
    assert (found.prompt, found.uuid) == ("do it", "u1")
    assert found.at == pytest.approx(1795179254.441)


@pytest.mark.parametrize(
    "entry",
    [
        {"message": {"content": "[Request interrupted by user]"}},
        {
            "message": {
                "content": [{"type": "text", "text": "[Request interrupted by user for tool use]"}]
            }
        },
        {"message": {"content": [{"type": "tool_result", "content": "x"}]}},
        {"message": {"content": "x"}, "toolUseResult": {"stdout": "x"}},
        {"message": {"content": "x"}, "isMeta": True},
        {"message": {"content": "x"}, "isSidechain": True},
        {"message": {"content": "the story so far"}, "isCompactSummary": True},
        {"message": {"content": "<command-name>/clear</command-name>"}},
        {"message": {"content": "<local-command-stdout>x</local-command-stdout>"}},
        {"message": {"content": ""}},
        {"message": "odd"},
        {},
    ],
)
def test_what_nobody_typed_is_no_prompt(entry: dict[str, Any]) -> None:
    assert line(type="user", **entry) is None


def test_a_queued_prompt_is_not_in_the_conversation_yet() -> None:
    queued = line(type="queue-operation", operation="enqueue", content="next")
    assert queued is not None
    assert (queued.queued, queued.prompt) == ("next", None)
    assert line(type="queue-operation", operation="dequeue") is None
    joining = line(type="attachment", attachment={"type": "queued_command", "prompt": "next"})
    assert joining is not None
    assert (joining.queued, joining.prompt) == (None, "next")
    assert line(type="attachment", attachment={"type": "date", "date": "2026-11-22"}) is None


def test_last_words_and_tokens_of_an_answer() -> None:
    cache = {"cache_creation_input_tokens": 70, "cache_read_input_tokens": 900}
    usage = {"input_tokens": 5, **cache, "output_tokens": 30}
    found = line(
        type="assistant",
        uuid="a1",
        message={
            "id": "m",
            "model": "claude-opus-5-5",
            "usage": usage,
            "content": [{"type": "text", "text": "x" * 900}],
        },
    )
    assert found is not None
    assert found.words == "x" * TRANSCRIPT_WORDS
    assert (found.message, found.model) == ("m", "claude-opus-5-5")
    assert found.tokens == Tokens(input=5, output=30, cache_write=70, cache_read=900)


def test_what_the_cli_puts_in_the_place_of_an_answer_counts_nothing() -> None:
    usage = {"input_tokens": 5, "output_tokens": 30}
    content = [{"type": "text", "text": "API Error: 529"}]
    message = {"id": "m", "model": "<synthetic>", "usage": usage, "content": content}
    found = line(type="assistant", message=message)
    assert found is not None
    assert (found.words, found.tokens) == ("API Error: 529", Tokens())
    assert line(type="assistant", message={**message, "content": []}) is None


def test_an_answer_of_a_model_without_a_name_is_counted() -> None:
    found = line(type="assistant", message={"id": "m", "usage": {"output_tokens": 3}})
    assert found is not None
    assert (found.model, found.tokens) == ("unknown", Tokens(output=3))


def test_tokens_of_a_wrong_type_count_nothing() -> None:
    usage = {"input_tokens": "5", "output_tokens": -1, "cache_read_input_tokens": True}
    assert line(type="assistant", message={"id": "m", "usage": usage}) is None
    assert line(type="assistant", message={"id": "m", "usage": [1]}) is None


# -- status line ----------------------------------------------------------------------------------

STATUS_LINE = (Path(__file__).parents[1] / "payloads/claude_status_line.json").read_bytes()


def status_line(**changes: object) -> StatusLine | Malformed:
    payload = {**json.loads(STATUS_LINE), **changes}
    return parse_status_line("claude", json.dumps(payload).encode())


def test_the_real_status_line_is_read() -> None:
    assert status_line() == StatusLine(
        conversation="567051e8-cbb4-4793-9054-322926278578",
        model="claude-opus-5-5",
        cost_usd=0.220456,
        answered=True,
        context_used=14000,
        context_size=1_000_000,
        version="2.1.329",
    )


@pytest.mark.parametrize("version", [None, "", 2.1, ["2.1.329"]])
def test_a_status_line_need_not_tell_a_version(version: object) -> None:
    found = status_line(version=version)
    assert isinstance(found, StatusLine)
    assert found.version is None


def test_a_status_line_before_the_first_answer() -> None:
    """As it is on a fresh start, and on a resume: then with the cost of before."""
    window = {"context_window_size": 200_000, "current_usage": None}
    found = status_line(prompt_cache=None, context_window=window)
    assert isinstance(found, StatusLine)
    assert (found.answered, found.context_used, found.context_size) == (False, None, 200_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": 7},
        {"session_id": "-x"},
        {"cost": None},
        {"cost": {}},
        {"cost": {"total_cost_usd": "1"}},
        {"cost": {"total_cost_usd": True}},
        {"cost": {"total_cost_usd": -0.1}},
        {"cost": {"total_cost_usd": float("nan")}},
        {"cost": {"total_cost_usd": 10**400}},
    ],
)
def test_a_status_line_without_a_cost_is_malformed(changes: dict[str, object]) -> None:
    assert isinstance(status_line(**changes), Malformed)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(STATUS_LINE))), JSON))
def test_no_status_line_raises(changes: dict[str, object]) -> None:
    assert isinstance(status_line(**changes), StatusLine | Malformed)


def test_half_a_status_line_is_malformed() -> None:
    assert isinstance(parse_status_line("claude", STATUS_LINE[:100]), Malformed)


def test_the_filler_of_a_cut_turn_is_nobodys_words() -> None:
    content = [{"type": "text", "text": "No response requested."}]
    assert line(type="assistant", message={"content": content}) is None


def test_a_record_behind_a_torn_one_is_read() -> None:
    whole = json.dumps({"type": "user", "message": {"role": "user", "content": "new"}}).encode()
    found = read_transcript_line("claude", whole[: len(whole) // 2] + whole)
    assert found is not None
    assert found.prompt == "new"


def test_prompts_are_cut() -> None:
    found = line(type="user", message={"content": "x" * 50_000})
    assert found is not None
    assert found.prompt == "x" * TRANSCRIPT_PROMPT


@given(
    st.dictionaries(st.sampled_from(["message", "content", "uuid", "timestamp", "operation"]), JSON)
)
def test_any_line_gives_a_line_or_nothing(entry: dict[str, Any]) -> None:
    for kind in ("user", "assistant", "queue-operation", "system"):
        found = line(**{**entry, "type": kind})
        assert found is None or isinstance(found, TranscriptLine)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_line_or_nothing(data: bytes) -> None:
    found = read_transcript_line("claude", data)
    assert found is None or isinstance(found, TranscriptLine)
