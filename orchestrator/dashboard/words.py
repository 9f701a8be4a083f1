"""What the dashboard takes from the command line, which is above it: its words, and attaching."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.client import Json


@dataclass(frozen=True)
class Words:
    """Lent by the verb that starts the dashboard.

    `event(row, columns, now)` is a row of the journal as one line; None: it says nothing to a
    person. `why(reasons, agent, columns, now)` is what `crew why` prints. `kinds()` are those of
    events that may be worth a line. `typed` puts commands in a sentence as they are to be typed
    here. `attach(agent)` goes to its window in this terminal, and comes back.
    """

    event: Callable[[Json, int, float], str | None]
    why: Callable[[Json, Json, int, float], list[str]]
    kinds: Callable[[], list[str]]
    typed: Callable[[str], str]
    attach: Callable[[str], None]
