"""A crew of real Claude CLIs that speak with the stand-in: fixture `claude`."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.claude.api import MessagesApi
from tests.claude.home import environment, prepare
from tests.support import wait_until

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Crew

DEFAULTS = """
name = "{name}"
root = "."

[defaults]
cli = "claude"

"""
# Seconds: twice those in which the CLI drops keys.
STOOD = 0.4
# A CLI with nothing of ours, but the renderer and the mode that ours are started with.
BARE = 'exec claude --permission-mode default --settings \'{"tui": "default"}\''


class Claude:
    """`crew` is the person's crew, and `crew("up", ...)` runs its command line."""

    def __init__(self, crew: "Crew", api: MessagesApi) -> None:
        self.crew = crew
        self.api = api
        self.home = crew.home
        self.root = crew.cwd
        crew.env.update(environment(api, crew.home, crew.env["PATH"]))
        prepare(self.home, self.root)

    def blueprint(self, text: str, name: str = "t") -> None:
        """Write `crew.toml` for agents that are Claude CLIs; later verbs are about it."""
        self.crew.session = name
        (self.root / "crew.toml").write_text(DEFAULTS.format(name=name) + text)

    def status(self, agent: str) -> str:
        status: str = self.crew.agent(agent)["status"]
        return status

    def conversation(self, agent: str) -> str | None:
        conversation: str | None = self.crew.agent(agent)["conversation"]
        return conversation

    def pane(self, agent: str) -> str:
        """The screen, as text."""
        return self.crew.tmux("capture-pane", "-p", "-t", self.crew.agent(agent)["pane"])

    def keys(self, agent: str, *keys: str) -> None:
        """What a person types into the pane, past everything of ours; names as tmux has them."""
        self.crew.tmux("send-keys", "-t", self.crew.agent(agent)["pane"], *keys)

    def standing(self, agent: str) -> str:
        """The agent's screen, once it has stood still for a while."""
        seen, since = self.pane(agent), time.monotonic()

        def stands() -> bool:
            nonlocal seen, since
            now = self.pane(agent)
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > STOOD

        wait_until(stands, "the screen stands still")
        return seen

    def press(self, agent: str, *keys: str) -> None:
        """`keys`, to a screen that has stood: a dialog drops what is typed as it is drawn."""
        self.standing(agent)
        self.keys(agent, *keys)

    def bare(self, n: int, deadline: float = 60) -> float:
        """Start `n` CLIs at once, without us; the seconds until each of them says that it is idle.

        They run in a tmux and a HOME of their own, and have ended when this returns.
        """
        home = self.home / "bare"
        project = home / "project"
        project.mkdir(parents=True, exist_ok=True)
        prepare(home, project)
        command = ["tmux", "-S", str(home / "tmux.sock"), "-f", "/dev/null"]
        run = partial(
            subprocess.run,
            env=environment(self.api, home, self.crew.env["PATH"]),
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        windows = [part for _ in range(n - 1) for part in (";", "new-window", "-d", BARE)]
        size = ("-x", "160", "-y", "45")
        pids: list[int] = []
        began = time.perf_counter()
        try:
            run([*command, "new-session", "-d", *size, BARE, *windows], check=True)
            listed = run([*command, "list-panes", "-a", "-F", "#{pane_pid}"], check=True).stdout
            pids += map(int, listed.split())
            files = [home / f".claude/sessions/{pid}.json" for pid in pids]
            wait_until(lambda: all(map(_idle, files)), f"{n} bare CLIs are idle", deadline)
            return time.perf_counter() - began
        finally:
            run([*command, "kill-server"], check=False)
            # What they have started themselves outlives them for a moment, or for good.
            type(self.crew)(home, project).kill_all()


def _idle(status: Path) -> bool:
    # The CLI rewrites it in place: what is read may be half of it.
    with contextlib.suppress(OSError):
        return '"status":"idle"' in status.read_text()
    return False


@pytest.fixture
def claude(claude_cli: None, crew: "Crew", api: MessagesApi) -> Iterator[Claude]:
    """A crew of real CLIs in an empty HOME; every process of it ends with the test."""
    yield Claude(crew, api)
    crew.end()
