"""What both apps of the dashboard look like: one stylesheet, readable colours, and no motion."""

import asyncio
import signal
from collections.abc import Sequence
from typing import Generic, TypeVar

from textual import events
from textual.app import App
from textual.color import Color

from orchestrator.dashboard.driver import TerminalDriver

Result = TypeVar("Result")

# How far what matters less stands back into the background.
_BACK = 0.4
# Contrast that text has at least, on every background that it may stand on: level AA of WCAG.
CONTRAST = 4.5
# What the looks of text are made of, by their names in the stylesheet.
FRONTS = {
    "good": "text-success",
    "busy": "text-primary",
    "ask": "text-warning",
    "warn": "text-accent",
    "bad": "text-error",
    "key": "text-secondary",
}
# Tints of the background: of what, and how much of it where that is dark, and where it is light.
TINTS = {
    "calls": ("warning", 0.12, 0.1),
    "calling": ("warning", 0.24, 0.3),
    "alarm": ("error", 0.3, 0.18),
    "held": ("primary", 0.28, 0.17),
    "chosen": ("foreground", 0.12, 0.08),
}
# How text is made readable: in steps of lightness, at most so many.
_STEP, _STEPS = 0.03, 25
# Seconds after a change of size in which another one, or the same one told too early, is over.
SETTLED = 0.3


class Themed(App[Result], Generic[Result]):
    """An app with the dashboard's looks."""

    CSS_PATH = "app.tcss"

    def __init__(self) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.animation_level = "none"

    async def on_load(self) -> None:
        """Ended from outside, it leaves the terminal as it was."""
        if not self.is_headless:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)

    def on_resize(self, _: events.Resize) -> None:
        """What was told of the terminal's size is a hint: it may have another one by now."""
        if not self.is_headless:
            self.set_timer(SETTLED, self._look_at_size)

    def _look_at_size(self) -> None:
        size = self._driver.measured() if isinstance(self._driver, TerminalDriver) else None
        if size is not None and size != self.size:
            self.post_message(events.Resize(size, size))

    @property
    def fault(self) -> Exception | None:
        """The defect that ended the app, if one did."""
        return self._exception

    def _print_error_renderables(self) -> None:
        """Textual would print a traceback: the caller says what happened, in a sentence."""

    def get_css_variables(self) -> dict[str, str]:
        """As Textual has them, with looks and tints of our own: theirs are hard to read on some
        of the backgrounds, and dim text of theirs is lost on a line of ours."""
        found = super().get_css_variables()
        colours = {name: Color.parse(found[name]) for name in ("foreground", "background", "panel")}
        front, back = colours["foreground"], colours["background"]
        dark = self.current_theme.dark
        tints = {
            name: back.blend(Color.parse(found[of]), at_dark if dark else at_light)
            for name, (of, at_dark, at_light) in TINTS.items()
        }
        backs = (back, colours["panel"], *tints.values())
        looks = {name: Color.parse(found[of]) for name, of in FRONTS.items()}
        looks["dim"] = front.blend(back, _BACK)
        readable = {name: _readable(colour, backs, dark) for name, colour in looks.items()}
        return found | {name: colour.hex for name, colour in (tints | readable).items()}


def contrast(one: Color, other: Color) -> float:
    """The ratio of their luminances, as WCAG defines it: 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colour.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _readable(colour: Color, backs: Sequence[Color], dark: bool) -> Color:
    """`colour`, so much lighter, or on light backgrounds darker, that it can be read on `backs`."""
    shown = colour
    for step in range(_STEPS):
        shown = colour.lighten(step * _STEP) if dark else colour.darken(step * _STEP)
        if all(contrast(shown, back) >= CONTRAST for back in backs):
            break
    return shown
