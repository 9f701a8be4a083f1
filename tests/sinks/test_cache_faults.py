"""Full disks, directories that cannot be written, flipped bytes, clocks: one clear warning, and
never a wrong answer."""

import random
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sinks.cache import Cache, fresh, open_cache
from tests.sinks import test_store_full
from tests.sinks.answers import NOW, answer, asked, cache_in, coarse, entry, key
from tests.sinks.cache_small_disk import Settings

NUMBERS = range(12)
FILE = "answers-v1.db"


def on_small_disk(scenario: str, directory: Path) -> Any:
    return test_store_full.on_small_disk(scenario, directory, "tests.sinks.cache_small_disk")


def test_a_full_disk_is_said_once_and_passes(tmp_path: Path) -> None:
    filled, full, freed = on_small_disk("full", tmp_path)
    assert len(filled) == 1
    assert filled[0].startswith(f"answers are not kept: {tmp_path / FILE}: cannot be used now (")
    assert len(full) == 1
    assert full[0].startswith(f"answers are not kept: {tmp_path / FILE}: cannot be used now (")
    assert freed == []


def test_no_room_for_a_cache(tmp_path: Path) -> None:
    ((said,),) = on_small_disk("full_from_the_start", tmp_path)
    assert said.startswith(f"answers are not kept: {tmp_path / FILE}: cannot be used now (")


def test_a_read_only_disk(tmp_path: Path) -> None:
    (said,), (below,) = on_small_disk("read_only", tmp_path)
    assert said.startswith(f"answers are not kept: {tmp_path / FILE}: cannot be used now (")
    assert below.startswith(f"answers are not kept: {tmp_path / 'below'}: cannot be made: ")


def test_a_file_size_limit_is_like_a_full_disk(tmp_path: Path) -> None:
    """The same without any privilege: the kernel refuses to let the log grow."""
    cache = cache_in(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
        for number in range(100):
            cache.keep(entry(number, size=10_000))
            cache.note(asked(number))
            assert cache.breaker("claude").failures == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (said,) = cache.warnings
    assert said.startswith(f"answers are not kept: {tmp_path / FILE}: cannot be used now (")
    found = [number for number in range(100) if cache.look(key(number))]
    assert 0 < len(found) < 100
    cache.close()


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "crewmux").write_text("something else")
    cache = open_cache(tmp_path / "crewmux", Settings(), NOW)
    assert len(cache.warnings) == 1
    assert "answers are not kept" in cache.warnings[0]
    assert (tmp_path / "crewmux").read_text() == "something else"


# -- damage ----------------------------------------------------------------------------------------


def fill(directory: Path) -> bytes:
    """A cache with a bit of everything in it; its file."""
    cache = cache_in(directory)
    for number in NUMBERS:
        # Some in pages of their own.
        cache.keep(entry(number, size=9000 if number % 4 == 0 else 300))
        cache.note(asked(number, "ran"))
    cache.learn("version", "a", "1.0")
    cache.change_breaker("claude", lambda breaker: (None, breaker))
    assert cache.warnings == []
    cache.close()
    return (directory / FILE).read_bytes()


def use(cache: Cache) -> int:
    """Do everything with a damaged cache: what it returns is right or nothing; how many it had."""
    had = 0
    for number in NUMBERS:
        found = cache.look(key(number))
        if found is not None:
            had += 1
            size = 9000 if number % 4 == 0 else 300
            assert found.answer == answer(number, size)
            assert (found.key, found.question) == (key(number), f"What is {number}?")
            assert (found.created, found.ttl, found.took) == (NOW, 3600.0, 2.0)
    assert cache.fact("version", "a") in ("1.0", None)
    cache.why(key(1), coarse(1))
    cache.breaker("claude")
    for one in cache.records():
        assert one.outcome == "ran"
    cache.listed(99)
    cache.most_asked(99)
    cache.stats()
    # And it can be used for new ones. Damage that is met behind them takes them along, once.
    for _ in range(2):
        before = len(cache.warnings)
        cache.keep(entry(99))
        cache.note(asked(99, "ran"))
        found = cache.look(key(99))
        assert found is not None or len(cache.warnings) > before
    assert found is not None
    assert found.answer == answer(99)
    return had


@pytest.mark.timeout(600)
def test_a_flipped_byte_anywhere(tmp_path: Path, count: Callable[[str, int, int], int]) -> None:
    sound = fill(tmp_path)
    chance = random.Random(1)
    # The header and the tables' texts, and then anywhere.
    places = [*range(0, 100, 7), *(chance.randrange(100, 8192) for _ in range(20))]
    places += [chance.randrange(len(sound)) for _ in range(count("bytes flipped", 40, 1000))]
    lost = 0
    for number, place in enumerate(places):
        directory = tmp_path / str(number)
        directory.mkdir()
        damaged = bytearray(sound)
        damaged[place] ^= 1 << chance.randrange(8)
        (directory / FILE).write_bytes(damaged)
        cache = open_cache(directory, Settings(), NOW)
        had = use(cache)
        cache.close()
        aside = [*directory.glob(f"{FILE}.damaged-*")]
        # Whatever is lost is told, once for the file.
        assert len([said for said in cache.warnings if "set aside" in said]) <= 1
        assert all("damaged" in said or "not a cache" in said for said in cache.warnings)
        if aside:
            assert any(str(aside[0]) in said for said in cache.warnings), cache.warnings
            lost += 1
        again = open_cache(directory, Settings(), NOW)
        assert again.look(key(99)) is not None or again.warnings
        again.close()
        assert had or aside or cache.warnings
        shutil.rmtree(directory)
    assert lost, "none of these was found"


@pytest.mark.parametrize("length", [100, 4096, 5000, 20_000])
def test_a_file_that_was_cut(tmp_path: Path, length: int) -> None:
    sound = fill(tmp_path)
    (tmp_path / FILE).write_bytes(sound[:length])
    cache = open_cache(tmp_path, Settings(), NOW)
    use(cache)
    cache.close()
    (said,) = cache.warnings
    (aside,) = tmp_path.glob(f"{FILE}.damaged-*")
    assert said.endswith(f": it was set aside as {aside}, and a new one was begun")
    assert aside.read_bytes()[:100] == sound[: min(length, 100)]


def test_a_file_of_somebody_else_is_set_aside(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    theirs = (tmp_path / FILE).read_bytes()
    cache = cache_in(tmp_path)
    cache.keep(entry(1))
    assert cache.look(key(1)) is not None
    assert "is not a cache of crewmux: it was set aside as" in cache.warnings[0]
    assert (tmp_path / f"{FILE}.damaged-1").read_bytes() == theirs
    cache.close()
    (tmp_path / FILE).write_bytes(b"rubbish" * 1000)
    cache_in(tmp_path).close()
    assert (tmp_path / f"{FILE}.damaged-1").read_bytes() == theirs, "nothing is written over"
    assert (tmp_path / f"{FILE}.damaged-2").read_bytes() == b"rubbish" * 1000


def test_an_answer_that_was_changed_is_forgotten(tmp_path: Path) -> None:
    """Each part of it, and two that were exchanged."""
    for number, change in enumerate(
        (
            "UPDATE bodies SET body = replace(body, '1:', '2:') WHERE id = 1",
            "UPDATE bodies SET question = 'What else?' WHERE id = 1",
            "UPDATE answers SET created = created + 5 WHERE id = 1",
            "UPDATE answers SET ttl = 9e9 WHERE id = 1",
            "UPDATE answers SET key = 'x' || key WHERE id = 2; UPDATE answers SET key ="
            f" '{key(1)}' WHERE id = 2",
        )
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        cache = cache_in(directory)
        cache.keep(entry(1))
        cache.keep(entry(2))
        assert cache._file is not None
        if "x" in change:
            cache.clear([key(1)])
        cache._file.connection.executescript(change)
        assert cache.look(key(1)) is None
        assert cache.warnings == [f"{cache.path}: an answer was damaged and is forgotten"]
        assert cache.look(key(1)) is None
        assert len(cache.warnings) == 1
        assert cache.why(key(1), coarse(1)) == "cleared"
        cache.close()


def test_facts_and_breakers_that_were_changed_do_not_hold(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.learn("version", "a", "1.0")
    cache.change_breaker("claude", lambda breaker: (None, breaker))
    assert cache._file is not None
    cache._file.connection.executescript(
        "UPDATE facts SET value = '1.1'; UPDATE breakers SET body = '{\"failures\": 99}'"
    )
    assert cache.fact("version", "a") is None
    assert cache.breaker("claude").failures == 0
    cache.close()


def test_damage_while_it_is_open(tmp_path: Path) -> None:
    """Two processes have it open: one sets it aside, the other goes on with the new one."""
    fill(tmp_path)
    first, second = cache_in(tmp_path), cache_in(tmp_path)
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 100_000)
    for cache in (first, second):
        cache.keep(entry(1))
        found = cache.look(key(1))
        assert found is not None
        assert found.answer == answer(1)
        assert len(cache.warnings) == 1
        assert "it was set aside" in cache.warnings[0]
    first.keep(entry(2))
    assert second.look(key(2)) is not None, "both use the same"
    first.close()
    second.close()
    assert len([*tmp_path.glob(f"{FILE}.damaged-?")]) == 1


# -- the clock -------------------------------------------------------------------------------------


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.keep(entry(1))
    cache.close()
    yesterday = NOW - 86400
    cache = cache_in(tmp_path, now=yesterday)
    assert cache.look(key(1)) is None
    assert cache.warnings == [
        "an answer is 86400 s from the future, and not used: was the clock set back?"
    ]
    cache.keep(entry(1, at=yesterday))
    found = cache.look(key(1))
    assert found is not None
    assert fresh(found, yesterday)
    assert len(cache.warnings) == 1
    cache.close()
