"""A list of lines that repaints what has changed and nothing else."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from orchestrator.dashboard.lines import Line, drawn, steady

# A run has a named look, or, on a live screen, the style that the agent gave it.
PanelLine = Line | list[tuple[str, Style]]
Make = Callable[[int], Sequence[PanelLine]]

LOOKS = ("dim", "strong", "good", "busy", "ask", "warn", "bad", "key", "chosen", "held")


class Panel(ScrollView, inherit_bindings=False):
    """Shows what `make(columns)` gives. `fixed`: lines at the top that do not scroll."""

    COMPONENT_CLASSES = {f"look--{name}" for name in LOOKS}  # noqa: RUF012 - as Textual has it
    ALLOW_SELECT = False

    class Clicked(Message):
        """A line was clicked: `twice` for a double click, `column` is where in it."""

        def __init__(self, panel: "Panel", index: int, column: int, twice: bool) -> None:
            super().__init__()
            self.panel = panel
            self.index = index
            self.column = column
            self.twice = twice

        @property
        def control(self) -> "Panel":
            return self.panel

    def __init__(self, id: str, *, focus: bool = False, fixed: int = 0) -> None:
        super().__init__(id=id)
        self.can_focus = focus
        self.fixed = fixed
        self.lines: Sequence[PanelLine] = ()
        self.chosen: int | None = None
        # For tests and the curious: how many lines were asked to be repainted.
        self.repainted = 0
        self._make: Make = lambda columns: ()
        self._follows = False
        self._tall = 1
        # The styles of the panel and of its chosen line, and those that looks have on them; what
        # is drawn with them, by row: of which line, whether it is the chosen one, and the strip.
        self._base = self._held = Style.null()
        self._styles: dict[tuple[Style, str | Style], Style] = {}
        self._drawn: dict[int, tuple[PanelLine | None, bool, Strip]] = {}
        self._drawn_in: object = None

    @property
    def columns(self) -> int:
        """How wide a line is; 0 before there is a place on the screen."""
        return self.scrollable_content_region.width

    def show(
        self, make: Make, chosen: int | None = None, *, tall: int = 1, follow: bool = False
    ) -> None:
        """Show other lines. `chosen` is marked, and kept in sight with the `tall` - 1 lines below
        it; with `follow`, the last line is kept in sight if it was before."""
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self._make, self._follows, self._tall = make, follow, tall
        self._rebuild()
        if chosen != self.chosen:
            before, self.chosen = self.chosen, chosen
            self._repaint(*sorted(index for index in (before, chosen) if index is not None))
        if chosen is not None:
            self._keep_in_sight(chosen)
        elif follow and at_end:
            self.to_end()

    def to_end(self) -> None:
        """Have the last line in sight.

        At once, and by force: put off until after a repaint it would be lost behind a screen that
        is in front, and as long as there is no scroll bar nothing else scrolls.
        """
        self.scroll_end(animate=False, immediate=True, force=True)

    def _rebuild(self) -> None:
        columns = self.columns
        if columns <= 0:
            return
        before, self.lines = self.lines, self._make(columns)
        size = Size(columns, len(self.lines))
        if size.width == self.virtual_size.width and self._in_sight(before, self.lines):
            # Without more ado: nothing is laid out anew.
            self.set_reactive(Panel.virtual_size, size)
        elif size != self.virtual_size:
            self.virtual_size = size
            self.repainted += len(self.lines)
            self.refresh()
            return
        pairs = itertools.zip_longest(before, self.lines)
        self._repaint(*(index for index, (old, new) in enumerate(pairs) if old != new))

    def _in_sight(self, *shown: Sequence[PanelLine]) -> bool:
        """Whether all of the lines have room, and had it."""
        scrolled = self.show_vertical_scrollbar or self.scroll_offset.y
        return not scrolled and max(map(len, shown)) <= self.scrollable_content_region.height

    def _repaint(self, *indexes: int) -> None:
        """`indexes` are in order. Lines that follow each other are one region: each has a price."""
        self.repainted += len(indexes)
        rows = [i + (self.scroll_offset.y if i < self.fixed else 0) for i in indexes]
        for start, count in _spans(rows):
            self.refresh_lines(start, count)

    def _keep_in_sight(self, index: int) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if height <= self.fixed:
            return
        last = index + self._tall - 1
        if index >= top + self.fixed and last < top + height:
            return
        above, below = index - self.fixed, last - height + 1
        # What does not fit is shown from its beginning.
        y = above if index < top + self.fixed else min(above, below)
        self.scroll_to(y=y, animate=False, force=True)

    def on_resize(self, event: events.Resize) -> None:
        self._rebuild()
        if self.chosen is not None:
            self._keep_in_sight(self.chosen)
        elif self._follows:
            self.to_end()

    def on_click(self, event: events.Click) -> None:
        index = self._index(event.y)
        if index < len(self.lines):
            self.post_message(self.Clicked(self, index, event.x, event.chain == 2))

    def on_focus(self) -> None:
        self._mark()

    def on_blur(self) -> None:
        self._mark()

    def _mark(self) -> None:
        if self.chosen is not None:
            self._repaint(self.chosen)

    def _index(self, y: int) -> int:
        """The line that stands in row `y`."""
        return y if y < self.fixed else y + self.scroll_offset.y

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines are drawn where they are not as they were.

        Textual's own way looks at each of them for a border, padding, a tint and so on, of which
        a panel has none: that takes as long as the drawing.
        """
        # Each is put together anew when it is asked for: asked once a line, half of its cost.
        base, size = self.rich_style, self.size
        held = base + self._look("held" if self.has_focus else "chosen")
        if (drawn_in := (base, held, size, self.app.theme)) != self._drawn_in:
            self._drawn_in, self._base, self._held = drawn_in, base, held
            self._styles.clear()
            self._drawn.clear()
        filters, background = self.get_line_filters(), self.background_colors[1]
        strips = []
        for y in crop.line_range:
            strip = self.render_line(y)
            for one in filters:
                strip = strip.apply_filter(one, background)
            strips.append(strip)
        if crop.column_span != (0, size.width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def render_line(self, y: int) -> Strip:
        index = self._index(y)
        if index >= len(self.lines):
            line, chosen = None, False
        else:
            line, chosen = self.lines[index], index == self.chosen
        known = self._drawn.get(y)
        if known is None or known[1] != chosen or known[0] != line:
            known = self._drawn[y] = (line, chosen, self._draw(line, chosen))
        return known[2]

    def _draw(self, line: PanelLine | None, chosen: bool) -> Strip:
        width, base = self.size.width, self._held if chosen else self._base
        if line is None:
            return Strip.blank(width, base)
        if isinstance(line, tuple) and not self.app.is_headless:
            # In a picture each run keeps its place, whatever the font is.
            line = drawn(line)
        segments = [Segment(steady(text), self._style(base, look)) for text, look in line]
        if chosen and segments and segments[0].text.startswith("  "):
            # Seen without colours as well.
            segments[0] = Segment("▸" + segments[0].text[1:], segments[0].style)
        room = width - sum(segment.cell_length for segment in segments)
        if room < 0:
            return Strip(segments).adjust_cell_length(width, base)
        if room:
            segments.append(Segment(" " * room, base))
        # Its length is known: it need not be measured and made again.
        return Strip(segments, width)

    def _style(self, base: Style, look: str | Style) -> Style:
        """`look` on `base`."""
        known = self._styles.get((base, look))
        if known is None:
            known = base + (look if isinstance(look, Style) else self._look(look))
            self._styles[base, look] = known
        return known

    def _look(self, name: str) -> Style:
        if not name:
            return Style.null()
        return self.get_component_rich_style(f"look--{name}", partial=True)


def _spans(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows that follow each other, as the first of them and how many they are."""
    for _, run in itertools.groupby(enumerate(rows), lambda pair: pair[1] - pair[0]):
        found = [row for _, row in run]
        yield found[0], len(found)
