"""The circuit breaker of a CLI."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.breakers import FIRST, LIMIT, LONGEST, Breaker, admits, after, wait

NOW = 1_000_000.0


def failing(times: int = LIMIT, breaker: Breaker | None = None) -> Breaker:
    breaker = breaker or Breaker()
    for _ in range(times):
        breaker = after(breaker, False, NOW)
    return breaker


def through(breaker: Breaker, now: float) -> Breaker:
    admitted, breaker = admits(breaker, now)
    assert admitted
    return breaker


def test_a_few_failures_let_everything_through() -> None:
    breaker = failing(LIMIT - 1)
    assert admits(breaker, NOW) == (True, breaker)
    assert failing(LIMIT - 1, after(breaker, True, NOW)).until == 0


def test_it_opens_and_says_for_how_long() -> None:
    breaker = failing()
    assert admits(breaker, NOW) == (False, breaker)
    assert wait(breaker, NOW + 10) == FIRST - 10


def test_then_one_is_let_through_whose_success_closes_it() -> None:
    breaker = through(failing(), NOW + FIRST)
    assert not admits(breaker, NOW + FIRST + 1)[0]
    assert after(breaker, True, NOW + FIRST + 2) == Breaker()


def test_its_failure_doubles_the_span_up_to_the_longest() -> None:
    breaker, now, spans = failing(), NOW, []
    for _ in range(6):
        spans.append(breaker.until - breaker.opened)
        now = breaker.until
        breaker = after(through(breaker, now), False, now)
    assert spans == [30, 60, 120, 240, 300, 300]
    assert spans[-1] == LONGEST


def test_one_that_dies_without_a_word_is_replaced() -> None:
    breaker = through(failing(), NOW + FIRST)
    assert wait(breaker, NOW + FIRST + 1) == FIRST - 1
    through(breaker, NOW + 2 * FIRST)


def test_runs_that_began_before_it_opened_change_nothing_by_failing() -> None:
    opened = failing()
    assert replace(after(opened, False, NOW + 1), failures=LIMIT) == opened
    assert after(opened, True, NOW + 1) == Breaker()


def test_a_clock_that_was_set_back_lets_one_through_at_once() -> None:
    breaker = through(failing(), NOW - 86_400)
    # And one more only after the span, by the new clock.
    assert wait(breaker, NOW - 86_400 + 1) == FIRST - 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ok", "failed"]), st.floats(-1e5, 1e5) | st.floats(0, 40))
)


@given(STEPS)
def test_nobody_waits_longer_than_a_span(steps: list[tuple[str, float]]) -> None:
    """Whatever ends in whatever order, and wherever the clock goes."""
    breaker, now = Breaker(), NOW
    for what, passes in steps:
        now += passes
        if what == "ask":
            admitted, asked = admits(breaker, now)
            assert admitted == (wait(breaker, now) == 0)
            # One at a time while it is not closed.
            assert not (admitted and breaker.until and admits(asked, now)[0])
            breaker = asked
        else:
            breaker = after(breaker, what == "ok", now)
        span = breaker.until - breaker.opened
        assert 0 <= span <= LONGEST
        assert 0 <= wait(breaker, now) <= span
        assert admits(breaker, now + wait(breaker, now) + 1e-3)[0]
