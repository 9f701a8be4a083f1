"""A writer killed anywhere leaves a sound database that holds all that it was told is safe."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.sinks.store import Store, read_world
from tests.sinks.values import NOW, event, fold, names
from tests.support import end, wait_until

ROOT = Path(__file__).parents[2]
FULL = bool(os.environ.get("CREW_TEST_FULL"))


def start(database: Path, report: Path, batches: int, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.writer", str(database), str(report), str(batches)],
        cwd=ROOT,
        env={**os.environ, **env},
    )


def run(database: Path, report: Path, batches: int, **env: str) -> int:
    """The writer's exit status once it has ended."""
    process = start(database, report, batches, **env)
    try:
        return process.wait(120)
    finally:
        end(process.pid)
        process.wait()


def reported(report: Path) -> int:
    """The newest event that the writer was told is safe."""
    lines = report.read_text().split() if report.exists() else []
    return int(lines[-1]) if lines else 0


def check(database: Path, report: Path) -> None:
    """All that was reported is there, in order, nothing half."""
    store, opened = Store.open(database, now=NOW)
    with store:
        assert (opened.set_aside, opened.log_copy) == (None, None), opened.reason
        (sound,) = store._connection.execute("PRAGMA integrity_check").fetchone()
        assert sound == "ok"
        loaded = store.load("team", fold)
        assert (loaded.skipped, loaded.remarks) == (0, ())
        assert loaded.seq >= reported(report)
        assert loaded.seq % 2 == 0, "a batch is all or nothing"
        assert loaded.world.edited == names(1, loaded.seq)
        # Each batch wrote the message of its last event.
        assert [row["number"] for row in store.messages()] == list(range(2, loaded.seq + 1, 2))


@pytest.mark.timeout(300)
def test_killed_at_each_point_until_none_is_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sinks.writer", "--each", str(tmp_path), "4"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *killed, last = map(int, done.stdout.split())
    assert (last, {*killed}) == (0, {-signal.SIGKILL})
    for number in range(1, len(killed) + 2):
        database = tmp_path / str(number) / "crew.db"
        report = database.with_name("report")
        check(database, report)
        # And it goes on from there.
        if FULL and number <= len(killed):
            assert run(database, report, 4) == 0
            check(database, report)
    assert reported(report) == 8
    # Begin, commit and after it, of: making it, taking over, loading, four times seen and
    # commit, saving.
    assert len(killed) >= 3 * (3 + 4 * 2 + 1)


@pytest.mark.timeout(300)
def test_killed_at_any_moment_and_read_meanwhile(tmp_path: Path) -> None:
    chance = random.Random(1)
    database, report = tmp_path / "crew.db", tmp_path / "report"
    for _ in range(30 if FULL else 4):
        goal = reported(report) + 2 * chance.randrange(1, 120)
        process = start(database, report, 1_000_000)
        try:
            newest = 0

            def enough(goal: int = goal) -> bool:
                nonlocal newest
                loaded = read_world(database, "team", fold)
                # A reader beside the writer sees whole batches, and never goes back.
                assert loaded.world.edited == names(1, loaded.seq)
                assert loaded.seq % 2 == 0
                assert loaded.seq >= newest
                newest = loaded.seq
                return reported(report) >= goal

            wait_until(enough, "the writer has come that far", 120)
        finally:
            end(process.pid)
            assert process.wait() == -signal.SIGKILL
        check(database, report)


def test_killed_while_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    for number in range(1, 10):
        database = tmp_path / str(number) / "crew.db"
        database.parent.mkdir()
        report = database.with_name("report")
        database.write_bytes(b"rubbish" * 1000)
        log = database.with_name("crew.db-wal")
        log.write_bytes(b"log" * 1000)
        status = run(database, report, 1, CREW_FAILPOINT=f"file:{number}")
        if status:
            assert status == -signal.SIGKILL
            assert run(database, report, 1) == 0
        check(database, report)
        kept = [each.read_bytes() for each in database.parent.glob("*damaged*")]
        assert b"rubbish" * 1000 in kept
        assert b"log" * 1000 in kept
        if not status:
            return
    pytest.fail("the fail points never end")


def test_hits_are_counted(tmp_path: Path) -> None:
    count = tmp_path / "count"
    assert run(tmp_path / "crew.db", tmp_path / "report", 1, CREW_FAILPOINT_COUNT=str(count)) == 0
    lines = [line.split() for line in count.read_text().splitlines()]
    numbers = [int(number) for site, number in lines if site == "db"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 9


def test_a_taken_number_is_not_given_again(tmp_path: Path) -> None:
    database, report = tmp_path / "crew.db", tmp_path / "report"
    assert run(database, report, 2) == 0
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM journal WHERE seq < 4")
    connection.commit()
    connection.close()
    store, _ = Store.open(database, now=NOW)
    with store:
        store.take_over()
        assert store.commit([event(5)], []) == [5]
