"""The table of `bin/bench`; the figures themselves are no test."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.bench import kernel
from tests.bench.__main__ import main
from tests.bench.figures import Figure, percentile
from tests.bench.kernel import Forks, State, Team, costs, cpu_seconds, wake_ups
from tests.bench.surroundings import ROOT, environment
from tests.bench.window import Window
from tests.counts import cannot
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


def mistaken(_: Path) -> Iterator[Figure]:
    print("a table of its own")
    yield Figure("mistaken: a start", 0.5, "s")
    yield Figure("a start", 0.6, "s")


KNOWN = {"good": good, "over": over, "broken": broken, "mistaken": mistaken}


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good"], KNOWN) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[: rows.index([])] == [
        ["what", "figure", "budget", "polling"],
        ["a", "key", "12.3", "ms", "50.0", "ms", "222", "ms", "ok"],
        ["drawn", "0", "B", "0", "B", "-", "ok"],
        ["memory", "52.4", "MiB", "-", "-"],
    ]


def test_what_is_over_its_budget_is_marked_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {"over": over, "good": good}) == 1
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[-1] for row in rows[: rows.index("")]] == ["OVER", "OVER", "ok", "ok", "-"]
    assert main(["good", "broken"], KNOWN) == 1
    assert "bench: broken: could not be measured: not drawn" in capsys.readouterr().err


def test_below_the_table_stands_how_costs_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good"], KNOWN) == 0
    told = capsys.readouterr().out.partition("\n\n")[2]
    for what in ("CPU", "Forks", "Wake-ups"):
        assert f"\n{what}: " in f"\n{told}"


def test_the_rows_of_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "good", "over"], KNOWN) == 1
    rows = json.loads(capsys.readouterr().out)
    keys = ("name", "budget", "figure", "unit", "baseline", "pass")
    assert {tuple(row) for row in rows} == {keys}
    assert [tuple(row.values()) for row in rows] == [
        ("good: a key", 50, 12.345, "ms", 222.0, True),
        ("good: drawn", 0, 0, "B", None, True),
        ("good: memory", None, 52.4, "MiB", None, None),
        ("over: a start", 0.8, 0.912, "s", 0.41, False),
        ("over: never came", 1, None, "s", None, False),
    ]


def test_the_rows_are_a_list_whatever_happens(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broken", "--json", "mistaken", "good"], KNOWN) == 1
    out, err = capsys.readouterr()
    rows = {row["name"]: (row["figure"], row["pass"]) for row in json.loads(out)}
    assert rows == {
        "broken: a start": (0.5, True),
        "broken: could not be measured": (None, False),
        "mistaken: a start": (0.5, None),
        "mistaken: could not be measured": (None, False),
        "good: a key": (12.345, True),
        "good: drawn": (0, True),
        "good: memory": (52.4, None),
    }
    assert "a table of its own" in err
    assert "two rows are named 'mistaken: a start'" in err

    assert main(["--json"], {}) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_rows_end_well_when_they_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    def cut(home: Path) -> Iterator[Figure]:
        yield from good(home)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main(["--json"], {"cut": cut})
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [
        "cut: a key",
        "cut: drawn",
        "cut: memory",
    ]
    print("again to where it went before")
    assert capsys.readouterr().out


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
        assert pressed < window.until(b"got key.") < pressed + 30
        # The shell answers before it sleeps again, and the kernel counts that sleep.
        wait_until(lambda: cpu_seconds(window.pid) > cpu, "its CPU time")
        wait_until(lambda: wake_ups(window.pid) > woken, "its sleep")
    with (
        Window(["/bin/false"], environment(home), (90, 12)) as window,
        pytest.raises(AssertionError, match="it has ended"),
    ):
        window.until(b"anything")


# `:` has the one before it run as a process of its own.
STARTS = """
while read -r line; do
    for n in 1 2 3; do /bin/true; sh -c '/bin/true; /bin/true; :'; done
    echo done
done
"""
STARTED = 12


# The kernel tells of a thread as of a child of the parent of its process.
THREADED = "import threading; input(); threading.Thread(target=print, args=['done']).start()"


class Starter:
    """A shell that starts processes when it is told to."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["sh", "-c", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._shell.pid

    def start(self) -> None:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write("go\n")
        self._shell.stdin.flush()
        assert self._shell.stdout.readline() == "done\n"

    def close(self) -> None:
        with self._shell as shell:
            shell.kill()


@pytest.fixture
def starter() -> Iterator[Starter]:
    with closing(Starter()) as made:
        yield made


def test_forks_are_counted_of_a_process_and_of_what_it_starts(starter: Starter) -> None:
    argv = [sys.executable, "-c", THREADED]
    with (
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as threaded,
        Forks() as other,
    ):
        subprocess.run(["/bin/true"], check=True)
        assert threaded.communicate(b"\n")[0] == b"done\n"
    with Forks() as forks:
        subprocess.run(["/bin/true"], check=True)
        starter.start()
    if not (forks.is_exact and other.is_exact):
        cannot("forks are told to root alone, and only outside of containers")
    assert forks.by([starter.pid]) == STARTED
    assert other.by([starter.pid]) == 0
    assert other.by([os.getpid()]) == 1, "true, and no thread"


def test_where_forks_are_not_told_those_of_the_machine_stand_for_them(
    starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied() -> None:
        raise PermissionError

    monkeypatch.setattr(kernel, "_connector", denied)
    with Forks() as forks:
        starter.start()
    assert not forks.is_exact
    assert forks.by([starter.pid]) >= STARTED


def test_what_a_team_costs(starter: Starter) -> None:
    (cost,) = costs([Team(starter.pid, starter.pid)], starter.start)
    assert cost.cpu > 0
    assert cost.server > 0
    assert cost.woken > 0
    assert cost.forks >= STARTED


def test_what_began_and_what_ended_counts_too() -> None:
    """A thread that has begun counts whole; one that has ended, as one wake-up."""
    old = State(used={7: 1.0, 8: 2.0}, ended=0.5, server=3.0, threads={(7, 1): 5, (8, 1): 40})
    new = State(used={7: 1.5, 9: 0.25}, ended=2.75, server=3.0, threads={(7, 1): 9, (9, 1): 2})
    assert new.woken_since(old) == (9 - 5) + 2 + 1
    assert new.cpu_since(old) == 0.5 + 0.25 + 2.25


def test_percentiles_are_measured_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, p) for p in (0, 50, 80, 81, 99, 100)] == [1, 3, 4, 5, 5, 5]
