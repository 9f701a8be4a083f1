"""The schema of a session's database, as the numbered list of the steps that make it.

A step that was released is never edited: a change is a new step at the end.
"""

import functools
import sqlite3
from typing import Final

from orchestrator import failpoints

# "crew", in SQLite's header: tells our file from any other SQLite database.
APPLICATION_ID: Final = 0x63726577

# Each step is a tuple of statements, run in one transaction.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # Small integers: `epoch` (who may write), `schema` (says user_version a second time).
        """CREATE TABLE meta (
            key TEXT PRIMARY KEY,
            value INTEGER NOT NULL CHECK (typeof(value) = 'integer')
        ) WITHOUT ROWID""",
        # `crc` is that of `body`: SQLite's own checks do not look inside a text.
        """CREATE TABLE journal (
            seq INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            mono REAL NOT NULL,
            kind TEXT NOT NULL,
            agent TEXT,
            source TEXT NOT NULL,
            key TEXT UNIQUE,
            crc INTEGER NOT NULL,
            body TEXT NOT NULL
        )""",
        """CREATE TABLE world (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            seq INTEGER NOT NULL CHECK (typeof(seq) = 'integer'),
            crc INTEGER NOT NULL,
            body TEXT NOT NULL
        )""",
        """CREATE TABLE outbox (
            number INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            recipient TEXT NOT NULL,
            sender TEXT NOT NULL,
            text TEXT NOT NULL,
            state TEXT NOT NULL,
            at REAL NOT NULL,
            detail TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            run INTEGER
        )""",
        "INSERT INTO meta (key, value) VALUES ('epoch', 0)",
    ),
)
VERSION: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Take a database from `version` (0: empty) to VERSION, one transaction a step."""
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        failpoints.hit(failpoints.DB)
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('schema', ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (number,),
        )
        # A pragma takes no parameters; both are integers of this module.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {number:d}")
        failpoints.hit(failpoints.DB)
        connection.execute("COMMIT")
        failpoints.hit(failpoints.DB)


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Each table's name and the statement that made it."""
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return dict(rows.fetchall())


@functools.cache
def expected_schema() -> dict[str, str]:
    """What `schema_of` says of a database of VERSION."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, 0)
        return schema_of(connection)
    finally:
        connection.close()
