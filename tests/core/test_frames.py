"""Screens on the wire: differences of lines, and what a viewer makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import frames
from orchestrator.core.frames import CHANGES, PAIRS, Frame, Teller, apply, diff, follow

RECORDED = Path(__file__).parents[1] / "screens" / "claude" / "2.1.329" / "12-streaming.txt"
LINES = st.lists(st.sampled_from(["", "a", "b", "c", "──", "❯ x"]), max_size=30)
# Lines of which so many are the same that they are compared place by place.
REPEATED = st.lists(st.sampled_from(["", "x"]), min_size=60, max_size=90)
CURSOR = st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)).map(list)
SCREENS = st.lists(
    st.none()
    | st.fixed_dictionaries(
        {
            "agent": st.just("a"),
            "run": st.integers(1, 2),
            "columns": st.sampled_from([80, 81]),
            "rows": st.just(24),
            "cursor": CURSOR,
            "lines": st.lists(st.text(max_size=40) | st.just(""), max_size=8),
        }
    ),
    max_size=12,
)


def frame(*lines: str, **more: Any) -> Frame:
    return {"run": 1, "columns": 80, "cursor": [0, 0], "lines": list(lines), **more}


def sent(line: dict[str, Any]) -> dict[str, Any]:
    """The line as it comes out of the socket."""
    found: dict[str, Any] = json.loads(json.dumps(line))
    return found


# -- differences -----------------------------------------------------------------------------------


@given(LINES | REPEATED, LINES | REPEATED)
def test_apply_undoes_diff(a: list[str], b: list[str]) -> None:
    assert apply(a, diff(a, b)) == b


@given(LINES | REPEATED)
def test_no_difference_is_empty(a: list[str]) -> None:
    assert diff(a, list(a)) == ()


@given(REPEATED, st.data())
def test_of_a_screen_full_of_one_line_only_what_differs_is_told(
    a: list[str], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(a) - 1))
    b = [*a[:place], "new", *a[place + 1 :]]
    assert diff(a, b) == ((place, place + 1, ("new",)),)


def test_a_changed_line_is_a_small_difference() -> None:
    a = RECORDED.read_text("utf-8").split("\n")
    b = [line.replace("3s", "4s") for line in a]
    assert sum(len(new) for _, _, new in diff(a, b)) == 1


def test_what_scrolls_is_told_as_what_goes_and_what_comes() -> None:
    rows = [str(number) for number in range(50)]
    assert diff(rows, [*rows[1:], "50"]) == ((0, 1, ()), (50, 50, ("50",)))
    # Above a line that stays where it is.
    assert diff([*rows, "$"], [*rows[2:], "50", "51", "$"]) == ((0, 2, ()), (50, 50, ("50", "51")))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (["x", "same"] * 100, ["same", "y"] * 100),
        (["x"] * 200, ["y", *["x"] * 198, "y"]),
        (["", *"ab" * 100], [*"ba" * 100, ""]),
    ],
)
def test_an_odd_screen_costs_no_more_than_a_look_at_each_line(
    a: list[str], b: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert frames._pairs(a, b) > PAIRS
    monkeypatch.delattr(frames, "SequenceMatcher")
    assert apply(a, diff(a, b)) == b


@pytest.mark.parametrize(
    "wrong", [[[0, 3, []]], [[-1, 0, []]], [[2, 1, []]], [[1, 2, []], [0, 1, []]], [[3, 3, ["x"]]]]
)
def test_a_difference_of_other_lines_is_refused(wrong: list[Any]) -> None:
    with pytest.raises(ValueError, match="does not fit 2 lines"):
        apply(["a", "b"], wrong)


# -- the stream ------------------------------------------------------------------------------------


@given(SCREENS)
def test_a_viewer_has_each_screen_as_it_is(screens: list[Frame | None]) -> None:
    teller, seen = Teller(), None
    for screen in screens:
        seen = follow(seen, sent(teller.line(screen)))
        assert seen == screen


def test_the_first_screen_is_whole_and_then_what_differs_is_told() -> None:
    teller = Teller()
    before = frame("one line of text", "another line", "* working")
    after = frame("one line of text", "another line", "- working", cursor=[1, 2])
    assert teller.line(before) == {"screen": before}
    change = teller.line(after)["change"]
    assert change.pop("sum")
    assert change == {"lines": ((2, 3, ("- working",)),), "cursor": [1, 2]}
    hidden = {**after, "cursor": None}
    assert sent(teller.line(hidden))["change"] == {
        "lines": [],
        "cursor": None,
        "sum": frames._sum(after["lines"]),
    }


@pytest.mark.parametrize(
    "other",
    [
        frame("a line", "another", run=2),
        frame("a line", "another", columns=81),
        frame("b", "c"),
        frame(),
        None,
    ],
)
def test_another_screen_is_told_whole(other: Frame | None) -> None:
    teller = Teller()
    teller.line(frame("a line", "another"))
    assert teller.line(other) == {"screen": other}


def test_the_whole_screen_comes_now_and_then() -> None:
    teller = Teller()
    told = [teller.line(frame("a line that stays", str(n))) for n in range(2 * CHANGES + 3)]
    whole = [number for number, line in enumerate(told) if "screen" in line]
    assert whole == [0, CHANGES + 1, 2 * CHANGES + 2]


BEFORE = frame("a line that stays", "old")


def told() -> dict[str, Any]:
    """A change of BEFORE."""
    teller = Teller()
    teller.line(BEFORE)
    return sent(teller.line(frame("a line that stays", "new")))


def test_any_text_may_stand_on_a_screen() -> None:
    # Half of a surrogate pair is no UTF-8.
    teller = Teller()
    seen = follow(None, sent(teller.line(frame("a line that stays", "\udcff"))))
    seen = follow(seen, sent(teller.line(frame("a line that stays", "\udcfe"))))
    assert seen == frame("a line that stays", "\udcfe")


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (None, "before there was a screen"),
        (frame("a line that stays"), "does not fit"),
        (frame("another line", "old"), "of another screen"),
        (frame("a line that stays", "old", "more"), "of another screen"),
    ],
)
def test_what_is_of_another_screen_is_refused(before: Frame | None, why: str) -> None:
    assert follow(BEFORE, told()) == frame("a line that stays", "new")
    with pytest.raises(ValueError, match=why):
        follow(before, told())


@pytest.mark.parametrize(
    "part",
    [{"lines": None}, {"lines": [[0, 1, 7]]}, {"lines": [[0, 1]]}, {"lines": [["0", 1, []]]}],
)
def test_what_cannot_be_read_is_refused(part: dict[str, Any]) -> None:
    line = told()
    with pytest.raises(ValueError, match=r"cannot be read|unpack"):
        follow(BEFORE, {"change": {**line["change"], **part}})
    del line["change"]["sum"]
    with pytest.raises(ValueError, match="cannot be read"):
        follow(BEFORE, line)
