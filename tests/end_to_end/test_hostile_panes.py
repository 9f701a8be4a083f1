"""Panes that print what no CLI should: it costs little, holds up nobody, what is shown is right.

Two print the same: one is known by its screen alone, and somebody looks at the other, so it is
taken with its colours. The status of a third, which reports itself, is told meanwhile.
"""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.screen import plain
from orchestrator.core.styles import standalone
from orchestrator.core.text import safe_text
from tests.bench.figures import percentile
from tests.bench.kernel import cpu_seconds
from tests.counts import measured
from tests.end_to_end import faults, hostile
from tests.end_to_end.conftest import Crew
from tests.support import wait_until
from tests.test_viewing import SHELL, Ask, Stream, shows, types
from tests.test_viewing import ask as ask

Json = dict[str, Any]

HOSTILE = f"""
name = "hostile"
[launch]
command = [
    "{{python}}", "-I", "{faults.HERE / "hostile.py"}", "CASE", "SIZE", "DIRECTORY/{{name}}",
]
[screen]
lines = 3
[[screen.patterns]]
match = '^{hostile.OVER}$'
status = "working"
[[screen.patterns]]
match = '^{hostile.REST}$'
status = "ready"
"""
# Says nothing on its screen; this test speaks for its hooks.
QUIET = """
name = "quiet"
[launch]
command = ["cat"]
[hooks]
dialect = "claude"
events = ["SessionStart", "UserPromptSubmit", "Stop"]
"""
TEAM = """
[[agents]]
name = "plain"
cli = "hostile"
env = {}
[[agents]]
name = "seen"
cli = "hostile"
env = {}
[[agents]]
name = "quiet"
cli = "quiet"
env = {}
"""
FLOODING = "plain", "seen"
# Megabytes that each of the two prints at least: in a small run, and in a full one.
SIZES = {"lines of text": (5, 100), "one line": (1, 20)}
OTHERS = (1, 20)
# CPU seconds for each second of the two floods, and once. The budget of one pane is 0.02; others
# use this machine, and its caches, as well.
SHARE, ONCE = 0.06, 0.1
# Seconds from a hook's file to its status at a subscriber, while two panes and tmux want each a
# core. Not a budget: what is held up by a flood would come at its end.
SOON, SLOWEST = 1.0, 10.0


class Viewer:
    """Somebody who looks at an agent's screen for as long as this lasts."""

    def __init__(self, stream: Stream) -> None:
        self.frame: Json = {}
        self.frames = 0
        self._stream = stream
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (line := self._stream.next(600)) is not None:
                self.frame = line["screen"]
                self.frames += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.socket.shutdown(2)
        self._thread.join(20)


@contextlib.contextmanager
def looking(stream: Stream) -> Iterator[Viewer]:
    viewer = Viewer(stream)
    try:
        yield viewer
    finally:
        viewer.close()


def captured(crew: Crew, pane: str, *options: str) -> list[str]:
    """What tmux says that a pane shows."""
    argv = ["tmux", "-S", str(crew.state / "tmux.sock"), "capture-pane", "-p", "-t", pane, *options]
    out = subprocess.run(argv, env=crew.env, capture_output=True, check=True).stdout
    return out.decode(errors="replace").removesuffix("\n").split("\n")


def place(crew: Crew) -> Path:
    """Where the two are told what to do: the supervisor watches what is in the project."""
    return crew.home / "hostile"


def printed(crew: Crew, name: str) -> int:
    return int(faults.contents(place(crew) / f"{name}.printed") or 0)


class Reporter:
    """Speaks as the hooks of an agent, and listens for its status as a subscriber."""

    def __init__(self, crew: Crew, stream: Stream) -> None:
        self._crew = crew
        self._stream = stream
        self._run = crew.agent("quiet")["run"]
        self._number = 0

    def tell(self, hook: str, status: str) -> float:
        """Seconds from the hook's file to this status."""
        self._number += 1
        data = faults.payload(hook, session_id="s", prompt=f"{self._number}")
        told = time.monotonic()
        faults.spool(self._crew, f"quiet.{self._run}.{hook}.{self._number}", data)
        self._stream.until(lambda line: status in _statuses(line), f"{hook}: {status}", 60)
        return time.monotonic() - told


def _statuses(line: Json) -> list[str]:
    agents = (line.get("view") or line["change"]).get("agents", ())
    return [agent["status"] for agent in agents if agent["name"] == "quiet"]


def begin(crew: Crew, case: str, size: int) -> dict[str, str]:
    """Start the team, and wait until the two are at rest; the agents' panes."""
    place(crew).mkdir()
    text = HOSTILE.replace("CASE", case).replace("SIZE", str(size))
    faults.define(crew, "hostile", text.replace("DIRECTORY", str(place(crew))))
    faults.define(crew, "quiet", QUIET)
    crew.blueprint(TEAM)
    crew.up()
    view = crew.wait_status(plain="ready", seen="ready")
    return {agent["name"]: str(agent["pane"]) for agent in view["agents"]}


def is_right(crew: Crew, pane: str, viewer: Viewer) -> bool:
    """Whether the frame is what tmux says, with all colours and without."""
    fields = "#{pane_width} #{pane_height} #{cursor_flag} #{cursor_x} #{cursor_y}"
    found = crew.tmux("display-message", "-p", "-t", pane, fields).split()
    columns, rows, flag, x, y = map(int, found)
    coloured = captured(crew, pane, "-e")
    lines = standalone(coloured)
    frame = viewer.frame
    cursor = [min(x, columns - 1), y] if flag else None
    shown = [frame[name] for name in ("columns", "rows", "cursor", "lines")]
    if shown != [columns, rows, cursor, lines]:
        return False
    # Without colours, tmux tells a line that was drawn as the letter that it was drawn with.
    words = [line.rstrip() for line in captured(crew, pane)]
    return any("\x0e" in line for line in coloured) or words == [*map(plain, frame["lines"])]


def logged(crew: Crew, name: str, pane: str, lines: int) -> bool:
    """Whether `crew logs` says what tmux does."""
    wanted = safe_text("\n".join(captured(crew, pane, "-S", f"-{lines}")).rstrip(), lines=True)
    return (
        crew.run("logs", name, "-n", str(lines)).stdout.rstrip("\n").split("\n")
        == (wanted.rstrip("\n").split("\n")[-lines:])
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", hostile.CASES)
def test_what_a_pane_prints_costs_little_and_is_shown_right(
    crew: Crew, ask: Ask, count: Callable[[str, int, int], int], case: str
) -> None:
    megabytes = count(f"MB that a pane prints: {case}", *SIZES.get(case, OTHERS))
    seconds = count("seconds that panes print while CPU time is counted", 2, 10)
    hooks = count("hooks while panes print", 10, 100)
    panes = begin(crew, case, megabytes * 1_000_000)
    pid = crew.supervisor()
    with looking(ask("screen", agent="seen")) as viewer:
        wait_until(lambda: viewer.frames, "the first frame")
        reporter = Reporter(crew, ask("watch"))
        reporter.tell("SessionStart", "ready")
        for name in FLOODING:
            (place(crew) / f"{name}.go").touch()
        wait_until(lambda: all(printed(crew, name) for name in FLOODING), "both print")
        used, since = cpu_seconds(pid), time.monotonic()
        wait_until(lambda: time.monotonic() - since > seconds, "for some seconds")
        used, took = cpu_seconds(pid) - used, time.monotonic() - since
        delays = []
        for _ in range(hooks):
            delays.append(reporter.tell("UserPromptSubmit", "working"))
            delays.append(reporter.tell("Stop", "ready"))
        for name in FLOODING:
            (place(crew) / f"{name}.stop").touch()
        crew.wait_status(600, plain="working", seen="working")
        wait_until(lambda: is_right(crew, panes["seen"], viewer), "the screen is right")
    measured(f"two panes print {case}: CPU of the supervisor", 100 * used / took, "%")
    for percent in (50, 99):
        delay = 1000 * percentile(delays, percent)
        measured(f"two panes print {case}: hook to subscriber, p{percent}", delay, "ms")
    for name in FLOODING:
        assert printed(crew, name) >= megabytes * 1_000_000
        assert logged(crew, name, panes[name], 300)
    assert used < ONCE + SHARE * took
    assert percentile(delays, 50) < SOON
    assert max(delays) < SLOWEST
    log = (crew.state / "supervisor.log").read_text()
    assert "not followed any more" not in log
    assert "Traceback" not in log


def test_a_box_that_is_drawn_with_letters_is_shown_as_a_box(crew: Crew, ask: Ask) -> None:
    """As programs do that use the terminal's second set of characters."""
    crew.blueprint(SHELL)
    crew.up()
    pane = str(crew.wait_status(s="ready")["agents"][0]["pane"])
    types(crew, pane, r"clear; printf '\033(0lqqk\033(B\nx\033[31m\033(0qq\033(Bx \033[m\n'")
    ask("screen", agent="s").frame(shows("┌──┐"), "the box's upper line")
    ask("screen", agent="s").frame(shows("x\x1b[31m──x"), "lines among letters, with a colour")
