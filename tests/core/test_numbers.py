"""Numbers in few columns."""

import pytest

from orchestrator.core import numbers


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (999_999, "999.9k"),
        (1_000_000, "1.0M"),
    ],
)
def test_a_count(number: int, shown: str) -> None:
    assert numbers.count(number) == shown


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(None, "$?"), (0.0, "$0.00"), (0.0099, "<$0.01"), (0.42, "$0.42"), (1234.5, "$1234.50")],
)
def test_a_cost(cost: float | None, shown: str) -> None:
    assert numbers.cost(cost) == shown


def test_an_age() -> None:
    shown = [numbers.age(seconds) for seconds in (0, 4.9, 7, 59, 60, 3700, 200_000)]
    assert shown == ["now", "now", "5s", "55s", "1m", "1h", "2d"]


def test_a_share_and_a_size() -> None:
    assert [numbers.share(part) for part in (None, 0.0, 1.5)] == ["", "0%", "150%"]
    shown = [numbers.memory(size) for size in (None, 512, 200 << 10, 182 << 20, 3 << 29)]
    assert shown == ["", "512B", "200K", "182M", "1.5G"]
