"""`crew doctor`: what is wrong with a machine, made wrong for real, with its remedy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.doctor import hooks, watches
from orchestrator.locations import PACKAGE, cache_root, config_root, state_root
from tests.cli_support import CREW, Ran, crew, environment, known
from tests.counts import cannot

SILENT = 'command = ["sh", "-c", "exec sleep 600"]'
ENDS = 'command = ["sh", "-c", "echo no licence; exit 3"]'
ASKS = 'command = ["sh", "-c", "echo Do you trust this folder; exec sleep 600"]'
HOOKED = """
[launch]
{command}
settings = ["--settings", "{{settings}}"]
[hooks]
dialect = "claude"
events = ["SessionStart"]
[[screen.patterns]]
match = '^Do you trust'
status = "blocked"
ask = "dialog"
name = "trust"
"""


@pytest.fixture
def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is wrong, in an empty project."""
    for name in [n for n in os.environ if n.startswith("LC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    project = home / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    # One that may be installed here is not to be started in an empty home.
    define("claude", '[launch]\ncommand = ["no-claude-here"]\n')
    return project


def define(name: str, text: str) -> None:
    file = config_root() / "agents" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def found(ran: Ran, check: str) -> str:
    """What is said of `check`, unfolded, with its remedy."""
    said: list[str] = []
    for line in ran.out.splitlines():
        if line[:1] not in ("", " "):
            said.append(line)
        elif line and said:
            said[-1] += f" {line.strip()}"
    [one] = [line for line in said if line[8:].startswith(f"{check} ")]
    return one


def remedies(ran: Ran) -> int:
    return sum(line.strip().startswith("-> ") for line in ran.out.splitlines())


def path_without(directory: Path, *programs: str) -> str:
    """A PATH of this machine's own programs but these."""
    directory.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in programs:
            (directory / program.name).symlink_to(program)
    return str(directory)


def test_a_good_machine_has_no_remedy_and_keeps_nothing(machine: Path) -> None:
    ran = crew("doctor")
    assert (ran.status, ran.err, remedies(ran)) == (0, "", 0), ran.out
    assert "· note  claude       no-claude-here is not installed, and nothing" in ran.out
    assert ran.out.endswith("\nall is well\n")
    assert "SessionStart arrived" in found(ran, "demo hooks")
    assert all(len(line) <= 80 for line in ran.out.splitlines()), ran.out
    assert not state_root().exists()
    assert list(machine.iterdir()) == []


def test_without_tmux(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path_without(machine / "bin", "tmux"))
    ran = crew("doctor", "demo")
    assert ran.status == 1
    assert found(ran, "tmux").startswith("✗ bad   tmux         tmux is not installed -> install it")
    assert found(ran, "demo hooks").startswith("! warn  demo hooks   not tried")
    assert ran.out.endswith("\n1 bad, 1 warning\n")


def test_a_cli_that_is_missing_is_bad_where_it_is_needed(machine: Path) -> None:
    ran = crew("doctor", "claude")
    assert ran.status == 1
    assert "✗ bad   claude       no-claude-here is not installed, and it is needed" in ran.out
    assert "-> install it, or put its directory on PATH" in found(ran, "claude")
    (machine / "crew.toml").write_text('name = "t"\n[[agents]]\nname = "a"\ncli = "claude"\n')
    ran = crew("doctor")
    assert (ran.status, remedies(ran)) == (1, 1), "said once, not of the blueprint as well"
    ran = crew("doctor", "nonsense")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no agent CLI 'nonsense'" in ran.err


@pytest.mark.parametrize(
    ("command", "patience", "status", "says"),
    [
        (SILENT, 0.6, 1, "✗ bad   c hooks      c runs, and no hook of it arrived in 0.6 s -> see"),
        (
            ENDS,
            60,
            1,
            "✗ bad   c hooks      c ended before its first hook, exit status 3",
        ),
        (ASKS, 60, 0, "! warn  c hooks      not tried: c has a question first (trust) -> start it"),
    ],
    ids=["deaf", "ends", "asks"],
)
def test_hooks_that_do_not_arrive(
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    patience: float,
    status: int,
    says: str,
) -> None:
    monkeypatch.setattr(hooks, "ARRIVES", patience)
    if command == ASKS:
        monkeypatch.setattr(hooks, "STANDS", 0.2)
    define("c", HOOKED.format(command=command))
    ran = crew("doctor", "c")
    assert found(ran, "c hooks").startswith(says), ran.out
    assert command != ENDS or "exit status 3: no licence -> start it" in found(ran, "c hooks")
    assert (ran.status, remedies(ran)) == (status, 1)
    assert not state_root().exists(), "nothing is left"


def test_versions_and_definitions(machine: Path) -> None:
    define("old", '[launch]\ncommand = ["sh", "-c"]\nversion = ["echo 1.2.3; echo more"]\n')
    define("broken", '[launch]\ncommand = ["sh", "-c"]\nversion = ["echo too old; exit 4"]\n')
    define("wrong", "command = 1\n")
    ran = crew("doctor")
    assert ran.status == 1, "what is installed does not run"
    assert "1.2.3, /" in found(ran, "old")
    assert "does not say its version (exit status 4): too old -> see what" in found(ran, "broken")
    assert found(ran, "wrong").startswith("! warn"), "nothing needs it"


def test_what_a_project_defines_is_not_run_before_it_is_trusted(machine: Path) -> None:
    mark = machine / "mark"
    (machine / ".crew/agents").mkdir(parents=True)
    (machine / ".crew/agents/own.toml").write_text(
        f'[launch]\ncommand = ["touch", "{mark}"]\nversion = ["{mark}"]\n'
        '[hooks]\ndialect = "claude"\nevents = ["SessionStart"]\n'
    )
    (machine / "crew.toml").write_text('name = "t"\n[[agents]]\nname = "a"\ncli = "own"\n')
    ran = crew("doctor", "own")
    assert ran.status == 0
    assert "not started: its definition is the project's, not trusted" in found(ran, "own")
    assert "not trusted yet: `crew up` shows it and asks" in found(ran, "blueprint")
    assert not mark.exists()
    (machine / "crew.toml").write_text('name = "t"\nagents = 3\n')
    ran = crew("doctor", "shell")
    assert (ran.status, remedies(ran)) == (1, 1)
    assert found(ran, "blueprint").startswith("✗ bad")


def test_sessions_on_disk(machine: Path) -> None:
    known("asleep", "down")
    known("alone", "up")
    damaged = known("hurt", "up").database
    damaged.write_bytes(b"no database" * 1000)
    ran = crew("doctor", "shell")
    assert ran.status == 1
    assert "! warn  session      alone is up and has no supervisor now" in ran.out
    assert "-> `crew status -s alone` brings one back" in ran.out
    assert f"✗ bad   session      hurt: {damaged}" in ran.out
    assert "1 on disk can be read" in found(ran, "sessions")
    assert ran.out.endswith("\n1 bad, 1 warning\n")


def test_modes_and_variables(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("TERM", "tmux-256color")
    state_root().mkdir(mode=0o755, parents=True)
    config_root().chmod(0o775)
    cache_root().mkdir(mode=0o750, parents=True)
    script = machine / "crew-hook"
    script.write_text(settings.HOOK.read_text())
    monkeypatch.setattr(settings, "HOOK", script)
    ran = crew("doctor", "demo")
    assert (ran.status, remedies(ran)) == (1, 5)
    assert found(ran, "demo hooks").endswith(f"{script} cannot be run -> chmod +x {script}")
    assert "is not UTF-8: LC_ALL=C -> export LC_ALL=C.UTF-8" in found(ran, "locale")
    assert f"look into {state_root()} (mode 0755) -> chmod 700 " in found(ran, "state")
    assert f"write to {config_root()} (mode 0775) -> chmod go-w " in found(ran, "config")
    assert f"look into {cache_root()} (mode 0750) -> chmod 700 " in found(ran, "cache")
    assert found(ran, "nested").endswith("C-b C-b d leaves a team")
    assert list(state_root().iterdir()) == []
    state_root().rmdir()
    state_root().write_text("")
    ran = crew("doctor", "shell", "--json")
    assert ran.status == 1
    [one] = [each for each in json.loads(ran.out) if each["level"] == "bad"]
    assert one == {
        "check": "state",
        "level": "bad",
        "text": f"{state_root()} is not a directory",
        "remedy": "move it away, or set XDG_STATE_HOME",
    }


def test_a_state_directory_too_long(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = machine / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(long))
    ran = crew("doctor", "demo")
    assert ran.status == 1
    assert "is too long a path for a socket -> set XDG_STATE_HOME" in found(ran, "sockets")
    assert "not tried" in found(ran, "demo hooks")
    assert list(long.iterdir()) == []


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_without_watches(machine: Path, limit: str) -> None:
    """In a user namespace of its own, whose limits are ours to set."""
    if shutil.which("unshare") is None:
        cannot("there is no `unshare`")
    script = f'echo 0 >/proc/sys/user/{limit} && exec "$@"'
    argv = ["unshare", "-Ur", "sh", "-c", script, "sh", *CREW, "doctor", "shell"]
    done = subprocess.run(
        argv,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if not done.stdout:
        cannot(f"no user namespaces: {done.stderr.strip()}")
    said = found(Ran(done.returncode, done.stdout, done.stderr), "inotify")
    assert done.returncode == 0, "it works without, but less well"
    assert said.startswith("! warn  inotify      the system's limit of file watches is reached")
    assert said.endswith(f"-> as root: `{watches.RAISE}`")


def test_another_package_of_the_name(machine: Path) -> None:
    """Ours is run from a copy: what is installed, which a supervisor would run, is another one."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, machine / "orchestrator", ignore=skip)
    for data in ("agents", "sessions"):
        shutil.copytree(PACKAGE.parent / data, machine / data)
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "doctor", "shell"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    said = found(Ran(done.returncode, done.stdout, done.stderr), "package")
    assert f"a supervisor would run {PACKAGE}, and this is {machine}" in said
    assert said.endswith(f"-> {watches.ISOLATE}")
