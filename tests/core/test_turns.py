"""What a turn says and how it ends, from lines in the shapes that the Claude CLI 2.1.329 writes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.dialects import read_turn_line
from orchestrator.core.turns import Turn, TurnLine

NOW = 1_700_000_000.0


class Lines:
    """Writes the lines of a transcript, a tenth of a second apart."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.at = NOW
        self.said: list[str] = []

    def add(self, kind: str, **fields: Any) -> "Lines":
        self.at += 0.1
        stamp = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        entry = {"type": kind, "uuid": f"u{self.at}", "timestamp": stamp, **fields}
        line = read_turn_line("claude", json.dumps(entry).encode())
        words = self.turn.take(line) if line is not None else None
        if words is not None:
            self.said.append(words)
        return self

    def prompt(self, text: str) -> "Lines":
        return self.add("user", message={"role": "user", "content": text})

    def says(self, text: str, stop: str | None = None, **fields: Any) -> "Lines":
        block = {"type": "text", "text": text}
        message = {"model": "m", "content": [block], "stop_reason": stop}
        return self.add("assistant", message=message, **fields)

    def uses_a_tool(self) -> "Lines":
        use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}
        self.add("assistant", message={"content": [use], "stop_reason": "tool_use"})
        result = {"type": "tool_result", "tool_use_id": "t1", "content": "what the tool said"}
        return self.add("user", message={"content": [result]}, toolUseResult="x")

    def queue(self, operation: str, text: str | None = None) -> "Lines":
        return self.add("queue-operation", operation=operation, content=text)

    def over(self) -> "Lines":
        self.add("system", subtype="stop_hook_summary")
        return self.add("system", subtype="turn_duration")

    def interrupted(self, how: str = "[Request interrupted by user]") -> "Lines":
        return self.add("user", message={"content": [{"type": "text", "text": how}]})


@pytest.fixture
def lines() -> Lines:
    return Lines(Turn("do it", NOW))


def test_a_turn(lines: Lines) -> None:
    assert not lines.says("of before").turn.began
    assert lines.prompt("do it").turn.began
    assert lines.turn.at == pytest.approx(lines.at, abs=0.001)
    lines.says("one\n\ttwo").uses_a_tool().says("three")
    assert lines.turn.ended is None
    assert lines.over().turn.ended == "over"
    assert lines.said == lines.turn.words == ["one\n\ttwo", "three"]


def test_a_large_text_is_whole(lines: Lines) -> None:
    large = "word " * 20_000
    lines.prompt("do it").says(large)
    assert lines.said == [large]


def test_a_large_prompt_is_told_from_another_with_the_same_beginning() -> None:
    lines = Lines(Turn("x" * 5000 + "a", NOW))
    assert not lines.prompt("x" * 5000 + "b").turn.began
    assert lines.prompt("x" * 5000 + "a").turn.began


def test_what_is_not_of_the_main_conversation(lines: Lines) -> None:
    lines.prompt("do it").says("a sub-agent's", isSidechain=True).says("No response requested.")
    lines.add("user", isMeta=True, message={"content": "a reminder"})
    lines.add("user", isSidechain=True, message={"content": "to a sub-agent"})
    lines.prompt("<task-notification>done</task-notification>").says("mine")
    assert lines.said == ["mine"]
    assert not lines.turn.left


def test_a_model_that_ends_by_itself_says_so(lines: Lines) -> None:
    assert lines.prompt("do it").says("half", None).turn.ended is None
    assert lines.says("whole", "end_turn").turn.ended == "over"
    # A Stop hook of the person's made it go on.
    assert lines.uses_a_tool().turn.ended is None


@pytest.mark.parametrize(
    "how", ["[Request interrupted by user]", "[Request interrupted by user for tool use]"]
)
def test_an_interruption(lines: Lines, how: str) -> None:
    lines.prompt("do it").says("half").interrupted(how)
    assert lines.turn.ended == "interrupted"
    assert lines.over().turn.ended == "interrupted"


def test_an_error_in_the_agents_place(lines: Lines) -> None:
    text = "API Error: 400 scripted error 400"
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": text}]}
    lines.prompt("do it").says("half")
    lines.add("assistant", isApiErrorMessage=True, message=message)
    assert (lines.turn.error, lines.turn.ended) == (text, "over")
    assert lines.over().turn.error == text
    assert lines.said == ["half"]
    assert lines.says("went on").turn.error is None


def test_the_next_prompt_ends_it(lines: Lines) -> None:
    lines.prompt("do it").says("one").prompt("another's").says("not ours")
    assert lines.turn.left
    assert lines.said == ["one"]
    lines = Lines(Turn("do it", NOW))
    assert lines.prompt("do it").prompt("do it").turn.left, "the same words, said again"


def test_the_same_words_said_before_are_history() -> None:
    lines = Lines(Turn("do it", NOW + 0.35))
    lines.prompt("do it").says("then").over()
    assert not lines.turn.began
    assert lines.prompt("do it").says("now").said == ["now"]


def test_a_time_in_whole_seconds_is_no_older_than_what_was_sent() -> None:
    turn = Turn("do it", NOW + 0.9)
    turn.take(TurnLine(at=NOW, prompt="do it"))
    assert turn.began


# -- behind a busy agent ---------------------------------------------------------------------------


def test_a_prompt_that_waits_for_its_turn(lines: Lines) -> None:
    lines.queue("enqueue", "do it").says("of the turn before").over()
    assert (lines.turn.queued, lines.turn.began) == (True, False)
    lines.queue("dequeue").prompt("do it").says("ours").over()
    assert (lines.said, lines.turn.ended) == (["ours"], "over")


def test_prompts_that_are_answered_together(lines: Lines) -> None:
    """As the Claude CLI writes them: a line each, then one turn."""
    lines.queue("enqueue", "do it").queue("enqueue", "and this").queue("dequeue").over()
    lines.prompt("do it").prompt("and this").says("both")
    assert (lines.said, lines.turn.left) == (["both"], False)
    assert lines.prompt("and this").turn.left, "and once more: another turn"


def test_prompts_that_were_made_into_one(lines: Lines) -> None:
    lines.queue("enqueue", "first this").queue("enqueue", "do it")
    lines.prompt("first this\ndo it").says("both")
    assert lines.said == ["both"]


def test_a_framed_message_among_others_in_one_prompt() -> None:
    lines = Lines(Turn("[crew message 3 from boss]\ndo it", NOW))
    lines.prompt("mine\n[crew message 3 from boss]\ndo it").says("both")
    assert lines.said == ["both"]


def test_a_prompt_that_joins_the_turn_that_is_going_on(lines: Lines) -> None:
    lines.queue("enqueue", "do it").uses_a_tool().queue("remove", "do it")
    lines.add("attachment", attachment={"type": "queued_command", "prompt": "do it"})
    lines.says("that too").over()
    assert (lines.said, lines.turn.ended) == (["that too"], "over")


def test_what_joins_our_turn_is_a_part_of_it(lines: Lines) -> None:
    lines.prompt("do it").uses_a_tool()
    blocks = [{"type": "text", "text": "mind the gap"}]
    lines.add("attachment", attachment={"type": "queued_command", "prompt": blocks})
    lines.add("attachment", attachment={"type": "date", "date": "2026-11-21"}).says("both")
    assert lines.said == ["both"]


def test_the_same_words_that_waited_before() -> None:
    lines = Lines(Turn("do it", NOW + 0.35))
    lines.queue("enqueue", "do it").prompt("do it").says("then")
    assert not lines.turn.queued
    assert lines.said == []


# -- a file that is read again ---------------------------------------------------------------------


def test_lines_that_come_again_say_nothing_new() -> None:
    turn = Turn("do it", NOW)
    before = TurnLine(uuid="0", at=NOW - 9, works=True, words="long ago")
    story = [
        TurnLine(uuid="1", at=NOW, prompt="do it"),
        TurnLine(uuid="2", at=NOW + 1, works=True, words="one"),
    ]
    for line in (*story, before, *story, TurnLine(uuid="3", at=NOW + 2, works=True, words="two")):
        turn.take(line)
    assert turn.words == ["one", "two"]
    assert not turn.left


LINES = st.builds(
    TurnLine,
    uuid=st.none() | st.sampled_from("abc"),
    at=st.none() | st.floats(NOW - 2, NOW + 2),
    prompt=st.none() | st.sampled_from(["do it", "other", ""]),
    joins=st.booleans(),
    queued=st.none() | st.sampled_from(["do it", "other"]),
    works=st.booleans(),
    words=st.none() | st.text(max_size=5),
    error=st.none() | st.just("error"),
    ends=st.sampled_from([None, "over", "interrupted"]),
)


@given(st.lists(LINES, max_size=12))
def test_no_words_come_before_the_prompt_or_after_the_next(story: list[TurnLine]) -> None:
    turn = Turn("do it", NOW)
    said = []
    for line in story:
        before = (turn.began, turn.left)
        words = turn.take(line)
        if words is not None:
            assert before == (True, False)
            said.append(words)
    assert turn.words == said


@given(st.binary(max_size=80))
def test_any_bytes_give_a_line_or_nothing(data: bytes) -> None:
    read_turn_line("claude", data)
    read_turn_line("claude", b'{"type": "assistant", "message": ' + data + b"}")
