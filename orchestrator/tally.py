"""How CLIs are asked from within this session (`crew ask`), since its supervisor began."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Literal, get_args

from orchestrator.core import views
from orchestrator.core.views import View
from orchestrator.sinks.history import Outcome

OUTCOMES = frozenset(get_args(Outcome))
# What each outcome counts as, beside an answer.
COUNTED = {
    "hit": "hits",
    "stale": "hits",
    "joined": "joined",
    "failed": "failed",
    "refused": "failed",
    "timeout": "failed",
}


class Tally:
    """Counts; `tell` is given the numbers (`views.ASKS`) whenever they are others."""

    def __init__(self, tell: Callable[[View], None]) -> None:
        self._tell = tell
        self._now: dict[object, Literal["waiting", "running"]] = {}
        self._ended = dict(views.ASKS)

    @contextlib.contextmanager
    def asking(self, who: object) -> Iterator[None]:
        """What runs inside lasts as long as the question is being answered."""
        self._now[who] = "waiting"
        self._say()
        try:
            yield
        finally:
            self._now.pop(who, None)
            self._say()

    def runs(self, who: object) -> None:
        """Its CLI has been started."""
        if who in self._now:
            self._now[who] = "running"
            self._say()

    def ended(self, who: object, outcome: str, saved_usd: float, *, ahead: bool) -> None:
        """It is answered, or will not be. What was asked ahead and is known saves nobody
        anything."""
        if outcome not in OUTCOMES:
            raise ValueError(f"{outcome!r} is no outcome of a question")
        self._now.pop(who, None)
        if not (ahead and outcome == "hit"):
            self._ended["done"] += 1
            if outcome in COUNTED:
                self._ended[COUNTED[outcome]] += 1
            if math.isfinite(saved_usd):
                saved = self._ended["saved_usd"] + max(0.0, saved_usd)
                self._ended["saved_usd"] = round(saved, views.COST_DIGITS)
        self._say()

    def _say(self) -> None:
        states = list(self._now.values())
        now = {state: states.count(state) for state in ("running", "waiting")}
        self._tell({**self._ended, **now})
