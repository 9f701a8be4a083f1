"""The panels of the dashboard: each shows a value, and knows which line means what."""

from orchestrator.core.wording import View
from orchestrator.dashboard import needs, team
from orchestrator.dashboard.lines import Line, fit
from orchestrator.dashboard.needs import Need, NeedLine
from orchestrator.dashboard.widgets.panel import Panel, PanelLine


class TeamPanel(Panel):
    """The table. `names[n]` is whose row stands below the head at `n`."""

    def __init__(self, id: str) -> None:
        super().__init__(id, focus=True, fixed=1)
        self.names: tuple[str, ...] = ()

    def show_team(self, view: View, now: float, wanted: str, sort: str, chosen: str | None) -> None:
        def make(columns: int) -> list[PanelLine]:
            table = team.table(view, columns, now, wanted=wanted, sort=sort)
            nobody: Line = (("  nobody is found", "dim"),)
            return [table.head, *(table.rows or ([nobody] if wanted else []))]

        self.names = tuple(str(a["name"]) for a in team.chosen_agents(view, wanted, sort))
        self.show(make, self.names.index(chosen) + 1 if chosen in self.names else None)

    def name_at(self, index: int) -> str | None:
        return self.names[index - 1] if 1 <= index <= len(self.names) else None


class NeedsPanel(Panel):
    """Who needs a person. The need in hand is shown whole."""

    def __init__(self, id: str) -> None:
        super().__init__(id, focus=True, fixed=1)
        self.found: list[NeedLine] = []

    def show_needs(self, found: list[Need], chosen: str | None, columns: int) -> int:
        """Show them; returns how many rows that takes in `columns` columns.

        It has no columns of its own while it has no rows.
        """

        def make(columns: int) -> list[PanelLine]:
            self.found = needs.need_lines(found, chosen, columns)
            title: Line = ((" NEEDS YOU", "ask"),)
            if chosen is None:
                title = (*title, ("  space", "key"), (" takes the first of them in hand", "dim"))
            return [fit(title, columns), *(one.line for one in self.found)]

        rows = len(make(self.columns or columns)) if found else 0
        keys = [one.need.key for one in self.found]
        at = keys.index(chosen) + 1 if chosen in keys else None
        self.show(make, at, tall=max(1, keys.count(chosen or "")))
        return rows

    def line_at(self, index: int) -> NeedLine | None:
        return self.found[index - 1] if 1 <= index <= len(self.found) else None
