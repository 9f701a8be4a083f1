"""Snapshots that go wrong, against a real tmux: what did not arrive whole is no screen.

A reader follows a pane's terminal as the supervisor does. While a fault lasts it is told nothing,
and no empty screen; calls get their own answers; afterwards it has the right screen by itself.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import count as count_up
from pathlib import Path

import pytest

from orchestrator.core.state import Process, World
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.locations import SessionPaths
from orchestrator.sources.ptys import Screens, Terminals
from orchestrator.tmux import rows
from orchestrator.tmux.control import Control
from orchestrator.tmux.protocol import Block
from orchestrator.viewing import Viewing
from tests.core.worlds import agent_spec, running
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.end_to_end.conftest import crew as crew
from tests.support import wait_until
from tests.tmux.conftest import Heard, connect, program_pane, until
from tests.tmux.test_control import ECHO, Linked, memory_files
from tests.tmux.test_control import linked as linked

Fault = Callable[[], AbstractContextManager[None]]
# Seconds that a busy machine may take for what takes milliseconds.
LONG = 60.0


class Reader:
    """A pane that the test writes to, and what whoever follows its screen gets."""

    def __init__(self, control: Control, pane: str, tty: str) -> None:
        self.control = control
        self.pane = pane
        self.published: list[list[str]] = []
        self.failed = 0
        self._tty = os.open(tty, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        loop = asyncio.get_running_loop()
        self._terminals = Terminals(loop, self._written, pytest.fail)
        self._screens = Screens(loop, self._terminals, self._snapshot, self._publish)
        self._screens.follow("a", tty)

    @classmethod
    async def of(cls, control: Control) -> "Reader":
        made = ["new-window", "-d", "-t", "=_crew:", "-P", "-F", "#{pane_id}", "cat", "-"]
        (lines,) = await control.run(made)
        pane = lines[0].decode()
        found = await rows.look(control, pane, "pane_tty")
        assert found is not None
        return cls(control, pane, found[0])

    def _written(self, name: str) -> None:
        self._screens.written(name)

    async def _snapshot(self, name: str) -> list[str] | None:
        lines = None
        try:
            lines = await self.control.snapshot(self.pane)
        finally:
            self.failed += lines is None
        return lines

    def _publish(self, name: str, lines: list[str]) -> None:
        self.published.append(lines)

    def write(self, text: str) -> None:
        os.write(self._tty, text.replace("\n", "\r\n").encode())

    def has(self, text: str) -> bool:
        return bool(self.published) and text in self.published[-1]

    async def shows(self, text: str) -> None:
        async def look() -> bool:
            return self.has(text)

        await until(look, f"{text!r} is shown", LONG)

    async def fails(self) -> None:
        """Wait until a look that began from now on has shown nothing."""
        wanted = self.failed + 2

        async def look() -> bool:
            return self.failed >= wanted

        await until(look, "a look shows nothing", LONG)

    def close(self) -> None:
        self._screens.close()
        self._terminals.close()
        os.close(self._tty)


@pytest.fixture
async def reader(control: Control) -> AsyncIterator[Reader]:
    made = await Reader.of(control)
    yield made
    made.close()


async def in_step(control: Control) -> None:
    """Many calls at once, and each gets its own answer."""
    calls = (control.run([*ECHO, f"x{n}"], [*ECHO, f"y{n}"]) for n in range(20))
    answers = await asyncio.gather(*calls)
    assert answers == [[(f"x{n}".encode(),), (f"y{n}".encode(),)] for n in range(20)]


async def nothing_left(control: Control) -> None:
    """Wait until no snapshot is under way: no memory file is open, no buffer lies in tmux."""

    async def look() -> bool:
        return memory_files() == 0 and await control.run(["list-buffers"]) == [()]

    await until(look, "nothing is left behind", LONG)


async def withstands(reader: Reader, fault: AbstractContextManager[None]) -> None:
    """Whatever the fault is: no screen but a real one, no lost step, and right again after it."""
    reader.write("before\n")
    await reader.shows("before")
    with fault:
        # More than what a disk with a little room takes.
        reader.write("".join(f"line {n}: {'=' * 60}\n" for n in range(40)) + "during\n")
        await reader.fails()
        assert not reader.has("during")
        assert all(lines[0] == "before" for lines in reader.published if any(lines))
        empty = [lines for lines in reader.published if not any(lines)]
        assert empty == [lines for lines in reader.published[:1] if not any(lines)], "only at first"
        await in_step(reader.control)
    await reader.shows("during")
    assert reader.published[-1].count("during") == 1
    assert any(line.startswith("line 39: ===") for line in reader.published[-1])
    await in_step(reader.control)
    await nothing_left(reader.control)


# -- the text does not arrive ----------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(control: Control) -> Iterator[None]:
    """What tmux writes goes where there is never room (ENOSPC)."""
    real = control._memory_file

    @contextlib.contextmanager
    def elsewhere(name: str) -> Iterator[tuple[int, str, object]]:
        with real(name) as (fd, _, lend):
            yield fd, "/dev/full", lend

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "_memory_file", elsewhere)
        yield


@contextlib.contextmanager
def refused_writes() -> Iterator[None]:
    """Each memory file is sealed: tmux can open it, and every write fails."""
    real = os.memfd_create

    def sealed(name: str, flags: int) -> int:
        fd = real(name, flags | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        return fd

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.tmux.control.os.memfd_create", sealed)
        yield


async def test_a_full_disk(reader: Reader) -> None:
    await withstands(reader, full_disk(reader.control))


async def test_a_file_that_refuses_to_be_written(reader: Reader) -> None:
    await withstands(reader, refused_writes())


@contextlib.contextmanager
def room_for(server: int, size: int) -> Iterator[None]:
    before = resource.prlimit(server, resource.RLIMIT_FSIZE)
    resource.prlimit(server, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server, resource.RLIMIT_FSIZE, before)


@pytest.fixture
def patient_tmux(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tmux that is told of a file that may not grow by an error, as of a full disk."""
    real = shutil.which("tmux")
    assert real is not None
    wrapper = home / "bin/tmux"
    wrapper.parent.mkdir()
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {real} \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=os.pathsep)


async def test_a_disk_that_fills_in_the_middle_of_a_screen(
    patient_tmux: None, server: int, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[int] = []
    real = os.pread

    def counted(fd: int, size: int, at: int) -> bytes:
        data = real(fd, size, at)
        arrived.append(len(data))
        return data

    monkeypatch.setattr("orchestrator.tmux.control.os.pread", counted)
    await withstands(reader, room_for(server, 1000))
    assert 1000 in arrived, "a part of it was there"


# -- no descriptor is left -------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_no_descriptor_is_left(reader: Reader) -> None:
    # A look may be under way at any time, with a memory file.
    before = descriptors() - memory_files()
    await withstands(reader, no_descriptors())
    with no_descriptors():
        assert await reader.control.snapshot(reader.pane) is None
        with pytest.raises(TmuxError, match="not sent: Too many open files"):
            await reader.control.paste(reader.pane, "text", ["Enter"])
        await in_step(reader.control)

    async def as_before() -> bool:
        return memory_files() == 0 and descriptors() == before

    await until(as_before, "nothing leaks", LONG)
    await reader.control.paste(reader.pane, "typed", [])
    await reader.shows("typed")


async def test_a_screen_that_somebody_looks_at_survives_that_no_descriptor_is_left(
    reader: Reader,
) -> None:
    """The live screens of the dashboard: the same faults, by their own way."""
    found = await rows.look(reader.control, reader.pane, "pane_tty")
    assert found is not None
    play = running(agent_spec("a"))
    agent = replace(play.world.agents["a"], pane=reader.pane, tty=found[0])
    world: World = replace(play.world, agents={"a": agent})
    wrong: list[str] = []
    viewing = Viewing(lambda: reader.control, lambda: world, wrong.append)
    asyncio.get_running_loop().set_exception_handler(lambda _, e: wrong.append(str(e)))
    reader.write("before\n")
    async with contextlib.aclosing(viewing.watch("a")) as frames:

        async def shows(text: str) -> None:
            async for frame in frames:
                assert frame is not None
                seen = [line for line in frame.get("lines", ()) if line]
                assert not seen or seen[0] == "before"
                if text in seen:
                    return

        await asyncio.wait_for(shows("before"), LONG)
        with no_descriptors():
            reader.write("during\n")
            await reader.fails()
        await asyncio.wait_for(shows("during"), LONG)
    viewing.close()
    assert wrong == []


async def test_the_client_ends_while_no_descriptor_is_left(linked: Linked) -> None:
    """Nobody can be connected then; as soon as there are some again, it is."""
    link, told = linked.link, linked.told
    tried: list[Process] = []
    connect = link.connect

    async def counted(server: Process) -> None:
        tried.append(server)
        await connect(server)

    async def enough() -> bool:
        return len(tried) >= 3

    async def back() -> bool:
        return "back" in told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "connect", counted)
        with no_descriptors():
            os.kill(link.control.pid, 9)
            await until(enough, "it is tried again and again", LONG)
        await until(back, "it is connected again", LONG)
    assert told == ["away", "back"]
    await in_step(link.control)


# -- tmux says no in the middle of it --------------------------------------------------------------

MIDDLE = {
    "its buffer is gone after the capture": ("after-capture-pane", "delete-buffer -b {buffer}"),
    "its buffer is gone before it is saved": ("after-list-buffers", "delete-buffer -b {buffer}"),
    "its buffer is gone when it is saved": ("after-save-buffer", "delete-buffer -b {buffer}"),
    "its buffer is another": ("after-list-buffers", "set-buffer -b {buffer} other"),
}


@pytest.mark.parametrize("what", MIDDLE)
async def test_tmux_says_no_in_the_middle(
    what: str, control: Control, paths: SessionPaths, heard: Heard
) -> None:
    hook, command = MIDDLE[what]
    other = await connect(paths, heard)
    made = await Reader.of(control)
    try:
        made.write("before\n")
        await made.shows("before")
        order = command.format(buffer=control._buffer)
        await other.run(["set-hook", "-g", hook, order])
        made.write("during\n")
        await made.fails()
        assert not made.has("during")
        assert all(lines[0] == "before" for lines in made.published if any(lines))
        assert await control.snapshot(made.pane) is None
        await in_step(control)
        await other.run(["set-hook", "-gu", hook])
        await made.shows("during")
        await in_step(control)
        await nothing_left(control)
    finally:
        made.close()
        await other.close()


async def test_the_pane_goes_in_the_middle(control: Control, reader: Reader) -> None:
    """What it showed last is right, and from then on there is nothing."""
    reader.write("before\n")
    await reader.shows("before")
    await control.run(["set-hook", "-g", "after-capture-pane", f"kill-pane -t {reader.pane}"])
    last = await control.snapshot(reader.pane)
    assert last is None or last[0] == "before"
    assert await control.snapshot(reader.pane) is None
    await control.run(["set-hook", "-gu", "after-capture-pane"])
    assert all(lines[0] == "before" for lines in reader.published if any(lines))
    await in_step(control)
    await nothing_left(control)


async def for_ever(control: Control, pane: str) -> None:
    while True:
        await control.snapshot(pane)


async def test_a_server_that_is_killed_in_the_middle(
    control: Control, server: int, reader: Reader
) -> None:
    reader.write("before\n")
    await reader.shows("before")
    await control.run(["set-hook", "-g", "after-capture-pane", f"run-shell 'kill -9 {server}'"])
    with pytest.raises(TmuxGone):
        await for_ever(control, reader.pane)
    assert all(lines[0] == "before" for lines in reader.published if any(lines))
    control.forgotten()

    async def closed() -> bool:
        return memory_files() == 0

    await until(closed, "nothing is kept for it", LONG)


# -- a pane that forges tmux's own lines -----------------------------------------------------------

# Bursts of what could end an answer, a client or a window, with numbers as tmux gives them now.
FORGER = r"""
import sys, time
bursts, base = int(sys.argv[1]), int(sys.argv[2])
for n in range(bursts):
    now = int(time.time())
    for number in range(base + n, base + n + 20):
        for word in ("end", "error", "begin"):
            for flags in (0, 1):
                print(f"%{word} {now} {number} {flags}\r")
    print("%exit\r\n%window-close @0\r\n%session-changed $0 x\r")
    print("\x1b]2;%exit\x07\x1bk%exit\x1b\\\x1b]0;%window-close @1\x1b\\\x1bP%exit\x1b\\", end="")
    sys.stdout.flush()
print("\x1b[2J\x1b[Hlast", flush=True)
sys.stdin.read()
"""
FORGED = ("%end ", "%error ", "%begin ", "%exit", "%window-close @0", "%session-changed $0 x")


def is_forged(line: str) -> bool:
    """Whether it is a line of the forger; the last one may be half written."""
    return any(line.startswith(word) or word.startswith(line) for word in FORGED)


async def test_forged_lines_in_bursts_change_nothing(
    control: Control,
    heard: Heard,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[[str, int, int], int],
) -> None:
    bursts = count("bursts of forged lines while snapshots run", 300, 5000)
    program = home / "forger.py"
    program.write_text(FORGER)
    numbers: list[int] = []
    take = control._take_block

    def numbered(block: Block) -> None:
        numbers.append(block.number)
        take(block)

    monkeypatch.setattr(control, "_take_block", numbered)
    await control.run([*ECHO, "which number tmux gives its answers now"])
    first = numbers[-1]
    pane = await program_pane(control, str(program), str(bursts), str(first))
    snapshots = 0
    while True:
        lines, answer = await asyncio.gather(
            control.snapshot(pane), control.run([*ECHO, f"mine {snapshots}"])
        )
        assert answer == [(f"mine {snapshots}".encode(),)]
        assert lines is not None
        assert len(lines) == 45
        if lines[0] == "last":
            break
        assert all(is_forged(line) for line in lines), lines
        snapshots += 1
    await in_step(control)
    assert not {"exit", "window-close"} & heard.names()
    changed = [n.args for n in heard.notifications if n.name == "session-changed"]
    assert changed == [b"$0 _crew"], "the one of our own coming"
    assert heard.gone == []
    assert set(range(first, first + bursts)) & set(numbers), "some that were forged were real"
    (panes,) = await control.run(["list-panes", "-a", "-F", "#{pane_id}"])
    assert pane.encode() in panes
    await nothing_left(control)


# -- the supervisor itself -------------------------------------------------------------------------

TEAM = """
[[agents]]
name = "a"

[[agents]]
name = "s"
cli = "recorder"
env = {}
"""


def open_files(pid: int) -> int:
    return len(used_by(pid))


def used_by(pid: int) -> set[int]:
    return set(map(int, faults.listed(Path(f"/proc/{pid}/fd"))))


def test_a_supervisor_without_descriptors_takes_nothing_for_gone(crew: Crew) -> None:
    """A turn, told by hooks and by a status file, and another that only the screen tells."""
    faults.define(crew, "recorder", faults.RECORDER)
    crew.blueprint(TEAM)
    crew.up("--wait")
    wait_until(
        lambda: "SessionStart" in [e["hook"] for e in faults.journal(crew, "hook_received")],
        "the start is told",
        LONG,
    )
    view = crew.view()
    pid, before = view["supervisor"]["pid"], {a["name"]: a["pid"] for a in view["agents"]}
    panes = {a["name"]: a["pane"] for a in view["agents"]}
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    seq, opened = crew.events()[-1]["seq"], open_files(pid)

    def is_full() -> bool:
        """All below the limit are in use, also when it holds; with a lower one, what waits for
        those that there are would fail."""
        free = next(n for n in count_up() if n not in used_by(pid))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
        return used_by(pid) >= set(range(free))

    # Who has just asked may not have been let go yet.
    callers = partial(faults.connections, crew.state / "crew.sock")
    wait_until(lambda: callers() == 0, "nobody is connected", LONG)
    try:
        wait_until(is_full, "no descriptor is left", LONG)
        for name, text in (("a", "[[say: unseen]]"), ("s", "typed")):
            crew.tmux("send-keys", "-t", panes[name], "-l", text)
            crew.tmux("send-keys", "-t", panes[name], "Enter")
        shown = partial(crew.tmux, "capture-pane", "-p", "-t", panes["a"])
        wait_until(lambda: "● unseen\n" in shown(), "the turn", LONG)
        wait_until(lambda: "? for shortcuts" in shown(), "its end", LONG)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(crew.state / "crew.sock"))
            log = crew.state / "supervisor.log"
            wait_until(lambda: "out of system resource" in log.read_text(), "nobody gets in", LONG)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    crew.wait(lambda v: v["agents"][0]["detail"] == "unseen", "what happened meanwhile is known")
    view = crew.wait_status(a="ready", s="ready")
    assert {a["name"]: a["pid"] for a in view["agents"]} == before
    assert (view["supervisor"]["pid"], view["missed_events"]) == (pid, 0)
    told = faults.journal(crew, since=int(seq))
    assert not {"server_lost", "status_file_gone", "agent_spawned"} & {e["kind"] for e in told}
    hooks = [e["hook"] for e in told if e["kind"] == "hook_received" and e["agent"] == "a"]
    assert hooks == ["UserPromptSubmit", "Stop"]
    wait_until(lambda: open_files(pid) <= opened, "nothing leaks", LONG)
