"""Real terminals: each write wakes once, none is missed, and an idle one costs nothing."""

import asyncio
import os
import subprocess
import sys
import tty as terminal_modes
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from asyncinotify import Event, Mask

from orchestrator.sources.ptys import Terminals
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
    # No such file: nothing is armed. (Its own name may be that of another terminal by now.)
    terminals.arm("a", "/dev/pts/gone")
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
    async with asyncio.timeout(20):
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
