"""The terminal: raw mode, its size, and a live area that is redrawn below what was printed.

The main screen is used, so what was printed scrolls into the terminal's own history. No row is as
wide as the terminal: a full one would leave the cursor in a state that terminals differ in.
"""

import contextlib
import os
import termios

from .dialog import Row
from .text import width
from .view import Picture, View

PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
FALLBACK = (80, 24)
MIN_COLUMNS, MIN_ROWS = 12, 4


class Screen:
    """The terminal on `tty`. Writing to one that is gone is in vain, and no error."""

    def __init__(self, tty: int) -> None:
        self._tty = tty
        self._saved: list[object] | None = None
        self._drawn = Picture([], (0, 0))

    def open(self) -> None:
        """Raw input: each byte comes as it is typed, and nothing is echoed."""
        self._saved = termios.tcgetattr(self._tty)
        mode = termios.tcgetattr(self._tty)
        mode[0] &= ~(termios.ICRNL | termios.IXON | termios.BRKINT | termios.ISTRIP)
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self._tty, termios.TCSAFLUSH, mode)
        self._write(PASTE_ON)

    def close(self) -> None:
        """Leave a clean line behind what was printed."""
        self._write(self._to_top(self._size()[0]) + "\x1b[J" + PASTE_OFF)
        self._drawn = Picture([], (0, 0))
        if self._saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._tty, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type] # what tcgetattr gave

    def draw(self, view: View) -> None:
        """Show what was printed since the last time, and the live rows below it."""
        # Before the size is read: a signal that comes while this draws asks for one more drawing.
        asked, view.dirty = view.dirty, False
        columns, height = self._size()
        top = self._to_top(columns)
        printed = view.take_printed(columns - 1)
        picture = view.picture(columns - 1, height)
        if not printed and picture == self._drawn and not asked:
            return
        # The whole line is cleared first: a terminal may count cells that are only cleared from a
        # place on as a part of the line, and fold them when it becomes narrower.
        lines = "\r\n".join("\x1b[2K" + _styled(row) for row in (*printed, *picture.rows))
        row, column = picture.cursor
        up = len(picture.rows) - 1 - row
        place = "\r" + (f"\x1b[{up}A" if up else "") + (f"\x1b[{column}C" if column else "")
        self._write(top + lines + "\x1b[J" + place)
        self._drawn = picture

    def _to_top(self, columns: int) -> str:
        """From where the cursor was left to the first live row.

        A terminal that became narrower has folded the rows that no longer fit.
        """
        row, column = self._drawn.cursor
        up = sum(_height(above, columns) for above in self._drawn.rows[:row]) + column // columns
        return "\r" + (f"\x1b[{up}A" if up else "")

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._tty)
        except OSError:
            columns, rows = FALLBACK
        # A terminal may say 0 for "not known".
        return max(MIN_COLUMNS, columns or FALLBACK[0]), max(MIN_ROWS, rows or FALLBACK[1])

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._tty, data) :]


def _styled(row: Row) -> str:
    return f"\x1b[{row.style}m{row.text}\x1b[0m" if row.style and row.text else row.text


def _height(row: Row, columns: int) -> int:
    return max(1, -(-width(row.text) // columns))
