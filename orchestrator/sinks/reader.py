"""What can be read of a session's memory: from the supervisor, or by anyone beside it."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from orchestrator import failpoints
from orchestrator.core.events import AnyEvent
from orchestrator.core.state import Message, MessageState, World, empty_world
from orchestrator.sinks.database import open_for_reading, translated
from orchestrator.sinks.records import crc, load_event, load_world, plain

Reduce = Callable[[World, AnyEvent], tuple[World, Sequence[object]]]

# The cast: one flipped bit makes a text a blob of the same bytes.
# A parameter that is None or an empty list lets every row pass.
_EVENTS: Final = """SELECT seq, crc, CAST(body AS TEXT) AS body FROM journal
    WHERE seq > :since AND (:agent IS NULL OR agent = :agent)
    AND (:only = '[]' OR kind IN (SELECT value FROM json_each(:only)))
    ORDER BY seq"""
# The columns have the names of the fields of `Message`.
_MESSAGES: Final = """SELECT number, key, recipient AS "to", sender, text, state, at, detail,
    attempts, run FROM outbox
    WHERE number > :since AND (:agent IS NULL OR recipient = :agent)
    AND (:only = '[]' OR state IN (SELECT value FROM json_each(:only)))
    ORDER BY number"""
_FIRST: Final = " ASC LIMIT :limit"
_NEWEST: Final = " DESC LIMIT :limit"
_OPEN: Final = (MessageState.QUEUED, MessageState.TYPING)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The world as it was last known.

    `seq` is the newest event's number, `skipped` how many events could not be read or applied,
    `remarks` what a person should know of that, as sentences.
    """

    world: World
    seq: int
    skipped: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Replay:
    """`first` is the number of the first event that was found, `seq` that of the last."""

    world: World
    seq: int
    first: int = 0
    skipped: int = 0


class Reader:
    """Looks on from any process, while a supervisor writes and on a read-only file system."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def look(cls, path: Path) -> "Reader":
        """Open without a right to write; a missing database reads as an empty one."""
        return Reader(path, open_for_reading(path))

    def close(self) -> None:
        with translated(self.path):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, session: str, reduce: Reduce) -> Loaded:
        """The stored world with the events behind it applied by `reduce`.

        Where the stored world cannot be read, the journal is applied from its beginning; where
        that was pruned, from what is left of it, with the open messages of the outbox.
        """
        remarks: list[str] = []
        with self._transaction("BEGIN"):
            stored, base = self._stored_world(remarks)
            start = empty_world(session) if stored is None else stored
            replay = self._replay(start, 0 if stored is None else base, reduce)
            world, seq = replay.world, max(base, replay.seq)
            if stored is None and seq and replay.first != 1:
                remarks.append(f"{self.path}: the beginning of the journal is gone")
                world = self._with_outbox(world)
        if replay.skipped:
            remarks.append(f"{self.path}: {replay.skipped} events cannot be read and are left out")
        return Loaded(world, seq, replay.skipped, tuple(remarks))

    def events(
        self,
        since: int = 0,
        *,
        agent: str | None = None,
        kinds: Sequence[str] = (),
        limit: int | None = None,
        newest: bool = False,
    ) -> list[dict[str, Any]]:
        """Events behind number `since`, oldest first; `newest`: the last `limit`, not the first.

        Each has seq, at, kind, agent and source, then what its kind has. What cannot be read is
        left out.
        """
        found = []
        with self._transaction("BEGIN"):
            for row in self._select(
                _EVENTS, since=since, agent=agent, only=kinds, limit=limit, newest=newest
            ):
                if crc(row["body"]) == row["crc"]:
                    body = json.loads(row["body"])
                    first = {name: body.get(name) for name in ("at", "kind", "agent", "source")}
                    found.append({"seq": row["seq"], **first, **body})
        return found

    def messages(
        self,
        since: int = 0,
        *,
        agent: str | None = None,
        states: Sequence[str] = (),
        limit: int | None = None,
        newest: bool = False,
    ) -> list[dict[str, Any]]:
        """Rows of the outbox, chosen as in `events`; `agent` is the recipient."""
        with self._transaction("BEGIN"):
            return self._select(
                _MESSAGES, since=since, agent=agent, only=states, limit=limit, newest=newest
            )

    def seen(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` that an event in the journal has."""
        stored = {key: plain(key) for key in keys}
        with self._transaction("BEGIN") as connection:
            rows = connection.execute(
                "SELECT key FROM journal WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(stored.values())),),
            ).fetchall()
        found = {row[0] for row in rows}
        return {key for key, text in stored.items() if text in found}

    # -- within a transaction ----------------------------------------------------------------------

    def _stored_world(self, remarks: list[str]) -> tuple[World | None, int]:
        """The stored world, None if there is none to read; and the last event that is in it."""
        row = self._connection.execute("SELECT seq, crc, CAST(body AS TEXT) FROM world").fetchone()
        if row is None:
            return None, 0
        seq, check, body = row
        with contextlib.suppress(ValueError):
            if crc(body) == check:
                return load_world(body), seq
        remarks.append(
            f"{self.path}: the stored state cannot be read and was made again from the journal"
        )
        return None, seq

    def _replay(self, world: World, base: int, reduce: Reduce) -> _Replay:
        replay = _Replay(world=world, seq=base)
        for number, check, body in self._connection.execute(
            "SELECT seq, crc, CAST(body AS TEXT) FROM journal WHERE seq > ? ORDER BY seq", (base,)
        ):
            # Numbers have no gaps: a missing one is an event that was lost. What is missing
            # before the first is lost only if a stored world said where to begin.
            if replay.first or base:
                replay.skipped += number - replay.seq - 1
            replay.first = replay.first or number
            replay.seq = number
            try:
                if crc(body) == check:
                    replay.world, _ = reduce(replay.world, load_event(body))
                else:
                    replay.skipped += 1
            # One event that cannot be applied must not keep the session from coming back.
            except Exception:
                replay.skipped += 1
        return replay

    def _with_outbox(self, world: World) -> World:
        """`world` with what the outbox still has for its agents, and with no number used twice."""
        rows = self._select(_MESSAGES, only=_OPEN)
        messages = {
            row["number"]: Message(**{**row, "state": MessageState(row["state"])})
            for row in rows
            if row["to"] in world.agents
        }
        (last,) = self._connection.execute("SELECT coalesce(max(number), 0) FROM outbox").fetchone()
        return replace(world, messages=messages, next_message=max(world.next_message, last + 1))

    def _select(
        self,
        query: str,
        *,
        since: int = 0,
        agent: str | None = None,
        only: Sequence[str] = (),
        limit: int | None = None,
        newest: bool = False,
    ) -> list[dict[str, Any]]:
        cursor = self._connection.execute(
            query + (_NEWEST if newest else _FIRST),
            {
                "since": since,
                "agent": agent,
                "only": json.dumps(list(only)),
                "limit": -1 if limit is None else limit,
            },
        )
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return rows[::-1] if newest else rows

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, with SQLite's errors in our own words."""
        connection = self._connection
        with translated(self.path):
            try:
                failpoints.hit(failpoints.DB)
                connection.execute(begin)
                yield connection
                failpoints.hit(failpoints.DB)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back after some errors.
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
            failpoints.hit(failpoints.DB)
