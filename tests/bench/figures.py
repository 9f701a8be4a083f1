"""Figures, their budgets, and how both are told: a table, or rows for a program. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

# Columns of what was measured, and of each number with its unit.
_WHAT, _NUMBER = 66, 10

# `pass` cannot be a field of a class.
Row = TypedDict(
    "Row",
    {
        "name": str,
        "budget": float | None,
        "figure": float | None,
        "unit": str,
        "baseline": float | None,
        "pass": bool | None,
    },
)


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


def entry(benchmark: str, figure: Figure) -> Row:
    """The same for a program. What is not a finite number is None: JSON has no other."""
    begins = f"{benchmark}: "
    return {
        "name": begins + figure.what.removeprefix(begins),
        "budget": _finite(figure.budget),
        "figure": _finite(figure.value),
        "unit": figure.unit,
        "baseline": _finite(figure.polling),
        "pass": None if figure.budget is None else not figure.is_over,
    }


def unmeasured(benchmark: str) -> Row:
    """What stands for a benchmark whose figures, or the rest of them, could not be taken."""
    name = f"{benchmark}: could not be measured"
    return {
        "name": name,
        "budget": None,
        "figure": None,
        "unit": "",
        "baseline": None,
        "pass": False,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None, unit: str) -> str:
    """With three digits that count, as far as they are behind the point."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return f"? {unit}".rstrip()
    digits = 0 if not value else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 3)}f} {unit}".rstrip()
