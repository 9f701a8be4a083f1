"""Colours of single lines, and of a screen as it was taken."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.styles import as_taken, standalone

STYLES = ["", "0", "1", "2", "7", "0;4", "31", "94", "39", "38;5;246", "48;2;1;2;3", "107", "49"]
PIECES = st.sampled_from(["a", "b c", "❯", *(f"\x1b[{style}m" for style in (*STYLES, "58:5:1"))])
LINES = st.lists(st.lists(PIECES, max_size=6).map("".join), max_size=8)


@given(LINES)
def test_a_screen_is_had_again_as_it_was_taken(lines: list[str]) -> None:
    assert as_taken(standalone(lines)) == lines


def test_a_hint_stays_faint_only_where_it_was() -> None:
    taken = ["\x1b[2mfaint", "still", "\x1b[0mnot"]
    assert standalone(taken)[1] == "\x1b[2mstill"
    assert as_taken(standalone(taken)) == taken


def test_letters_of_the_second_set_are_told_as_the_lines_that_they_are() -> None:
    taken = ["qx\x0elqk", "x\x1b[31mx", "mqj\x0f \x1b[mlqk\x1b]8;;http://x\x1b\\q", "\x0fq"]
    assert standalone(taken) == [
        "qx┌─┐",
        "│\x1b[31m│",
        "\x1b[31m└─┘ \x1b[mlqk\x1b]8;;http://x\x1b\\q",
        "q",
    ]
