"""Lines of text with named looks: what the model makes and the widgets paint. Pure.

A look is a name, such as `bad`; what it looks like in a theme is in `app.tcss`.
"""

import functools
import re
from collections.abc import Sequence
from typing import Literal

from orchestrator.core.text import clip, pad, safe_text, width

Look = Literal["", "dim", "strong", "good", "busy", "ask", "warn", "bad", "key"]
Run = tuple[str, Look]
Line = tuple[Run, ...]

DOT = " · "
_UNSTEADY = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")


def plain(line: Line) -> str:
    """The text alone."""
    return "".join(text for text, _ in line)


def line_width(line: Line) -> int:
    """In columns."""
    return sum(width(text) for text, _ in line)


def fit(line: Line, columns: int) -> Line:
    """`line` in at most `columns` columns, with an ellipsis where it was cut."""
    if line_width(line) <= columns:
        return line
    kept: list[Run] = []
    for text, look in line:
        shown = clip(text, columns)
        kept.append((shown, look))
        columns -= width(shown)
        if shown != text or columns <= 0:
            break
    return tuple(kept)


def drawn(line: Line) -> Line:
    """`line` in fewer runs that look the same on a terminal, where each run has its price.

    No look has a background of its own, so that blanks may have any.
    """
    runs: list[Run] = []
    for text, look in line:
        if runs and (look == runs[-1][1] or text.isspace()):
            runs[-1] = (runs[-1][0] + text, runs[-1][1])
        else:
            runs.append((text, look))
    return tuple(runs)


def spread(left: Line, right: Line, columns: int) -> Line:
    """`left` and `right` at the ends of one line; the left one gives way."""
    right = fit(right, columns)
    room = columns - line_width(right)
    left = fit(left, max(0, room - 1))
    return (*left, (" " * (room - line_width(left)), ""), *right)


def joined(parts: Sequence[Run]) -> Line:
    """The parts that are not empty, with a dot between two."""
    runs: list[Run] = []
    for text, look in parts:
        if text:
            if runs:
                runs.append((DOT, "dim"))
            runs.append((text, look))
    return tuple(runs)


# Most cells of a table are as they were at its last painting.
@functools.lru_cache(maxsize=4096)
def cell(text: str, columns: int, *, right: bool = False) -> str:
    """`text` in exactly `columns` columns."""
    shown = clip(text, columns)
    if right:
        return " " * (columns - width(shown)) + shown
    return pad(shown, columns)


def steady(text: str) -> str:
    """`text` without what is as wide as a terminal likes: what stands beside it would be shifted.

    That are the selectors that turn a sign into an emoji, and an emoji's colour of skin.
    """
    return text if text.isascii() else _UNSTEADY.sub("", text)


def one_line(text: object) -> str:
    """Text of an agent as one safe line."""
    return " ".join(safe_text(str(text or "")).split())


def wrap(text: str, columns: int, limit: int) -> list[str]:
    """Safe text in lines of `columns` columns, broken at blanks where there are any.

    At most `limit` lines; an ellipsis says that there is more.
    """
    lines: list[str] = []
    for paragraph in safe_text(text, lines=True).split("\n"):
        rest = paragraph.rstrip()
        while width(rest) > columns > 0:
            head, rest = _break(rest, columns)
            lines.append(head)
            if len(lines) > limit:
                break
        lines.append(rest)
        if len(lines) > limit:
            return [*lines[: limit - 1], clip(lines[limit - 1] + "…", columns)]
    return lines


def _break(text: str, columns: int) -> tuple[str, str]:
    """The first line of `text`, which is wider than `columns`, and the rest."""
    end = taken = 0
    while taken + (size := width(text[end])) <= columns:
        taken += size
        end += 1
    end = max(1, end)
    blank = text.rfind(" ", 1, end + 1)
    at = blank if blank > end // 2 else end
    return text[:at], text[at:].lstrip()
