"""Numbers as arguments of verbs, refused in our own words."""

import math
from collections.abc import Callable

import click


def whole(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number, `least` or more."""

    def number(value: str) -> int:
        try:
            if int(value) >= least:
                return int(value)
        except ValueError:
            pass
        raise click.BadParameter(f"should be a whole number, {least} or more, not {value!r}")

    return number


def seconds(value: str) -> float:
    """The type of an option that is a length of time, more than nothing."""
    try:
        if 0 < float(value) < math.inf:
            return float(value)
    except ValueError:
        pass
    raise click.BadParameter(f"should be a number of seconds, more than 0, not {value!r}")
