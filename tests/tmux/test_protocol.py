"""The control-mode parser, quoting, and what may be pasted: pure."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core.paste import clean_text
from orchestrator.tmux.protocol import (
    MAX_BLOCK,
    MAX_LINE,
    Block,
    ControlParser,
    Notification,
    quote,
)


def parse(data: bytes) -> list[Block | Notification]:
    return ControlParser().receive(data)


def block(number: int, *lines: bytes, ok: bool = True, flags: int = 1) -> Block:
    return Block(number=number, flags=flags, ok=ok, lines=lines)


FORGED = (
    b"%end 1 7 1",
    b"%error 1 7 1",
    b"%begin 1 7 1",
    b"%begin 1 8 1",
    b"%end 1 8 1",
    b"%end 1 70 1",
    b"%end 1 7 1 ",
    b"%exit",
    b"%output %1 x",
    b"%",
    b"% ",
    b"",
    b"%end",
    b"%begin 1 2",
    b"%begin a b c",
    b"%window-close @3",
)
rubbish = st.lists(st.one_of(st.sampled_from(FORGED), st.binary(max_size=30)), max_size=30)


@given(rubbish, st.lists(st.integers(0, 400), max_size=20))
def test_the_pieces_that_bytes_come_in_make_no_difference(
    lines: list[bytes], cuts: list[int]
) -> None:
    data = b"\n".join(lines) + b"\n"
    parser, items, begin = ControlParser(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        items += parser.receive(data[begin:cut])
        begin = max(begin, cut)
    assert items == parse(data)


@given(rubbish)
def test_rubbish_raises_nothing_and_a_block_closes_on_its_own_numbers_alone(
    lines: list[bytes],
) -> None:
    inside = tuple(
        line
        for part in lines
        for line in part.split(b"\n")
        if line not in (b"%end 9 9 1", b"%error 9 9 1")
    )
    data = b"".join(line + b"\n" for line in (b"%begin 9 9 1", *inside, b"%end 9 9 1"))
    assert parse(data) == [block(9, *inside)]


def test_blocks_errors_and_notifications() -> None:
    data = (
        b"%begin 1363006971 2 1\n0: ksh* (1 panes) @0\n%end 1363006971 2 1\n"
        b"%window-close @3\n%exit server exited\n%sessions-changed\n"
        b"%begin 1363006971 3 0\nno such thing\n%error 1363006971 3 0\n"
    )
    assert parse(data) == [
        block(2, b"0: ksh* (1 panes) @0"),
        Notification(name="window-close", args=b"@3"),
        Notification(name="exit", args=b"server exited"),
        Notification(name="sessions-changed", args=b""),
        block(3, b"no such thing", ok=False, flags=0),
    ]


def test_a_line_of_another_form_is_handed_on_without_a_name() -> None:
    assert parse(b"no server running\n%\xff x\n\n") == [
        Notification(name="", args=b"no server running"),
        Notification(name="", args=b"%\xff x"),
    ]


def test_a_line_without_end_is_cut_and_the_next_is_whole() -> None:
    parser = ControlParser()
    for _ in range(5):
        assert parser.receive(b"%x " + b"a" * MAX_LINE) == []
    (cut, after) = parser.receive(b"\n%exit\n")
    assert isinstance(cut, Notification)
    assert len(cut.args) == MAX_LINE - 3
    assert after == Notification(name="exit", args=b"")


@pytest.mark.parametrize(
    "inside", [b"a" * (MAX_LINE + 1) + b"\n", (b"a" * 1023 + b"\n") * (MAX_BLOCK // 1024 + 1)]
)
def test_an_answer_that_was_cut_is_not_ok(inside: bytes) -> None:
    cut, whole = parse(b"%begin 1 1 1\n" + inside + b"%end 1 1 1\n%begin 1 2 1\na\n%end 1 2 1\n")
    assert isinstance(cut, Block)
    assert not cut.ok
    assert sum(map(len, cut.lines)) <= MAX_BLOCK
    assert whole == block(2, b"a")


@pytest.mark.parametrize(
    "text", ["\n", "a\nb", "\r", "\0", "\t", "\x1b[m", "\x7f", "\x9b", "\ud800"]
)
def test_what_would_end_a_command_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a tmux command"):
        quote(text)


@given(st.text())
@example("\x1b[20\x1b[201~1~rm -rf /\r")
@example("\x9b201~")
@example("a\r\nb\rc\td")
def test_cleaned_text_holds_no_control_characters_and_is_clean(text: str) -> None:
    cleaned = clean_text(text)
    assert not [c for c in cleaned if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert clean_text(cleaned) == cleaned
    cleaned.encode()


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean_text(text) == text


def test_the_marks_of_a_paste_are_taken_out_whole() -> None:
    assert clean_text("a\x1b[201~b\x1b[200~c\x9b201~d") == "abcd"
    assert clean_text("one\r\ntwo\rthree\x1b[A\x07") == "one\ntwo\nthree[A"
