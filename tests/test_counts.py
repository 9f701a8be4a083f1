"""The plugin that says how much a run did, in runs of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SOME_TESTS = """
import pytest
from tests.counts import cannot, measured

@pytest.mark.parametrize("n", [1, 2])
def test_counts(count, n):
    assert count("things done", 5, 1000) in (5, 1000)
    measured("round trip", 1.5 * n, "ms")

def test_fails(count):
    count("failing things", 1, 2)
    assert False

def test_not_here():
    cannot("no such device")

def test_not_here_and_required():
    cannot("no such kernel", required=True)

@pytest.mark.full
def test_long():
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_some.py").write_text(SOME_TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\nmarkers = full: long\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    return tmp_path


def run(suite: Path, *options: str, **variables: str) -> list[str]:
    """The lines that such a run prints, blanks squeezed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "CREW_", "CI"))}
    argv = [sys.executable, "-m", "pytest", "-p", "tests.counts", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, *options, "."],
        cwd=suite,
        env={**env, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_small_run(suite: Path, workers: tuple[str, ...]) -> None:
    lines = run(suite, *workers)
    start = next(n for n, line in enumerate(lines) if "counts (small run)" in line)
    assert lines[start + 1 : start + 11] == [
        "done how often this run small full",
        "failing things 1 1 2",
        "things done 10 10 2,000",
        "",
        "measured",
        "round trip 1.5 ms",
        "round trip 3 ms",
        "cannot be made here: 2",
        "test_some.py::test_not_here: no such device",
        "test_some.py::test_not_here_and_required: no such kernel",
    ]
    assert "1 failed, 2 passed, 3 skipped" in lines[-1]


def test_a_full_run(suite: Path) -> None:
    lines = run(suite, CREW_TEST_FULL="1")
    assert any("counts (full run)" in line for line in lines)
    assert "things done 2,000 10 2,000" in lines
    assert "1 failed, 3 passed, 2 skipped" in lines[-1]


def test_what_is_required_fails_in_continuous_integration(suite: Path) -> None:
    lines = run(suite, CI="true")
    assert "2 failed, 2 passed, 2 skipped" in lines[-1]
    assert any("cannot be made here: no such kernel" in line for line in lines)
    assert "cannot be made here: 1" in lines


def test_measured_needs_a_running_test() -> None:
    code = "from tests.counts import measured; measured('x', 1, 's')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "RuntimeError: measured() is called by a running test" in done.stderr
