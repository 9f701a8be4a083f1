"""The cache of answers: what is kept comes back, what is over the bounds goes, all is counted."""

import json
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.breakers import Breaker
from orchestrator.sinks import cache_schema, history
from orchestrator.sinks.cache import Cache, DiskCache, NullCache, fresh, open_cache
from orchestrator.sinks.history import Asked
from tests.sinks.answers import NOW, asked, cache_in, coarse, entry, key


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DiskCache]:
    cache = cache_in(tmp_path)
    yield cache
    cache.close()
    assert cache.warnings == []


class Settings:
    entries = 20
    megabytes = 1


# -- entries ---------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_in_another_process(tmp_path: Path) -> None:
    first = cache_in(tmp_path)
    first.keep(entry(1))
    first.close()
    again = cache_in(tmp_path)
    found = again.look(key(1))
    assert found is not None
    assert replace(found, size=0) == replace(entry(1), used=NOW)
    assert found.size > len(entry(1).answer.text)
    assert again.look(key(2)) is None
    again.close()


def test_a_new_answer_takes_the_place_of_the_old_one(cache: DiskCache) -> None:
    cache.keep(entry(1))
    cache.note(asked(1, "ran"))
    cache.keep(entry(1, at=NOW + 5, answer=entry(2).answer))
    found = cache.look(key(1))
    assert found is not None
    assert (found.answer, found.created, found.uses) == (entry(2).answer, NOW + 5, 1)
    assert cache.stats().entries == 1


@pytest.mark.parametrize(
    "text", ["", "\0", "é\r\n\t", "\ud800 half", "日本語 '\"\\", "x" * 100_000]
)
def test_any_text_can_be_kept(cache: DiskCache, text: str) -> None:
    kept = entry(1, question=text, answer=replace(entry(1).answer, text=text))
    cache.keep(kept)
    found = cache.look(key(1))
    assert found is not None
    assert found.answer == kept.answer
    assert found.question == text.replace("\ud800", "?")
    cache.note(asked(1, "failed", error=text, model=text))
    assert cache.records()[0].error == text.replace("\ud800", "?")


def test_only_their_owner_can_read_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "crewmux"
    cache = open_cache(directory, Settings(), NOW)
    cache.keep(entry(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert {"answers-v1.db", "answers-v1.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    cache.close()
    (directory / "answers-v1.db").chmod(0o644)
    open_cache(directory, Settings(), NOW).close()
    assert stat.S_IMODE((directory / "answers-v1.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("age", "ttl", "expected"),
    [
        (0, None, True),
        (3599, None, True),
        (3600, None, False),
        (3600, 3601.0, True),
        (10, 10.0, False),
        (0, 0.0, False),
        (-60, None, True),
        (-61, None, False),
    ],
)
def test_an_entry_is_fresh_for_its_time(age: float, ttl: float | None, expected: bool) -> None:
    assert fresh(entry(1), NOW + age, ttl) is expected


def test_the_tables_are_those_that_the_file_has(tmp_path: Path) -> None:
    """SQLite gives the statements back as they were written: opening compares them."""
    cache_in(tmp_path).close()
    connection = sqlite3.connect(tmp_path / cache_schema.NAME)
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    assert {row[0] for row in rows} == set(cache_schema.SCHEMA)


# -- the bounds ------------------------------------------------------------------------------------


def test_the_least_used_goes_then_the_least_recently_used(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, entries=3)
    for number, uses in ((1, 3), (2, 1), (3, 1)):
        cache.keep(entry(number))
        for use in range(uses):
            cache.note(asked(number, at=NOW + 10 * number + use))
    cache.note(asked(2, at=NOW + 100))
    cache.note(asked(3, at=NOW + 90))
    cache.keep(entry(4))
    assert [cache.look(key(number)) is not None for number in (1, 2, 3, 4)] == [1, 1, 0, 1]
    cache.close()


def test_a_question_that_comes_back_has_its_frequency(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, entries=1)
    cache.keep(entry(1))
    for _ in range(5):
        cache.note(asked(1))
    cache.keep(entry(2))
    cache.note(asked(2, "ran"))
    assert cache.look(key(1)) is None
    assert cache.why(key(1), coarse(1)) == "evicted"
    cache.keep(entry(1))
    found = cache.look(key(1))
    assert found is not None
    assert found.uses == 5
    cache.close()


def test_what_is_larger_than_the_whole_bound_is_not_kept(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, size=2000)
    cache.keep(entry(1))
    cache.keep(entry(2, size=5000))
    assert cache.look(key(1)) is not None
    assert cache.look(key(2)) is None
    cache.close()


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["keep", "hit", "hit", "clear"]), st.integers(0, 9), st.integers(0, 3)
    ),
    max_size=25,
)


@pytest.mark.timeout(600)
@given(STEPS, st.integers(1, 6), st.integers(800, 4000))
def test_eviction_is_that_of_the_model(steps: list[Step], entries: int, size: int) -> None:
    """A model in plain Python: the same entries stay, and the sums are those of what is there."""
    with tempfile.TemporaryDirectory() as directory:
        cache = cache_in(Path(directory), entries=entries, size=size)
        there: dict[int, tuple[float, int, int]] = {}  # used, order of coming, size
        uses: dict[int, int] = {}
        for at, (what, number, length) in enumerate(steps):
            now = NOW + at
            if what == "hit":
                cache.note(asked(number, at=now))
                uses[number] = uses.get(number, 0) + 1
                if number in there:
                    there[number] = (now, *there[number][1:])
            elif what == "clear":
                assert cache.clear([key(number)]) == (number in there)
                there.pop(number, None)
            else:
                made = entry(number, at=now, size=1 + 200 * length)
                cache.keep(made)
                bytes_ = len(made.question) + len(json.dumps(asdict(made.answer)))
                if bytes_ > size:
                    continue
                there[number] = (now, at, bytes_)
                while len(there) > entries or sum(one[2] for one in there.values()) > size:
                    others = [one for one in there if one != number]
                    del there[min(others, key=lambda n: (uses.get(n, 0), *there[n][:2]))]
            assert {k for n in range(10) if (k := key(n)) and cache.look(k)} == {*map(key, there)}
        assert cache.stats().entries == len(there)
        assert cache.stats().bytes == sum(one[2] for one in there.values())
        check_sums(cache)
        assert cache.warnings == []
        cache.close()


def check_sums(cache: DiskCache) -> None:
    """What the triggers have summed is what is there."""
    assert cache._file is not None
    connection = cache._file.connection
    found = connection.execute("SELECT entries, bytes, keys FROM totals").fetchall()
    assert (
        found
        == connection.execute(
            "SELECT (SELECT count(*) FROM answers), (SELECT coalesce(sum(size), 0) FROM answers),"
            " (SELECT count(*) FROM keys)"
        ).fetchall()
    )
    assert connection.execute("SELECT count(*) FROM bodies").fetchall() == [(found[0][0],)]


# -- the records -----------------------------------------------------------------------------------


def test_why_there_is_no_answer(cache: DiskCache) -> None:
    assert cache.why(key(1), coarse(1)) == "new"
    cache.note(asked(1, "failed"))
    assert cache.why(key(1), coarse(1)) == "uncached", "asked, but nothing was kept"
    assert cache.why(key(2), coarse(1)) == "finer"
    cache.keep(entry(1))
    assert cache.why(key(1), coarse(1)) == "expired", "it is there, so it is too old"
    assert cache.clear([key(1)]) == 1
    assert cache.why(key(1), coarse(1)) == "cleared"
    cache.keep(entry(1))
    assert cache.why(key(1), coarse(1)) == "expired"


def test_an_ask_is_written_down_whole(cache: DiskCache) -> None:
    full = Asked(
        at=NOW,
        key=key(1),
        coarse=coarse(1),
        cli="claude",
        model="m",
        outcome="failed",
        reason="expired",
        waited=1.5,
        took=2.5,
        saved=0.5,
        tokens=12,
        cost_usd=0.01,
        error="it was overloaded",
    )
    cache.note(full)
    cache.note(asked(2))
    assert cache.records() == [full, asked(2)]


def test_records_are_bounded(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ASKS", 5)
    monkeypatch.setattr(history, "KEYS", 3)
    for number in range(9):
        cache.note(asked(number, at=NOW + number))
    assert [one.at - NOW for one in cache.records()] == [4, 5, 6, 7, 8]
    assert {one.key for one in cache.most_asked(99)} == {key(6), key(7), key(8)}
    check_sums(cache)


def test_what_is_asked_most(cache: DiskCache) -> None:
    cache.keep(entry(2))
    for number, at in ((1, 0), (2, 1), (2, 2), (3, 3)):
        cache.note(asked(number, at=NOW + at))
    most, second = cache.most_asked(2)
    assert (most.key, most.asked, most.question) == (key(2), 2, "What is 2?")
    assert (most.first, most.last) == (NOW, NOW + 2)
    assert (second.key, second.asked, second.question) == (key(3), 1, None)


def test_entries_are_listed_found_and_cleared(cache: DiskCache) -> None:
    for number in (1, 2, 3):
        cache.keep(entry(number, at=NOW + number))
    cache.note(asked(2))
    listed = cache.listed(10)
    assert [one.key for one in listed] == [key(2), key(3), key(1)]
    assert (listed[0].question, listed[0].uses, listed[0].created) == ("What is 2?", 1, NOW + 2)
    assert len(cache.listed(2)) == 2
    assert cache.find(key(3)[:8]) == [key(3)]
    assert cache.find(key(9)) == []
    assert len(cache.find("")) == 3
    stats = cache.stats()
    assert (stats.entries, stats.oldest, stats.newest) == (3, NOW + 1, NOW + 3)
    assert stats.bytes == sum(one.size for one in listed)
    assert cache.clear(before=NOW + 2) == 1
    assert cache.clear([key(1)]) == 0
    assert cache.clear() == 2
    assert cache.stats().entries == 0
    check_sums(cache)


# -- facts and breakers ----------------------------------------------------------------------------


def test_a_fact_holds_for_what_it_was_learned_of(cache: DiskCache) -> None:
    assert cache.fact("version", "a") is None
    cache.learn("version", "a", "1.0")
    assert cache.fact("version", "a") == "1.0"
    assert cache.fact("version", "b") is None
    cache.learn("version", "b", "2.0")
    assert cache.fact("version", "b") == "2.0"
    assert cache.fact("version", "a") is None


def failed(breaker: Breaker) -> tuple[int, Breaker]:
    changed = replace(breaker, failures=breaker.failures + 1)
    return changed.failures, changed


def kinds(directory: Path) -> list[Cache]:
    return [cache_in(directory), NullCache()]


def test_breakers_are_changed_one_after_the_other(tmp_path: Path) -> None:
    for cache in kinds(tmp_path):
        assert cache.breaker("claude") == Breaker()
        assert [cache.change_breaker("claude", failed) for _ in range(3)] == [1, 2, 3]
        assert cache.breaker("claude").failures == 3
        assert cache.breaker("codex") == Breaker()
        cache.close()
    other = cache_in(tmp_path)
    assert other.breaker("claude").failures == 3
    other.close()


def test_no_change_of_a_breaker_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # However long it takes on a busy machine until all had their turn.
    monkeypatch.setattr(cache_schema, "BUSY_TIMEOUT", 60.0)

    def fail_often(_: int) -> None:
        cache = cache_in(tmp_path)
        for _ in range(25):
            cache.change_breaker("claude", failed)
        assert cache.warnings == []
        cache.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail_often, range(4)))
    cache = cache_in(tmp_path)
    assert cache.breaker("claude").failures == 100
    cache.close()


def test_a_change_that_raises_changes_nothing(tmp_path: Path) -> None:
    def broken(_: Breaker) -> tuple[int, Breaker]:
        raise ZeroDivisionError

    for cache in kinds(tmp_path):
        cache.change_breaker("claude", failed)
        with pytest.raises(ZeroDivisionError):
            cache.change_breaker("claude", broken)
        assert cache.change_breaker("claude", failed) == 2
        cache.close()


def test_no_cache_remembers_nothing() -> None:
    cache: Cache = NullCache(["why"])
    cache.keep(entry(1))
    cache.note(asked(1))
    cache.learn("version", "a", "1.0")
    assert cache.look(key(1)) is None
    assert cache.fact("version", "a") is None
    assert cache.why(key(1), coarse(1)) == "uncached"
    assert (cache.records(), cache.listed(9), cache.find(""), cache.clear()) == ([], [], [], 0)
    assert (cache.most_asked(9), cache.stats().entries) == ([], 0)
    assert cache.warnings == ["why"]
    cache.close()
