"""No control of a terminal survives `safe_text`, and widths are counted in columns."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.text import clip, pad, safe_text, span, width

# Everything with a meaning to a terminal is much likelier than in plain text.
_CONTROLS = st.sampled_from(
    [*map(chr, range(0x20)), "\x7f", *map(chr, range(0x80, 0xA0)), "\u200b", "\u202e", "\ufeff"]
)
_LONE = st.characters(categories=["Cs"])
_TEXT = st.lists(
    st.one_of(
        st.text(max_size=4),
        _CONTROLS,
        _LONE,
        st.sampled_from(
            ["\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1bP", "\r\n"]
        ),
    )
).map("".join)


def _allowed(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


@given(_TEXT)
def test_no_control_survives(text: str) -> None:
    safe = safe_text(text)
    assert all(map(_allowed, safe))
    assert safe_text(safe) == safe
    safe.encode()  # what is printed can be encoded


@given(_TEXT)
def test_with_lines_newlines_alone_survive(text: str) -> None:
    safe = safe_text(text, lines=True)
    assert all(_allowed(char) or char == "\n" for char in safe)
    assert safe_text(safe, lines=True) == safe


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_plain_text_is_left_alone(text: str) -> None:
    assert safe_text(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]52;c;aGk=\x07copied", "copied"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1b(Bset", "set"),
        ("\x1b]0;without an end", "]0;without an end"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("a\u200bb\u2066c\u2069", "abc"),
        ("one\ntwo\tthree\r\nfour", "one two three four"),
        ("\udcff", "\ufffd"),
    ],
)
def test_examples(text: str, safe: str) -> None:
    assert safe_text(text) == safe


def test_an_endless_sequence_is_read_in_linear_time() -> None:
    """A megabyte that begins many sequences and ends none; quadratic would take minutes."""
    for part in ("\x1b[1;", "\x1b]0;", "\x1bP1", "\x1b(", "\x9d"):
        assert "\x1b" not in safe_text(part * 250_000)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("日本", 4), ("é", 1), ("e\u0301", 1), ("✗ ok", 4), ("🚀", 2), ("", 0)],
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


@given(st.text(), st.integers(0, 40))
def test_clip_fits_and_keeps_what_fits(text: str, columns: int) -> None:
    text = safe_text(text)
    clipped = clip(text, columns)
    assert width(clipped) <= columns
    if width(text) <= columns:
        assert clipped == text


def test_pad_counts_columns() -> None:
    assert pad("日本", 6) + "|" == "日本  |"
    assert pad("long", 2) == "long"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.4, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (2e5, "2d")],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text
