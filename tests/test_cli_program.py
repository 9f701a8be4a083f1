"""Commands that are shown can be typed as they stand, however `crew` was called."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.locations import PACKAGE, session_paths
from orchestrator.verbs import program
from tests.cli_support import Ran, crew, known
from tests.fake_supervisor import FakeSupervisor, agent, ask

BIN = PACKAGE.parent / "bin"


@pytest.fixture
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, with a checkout's `bin` in which the set-up has been done.

    `bin/crew` is the real one; the installed command beside it runs this package.
    """
    directory = home / "check out"
    (directory / "bin").mkdir(parents=True)
    shutil.copy(BIN / "crew", directory / "bin" / "crew")
    (directory / "bin" / "_setup").write_text(f"setup() {{ venv='{directory}/venv'; }}\n")
    installed = directory / "venv" / "bin" / "crew"
    installed.parent.mkdir(parents=True)
    installed.write_text(
        f"#!/bin/sh\n'exec' '{sys.executable}' \"$0\" \"$@\"\n"
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "from orchestrator.cli import run\nrun()\n"
    )
    installed.chmod(0o755)
    monkeypatch.chdir(directory)
    return directory


def typed(*argv: str | Path, path: str = "/usr/bin:/bin", **more: str) -> Ran:
    """Type a command; its PATH has no `crew` but what `path` has."""
    done = subprocess.run(
        [str(part) for part in argv],
        env={**os.environ, "PATH": path, **more},
        executable=shutil.which(str(argv[0]), path=path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def hint(*argv: str | Path, path: str = "/usr/bin:/bin", **more: str) -> str:
    """The command in what `ls` says where there is no session yet."""
    return typed(*argv, "ls", path=path, **more).out.split("`")[1].removesuffix(" up")


def test_a_checkout_says_how_it_was_called(place: Path, tmp_path: Path) -> None:
    assert hint("bin/crew") == "bin/crew"
    assert hint("./bin/crew") == "./bin/crew"
    assert hint(place / "bin" / "crew") == f"'{place}/bin/crew'", "quoted for a shell"
    assert hint("venv/bin/crew") == "venv/bin/crew"
    link = tmp_path / "crew"
    link.symlink_to(place / "bin" / "crew")
    assert hint(link) == str(link)


def test_on_the_path_it_is_called_by_its_name(place: Path, tmp_path: Path) -> None:
    for target in ("bin/crew", "venv/bin/crew"):
        link = tmp_path / "crew"
        link.unlink(missing_ok=True)
        link.symlink_to(place / target)
        path = f"{tmp_path}:/usr/bin:/bin"
        assert hint("crew", path=path) == "crew"
        assert hint(target, path=path) == "crew", "the same program"
    link.rename(tmp_path / "mycrew")
    assert hint("bin/crew", path=path) == "bin/crew"


def test_another_program_of_that_name_is_not_ours(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "crew"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert hint("bin/crew", path=f"{tmp_path}:/usr/bin:/bin") == "bin/crew"


def test_what_cannot_be_typed_again_is_called_by_its_name(place: Path) -> None:
    package = {"PYTHONPATH": str(PACKAGE.parent)}
    assert hint(sys.executable, "-m", "orchestrator", **package) == "crew"
    for strange in ("/no/such/crew", "\x1b[31m", ""):
        assert hint(sys.executable, "-m", "orchestrator", CREW_INVOKED=strange, **package) == "crew"


def test_every_sentence_says_it(place: Path) -> None:
    assert typed("bin/crew", "status").err == (
        "crew: there is no session yet: `bin/crew up` starts one\n"
    )
    assert typed("bin/crew", "send").err == ("crew: AGENT is missing: see `bin/crew send --help`\n")
    assert "bin/crew send" in typed("bin/crew", "help", "send").out.partition("Example:")[2]
    for verb in (("cache",), ("cache", "stats")):
        told = typed("bin/crew", *verb, "--help").out
        assert "Example: bin/crew cache" in told
    told = typed("bin/crew").out
    assert told.startswith("Usage: bin/crew ")
    assert "`bin/crew help VERB` has an example" in told
    known("demo", "down")
    assert "    bin/crew restore " in typed("bin/crew", "status").out
    assert "`bin/crew restore demo`" in typed("bin/crew", "send", "boss", "hi").err


def test_what_a_supervisor_says_is_to_be_typed_too(place: Path) -> None:
    asking = agent("boss", "blocked", ask=ask("Run rm?", k1="Yes"))
    with FakeSupervisor(session_paths("demo"), asking) as fake:
        fake.publish(state="paused")
        out = typed("bin/crew", "status").out
        assert "    bin/crew answer boss 1    Yes\n" in out
        assert "; `bin/crew up` goes on\n" in out
        fake.handlers["restart"] = lambda _: {
            "exit": 1,
            "error": "down: `crew up` or `crew restore`",
        }
        ran = typed("bin/crew", "restart", "boss")
        assert ran.err == "crew: down: `bin/crew up` or `bin/crew restore`\n"


def test_no_agent_inherits_how_it_was_called(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own pane `crew` is what its PATH has."""
    monkeypatch.chdir(home)
    monkeypatch.setenv(program.INVOKED, "bin/crew")
    assert crew("ls").status == 0
    assert program.INVOKED not in os.environ


def test_only_commands_in_back_quotes_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_typed", r"a\1/crew")
    assert program.as_typed("`crew` or `crew up`, `crewx`, crew") == (
        r"`a\1/crew` or `a\1/crew up`, `crewx`, crew"
    )
    assert program.command("answer", "b", "1; rm") == r"a\1/crew answer b '1; rm'"
