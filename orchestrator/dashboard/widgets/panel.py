"""A list of lines that repaints what has changed and nothing else."""

import itertools
from collections.abc import Callable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from orchestrator.dashboard.lines import Line, steady

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
        # While lines are rendered: the style of the panel, and of each look in them.
        self._base = Style.null()
        self._styles_of: dict[str, Style] = {}

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
            self._repaint(*(index for index in (before, chosen) if index is not None))
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
        for index in indexes:
            self.repainted += 1
            self.refresh_lines(index + (self.scroll_offset.y if index < self.fixed else 0))

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
        # Each is put together anew when it is asked for: asked once a line, half of its cost.
        self._base = self.rich_style
        self._styles_of = {}
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        index, width, base = self._index(y), self.size.width, self._base
        if index >= len(self.lines):
            return Strip.blank(width, base)
        chosen = index == self.chosen
        if chosen:
            base += self._look("held" if self.has_focus else "chosen")
        segments = [
            Segment(steady(text), base + self._style(look)) for text, look in self.lines[index]
        ]
        if chosen and segments and segments[0].text.startswith("  "):
            # Seen without colours as well.
            segments[0] = Segment("▸" + segments[0].text[1:], segments[0].style)
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, look: str | Style) -> Style:
        if isinstance(look, Style):
            return look
        return self._look(look) if look else Style.null()

    def _look(self, name: str) -> Style:
        if name not in self._styles_of:
            found = self.get_component_rich_style(f"look--{name}", partial=True)
            self._styles_of[name] = found
        return self._styles_of[name]
