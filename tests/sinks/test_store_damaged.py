"""A damaged database is read as far as it is sound, or set aside; it is never written over."""

import contextlib
import os
import random
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.state import empty_world
from orchestrator.errors import StorageDamaged, StorageError
from orchestrator.sinks import database, migrations
from orchestrator.sinks.store import Opened, Store, read_world
from tests.sinks.values import NOW, event, fold, message, names

PLACES = 500 if os.environ.get("CREW_TEST_FULL") else 40
STAMP = "20251121T000000Z"
EVENTS = 60


def write(path: Path) -> Store:
    """A database with all kinds of rows, most of it in the main file; still open."""
    store, _ = Store.open(path, now=NOW)
    store.take_over()
    store.commit([event(n, size=300) for n in range(1, EVENTS - 9)], [message(1), message(2)])
    store.save_world(empty_world("team"), 0)
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    for number in range(EVENTS - 9, EVENTS + 1):
        store.commit([event(number, size=300)], [message(number)])
    return store


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database that was closed: no log."""
    path = tmp_path_factory.mktemp("closed") / "crew.db"
    write(path).close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A database and its log, as a kill leaves them: the last ten commits are in the log."""
    path = tmp_path_factory.mktemp("killed") / "crew.db"
    store = write(path)
    images = path.read_bytes(), path.with_name("crew.db-wal").read_bytes()
    store.close()
    return images


def harm(image: bytes, chance: random.Random) -> bytes:
    """`image` with one bit flipped, a stretch of rubbish or zeros in it, or cut short."""
    # Half of the places are where most of the structure is.
    place = chance.randrange(chance.choice([len(image), min(len(image), 8192)]))
    long = place + chance.choice([1, 4, 16, 300, 5000])
    match chance.choice(["flip", "flip", "rubbish", "zeros", "cut"]):
        case "flip":
            byte = bytes([image[place] ^ 1 << chance.randrange(8)])
            return image[:place] + byte + image[place + 1 :]
        case "rubbish":
            return (image[:place] + chance.randbytes(long - place) + image[long:])[: len(image)]
        case "zeros":
            return (image[:place] + bytes(long - place) + image[long:])[: len(image)]
        case _:
            return image[:place]


def use(path: Path) -> tuple[Opened, tuple[str, ...], int]:
    """Do all that a supervisor does; the events that were read, and how many were left out."""
    store, opened = Store.open(path, now=NOW)
    with store:
        loaded = store.load("team", fold)
        store.take_over()
        store.seen(["key-1"])
        store.messages()
        store.events()
        fresh = 1 if opened.fresh else EVENTS + 100
        store.commit([event(loaded.seq + fresh)], [message(1000)])
        store.save_world(loaded.world, loaded.seq, keep=5)
        (sound,) = store._connection.execute("PRAGMA integrity_check").fetchone()
        assert sound == "ok"
    return opened, loaded.world.edited, loaded.skipped


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(4))
def test_damage_anywhere_in_the_file(closed: bytes, tmp_path: Path, part: int) -> None:
    aside = 0
    for place in range(part, PLACES, 4):
        path = tmp_path / str(place) / "crew.db"
        path.parent.mkdir()
        damaged = harm(closed, random.Random(place))
        path.write_bytes(damaged)
        opened, read, skipped = use(path)
        if opened.set_aside:
            aside += 1
            assert opened.fresh
            assert opened.set_aside.name == f"crew.db.damaged-{STAMP}"
            assert opened.set_aside.read_bytes() == damaged, place
            assert str(opened.set_aside) in opened.reason
        elif damaged:
            assert len(read) + skipped == EVENTS, place
            assert set(read) <= set(names(1, EVENTS)), place
    assert aside


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(4))
def test_damage_anywhere_in_the_log(killed: tuple[bytes, bytes], tmp_path: Path, part: int) -> None:
    main, log = killed
    short = 0
    for place in range(part, PLACES, 4):
        path = tmp_path / str(place) / "crew.db"
        path.parent.mkdir()
        path.write_bytes(main)
        damaged = harm(log, random.Random(place))
        path.with_name("crew.db-wal").write_bytes(damaged)
        opened, read, skipped = use(path)
        # Whole commits up to some moment, and all of those that are not in the log.
        assert not opened.fresh
        assert skipped == 0
        assert read == names(1, len(read))
        assert len(read) >= EVENTS - 10
        assert opened.set_aside is None
        if opened.log_copy:
            short += 1
            assert opened.log_copy.name == f"crew.db.damaged-{STAMP}-wal"
            assert opened.log_copy.read_bytes() == damaged
            assert stat.S_IMODE(opened.log_copy.stat().st_mode) == 0o600
            assert str(opened.log_copy) in opened.reason
            assert use(path)[0].log_copy is None, "it is said once"
    assert short


@pytest.mark.timeout(300)
def test_a_reader_of_a_damaged_file_reads_or_says_so(closed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "crew.db"
    for place in range(PLACES):
        path.write_bytes(harm(closed, random.Random(place)))
        # Any other error is a failure.
        with contextlib.suppress(StorageError):
            read_world(path, "team", fold)


def test_the_log_alone_is_kept_too(killed: tuple[bytes, bytes], tmp_path: Path) -> None:
    path, log = tmp_path / "crew.db", tmp_path / "crew.db-wal"
    for empty in (False, True):
        if empty:
            path.write_bytes(b"")
        log.write_bytes(killed[1])
        opened, read, _ = use(path)
        assert (opened.fresh, read) == (True, ())
        assert opened.set_aside is not None
        assert opened.set_aside.read_bytes() == killed[1]
        path.unlink()


def test_what_was_set_aside_before_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "crew.db"
    found = set()
    for content in (b"one", b"two" * 5000, b"three"):
        path.write_bytes(content)
        opened, _, _ = use(path)
        assert opened.set_aside is not None
        found.add(opened.set_aside.name)
    name = f"crew.db.damaged-{STAMP}"
    assert found == {name, f"{name}.2", f"{name}.3"}
    assert (tmp_path / name).read_bytes() == b"one"


def foreign(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes (text)")


def no_epoch(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM meta WHERE key = 'epoch'")


def other_tables(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE outbox DROP COLUMN detail")


def half_newer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA user_version = 3")


@pytest.mark.parametrize("change", [no_epoch, other_tables, half_newer])
def test_a_database_that_is_not_as_we_make_it_is_set_aside(
    closed: bytes, tmp_path: Path, change: Callable[[sqlite3.Connection], None]
) -> None:
    path = tmp_path / "crew.db"
    path.write_bytes(closed)
    alter(path, change)
    assert use(path)[0].set_aside


def test_a_database_of_another_program_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "crew.db"
    alter(path, foreign)
    opened, _, _ = use(path)
    assert opened.set_aside
    assert "not a database of crewmux" in opened.reason


def alter(path: Path, change: Callable[[sqlite3.Connection], None]) -> None:
    connection = sqlite3.connect(path)
    change(connection)
    connection.commit()
    connection.close()


# -- versions --------------------------------------------------------------------------------------


def newer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA user_version = 99")
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    connection.execute("DROP TABLE world")


def test_a_newer_version_is_refused_and_left_as_it_is(closed: bytes, tmp_path: Path) -> None:
    source = tmp_path / "newer.db"
    source.write_bytes(closed)
    connection = sqlite3.connect(source)
    newer(connection)
    connection.commit()
    # Killed: what makes it newer stands in the log alone.
    images = {
        tmp_path / "crew.db": source.read_bytes(),
        tmp_path / "crew.db-wal": source.with_name("newer.db-wal").read_bytes(),
    }
    connection.close()
    for file, image in images.items():
        file.write_bytes(image)
    path = tmp_path / "crew.db"
    for attempt in (lambda: Store.open(path, now=NOW), lambda: read_world(path, "team", fold)):
        with pytest.raises(StorageDamaged, match="newer crewmux"):
            attempt()
        assert {file: file.read_bytes() for file in images} == images
    assert not list(tmp_path.glob("*damaged*"))


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this program a version that has one more migration."""

    def use_step(statement: str) -> None:
        monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, (statement,)))
        monkeypatch.setattr(database, "VERSION", migrations.VERSION + 1)
        monkeypatch.setattr(database, "expected_schema", migrations.expected_schema.__wrapped__)

    return use_step


def test_a_file_that_its_writer_migrates_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "crew.db"
    path.touch(mode=0o600)

    def meanwhile(*_: object) -> None:
        monkeypatch.undo()
        use(path)

    monkeypatch.setattr(database, "_check_pages", meanwhile)
    assert read_world(path, "team", fold).skipped == 0


def test_an_older_version_is_migrated_by_the_writer_alone(
    closed: bytes, tmp_path: Path, next_version: Callable[[str], None]
) -> None:
    path = tmp_path / "crew.db"
    path.write_bytes(closed)
    next_version("ALTER TABLE journal ADD COLUMN extra TEXT")
    assert read_world(path, "team", fold).seq == EVENTS
    assert path.read_bytes() == closed
    opened, read, _ = use(path)
    assert (opened.set_aside, opened.fresh, read) == (None, False, names(1, EVENTS))
    connection = sqlite3.connect(path)
    versions = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("SELECT extra FROM journal")
    connection.close()
    assert versions == (migrations.VERSION + 1,)
