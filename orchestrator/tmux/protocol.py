"""tmux's control mode as bytes in, values out: no I/O, no clock, no asyncio.

tmux answers each command with `%begin TIME NUMBER FLAGS`, its lines, and `%end` or `%error` with
the same three numbers. A line inside may itself start with `%`: only the same numbers close a
block. Everything outside blocks is a notification. Unknown lines raise nothing: what a pane
prints can reach this parser, and a newer tmux says things that we do not know.
"""

import re
import unicodedata

from orchestrator.core.values import value

# The longest line that we read, in bytes; the rest of a longer one is dropped. Screens and
# messages travel through files, so a line holds some ids and a path (at most 4 KiB): 64 KiB is
# generous, and rubbish without an end of line costs no more memory than this.
MAX_LINE = 64 * 1024
# The most that one answer may hold, in bytes. The largest is the list of all panes, about
# 300 bytes each: room for 25,000 of them.
MAX_BLOCK = 8 * 1024 * 1024

# Flags of a block: set when the command came from this client's own input.
FROM_CLIENT = 1

_BEGIN = re.compile(rb"%begin (\d{1,20} (\d{1,20}) (\d{1,10}))", re.ASCII)


@value
class Block:
    """The answer to one command. `ok` is False for `%error`, and for an answer that was cut."""

    number: int
    flags: int
    ok: bool
    lines: tuple[bytes, ...]


@value
class Notification:
    """A line outside every block: `%name args`. `name` is empty where it has no such form."""

    name: str
    args: bytes


class ControlParser:
    """Feed it bytes in any pieces; the items that come out do not depend on the pieces."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._line_cut = False
        self._numbers: bytes | None = None
        self._number = 0
        self._flags = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._cut = False

    def receive(self, data: bytes) -> list[Block | Notification]:
        """Take the next bytes; return what they completed, in order."""
        *ended, rest = data.split(b"\n")
        items: list[Block | Notification] = []
        for piece in ended:
            self._append(piece)
            item = self._end_line()
            if item is not None:
                items.append(item)
        self._append(rest)
        return items

    def _append(self, piece: bytes) -> None:
        room = MAX_LINE - len(self._line)
        self._line += piece[:room]
        self._line_cut = self._line_cut or len(piece) > room

    def _end_line(self) -> Block | Notification | None:
        line, cut = bytes(self._line), self._line_cut
        self._line.clear()
        self._line_cut = False
        if self._numbers is None:
            return self._outside(line)
        if line == b"%end " + self._numbers:
            return self._close(ok=True)
        if line == b"%error " + self._numbers:
            return self._close(ok=False)
        self._inside(line, cut)
        return None

    def _outside(self, line: bytes) -> Notification | None:
        begin = _BEGIN.fullmatch(line)
        if begin:
            self._numbers = begin[1]
            self._number, self._flags = int(begin[2]), int(begin[3])
            return None
        if line.startswith(b"%"):
            name, _, args = line[1:].partition(b" ")
            if name.isascii():
                return Notification(name=name.decode("ascii"), args=args)
        return Notification(name="", args=line) if line else None

    def _inside(self, line: bytes, cut: bool) -> None:
        self._size += len(line) + 1
        self._cut = self._cut or cut or self._size > MAX_BLOCK
        if self._size <= MAX_BLOCK:
            self._lines.append(line)

    def _close(self, *, ok: bool) -> Block:
        block = Block(
            number=self._number,
            flags=self._flags,
            # Half a list of panes would read as panes that are gone.
            ok=ok and not self._cut,
            lines=tuple(self._lines),
        )
        self._numbers = None
        self._lines = []
        self._size = 0
        self._cut = False
        return block


def quote(argument: str) -> str:
    """Return `argument` as one word of a control-mode command line.

    Always in single quotes: there tmux expands nothing, and a leading `%` (a pane's id) or `~`
    is a plain character. Raises ValueError for what would end the line or is no text.
    """
    for character in argument:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(f"{character!r} cannot be part of a tmux command: {argument!r}")
    return "'" + argument.replace("'", "'\\''") + "'"
