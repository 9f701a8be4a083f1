"""A screen of an agent, lines with SGR sequences, as styled text. Pure.

Colours and attributes are all that is taken from it: every other escape sequence is dropped, and
so are links, blinking and hidden text. What is left holds no control byte.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.style import Style

from orchestrator.core.text import safe_text

Styled = list[tuple[str, Style]]

# A sequence that sets colours, or a whole one of another kind, whose inside may look like that.
_TOKEN = re.compile(
    r"\x1b\[([0-9;:]*)m"
    r"|(?:\x1b[\]P_^X]|[\x9d\x90\x9f\x9e\x98])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"
)
# Attributes and their ends. Blinking (5, 6) and hidden text (8) are not taken over.
_ON = {
    1: "bold",
    2: "dim",
    3: "italic",
    4: "underline",
    7: "reverse",
    9: "strike",
    21: "underline2",
}
_OFF = {
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline", "underline2"),
    27: ("reverse",),
    29: ("strike",),
}
# Stands in the last column where a line goes on beyond it.
MORE = "›"
# A sequence that sets more than this is no screen's.
_PARAMETERS = 64


# Attributes, and the colours of text and background.
_State = tuple[frozenset[str], Color | None, Color | None]


class _Pen:
    """The colours and attributes that hold from here on."""

    def __init__(self, state: _State = (frozenset(), None, None)) -> None:
        self.attributes, self.fore, self.back = state

    @property
    def state(self) -> _State:
        return self.attributes, self.fore, self.back

    def style(self) -> Style:
        return _style(self.attributes, self.fore, self.back)

    def apply(self, parameters: str) -> None:
        """Take over what one SGR sequence says; what is not understood says nothing."""
        numbers = _numbers(parameters)
        at = 0
        while at < len(numbers):
            number = numbers[at]
            at += 1
            if number in (38, 48):
                colour, taken = _extended(numbers[at:])
                at += taken
                if colour is not None:
                    self._paint(number == 38, colour)
            elif number == 58:  # the colour of underlines
                at += _extended(numbers[at:])[1]
            else:
                self._set(number)

    def _set(self, number: int) -> None:
        if number == 0:
            self.attributes, self.fore, self.back = frozenset(), None, None
        elif number in _ON:
            self.attributes |= {_ON[number]}
        elif number in _OFF:
            self.attributes -= set(_OFF[number])
        elif number in (39, 49):
            self._paint(number == 39, None)
        elif 30 <= number <= 37 or 40 <= number <= 47:
            self._paint(number < 40, Color.from_ansi(number % 10))
        elif 90 <= number <= 97 or 100 <= number <= 107:
            self._paint(number < 100, Color.from_ansi(number % 10 + 8))

    def _paint(self, fore: bool, colour: Color | None) -> None:
        if fore:
            self.fore = colour
        else:
            self.back = colour


@lru_cache(maxsize=1024)
def _style(attributes: frozenset[str], fore: Color | None, back: Color | None) -> Style:
    return Style(color=fore, bgcolor=back, **dict.fromkeys(attributes, True))  # type: ignore[arg-type]  # the names are those of `_ON`


def _numbers(parameters: str) -> list[int]:
    """The parameters; of `4:3` (how it is underlined) the first, of `38:2::r:g:b` all."""
    numbers: list[int] = []
    for part in parameters.split(";")[:_PARAMETERS]:
        fields = part.split(":")
        if fields[0] in ("38", "48", "58"):
            # The colour space, which nobody gives, has a place of its own in this form.
            if len(fields) > 5 and fields[1] == "2":
                del fields[2]
            numbers += [_number(field) for field in fields]
        elif fields == ["4", "0"]:
            numbers.append(24)
        else:
            numbers.append(_number(fields[0]))
    return numbers


def _number(field: str) -> int:
    return int(field) if field.isascii() and field.isdigit() and len(field) < 5 else 0


def _extended(numbers: Sequence[int]) -> tuple[Color | None, int]:
    """The colour behind 38 or 48, and how many parameters it takes."""
    if len(numbers) >= 2 and numbers[0] == 5:
        return (Color.from_ansi(numbers[1]) if numbers[1] < 256 else None), 2
    if len(numbers) >= 4 and numbers[0] == 2:
        red, green, blue = (min(255, number) for number in numbers[1:4])
        return Color.from_rgb(red, green, blue), 4
    return None, len(numbers)


def screen(lines: Sequence[str]) -> list[Styled]:
    """The lines of a screen; what one line sets holds on the next, as tmux writes it."""
    shown: list[Styled] = []
    state = _Pen().state
    for line in lines:
        styled, state = _line(line, state)
        shown.append(styled)
    return shown


def cut(line: Styled, columns: int) -> Styled:
    """`line` in at most `columns` columns; a mark at its end says that there is more.

    Blanks, and the rest of a rule, are nothing more.
    """
    if sum(cell_len(text) for text, _ in line) <= columns:
        return line
    kept = _first(line, columns)
    whole, shown = ("".join(text for text, _ in runs).rstrip() for runs in (line, kept))
    rest = set(whole.removeprefix(shown))
    if not rest or (rest == {shown[-1:]} and not shown[-1:].isalnum()):
        return kept
    return [*_first(line, columns - cell_len(MORE)), (MORE, Style(dim=True))]


def _first(line: Styled, columns: int) -> Styled:
    """Exactly the first `columns` columns of a line that has more."""
    kept: Styled = []
    for text, style in line:
        if cell_len(text) >= columns:
            return [*kept, (set_cell_size(text, columns), style)]
        kept.append((text, style))
        columns -= cell_len(text)
    return kept


# From one frame to the next most lines stay as they are, or move as a whole.
@lru_cache(maxsize=1024)
def _line(line: str, state: _State) -> tuple[Styled, _State]:
    """The runs of a line that begins in `state`, and the state at its end."""
    pen = _Pen(state)
    runs: Styled = []
    at = 0
    for token in _TOKEN.finditer(line):
        _add(runs, line[at : token.start()], pen)
        if token[1] is not None:
            pen.apply(token[1])
        at = token.end()
    _add(runs, line[at:], pen)
    return runs, pen.state


def _add(runs: Styled, text: str, pen: _Pen) -> None:
    if shown := safe_text(text):
        runs.append((shown, pen.style()))
