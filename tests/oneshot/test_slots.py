"""So many runs at once, in turn, whoever dies."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.oneshot.locks import Lock, any_free
from orchestrator.oneshot.slots import (
    PRIORITIES,
    Priority,
    QueueFull,
    Slots,
    Urgency,
    default_parallel,
)
from tests.checkouts import ROOT
from tests.support import end, wait_until


def tickets(directory: Path) -> int:
    queue = directory / "queue"
    return len(list(queue.iterdir())) if queue.exists() else 0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def left(directory: Path) -> list[str]:
    return [each.name for each in directory.rglob("*") if not each.is_dir()]


async def until(predicate: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not predicate():
            await asyncio.sleep(0.002)


class Work:
    """Runs that hold their slots until a test lets them go."""

    def __init__(self, directory: Path, parallel: int, length: int = 1000) -> None:
        self.directory = directory
        self._slots = Slots(directory, parallel, length)
        self._names: list[str] = []
        self.running: list[str] = []
        self.began: list[str] = []
        self.urgency: dict[str, Urgency] = {}
        self._go: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def _run(self, name: str) -> None:
        async with self._slots.slot(self.urgency[name]) as waited:
            assert waited >= 0
            self.running.append(name)
            self.began.append(name)
            await self._go[name].wait()
            self.running.remove(name)

    async def add(self, name: str, priority: Priority = "normal") -> asyncio.Task[None]:
        """Returns once it runs or has queued up, or was refused."""
        self._go[name] = asyncio.Event()
        self.urgency[name] = Urgency(priority)
        task = self._tasks[name] = asyncio.create_task(self._run(name))
        before = tickets(self.directory)
        await until(lambda: name in self.running or task.done() or tickets(self.directory) > before)
        return task

    async def let_go(self, name: str) -> None:
        self._go[name].set()
        await self._tasks[name]

    async def __aenter__(self) -> "Work":
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        assert left(self.directory) == []


# -- locks ----------------------------------------------------------------------------------------


async def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock.take(path)
    assert lock is not None
    assert Lock.take(path) is None
    assert not Lock.is_free(path)
    waiting = asyncio.create_task(any_free([path]))
    await asyncio.sleep(0)
    assert not waiting.done()
    lock.release()
    async with asyncio.timeout(30):
        await waiting
    again = Lock.take(path)
    assert again is not None
    again.release()
    assert left(tmp_path) == []


async def test_a_lock_whose_file_was_taken_away_spares_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = Lock.take(path)
    assert first is not None
    path.unlink()
    second = Lock.take(path)
    assert second is not None
    first.release()
    assert not Lock.is_free(path)
    second.release()


async def test_waiting_for_many_locks_takes_the_first_that_is_free(tmp_path: Path) -> None:
    locks = [Lock.take(tmp_path / str(number)) for number in range(3)]
    waiting = [asyncio.create_task(any_free(tmp_path.iterdir())) for _ in range(5)]
    await asyncio.sleep(0)
    assert locks[1] is not None
    locks[1].release()
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)
    for lock in (locks[0], locks[2]):
        assert lock is not None
        lock.release()


async def test_no_end_of_a_lock_is_missed(
    tmp_path: Path, count: Callable[[str, int, int], int]
) -> None:
    """Many take one lock, hold it for a moment, and wait for it: none waits for ever."""
    path = tmp_path / "lock"
    holders = 0

    async def work(turns: int) -> None:
        nonlocal holders
        while turns:
            lock = Lock.take(path)
            if lock is None:
                await any_free([path])
                continue
            holders += 1
            assert holders == 1
            await asyncio.sleep(0)
            holders -= 1
            lock.release()
            turns -= 1

    turns = count("a lock that many want, taken", 10, 500)
    async with asyncio.timeout(50):
        await asyncio.gather(*(work(turns) for _ in range(20)))


# -- in one process -------------------------------------------------------------------------------


async def test_no_more_than_may_run_at_once(tmp_path: Path) -> None:
    most = running = 0

    async def work() -> None:
        nonlocal most, running
        async with Slots(tmp_path, 3, 1000).slot(Urgency("normal")):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(work() for _ in range(40)))
    assert most == 3
    assert left(tmp_path) == []


async def test_a_run_that_fails_lets_go_of_its_slot(tmp_path: Path) -> None:
    slots = Slots(tmp_path, 1, 0)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            async with slots.slot(Urgency("normal")):
                raise RuntimeError
    assert left(tmp_path) == []


@given(st.lists(st.sampled_from(PRIORITIES), max_size=8), st.randoms())
def test_served_by_priority_then_in_turn(given: list[Priority], chance: random.Random) -> None:
    async def act(directory: Path) -> None:
        async with Work(directory, 1) as work:
            await work.add("first")
            for number, priority in enumerate(given):
                await work.add(str(number), priority)
            # Some of those that wait leave.
            leaving = set(chance.sample(range(len(given)), len(given) // 3))
            for number in leaving:
                work._tasks[str(number)].cancel()
            staying = [number for number in range(len(given)) if number not in leaving]
            for _ in staying:
                await work.let_go(work.running[0])
                await until(lambda: work.running)
            turns = sorted(staying, key=lambda number: PRIORITIES.index(given[number]))
            assert work.began == ["first", *map(str, turns)]

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(act(Path(directory)))


async def test_a_higher_priority_goes_before_one_that_was_next(tmp_path: Path) -> None:
    async with Work(tmp_path, 2) as work:
        for name in ("a", "b", "c"):
            await work.add(name)
        await work.add("urgent", "high")
        await work.let_go("b")
        await until(lambda: len(work.running) == 2)
        assert work.running == ["a", "urgent"]


async def test_one_that_somebody_more_urgent_waits_for_moves_up(tmp_path: Path) -> None:
    async with Work(tmp_path, 1, length=3) as work:
        await work.add("a", "high")
        await work.add("warm", "low")
        await work.add("b")
        await work.add("c")
        # The queue is full: who waits already is not refused, wherever it moves to.
        work.urgency["warm"].also(PRIORITIES.index("high"))
        work.urgency["warm"].also(PRIORITIES.index("normal"))
        await until((tmp_path / "queue" / "high-1").exists)
        await until(lambda: tickets(tmp_path) == 3)
        for name in ("a", "warm", "b", "c"):
            await until(partial(work.running.__eq__, [name]))
            await work.let_go(name)
    assert left(tmp_path) == []


async def test_refused_when_as_many_wait_as_may(tmp_path: Path) -> None:
    async with Work(tmp_path, 2, length=2) as work:
        for name in ("a", "b", "c", "d"):
            await work.add(name)
        refused = await work.add("e", "high")
        with pytest.raises(QueueFull) as caught:
            await refused
        assert str(caught.value) == (
            "2 questions are being answered and 2 wait, which is as many as may: ask again later, "
            "or set `queue` above 2"
        )
        await work.let_go("a")
        await until(lambda: "c" in work.running)
        await work.add("f")
        await work.let_go("b")
        await until(lambda: "d" in work.running)


async def test_no_queue_at_all(tmp_path: Path) -> None:
    async with Work(tmp_path, 1, length=0) as work:
        await work.add("a")
        with pytest.raises(QueueFull):
            await (await work.add("b"))
        await work.let_go("a")
        await work.add("c")
        assert work.running == ["c"]


async def test_one_that_leaves_the_queue_leaves_nothing(tmp_path: Path) -> None:
    async with Work(tmp_path, 1) as work:
        await work.add("a")
        before = descriptors()
        leaving = await work.add("b")
        await work.add("c")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert tickets(tmp_path) == 1
        await work.let_go("a")
        await until(lambda: work.running == ["c"])
        # What something else has let go of meanwhile is not missed.
        assert descriptors() <= before


async def test_where_no_files_can_be_made_each_goes_ahead(tmp_path: Path) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()
    async with (
        Slots(no_directory, 1, 0).slot(Urgency("low")) as one,
        Slots(no_directory, 1, 0).slot(Urgency("low")) as other,
    ):
        assert max(one, other) < 10


async def test_what_is_no_ticket_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    for name in ("low", "normal-", "urgent-1", "high-x", "notes.txt"):
        (tmp_path / "queue" / name).touch()
    async with asyncio.timeout(30), Slots(tmp_path, 1, 0).slot(Urgency("low")):
        pass


def test_as_many_as_the_machine_takes() -> None:
    cores = len(os.sched_getaffinity(0))
    assert 1 <= default_parallel() <= min(4 * cores, 32)


# -- in many --------------------------------------------------------------------------------------


class Runner:
    """One process, which holds its slot until it is told to end."""

    def __init__(self, directory: Path, parallel: int, length: int, priority: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.oneshot.queueing"),
                *(str(directory), str(parallel), str(length), priority),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._said = b""

    @property
    def said(self) -> str:
        assert self.process.stdout is not None
        self._said += self.process.stdout.read() or b""
        return self._said.decode().strip()

    def finish(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


class Runners:
    def __init__(self, directory: Path, parallel: int, length: int) -> None:
        self.directory = directory
        self._figures = parallel, length
        self.all: list[Runner] = []

    def add(self, priority: Priority = "normal", *, says: str = "in") -> Runner:
        """Returns once it says that; one that `waits` once it has its place."""
        before = self.waiting
        runner = Runner(self.directory, *self._figures, priority)
        self.all.append(runner)
        if says == "waits":
            wait_until(lambda: self.waiting - before, "it has its place", 30)
        else:
            wait_until(lambda: runner.said == says, says, 30)
        return runner

    @property
    def waiting(self) -> set[str]:
        """The names of all tickets."""
        queue = self.directory / "queue"
        return {each.name for each in queue.iterdir()} if queue.exists() else set()


@pytest.fixture
def runners(tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(tmp_path, 2, 3)
    yield runners
    for each in runners.all:
        end(each.process.pid)
        each.process.communicate()


def test_whoever_is_killed_makes_room_at_once(runners: Runners) -> None:
    a, b = runners.add(), runners.add()
    c, d, e = (runners.add(says="waits") for _ in range(3))
    runners.add("high", says="full")
    end(d.process.pid)  # waits
    d.process.wait()
    f = runners.add(says="waits")
    assert [each.said for each in (a, b, c, e, f)] == ["in", "in", "", "", ""]
    end(a.process.pid)  # runs
    wait_until(lambda: c.said == "in", "the next one runs")
    end(c.process.pid)
    wait_until(lambda: e.said == "in", "the one behind the one that was killed runs")
    b.finish()
    wait_until(lambda: f.said == "in", "and the last one")
    f.finish()
    e.finish()
    assert not runners.waiting


def test_ctrl_c_while_waiting_ends_at_once(runners: Runners) -> None:
    runners.add()
    runners.add()
    waiting = runners.add(says="waits")
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.process.wait(30) != 0
    assert not runners.waiting


@pytest.mark.timeout(300)
def test_killed_at_any_moment(tmp_path: Path, count: Callable[[str, int, int], int]) -> None:
    """Never more than may run, and nobody waits for one that is gone."""
    chance = random.Random(3)
    turns = count("turns of each of six processes for two slots", 50, 1000)
    argv = [sys.executable, "-m", "tests.oneshot.turning", str(tmp_path), "2"]

    def start(turns: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*argv, str(turns)], cwd=ROOT, stdout=subprocess.PIPE)

    staying = [start(turns) for _ in range(4)]
    leaving = [start(10**6) for _ in range(2)]
    try:
        for _ in range(count("processes killed while they run or wait", 6, 200)):
            number = chance.randrange(2)
            killed = leaving[number]
            assert killed.stdout is not None
            assert killed.stdout.readline() == b"at it\n"
            end(killed.pid)
            killed.communicate()
            leaving[number] = start(10**6)
        assert [each.wait(200) for each in staying] == [0, 0, 0, 0]
        assert [each.poll() for each in leaving] == [None, None]
    finally:
        for each in (*staying, *leaving):
            end(each.pid)
            each.communicate()
