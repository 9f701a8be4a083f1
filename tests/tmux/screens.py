"""A person's terminal that can be read: a tmux of its own around what runs in it."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.core.spec import Layout
from orchestrator.launching import launch_order
from orchestrator.locations import SessionPaths
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control
from tests.support import alive, end, wait_until

SESSION = "team-1"


class Screen:
    """A terminal of `columns` x `rows` in which `command` runs."""

    def __init__(self, home: Path, columns: int, rows: int, *command: str, **environ: str) -> None:
        self.socket = home / f"outer-{columns}.sock"
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            **environ,
        }
        size = ["-x", str(columns), "-y", str(rows)]
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, *command)
        self.tmux("set-option", "-g", "status", "off")
        # Keys come one by one, as a person's do.
        self.tmux("set-option", "-s", "escape-time", "0")
        self.pid = int(self.format("#{pid}"))

    def tmux(self, *arguments: str) -> str:
        argv = ["tmux", "-u", "-S", str(self.socket), *arguments]
        done = subprocess.run(
            argv, env=self._environ, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def format(self, text: str) -> str:
        return self.tmux("display-message", "-p", text).strip()

    def lines(self) -> list[str]:
        return self.tmux("capture-pane", "-p").removesuffix("\n").split("\n")

    def text(self) -> str:
        return "\n".join(self.lines())

    def coloured(self) -> list[str]:
        return self.tmux("capture-pane", "-p", "-e").removesuffix("\n").split("\n")

    def status(self) -> str:
        """The last line."""
        return self.lines()[-1]

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def run(self, *words: str) -> None:
        """Type a command."""
        self.tmux("send-keys", "-l", shlex.join(words))
        self.type("Enter")

    def wait_for(self, needle: str) -> list[str]:
        def look() -> list[str] | None:
            lines = self.lines()
            return lines if needle in "\n".join(lines) else None

        try:
            return wait_until(look, f"{needle!r} on the screen") or []
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text()}") from None

    def wait_for_status(self, start: str, end: str = "") -> str:
        """The last line, once it begins and ends so: it is drawn after the rest, and in parts."""

        def look() -> str:
            line = self.status()
            return line if line.startswith(start) and line.endswith(end) else ""

        try:
            return wait_until(look, f"the last line {start!r}...{end!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text()}") from None


@contextmanager
def terminal(
    home: Path, columns: int, rows: int, *command: str, **environ: str
) -> Iterator[Screen]:
    screen = Screen(home, columns, rows, *command, **environ)
    try:
        yield screen
    finally:
        end(screen.pid)
        wait_until(lambda: not alive(screen.pid), "the terminal's end")


@contextmanager
def attached(home: Path, paths: SessionPaths, columns: int, rows: int = 12) -> Iterator[Screen]:
    """A person who looks at the team."""
    attach = ["env", "-u", "TMUX", "tmux", "-u", "-S", str(paths.tmux_socket), "attach-session"]
    with terminal(home, columns, rows, *attach, "-t", f"={SESSION}") as screen:
        yield screen


async def open_agent(
    control: Control,
    paths: SessionPaths,
    agent: str,
    place: int,
    layout: Layout = "windows",
    *argv: str,
) -> str:
    """An agent that runs `argv`, or else shows what is typed; its pane."""
    file = paths.launch / f"{agent}.1.order"
    file.write_text(launch_order(argv=argv or ("cat", "-"), cwd="/"))
    opened = await panes.open_pane(
        control, SESSION, agent, place=place, layout=layout, launch_file=file
    )
    return opened.pane
