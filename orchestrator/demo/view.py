"""What is on the screen: rows that were printed, which scroll away, and live rows below them."""

import time
from typing import NamedTuple

from .dialog import Dialog, Row
from .text import clip, printable, width, wrap

IDLE_FOOTER = "  ? for shortcuts"
BUSY_FOOTER = "  esc to interrupt"
EXIT_NOTICE = "  Press Ctrl-C again to exit"
SPINNER = "·✢✳✶✻✽✻✶✳✢"
# Seconds between two frames of the spinner.
FRAME = 0.1
THINKING = "Thinking"
# Rows of a draft that are shown from its start, beside its last one.
DRAFT_ROWS = 4
QUEUED_ROWS = 4


class Picture(NamedTuple):
    """The live rows, and where the cursor stands in them: (row, column)."""

    rows: list[Row]
    cursor: tuple[int, int]


class View:
    """What there is to show. `printed` is what has not reached the screen yet."""

    def __init__(self) -> None:
        self.printed: list[tuple[str, str, str, str]] = []
        self.draft = ""
        self.queued: list[str] = []
        self.dialog: Dialog | None = None
        # What the agent is busy with, as the spinner names it; None: it is not busy.
        self.doing: str | None = None
        # Monotonic seconds at which the turn began, and at which a limit ends.
        self.begun = 0.0
        self.limited: float | None = None
        self.ready = False
        self.leaving = False
        # Something has changed that should be seen at once, not with the spinner's next frame.
        self.dirty = True

    def print(self, text: str, *, first: str = "", rest: str = "", style: str = "") -> None:
        """Print `text` for good; its first row begins with `first`, the others with `rest`."""
        self.printed.append((printable(text), first, rest, style))
        self.dirty = True

    def take_printed(self, columns: int) -> list[Row]:
        """The rows to print now, folded to `columns`."""
        rows: list[Row] = []
        for text, first, rest, style in self.printed:
            folded = wrap(text, columns - width(rest))
            rows += [
                Row((rest if place else first) + row, style) for place, row in enumerate(folded)
            ]
        self.printed.clear()
        return rows

    def picture(self, columns: int, height: int) -> Picture:
        """The live rows for a terminal of this size."""
        rows, cursor = self._live(columns)
        over = max(0, len(rows) - height)
        shown = [Row(clip(row.text, columns), row.style) for row in rows[over:]]
        place = max(0, cursor - over)
        column = 0 if self.dialog else min(columns, width(shown[place].text))
        return Picture(shown, (place, column))

    def _live(self, columns: int) -> tuple[list[Row], int]:
        """All live rows, and which of them the cursor is in."""
        rows = [Row("")]
        rule = Row("─" * columns, "2")
        if self.dialog is not None:
            rows += [rule, *self.dialog.rows(columns)]
            return rows, len(rows) - 1
        if self.doing is not None:
            rows += [Row(self._spinner(time.monotonic()), "36"), Row("")]
        rows += self._queued_rows()
        rows += [rule, *_draft_rows(self.draft, columns), rule, Row(self._footer(), "2")]
        return rows, len(rows) - 3

    def _spinner(self, now: float) -> str:
        glyph = SPINNER[int(now / FRAME) % len(SPINNER)]
        if self.limited is not None:
            return f"✻ 429 rate limit · retrying in {max(0, round(self.limited - now))}s"
        return (
            f"{glyph} {printable(self.doing or '')}… ({int(now - self.begun)}s · esc to interrupt)"
        )

    def _queued_rows(self) -> list[Row]:
        shown = [Row(f"  ⎿  Queued: {printable(text)}", "2") for text in self.queued[:QUEUED_ROWS]]
        more = len(self.queued) - QUEUED_ROWS
        return shown + ([Row(f"     and {more} more", "2")] if more > 0 else [])

    def _footer(self) -> str:
        if self.leaving:
            return EXIT_NOTICE
        if self.doing is not None:
            return BUSY_FOOTER
        return IDLE_FOOTER if self.ready else "  starting"


def _draft_rows(draft: str, columns: int) -> list[Row]:
    lines = wrap(printable(draft), columns - 2)
    if draft.endswith(" ") and lines:
        # Folding drops blanks at the end of a row; the cursor must still be seen to move.
        lines[-1] = clip(lines[-1] + " ", columns - 2)
    if len(lines) > DRAFT_ROWS + 2:
        lines = [*lines[:DRAFT_ROWS], "…", lines[-1]]
    return [Row(("  " if place else "❯ ") + line) for place, line in enumerate(lines)]
