"""The polling way: a small dashboard that asks ten times a second and draws the whole table.

`python -m tests.bench.polling SOCKET`. It draws less than ours does: the table, and the name of
the row that the keys have chosen. Only what it is compared with needs it.
"""

import sys
import time
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from orchestrator.client import Json
from orchestrator.core.numbers import age, cost, count
from orchestrator.dashboard.wire import Broken, Talk

# Seconds between two looks.
PERIOD = 0.1
TITLES = ("NAME", "ROLE", "STATUS", "SINCE", "DOING", "TOKENS", "COST")


class Polling(App[None]):
    """Shows the session behind `socket`."""

    CSS = "DataTable { height: 1fr; } Static { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", priority=True),
        Binding("home", "move(-1000)", priority=True),
    ]

    def __init__(self, socket: Path) -> None:
        super().__init__()
        self._socket = socket

    def compose(self) -> ComposeResult:
        yield Static(id="chosen")
        yield DataTable[str](cursor_type="row", show_row_labels=False)

    def on_mount(self) -> None:
        self.table.add_columns(*TITLES)
        self.set_interval(PERIOD, self.poll)

    @property
    def table(self) -> DataTable[str]:
        return self.query_one(DataTable)

    async def poll(self) -> None:
        """Ask what is, and draw all of it. Who is not answered asks again at the next time."""
        try:
            async with Talk.open(self._socket) as talk:
                view = (await talk.final("status"))["view"]
        except Broken:
            return
        at = self.table.cursor_row
        self.table.clear()
        for agent in view["agents"]:
            self.table.add_row(*_cells(agent))
        self.table.move_cursor(row=at)

    def action_move(self, by: int) -> None:
        """To another row, once there are any."""
        if not self.table.row_count:
            return
        at = max(0, min(self.table.row_count - 1, self.table.cursor_row + by))
        self.table.move_cursor(row=at)
        self.query_one("#chosen", Static).update(f"chosen: {self.table.get_row_at(at)[0]}")


def _cells(agent: Json) -> list[str]:
    usage = agent["usage"]
    since = age(time.time() - agent["since"])
    told = [agent["name"], agent["role"], agent["status"], since, agent["detail"]]
    return [*told, count(usage["input"]), cost(usage["cost_usd"])]


if __name__ == "__main__":
    Polling(Path(sys.argv[1])).run()
