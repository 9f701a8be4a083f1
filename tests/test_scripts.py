"""The scripts of a checkout, in a clone with an empty home: set-up, refusals, repair."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkouts import ROOT, SET_UP, System, clone, environment, run
from tests.counts import measured
from tests.support import alive, wait_until

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# One worker runs them all: they share one clone.
pytestmark = [pytest.mark.xdist_group("scripts"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory with a space in its name, as homes may have; an empty home is in it."""
    directory = Path(tempfile.mkdtemp(prefix="crew set-up "))
    (directory / "home").mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def env(place: Path) -> dict[str, str]:
    return environment(place / "home", os.environ["PATH"])


@pytest.fixture(scope="module")
def checkout(place: Path, env: dict[str, str]) -> Path:
    """A clone that two processes set up at the same time, the second waiting for the first."""
    target = clone(place / "checkout")
    began = time.monotonic()
    both = [
        subprocess.Popen(
            [target / "bin/crew", "--version"],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=SET_UP) for process in both]
    for process, (out, err) in zip(both, ended, strict=True):
        assert process.returncode == 0, err
        assert VERSION in out
    said = "".join(err for _, err in ended)
    assert said.count("makes a virtual environment") == 1
    assert said.count("installs crewmux") == 1
    assert all(line.startswith("crew: ") for line in said.splitlines()), said
    (target / "took").write_text(str(time.monotonic() - began))
    return target


def make_stale(checkout: Path) -> None:
    """Change what the environment was made from, so that the next run has something to do."""
    with (checkout / "pyproject.toml").open("a") as file:
        file.write(f"# {time.monotonic_ns()}\n")


# -- set up, once --------------------------------------------------------------------------------


def test_two_at_once_set_up_a_fresh_clone(checkout: Path) -> None:
    measured("bin/crew, first time, two at once", float((checkout / "took").read_text()), "s")


def test_the_second_time_is_silent_and_quick(checkout: Path, env: dict[str, str]) -> None:
    done = run(checkout / "bin/crew", "--version", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    # The script's own time is what is left when the command that it becomes does nothing.
    installed = checkout / ".venv/bin/crew"
    aside = installed.rename(installed.with_name("crew.aside"))
    installed.symlink_to("/bin/true")
    took = []
    try:
        for _ in range(20):
            began = time.perf_counter()
            assert run(checkout / "bin/crew", env=env).stderr == ""
            took.append((time.perf_counter() - began) * 1000)
    finally:
        aside.rename(installed)
    measured("bin/crew over the installed crew (median of 20)", statistics.median(took), "ms")


def test_through_a_link_and_from_elsewhere(
    checkout: Path, place: Path, env: dict[str, str], tmp_path: Path
) -> None:
    link = tmp_path / "crew"
    link.symlink_to(checkout / "bin/crew")
    assert VERSION in run(link, "--version", env=env, cwd=tmp_path).stdout
    # CDPATH makes `cd` print, and go elsewhere.
    beside = {**env, "CDPATH": str(place)}
    done = run("bin/crew", "--version", env=beside, cwd=checkout)
    assert VERSION in done.stdout, done.stderr
    assert run("sh", "crew", "--version", env=env, cwd=checkout / "bin").returncode == 0


def test_a_set_up_that_was_killed_is_repaired(checkout: Path, env: dict[str, str]) -> None:
    make_stale(checkout)
    process = subprocess.Popen(
        [checkout / "bin/crew", "--version"],
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until((checkout / ".venv/.crewmux-building").exists, "pip runs", 120)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = run(checkout / "bin/crew", "--version", env=env)
    assert (done.returncode, done.stdout.count(VERSION)) == (0, 1), done.stderr
    assert "makes a virtual environment" in done.stderr


def test_a_changed_project_is_installed_again(checkout: Path, env: dict[str, str]) -> None:
    make_stale(checkout)
    done = run(checkout / "bin/crew", "--version", env=env)
    assert done.returncode == 0, done.stderr
    assert "installs crewmux" in done.stderr
    assert "makes a virtual environment" not in done.stderr


@pytest.mark.full
def test_a_moved_checkout_and_a_python_that_is_gone(
    checkout: Path, env: dict[str, str], tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(checkout, moved, symlinks=True)
    for _ in range(2):
        done = run(moved / "bin/crew", "--version", env=env)
        assert (done.returncode, done.stdout.count(VERSION)) == (0, 1), done.stderr
        assert "makes a virtual environment" in done.stderr
        assert str(moved) in (moved / ".venv/bin/crew").read_text()
        assert run(moved / "bin/crew", "--version", env=env).stderr == ""
        for python in (moved / ".venv/bin").glob("python*"):
            python.unlink()
            python.symlink_to("/nonexistent/python3")


@pytest.mark.full
def test_bin_check_runs_every_check(checkout: Path, env: dict[str, str]) -> None:
    broken = checkout / "orchestrator/broken.py"
    broken.write_text("from orchestrator.core import nothing\nx: int = ''")
    try:
        done = run(checkout / "bin/check", env=env)
    finally:
        broken.unlink()
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "FAIL "))]
    marks = {name: mark for mark, name in (line.split(maxsplit=1) for line in lines)}
    assert {k for k, v in marks.items() if v == "FAIL"} >= {
        "ruff format",
        "ruff check",
        "mypy",
        "import contracts",
    }
    assert {"definitions", "sh -n", "bash -n"} <= set(marks)


# -- what the system lacks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(place: Path) -> Path:
    """A clone that is never set up."""
    return clone(place / "bare")


def test_not_root_prints_the_one_command(bare: Path, tmp_path: Path) -> None:
    system = System(tmp_path, lacks={"tmux"})
    system.add_python(venv=False)
    system.is_root(False)
    system.has_apt()
    env = environment(tmp_path, str(system.bin))
    done = run(bare / "bin/crew", "--version", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "crew: missing: tmux python3-venv. Run this once, then run crew again:\n"
        "  sudo sh -c 'apt-get update && apt-get install -y tmux python3-venv'\n"
    )
    assert not system.asked.exists()
    assert not (bare / ".venv").exists()


def test_bin_test_wants_node_too(bare: Path, tmp_path: Path) -> None:
    system = System(tmp_path, lacks={"tmux", "node", "npm", "faketime"})
    system.add_python(venv=True)
    system.is_root(False)
    system.has_apt()
    done = run(bare / "bin/test", env=environment(tmp_path, str(system.bin)))
    assert done.returncode == 2
    assert "apt-get install -y tmux nodejs npm faketime'" in done.stderr


def test_root_installs_what_is_missing(bare: Path, tmp_path: Path) -> None:
    system = System(tmp_path, lacks={"tmux"})
    system.is_root(True)
    system.add_python(venv=False)
    system.has_apt(f'case $1 in install) ln -s /bin/true "{system.bin}/tmux" ;; esac')
    # Without an index the set-up ends at pip, right after what is looked at here.
    env = {**environment(tmp_path, str(system.bin)), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    done = run(bare / "bin/crew", "--version", env=env)
    shutil.rmtree(bare / ".venv")
    assert done.returncode == 1
    assert system.asked.read_text().splitlines() == [
        ": update -qq",
        "noninteractive: install -y -qq --no-install-recommends tmux python3-venv",
    ]
    said = [line for line in done.stderr.splitlines() if line.startswith("crew: ")]
    assert said[0] == "crew: installs tmux python3-venv (apt-get)"
    assert said[1].startswith("crew: makes a virtual environment with Python 3.")
    assert said[2:] == [
        "crew: installs crewmux and what it needs (pip)",
        "crew: pip could not install it: see above.",
    ]


def test_apt_get_that_fails_ends_the_set_up(bare: Path, tmp_path: Path) -> None:
    system = System(tmp_path, lacks={"tmux"})
    system.is_root(True)
    system.add_python(venv=True)
    system.has_apt("echo no network >&2; exit 100")
    done = run(bare / "bin/crew", env=environment(tmp_path, str(system.bin)))
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "no network",
        "crew: apt-get could not install tmux: see above.",
    ]


def test_another_system_names_what_it_needs(bare: Path, tmp_path: Path) -> None:
    system = System(tmp_path, lacks={"tmux"})
    system.add_python(venv=True)
    system.is_root(True)
    done = run(bare / "bin/crew", env=environment(tmp_path, str(system.bin)))
    assert done.returncode == 2
    assert done.stderr == (
        "crew: missing: tmux. Install that with your system's package manager, "
        "then run crew again.\n"
    )


def test_no_python_is_one_sentence(bare: Path, tmp_path: Path) -> None:
    system = System(tmp_path, lacks=set())
    system.is_root(True)
    # Too old, and one that cannot run at all, as a version manager's shim may be.
    system.add("python3", f'exec "{sys.executable}" -I -c "import sys; sys.exit(1)"')
    system.add("python3.12", "exit 127")
    done = run(bare / "bin/crew", env=environment(tmp_path, str(system.bin)))
    assert done.returncode == 2
    assert done.stderr == (
        "crew: needs Python 3.11 or newer, and found none as python3, python3.13, python3.12 "
        "or python3.11 on the PATH.\n"
    )


# -- bin/test and .ci/run ------------------------------------------------------------------------


def reaped(script: str, grace: float = 0.3) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; from tests import reaper; sys.exit(reaper.run(sys.argv[1:], grace={grace}))"
    )
    argv = [sys.executable, "-c", code, "sh", "-c", script]
    return run(*argv, env=os.environ, cwd=ROOT)


def test_a_process_left_behind_fails_the_run_and_is_ended(tmp_path: Path) -> None:
    # A daemon in all its ways: two forks, a session of its own, an empty environment.
    daemon = "env -i setsid sh -c 'sleep 600 & echo $! >pid; exec sleep 601' >/dev/null 2>&1 &"
    # Each is named by what it runs: it must have come to run it.
    runs = '[ -s pid ] && [ "$(cat /proc/$(cat pid)/comm)" = sleep ]'
    done = reaped(f"cd '{tmp_path}'; {daemon} until {runs}; do sleep 0.01; done")
    assert done.returncode == 1
    pid = int((tmp_path / "pid").read_text())
    assert "left running, and ended now: 2" in done.stderr
    assert f"  {pid}: sleep 600" in done.stderr
    assert not alive(pid)


def test_a_run_that_leaves_nothing_keeps_its_exit_status() -> None:
    for script, status in (("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137)):
        done = reaped(f"(sleep 0.1 &) ; {script}", grace=30)
        assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(("check", "test", "status"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
def test_ci_runs_both_and_ends_with_the_closing_line(
    tmp_path: Path, check: int, test: int, status: int
) -> None:
    closing = "==== 1 failed, 12 passed, 1 skipped in 3.21s (0:00:03) ===="
    for name, script in (
        ("bin/check", f"echo checked; exit {check}"),
        ("bin/test", f"echo \"$*\"; echo '{closing}'; echo left running >&2; exit {test}"),
    ):
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci/run", tmp_path / ".ci/run")
    done = run(tmp_path / ".ci/run", "-k", "one thing", env=os.environ)
    lines = done.stdout.splitlines()
    assert done.returncode == status
    assert lines[:2] == ["checked", "-k one thing"]
    assert lines[-1] == closing
    assert ("bin/check failed: see above" in lines) == bool(check)
    assert ("bin/test failed: see above" in lines) == bool(test)
