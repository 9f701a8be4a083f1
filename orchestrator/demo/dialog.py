"""A choice that the agent puts before a person. Pure."""

from typing import Literal, NamedTuple

from .keys import Key
from .text import printable, wrap

DASH = "╌"
QUESTION_FOOTER = "Enter to select · ↑/↓ to navigate · Esc to cancel"
PERMISSION_FOOTER = " Esc to cancel"
PERMISSION_OPTIONS = ("Yes", "Yes, and don't ask again", "No")
YES, ALWAYS, NO = range(3)
# Rows of a command or a question that are shown; its options must stay in sight.
BODY_ROWS = 6


class Row(NamedTuple):
    """One row of the screen; `style` is its SGR parameters (colours and the like)."""

    text: str
    style: str = ""


class Dialog:
    """An open dialog. `answer` is the index of the option taken; -1: cancelled; None: open."""

    def __init__(
        self,
        kind: Literal["permission", "question"],
        title: str,
        body: str,
        options: tuple[str, ...],
    ) -> None:
        self.kind = kind
        self.title = title
        self.body = body
        self.options = options
        self.selected = 0
        self.answer: int | None = None

    def press(self, key: Key) -> None:
        """A digit answers at once, Enter takes what is marked; all other text is dropped."""
        match key.name:
            case "up":
                self.selected = max(0, self.selected - 1)
            case "down":
                self.selected = min(len(self.options) - 1, self.selected + 1)
            case "enter":
                self.answer = self.selected
            case "escape" | "ctrl-c":
                self.answer = -1
            case "text" if key.text in map(str, range(1, len(self.options) + 1)):
                self.answer = int(key.text) - 1

    def decided(self, decision: Literal["allow", "deny"]) -> int:
        """The answer that a decision of a hook stands for."""
        if self.kind == "question":
            return -1
        return YES if decision == "allow" else NO

    def rows(self, columns: int) -> list[Row]:
        """What is shown of it, below a rule; the caller clips what is too wide."""
        body = wrap(printable(self.body), columns - 2)
        if len(body) > BODY_ROWS:
            body = [*body[: BODY_ROWS - 1], "…"]
        if self.kind == "permission":
            return [
                Row(f" {self.title}", "1"),
                Row(DASH * columns, "2"),
                *(Row(f" {line}") for line in body),
                Row(DASH * columns, "2"),
                Row(" Do you want to proceed?"),
                *self._option_rows(),
                Row(""),
                Row(PERMISSION_FOOTER, "2"),
            ]
        return [
            Row(f" ☐ {printable(self.title)}", "1"),
            Row(""),
            *map(Row, body),
            Row(""),
            *self._option_rows(),
            Row(""),
            Row(QUESTION_FOOTER, "2"),
        ]

    def _option_rows(self) -> list[Row]:
        return [
            Row(
                f" {'❯' if place == self.selected else ' '} {place + 1}. {label}",
                "36" if place == self.selected else "",
            )
            for place, label in enumerate(map(printable, self.options))
        ]
