"""How the screen is shared out. Pure."""

from dataclasses import dataclass

# Columns from which on the agent in hand stands beside the team.
WIDE = 140
# Rows that the agent in hand has at least.
DETAIL = 6


@dataclass(frozen=True)
class Rows:
    """Of the panels whose heights are fixed, in rows."""

    needs: int
    team: int


def share(rows: int, columns: int, needs: int, agents: int) -> Rows:
    """`rows` are those between header and footer; `needs` what that panel would take."""
    if columns >= WIDE:
        taken = min(needs, rows // 2)
        return Rows(taken, rows - taken)
    detail = max(DETAIL, rows * 2 // 5)
    left = max(4, rows - detail)
    # The table keeps its head and two agents, however much is asked.
    table = min(agents + 1, 3)
    taken = min(needs, max(2, left - table))
    return Rows(taken, max(2, min(agents + 1, left - taken)))
