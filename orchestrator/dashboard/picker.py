"""A list of sessions to choose from."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from orchestrator.core.text import width
from orchestrator.dashboard.lines import Line, Look, cell, fit
from orchestrator.dashboard.theme import Themed
from orchestrator.dashboard.widgets.panel import Panel

# A session's name, its state in words, and where it works.
Row = tuple[str, str, str]


class Picker(Themed[str]):
    """Returns the name of the session that was chosen; None if it was left."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up"),
        Binding("down,j", "move(1)", "down"),
        Binding("enter", "pick", "choose"),
        Binding("q,escape,ctrl+c", "quit", "quit"),
    ]

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__()
        self.rows = rows
        self.at = 0

    def compose(self) -> ComposeResult:
        yield Panel("header")
        yield Panel("sessions", focus=True)
        yield Panel("footer")

    def on_mount(self) -> None:
        self.query_one("#header", Panel).show(lambda _: [((" which session?", "strong"),)])
        keys: Line = ((" ↑↓ ", "key"), ("move  ", "dim"), ("enter ", "key"), ("watch it  ", "dim"),
                      ("q ", "key"), ("quit", "dim"))  # fmt: skip
        self.query_one("#footer", Panel).show(lambda _: [keys])
        self.query_one("#sessions").focus()
        self._paint()

    def _paint(self) -> None:
        names = max(width(name) for name, _, _ in self.rows)
        states = max(width(state) for _, state, _ in self.rows)

        def make(columns: int) -> list[Line]:
            return [
                fit(
                    (
                        ("  ", ""),
                        (cell(name, names), "strong"),
                        ("  ", ""),
                        (cell(state, states), _look(state)),
                        (f"  {root}", "dim"),
                    ),
                    columns,
                )
                for name, state, root in self.rows
            ]

        self.query_one("#sessions", Panel).show(make, self.at)

    def action_move(self, by: int) -> None:
        self.at = max(0, min(len(self.rows) - 1, self.at + by))
        self._paint()

    def action_pick(self) -> None:
        self.exit(self.rows[self.at][0])

    def on_panel_clicked(self, clicked: Panel.Clicked) -> None:
        if clicked.panel.id == "sessions":
            self.at = clicked.index
            if clicked.twice:
                self.action_pick()
            self._paint()


def _look(state: str) -> Look:
    """Of a state in words."""
    looks: dict[str, Look] = {"up": "good", "down": "dim"}
    return "ask" if "need" in state else looks.get(state, "warn")
