"""Clocks agree, and each deadline fires once, in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from orchestrator import procfs
from orchestrator.sources import clock
from orchestrator.sources.clock import Deadlines
from orchestrator.sources.reading import stamp_of


def test_now_is_both_clocks() -> None:
    at, mono = clock.now()
    assert abs(at - time.time()) < 5
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(mono - uptime) < 5


def test_stamp_of_a_file_s_time(tmp_path: Path) -> None:
    before = clock.mono()
    file = tmp_path / "x"
    file.touch()
    at, mono = stamp_of(file.stat().st_mtime)
    assert at == file.stat().st_mtime
    # A file's time is that of the kernel's last tick.
    assert before - 0.1 <= mono <= clock.mono()


def test_stamp_of_the_past_and_the_future() -> None:
    wall, mono = clock.now()
    assert stamp_of(wall - 1000)[1] == pytest.approx(mono - 1000, abs=1)
    at, future = stamp_of(wall + 86400)
    assert at == wall + 86400
    assert mono <= future <= clock.mono()


def test_boot_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREW_BOOT_ID", raising=False)
    assert procfs.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    monkeypatch.setenv("CREW_BOOT_ID", "another")
    assert procfs.boot_id() == "another"


def test_roll_is_below_one() -> None:
    assert all(0 <= clock.roll() < 1 for _ in range(1000))


class Fired:
    """What was fired, and an awaitable wait for so many."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.early: list[str] = []
        self._more = asyncio.Event()
        self.then: Callable[[str], None] = lambda name: None

    def __call__(self, name: str, due: float) -> None:
        self.calls.append((name, due))
        if clock.mono() < due:
            self.early.append(name)
        self._more.set()
        self.then(name)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.calls) < count:
                self._more.clear()
                await self._more.wait()


@pytest.fixture
def fired() -> Fired:
    return Fired()


@pytest.fixture
async def deadlines(fired: Fired) -> AsyncIterator[Deadlines]:
    made = Deadlines(asyncio.get_running_loop(), fired)
    yield made
    made.close()


def timers() -> int:
    """Timers that the loop has and that were not cancelled."""
    return sum(not t.cancelled() for t in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined] # no public way to count them


async def test_each_fires_once_in_order(deadlines: Deadlines, fired: Fired) -> None:
    start = clock.mono()
    wanted = {f"d{n}": start + 0.02 + 0.002 * ((n * 7) % 20) for n in range(20)}
    deadlines.follow(wanted)
    assert timers() == 1
    await fired.wait_for(20)
    assert fired.calls == sorted(wanted.items(), key=lambda item: item[1])
    assert fired.early == []
    assert timers() == 0
    # Handed over again by a loop that has not come to them yet.
    deadlines.follow(dict(wanted))
    deadlines.follow({**wanted, "last": clock.mono()})
    await fired.wait_for(21)
    assert fired.names[20:] == ["last"]


async def test_another_time_for_the_same_name_fires_again(
    deadlines: Deadlines, fired: Fired
) -> None:
    first = clock.mono() - 1
    deadlines.follow({"a": first})
    await fired.wait_for(1)
    second = clock.mono() + 0.01
    deadlines.follow({"a": second})
    await fired.wait_for(2)
    assert fired.calls == [("a", first), ("a", second)]
    # Gone in between: the same instant counts as another one.
    deadlines.follow({})
    deadlines.follow({"a": second})
    await fired.wait_for(3)


async def test_a_changed_mapping_takes_the_timer_with_it(
    deadlines: Deadlines, fired: Fired
) -> None:
    deadlines.follow({"far": clock.mono() + 1000})
    assert timers() == 1
    deadlines.follow({"far": clock.mono() + 1000, "near": clock.mono() + 0.01})
    assert timers() == 1
    await fired.wait_for(1)
    assert fired.names == ["near"]
    deadlines.follow({})
    assert timers() == 0


async def test_the_same_mapping_costs_nothing(deadlines: Deadlines, fired: Fired) -> None:
    wanted = {f"d{n}": clock.mono() + 1000 + n for n in range(1000)}
    deadlines.follow(wanted)
    handle = deadlines._timer
    start = time.thread_time()
    for _ in range(1000):
        deadlines.follow(wanted)
    assert time.thread_time() - start < 0.05
    deadlines.follow({**wanted, "later": clock.mono() + 5000})
    assert deadlines._timer is handle


async def test_dropped_by_the_call_before_it(deadlines: Deadlines, fired: Fired) -> None:
    now = clock.mono() - 1
    fired.then = lambda name: deadlines.follow({"c": now + 0.3})
    deadlines.follow({"a": now, "b": now + 0.1, "c": now + 0.2})
    await fired.wait_for(2)
    assert fired.calls == [("a", now), ("c", now + 0.3)]


async def test_a_call_that_fails_leaves_the_others(deadlines: Deadlines, fired: Fired) -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))

    def fail(name: str) -> None:
        if name == "a":
            raise RuntimeError("no")

    fired.then = fail
    now = clock.mono() - 1
    deadlines.follow({"a": now, "b": now + 0.1})
    await fired.wait_for(2)
    assert fired.names == ["a", "b"]
    assert told == ["no"]


async def test_no_timer_is_set_further_ahead_than_a_suspend_may_delay(
    deadlines: Deadlines, fired: Fired
) -> None:
    deadlines.follow({"far": clock.mono() + 10_000})
    assert deadlines._timer is not None
    ahead = deadlines._timer.when() - asyncio.get_running_loop().time()
    assert ahead <= clock.LONGEST
    deadlines._look()
    assert fired.calls == []
    assert timers() == 2  # The one that was acted out, and the next.
