"""Live screens as their viewers are told of them: whole at first, then what differs. Pure.

    frame --> Teller.line --> {"screen": frame} or {"change": ...} --> follow --> frame

A change is made for the frame that this viewer was told last, and holds a sum of the lines that
come of it: what was lost or mixed up on the way is seen, and never shown.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

Frame = dict[str, Any]
Difference = tuple[tuple[int, int, tuple[str, ...]], ...]

# Changes after which the whole frame is told again.
CHANGES = 60
# Pairs of equal lines up to which it is looked for what has moved: with more of them, which a
# screen full of one repeated line has, that takes longer than it is worth.
PAIRS = 1000
# Characters that a line, and a place, take on the way beside what they hold, more or less.
_LINE, _PLACE = 3, 10


# -- differences of lines --------------------------------------------------------------------------


def diff(a: Sequence[str], b: Sequence[str]) -> Difference:
    """What changes the lines `a` to `b`: (start, end, new lines), places counted in `a`."""
    above = _equal(zip(a, b, strict=False))
    below = _equal(zip(reversed(a[above:]), reversed(b[above:]), strict=False))
    old, new = a[above : len(a) - below], b[above : len(b) - below]
    return tuple(
        (above + start, above + end, tuple(new[low:high]))
        for start, end, low, high in _places(old, new)
    )


def _equal(pairs: Iterable[tuple[str, str]]) -> int:
    """How many pairs are equal before the first that is not."""
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _places(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Where `a` and `b` differ, as slices of both."""
    if not a or not b:
        if a or b:
            yield 0, len(a), 0, len(b)
        return
    if _pairs(a, b) > PAIRS:
        yield from _line_by_line(a, b)
        return
    for tag, start, end, low, high in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag != "equal":
            yield start, end, low, high


def _pairs(a: Sequence[str], b: Sequence[str]) -> int:
    """How many pairs of a line of `a` and one of `b` are equal: what matching them costs."""
    counts = Counter(b)
    return sum(counts[line] for line in a)


def _line_by_line(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Each line beside the one in its place; what one has more is told last."""
    both = min(len(a), len(b))
    start = None
    for place in range(both):
        if a[place] != b[place]:
            start = place if start is None else start
        elif start is not None:
            yield start, place, start, place
            start = None
    if start is not None or len(a) != len(b):
        start = both if start is None else start
        yield start, len(a), start, len(b)


def apply(a: Sequence[str], difference: Iterable[Sequence[Any]]) -> list[str]:
    """The lines that `diff` was made for: `apply(a, diff(a, b)) == b`.

    Raises ValueError where the difference cannot be one of `a`.
    """
    lines: list[str] = []
    at = 0
    for start, end, new in difference:
        if not at <= start <= end <= len(a):
            raise ValueError(f"a difference from {start} to {end} does not fit {len(a)} lines")
        lines += a[at:start]
        lines += new
        at = end
    lines += a[at:]
    return lines


# -- the stream of one viewer ----------------------------------------------------------------------


class Teller:
    """What one viewer is told. `line(frame)` makes of each frame the line that goes to it."""

    def __init__(self) -> None:
        self._told: Frame | None = None
        self._changes = 0

    def line(self, frame: Frame | None) -> dict[str, Any]:
        """`change` where that is shorter, `screen` (None: there is no pane) everywhere else."""
        change = self._change(frame)
        self._told = frame
        if change is None:
            self._changes = 0
            return {"screen": frame}
        self._changes += 1
        return {"change": change}

    def _change(self, frame: Frame | None) -> dict[str, Any] | None:
        told = self._told
        if not told or not frame or self._changes >= CHANGES or _place(told) != _place(frame):
            return None
        difference = diff(told["lines"], frame["lines"])
        if _size(difference) >= sum(len(line) + _LINE for line in frame["lines"]):
            return None
        change = {"lines": difference, "sum": _sum(frame["lines"])}
        if told.get("cursor") != frame.get("cursor"):
            change["cursor"] = frame.get("cursor")
        return change


def follow(frame: Frame | None, line: Mapping[str, Any]) -> Frame | None:
    """The frame after a line of the stream; `frame` is the one before it.

    Raises ValueError if they do not belong together: whoever asks anew is told the whole frame.
    """
    if "change" not in line:
        whole: Frame | None = line.get("screen")
        return whole
    change = line["change"]
    if not frame:
        raise ValueError("a change came before there was a screen")
    try:
        lines = apply(frame["lines"], change["lines"])
        fits = _sum(lines) == change["sum"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a change of a screen cannot be read: {error!r}") from error
    if not fits:
        raise ValueError("a change is of another screen")
    moved = {"cursor": change["cursor"]} if "cursor" in change else {}
    return {**frame, "lines": lines, **moved}


def _place(frame: Frame) -> Frame:
    """What does not change as long as it is the same screen: whose it is, its run and its size."""
    return {key: found for key, found in frame.items() if key not in ("lines", "cursor")}


def _size(difference: Difference) -> int:
    """How long it is, more or less, in characters."""
    return sum(_PLACE + sum(len(line) + _LINE for line in new) for _, _, new in difference)


def _sum(lines: Sequence[str]) -> int:
    return zlib.crc32("\n".join(lines).encode("utf-8", "surrogatepass"))
