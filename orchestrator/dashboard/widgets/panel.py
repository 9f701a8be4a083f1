"""A list of lines that repaints what has changed and nothing else."""

from collections.abc import Callable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from orchestrator.dashboard.lines import Line

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
            self.scroll_end(animate=False)

    def _rebuild(self) -> None:
        columns = self.columns
        if columns <= 0:
            return
        before, self.lines = self.lines, self._make(columns)
        if len(before) != len(self.lines):
            self.virtual_size = Size(columns, len(self.lines))
            self.repainted += len(self.lines)
            self.refresh()
            return
        self._repaint(
            *(n for n, (old, new) in enumerate(zip(before, self.lines, strict=True)) if old != new)
        )

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
        self.scroll_to(y=above if index < top + self.fixed else min(above, below), animate=False)

    def on_resize(self, event: events.Resize) -> None:
        self._rebuild()
        if self.chosen is not None:
            self._keep_in_sight(self.chosen)
        elif self._follows:
            self.scroll_end(animate=False)

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

    def render_line(self, y: int) -> Strip:
        index, width, base = self._index(y), self.size.width, self.rich_style
        if index >= len(self.lines):
            return Strip.blank(width, base)
        chosen = index == self.chosen
        if chosen:
            held = "held" if self.has_focus else "chosen"
            base += self.get_component_rich_style(f"look--{held}", partial=True)
        segments = [Segment(text, base + self._style(look)) for text, look in self.lines[index]]
        if chosen and segments and segments[0].text.startswith("  "):
            # Seen without colours as well.
            segments[0] = Segment("▸" + segments[0].text[1:], segments[0].style)
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, look: str | Style) -> Style:
        if isinstance(look, Style):
            return look
        if not look:
            return Style.null()
        return self.get_component_rich_style(f"look--{look}", partial=True)
