"""The colours and attributes (SGR) in the lines of a snapshot. Pure.

tmux names a colour where it changes, be that many lines further up. Who is told single lines gets
each with the style that is in force where it begins; who keeps a whole screen keeps it as taken.
So it is with lines and boxes that a program drew as letters of the terminal's second set: they
are told as the characters that they stand for.
"""

import re
from collections.abc import Sequence

# A colour or an attribute, by its first parameter; those that end one colour, or all.
_STYLE = re.compile(r"\x1b\[([0-9]*)[0-9;:]*m")
# What stands between texts: the second set begins and ends, a style, a link.
_BETWEEN = re.compile(r"(\x0e|\x0f|\x1b\[[0-9;:]*m|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\))")
_SECOND_SET = str.maketrans("`afgjklmnopqrstuvwxyz{|}~", "◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")
_DEFAULTS, _RESETS = (39, 49, 59), ("\x1b[m", "\x1b[0m")


class _Style:
    """What is in force at a place of a screen."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def __str__(self) -> str:
        return "".join(self._parts.values())

    def follow(self, line: str) -> None:
        """Go on to the end of a line."""
        for found in _STYLE.finditer(line):
            number = int(found[1] or 0)
            if number == 0:
                self._parts.clear()
            if number in _DEFAULTS:
                self._parts.pop(_kind(number) or "", None)
            elif found[0] not in _RESETS:
                self._parts[_kind(number) or found[0]] = found[0]


def standalone(lines: Sequence[str]) -> list[str]:
    """The lines of a snapshot, each beginning with the style that is in force where it begins."""
    style = _Style()
    whole: list[str] = []
    for line in _drawn(lines):
        whole.append(f"{style}{line}" if line else line)
        style.follow(line)
    return whole


def as_taken(lines: Sequence[str]) -> list[str]:
    """The lines that `standalone` was given: `as_taken(standalone(lines)) == lines`.

    But for the second set of characters: what is told with its own stays so.
    """
    style = _Style()
    taken: list[str] = []
    for line in lines:
        taken.append(line.removeprefix(str(style)))
        style.follow(taken[-1])
    return taken


def _drawn(lines: Sequence[str]) -> Sequence[str]:
    """The lines without the second set of characters, which goes on over the ends of lines."""
    if not any("\x0e" in line for line in lines):
        return lines
    second = False
    drawn: list[str] = []
    for line in lines:
        parts: list[str] = []
        for part in _BETWEEN.split(line):
            if part in ("\x0e", "\x0f"):
                second = part == "\x0e"
            else:
                is_text = second and not part.startswith("\x1b")
                parts.append(part.translate(_SECOND_SET) if is_text else part)
        drawn.append("".join(parts))
    return drawn


def _kind(number: int) -> str | None:
    """What the later of two such parameters is in place of the earlier; None: both hold."""
    if 30 <= number <= 39 or 90 <= number <= 97:
        return "foreground"
    if 40 <= number <= 49 or 100 <= number <= 107:
        return "background"
    return "underline" if number in (58, 59) else None
