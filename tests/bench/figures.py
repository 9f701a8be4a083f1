"""Figures, their budgets, and the table of both. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Columns of what was measured, and of each number with its unit.
_WHAT, _NUMBER = 62, 10


@dataclass(frozen=True)
class Figure:
    """One measured value. `budget` is the most that it may be, `polling` what the polling way
    takes for the same; None: there is none. All three are in `unit`."""

    what: str
    value: float
    unit: str
    budget: float | None = None
    polling: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is over its budget; what is not a number is."""
        return self.budget is not None and not self.value <= self.budget


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def head() -> str:
    """The first line of the table."""
    titles = ("figure", "budget", "polling")
    return f"{'what':<{_WHAT}}" + "".join(f"{title:>{_NUMBER + 1}}" for title in titles)


def row(figure: Figure) -> str:
    """Its line of the table."""
    told = [_number(n, figure.unit) for n in (figure.value, figure.budget, figure.polling)]
    verdict = "" if figure.budget is None else "  OVER" if figure.is_over else "  ok"
    return f"{figure.what:<{_WHAT}}" + "".join(f"{n:>{_NUMBER + 1}}" for n in told) + verdict


def _number(value: float | None, unit: str) -> str:
    """With three digits that count, as far as they are behind the point."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return f"? {unit}".rstrip()
    digits = 0 if not value else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 3)}f} {unit}".rstrip()
