"""The times of what files tell: in the order of the files, whatever the machine does meanwhile."""

import itertools
import time

import pytest

from orchestrator.sources import reading


class Clocks:
    """Both clocks. `stalls`: at which readings of the wall clock the process waits for its turn."""

    def __init__(self, ahead: float, stalls: set[int], seconds: float) -> None:
        self.now = 1000.0
        self.ahead = ahead
        self._stalls = stalls
        self._seconds = seconds
        self._reading = itertools.count()

    def boot(self, _: int) -> float:
        self.now += 1e-6
        return self.now

    def wall(self) -> float:
        self.now += self._seconds if next(self._reading) in self._stalls else 1e-6
        return self.now - self.ahead


def clocks(
    monkeypatch: pytest.MonkeyPatch, ahead: float, stalls: set[int], seconds: float = 0.5
) -> Clocks:
    made = Clocks(ahead, stalls, seconds)
    monkeypatch.setattr(time, "clock_gettime", made.boot)
    monkeypatch.setattr(time, "time", made.wall)
    return made


@pytest.mark.parametrize("stalls", [{3}, {0, 1, 3, 9}, {*range(0, 200, 4)}])
def test_a_process_that_waits_for_its_turn_does_not_move_what_happened(
    monkeypatch: pytest.MonkeyPatch, stalls: set[int]
) -> None:
    monkeypatch.setattr(reading, "_difference", 0.0)
    clocks(monkeypatch, -5000.0, stalls)
    stamps = [reading.stamp_of(5900.0 + n // 10 * 1e-3) for n in range(100)]
    assert [mono for _, mono in stamps] == sorted(mono for _, mono in stamps)
    assert [mono for _, mono in stamps] == pytest.approx(
        [900.0 + n // 10 * 1e-3 for n in range(100)]
    )


def test_a_wall_clock_that_is_set_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_difference", 0.0)
    made = clocks(monkeypatch, -5000.0, set())
    assert reading.stamp_of(5900.0)[1] == pytest.approx(900.0, abs=1e-3)
    made.ahead = -8600.0
    assert reading.stamp_of(9500.0)[1] == pytest.approx(900.0, abs=1e-3)


def test_nothing_happened_later_than_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_difference", 0.0)
    made = clocks(monkeypatch, -5000.0, set())
    assert reading.stamp_of(9999.0)[1] <= made.now
