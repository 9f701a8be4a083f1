"""The cache of answers: one SQLite file for all processes of the user, or none at all.

Why our own tables and not a library: diskcache, the one that people use, stores values by pickle,
which runs whatever a changed file says, and had its last release in 2023; cachetools and the like
live in one process. What is needed here (a checksum on each entry, use counts that outlive the
answers, reasons for each miss) is small, and SQLite, which is there anyway, does the rest: atomic
under parallel writers and kill -9, and a look-up that does not grow with the file.

A cache never fails an ask. What it cannot do it leaves out, with one warning that says why: a file
that cannot be used now is a cache that remembers nothing, a damaged one is set aside. Bodies are
JSON, and an entry whose checksum is wrong is deleted, not returned.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

from orchestrator.core.breakers import Breaker
from orchestrator.core.oneshots import Answer
from orchestrator.core.tokens import Tokens
from orchestrator.errors import StorageDamaged, StorageFull, UserError
from orchestrator.locations import ensure_private
from orchestrator.sinks import history
from orchestrator.sinks.cache_schema import (
    NAME,
    Opened,
    open_sound,
    set_aside,
    translated,
    writing,
)
from orchestrator.sinks.cached import (
    SKEW,
    Bounds,
    Cache,
    Entry,
    Listed,
    NullCache,
    Stats,
    fresh,
)
from orchestrator.sinks.history import HEAD, Asked, Known, Reason, plain, sound

__all__ = ["Cache", "DiskCache", "Entry", "Listed", "NullCache", "Stats", "fresh", "open_cache"]

T = TypeVar("T")

MEGABYTE: Final = 1024 * 1024

_ENTRY: Final = """SELECT cli, question, created, ttl, took, body, seal, uses, used, size
    FROM answers JOIN bodies USING (id) WHERE key = ?"""
_LISTED: Final = {
    "key": str,
    "cli": str,
    "question": str,
    "created": float,
    "ttl": float,
    "uses": int,
    "used": float,
    "size": int,
}
_LEAST_USED: Final = """SELECT key FROM answers WHERE key != ?
    ORDER BY uses, used, id LIMIT 1"""


def open_cache(directory: Path, settings: Bounds, now: float) -> Cache:
    """The cache in `directory`; one that remembers nothing, and a warning, where it cannot be."""
    try:
        ensure_private(directory)
        return DiskCache(
            directory / NAME,
            max_entries=settings.entries,
            max_bytes=settings.megabytes * MEGABYTE,
            now=now,
        )
    except (StorageFull, StorageDamaged, UserError, OSError) as trouble:
        return NullCache([_not_kept(trouble)])


def _not_kept(trouble: Exception) -> str:
    return f"answers are not kept: {trouble}"


class DiskCache:
    """The cache in the file `path`. Raises StorageFull if that cannot be opened now."""

    def __init__(self, path: Path, *, max_entries: int, max_bytes: int, now: float) -> None:
        self.path = path
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.warnings: list[str] = []
        # Wall clock less monotonic one: the time since then is told by the latter.
        self._offset = now - time.monotonic()
        self._in_trouble = False
        self._clock_said = False
        # Does what the file cannot.
        self._without = NullCache()
        self._file: Opened | None
        self._file, said = open_sound(path)
        self.warnings += [said] if said else []

    def look(self, key: str) -> Entry | None:
        found = self._safely(lambda file: file.execute(_ENTRY, (key,)).fetchone(), None)
        if found is None:
            return None
        entry = _entry(key, found)
        if entry is None:
            self.warnings.append(f"{self.path}: an answer was damaged and is forgotten")
            self._safely(lambda file: self._remove(file, [key]), 0)
            return None
        ahead = entry.created - self._now()
        if ahead > SKEW:
            if not self._clock_said:
                self.warnings.append(
                    f"an answer is {ahead:.0f} s from the future, and not used: was the clock set "
                    "back?"
                )
            self._clock_said = True
            return None
        return entry

    def keep(self, entry: Entry) -> None:
        question, body = plain(entry.question), json.dumps(asdict(entry.answer))
        size = len(question.encode()) + len(body)
        if size > self.max_bytes or not self.max_entries:
            return

        def do(file: sqlite3.Connection) -> None:
            with writing(file):
                file.execute("DELETE FROM answers WHERE key = ?", (entry.key,))
                uses = history.kept(file, entry.key, entry.created)
                times = (float(entry.created), float(entry.ttl), float(entry.took))
                seal = _seal(entry.key, entry.cli, question, *times, body)
                row = (entry.key, entry.cli, *times, size, uses, entry.created, seal)
                number = file.execute(
                    "INSERT INTO answers (key, cli, created, ttl, took, size, uses, used, seal)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                ).lastrowid
                file.execute("INSERT INTO bodies VALUES (?, ?, ?)", (number, question, body))
                self._evict(file, entry)

        self._safely(do, None)

    def note(self, asked: Asked) -> None:
        def do(file: sqlite3.Connection) -> None:
            with writing(file):
                history.note(file, asked)

        self._safely(do, None)

    def why(self, key: str, coarse: str) -> Reason:
        return self._safely(lambda file: history.why(file, key, coarse), "uncached")

    def fact(self, name: str, identity: str) -> str | None:
        sought = "SELECT value, seal FROM facts WHERE name = ? AND identity = ?"
        found = self._safely(lambda file: file.execute(sought, (name, identity)).fetchone(), None)
        if found is None or found[1] != _seal(name, identity, found[0]):
            return None
        return str(found[0])

    def learn(self, name: str, identity: str, value: str) -> None:
        row = (name, identity, value, _seal(name, identity, value))
        self._safely(
            lambda file: file.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", row), None
        )

    def breaker(self, cli: str) -> Breaker:
        return self._safely(lambda file: _breaker(file, cli), self._without.breaker(cli))

    def change_breaker(self, cli: str, change: Callable[[Breaker], tuple[T, Breaker]]) -> T:
        def do(file: sqlite3.Connection) -> tuple[T] | None:
            with writing(file):
                result, changed = change(_breaker(file, cli))
                body = json.dumps(asdict(changed))
                row = (cli, body, _seal(cli, body))
                file.execute("INSERT OR REPLACE INTO breakers VALUES (?, ?, ?)", row)
            return (result,)

        done = self._safely(do, None)
        return self._without.change_breaker(cli, change) if done is None else done[0]

    # -- for the verbs ----------------------------------------------------------------------------

    def stats(self) -> Stats:
        def do(file: sqlite3.Connection) -> Stats:
            entries, size, oldest, newest = file.execute(
                "SELECT count(*), coalesce(sum(size), 0), min(created), max(created) FROM answers"
            ).fetchone()
            return Stats(
                entries=entries,
                bytes=size,
                oldest=oldest,
                newest=newest,
                max_entries=self.max_entries,
                max_bytes=self.max_bytes,
            )

        return self._safely(do, Stats(max_entries=self.max_entries, max_bytes=self.max_bytes))

    def listed(self, limit: int) -> list[Listed]:
        rows = self._rows(
            "SELECT key, cli, substr(question, 1, ?), created, ttl, uses, used, size"
            " FROM answers JOIN bodies USING (id) ORDER BY uses DESC, used DESC LIMIT ?",
            (HEAD, limit),
        )
        return sound(Listed, _LISTED, rows)

    def find(self, start: str) -> list[str]:
        # Keys are hexadecimal: what begins so stands between it and it with the letter behind f.
        sought = "SELECT key FROM answers WHERE key >= ? AND key < ? ORDER BY key"
        return [key for (key,) in self._rows(sought, (start, f"{start}g"))]

    def records(self) -> list[Asked]:
        return self._safely(history.records, [])

    def most_asked(self, limit: int) -> list[Known]:
        return self._safely(lambda file: history.most_asked(file, limit), [])

    def clear(self, keys: Sequence[str] | None = None, before: float | None = None) -> int:
        def do(file: sqlite3.Connection) -> int:
            rows = file.execute(
                "SELECT key FROM answers WHERE ? IS NULL OR created < ?", (before, before)
            )
            chosen = [key for (key,) in rows if keys is None or key in keys]
            removed = self._remove(file, chosen)
            # Gives the room back to the disk, where there is room to do so.
            with contextlib.suppress(sqlite3.OperationalError):
                file.execute("VACUUM")
            return removed

        return self._safely(do, 0)

    def close(self) -> None:
        if self._file is not None:
            self._file.connection.close()
            self._file = None

    # -- within a transaction ---------------------------------------------------------------------

    def _remove(self, file: sqlite3.Connection, keys: Sequence[str]) -> int:
        with writing(file):
            for key in keys:
                file.execute("DELETE FROM answers WHERE key = ?", (key,))
                history.lost(file, key, "cleared", self._now())
        return len(keys)

    def _evict(self, file: sqlite3.Connection, entry: Entry) -> None:
        """Keep the bounds: the least used go, of these the least recently used. The new one
        stays: who asks the same again at once is to have it."""
        while True:
            entries, size = file.execute("SELECT entries, bytes FROM totals").fetchone()
            if entries <= self.max_entries and size <= self.max_bytes:
                return
            least = file.execute(_LEAST_USED, (entry.key,)).fetchone()
            if least is None:
                # Within the bounds by itself: it is the sums that are wrong.
                file.execute(
                    "UPDATE totals SET (entries, bytes) = (SELECT count(*), sum(size) FROM answers)"
                )
                return
            file.execute("DELETE FROM answers WHERE key = ?", least)
            history.lost(file, least[0], "evicted", entry.created)

    # -- trouble ----------------------------------------------------------------------------------

    def _rows(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        none: list[tuple[Any, ...]] = []
        return self._safely(lambda file: file.execute(query, parameters).fetchall(), none)

    def _safely(self, do: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do it; where the file turns out to be damaged, with a new one; else `otherwise`."""
        for _ in range(2):
            if self._file is None:
                break
            try:
                with translated(self.path):
                    return do(self._file.connection)
            except StorageDamaged as damage:
                self._begin_anew(self._file, damage)
            except StorageFull as trouble:
                self._warn(trouble)
                break
        return otherwise

    def _begin_anew(self, file: Opened, damage: StorageDamaged) -> None:
        self.close()
        try:
            self.warnings.append(set_aside(self.path, file.inode, damage))
            self._file, _ = open_sound(self.path)
        except (StorageFull, StorageDamaged) as trouble:
            self._warn(trouble)

    def _warn(self, trouble: Exception) -> None:
        """Once: what stands in the way of one thing stands in that of the next."""
        if not self._in_trouble:
            self.warnings.append(_not_kept(trouble))
        self._in_trouble = True

    def _now(self) -> float:
        return self._offset + time.monotonic()


# -- rows -----------------------------------------------------------------------------------------


def _seal(*values: object) -> str:
    """A checksum over values that came from the file or go there, whatever they are."""
    return blake2b(repr(values).encode("utf-8", "replace"), digest_size=16).hexdigest()


def _entry(key: str, row: tuple[Any, ...]) -> Entry | None:
    """The entry in a row; None if it is not as it was written."""
    cli, question, created, ttl, took, body, seal, uses, used, size = row
    if seal != _seal(key, cli, question, created, ttl, took, body):
        return None
    try:
        answer = json.loads(body)
        return Entry(
            key=key,
            answer=Answer(**{**answer, "tokens": Tokens(**answer["tokens"])}),
            question=question,
            cli=cli,
            created=created,
            ttl=ttl,
            took=took,
            uses=int(uses),
            used=float(used),
            size=int(size),
        )
    except (ValueError, TypeError, KeyError):  # of another version of ours
        return None


def _breaker(file: sqlite3.Connection, cli: str) -> Breaker:
    row = file.execute("SELECT body, seal FROM breakers WHERE cli = ?", (cli,)).fetchone()
    if row is None or row[1] != _seal(cli, row[0]):
        return Breaker()
    try:
        return Breaker(**json.loads(row[0]))
    except (ValueError, TypeError):  # of another version of ours
        return Breaker()
