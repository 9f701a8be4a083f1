"""A person who is attached: where they land, what they see, and what a loss of tmux does."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.end_to_end.conftest import CREW, Crew
from tests.support import wait_until
from tests.tmux.screens import Screen, terminal

TEAM = """
[[agents]]
name = "boss"

[[agents]]
name = "worker"
"""
SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])


@contextmanager
def person(crew: Crew, columns: int, rows: int) -> Iterator[Screen]:
    environ = {**crew.env, "PS1": "prompt$ "}
    with terminal(crew.home, columns, rows, "sh", "-i", **environ) as screen:
        screen.wait_for("prompt$")
        screen.run("cd", str(crew.cwd))
        yield screen


def see(screen: Screen, look: Callable[[str], object], what: str) -> None:
    try:
        wait_until(lambda: look(screen.status()), what, 30)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{screen.text()}") from None


@SIZES
def test_one_lands_on_who_needs_them_and_sees_it(crew: Crew, columns: int, rows: int) -> None:
    crew.blueprint(TEAM)
    crew.up("--wait")
    with person(crew, columns, rows) as screen:
        screen.run(str(CREW), "attach")
        see(screen, lambda line: line.startswith(" crew t  1:boss ○  2:worker ○ "), "both ready")
        see(screen, lambda line: line.endswith("detach: C-b C-b d"), "the way out")
        assert crew.tmux("display-message", "-p", "-t", "=t:", "#W").strip() == "boss"
        screen.type("C-b", "d")
        screen.wait_for("[detached (from session t)]")
        assert "crew:" not in screen.text()
        crew.run("send", "worker", "[[ask: which one?|red|blue]]", check=False)
        crew.wait_status(worker="blocked")
        screen.run(str(CREW), "attach")
        see(screen, lambda line: line.startswith(" crew t  1 needs you  1:boss "), "who needs me")
        see(screen, lambda line: "2:worker ?" in line, "the mark")
        assert "\x1b[33m?" in screen.coloured()[-1]
        assert crew.tmux("display-message", "-p", "-t", "=t:", "#W").strip() == "worker"
        screen.wait_for("which one?")


@SIZES
def test_a_lost_server_is_come_back_to(crew: Crew, columns: int, rows: int) -> None:
    crew.blueprint(TEAM)
    crew.up("--wait")
    with person(crew, columns, rows) as screen:
        screen.run(str(CREW), "attach", "worker")
        see(screen, lambda line: "2:worker ○" in line, "the team")
        old = crew.view()["server"]
        os.kill(old, signal.SIGKILL)
        clients = ["list-clients", "-F", "#{client_session}:#{window_name}"]

        def back() -> bool:
            return crew.view()["state"] == "up" and crew.view()["server"] not in (None, old)

        wait_until(back, "a server", 30)
        crew.wait_status(boss="ready", worker="ready")
        # The new server has other panes by the same names: it is told of their marks again.
        see(screen, lambda line: re.match(r" crew t  1:boss ○  2:worker ○ ", line), "the marks")
        wait_until(lambda: "t:worker" in crew.tmux(*clients).split(), "who was there is back", 30)
        crew.run("down")
        screen.wait_for("crew: session t is down: `")
        screen.run("stty", "-a")
        screen.wait_for(" icanon ")


def test_what_a_person_opens_is_in_the_project(crew: Crew) -> None:
    crew.blueprint(TEAM)
    crew.up("--wait")
    with person(crew, 80, 24) as screen:
        screen.run(str(CREW), "attach")
        see(screen, lambda line: "1:boss ○" in line, "the team")
        screen.type("C-b", "c")
        see(screen, lambda line: "3:" in line, "a window of one's own")
        screen.run("pwd")
        # On a line of its own, or behind a prompt that came after what was typed.
        screen.wait_for(str(crew.cwd))
        screen.run(str(CREW), "status")
        screen.wait_for("t is up")
