"""Entries and asks that a number tells from others, for the tests of the cache of answers."""

import hashlib
from pathlib import Path
from typing import Any

from orchestrator.core.oneshots import Answer
from orchestrator.core.tokens import Tokens
from orchestrator.sinks.cache import DiskCache, Entry
from orchestrator.sinks.history import Asked, Outcome

# Seconds since the epoch: 2025-11-21T00:00:00Z.
NOW = 1763683200.0


def key(number: int) -> str:
    return hashlib.sha256(f"key {number}".encode()).hexdigest()


def coarse(number: int) -> str:
    return hashlib.sha256(f"coarse {number}".encode()).hexdigest()


def text(number: int, size: int = 100) -> str:
    """A text that cannot be taken for that of another number, nor be cut unseen."""
    word = hashlib.sha256(f"text {number}".encode()).hexdigest()
    return f"{number}:{word * (size // 64 + 1)}."


def answer(number: int, size: int = 100) -> Answer:
    return Answer(
        text=text(number, size),
        model="some-model",
        tokens=Tokens(input=number, output=2, cache_write=3, cache_read=4),
        cost_usd=0.25,
        conversation=None,
        tools=False,
    )


def entry(number: int, at: float = NOW, size: int = 100, **more: Any) -> Entry:
    fields: dict[str, Any] = {
        "key": key(number),
        "answer": answer(number, size),
        "question": f"What is {number}?",
        "cli": "claude",
        "created": at,
        "ttl": 3600.0,
        "took": 2.0,
        **more,
    }
    return Entry(**fields)


def asked(number: int, outcome: Outcome = "hit", at: float = NOW, **more: Any) -> Asked:
    fields: dict[str, Any] = {
        "at": at,
        "key": key(number),
        "coarse": coarse(number),
        "cli": "claude",
        "model": "some-model",
        "outcome": outcome,
        **more,
    }
    return Asked(**fields)


def cache_in(
    directory: Path, *, entries: int = 1000, size: int = 10**9, now: float = NOW
) -> DiskCache:
    return DiskCache(directory / "answers-v1.db", max_entries=entries, max_bytes=size, now=now)
