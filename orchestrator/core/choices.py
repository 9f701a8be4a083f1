"""The choices of an open dialog, found among the lines of a screen. Pure."""

import re
from collections.abc import Callable, Sequence

from orchestrator.core.values import value

# Lines that may stand between two choices: a description that is folded, a rule.
GAP = 8

# Box drawing. A solid horizontal line bounds a box; dashed ones set off a part of its text.
BOX = re.compile("[\u2500-\u257f]+")
RULE = re.compile("\\s*(?:[─━═]{8}|[╭┌┏╔╰┗╚][─━═])")
_BOTTOM = re.compile("\\s*[╰└┗╚]")

Search = Callable[[str], re.Match[str] | None]


@value
class Choice:
    """A line that shows one. `key` "": it shows none."""

    place: int
    column: int
    key: str
    label: str
    cursor: bool


def choices(tail: Sequence[str], search: Search) -> list[Choice]:
    """The lowest group of choices, topmost first. `search` finds a line's key, label and cursor."""
    rows = [_row(place, search(line)) for place, line in enumerate(tail)]
    return _menu(tail, rows) or _keyed(tail, rows)


def _row(place: int, match: re.Match[str] | None) -> Choice | None:
    if match is None:
        return None
    named = match.groupdict()
    return Choice(
        place=place,
        column=match.start("label"),
        key=named.get("key") or "",
        label=" ".join(BOX.sub("", named.get("label") or "").split()),
        cursor=bool(named.get("cursor")),
    )


def _keyed(tail: Sequence[str], rows: Sequence[Choice | None]) -> list[Choice]:
    """Choices that show their keys.

    Lists that the agent printed look like choices too. So a group ends, upwards, where too many
    other lines stand between, where a key comes again, and where numbers do not count down.
    """
    found: list[Choice] = []
    between = 0
    for place in range(len(rows) - 1, -1, -1):
        row = rows[place]
        if row is not None and row.key:
            if found and not _goes_before(row.key, found):
                break
            found.append(row)
            between = 0
        elif found and tail[place]:
            between += 1
            if between > GAP:
                break
    return found[::-1]


def _menu(tail: Sequence[str], rows: Sequence[Choice | None]) -> list[Choice]:
    """Choices that show no keys: the lines around the highlighted one that begin where it does.

    It stands in the lowest box, and below any choice that has a key.
    """
    under = ""
    for place in range(len(tail) - 1, -1, -1):
        row = rows[place]
        if row is not None and row.cursor and not row.key:
            group = _in_column(rows, row)
            if len(group) > 1:
                return group
        if (row is not None and row.key) or (under and _is_top(tail[place])):
            break
        under = under or ("" if RULE.match(tail[place]) else tail[place])
    return []


def _is_top(line: str) -> bool:
    return bool(RULE.match(line)) and not _BOTTOM.match(line)


def _in_column(rows: Sequence[Choice | None], of: Choice) -> list[Choice]:
    """The unbroken run of lines around `of` whose labels begin in its column."""

    def run(places: range) -> list[Choice]:
        found: list[Choice] = []
        for place in places:
            row = rows[place]
            if row is None or row.key or row.column != of.column:
                break
            found.append(row)
        return found

    above, below = range(of.place - 1, -1, -1), range(of.place + 1, len(rows))
    return [*run(above)[::-1], of, *run(below)]


def _goes_before(key: str, found: Sequence[Choice]) -> bool:
    """Whether `key` may be of the choice above those found so far (lowest first)."""
    below = found[-1].key
    if key.isdecimal() and below.isdecimal():
        return int(key) == int(below) - 1
    return all(key != other.key for other in found)
