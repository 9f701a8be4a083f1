"""The README is typed as it stands: each command of its `sh` blocks, in its order, comment and all.

A command that is not in one of the lists below fails `test_every_command_is_known`, and so does
one that has gone from the README, or has moved.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen as TextualScreen

from orchestrator.blueprints import load_team
from orchestrator.cli import cli
from orchestrator.dashboard.app import Dashboard
from tests.checkouts import ROOT
from tests.claude.cli import PIN
from tests.cli_support import CONTEXT
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.claude_team import claude as claude  # a fixture, as the next three
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.conftest import api as api
from tests.end_to_end.conftest import claude_cli as claude_cli
from tests.end_to_end.conftest import crew as crew
from tests.end_to_end.test_attach import person
from tests.projects import program, write
from tests.support import wait_until
from tests.tmux.screens import Screen

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "agents/README.md", "sessions/README.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"\s+# .*")
# How the keys of the README's table are called by Textual.
NAMES = {
    **{"?": "question_mark", "/": "slash", "^p": "ctrl+p", "^c": "ctrl+c"},
    **{"←": "left", "→": "right", "↑": "up", "↓": "down"},
}
# Seconds until something has happened that takes an agent or two.
SOON = 30.0


def fenced(language: str) -> list[str]:
    return [text for found, text in FENCE.findall(README) if found == language]


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """What stands in code in the first column of each row of a table."""
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


# Each line with a command: without its comment -> as it stands.
TYPED = {COMMENT.sub("", line): line for block in fenced("sh") for line in block.splitlines()}


class Reader:
    """Somebody in a project's directory with the README in hand; `screen` is their terminal."""

    def __init__(self, crew: Crew, screen: Screen | None = None) -> None:
        self.crew = crew
        self._screen = screen

    @property
    def screen(self) -> Screen:
        assert self._screen is not None
        return self._screen

    def types(self, command: str, status: int = 0) -> str:
        """Run a command of the README; what it prints."""
        done = subprocess.run(
            ["sh", "-c", TYPED[command]],
            env=self.crew.env,
            cwd=self.crew.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def types_at_terminal(self, command: str, *words: str) -> None:
        self.screen.tmux("send-keys", "-l", TYPED[command])
        self.screen.type("Enter")
        self.sees(*words)

    def sees(self, *words: str, gone: str = "") -> None:
        def look() -> bool:
            text = self.screen.text()
            return all(word in text for word in words) and not (gone and gone in text)

        try:
            wait_until(look, f"{words}, not {gone!r}", SOON)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.screen.text()}") from None


Deed = Callable[[Reader, str], None]


def says(*words: str) -> Deed:
    """It is typed once, and says these words."""

    def deed(reader: Reader, command: str) -> None:
        said = reader.types(command)
        assert all(word in said for word in words), said

    return deed


def comes_to_say(*patterns: str) -> Deed:
    """It only looks: it may be typed until it says this. Regular expressions."""

    def deed(reader: Reader, command: str) -> None:
        said = ""

        def look() -> bool:
            nonlocal said
            said = reader.types(command)
            return all(re.search(pattern, said, re.MULTILINE) for pattern in patterns)

        try:
            wait_until(look, f"{command} says {patterns}", SOON)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{said}") from None

    return deed


# -- the tour -------------------------------------------------------------------------------------

# What the demo team is to count below the reader's directory.
COUNTED = {"a.py": "one\ntwo\n", "b/c.py": "three\n", "d.md": "four\n"}
TABLE = (r"Python +2 +3$", r"Total +3 +4$")


def watches_and_answers(reader: Reader, command: str) -> None:
    """What the tour says of the open dashboard comes here too: it is done by keys."""
    reader.types_at_terminal(command, "1 needs you", "worker-2 asks to Read")
    reader.screen.type("Space")
    reader.sees("3  No", "worker-2 [Screen]")
    reader.screen.type("y")
    reader.sees(gone="1 needs you")
    reader.screen.type("Home")
    reader.sees("boss [Screen]", "Total")
    reader.screen.type("?")
    reader.sees("show the keys")
    reader.screen.type("Escape")
    reader.sees(gone="show the keys")
    reader.screen.type("q")
    reader.sees("prompt$", gone="[Screen]")


def visits(reader: Reader, command: str) -> None:
    reader.types_at_terminal(command, " crew demo  1:boss", "Total")
    reader.screen.type("C-b", "n")
    reader.sees("heard: hello")
    # Keys that a test sends do not pass the tmux around it: once is enough.
    reader.screen.type("C-b", "d")
    reader.sees("[detached (from session demo)]")


def kills(reader: Reader, command: str) -> None:
    pid = reader.crew.agent("worker-1")["pid"]
    assert reader.types(command) == ""
    reader.crew.wait(
        lambda view: view["agents"][1]["pid"] not in (None, pid), "worker-1 has a new process"
    )


TOUR: list[tuple[str, Deed]] = [
    ("bin/crew up", says("demo is up: 3 started", "bin/crew status")),
    ("bin/crew watch", watches_and_answers),
    ("bin/crew status", comes_to_say("boss .* ready", "worker-1 .* ready", "worker-2 .* ready")),
    ("bin/crew logs boss", comes_to_say(*TABLE)),
    ('bin/crew send --wait worker-1 "hello"', says("heard: hello")),
    (
        "kill -9 $(tmux -S ~/.local/state/crewmux/demo/tmux.sock"
        " display -p -t demo:worker-1 '#{pane_pid}')",
        kills,
    ),
    (
        "bin/crew events --agent worker-1 -n 8",
        comes_to_say("killed by signal 9", "launched with its conversation"),
    ),
    ("bin/crew logs worker-1", comes_to_say("heard: hello")),
    ("bin/crew why worker-1", comes_to_say("^worker-1 is ready since", "^its status file +idle")),
    ("bin/crew attach boss", visits),
    ("bin/crew down", says("demo is down: ended boss, worker-1, worker-2")),
    ("bin/crew restore", says("demo is up again: boss, worker-1, worker-2")),
    ("bin/crew logs boss", comes_to_say(*TABLE)),
    ("bin/crew down", says("demo is down: ended boss, worker-1, worker-2")),
]


def at_checkout(crew: Crew) -> None:
    """A directory whose `bin/crew` is the checkout's own, and that has something to count."""
    for name, text in COUNTED.items():
        write(crew.cwd / name, text)
    (crew.cwd / "bin").mkdir()
    (crew.cwd / "bin/crew").symlink_to(ROOT / "bin/crew")


def test_the_tour(crew: Crew) -> None:
    at_checkout(crew)
    crew.env["DEMO_AGENT_PACE"] = "0.2"
    with person(crew, 80, 24) as screen:
        reader = Reader(crew, screen)
        for command, deed in TOUR:
            deed(reader, command)
    assert crew.processes() == []


# -- install, develop -----------------------------------------------------------------------------


def links(reader: Reader, command: str) -> None:
    reader.types(command)
    linked = reader.crew.home / ".local/bin/crew"
    done = subprocess.run(
        [linked, "--version"], env=reader.crew.env, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("crew ")


def is_not_run(reader: Reader, command: str) -> None:
    """It installs from the network: tests/test_packaging.py installs the wheel. Here: that what is
    named is a project whose command is `crew`."""
    assert command.endswith(" install .")
    assert list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]) == [
        "crew"
    ]


def is_there(reader: Reader, command: str) -> None:
    """It would run this very test, or measure for minutes; tests/test_scripts.py and tests/bench/
    are about these scripts."""
    assert os.access(ROOT / command.split()[0], os.X_OK)


INSTALL: list[tuple[str, Deed]] = [
    ('mkdir -p ~/.local/bin && ln -s "$PWD/bin/crew" ~/.local/bin/crew', links),
    ("uv tool install .", is_not_run),
    ("pipx install .", is_not_run),
]
DEVELOP: list[tuple[str, Deed]] = [
    ("bin/test", is_there),
    ("bin/check", is_there),
    (".ci/run", is_there),
    ("bin/bench", is_there),
    ("bin/bench truth", is_there),
]


def test_install_and_develop(crew: Crew) -> None:
    at_checkout(crew)
    for command, deed in INSTALL + DEVELOP:
        deed(Reader(crew), command)


# -- with Claude Code: the real CLI, which speaks with a stand-in, as there is no login here ------


def shows_who_asks(reader: Reader, command: str) -> None:
    reader.crew("send", "worker-1", "[[tool Bash: touch x]]")
    asks = "worker-1 asks to run Bash: touch x"
    comes_to_say("1 needs you", asks, "crew answer worker-1 1")(reader, command)


def tells_of_an_edit(reader: Reader, command: str) -> None:
    file = reader.crew.cwd / "crew.toml"
    file.write_text(file.read_text().replace("\ncount = 2", "\ncount = 3"))
    assert "+ worker-3" in reader.types(command, status=1)


CLAUDE: list[tuple[str, Deed]] = [
    ("crew doctor claude", says("claude hooks")),
    ("crew init --from boss-and-workers --workers 2", says("wrote crew.toml")),
    ("crew up", says("3 started")),
    (
        'crew send boss --wait "Which files are here? Ask worker-1 to explain the largest."',
        says("ok: Which files are here?"),
    ),
    ("crew status", shows_who_asks),
    (
        'crew answer worker-1 no --because "not on the main branch"',
        says("answered worker-1: No"),
    ),
    ("crew diff", tells_of_an_edit),
]
QUESTION = "ok: What is HTTP status 418?"
ASK: list[tuple[str, Deed]] = [
    ('crew ask "What is HTTP status 418?"', says(QUESTION)),
    ('crew ask "What is  HTTP status 418?"', says(QUESTION)),
    ('crew status | crew ask --input /dev/stdin "Who of these needs me?"', says("ok: Who of")),
    ("crew cache stats", says("3 asks", "1 hit, 2 misses")),
]


def test_with_claude_code(claude: Claude) -> None:
    claude.crew.env["PATH"] += f":{CREW.parent}"
    claude.crew.session = claude.root.name
    reader = Reader(claude.crew)
    for command, deed in CLAUDE + ASK:
        deed(reader, command)
    claude.api.wait_for(
        lambda request: any("not on the main branch" in each for each in request.results),
        "the model is told why not",
    )


# -- what the README says besides ------------------------------------------------------------------


def test_every_command_is_known() -> None:
    lines = [COMMENT.sub("", line) for block in fenced("sh") for line in block.splitlines()]
    assert lines == [command for command, _ in TOUR + INSTALL + CLAUDE + ASK + DEVELOP]
    assert {language for language, _ in FENCE.findall(README)} == {"sh", "toml", "text"}


def test_the_table_of_verbs_is_that_of_the_help() -> None:
    cells = [cell.split() for cell in first_cells(section("Verbs"))]
    assert {cell[0] for cell in cells} == {"crew"}
    assert sorted(cell[1] for cell in cells) == cli.list_commands(CONTEXT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_verbs_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`(?:bin/)?crew ([a-z]+)", text)) <= set(cli.list_commands(CONTEXT))
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def bound(what: type[DOMNode]) -> set[str]:
    """The keys that this class binds itself."""
    return {binding.key for binding in Binding.make_bindings(what.BINDINGS)}


def test_the_keys_of_the_dashboard() -> None:
    cells = first_cells(section("The dashboard"))
    told = {NAMES.get(cell, cell if len(cell) == 1 else cell.lower()) for cell in cells}
    told |= {str(digit) for digit in range(2, 9)}  # 1 … 9
    # Textual's own: of its screens, and of the palette.
    there = bound(Dashboard) | bound(TextualScreen) | {Dashboard.COMMAND_PALETTE_BINDING}
    assert told <= there, "each key in the table is a binding"
    assert bound(Dashboard) <= told, "each binding of the dashboard is in the table"


def test_the_example_of_a_team(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(home / "bin" / "claude")
    (text,) = fenced("toml")
    file = write(home / "crew.toml", text)
    environ = {"PATH": f"{home / 'bin'}:{os.defpath}", "SHELL": "/bin/sh"}
    team = load_team(file, cwd=home, environ=environ, session=None)
    assert [agent.name for agent in team.agents] == ["boss", "worker-1", "worker-2", "log"]


def test_what_it_says_of_other_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in README
    assert PIN in (ROOT / "agents/claude.toml").read_text().splitlines()[0]
