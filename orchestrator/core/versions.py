"""Which version of a CLI its screens are read as: a definition knows some versions, not all.

A version that it does not know is read as the nearest one that it does, and that is said. Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from orchestrator.core.spec import CliSpec, ScreenOverride, ScreenPattern, ScreenSpec
from orchestrator.core.text import clip, safe_text

# The numbers of a version, without zeros at its end: 2.1 is 2.1.0.
Version = tuple[int, ...]
Ranged = ScreenPattern | ScreenOverride

# Two numbers at least: one alone may count anything. Nine digits are more than a version has.
_NUMBERS = re.compile(r"(?<![0-9.])[0-9]{1,9}(?:\.[0-9]{1,9})+(?!\.?[0-9])")
# Columns of a version that is shown to people.
_WIDTH = 40


def parse(text: str) -> Version | None:
    """The version that `text` tells, as "2.1.329 (Claude Code)" does; None if it tells none."""
    found = _NUMBERS.search(text)
    if found is None:
        return None
    numbers = [int(number) for number in found[0].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def nearest(known: Sequence[str], version: str | None) -> str | None:
    """The one of `known` to read `version` as: the greatest that is not newer, else the least.

    The greatest of all where it cannot be told which version it is; None if none is known.
    """
    ordered = sorted((number, text) for text in known if (number := parse(text)) is not None)
    if not ordered:
        return None
    wanted = None if version is None else parse(version)
    if wanted is None:
        return ordered[-1][1]
    older = [text for number, text in ordered if number <= wanted]
    return older[-1] if older else ordered[0][1]


def holds_for(ranged: Ranged, version: str) -> bool:
    """Whether `version` is within its `since` and `until`, both included."""
    number = parse(version) or ()
    since = None if ranged.since is None else parse(ranged.since)
    until = None if ranged.until is None else parse(ranged.until)
    return (since is None or since <= number) and (until is None or number <= until)


@lru_cache(maxsize=64)
def for_version(spec: ScreenSpec, version: str | None) -> tuple[ScreenSpec, str | None]:
    """How the screens of this version are read, and what is to be said where that is a guess.

    `version` None: the CLI has not told it yet. What is given back knows one version, the one that
    it was made for.
    """
    taken = nearest(spec.versions, version)
    if taken is None:
        return spec, None
    made = replace(
        spec,
        versions=(taken,),
        patterns=tuple(each for each in spec.patterns if holds_for(each, taken)),
        overrides=(),
    )
    for override in spec.overrides:
        if holds_for(override, taken):
            made = _overridden(made, override)
    return made, None if version is None else _said(taken, version)


def as_told(cli: CliSpec, version: str | None) -> CliSpec:
    """The CLI, with the screens of this version alone."""
    return replace(cli, screen=for_version(cli.screen, version)[0])


def _overridden(spec: ScreenSpec, by: ScreenOverride) -> ScreenSpec:
    return replace(
        spec,
        composer=spec.composer if by.composer is None else by.composer,
        interruptible=spec.interruptible if by.interruptible is None else by.interruptible,
        option=spec.option if by.option is None else by.option,
    )


def _said(taken: str, version: str) -> str | None:
    if parse(version) == parse(taken):
        return None
    found = _NUMBERS.search(version)
    shown = found[0] if found else repr(clip(safe_text(version), _WIDTH))
    return f"its screens are read as those of {taken}: of {shown} there are none"
