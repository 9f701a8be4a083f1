"""The comparison itself: what it counts, and that nothing wrong passes as right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.truth.timeline import GRACE, Evidence, Shown, Step, Verdict, compare

END = 10.0


def step(label: str, at: float, cause: float | None = None, **more: object) -> Step:
    """A step whose cause is half a second before it, or as given."""
    cause = at - 0.5 if cause is None else cause
    return Step((label,), cause, at, **more)  # type: ignore[arg-type]


def proved(at: float, label: str, detail: str = "", source: str = "hook") -> Shown:
    return Shown(at, label, detail, Evidence(label, "hook_received", source, at))


TURN = [
    step("ready", 0.0, 0.0),
    step("working/thinking", 2.0),
    step("blocked/permission", 4.0),
    step("working/tool", 6.0),
    step("ready", 8.0),
]
TRUE = [
    proved(-5.0, "ready"),
    proved(1.9, "working/thinking"),
    proved(4.05, "blocked/permission"),
    proved(6.0, "working/tool"),
    proved(8.02, "ready"),
]


def test_the_truth_is_true() -> None:
    verdict = compare(TURN, TRUE, END)
    assert verdict.is_true
    assert verdict.share == pytest.approx(100)
    # What it was late by is not right without the grace; what was early is, as its cause was there.
    assert verdict.strict == pytest.approx(END - 0.05 - 0.02)
    assert verdict.late == pytest.approx((0.0, 0.05, 0.0, 0.02))
    assert (verdict.steps, verdict.total) == (5, END)


def test_a_step_that_was_never_shown_is_missed() -> None:
    verdict = compare(TURN, [TRUE[0], TRUE[1], *TRUE[3:]], END)
    assert verdict.missed == ("blocked/permission from 4.00 s",)
    assert verdict.extra == ()
    assert verdict.right == pytest.approx(END - (6 - 4 - GRACE))


@pytest.mark.parametrize("at", [2.3, 2.5, 4.5, 7.9])
def test_a_flicker_is_extra_however_short(at: float) -> None:
    before = [each for each in TRUE if each.at <= at]
    after = [each for each in TRUE if each.at > at]
    back = proved(at + 0.001, before[-1].label)
    verdict = compare(TURN, [*before, proved(at, "limited"), back, *after], END)
    assert len(verdict.extra) == 2, "the flicker, and what stood there before"
    assert verdict.false_ready == ()


def test_ready_in_a_turn_is_false() -> None:
    flicker = [*TRUE[:2], proved(3.0, "ready"), proved(3.01, "working/thinking"), *TRUE[2:]]
    verdict = compare(TURN, flicker, END)
    assert verdict.false_ready == ("ready () from 3.00 to 3.01 s",)
    assert not verdict.is_true
    # Its cause was there, but it was not yet what the CLI showed: a hook may be before the file.
    assert compare(TURN, [*TRUE[:4], proved(7.6, "ready")], END).is_true
    assert compare(TURN, [*TRUE[:4], proved(7.4, "ready")], END).false_ready


def test_what_comes_before_its_cause_is_no_knowledge() -> None:
    verdict = compare(TURN, [TRUE[0], proved(1.4, "working/thinking"), *TRUE[2:]], END)
    assert verdict.missed == ("working/thinking from 2.00 s",)
    assert len(verdict.extra) == 1


def test_an_optional_step_may_be_shown_or_not() -> None:
    passing = step("working/tool", 3.5, 3.5, optional=True)
    steps = [*TURN[:2], passing, *TURN[2:]]
    assert compare(steps, TRUE, END).is_true
    shown = [*TRUE[:2], proved(3.8, "working/tool"), *TRUE[2:]]
    verdict = compare(steps, shown, END)
    assert verdict.is_true
    assert verdict.share == pytest.approx(100)
    assert verdict.steps == 5
    assert compare(TURN, shown, END).extra


def test_what_belongs_to_a_step_must_be_told_with_it() -> None:
    steps = [*TURN[:2], step("blocked/permission", 4.0, says="touch made"), *TURN[3:]]
    assert compare(steps, TRUE, END).missed
    told = [*TRUE[:2], TRUE[2], proved(4.2, "blocked/permission", "Bash: touch made"), *TRUE[3:]]
    verdict = compare(steps, told, END)
    assert verdict.is_true
    assert verdict.late[1] == pytest.approx(0.05), "the status counts, not its detail"


def test_flags_are_part_of_what_is_shown() -> None:
    verdict = compare(TURN, [*TRUE[:4], proved(8.02, "ready+interrupted")], END)
    assert len(verdict.missed) == len(verdict.extra) == 1


@pytest.mark.parametrize(
    ("at", "source", "good"),
    [(4.0, "hook", True), (3.4, "hook", False), (6.2, "hook", False), (4.0, "screen", False)],
)
def test_evidence_must_be_of_the_step(at: float, source: str, good: bool) -> None:
    sources = frozenset({"hook", "status"})
    steps = [*TURN[:2], step("blocked/permission", 4.0, sources=sources), *TURN[3:]]
    evidence = Evidence("blocked/permission", "k", source, at)
    shown = [*TRUE[:2], Shown(4.05, "blocked/permission", "", evidence), *TRUE[3:]]
    assert (compare(steps, shown, END).unproved == ()) is good
    nothing = [*TRUE[:2], Shown(4.05, "blocked/permission"), *TRUE[3:]]
    assert compare(steps, nothing, END).unproved


def test_sums() -> None:
    good = compare(TURN, TRUE, END)
    bad = compare(TURN, TRUE[:-1], END)
    both = good + bad + Verdict()
    assert both.missed == bad.missed
    assert both.total == 2 * END
    assert both.late == good.late + bad.late
    assert bad.share < both.share < good.share
    assert Verdict().share == Verdict().strict_share == 100


# -- whatever was true ---------------------------------------------------------------------------

LABELS = ("ready", "working/thinking", "working/tool", "blocked/permission", "limited")


@st.composite
def truths(draw: st.DrawFn) -> list[Step]:
    """Steps of which no two that follow each other are the same."""
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=8))
    labels = [n for m, n in enumerate(labels) if not m or labels[m - 1] != n]
    gaps = draw(st.lists(st.floats(0.3, 3), min_size=len(labels), max_size=len(labels)))
    ats = [sum(gaps[1 : n + 1]) for n in range(len(labels))]
    causes = [0.0, *(at - 0.2 for at in ats[1:])]
    return [Step((n,), c, a) for n, c, a in zip(labels, causes, ats, strict=True)]


def shown_as(steps: list[Step], delays: list[float]) -> list[Shown]:
    return [proved(s.at + d, s.labels[0]) for s, d in zip(steps, delays, strict=True)]


@given(steps=truths(), data=st.data())
def test_what_is_shown_in_time_is_true(steps: list[Step], data: st.DataObject) -> None:
    near = st.floats(-0.199, GRACE - 0.001)
    delays = data.draw(st.lists(near, min_size=len(steps), max_size=len(steps)))
    end = steps[-1].at + 1
    verdict = compare(steps, shown_as(steps, [0.0, *delays[1:]]), end)
    assert verdict.is_true
    assert verdict.share == pytest.approx(100)
    assert verdict.strict <= verdict.right + 1e-9


@given(steps=truths(), data=st.data())
def test_whatever_is_left_out_or_put_in_is_counted(steps: list[Step], data: st.DataObject) -> None:
    end = steps[-1].at + 1
    shown = shown_as(steps, [0.0] * len(steps))
    place = data.draw(st.integers(0, len(steps) - 1))
    wrong = data.draw(st.sampled_from([n for n in (*LABELS, "lost") if n != shown[place].label]))
    at = shown[place].at + 0.05
    put_in = [*shown[: place + 1], proved(at, wrong), *shown[place + 1 :]]
    assert compare(steps, put_in, end).extra
    if place:
        left_out = shown[:place] + shown[place + 1 :]
        assert compare(steps, left_out, end).missed


@given(steps=truths(), labels=st.lists(st.sampled_from(LABELS), max_size=8))
def test_time_adds_up_whatever_was_shown(steps: list[Step], labels: list[str]) -> None:
    end = steps[-1].at + 1
    shown = [proved(n * 0.3, label) for n, label in enumerate(labels)]
    verdict = compare(steps, shown, end)
    assert -1e-9 <= verdict.strict <= verdict.right + 1e-9
    assert verdict.right <= verdict.total + 1e-9
