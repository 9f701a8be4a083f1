"""What was asked, and how it went: the newest asks one by one, and how often each question came.

Both outlive the answers and are bounded. The functions take a connection of the cache's file; rows
that cannot be read (a flipped byte) are left out.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar, get_args

from orchestrator.core.values import value

Outcome = Literal["hit", "ran", "joined", "stale", "failed", "refused", "timeout", "absent"]
Reason = Literal["", "new", "expired", "evicted", "cleared", "finer", "refresh", "uncached"]
T = TypeVar("T")

# How many are kept, the newest of each.
ASKS: Final = 20_000
KEYS: Final = 100_000


@value
class Asked:
    """One ask. `outcome`: how it went; `reason`: why there was no answer for it in the cache.

    Seconds: `waited` for a slot, `took` in all, `saved` by what the answer took when it ran.
    `tokens` and `cost_usd` (None: unknown) were saved where the outcome is in SAVED, else spent.
    """

    at: float
    key: str
    coarse: str
    cli: str
    model: str
    outcome: Outcome
    reason: Reason = ""
    waited: float = 0.0
    took: float = 0.0
    saved: float = 0.0
    tokens: int = 0
    cost_usd: float | None = None
    error: str = ""


SAVED: Final = frozenset({"hit", "joined", "stale"})


@value
class Known:
    """A question that was asked; `question`: its text, as long as there is an answer."""

    key: str
    asked: int
    first: float
    last: float
    question: str | None


# The columns of a value, and what SQLite has to give back for them.
Columns = Mapping[str, type | tuple[type, ...]]
_ASKED: Final[Columns] = {
    "at": float,
    **dict.fromkeys(("key", "coarse", "cli", "model", "outcome", "reason"), str),
    **dict.fromkeys(("waited", "took", "saved"), float),
    "tokens": int,
    "cost_usd": (float, type(None)),
    "error": str,
}
_KNOWN: Final[Columns] = {
    "key": str,
    "asked": int,
    "first": float,
    "last": float,
    "question": (str, type(None)),
}
_INSERT: Final = (
    f"INSERT INTO asks ({', '.join(_ASKED)}) VALUES ({', '.join(f':{n}' for n in _ASKED)})"  # noqa: S608 - names of ours
)
# Characters of a question in a list.
HEAD: Final = 200


def plain(text: str) -> str:
    """`text` as SQLite can hold it: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def note(connection: sqlite3.Connection, asked: Asked) -> None:
    """Write down one ask, and count it for its question and its answer. In a transaction."""
    row = {name: getattr(asked, name) for name in _ASKED}
    row |= {name: plain(text) for name, text in row.items() if isinstance(text, str)}
    counted = connection.execute(
        "UPDATE answers SET uses = uses + 1, used = :at WHERE key = :key", row
    ).rowcount
    if not counted or asked.outcome != "hit":
        connection.execute(
            "INSERT INTO keys VALUES (:key, :coarse, 1, :at, :at, '', 0) ON CONFLICT (key)"
            " DO UPDATE SET asked = asked + 1, coarse = excluded.coarse, last = excluded.last",
            row,
        )
        _forget(connection)
    newest = connection.execute(_INSERT, row).lastrowid or 0
    connection.execute("DELETE FROM asks WHERE id <= ?", (newest - ASKS,))


def _forget(connection: sqlite3.Connection) -> None:
    """Keep the bound on questions: of those without an answer, the ones go that were not
    asked for the longest time."""
    (known,) = connection.execute("SELECT keys FROM totals").fetchone()
    # Many at once, by a scan: that costs less than an index.
    if known > KEYS + KEYS // 100:
        connection.execute(
            "DELETE FROM keys WHERE key IN (SELECT key FROM keys"
            " WHERE NOT EXISTS (SELECT 1 FROM answers WHERE answers.key = keys.key)"
            " ORDER BY last, key LIMIT ?)",
            (known - KEYS,),
        )


def kept(connection: sqlite3.Connection, key: str, at: float) -> int:
    """An answer of `key` is in the cache now; how often it was asked. In a transaction."""
    connection.execute(
        "INSERT INTO keys VALUES (?, '', 0, ?, ?, '', 0) ON CONFLICT (key) DO UPDATE"
        " SET gone = '', gone_at = 0",
        (key, at, at),
    )
    (asked,) = connection.execute("SELECT asked FROM keys WHERE key = ?", (key,)).fetchone()
    return int(asked)


def lost(connection: sqlite3.Connection, key: str, why: Reason, at: float) -> None:
    """The answer of `key` goes. In a transaction."""
    connection.execute(
        "UPDATE keys SET gone = ?, gone_at = ? WHERE key = ?",
        (why, at, key),
    )


def why(connection: sqlite3.Connection, key: str, coarse: str) -> Reason:
    """Why there is no fresh answer for `key`, as far as the records tell."""
    row = connection.execute(
        "SELECT gone, EXISTS (SELECT 1 FROM answers WHERE answers.key = keys.key)"
        " FROM keys WHERE key = ?",
        (key,),
    ).fetchone()
    if row is None:
        other = connection.execute("SELECT 1 FROM keys WHERE coarse = ? LIMIT 1", (coarse,))
        return "finer" if other.fetchone() else "new"
    gone, there = row
    if there:
        return "expired"
    return next((reason for reason in get_args(Reason) if reason and reason == gone), "uncached")


def records(connection: sqlite3.Connection) -> list[Asked]:
    """The newest asks, oldest first."""
    rows = connection.execute(f"SELECT {', '.join(_ASKED)} FROM asks ORDER BY id")  # noqa: S608 - names of ours
    found = sound(Asked, _ASKED, rows)
    return [
        asked
        for asked in found
        if asked.outcome in get_args(Outcome) and asked.reason in get_args(Reason)
    ]


def most_asked(connection: sqlite3.Connection, limit: int) -> list[Known]:
    """The questions that were asked most."""
    rows = connection.execute(
        "SELECT keys.key, max(asked, coalesce(uses, 0)) AS often, first,"
        " max(last, coalesce(used, 0)) AS latest,"
        " substr(bodies.question, 1, ?) FROM keys LEFT JOIN answers USING (key)"
        " LEFT JOIN bodies USING (id) ORDER BY often DESC, latest DESC LIMIT ?",
        (HEAD, limit),
    )
    return sound(Known, _KNOWN, rows)


def sound(make: Callable[..., T], columns: Columns, rows: Iterable[tuple[Any, ...]]) -> list[T]:
    """Rows as values; one that holds something else than it should is left out."""
    return [
        make(**dict(zip(columns, row, strict=True)))
        for row in rows
        if all(map(isinstance, row, columns.values()))
    ]
