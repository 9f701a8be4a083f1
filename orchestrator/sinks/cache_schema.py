"""The file of the cache of answers: its tables, and how it is opened so that it can be trusted.

The version of the tables is in the file's name, so there is nothing to migrate. A file that is
not what it should be is set aside under another name and never written over; a lock file keeps
processes that open the cache from meeting one that is just being set aside.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator import failpoints
from orchestrator.core.values import value
from orchestrator.errors import StorageDamaged, StorageFull

NAME: Final = "answers-v1.db"
VERSION: Final = 1
APPLICATION_ID: Final = 0x63726577  # "crew"
# Seconds to wait for another writer.
BUSY_TIMEOUT: Final = 5.0
# KiB of pages that a process may have in its memory: those on the way to an entry among many.
PAGES_KEPT: Final = 8 * 1024
# Pages after which a writer takes the log over into the file, which waits for the disk: with
# SQLite's own 1,000 it would be one hit in a hundred.
WAL_PAGES: Final = 4_000
# Bytes that the log keeps after that.
WAL_KEPT: Final = 16 * 1024 * 1024

# As SQLite gives them back: one that reads differently in the file is damaged.
#
# The bodies are in a table of their own: a use rewrites a row of `answers`, never a body. `keys`
# outlive their answers, so that a question that comes back has its frequency; while there is an
# answer, that is the one which counts the hits, so that a hit has one place less to change.
SCHEMA: Final = (
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, cli TEXT NOT NULL,"
    " created REAL NOT NULL, ttl REAL NOT NULL, took REAL NOT NULL, size INTEGER NOT NULL,"
    " uses INTEGER NOT NULL, used REAL NOT NULL, seal TEXT NOT NULL)",
    "CREATE INDEX answers_by_use ON answers (uses, used)",
    "CREATE TABLE bodies (id INTEGER PRIMARY KEY, question TEXT NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE totals (id INTEGER PRIMARY KEY, entries INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, keys INTEGER NOT NULL)",
    "CREATE TRIGGER answer_kept AFTER INSERT ON answers BEGIN"
    " UPDATE totals SET entries = entries + 1, bytes = bytes + new.size; END",
    "CREATE TRIGGER answer_gone AFTER DELETE ON answers BEGIN"
    " DELETE FROM bodies WHERE id = old.id;"
    " UPDATE keys SET asked = max(asked, old.uses), last = max(last, old.used)"
    " WHERE key = old.key;"
    " UPDATE totals SET entries = entries - 1, bytes = bytes - old.size; END",
    "CREATE TABLE keys (key TEXT PRIMARY KEY, coarse TEXT NOT NULL, asked INTEGER NOT NULL,"
    " first REAL NOT NULL, last REAL NOT NULL, gone TEXT NOT NULL, gone_at REAL NOT NULL)"
    " WITHOUT ROWID",
    "CREATE INDEX keys_by_coarse ON keys (coarse)",
    "CREATE TRIGGER key_known AFTER INSERT ON keys BEGIN UPDATE totals SET keys = keys + 1; END",
    "CREATE TRIGGER key_forgotten AFTER DELETE ON keys BEGIN"
    " UPDATE totals SET keys = keys - 1; END",
    "CREATE TABLE asks (id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL,"
    " coarse TEXT NOT NULL, cli TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,"
    " reason TEXT NOT NULL, waited REAL NOT NULL, took REAL NOT NULL, saved REAL NOT NULL,"
    " tokens INTEGER NOT NULL, cost_usd REAL, error TEXT NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, identity TEXT NOT NULL, value TEXT NOT NULL,"
    " seal TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE breakers (cli TEXT PRIMARY KEY, body TEXT NOT NULL, seal TEXT NOT NULL)"
    " WITHOUT ROWID",
)

_SIDE_FILES: Final = ("", "-wal", "-shm")
# Everything else that goes wrong is the file's fault.
_NOT_NOW: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
# But not these: it was cut; it was set aside by another process.
_LOST: Final = frozenset({sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_READONLY_DBMOVED})

Inode = tuple[int, int]


@value
class Opened:
    """`inode`: which file it is that was opened, whatever stands under its name by now."""

    connection: sqlite3.Connection
    inode: Inode


def open_sound(path: Path) -> tuple[Opened, str]:
    """Open the file, made anew where it is missing or damaged; a sentence about the latter.

    Raises StorageFull where it cannot be made or used now.
    """
    inode = _inode(path)
    try:
        return _open(path), ""
    except StorageDamaged as damage:
        said = set_aside(path, inode, damage)
        return _open(path), said


def set_aside(path: Path, inode: Inode | None, damage: StorageDamaged) -> str:
    """Rename the damaged file, with its log; what is to be said of it.

    Another process may have done so already: the file that has come since is left alone.
    """
    with _locked(path, fcntl.LOCK_EX), _by_the_system(path):
        if _inode(path) != inode:
            return f"{damage}: it was set aside, and a new one was begun"
        number = 1
        while any(path.parent.glob(f"{path.name}.damaged-{number}*")):
            number += 1
        target = path.with_name(f"{path.name}.damaged-{number}")
        # The log first: one without its database is of no use, and SQLite would delete it.
        for suffix in reversed(_SIDE_FILES):
            file = path.with_name(path.name + suffix)
            if os.path.lexists(file):
                file.rename(target.with_name(target.name + suffix))
                failpoints.hit(failpoints.FILE)
    return f"{damage}: it was set aside as {target}, and a new one was begun"


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as StorageFull (cannot be used now) or StorageDamaged."""
    try:
        yield
    # The second: the module decodes SQLite's own messages, damaged ones too.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        # Plain "read-only" for a file that we may write: a damaged header says so.
        header = code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
        if code & 0xFF in _NOT_NOW and code not in _LOST and not header:
            raise StorageFull(f"{path}: cannot be used now ({error})") from error
        raise StorageDamaged(f"{path}: is damaged ({error})") from error


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, all or nothing, beside other processes that write."""
    failpoints.hit(failpoints.DB)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        failpoints.hit(failpoints.DB)
        connection.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoints.hit(failpoints.DB)


# -- opening --------------------------------------------------------------------------------------


def _open(path: Path) -> Opened:
    made = _make_private(path)
    # Two processes that turn one new file to WAL at once would refuse each other.
    with _locked(path, fcntl.LOCK_EX if made else fcntl.LOCK_SH), translated(path):
        inode = _inode(path)
        if inode is None:
            raise StorageFull(f"{path}: cannot be used now (somebody removes it)")
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,  # transactions are begun and ended by name
            check_same_thread=False,  # one thread at a time, but not always the same
        )
        try:
            # A flipped byte in a text is found by its checksum, not by an error in a query.
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            empty = _is_empty(connection)
            # Before the first word is written: what is not ours stays as it is.
            if not empty:
                _check(path, connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{PAGES_KEPT:d}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES:d}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT:d}")
            if empty:
                _make_tables(connection)
        except BaseException:
            connection.close()
            raise
    return Opened(connection=connection, inode=inode)


def _make_private(path: Path) -> bool:
    """Make the file, for its owner alone whatever the umask; whether it is a new one."""
    with _by_the_system(path):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            return True
        info = path.stat()
        if info.st_mode & 0o077:
            path.chmod(0o600)
        return info.st_size == 0


def _is_empty(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(version == tables == 0)


def _make_tables(connection: sqlite3.Connection) -> None:
    with writing(connection):
        if not _is_empty(connection):
            return  # another process was first
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {VERSION:d}")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO totals VALUES (1, 0, 0, 0)")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """That it is ours, and its tables what they were made as. Pages are checked as they are read:
    to read them all would take longer than what a cache is for."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION_ID, VERSION):
        raise StorageDamaged(f"{path}: is not a cache of crewmux")
    statements = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    if {statement for (statement,) in statements} != set(SCHEMA):
        raise StorageDamaged(f"{path}: is damaged (its tables are not those of version {VERSION})")


# -- the file system ------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    """Hold the lock beside the file, for the moment that opening or renaming it takes."""
    with _by_the_system(path):
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _by_the_system(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFull(f"{path}: cannot be used now ({error.strerror})") from error


def _inode(path: Path) -> Inode | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
