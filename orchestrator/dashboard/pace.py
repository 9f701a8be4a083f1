"""Not too often, and never too late: how often something is painted."""

import time
from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.timer import Timer


class Pace:
    """Calls `paint` at most once in `gap` seconds, and always after the last `soon`.

    Nothing runs while nothing is asked for.
    """

    def __init__(self, app: App[Any], gap: float, paint: Callable[[], None]) -> None:
        self._app = app
        self._gap = gap
        self._paint = paint
        self._last = float("-inf")
        self._timer: Timer | None = None

    def soon(self) -> None:
        """Paint when the gap allows it, which may be now."""
        if self._timer is not None:
            return
        rest = self._last + self._gap - time.monotonic()
        if rest <= 0:
            self.now()
        else:
            self._timer = self._app.set_timer(rest, self.now)

    def now(self) -> None:
        """Paint at once: a person waits for it."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self._last = time.monotonic()
        self._paint()
