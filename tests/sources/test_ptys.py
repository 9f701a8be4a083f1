"""Real terminals: each write wakes once, none is missed, and an idle one costs nothing."""

import asyncio
import os
import random
import subprocess
import sys
import tty as terminal_modes
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from asyncinotify import Event, Mask

from orchestrator.sources import ptys
from orchestrator.sources.ptys import Screens, Terminals
from tests import support
from tests.counts import cannot


class Pty:
    """A terminal with both of its ends: the agent's, and the one that tmux would read."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        terminal_modes.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)
        self.text = b""

    def write(self, text: str) -> None:
        self.read()
        os.write(self.slave, text.encode())

    def read(self) -> list[str]:
        """All lines so far, as the terminal's reader has them."""
        while True:
            try:
                self.text += os.read(self.master, 65536)
            except BlockingIOError:
                return self.text.decode().split("\n")

    def close(self) -> None:
        os.close(self.slave)
        os.close(self.master)


class Heard:
    """Names told, and a wait for a condition on them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self._more.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(20):
                while not condition():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"not in time: {what}; told: {self.names[-5:]}") from None

    async def count(self, count: int) -> None:
        await self.until(lambda: len(self.names) >= count, f"{count} calls")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def pty() -> Iterator[Pty]:
    made = Pty()
    yield made
    made.close()


@pytest.fixture
async def terminals(heard: Heard) -> AsyncIterator[Terminals]:
    made = Terminals(asyncio.get_running_loop(), heard, report=pytest.fail)
    yield made
    made.close()


async def drained(terminals: Terminals) -> None:
    """Read what the kernel has queued by now; it queues an event within the write itself."""
    terminals._drain()


# -- terminals -------------------------------------------------------------------------------------


async def test_one_call_per_arming(terminals: Terminals, heard: Heard, pty: Pty) -> None:
    terminals.arm("a", pty.path)
    for _ in range(50):
        pty.write("x")
    await heard.count(1)
    pty.write("x")
    await drained(terminals)
    assert heard.names == ["a"]
    terminals.arm("a", pty.path)
    terminals.arm("a", pty.path)
    pty.write("x")
    await heard.count(2)
    await drained(terminals)
    assert heard.names == ["a", "a"]


async def test_1000_writes_are_1000_calls(terminals: Terminals, heard: Heard, pty: Pty) -> None:
    for n in range(1000):
        terminals.arm("a", pty.path)
        pty.write(f"{n}\n")
        await heard.count(n + 1)
    assert len(heard.names) == 1000
    assert terminals._agents == {}
    assert terminals._inotify is not None
    assert terminals._inotify.watches == []  # One-shot watches leave nothing behind.


async def test_each_terminal_wakes_its_own_agent(terminals: Terminals, heard: Heard) -> None:
    made = {f"a{n}": Pty() for n in range(20)}
    for name, pty in made.items():
        terminals.arm(name, pty.path)
    terminals.disarm("a3")
    terminals.disarm("nobody")
    for pty in made.values():
        pty.write("x")
    await heard.count(19)
    await drained(terminals)
    assert sorted(heard.names) == sorted(set(made) - {"a3"})
    for pty in made.values():
        pty.close()


async def test_disarmed_after_the_write_is_not_told(
    terminals: Terminals, heard: Heard, pty: Pty
) -> None:
    terminals.arm("a", pty.path)
    pty.write("x")
    terminals.disarm("a")
    await drained(terminals)
    assert heard.names == []
    terminals.arm("a", pty.path)
    pty.write("x")
    await heard.count(1)


async def test_reading_and_typing_are_no_writes(
    terminals: Terminals, heard: Heard, pty: Pty
) -> None:
    pty.write("x")
    terminals.arm("a", pty.path)
    pty.read()
    os.write(pty.master, b"typed")
    assert os.read(pty.slave, 100) == b"typed"
    await drained(terminals)
    assert heard.names == []


async def test_a_closed_terminal_is_told_once_and_can_come_back(
    terminals: Terminals, heard: Heard
) -> None:
    pty = Pty()
    terminals.arm("a", pty.path)
    pty.close()
    await heard.count(1)
    terminals.arm("a", pty.path)  # No such file: nothing is armed.
    assert terminals._armed == {}
    again = Pty()
    terminals.arm("a", again.path)
    again.write("x")
    await heard.count(2)
    assert heard.names == ["a", "a"]
    again.close()


async def test_an_error_in_one_call_does_not_lose_the_others(heard: Heard) -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))

    def on_write(name: str) -> None:
        heard(name)
        if name == "a0":
            raise RuntimeError("no")

    terminals = Terminals(loop, on_write, report=pytest.fail)
    made = [Pty() for _ in range(5)]
    for n, pty in enumerate(made):
        terminals.arm(f"a{n}", pty.path)
    for pty in made:
        pty.write("x")
    await heard.count(5)
    assert heard.names == [f"a{n}" for n in range(5)]
    assert told == ["no"]
    terminals.close()
    for pty in made:
        pty.close()


async def test_after_an_overflow_every_armed_terminal_is_doubted(
    terminals: Terminals, heard: Heard, pty: Pty
) -> None:
    other = Pty()
    terminals.arm("a", pty.path)
    terminals.arm("b", other.path)
    terminals._take(Event(None, Mask.Q_OVERFLOW, 0, None))
    assert heard.names == ["a", "b"]
    terminals.arm("a", pty.path)
    pty.write("x")
    await heard.count(3)
    assert heard.names == ["a", "b", "a"]
    other.close()


LIMITED = """
import asyncio, os, sys
from orchestrator.sources import ptys
from orchestrator.sources.ptys import Terminals

ptys.LOOK_EVERY = 0.05

async def main():
    told, reports = [], []
    more = asyncio.Event()
    def on_write(name):
        told.append(name)
        if len(told) >= 2:
            more.set()
    terminals = Terminals(asyncio.get_running_loop(), on_write, reports.append)
    pairs = [os.openpty() for _ in range(2)]
    for n, (_, slave) in enumerate(pairs):
        terminals.arm(f"a{n}", os.ttyname(slave))
    for _, slave in pairs:
        os.write(slave, b"x")
    async with asyncio.timeout(10):
        await more.wait()
    terminals.close()
    assert sorted(told) == ["a0", "a1"], told
    assert len(reports) == 1 and "fs.inotify" in reports[0], reports

asyncio.run(main())
"""


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_where_watches_are_used_up_a_timer_does(limit: str) -> None:
    # In a user namespace of its own, so that nobody else's watches are used up.
    script = f'echo {0} > /proc/sys/user/{limit} && exec "$0" -c "$1"'
    argv = ["unshare", "-Ur", "sh", "-c", script, sys.executable, LIMITED]
    if subprocess.run(["unshare", "-Ur", "true"], check=False).returncode != 0:
        cannot("no user namespaces for us")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


# -- screens ---------------------------------------------------------------------------------------


class Shown:
    """Screens over real terminals: what was published, and how many snapshots were taken."""

    def __init__(self, **times: float) -> None:
        self.ptys: dict[str, Pty] = {}
        self.published = Heard()
        self.lines: dict[str, list[str]] = {}
        self.taken = self.wakes = 0
        self.behind = False
        loop = asyncio.get_running_loop()
        # Each of the two needs the other: `screens` is looked up when something is written.
        self.terminals = Terminals(loop, self.written, pytest.fail)
        self.screens = Screens(loop, self.terminals, self.snapshot, self.publish, **times)

    def add(self, name: str) -> Pty:
        pty = self.ptys[name] = Pty()
        self.screens.follow(name, pty.path)
        return pty

    def written(self, name: str) -> None:
        self.wakes += 1
        self.screens.written(name)

    async def snapshot(self, name: str) -> list[str] | None:
        self.taken += 1
        await asyncio.sleep(0)
        if self.behind:  # As a tmux that has not read the write that woke us.
            self.behind = False
            return self.lines.get(name, [""])
        return self.ptys[name].read()

    def publish(self, name: str, lines: list[str]) -> None:
        assert self.lines.get(name) != lines
        self.lines[name] = lines
        self.published(name)

    async def shows(self, name: str, text: str) -> None:
        await self.published.until(
            lambda: any(text in line for line in self.lines.get(name, ())), f"{name} shows {text}"
        )

    def close(self) -> None:
        self.screens.close()
        self.terminals.close()
        for pty in self.ptys.values():
            pty.close()


@pytest.fixture
async def shown() -> AsyncIterator[Shown]:
    made = Shown()
    yield made
    made.close()


async def test_followed_is_looked_at_then_after_writes_only(shown: Shown) -> None:
    pty = shown.add("a")
    await shown.published.count(1)
    assert shown.lines["a"] == [""]
    pty.write("one")
    await shown.shows("a", "one")
    # The trailing look finds the same, and then nothing is due: no timer is left.
    await idle(shown)
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # no public way to see them
    assert [t for t in timers if not t.cancelled()] == []
    taken = shown.taken
    assert shown.published.names == ["a", "a"]
    pty.write(" two")
    await shown.shows("a", "one two")
    assert shown.taken > taken


async def idle(shown: Shown) -> None:
    """Wait until nothing is due: each screen waits for a write, and for nothing else."""
    async with asyncio.timeout(10):
        while not all(f.wrote._waiters for f in shown.screens._followed.values()):
            await asyncio.sleep(0.005)


async def test_trailing_look_covers_a_tmux_that_is_behind(shown: Shown) -> None:
    pty = shown.add("a")
    await shown.published.count(1)
    await idle(shown)
    shown.behind = True
    pty.write("late")
    await shown.shows("a", "late")
    assert not shown.behind


async def test_1000_random_writes_and_none_is_missed() -> None:
    shown = Shown(quiet=0.001, bound=0.004, pace=0.001)
    random_ = random.Random(7)
    pty = shown.add("a")
    for n in range(1000):
        pty.write(f"{n};")
        if random_.random() < 0.3:
            await asyncio.sleep(random_.random() * 0.005)
        if random_.random() < 0.2:
            await shown.shows("a", f"{n};")
    await shown.shows("a", "999;")
    assert shown.taken < 3000
    await idle(shown)
    shown.close()


async def test_a_flood_costs_few_looks_and_wake_ups(shown: Shown) -> None:
    pty = shown.add("a")
    await shown.published.count(1)
    loop = asyncio.get_running_loop()
    taken, wakes, start, writes = shown.taken, shown.wakes, loop.time(), 0
    while loop.time() - start < 1.0:
        pty.write(f"{writes};")
        writes += 1
        await asyncio.sleep(0)
    assert writes > 500
    assert shown.taken - taken <= 5
    assert shown.wakes - wakes <= 30
    await shown.shows("a", f"{writes - 1};")


async def test_a_redraw_is_shown_whole() -> None:
    shown = Shown(quiet=0.2, bound=10, pace=0.01)
    pty = shown.add("a")
    await shown.published.count(1)
    for part in "redraw":
        pty.write(part)
        await asyncio.sleep(0)
    await shown.shows("a", "redraw")
    assert len(shown.published.names) == 2
    shown.close()


async def test_unfollowed_is_not_looked_at(shown: Shown) -> None:
    pty, other = shown.add("a"), shown.add("b")
    await shown.published.count(2)
    await idle(shown)
    shown.screens.unfollow("a")
    shown.screens.unfollow("nobody")
    pty.write("x")
    other.write("y")
    await shown.shows("b", "y")
    await idle(shown)
    assert shown.lines["a"] == [""]
    shown.screens.follow("a", pty.path)
    await shown.shows("a", "x")


async def test_a_new_terminal_of_the_same_name(shown: Shown) -> None:
    # The kernel gives the lowest free number, so another process may have been quicker.
    for attempt in range(100):
        name = f"a{attempt}"
        old = shown.add(name)
        await shown.published.count(attempt + 1)
        await idle(shown)
        old.close()
        new = shown.ptys[name] = Pty()
        if new.path == old.path:
            break
    assert new.path == old.path
    shown.screens.follow(name, new.path)
    await idle(shown)
    new.write("here again")
    await shown.shows(name, "here again")


async def test_no_snapshot_is_no_empty_screen(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    pty = shown.add("a")
    pty.write("one")
    await shown.shows("a", "one")
    await idle(shown)
    failing = asyncio.Event()

    async def none(name: str) -> None:
        failing.set()

    monkeypatch.setattr(shown.screens, "_snapshot", none)
    pty.write(" two")
    await asyncio.wait_for(failing.wait(), 10)
    assert shown.lines["a"] == ["one"]
    monkeypatch.setattr(shown.screens, "_snapshot", shown.snapshot)
    await shown.shows("a", "one two")


async def test_a_watch_that_fails_is_told(shown: Shown) -> None:
    told = Heard()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told(f"{context['message']}"))
    shown.add("a")
    await shown.published.count(1)
    shown.screens._publish = lambda *_: 1 / 0  # type: ignore[assignment] # acts out a mistake
    shown.ptys["a"].write("x")
    await told.count(1)
    assert told.names == ["the screen of a is not followed any more"]
    assert shown.screens._followed == {}


# -- a real pane -----------------------------------------------------------------------------------


@pytest.fixture
def tmux(home: Path) -> Iterator[Callable[..., str]]:
    def run(*argv: str) -> str:
        command = ["tmux", "-S", str(home / "s"), "-f", "/dev/null", *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("new-session", "-d", "-x", "80", "-y", "24", "--", "cat")
    server = int(run("display-message", "-p", "#{pid}"))
    yield run
    support.end(int(run("display-message", "-p", "#{pane_pid}")))
    subprocess.run(["tmux", "-S", str(home / "s"), "kill-server"], check=False, capture_output=True)
    support.wait_until(lambda: not support.alive(server), "the tmux server is gone")


async def test_a_tmux_pane(tmux: Callable[..., str]) -> None:
    pane, tty = tmux("display-message", "-p", "#{pane_id} #{pane_tty}").split()
    published = Heard()
    screen: list[str] = []

    async def snapshot(name: str) -> list[str] | None:
        return (await asyncio.to_thread(tmux, "capture-pane", "-p", "-t", pane)).split("\n")

    def publish(name: str, lines: list[str]) -> None:
        screen[:] = lines
        published(name)

    loop = asyncio.get_running_loop()

    def written(name: str) -> None:
        screens.written(name)

    terminals = Terminals(loop, written, pytest.fail)
    screens = Screens(loop, terminals, snapshot, publish)
    screens.follow("a", tty)
    for word in ("first", "second", "third"):
        await asyncio.to_thread(tmux, "send-keys", "-t", pane, "-l", f"{word}\n")
        # Once typed, which is the kernel's echo, and once written by the process.
        await published.until(lambda word=word: screen.count(word) == 2, word)  # type: ignore[misc] # a default binds the loop's variable
    screens.close()
    terminals.close()


def test_the_times_are_the_documented_ones() -> None:
    assert (ptys.QUIET, ptys.BOUND) == (0.05, 0.25)
