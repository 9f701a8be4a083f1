"""A person before `crew watch`: keys go in by the tmux around it, and what is seen comes out."""

import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.dashboard.orders import REACTION
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.test_attach import person
from tests.support import wait_until
from tests.tmux.screens import Screen

_PLACED = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Seconds for "within a second", on a machine that does much else at the same time.
SOON = 15.0
# Stands in the dashboard's last line.
FOOTER = "q quit"


@contextmanager
def dashboard(crew: Crew, columns: int = 120, rows: int = 40) -> Iterator[Screen]:
    """A terminal in which `crew watch` shows the crew's session."""
    with person(crew, columns, rows) as screen:
        watch(screen)
        yield screen


def watch(screen: Screen) -> None:
    """Start it at the prompt."""
    screen.run(str(CREW), "watch")
    see(screen, FOOTER)


def see(screen: Screen, *words: str, gone: str = "", deadline: float = 30) -> str:
    """Wait until all of `words` are on the screen, and `gone` is not; returns the screen."""

    def look() -> str:
        text = screen.text()
        there = all(word in text for word in words)
        return text if there and not (gone and gone in text) else ""

    try:
        return wait_until(look, f"{words}, not {gone!r}", deadline)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{screen.text()}") from None


class Recording:
    """Every byte that is written to the screen's terminal, from now on."""

    def __init__(self, screen: Screen, file: Path) -> None:
        self._file = file
        file.touch()
        screen.tmux("pipe-pane", f"cat >>{shlex.quote(str(file))}")

    def bytes(self) -> bytes:
        return self._file.read_bytes()

    def text(self) -> str:
        """What was written, without how it was placed and coloured."""
        return _PLACED.sub("", self.bytes().decode(errors="replace"))

    def wait_for(self, words: str, deadline: float = 30) -> None:
        """Wait until `words` have been written, though they may be gone by now."""
        wait_until(lambda: words in self.text(), f"{words!r} was written", deadline)


def write(screen: Screen, text: str) -> None:
    """Type `text` letter by letter, as it is."""
    screen.tmux("send-keys", "-l", text)


def choose(screen: Screen, number: int, name: str) -> None:
    """Take the agent in hand that is `name`, the `number`th of the table from 0."""
    screen.type("Home", *["Down"] * number)
    see(screen, f"\n {name} [Screen]")


def read(screen: Screen, *words: str) -> str:
    """As `see`, for as long as one needs to read a question: sooner, a key is refused."""
    since: float | None = None

    def look() -> str:
        nonlocal since
        text = screen.text()
        if not all(word in text for word in words):
            since = None
            return ""
        since = since or time.monotonic()
        return text if time.monotonic() - since > REACTION else ""

    try:
        return wait_until(look, f"{words} stand there", 30)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{screen.text()}") from None
