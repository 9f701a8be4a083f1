"""Screens of agents: colours are taken over, nothing else is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orchestrator.dashboard.terminal import Styled, cut, screen

# What an agent, or somebody who writes through it, may try.
HOSTILE = (
    "\x1b]52;c;aGVsbG8=\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;a title\x07",
    "\x1b[2J\x1b[H",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gpayload\x1b\\",
    "\x1b(0",
    "\x9b31m",
    "\x9d52;c;eA==\x9c",
    "\x07\x08\r\x0e\x7f",
    "\u202egnp.exe\u2066",
    "\x1b[",
    "\x1b",
    "\x1b]8;;unterminated",
)


def text(line: Styled) -> str:
    return "".join(part for part, _ in line)


def test_colours_and_attributes_are_taken_over() -> None:
    (line,) = screen(["a\x1b[1;31mb\x1b[22;39;44mc\x1b[38;5;208md\x1b[38;2;1;2;300me\x1b[mf"])
    assert text(line) == "abcdef"
    styles = {part: str(style) for part, style in line}
    assert styles["a"] == styles["f"] == "none"
    assert styles["b"] == "bold color(1)"
    assert styles["c"] == "on color(4)"
    assert styles["d"] == "color(208) on color(4)"
    assert styles["e"] == "#0102ff on color(4)"


@pytest.mark.parametrize(
    ("sequence", "style"),
    [
        ("\x1b[97;100m", "color(15) on color(8)"),
        ("\x1b[38:2::10:20:30m", "#0a141e"),
        ("\x1b[38:5:9m", "color(9)"),
        ("\x1b[4:3m", "underline"),
        ("\x1b[4m\x1b[4:0m", "none"),
        ("\x1b[58;5;1;3m", "italic"),
        ("\x1b[5;6;8m", "none"),  # neither blinking nor hidden
        ("\x1b[38;5;999m", "none"),
        ("\x1b[38;2;1m", "none"),
        ("\x1b[999;;7m", "reverse"),
    ],
)
def test_one_sequence(sequence: str, style: str) -> None:
    (line,) = screen([f"{sequence}x"])
    assert [(part, str(one)) for part, one in line] == [("x", style)]


def test_what_a_line_sets_holds_on_the_next() -> None:
    first, second = screen(["\x1b[32mgreen", "still\x1b[0m not"])
    assert str(first[0][1]) == str(second[0][1]) == "color(2)"
    assert str(second[1][1]) == "none"


@pytest.mark.parametrize("sequence", HOSTILE)
def test_other_sequences_are_dropped(sequence: str) -> None:
    (line,) = screen([f"before {sequence} after"])
    shown = text(line)
    assert shown.startswith("before ")
    assert shown.endswith(" after") or "unterminated" in sequence or sequence in ("\x1b[", "\x1b")
    assert not any(style.link for _, style in line)
    assert_harmless(shown)


@given(st.lists(st.one_of(st.text(), st.sampled_from((*HOSTILE, "\x1b[1;31m", "\x1b[38;2;9")))))
def test_no_control_byte_comes_through(parts: list[str]) -> None:
    for line in screen("".join(parts).split("\n")):
        assert_harmless(text(line))


def assert_harmless(shown: str) -> None:
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs")]


@pytest.mark.parametrize(
    ("line", "columns", "shown"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long›"),
        ("", 5, ""),
        ("blank     ", 5, "blank"),
        ("─────────", 5, "─────"),
        ("a────────", 5, "a────"),
        ("a───────b", 5, "a───›"),
        ("000000000", 5, "0000›"),
        ("日本語", 5, "日本›"),
        ("日本語", 4, "日 ›"),
        ("\x1b[1mab\x1b[mcd\x1b[7mef\x1b[m", 4, "abc›"),
    ],
)
def test_what_is_cut_off_is_marked(line: str, columns: int, shown: str) -> None:
    assert text(cut(screen([line])[0], columns)) == shown
    assert cell_len(shown) <= columns
