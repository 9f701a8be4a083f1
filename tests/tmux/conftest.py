"""A real tmux server of one's own for each test, and a control client of it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orchestrator.launching import launch_order
from orchestrator.locations import SessionPaths, ensure_private, session_paths
from orchestrator.tmux import bootstrap
from orchestrator.tmux.control import Control
from orchestrator.tmux.protocol import Notification

T = TypeVar("T")

PROGRAMS = Path(__file__).with_name("programs")


async def until(look: Callable[[], Awaitable[T]], what: str, deadline: float = 20.0) -> T:
    """Return the first true value of `look`; fail with `what` after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        got = await look()
        if got:
            return got
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Heard:
    """What a control client told its owner."""

    notifications: list[Notification] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    silent: list[bool] = field(default_factory=list)

    def names(self) -> set[str]:
        return {n.name for n in self.notifications}


@pytest.fixture
def paths(home: Path) -> Iterator[SessionPaths]:
    paths = session_paths("team-1")
    for directory in paths.directories():
        ensure_private(directory)
    yield paths
    bootstrap.kill_server(paths)


@pytest.fixture
def server(paths: SessionPaths) -> int:
    return bootstrap.start_server(paths, os.environ)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def control(server: int, paths: SessionPaths, heard: Heard) -> AsyncIterator[Control]:
    control = await connect(paths, heard)
    yield control
    await control.close()


async def connect(paths: SessionPaths, heard: Heard) -> Control:
    return await Control.connect(
        paths.tmux_socket,
        bootstrap.HOLDING,
        heard.notifications.append,
        heard.gone.append,
        heard.silent.append,
    )


async def program_pane(control: Control, program: str, *arguments: str) -> str:
    """Run a program of `programs/` in a window of the holding session; return the pane's id."""
    made = ["new-window", "-d", "-t", "=_crew:", "-P", "-F", "#{pane_id}"]
    file = str(PROGRAMS / program)
    (lines,) = await control.run([*made, sys.executable, "-I", "-S", file, *arguments])
    return lines[0].decode()


async def printing_pane(control: Control, home: Path, text: str) -> str:
    """A pane that shows `text`, with its escapes, and stays."""
    file = home / f"text-{time.monotonic_ns()}"
    file.write_bytes(text.encode())
    return await program_pane(control, "printer.py", str(file))


async def write_order(paths: SessionPaths, name: str, *argv: str, **more: Any) -> Path:
    """A launch order for `argv`."""
    file = paths.launch / f"{name}.order"
    order = launch_order(**{"argv": argv, "cwd": "/", **more})
    await asyncio.to_thread(file.write_text, order)
    return file
