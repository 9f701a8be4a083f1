"""The same question at once: one run, heard by all, whoever dies."""

import asyncio
import errno
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import CrewError, UserError
from orchestrator.oneshot import flight
from orchestrator.oneshot.flight import Flight, Hearing, Lead, Teller, fly
from orchestrator.oneshot.locks import Lock
from tests.checkouts import ROOT
from tests.support import end, wait_until

KEY = "f" * 64


class Screen:
    """What a person sees of one process."""

    def __init__(self) -> None:
        self.text = ""
        self.restarts = 0
        self.changed = asyncio.Event()

    def heard(self, text: str) -> None:
        self.text += text
        self.changed.set()

    def restarted(self) -> None:
        self.text = ""
        self.restarts += 1

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(30):
            while self.text != text:
                self.changed.clear()
                await self.changed.wait()

    def ask(self, directory: Path, lead: Lead) -> asyncio.Task[Flight]:
        return asyncio.create_task(fly(directory, KEY, lead, self.heard, self.restarted))


class Run:
    """A run that says what a test tells it to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.tell: Teller
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def __call__(self, tell: Teller) -> bytes:
        self.tell = tell
        self.begun.set()
        return await self.result


async def never(tell: Teller) -> bytes:
    raise AssertionError("this one follows")


def left(directory: Path) -> list[str]:
    return sorted(each.name for each in (directory / "flights").iterdir())


# -- hearing --------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.text("ab", max_size=4), max_size=5), max_size=5))
def test_the_screen_never_shows_a_text_twice(runs: list[list[str]]) -> None:
    screen, restarts = "", 0

    def heard(text: str) -> None:
        nonlocal screen
        assert text
        screen += text

    def restarted() -> None:
        nonlocal screen, restarts
        screen = ""
        restarts += 1

    hearing = Hearing(heard, restarted)
    for pieces in runs:
        hearing.anew()
        before, told, restarts = screen, "", 0
        for piece in pieces:
            hearing.piece(piece)
            told += piece
            # Either it has not caught up yet, or it is what this run has told, once.
            assert screen == (before if before.startswith(told) else told)
        assert restarts == (not (before.startswith(told) or told.startswith(before)))
    hearing.ended()
    assert screen == (told if runs and told else screen)


# -- in one process -------------------------------------------------------------------------------


async def test_the_others_hear_the_leader_from_the_beginning(tmp_path: Path) -> None:
    run, screens = Run(), [Screen() for _ in range(3)]
    leading = screens[0].ask(tmp_path, run)
    await run.begun.wait()
    joined = screens[1].ask(tmp_path, never)
    run.tell("Grüße, ")
    await screens[1].shows("Grüße, ")
    late = screens[2].ask(tmp_path, never)
    await screens[2].shows("Grüße, ")
    run.tell("\ud83d\n")  # half of a pair, as JSON may have it
    run.result.set_result(b'{"any": "bytes"}')
    assert await leading == (b'{"any": "bytes"}', False)
    assert await joined == await late == (b'{"any": "bytes"}', True)
    assert {screen.text for screen in screens} == {"Grüße, \ud83d\n"}
    assert left(tmp_path) == []


async def test_one_that_has_connected_gets_the_result(tmp_path: Path) -> None:
    """Also if the run is over before the leader has taken notice of it."""
    run, screen = Run(), Screen()
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()
    with (
        socket.socket(socket.AF_UNIX) as follower,
        flight._address(tmp_path / "flights", KEY) as address,
    ):
        follower.connect(address)
        run.tell("all")
        run.result.set_result(b"result")
        await leading
        hearing = Hearing(screen.heard, screen.restarted)
        assert await flight._follow(follower, hearing, rank=0) == b"result"
    assert screen.text == "all"


async def test_the_leader_is_told_how_urgent_each_follower_is(tmp_path: Path) -> None:
    run, ranks, both = Run(), list[int](), asyncio.Event()

    def joined(rank: int) -> None:
        ranks.append(rank)
        if len(ranks) == 2:
            both.set()

    def ask(lead: Lead, rank: int) -> asyncio.Task[Flight]:
        screen = Screen()
        asked = fly(tmp_path, KEY, lead, screen.heard, screen.restarted, rank=rank, joined=joined)
        return asyncio.create_task(asked)

    leading = ask(run, 2)
    await run.begun.wait()
    followers = [ask(never, rank) for rank in (1, 0)]
    async with asyncio.timeout(30):
        await both.wait()
    assert sorted(ranks) == [0, 1], "its own it knows"
    run.result.set_result(b"")
    await asyncio.gather(leading, *followers)


async def test_only_the_person_may_listen(tmp_path: Path) -> None:
    run = Run()
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()
    assert left(tmp_path) == [f"{KEY}.lock", f"{KEY}.sock"]
    for file in (tmp_path / "flights").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "flights").stat().st_mode) == 0o700
    run.result.set_result(b"")
    await leading


async def test_a_leader_that_gives_up_is_followed_by_another(tmp_path: Path) -> None:
    first, second, screen = Run(), Run(), Screen()
    leading = Screen().ask(tmp_path, first)
    await first.begun.wait()
    following = screen.ask(tmp_path, second)
    first.tell("One two")
    await screen.shows("One two")
    leading.cancel()
    await second.begun.wait()
    second.tell("One ")
    second.tell("two three")
    await screen.shows("One two three")
    second.result.set_result(b"done")
    assert await following == (b"done", False)
    assert screen.restarts == 0
    with pytest.raises(asyncio.CancelledError):
        await leading
    assert left(tmp_path) == []


async def test_another_answer_begins_anew(tmp_path: Path) -> None:
    first, second, screens = Run(), Run(), [Screen(), Screen()]
    leading = Screen().ask(tmp_path, first)
    await first.begun.wait()
    following = [screen.ask(tmp_path, second) for screen in screens]
    first.tell("One two")
    for screen in screens:
        await screen.shows("One two")
    leading.cancel()
    await second.begun.wait()
    second.tell("One or ")
    second.tell("two")
    second.result.set_result(b"done")
    assert {(await each).result for each in following} == {b"done"}
    assert [(each.text, each.restarts) for each in screens] == [("One or two", 1)] * 2


async def test_a_second_try_of_the_leader_is_not_shown_twice(tmp_path: Path) -> None:
    run, screens = Run(), [Screen() for _ in range(3)]
    leading = screens[0].ask(tmp_path, run)
    await run.begun.wait()
    joined = screens[1].ask(tmp_path, never)
    run.tell("One tw")
    await screens[1].shows("One tw")
    run.tell.anew()
    late = screens[2].ask(tmp_path, never)
    run.tell("One ")
    await screens[2].shows("One ")
    run.tell("two")
    run.result.set_result(b"done")
    await asyncio.gather(leading, joined, late)
    assert [(each.text, each.restarts) for each in screens] == [("One two", 0)] * 3


@pytest.mark.parametrize("kind", [CrewError, UserError])
async def test_an_error_with_a_sentence_is_everybodys(
    tmp_path: Path, kind: type[CrewError]
) -> None:
    run = Run()
    asked = [Screen().ask(tmp_path, run)]
    await run.begun.wait()
    asked.append(Screen().ask(tmp_path, never))
    await asyncio.sleep(0)
    run.result.set_exception(kind("The queue is full."))
    for each in asked:
        with pytest.raises(kind, match=r"^The queue is full\.$") as caught:
            await each
        assert type(caught.value) is kind


async def test_any_other_error_is_the_leaders_own(tmp_path: Path) -> None:
    """As a pipe that its reader has closed is."""
    first, second, screen = Run(), Run(), Screen()
    leading = Screen().ask(tmp_path, first)
    await first.begun.wait()
    following = screen.ask(tmp_path, second)
    first.tell("x")
    await screen.shows("x")
    first.result.set_exception(BrokenPipeError())
    with pytest.raises(BrokenPipeError):
        await leading
    await second.begun.wait()
    second.result.set_result(b"done")
    assert await following == (b"done", False)


async def test_a_follower_that_cannot_show_it_leaves(tmp_path: Path) -> None:
    run = Run()
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()

    def broken(text: str) -> None:
        raise BrokenPipeError

    following = asyncio.create_task(fly(tmp_path, KEY, never, broken, never_restarted))
    run.tell("x")
    with pytest.raises(BrokenPipeError):
        await following
    run.result.set_result(b"done")
    assert await leading == (b"done", False)


def never_restarted() -> None:
    raise AssertionError


async def test_a_follower_that_gives_up_ends_its_own_wait(tmp_path: Path) -> None:
    run, screen = Run(), Screen()
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()
    leaving, staying = Screen().ask(tmp_path, never), screen.ask(tmp_path, never)
    run.tell("One ")
    await screen.shows("One ")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    run.tell("two")
    run.result.set_result(b"done")
    assert [await leading, await staying] == [(b"done", False), (b"done", True)]


async def test_a_follower_that_does_not_read_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "LINGER", 0.5)
    run, screen, large = Run(), Screen(), "x" * 10_000_000
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()
    with (
        socket.socket(socket.AF_UNIX) as stuck,
        flight._address(tmp_path / "flights", KEY) as address,
    ):
        stuck.connect(address)
        following = screen.ask(tmp_path, never)
        run.tell(large)
        await screen.shows(large)
        run.result.set_result(b"done")
        assert await leading == (b"done", False)
        assert (await following).joined


async def test_wherever_the_cache_is(tmp_path: Path) -> None:
    """A socket's own address holds 107 bytes."""
    deep = tmp_path.joinpath(*["d" * 200] * 3)
    run = Run()
    leading = Screen().ask(deep, run)
    await run.begun.wait()
    following = Screen().ask(deep, never)
    run.tell("x")
    run.result.set_result(b"done")
    assert [(await each).joined for each in (leading, following)] == [False, True]


async def test_where_no_files_can_be_made_each_runs_by_itself(tmp_path: Path) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()
    run, screen = Run(), Screen()
    asked = screen.ask(no_directory, run)
    await run.begun.wait()
    run.tell("x")
    run.result.set_result(b"done")
    assert await asked == (b"done", False)
    assert screen.text == "x"


async def test_a_cache_that_is_taken_away_meanwhile(tmp_path: Path) -> None:
    run, other = Run(), Run()
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()
    shutil.rmtree(tmp_path / "flights")
    alone = Screen().ask(tmp_path, other)
    await other.begun.wait()
    run.result.set_result(b"one")
    assert await leading == (b"one", False)
    other.result.set_result(b"other")
    assert await alone == (b"other", False)
    assert left(tmp_path) == []


async def test_files_that_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is read-only all at once."""
    run = Run()
    leading = Screen().ask(tmp_path, run)
    await run.begun.wait()
    following = Screen().ask(tmp_path, never)

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    run.tell("x")
    monkeypatch.setattr(Path, "unlink", refused)
    run.result.set_result(b"done")
    assert await leading == (b"done", False)
    assert (await following).result == b"done"
    monkeypatch.undo()
    again = Run()
    again.result.set_result(b"again")
    assert await Screen().ask(tmp_path, again) == (b"again", False)


async def test_a_leader_that_never_listens_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "PATIENCE", 0.05)
    (tmp_path / "flights").mkdir()
    lock = Lock.take(tmp_path / f"flights/{KEY}.lock")
    assert lock is not None
    run = Run()
    run.result.set_result(b"done")
    assert await Screen().ask(tmp_path, run) == (b"done", False)
    lock.release()


async def test_askers_that_come_and_go_at_any_moment(
    tmp_path: Path, count: Callable[[str, int, int], int]
) -> None:
    """One run at a time, nobody without its result, and nothing shown twice."""
    chance = random.Random(5)
    running = 0

    async def lead(tell: Teller) -> bytes:
        nonlocal running
        running += 1
        assert running == 1
        try:
            for word in ("One ", "two ", "three"):
                tell(word)
                for _ in range(chance.randrange(6)):
                    await asyncio.sleep(0)
            return b"done"
        finally:
            running -= 1

    async def come(screen: Screen, delay: int) -> None:
        for _ in range(delay):
            await asyncio.sleep(0)
        assert (await fly(tmp_path, KEY, lead, screen.heard, screen.restarted)).result == b"done"
        assert (screen.text, screen.restarts) == ("One two three", 0)

    for _ in range(count("flights with askers that come and go", 20, 2000)):
        asked = [asyncio.create_task(come(Screen(), chance.randrange(30))) for _ in range(8)]
        for each in chance.sample(asked, 4):
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            each.cancel()
        async with asyncio.timeout(30):
            results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(each is None or isinstance(each, asyncio.CancelledError) for each in results)
        assert left(tmp_path) == []


# -- in many --------------------------------------------------------------------------------------


class Asker:
    """One process that asks."""

    def __init__(self, directory: Path, name: str) -> None:
        self._printed = directory / f"{name}.out"
        argv = [sys.executable, "-m", "tests.oneshot.flying", str(directory), KEY]
        files = [str(directory / "runs"), str(directory / "gate")]
        with self._printed.open("wb") as printed:
            self.process = subprocess.Popen([*argv, *files], cwd=ROOT, stdout=printed)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._printed.read_text().splitlines()]

    @property
    def text(self) -> str:
        return "".join(line.get("heard", "") for line in self.lines)


@contextmanager
def asking(directory: Path, number: int) -> Iterator[list[Asker]]:
    askers: list[Asker] = []
    try:
        askers += (Asker(directory, str(each)) for each in range(number))
        yield askers
    finally:
        for asker in askers:
            end(asker.process.pid)
            asker.process.wait()


def runs(directory: Path) -> list[int]:
    return [int(pid) for pid in (directory / "runs").read_text().split()]


def led_by(directory: Path, number: int) -> bool:
    return len(runs(directory)) == number


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", [0, 1, 3])
def test_many_processes_and_leaders_killed(
    tmp_path: Path, count: Callable[[str, int, int], int], killed: int
) -> None:
    number = count("processes that ask one question at once", 8 if killed else 16, 50)
    with asking(tmp_path, number) as askers:
        wait_until(lambda: all(each.text == "one " for each in askers), "all hear it", 60)
        for leaders in range(1, killed + 1):
            assert len(runs(tmp_path)) == leaders
            end(runs(tmp_path)[-1])
            wait_until(partial(led_by, tmp_path, leaders + 1), "another leads", 30)
        (tmp_path / "gate").touch()
        ended = [asker for asker in askers if asker.process.wait(30) == 0]
        assert len(ended) == number - killed
        assert len(runs(tmp_path)) == 1 + killed
        for asker in ended:
            *heard, result = asker.lines
            # The text once, and no word of a new beginning.
            assert "".join(line["heard"] for line in heard) == "one two"
            assert result == {"result": "the result"}
    assert left(tmp_path) == []
