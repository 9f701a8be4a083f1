"""Writers killed anywhere: no torn answer is ever returned, and the cache opens as it was."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.sinks import cache_schema
from tests.sinks.answers import NOW, cache_in, key, text
from tests.sinks.cache_writer import ENTRIES, NUMBERS
from tests.sinks.test_cache import check_sums
from tests.support import end, wait_until

ROOT = Path(__file__).parents[2]
# So many rounds are never done.
ENDLESS = 1_000_000


def start(
    directory: Path, report: Path, seed: int, rounds: int, **env: str
) -> subprocess.Popen[bytes]:
    words = [str(directory), str(report), str(seed), str(rounds)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.cache_writer", *words],
        cwd=ROOT,
        env={**os.environ, **env},
    )


def kept(report: Path) -> int:
    return report.stat().st_size // len("kept\n") if report.exists() else 0


def has_kept(report: Path, goal: int) -> Callable[[], bool]:
    return lambda: kept(report) >= goal


def check(directory: Path) -> None:
    """It opens without a word, is sound, and each answer in it is whole and its own."""
    cache = cache_in(directory, entries=ENTRIES, now=NOW + ENDLESS)
    assert cache._file is not None
    connection = cache._file.connection
    # One moment of it, while another one writes.
    connection.execute("BEGIN")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = 0
    for number in range(NUMBERS):
        entry = cache.look(key(number))
        if entry is not None:
            found += 1
            sizes = (10, 1000, 20_000)
            assert entry.answer.text in [text(number, size) for size in sizes]
            assert entry.answer.tokens.input == number
    assert found == cache.stats().entries <= ENTRIES
    check_sums(cache)
    connection.execute("ROLLBACK")
    assert cache.warnings == []
    cache.close()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the writers are."""
    monkeypatch.setattr(cache_schema, "BUSY_TIMEOUT", 60.0)


@pytest.mark.timeout(600)
def test_killed_at_any_moment(tmp_path: Path, count: Callable[[str, int, int], int]) -> None:
    """Two at once at the same keys; one of them is killed, while the other goes on."""
    chance = random.Random(1)
    lasting, report = tmp_path / "lasting", tmp_path / "report"
    other = start(tmp_path, lasting, 0, ENDLESS)
    try:
        for seed in range(1, 1 + count("writers of the cache killed", 6, 200)):
            goal = kept(report) + chance.randrange(1, 40)
            victim = start(tmp_path, report, seed, ENDLESS)
            try:
                wait_until(has_kept(report, goal), "it has kept that much", 120)
            finally:
                end(victim.pid)
                assert victim.wait() == -signal.SIGKILL
            check(tmp_path)
            wait_until(has_kept(lasting, kept(lasting) + 1), "the other one goes on", 120)
    finally:
        end(other.pid)
        assert other.wait() == -signal.SIGKILL
    check(tmp_path)


@pytest.mark.timeout(300)
def test_killed_at_each_point_of_the_first_rounds(tmp_path: Path) -> None:
    for number in range(1, 100):
        directory = tmp_path / str(number)
        directory.mkdir()
        writer = start(directory, directory / "report", 1, 2, CREW_FAILPOINT=f"db:{number}")
        try:
            status = writer.wait(120)
        finally:
            end(writer.pid)
            writer.wait()
        check(directory)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    # Begin, commit and after it, of: making the tables, twice keeping, twice noting.
    assert number == 3 * (1 + 2 + 2) + 1


def test_many_open_a_new_cache_at_once(tmp_path: Path) -> None:
    """Each of them writes, and none is refused or finds a half-made file."""
    writers = [start(tmp_path, tmp_path / str(seed), seed, 5) for seed in range(12)]
    try:
        assert [writer.wait(120) for writer in writers] == [0] * len(writers)
    finally:
        for writer in writers:
            end(writer.pid)
            writer.wait()
    check(tmp_path)
    cache = cache_in(tmp_path)
    assert len(cache.records()) == 5 * len(writers)
    cache.close()
