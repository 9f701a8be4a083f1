"""What the dashboard looks like, beside what it looked like when a person last looked at it.

`CREW_TEST_PICTURES=write` writes the files of `pictures/` anew: read what has changed before
keeping it. Each file is the screen as text; where colours are the point, it is followed by the
styles, as lengths of runs in columns, row by row.
"""

import difflib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rich.style import Style

from orchestrator.client import Json
from orchestrator.dashboard import board
from orchestrator.dashboard.app import Dashboard
from orchestrator.dashboard.link import Lost, Recorded, Told
from orchestrator.dashboard.picker import Picker
from orchestrator.dashboard.picture import Still, take
from orchestrator.dashboard.words import Words
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from orchestrator.verbs.watch import words as lent
from tests.dashboard import worlds
from tests.dashboard.fake_link import FakeLink
from tests.dashboard.test_keys import text, until

PICTURES = Path(__file__).parent / "pictures"
README_PICTURE = Path(__file__).parents[2] / ".github" / "dashboard.svg"
README_SIZE = (110, 34)
# Seconds in which a picture has come to rest.
SETTLES = 20.0
SMALL, MIDDLE, WIDE, LARGE = (80, 24), (120, 40), (160, 30), (200, 60)


@dataclass(frozen=True)
class Picture:
    """`keys` are pressed, then `told` comes of the link; `shows` is in it when it is complete."""

    world: Callable[[], Json]
    size: tuple[int, int]
    shows: str
    keys: tuple[str, ...] = ()
    told: Told | None = None
    screen: Json = field(default_factory=lambda: worlds.DIALOG)
    events: list[Json] = field(default_factory=lambda: worlds.EVENTS)
    light: bool = False
    colours: bool = True
    styles: bool = False


DOWN = "session release is down: `crew restore release` brings its agents back"
SILENT = "the supervisor has not answered for 3 s"
BOARDS: dict[str, Picture] = {
    "team-80x24": Picture(worlds.team, SMALL, "Do you want"),
    "team-120x40": Picture(worlds.team, MIDDLE, "Do you want", styles=True),
    "team-160x30": Picture(worlds.team, WIDE, "Do you want"),
    "team-light": Picture(worlds.team, MIDDLE, "Do you want", light=True, styles=True),
    "team-no-color": Picture(worlds.team, MIDDLE, "Do you want", colours=False, styles=True),
    "events": Picture(worlds.team, MIDDLE, "its transcript", ("right",)),
    "messages": Picture(worlds.team, SMALL, "Make the", ("left",), events=worlds.TALK),
    "messages-none": Picture(worlds.statuses, SMALL, "no message yet", ("left",), events=[]),
    "question": Picture(worlds.asking, SMALL, "t answers"),
    "dialog": Picture(worlds.asking, SMALL, "where it is answered", ("space",)),
    "filtered": Picture(worlds.team, SMALL, "/ tester", ("slash", *"tester", "enter")),
    "nobody-in-need": Picture(worlds.team, SMALL, "takes the first", ("home",)),
    "help": Picture(worlds.team, SMALL, "every command", ("question_mark",)),
    "send": Picture(worlds.team, SMALL, "ctrl+s", ("s", "a", "enter", "b")),
    "deny": Picture(worlds.team, SMALL, "because", ("n", "a")),
    "confirm": Picture(worlds.team, SMALL, "Restart ana?", ("R",), styles=True),
    "lost": Picture(worlds.team, SMALL, SILENT, told=Lost(SILENT), styles=True),
    "down": Picture(
        worlds.down, SMALL, "is down", told=Recorded(worlds.down(), DOWN), screen={"screen": None}
    ),
    "statuses": Picture(worlds.statuses, MIDDLE, "agent-10"),
    "wide-names-80x24": Picture(worlds.wide, SMALL, "はい"),
    "wide-names-160x30": Picture(worlds.wide, WIDE, "はい"),
    "nobody": Picture(worlds.nobody, SMALL, "no agent"),
    "crowd-40": Picture(lambda: worlds.many(40), MIDDLE, "worker-7"),
    "crowd-100": Picture(lambda: worlds.many(100), LARGE, "worker-7"),
}

SESSIONS = (
    ("release", "up, 2 need you", "/srv/release"),
    ("a-name-as-long-as-it-may-be-here", "unwatched", "/home/ana/日本語/and/a/long/directory"),
    ("calm", "up", "/srv/calm"),
    ("old", "down", "/srv/old"),
)


@pytest.fixture(autouse=True)
def _in_utc_and_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Events are shown in local time; and no agent is only passed over here."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(board, "DWELL", 0.0)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", BOARDS)
async def test_the_board_looks_as_it_did(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = BOARDS[name]
    if not picture.colours:
        monkeypatch.setenv("NO_COLOR", "1")
    link = FakeLink(picture.world())
    link.streams |= {"screen": [picture.screen], "events": picture.events}
    link.answers |= {"why": {"why": worlds.REASONS}, "logs": CrewError(DOWN)}
    app = Dashboard(link, _words(), lambda: worlds.NOW)
    async with app.run_test(size=picture.size) as pilot:
        if picture.light:
            app.theme = "textual-light"
        await until(lambda: app.painted is not None, pilot)
        await pilot.press(*picture.keys)
        if picture.told is not None:
            link.tell(picture.told)
        await until(lambda: not picture.events or app.feed is None or app.feed.is_filled, pilot)
        await until(lambda: picture.shows in text(app), pilot)
        file = PICTURES / f"{name}.txt"
        end = time.monotonic() + SETTLES
        while True:
            app.paint_now()  # also what came a moment ago
            await pilot.pause()
            seen = _drawn(app, picture.styles)
            # A scroll bar may come a frame later than what it is for.
            if seen == _known(file) or time.monotonic() > end:
                break
        _compare(file, seen)


async def test_the_list_of_sessions_looks_as_it_did() -> None:
    app = Picker(SESSIONS)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        _compare(PICTURES / "sessions.txt", _drawn(app, styles=False))


def test_the_readme_shows_the_dashboard_as_it_is(tmp_path: Path) -> None:
    """Made with `crew watch --screenshot .github/dashboard.svg --world
    tests/dashboard/webshop.json --size 110x34`."""
    world = worlds.webshop()
    paths = SessionPaths(tmp_path / "webshop")
    svg = take(Still(world), lent(paths), README_SIZE, lambda: float(world["at"]))
    _compare(README_PICTURE, svg)


def _words() -> Words:
    """What `crew watch` lends, but that commands are as a person with an installed `crew` types."""
    return replace(lent(SessionPaths(Path("release"))), typed=str)


def _known(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _compare(file: Path, seen: str) -> None:
    if os.environ.get("CREW_TEST_PICTURES") == "write":
        file.write_text(seen, encoding="utf-8")
    before = _known(file)
    if seen != before:
        changes = difflib.unified_diff(
            before.splitlines(), seen.splitlines(), str(file), "now", lineterm=""
        )
        pytest.fail("\n".join(changes), pytrace=False)


def _drawn(app: Dashboard | Picker, styles: bool) -> str:
    """The screen as text, and with `styles` its runs: of a row their lengths and styles."""
    seen = text(app) + "\n"
    if not styles:
        return seen
    names: dict[str, str] = {}
    rows: list[str] = []
    for strip in app.screen._compositor.render_strips():
        runs: list[tuple[str, int]] = []
        for segment in strip:
            style = _style(segment.style or Style())
            letter = names.setdefault(style, chr(ord("a") + len(names)))
            size = segment.cell_length
            if runs and runs[-1][0] == letter:
                size += runs.pop()[1]
            runs.append((letter, size))
        rows.append(" ".join(f"{letter}{size}" for letter, size in runs))
    legend = [f"{letter}: {style}" for style, letter in names.items()]
    return seen + "\n" + "\n".join([*rows, "", *legend]) + "\n"


def _style(style: Style) -> str:
    """Without what Textual keeps in it for itself."""
    return str(style.without_color + Style.from_color(style.color, style.bgcolor))
