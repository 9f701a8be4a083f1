"""Screens over real terminals: looked at after each write, shown whole, and left alone else."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.sources import ptys
from orchestrator.sources.ptys import Screens, Terminals
from tests import support
from tests.counts import measured
from tests.sources.test_files import until
from tests.sources.test_ptys import Heard, Pty


class Shown:
    """Screens over real terminals: what was published, and how many snapshots were taken."""

    def __init__(self, **times: float) -> None:
        self.ptys: dict[str, Pty] = {}
        self.tails: dict[str, Tail] = {}
        self.published = Heard()
        self.lines: dict[str, list[str]] = {}
        self.taken = self.wakes = 0
        self.behind = False
        # Seconds that a snapshot takes to come here.
        self.under_way = 0.0
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
        taken = (self.tails.get(name) or self.ptys[name]).read()
        if self.under_way:  # What is written from here on is not in it.
            await asyncio.sleep(self.under_way)
        return taken

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
            asyncio.get_running_loop().remove_reader(pty.master)
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
    followed = shown.screens._followed
    await until(
        lambda: all(f.wrote._waiters and not f.wrote.is_set() for f in followed.values()), "idle"
    )


async def test_trailing_look_covers_a_tmux_that_is_behind(shown: Shown) -> None:
    pty = shown.add("a")
    await shown.published.count(1)
    await idle(shown)
    shown.behind = True
    pty.write("late")
    await shown.shows("a", "late")
    assert not shown.behind


# Writes of random sizes, in bursts with random pauses, from a process of its own. After each burst
# it says how far it is, and goes on when it is told to.
WRITES = """
import os, random, sys, time
path, seed, writes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance, terminal, done = random.Random(seed), os.open(path, os.O_WRONLY | os.O_NOCTTY), 0
while done < writes:
    for _ in range(min(chance.choice((1, 1, 1, 2, 5)), writes - done)):
        os.write(terminal, b"." * int(chance.random() ** 4 * 3000) + b"<%d>" % done)
        done += 1
        if chance.random() < 0.7:
            time.sleep(chance.random() ** 3 * 0.01)
    print(done - 1, flush=True)
    sys.stdin.readline()
"""
# Characters that a screen holds: what was written before has scrolled off.
HOLDS = 4000
TERMINALS = 4


class Tail:
    """The end of what was written to a terminal, which is read at once, as tmux does."""

    def __init__(self, pty: Pty) -> None:
        self._pty = pty
        asyncio.get_running_loop().add_reader(pty.master, self.read)

    def read(self) -> list[str]:
        shown = self._pty.read()
        self._pty.text = self._pty.text[-HOLDS:]
        return shown


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Every core has something else to do."""
    argv = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(argv) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


async def written_and_shown(shown: Shown, name: str, seed: int, writes: int) -> int:
    """Let a process write to this terminal; how many of its last writes were never shown."""
    missed = 0
    script = [sys.executable, "-c", WRITES, shown.ptys[name].path, str(seed), str(writes)]
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*script, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    while last := await process.stdout.readline():
        try:
            await shown.shows(name, f"<{int(last)}>")
        except AssertionError:
            missed += 1
            shown.screens.written(name)  # It is looked at: the next one is not missed for this.
        process.stdin.write(b"\n")
    assert await process.wait() == 0
    return missed


@pytest.mark.timeout(900)
async def test_no_random_write_is_missed_while_the_machine_is_loaded(
    count: Callable[[str, int, int], int],
) -> None:
    """The last write of a burst is on the screen that was published last, with no other to come."""
    each = count("random writes to terminals", 1000, 10_000) // TERMINALS
    shown = Shown(quiet=0.001, bound=0.004, pace=0.001)
    shown.under_way = 0.0005
    for n in range(TERMINALS):
        shown.tails[f"a{n}"] = Tail(shown.add(f"a{n}"))
    with busy():
        missed = await asyncio.gather(
            *(written_and_shown(shown, name, n, each) for n, name in enumerate(shown.ptys))
        )
    measured("missed wake-ups", sum(missed), "")
    assert sum(missed) == 0
    # A look for a write or two, and not one for each turn of a loop.
    assert shown.taken < 3 * TERMINALS * each + 100
    await idle(shown)
    shown.close()


async def test_a_flood_costs_few_looks_and_wake_ups(shown: Shown) -> None:
    pty = shown.add("a")
    await shown.published.count(1)
    loop = asyncio.get_running_loop()
    taken, wakes, start, writes = shown.taken, shown.wakes, loop.time(), 0
    while loop.time() - start < 1.0 or writes < 500:
        pty.write(f"{writes};")
        writes += 1
        await asyncio.sleep(0)
    took = loop.time() - start
    assert shown.taken - taken <= 5 * took
    assert shown.wakes - wakes <= 30 * took
    await shown.shows("a", f"{writes - 1};")


async def test_many_that_move_at_once_share_the_looks(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ptys, "AT_MOST", 10)
    panes = {f"a{n}": shown.add(f"a{n}") for n in range(10)}
    await shown.published.until(lambda: len(shown.lines) == 10, "all are shown")
    loop = asyncio.get_running_loop()
    taken, start, writes = shown.taken, loop.time(), 0
    while loop.time() - start < 3.0:
        for pty in panes.values():
            pty.write(f"{writes};")
        writes += 1
        await asyncio.sleep(0)
    # As many a second, and one of each that was due when this began.
    assert shown.taken - taken <= 10 * (loop.time() - start) + 10
    for name in panes:
        await shown.shows(name, f"{writes - 1};")


async def test_a_redraw_is_shown_whole() -> None:
    shown = Shown(quiet=0.2, bound=10, pace=0.01)
    pty = shown.add("a")
    await shown.published.count(1)
    await idle(shown)
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
        # The old name may become that of the next one, which two cannot follow.
        shown.screens.unfollow(name)
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
    await asyncio.wait_for(failing.wait(), 20)
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
