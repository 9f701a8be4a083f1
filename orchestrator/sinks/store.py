"""A session's memory: the journal of events, the latest world, the outbox. One SQLite file.

`Store` is the supervisor's: blocking, used by one thread at a time. Reading is in `reader.py`,
opening in `database.py`, the tables in `migrations.py`, the JSON of events and worlds in
`records.py`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from orchestrator.core.events import AnyEvent, agent_of
from orchestrator.core.state import Message, World
from orchestrator.errors import Fenced
from orchestrator.sinks.database import Opened, open_for_writing
from orchestrator.sinks.reader import Loaded, Reader, Reduce
from orchestrator.sinks.records import (
    crc,
    dump_event,
    dump_world,
    load_event,
    load_world,
    plain,
)

__all__ = [
    "KEEP",
    "Loaded",
    "Opened",
    "Reader",
    "Reduce",
    "Store",
    "dump_event",
    "dump_world",
    "load_event",
    "load_world",
    "read_world",
]

# Events that stay in the journal behind the stored world: for `crew events`, and to make the
# world again if a later version cannot read the stored one.
KEEP: Final = 100_000
# Messages that stay in the outbox when nothing more is to be done for them.
MESSAGES: Final = 10_000
# Bytes in use of the file, beyond which the oldest of both go as well: a prompt may be large.
SIZE: Final = 256 * 1024 * 1024
# Of what is there, the part that goes at once.
PART: Final = 10

_ADD_EVENT: Final = """INSERT INTO journal (seq, at, mono, kind, agent, source, key, crc, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PUT_MESSAGE: Final = """INSERT INTO outbox
    (number, key, recipient, sender, text, state, at, detail, attempts, run)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (number) DO UPDATE SET
    key = excluded.key, recipient = excluded.recipient, sender = excluded.sender,
    text = excluded.text, state = excluded.state, at = excluded.at, detail = excluded.detail,
    attempts = excluded.attempts, run = excluded.run"""
_FORGET_MESSAGES: Final = (
    "DELETE FROM outbox WHERE number <= ? AND state NOT IN ('queued', 'typing')"
)
_PUT_WORLD: Final = """INSERT INTO world (one, seq, crc, body) VALUES (1, ?, ?, ?)
    ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, crc = excluded.crc, body = excluded.body"""


class Store(Reader):
    """The one writer. Each write is one transaction, on disk when the call returns.

    A write raises StorageFull (nothing is changed, the same call can be made again), StorageDamaged
    (close, and open again: that sets the file aside) or Fenced.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        # No epoch is negative: nothing is written before `take_over`.
        self._epoch = -1

    @classmethod
    def open(cls, path: Path, *, now: float) -> tuple["Store", Opened]:
        """Open, make or replace the database; `now`: seconds since the epoch, dates what is set
        aside. Raises StorageFull, or StorageDamaged for a newer version.
        """
        connection, opened = open_for_writing(path, now)
        return Store(path, connection), opened

    def take_over(self) -> int:
        """Become the one that may write; the number of this ownership, from 1."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
            epoch = self._stored_epoch()
        self._epoch = epoch
        return epoch

    def commit(self, events: Sequence[AnyEvent], messages: Sequence[Message]) -> list[int]:
        """Append `events` in order and write `messages`; the events' numbers.

        A key that is in the journal already is a StorageError: ask `seen` first.
        """
        if not events and not messages:
            return []
        with self._writing() as connection:
            first = self._last_number() + 1
            numbers = list(range(first, first + len(events)))
            connection.executemany(_ADD_EVENT, map(_event_row, numbers, events))
            connection.executemany(_PUT_MESSAGE, map(_message_row, messages))
        return numbers

    def save_world(
        self,
        world: World,
        seq: int,
        *,
        keep: int = KEEP,
        messages: int = MESSAGES,
        size: int = SIZE,
    ) -> None:
        """Store `world`, which holds all events up to `seq`, and prune: events that are `keep`
        behind, closed messages that are `messages` behind, and the oldest of both while more than
        `size` bytes are used.
        """
        body = dump_world(world)
        with self._writing() as connection:
            connection.execute(_PUT_WORLD, (seq, crc(body), body))
            self._prune(seq - keep, seq)
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM outbox").fetchone()
            connection.execute(_FORGET_MESSAGES, (last - messages,))
            while self._used() > size and self._prune_part(seq):
                pass

    def _prune(self, upto: int, stored: int) -> int:
        """Events up to number `upto` go, but for what the world that is stored does not hold."""
        pruned = self._connection.execute(
            "DELETE FROM journal WHERE seq <= ?", (min(upto, stored),)
        )
        return pruned.rowcount

    def _prune_part(self, stored: int) -> int:
        """The oldest part of the journal and of the closed messages goes; how many rows it was."""
        journal = "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM journal"
        first, last = self._connection.execute(journal).fetchone()
        outbox = "SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM outbox"
        oldest, newest = self._connection.execute(outbox).fetchone()
        gone = self._prune(first + (last - first) // PART, stored)
        upto = oldest + (newest - oldest) // PART
        return gone + self._connection.execute(_FORGET_MESSAGES, (upto,)).rowcount

    def _used(self) -> int:
        """Bytes of the file that hold something."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            epoch = self._stored_epoch()
            if epoch != self._epoch:
                raise Fenced(
                    f"{self.path}: another supervisor owns the session now "
                    f"(epoch {epoch}, this one had {self._epoch})"
                )
            yield connection

    def _stored_epoch(self) -> int:
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        return int(row[0])

    def _last_number(self) -> int:
        """Of the newest event, also if it was pruned since."""
        row = self._connection.execute(
            "SELECT max(coalesce((SELECT max(seq) FROM journal), 0),"
            " coalesce((SELECT seq FROM world), 0))"
        ).fetchone()
        return int(row[0])


def read_world(path: Path, session: str, reduce: Reduce) -> Loaded:
    """The world without a right to write, for when no supervisor runs to be asked.

    A missing database is an empty world. Raises StorageError.
    """
    with Reader.look(path) as reader:
        return reader.load(session, reduce)


def _event_row(number: int, event: AnyEvent) -> tuple[object, ...]:
    body = dump_event(event)
    agent = agent_of(event)
    return (
        number,
        event.at,
        event.mono,
        event.kind,
        None if agent is None else plain(agent),
        event.source,
        None if event.key is None else plain(event.key),
        crc(body),
        body,
    )


def _message_row(message: Message) -> tuple[object, ...]:
    return (
        message.number,
        plain(message.key),
        plain(message.to),
        plain(message.sender),
        plain(message.text),
        message.state.value,
        message.at,
        plain(message.detail),
        message.attempts,
        message.run,
    )
