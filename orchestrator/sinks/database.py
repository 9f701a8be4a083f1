"""Opening a session's SQLite file so that it can be trusted, and its errors in our own words.

A file that is not sound is set aside under another name and never written over. What counts as
sound: SQLite's own full check, our application id, a version that says the same in two places,
and every table as the migrations make it. The full check costs a third more than `quick_check`,
and without it a damaged index would be found by a later write, with the supervisor running.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator import failpoints
from orchestrator.errors import StorageDamaged, StorageError, StorageFull
from orchestrator.sinks.migrations import (
    APPLICATION_ID,
    VERSION,
    expected_schema,
    migrate,
    schema_of,
)
from orchestrator.sinks.wal import unread_commits

# Seconds to wait for another writer: there is none but a supervisor that is being replaced.
BUSY_TIMEOUT: Final = 5.0
# Bytes that the log keeps after a burst of writes.
WAL_KEPT: Final = 4 * 1024 * 1024

_SIDE_FILES: Final = ("", "-wal", "-shm")
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_NOT_NOW: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)

# The second: the module decodes SQLite's own messages and column names, damaged ones too.
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)


class Unsound(StorageDamaged):
    """Damage of the kind that setting the file aside cures."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How the opening went; `reason` is a sentence for people where something was damaged.

    `fresh`: nothing is remembered. `set_aside`: what was there before is damaged and was moved
    here. `log_copy`: the database is sound and in use, but the last commits in its log are
    damaged and lost; the log was copied here.
    """

    fresh: bool
    set_aside: Path | None = None
    log_copy: Path | None = None
    reason: str = ""


def open_for_writing(path: Path, now: float) -> tuple[sqlite3.Connection, Opened]:
    """Open or make the database; `now` (seconds since the epoch) dates what is set aside.

    Raises StorageDamaged for a newer version, which is left as it is, and StorageFull where the
    file cannot be written now.
    """
    aside, reason = _set_orphaned_log_aside(path, now), ""
    if aside is not None:
        reason = f"{path}: was gone and its log was left: the log was set aside as {aside}"
    fresh = not path.exists() or not path.stat().st_size
    try:
        connection, copy = _open_sound(path, now)
    except Unsound as damage:
        aside, fresh = _set_aside(path, now), True
        reason = f"{damage}: it was set aside as {aside} and a new one was begun"
        connection, copy = _open_sound(path, now)
    if copy is not None:
        reason = f"{path}: the end of its log is damaged and was not read: a copy of it is {copy}"
    return connection, Opened(fresh=fresh, set_aside=aside, log_copy=copy, reason=reason)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open beside a writer or on a read-only file system; what is missing is an empty database.

    Raises StorageDamaged, StorageFull or StorageError.
    """
    if not path.exists():
        return _in_memory(path, None)
    with translated(path):
        connection = _connect_to_read(path)
        try:
            version = _version(path, connection)
            _check_pages(path, connection)
            if version == VERSION:
                return connection
            # A reader migrates a copy: the file itself is the supervisor's to change.
            copy = _in_memory(path, connection)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return copy


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as StorageError and its kinds."""
    try:
        yield
    except _ERRORS as error:
        code = _code(error) & 0xFF
        if code in _DAMAGED:
            raise StorageDamaged(f"{path}: is damaged ({error})") from error
        if code in _NOT_NOW:
            raise StorageFull(f"{path}: cannot be read or written now ({error})") from error
        raise StorageError(f"{path}: {error}") from error


def _code(error: Exception) -> int:
    """SQLite's extended result code; 0: none was given."""
    if isinstance(error, UnicodeDecodeError):
        return sqlite3.SQLITE_CORRUPT
    return getattr(error, "sqlite_errorcode", 0)


# -- opening ---------------------------------------------------------------------------------------


def _open_sound(path: Path, now: float) -> tuple[sqlite3.Connection, Path | None]:
    """The connection, and the copy of a log whose end could not be read."""
    _make_private(path)
    with _opening(path):
        # A look that cannot write comes first: a newer version is to stay as it is.
        with contextlib.closing(_connect(path, "mode=ro")) as connection:
            _version(path, connection)
        connection = _connect(path, "mode=rw")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT:d}")
            _check_pages(path, connection)
            copy = _set_unread_log_aside(path, connection, now)
            migrate(connection, _version(path, connection))
            _check_schema(path, connection)
        except BaseException:
            connection.close()
            raise
        return connection, copy


@contextlib.contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Like `translated`, but whatever is not the file system's fault is the file's."""
    try:
        yield
    except _ERRORS as error:
        code = _code(error)
        # Plain "read-only" for a file that we may write: a damaged header says so.
        header = code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
        if code & 0xFF in _NOT_NOW and not header:
            raise StorageFull(f"{path}: cannot be opened now ({error})") from error
        raise Unsound(f"{path}: is damaged ({error})") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions are begun and ended by name
        check_same_thread=False,  # one thread at a time, but not always the same
    )
    # A flipped byte in a text is found by its checksum, not by an error in the middle of a query.
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=ro")
    try:
        schema_of(connection)
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
    # The log's index cannot be made on a read-only file system. Nobody writes there either.
    return _connect(path, "immutable=1")


def _in_memory(path: Path, source: sqlite3.Connection | None) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if source is not None:
        source.backup(connection)
    # Of the copy: the supervisor may have migrated the file since it was looked at.
    migrate(connection, _version(path, connection))
    return connection


def _make_private(path: Path) -> None:
    """Make the file, for its owner alone whatever the umask; SQLite gives its log the same mode."""
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        for suffix in _SIDE_FILES:
            file = path.with_name(path.name + suffix)
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(0o600)
    except OSError as error:
        raise StorageFull(f"{path}: cannot be made now ({error.strerror})") from error


# -- checks ----------------------------------------------------------------------------------------


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """The version of our schema in there; 0: an empty database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = schema_of(connection)
    if not tables and version == application == 0:
        return 0
    if application != APPLICATION_ID or "meta" not in tables:
        raise Unsound(f"{path}: is not a database of crewmux")
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    # Said in two places, so that a flipped bit is not taken for a newer version.
    if row != (version,) or version < 1:
        raise Unsound(f"{path}: is damaged (it does not say of which version it is)")
    if version > VERSION:
        raise StorageDamaged(
            f"{path}: was written by a newer crewmux (schema {version}, this one knows {VERSION}): "
            "use that one, or move the file away"
        )
    return int(version)


def _check_pages(path: Path, connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise Unsound(f"{path}: is damaged ({' '.join(found.split())})")


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    if not expected_schema().items() <= schema_of(connection).items():
        raise Unsound(f"{path}: is damaged (its tables are not those of version {VERSION})")
    if not connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone():
        raise Unsound(f"{path}: is damaged (its epoch is missing)")
    # Shows a header that forbids writing.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")


# -- setting aside ---------------------------------------------------------------------------------


def _set_aside(path: Path, now: float) -> Path:
    """Rename the database with its side files; nothing that is there is replaced."""
    target = _free_name(path, now)
    try:
        # The database first: one without its log would pass for sound, a log alone does not.
        for suffix in _SIDE_FILES:
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.rename(target.with_name(target.name + suffix))
                failpoints.hit(failpoints.FILE)
    except OSError as error:
        raise StorageFull(f"{path}: cannot be set aside now ({error.strerror})") from error
    return target


def _set_orphaned_log_aside(path: Path, now: float) -> Path | None:
    """A log without its database: SQLite would delete it."""
    wal = path.with_name(path.name + "-wal")
    empty = not path.exists() or not path.stat().st_size
    if not (empty and wal.exists() and wal.stat().st_size):
        return None
    target = _set_aside(path, now)
    return target.with_name(target.name + "-wal")


def _set_unread_log_aside(path: Path, connection: sqlite3.Connection, now: float) -> Path | None:
    """Copy the log if it holds commits that SQLite did not take over, before they are lost."""
    wal = path.with_name(path.name + "-wal")
    _, taken, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if not unread_commits(wal, max(0, taken)):
        return None
    target = _free_name(path, now)
    copy = target.with_name(target.name + "-wal")
    try:
        copy.touch(mode=0o600)
        shutil.copyfile(wal, copy)
        failpoints.hit(failpoints.FILE)
    except OSError as error:
        copy.unlink(missing_ok=True)
        raise StorageFull(f"{copy}: cannot be written now ({error.strerror})") from error
    # Emptied, so that the next opening does not find the same again.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return copy


def _free_name(path: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{path.name}.damaged-{stamp}"
    number = 1
    while any(path.parent.glob(f"{name}*")):
        number += 1
        name = f"{path.name}.damaged-{stamp}.{number}"
    return path.with_name(name)
