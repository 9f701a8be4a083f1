"""A demo agent in a real tmux on a private socket, with a hook that writes down what it is told."""

import json
import os
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.screen import Look, read
from orchestrator.core.spec import ScreenPattern, ScreenSpec
from tests.support import alive, end, wait_until

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "orchestrator" / "demo" / "agent.py"
DEFINITION = tomllib.loads((ROOT / "agents" / "demo.toml").read_text())
EVENTS: list[str] = DEFINITION["hooks"]["events"]

TMUX_CONF = "set -g remain-on-exit on\nset -g status off\nset -g escape-time 0\n"
Record = dict[str, Any]


def screen_spec() -> ScreenSpec:
    """How the shipped definition reads a screen."""
    screen = DEFINITION["screen"]
    patterns = tuple(ScreenPattern(**pattern) for pattern in screen["patterns"])
    return ScreenSpec(patterns=patterns, composer=screen["composer"], option=screen["option"])


def argv(*arguments: str) -> list[str]:
    return [sys.executable, "-I", str(AGENT), *arguments]


class Demo:
    """One agent at a time, in one conversation unless told otherwise."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cwd = home / "work"
        self.cwd.mkdir()
        self.config = home / "demo"
        self.told = home / "told.jsonl"
        self.settings = home / "settings.json"
        self.conversation = str(uuid.uuid4())
        self.env = {"DEMO_AGENT_HOME": str(self.config), "DEMO_AGENT_PACE": "0"}
        self.pid = 0
        self._pids: list[int] = []
        self._conf = home / "tmux.conf"
        self._conf.write_text(TMUX_CONF)
        self.hook_command(f"cat >>{self.told}")

    def hook_command(self, command: str, *events: str, timeout: float = 5) -> None:
        """Have `command` run for these events (all, if none is given)."""
        known: dict[str, Any] = {}
        if events:
            known = json.loads(self.settings.read_text())["hooks"]
        hook = {"type": "command", "command": command, "timeout": timeout}
        for event in events or EVENTS:
            known[event] = [{"hooks": [hook]}]
        self.settings.write_text(json.dumps({"hooks": known}))

    # -- the terminal ------------------------------------------------------------------------------

    def tmux(self, *arguments: str, stdin: str = "") -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.home / "t.sock"), "-f", str(self._conf), *arguments],
            input=stdin,
            # A pane's PATH is that of the tmux client, whatever `-e` says.
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def launch(self, *arguments: str, columns: int = 100, rows: int = 40) -> None:
        """Run the agent with these arguments in a new pane, which becomes the only one."""
        if self._pids:
            self.tmux("kill-server")
            wait_until(lambda: not any(map(alive, self._pids)), "the one before is gone")
        environment = [item for pair in self.env.items() for item in ("-e", "=".join(pair))]
        size = ("-x", str(columns), "-y", str(rows), "-c", str(self.cwd))
        command = argv("--settings", str(self.settings), *arguments)

        def started() -> bool:
            # For a moment after `kill-server` the socket belongs to a server that is leaving.
            try:
                self.tmux("new-session", "-d", *size, *environment, *command)
            except subprocess.CalledProcessError:
                return False
            return True

        wait_until(started, "tmux runs")
        self.pid = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        self._pids = [self.pid, int(self.tmux("display-message", "-p", "#{pid}"))]

    def start(self, *arguments: str, columns: int = 100, rows: int = 40) -> None:
        """A new conversation, ready."""
        self.launch("--session-id", self.conversation, *arguments, columns=columns, rows=rows)
        self.wait_status("idle")

    def resume(self, *arguments: str) -> None:
        """The same conversation in a new process, ready."""
        self.launch("--resume", self.conversation, *arguments)
        self.wait_status("idle")

    def screen(self, *arguments: str) -> str:
        return self.tmux("capture-pane", "-p", *arguments)

    def look(self) -> Look:
        return read(self.screen().split("\n"), screen_spec())

    def looks(self, status: str) -> Look:
        """Wait until the screen, which is painted behind the status file, shows this too."""
        seen = [self.look()]

        def stands() -> bool:
            # The first look may have come while it was painted.
            seen.append(self.look())
            return seen[-1] == seen[-2] and seen[-1].status == status

        wait_until(stands, f"a screen that is {status}")
        return seen[-1]

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", *names)

    def paste(self, text: str) -> None:
        self.tmux("load-buffer", "-b", "b", "-", stdin=text)
        self.tmux("paste-buffer", "-p", "-d", "-b", "b")

    def send(self, text: str) -> None:
        self.paste(text)
        self.keys("Enter")

    def sees(self, text: str, deadline: float = 30) -> str:
        """Wait until the screen, or what scrolled off it, shows `text`."""
        screens = [""]

        def found() -> bool:
            screens[0] = self.screen("-S", "-")
            return text in screens[0]

        try:
            wait_until(found, f"{text!r} on the screen", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{screens[0]}") from None
        return screens[0]

    def exit_status(self) -> str:
        """How it ended, once it has: an exit code, or a signal as `signal N`."""
        self.gone()
        form = "#{pane_dead}/#{pane_dead_status}/#{pane_dead_signal}"

        def told() -> list[str]:
            # tmux 3.3a can miss the death of a child; that of another makes it look at all.
            self.tmux("run-shell", "true")
            dead, code, number = self.tmux("display-message", "-p", form).strip().split("/")
            return [code, number] if dead == "1" and (code or number) else []

        code, number = wait_until(told, "how it ended")
        return code or f"signal {number}"

    # -- what it leaves ----------------------------------------------------------------------------

    @property
    def status_file(self) -> Path:
        return self.config / "sessions" / f"{self.pid}.json"

    def status(self) -> Record:
        """What the status file says; empty if it is not there or being written."""
        try:
            found: Record = json.loads(self.status_file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def wait_status(self, status: str, waiting_for: str | None = None) -> Record:
        def there() -> Record:
            found = self.status()
            same = (found.get("status"), found.get("waitingFor")) == (status, waiting_for)
            return found if same else {}

        try:
            return wait_until(there, f"status {status}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.status()}\n{self.screen()}") from None

    @property
    def transcript_file(self) -> Path:
        (path,) = self.config.glob(f"projects/*/{self.conversation}.jsonl")
        return path

    def transcript(self) -> list[Record]:
        if not list(self.config.glob(f"projects/*/{self.conversation}.jsonl")):
            return []
        whole = self.transcript_file.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def said(self) -> list[str]:
        """The agent's own words in its transcript."""
        return [
            block["text"]
            for record in self.transcript()
            if record["type"] == "assistant"
            for block in record["message"]["content"]
            if block["type"] == "text"
        ]

    def hooks(self) -> list[Record]:
        """What hooks were told, in order."""
        if not self.told.exists():
            return []
        whole = self.told.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def events(self) -> list[str]:
        return [hook["hook_event_name"] for hook in self.hooks()]

    def wait_events(self, *events: str) -> None:
        """Wait until the hooks were told of exactly these."""
        try:
            wait_until(lambda: self.events() == list(events), f"{events}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.events()}") from None

    def gone(self) -> None:
        wait_until(lambda: not alive(self.pid), f"{self.pid} has ended")

    def close(self, others: Sequence[int] = ()) -> None:
        """End the server and the agent; each must be gone."""
        for pid in (*self._pids, *others):
            end(pid)
        wait_until(lambda: not any(map(alive, (*self._pids, *others))), "everything is gone")


@pytest.fixture
def demo(home: Path) -> Iterator[Demo]:
    made = Demo(home)
    yield made
    made.close()


@pytest.fixture
def fake_crew(demo: Demo) -> Path:
    """A `crew` on the agent's PATH: each call becomes a file, with its arguments and its stdin."""
    directory = demo.home / "bin"
    sent = demo.home / "sent"
    for made in (directory, sent):
        made.mkdir()
    program = directory / "crew"
    program.write_text(
        "#!/bin/sh\n"
        f"half=$(mktemp {sent}/.half-XXXXXX)\n"
        'printf "%s\\n" "$*" >"$half"\n'
        'cat >>"$half"\n'
        f'mv "$half" "{sent}/$(printf %s "$*" | tr -c "[:alnum:]-" _).$$"\n'
        'echo "message 1 delivered to $2"\n'
    )
    program.chmod(0o755)
    demo.env["PATH"] = f"{directory}:{os.environ['PATH']}"
    return sent
