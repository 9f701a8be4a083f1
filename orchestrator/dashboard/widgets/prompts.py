"""What a person types into, and what asks once more."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Input, Static, TextArea

# What keys look like in a text, as in the stylesheet.
KEY = "bold $key"


class Ending:
    """A field with keys that end it, `ends`, each done in its turn.

    As bindings they would be done after the keys behind them had been typed into the field.
    """

    ends: Mapping[str, Callable[[], None]]

    def on_key(self, event: events.Key) -> None:
        if (end := self.ends.get(event.key)) is not None:
            event.stop()
            event.prevent_default()
            end()


class TextLine(Ending, Input):
    """A field of one line."""

    def render_lines(self, crop: Region) -> list[Strip]:
        return super().render_lines(crop) if self.is_attached else _gone(crop)


class Area(Ending, TextArea):
    """A field of several lines."""

    def render_lines(self, crop: Region) -> list[Strip]:
        return super().render_lines(crop) if self.is_attached else _gone(crop)


def _gone(crop: Region) -> list[Strip]:
    """What stands where a field was: it may be asked to draw itself once more after it has gone,
    and has no styles left then."""
    return [Strip.blank(crop.width)] * crop.height


class Prompt(Vertical):
    """At the bottom of the screen. Escape leaves it."""

    # Whether it was ended, and goes away.
    is_over = False

    def __init__(self, title: str) -> None:
        super().__init__()
        self.border_title = _escaped(title)

    @property
    def field(self) -> TextLine | Area:
        """What has the keyboard."""
        raise NotImplementedError

    def action_leave(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the keyboard back to the team."""
        self.is_over = True
        self.field.ends = {}  # a key that is hit twice ends it once
        self.screen.query_one("#team").focus()
        self.remove()


class Entry(Prompt):
    """One line. `keep` gets it on enter; `typed` each time that it changes; `left` on escape."""

    def __init__(
        self,
        title: str,
        text: str = "",
        *,
        keep: Callable[[str], None],
        typed: Callable[[str], None] | None = None,
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(title)
        self.border_subtitle = "enter: done · esc: leave"
        self._text = text
        self._keep = keep
        self._typed = typed
        self._left = left

    def compose(self) -> ComposeResult:
        line = TextLine(self._text)
        line.cursor_blink = False
        line.ends = {"enter": self.action_keep, "escape": self.action_leave}
        yield line

    @property
    def field(self) -> TextLine:
        return self.query_one(TextLine)

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._typed is not None:
            self._typed(event.value)

    def action_keep(self) -> None:
        text = self.field.value
        self.close()
        self._keep(text)

    def action_leave(self) -> None:
        self.close()
        if self._left is not None:
            self._left()


class Compose(Prompt):
    """A message to `name`. `sends` says whether it was taken; `leaves` keeps a draft."""

    def __init__(
        self,
        name: str,
        text: str,
        sends: Callable[[str, str], bool],
        leaves: Callable[[str, str], None],
    ) -> None:
        super().__init__(f"message to {name}")
        self.border_subtitle = "ctrl+s: send · esc: keep as a draft"
        self._to = name
        self._text = text
        self._sends = sends
        self._leaves = leaves

    def compose(self) -> ComposeResult:
        area = Area(self._text)
        area.cursor_blink = False
        ends = {"ctrl+s": self.action_send, "ctrl+enter": self.action_send}
        area.ends = ends | {"escape": self.action_leave}
        area.highlight_cursor_line = False
        yield area

    def on_mount(self) -> None:
        self.field.move_cursor(self.field.document.end)

    @property
    def field(self) -> Area:
        return self.query_one(Area)

    def action_send(self) -> None:
        if self._sends(self._to, self.field.text):
            self.close()

    def action_leave(self) -> None:
        self._leaves(self._to, self.field.text)
        self.close()


class Confirm(ModalScreen[bool]):
    """Asks once: y or enter does it, everything else does not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "dismiss(True)", "yes"),
        Binding("n,escape,q", "dismiss(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        keys = (("y", KEY), "  yes    ", ("n", KEY), "  no")
        yield Static(Content.assemble(f"{self._question}\n\n", *keys), classes="box")


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close")
    ]

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        rows = [Content.assemble((f"{key:<7}", KEY), f" {about}") for key, about in self._rows]
        box = Static(Content("\n").join(rows), classes="box")
        box.border_title, box.border_subtitle = "keys", "esc: close"
        yield box


def _escaped(text: str) -> str:
    """A title is read as markup."""
    return text.replace("[", r"\[")
