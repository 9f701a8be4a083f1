"""What a person types into, and what asks once more."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea


class Prompt(Vertical):
    """At the bottom of the screen. Escape leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.border_title = _escaped(title)

    @property
    def field(self) -> Widget:
        """What has the keyboard."""
        raise NotImplementedError

    def action_leave(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the keyboard back to the team."""
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
        line = Input(self._text)
        line.cursor_blink = False
        yield line

    @property
    def field(self) -> Input:
        return self.query_one(Input)

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._typed is not None:
            self._typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.close()
        self._keep(event.value)

    def action_leave(self) -> None:
        self.close()
        if self._left is not None:
            self._left()


class Compose(Prompt):
    """A message to `name`. `sends` says whether it was taken; `leaves` keeps a draft."""

    # Not with priority: that would overtake the keys which the text has yet to take in.
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s,ctrl+enter", "send", "send")]

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
        area = TextArea(self._text)
        area.cursor_blink = False
        area.highlight_cursor_line = False
        yield area

    def on_mount(self) -> None:
        self.field.move_cursor(self.field.document.end)

    @property
    def field(self) -> TextArea:
        return self.query_one(TextArea)

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
        yield Static(f"{self._question}\n\ny  yes    n  no", classes="box", markup=False)


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close")
    ]

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        text = "\n".join(f"{key:<7} {about}" for key, about in self._rows)
        yield Static(text, classes="box", markup=False)


def _escaped(text: str) -> str:
    """A title is read as markup."""
    return text.replace("[", r"\[")
