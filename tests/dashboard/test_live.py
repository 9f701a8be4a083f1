"""`crew watch` as a person has it: the real command in a terminal, before the demo team."""

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.dashboard.orders import REACTION
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.conftest import crew as crew
from tests.support import wait_until

SIZE = (100, 30)


class Terminal:
    """A window of a tmux server of its own."""

    def __init__(self, crew: Crew, socket: Path) -> None:
        self._crew = crew
        self._base = ["tmux", "-S", str(socket), "-f", "/dev/null"]

    def tmux(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._base, *arguments],
            env=self._crew.env,
            cwd=self._crew.cwd,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def run(self, *arguments: str) -> None:
        """Run `crew ARGUMENTS` in it, and show its exit status when it has ended."""
        typed = shlex.join([str(CREW), *arguments])
        columns, rows = map(str, SIZE)
        self.tmux("new-session", "-d", "-x", columns, "-y", rows, f"{typed}; echo left: $?; cat")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait(self, *words: str, deadline: float = 50) -> str:
        """Wait until all of `words` are on the screen; returns it."""
        try:
            wait_until(lambda: all(word in self.text() for word in words), str(words), deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text()}") from None
        return self.text()

    def stands(self, *words: str) -> None:
        """Wait until they have stood there for as long as one reads: sooner, no key counts."""
        since = time.monotonic()

        def look() -> bool:
            nonlocal since
            if not all(word in self.text() for word in words):
                since = time.monotonic()
            return time.monotonic() - since > 2 * REACTION

        wait_until(look, f"{words} stand there")


@pytest.fixture
def terminal(crew: Crew) -> Iterator[Terminal]:
    made = Terminal(crew, crew.home / "terminal")
    yield made
    subprocess.run([*made._base, "kill-server"], capture_output=True, check=False)


def test_a_person_watches_the_demo_team(crew: Crew, terminal: Terminal) -> None:
    (crew.cwd / "code.py").write_text("print()\n" * 20)
    (crew.cwd / "more.py").write_text("print()\n" * 20)
    crew.session = "demo"
    crew("up", env={"DEMO_AGENT_PACE": "0"})
    terminal.run("watch")
    terminal.wait("NEEDS YOU", "? worker-2 asks to Read", "enter attach")
    # Its window, in the same terminal, and back.
    terminal.press("Space")
    terminal.wait("▸ ? worker-2", "1  Yes", "worker-2 [Screen]", "Do you want to proceed?")
    terminal.press("Enter")
    terminal.wait("crew demo", "detach:")
    terminal.press("C-b", "d")
    terminal.stands("▸ ? worker-2", "enter attach")
    terminal.press("1")
    terminal.wait("answered worker-2: Yes", "○ ready")
    crew.wait_status(worker_2="ready")
    # A supervisor that dies is started again, and what is shown is current again.
    crew.tmux("has-session")
    pid = crew.supervisor()
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    terminal.wait("the supervisor has not answered for", "✗ not watched")
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    terminal.wait("✓ supervisor", "○ ready")
    assert crew.supervisor() != pid
    # A message is delivered; a session that is down is said, with the remedy.
    terminal.press("Home", "s")
    terminal.wait("message to boss")
    terminal.press("-l", "how are you?")
    terminal.press("C-s")
    terminal.wait("delivered to boss")
    crew("down")
    terminal.wait("demo · down", "session demo is down:", "restore demo")
    terminal.press("q")
    terminal.wait("left: 0")


def test_a_picture_of_the_live_session_and_of_a_recorded_view(crew: Crew, tmp_path: Path) -> None:
    crew.blueprint('[[agents]]\nname = "ana"\nrole = "demo-worker"\n')
    crew.up()
    crew.wait_status(ana="ready")
    live, recorded, world = (tmp_path / name for name in ("a.svg", "b.svg", "w.json"))
    crew("watch", "--screenshot", str(live), "--size", "80x24")
    assert "ana" in live.read_text()
    world.write_text(json.dumps({**crew.view(), "session": "seen-before"}))
    crew("down")
    crew("watch", "--screenshot", str(recorded), "--world", str(world), "--size", "200x50")
    assert "seen-before" in recorded.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "`crew watch` needs a terminal"),
        (("--world", "w.json"), "add --screenshot FILE.svg"),
        (("--screenshot", "a.svg", "--size", "9x9"), "say it like 120x40, at least 20x8"),
        (("--screenshot", "a.svg", "--world", "none.json"), "none.json: cannot be read"),
        (("--screenshot", "a.svg", "--world", "bad.json"), "bad.json: is no JSON"),
        (("--screenshot", "a.svg", "--world", "list.json"), "`crew status --json` writes one"),
        (("--screenshot", "a.svg"), "there is no session yet: "),
        (("--screenshot", "a.svg", "-s", "nope"), "there is no session 'nope'"),
    ],
)
def test_mistakes(crew: Crew, arguments: tuple[str, ...], sentence: str) -> None:
    (crew.cwd / "bad.json").write_text("{")
    (crew.cwd / "list.json").write_text("[]")
    done = crew("watch", *arguments, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr.replace(str(CREW), "crew")
    assert done.stderr.count("\n") == 1


def test_one_of_several_sessions_is_picked(crew: Crew, terminal: Terminal) -> None:
    for name in ("one", "two"):
        crew.blueprint('[[agents]]\nname = "ana"\nrole = "demo-worker"\n', name)
        crew.up()
    (crew.cwd / "crew.toml").unlink()
    terminal.run("watch")
    terminal.wait("which session?", "▸ one", "two")
    terminal.press("Down", "Enter")
    terminal.wait("two · up", "ana")
    terminal.press("q")
    terminal.wait("left: 0")
