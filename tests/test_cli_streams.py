"""The program's three streams: what is full, closed or left by whoever read it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CREW = Path(sys.executable).with_name("crew")


def typed(home: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """A line of a shell, in which `crew` is the program."""
    environ = {"HOME": str(home), "PATH": f"{CREW.parent}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env=environ,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("verb", ["ls", "ls --json", "--help", "up --help", "help", "--version"])
def test_a_full_disk_behind_the_output_is_one_sentence(home: Path, verb: str) -> None:
    done = typed(home, f"crew {verb} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "crew: the output cannot be written: No space left on device\n"
    assert not (home / ".local").exists(), "no defect is noted"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("crew ls >&-", 0),
        ("crew ls <&- >&- 2>&-", 0),
        ("crew nonsense 2>&-", 2),
        ("crew nonsense 2> /dev/full", 2),
    ],
)
def test_streams_that_are_closed_are_nobodys_fault(home: Path, line: str, status: int) -> None:
    done = typed(home, line)
    assert (done.returncode, done.stderr) == (status, "")
    assert not (home / ".local").exists(), "no defect is noted"


def test_what_is_opened_does_not_become_a_stream(home: Path) -> None:
    """With standard output closed, the answers would go into the database that is looked at."""
    assert typed(home, "crew cache clear").returncode == 0
    (file,) = (home / ".cache/crewmux").glob("answers-*.db")
    before = file.read_bytes()
    for line in ("crew cache stats >&-", "crew cache stats <&- >&- 2>&-"):
        assert (typed(home, line).returncode, file.read_bytes()) == (0, before)


def test_all_that_was_said_is_out_before_it_ends(home: Path) -> None:
    whole = typed(home, "crew events --help; crew ls; crew nonsense")
    assert "Example:" in whole.stdout
    assert "no session yet" in whole.stdout
    assert "nonsense" in whole.stderr


def test_nobody_reads_any_more(home: Path) -> None:
    done = typed(home, "crew --help | true; crew ls | true")
    assert (done.returncode in (0, 1), done.stderr) == (True, "")
