"""What is written can be read, on whatever it stands."""

import pytest
from textual.color import Color

from orchestrator.dashboard.picker import Picker
from orchestrator.dashboard.theme import CONTRAST, FRONTS, TINTS, contrast


def test_contrast_is_that_of_wcag() -> None:
    black, white, grey = (Color.parse(name) for name in ("#000000", "#ffffff", "#777777"))
    assert contrast(black, white) == pytest.approx(21)
    assert contrast(white, white) == 1
    assert contrast(grey, white) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "nord", "solarized-light"])
def test_every_look_is_readable_on_every_background(theme: str) -> None:
    app = Picker([])
    app.theme = theme
    colours = app.get_css_variables()
    for back in ("background", "panel", *TINTS):
        for front in (*FRONTS, "dim"):
            ratio = contrast(Color.parse(colours[front]), Color.parse(colours[back]))
            assert ratio >= CONTRAST, f"{front} on {back} has {ratio:.1f}"
