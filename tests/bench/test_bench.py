"""The table of `bin/bench`; the figures themselves are no test."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.figures import Figure, percentile
from tests.bench.kernel import cpu_seconds, wake_ups
from tests.bench.surroundings import ROOT, environment
from tests.bench.window import Window
from tests.support import wait_until


def good(home: Path) -> Iterator[Figure]:
    assert home.stat().st_mode & 0o77 == 0
    yield Figure("a key", 12.345, "ms", 50, 222.0)
    yield Figure("drawn", 0, "B", 0)
    yield Figure("memory", 52.4, "MiB")


def over(home: Path) -> Iterator[Figure]:
    yield Figure("a start", 0.912, "s", 0.8, 0.41)
    yield Figure("never came", float("nan"), "s", 1)


def broken(home: Path) -> Iterator[Figure]:
    yield Figure("a start", 0.5, "s", 0.8)
    raise AssertionError("not drawn within 20 s: b'agent-100'")


KNOWN = {"good": good, "over": over, "broken": broken}


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good"], KNOWN) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["what", "figure", "budget", "polling"],
        ["a", "key", "12.3", "ms", "50.0", "ms", "222", "ms", "ok"],
        ["drawn", "0", "B", "0", "B", "-", "ok"],
        ["memory", "52.4", "MiB", "-", "-"],
    ]


def test_what_is_over_its_budget_is_marked_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {"over": over, "good": good}) == 1
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["OVER", "OVER", "ok", "ok", "-"]
    assert main(["good", "broken"], KNOWN) == 1
    assert "bench: broken: could not be measured: not drawn" in capsys.readouterr().err


def test_a_mistake_and_the_list() -> None:
    def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "tests.bench", *arguments]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    listed = bench("--list")
    assert listed.returncode == 0
    assert "dashboard       The dashboard before a scripted team" in listed.stdout
    wrong = bench("nope")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "bench: there is no 'nope': `bin/bench --list` names them\n"


def test_what_is_drawn_is_counted_at_the_far_end_and_its_cost_by_the_kernel(home: Path) -> None:
    script = "stty raw -echo; stty size; while read -r line; do printf 'got %s.' \"$line\"; done"
    with Window(["/bin/sh", "-c", script], environment(home), (90, 12)) as window:
        assert window.until(b"12 90") > window.started
        assert window.watch(0.05) <= len(b"\r\n")
        cpu, woken = cpu_seconds(window.pid), wake_ups(window.pid)
        pressed = window.press(b"key\n")
        assert pressed < window.until(b"got key.") < pressed + 5
        # The shell answers before it sleeps again, and the kernel counts that sleep.
        wait_until(lambda: cpu_seconds(window.pid) > cpu, "its CPU time")
        wait_until(lambda: wake_ups(window.pid) > woken, "its sleep")
    with (
        Window(["/bin/false"], environment(home), (90, 12)) as window,
        pytest.raises(AssertionError, match="it has ended"),
    ):
        window.until(b"anything")


def test_percentiles_are_measured_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, p) for p in (0, 50, 80, 81, 99, 100)] == [1, 3, 4, 5, 5, 5]
