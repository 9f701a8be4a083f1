"""What both apps of the dashboard look like: one stylesheet, and no motion."""

import asyncio
import signal
from typing import Generic, TypeVar

from textual.app import App
from textual.color import Color

Result = TypeVar("Result")

# How far what matters less stands back into the background.
_BACK = 0.4


class Themed(App[Result], Generic[Result]):
    """An app with the dashboard's looks."""

    CSS_PATH = "app.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.animation_level = "none"

    async def on_load(self) -> None:
        """Ended from outside, it leaves the terminal as it was."""
        if not self.is_headless:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)

    @property
    def fault(self) -> Exception | None:
        """The defect that ended the app, if one did."""
        return self._exception

    def _print_error_renderables(self) -> None:
        """Textual would print a traceback: the caller says what happened, in a sentence."""

    def get_css_variables(self) -> dict[str, str]:
        """As Textual has them, and `$dim`: theirs of that kind are lost on a line of our own."""
        found = super().get_css_variables()
        front, back = Color.parse(found["foreground"]), Color.parse(found["background"])
        return found | {"dim": front.blend(back, _BACK).hex}
