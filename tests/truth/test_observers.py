"""Times of two clocks: a thread that has to wait between them does not move what happened."""

import itertools
import time

import pytest

from tests.truth import observers

# Seconds that the wall clock is ahead of the other one, and that a thread waits for its turn.
AHEAD, WAIT = 5000.0, 0.5


@pytest.mark.parametrize("stalls", [{0}, {0, 1, 2, 3}, {1, 3}])
def test_who_waits_between_two_clocks_tells_the_right_time(
    monkeypatch: pytest.MonkeyPatch, stalls: set[int]
) -> None:
    now, reading = 1000.0, itertools.count()

    def monotonic() -> float:
        nonlocal now
        now += 1e-6
        return now

    def wall() -> float:
        nonlocal now
        read = now + AHEAD
        now += WAIT if next(reading) in stalls else 1e-6
        return read

    monkeypatch.setattr(time, "monotonic", monotonic)
    monkeypatch.setattr(time, "time", wall)
    assert observers.monotonic(5900.0) == pytest.approx(900.0, abs=1e-3)
