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


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def age(value: str) -> float:
    """The type of an option that is an age, in seconds or with a unit: 90, 10m, 2h, 7d, 1w."""
    number = value.rstrip("smhdw")
    try:
        seconds = float(number) * _UNITS[value[len(number) :]]
        if 0 <= seconds < math.inf:
            return seconds
    except (ValueError, KeyError):
        pass
    raise click.BadParameter(f"should be an age such as 90, 10m, 2h or 7d, not {value!r}")
