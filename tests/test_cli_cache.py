"""cache: what is remembered, what that has saved, why so much missed, and how it is forgotten."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import locations
from orchestrator.cli import cli
from orchestrator.core.text import width
from orchestrator.sinks.cache import MEGABYTE, DiskCache, Stats
from orchestrator.sinks.history import Asked
from orchestrator.verbs import savings
from orchestrator.verbs.cache import cache
from tests.cli_support import crew, refused
from tests.sinks.answers import asked, cache_in, entry, key

DAY = 86400.0


@pytest.fixture
def store(home: Path, noon: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[DiskCache]:
    monkeypatch.setattr(cli, "commands", {**cli.commands, "cache": cache})
    locations.ensure_private(locations.cache_root())
    store = cache_in(locations.cache_root(), now=time.time())
    yield store
    store.close()


def settings(text: str) -> None:
    file = locations.ask_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# -- stats -----------------------------------------------------------------------------------------


def test_stats_of_nothing(store: DiskCache) -> None:
    ran = crew("cache", "stats")
    assert ran.out == "0 of at most 10,000 answers · 0 B of at most 256.0 MiB\n"
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(crew("cache", "stats", "--json").out)
    assert (told["entries"], told["asks"], told["hit_rate"], told["advice"]) == (0, 0, None, [])


def test_stats_count_what_was_saved(store: DiskCache) -> None:
    now = time.time()
    store.keep(entry(1, at=now - 120))
    store.note(asked(1, "ran", now - 120, reason="new", took=3.0, tokens=1500, cost_usd=0.5))
    for _ in range(3):
        store.note(asked(1, "hit", now - 60, took=0.01, saved=30.0, tokens=1500, cost_usd=0.5))
    store.note(asked(2, "failed", now, reason="new", took=9.0, error="overloaded"))
    store.note(asked(2, "joined", now, took=1.0, saved=5.0))
    lines = crew("cache", "stats").out.splitlines()
    assert lines[0].startswith("1 of at most 10,000 answers · ")
    assert lines[0].endswith(" · the oldest is 2m old")
    assert lines[1].endswith(": 3 hits, 2 misses, 1 joined · 60% hits")
    assert lines[2] == "saved 1m, 4.5k tokens, $1.50 · spent 12s, 1.5k tokens, $0.50"
    assert lines[4:] == [
        "asked most",
        f"{key(1)[:12]}  4 times  What is 1?",
        f"{key(2)[:12]}  2 times  (no answer kept)",
    ]
    told = json.loads(crew("cache", "stats", "--json").out)
    assert told["hit_rate"] == 0.6
    assert told["outcomes"] == {"ran": 1, "hit": 3, "failed": 1, "joined": 1}
    assert told["reasons"] == {"new": 2}
    assert told["saved"] == {"seconds": 95.0, "tokens": 4500, "cost_usd": 1.5}
    assert told["most_asked"][0]["key"] == key(1)


def test_stats_say_why_few_were_hits(store: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for day in range(20):
        at = now - (20 - day) * DAY * 1.5
        store.note(asked(1, "ran", at, reason="expired" if day else "new"))
        store.note(asked(100 + day, "ran", at, reason="new"))
    monkeypatch.setenv("COLUMNS", "200")
    lines = crew("cache", "stats").out.splitlines()
    assert lines[-5:] == [
        "the hit rate is below 20%. Of the misses",
        "   50% were asked once and never again: no setting answers those",
        "   48% had expired: to keep answers for 14d",
        "       ttl = 1209600 would have made 18 more hits: 45%",
        f"settings are in {locations.ask_file()}",
    ]
    told = json.loads(crew("cache", "stats", "--json").out)["advice"]
    assert [(one["reason"], one["misses"]) for one in told] == [("once", 20), ("expired", 19)]
    assert (told[1]["setting"], told[1]["value"], told[1]["hits"]) == ("ttl", 14 * DAY, 18)
    settings("warn_below = 0.0\n")
    assert "hit rate" not in crew("cache", "stats").out
    monkeypatch.setenv("COLUMNS", "40")
    settings("")
    assert max(map(width, crew("cache", "stats").out.splitlines())) <= 40


# -- what would have helped ------------------------------------------------------------------------

FULL = Stats(entries=10, bytes=5000, max_entries=10, max_bytes=100 * MEGABYTE)


def by_reason(records: list[Asked], stats: Stats = FULL) -> dict[str, savings.Advice]:
    return {one.reason: one for one in savings.advice(records, stats, DAY)}


def test_the_shortest_time_that_helps_most_is_proposed() -> None:
    records = []
    for number in range(10):
        records.append(asked(number, "ran", number, reason="new"))
        records.append(asked(number, "ran", number + 1.5 * DAY, reason="expired"))
    told = by_reason(sorted(records, key=lambda one: one.at))["expired"]
    assert (told.setting, told.value, told.hits, told.hit_rate) == ("ttl", 2 * DAY, 10, 0.5)
    assert told.share == 0.5


def test_the_bound_that_was_reached_is_proposed() -> None:
    records = [asked(number, "ran", number, reason="new") for number in range(15)]
    records += [asked(number, "ran", 20 + number, reason="evicted") for number in range(5)]
    told = by_reason(records)["evicted"]
    assert (told.setting, told.value, told.hits, told.hit_rate) == ("entries", 15, 5, 0.25)
    heavy = dataclasses.replace(FULL, bytes=FULL.max_bytes, max_entries=1000)
    told = by_reason(records, heavy)["evicted"]
    assert (told.setting, told.value, told.hits) == ("megabytes", 150, 5)


def test_a_key_that_is_too_fine_is_told() -> None:
    same = {"coarse": "the same"}
    records = [asked(0, "ran", 0, reason="new", **same)]
    records += [asked(number, "ran", number, reason="finer", **same) for number in range(1, 9)]
    told = by_reason(records)["finer"]
    assert (told.misses, told.setting) == (8, None)
    assert told.said.endswith("if those had not counted, 8 more would have hit")


def test_what_no_setting_helps_is_told_too() -> None:
    records = [
        asked(1, "failed", 0, reason="new"),
        asked(1, "ran", 1, reason="uncached"),
        asked(1, "ran", 2, reason="refresh"),
        asked(1, "ran", 3, reason="cleared"),
        asked(1, "hit", 4),
        asked(1, "joined", 5),
    ]
    told = by_reason(records)
    assert {*told} == {"uncached", "refresh", "cleared"}
    assert all(one.setting is None and one.share == 0.25 for one in told.values())


def test_hits_of_answers_from_before_the_records_stay_hits() -> None:
    records = [asked(1, "hit", at) for at in range(5)]
    found = savings.figures(records)
    assert (found.hit_rate, found.misses) == (1.0, 0)
    assert savings.advice(records, FULL, DAY) == []


def simulated(trace: list[tuple[int, int]], ttl: float) -> list[Asked]:
    """What is on record after these asks (seconds since the last, question) of a real cache."""
    made: dict[int, float] = {}
    records, at = [], 0.0
    for pause, number in trace:
        at += pause
        if number in made and at - made[number] < ttl:
            records.append(asked(number, "hit", at))
            continue
        records.append(asked(number, "ran", at, reason="expired" if number in made else "new"))
        made[number] = at
    return records


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3))), st.integers(0, 50))
def test_what_is_foretold_of_a_longer_life_comes_true(
    trace: list[tuple[int, int]], longer: int
) -> None:
    records = simulated(trace, 30)
    for ttl in (30, 30 + longer):
        real = simulated(trace, ttl)
        assert savings._hits(records, ttl) == sum(one.outcome == "hit" for one in real)


# -- list, show, clear -----------------------------------------------------------------------------


def test_the_answers_are_listed(store: DiskCache) -> None:
    assert crew("cache", "list").out == "no answer is kept yet: `crew ask` asks\n"
    now = time.time()
    store.keep(entry(1, at=now - 7300, question="What\nis \x1b[31m1?"))
    store.keep(entry(2, at=now - 5))
    store.note(asked(2))
    head, *rows = crew("cache", "list").out.splitlines()
    assert head.split() == ["KEY", "CLI", "AGE", "USES", "SIZE", "QUESTION"]
    assert rows[0].split()[:4] == [key(2)[:12], "claude", "5s", "1"]
    assert rows[1].split()[:5] == [key(1)[:12], "claude", "2h", "(old)", "0"]
    assert rows[1].endswith("What is 1?")
    told: list[dict[str, Any]] = json.loads(crew("cache", "list", "--json", "-n", "1").out)
    assert [(one["key"], one["uses"]) for one in told] == [(key(2), 1)]


def test_an_answer_is_shown(store: DiskCache) -> None:
    made = entry(1, at=time.time() - 60)
    store.keep(made)
    lines = crew("cache", "show", key(1)[:6].upper()).out.splitlines()
    assert lines == [
        f"key       {key(1)}",
        "asked     claude, some-model",
        "answered  1m ago in 2.0 s, fresh",
        "used      0 times, 10 tokens, $0.25",
        "",
        "What is 1?",
        "",
        made.answer.text,
    ]
    told = json.loads(crew("cache", "show", key(1), "--json").out)
    assert told["answer"]["text"] == made.answer.text
    assert told["fresh"] is True
    assert told["age"] == 60
    refused(
        crew("cache", "show", "xyz"), 2, "no key begins with 'xyz': `crew cache list` shows them"
    )
    store.keep(entry(2))
    refused(crew("cache", "show", ""), 2, "2 keys begin with '': `crew cache list` shows them")


def test_answers_are_cleared(store: DiskCache) -> None:
    now = time.time()
    for number in range(5):
        store.keep(entry(number, at=now - number * DAY - 60))
    assert crew("cache", "clear", key(0), key(1)[:10]).out == "2 answers cleared\n"
    assert crew("cache", "clear", "--older", "72h", key(2)).out == "0 answers cleared\n"
    assert crew("cache", "clear", "--older", "3d").out == "2 answers cleared\n"
    assert store.find("") == [key(2)]
    assert json.loads(crew("cache", "clear", "--json").out) == {"cleared": 1}
    assert store.find("") == []
    ran = crew("cache", "clear", "--older", "soon")
    assert ran.status == 2
    assert "--older: should be an age such as 90, 10m, 2h or 7d, not 'soon'" in ran.err


def test_what_is_wrong_with_the_cache_is_said(store: DiskCache) -> None:
    store.keep(entry(1))
    store.close()
    file = locations.cache_root() / "answers-v1.db"
    file.write_bytes(b"rubbish" * 1000)
    ran = crew("cache", "list")
    assert ran.status == 0
    assert ran.out == "no answer is kept yet: `crew ask` asks\n"
    assert ran.err.startswith(f"crew: {file}: ")
    assert ran.err.endswith(f"it was set aside as {file}.damaged-1, and a new one was begun\n")
