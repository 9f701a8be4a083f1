"""Real processes: watched, ended, swept, counted."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import procfs
from orchestrator.core.state import Process
from orchestrator.errors import CrewError
from orchestrator.procfs import boot_id, is_alive, process_of, start_of
from orchestrator.sources import processes
from orchestrator.sources.processes import (
    Exits,
    caller,
    end,
    sweep,
    usage,
)
from tests import support

T = TypeVar("T")
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes in sessions of their own; all are ended."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str) -> subprocess.Popen[bytes]:
        made = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)
        started.append(made)
        return made

    yield run
    for child in started:
        for pid in [*psutil.pids(), child.pid]:
            # Its number is nobody else's before it is reaped.
            if session_of(pid) == child.pid and pid != os.getpid():
                support.end(pid)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().decode().strip()


def known(child: subprocess.Popen[bytes]) -> Process:
    process = process_of(child.pid)
    assert process is not None
    return process


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-I", "-c", code)


def wrong(process: Process) -> Process:
    """The same pid, recorded of an earlier process."""
    return Process(pid=process.pid, start=process.start - 1, boot=process.boot)


def become_zombie(child: subprocess.Popen[bytes]) -> None:
    """Wait until the child has ended, and leave it unreaped."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


IGNORES_TERM = (
    "import signal, time\n"
    "for n in (signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "signal.pause()\n"
)


# -- who it is -------------------------------------------------------------------------------------


def test_process_of_a_living_dead_and_zombie_process(start: Start) -> None:
    child = start("sleep", "100")
    process = known(child)
    assert process.start == start_of(child.pid)
    assert is_alive(process)
    assert not is_alive(wrong(process))
    assert not is_alive(Process(pid=process.pid, start=process.start, boot="another boot"))
    child.kill()
    become_zombie(child)
    assert process_of(child.pid) is None
    assert not is_alive(process)
    child.wait()
    assert start_of(child.pid) is None
    assert start_of(0) is None
    assert start_of(-1) is None


def test_a_name_with_parentheses(tmp_path: Path, start: Start) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    child = start(str(odd), "100")
    support.wait_until(lambda: b"a) R 1" in Path(f"/proc/{child.pid}/stat").read_bytes(), "exec")
    assert is_alive(known(child))
    assert caller(child.pid, {os.getpid(): "its parent"}) == "its parent"


def test_reboot(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    process = known(start("sleep", "100"))
    monkeypatch.setenv("CREW_BOOT_ID", "the next boot")
    assert not is_alive(process)


# -- family ----------------------------------------------------------------------------------------


def test_caller_is_found_upwards(start: Start) -> None:
    agent = start("sh", "-c", "sh -c 'sleep 100 & echo $!; wait'; true")
    deep = int(line(agent))
    panes = {agent.pid: "worker-1", 1: "never"}
    assert caller(deep, {agent.pid: "worker-1"}) == "worker-1"
    assert caller(agent.pid, panes) == "worker-1"
    assert caller(os.getpid(), {agent.pid: "worker-1"}) is None
    os.kill(deep, signal.SIGKILL)


def test_caller_whose_parents_ended_is_still_the_agent_s(start: Start) -> None:
    # The shell in between ends at once: its child gets another parent, and stays in the session.
    agent = start("sh", "-c", "sh -c 'sleep 100 & echo $!'; sleep 100")
    orphan = int(line(agent))
    its = psutil.Process(orphan)
    support.wait_until(lambda: agent.pid not in {each.pid for each in its.parents()}, "an orphan")
    assert caller(orphan, {agent.pid: "worker-1"}) == "worker-1"
    os.kill(orphan, signal.SIGKILL)


def test_caller_that_is_gone_is_nobody_with_rights(start: Start) -> None:
    child = start("true")
    child.wait()
    with pytest.raises(CrewError, match="is gone"):
        caller(child.pid, {})
    with pytest.raises(CrewError, match="is gone"):
        caller(0, {})


# -- ending ----------------------------------------------------------------------------------------


async def test_end_asks_first(start: Start) -> None:
    child = start(
        *python(
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "print('ready', flush=True)\n"
            "signal.pause()"
        )
    )
    line(child)
    await end(known(child), grace=20)
    assert child.wait() == 7


async def test_end_of_a_stopped_process(start: Start) -> None:
    child = start("sleep", "100")
    child.send_signal(signal.SIGSTOP)
    process = known(child)
    support.wait_until(
        lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T", "stopped"
    )
    await end(process, grace=20)
    assert child.wait() == -signal.SIGTERM


async def test_end_hangs_up_on_what_ignores_the_first_signal(start: Start) -> None:
    child = start("sh", "-c", "trap '' TERM; echo ready; exec sleep 100")
    line(child)
    await end(known(child), grace=1)
    assert child.wait() == -signal.SIGHUP


async def test_end_kills_what_does_not_listen(start: Start) -> None:
    child = start(*python(IGNORES_TERM))
    line(child)
    await end(known(child), grace=0.1)
    assert child.wait() == -signal.SIGKILL


async def test_a_later_process_of_the_pid_is_left_alone(start: Start) -> None:
    child = start("sleep", "100")
    await end(wrong(known(child)), grace=0.1)
    assert child.poll() is None
    assert is_alive(known(child))
    child.kill()
    process = known_dead(child)
    await end(process, grace=0.1)


def known_dead(child: subprocess.Popen[bytes]) -> Process:
    child.wait()
    return Process(pid=child.pid, start=1, boot=boot_id())


async def test_end_where_there_is_no_pidfd(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    child = start(*python(IGNORES_TERM))
    line(child)
    process = known(child)
    await end(wrong(process), grace=0.1)
    assert child.poll() is None
    await end(process, grace=0.1)
    assert child.wait() == -signal.SIGKILL


async def test_sweep_ends_orphans_by_their_session(start: Start) -> None:
    leader = start(
        "sh",
        "-c",
        "(sh -c 'sleep 100 & echo $!; wait' &) ; (trap '' TERM; sleep 99 & echo $!) ; sleep 98",
    )
    process = known(leader)
    left = {int(line(leader)), int(line(leader))}
    other = start("sleep", "100")
    leader.kill()
    leader.wait()
    ended = await sweep(process, 0.2)
    assert left <= set(ended)
    support.wait_until(lambda: not any(map(support.alive, left)), "the orphans are gone")
    assert is_alive(known(other))
    assert await sweep(process) == ()


async def test_sweep_leaves_us_and_a_later_session_alone(start: Start) -> None:
    leader = start("sh", "-c", "sleep 100 & echo $!; wait")
    child = int(line(leader))
    assert await sweep(wrong(known(leader))) == ()
    assert support.alive(child)
    mine = process_of(os.getsid(0))
    if mine is not None:  # Led by a process outside of a container, it cannot be seen.
        assert os.getpid() not in {p.pid for p in processes._left_by(mine)}
    support.end(child)


# -- deaths ----------------------------------------------------------------------------------------


class Told:
    """What was told of exits, and a wait for so many."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, Process]] = []
        self._more = asyncio.Event()

    def __call__(self, agent: str, run: int, process: Process) -> None:
        self.calls.append((agent, run, process))
        self._more.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.calls) < count:
                self._more.clear()
                await self._more.wait()


async def settle() -> None:
    """Let the loop do what is ready."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_200_exits_are_told_once_each(start: Start) -> None:
    told = Told()
    exits = Exits(asyncio.get_running_loop(), told)
    watched: dict[str, Process] = {}
    for n in range(200):
        child = start("sleep", f"0.{n % 10}")
        watched[f"a{n}"] = process_of(child.pid) or known_dead(child)
        exits.watch(f"a{n}", n, watched[f"a{n}"])
        exits.watch(f"a{n}", n, watched[f"a{n}"])
    await told.wait_for(200)
    await settle()
    assert len(told.calls) == 200
    assert {agent: process for agent, _, process in told.calls} == watched
    # Each is known: it is not told again.
    for n in range(200):
        exits.watch(f"a{n}", n, watched[f"a{n}"])
    await settle()
    assert len(told.calls) == 200
    exits.close()


async def test_who_is_gone_already_is_told_at_once(start: Start) -> None:
    told = Told()
    exits = Exits(asyncio.get_running_loop(), told)
    living = known(start("sleep", "100"))
    exits.watch("reused", 1, wrong(living))
    dead = start("true")
    exits.watch("dead", 2, known_dead(dead))
    zombie = start("true")
    become_zombie(zombie)
    exits.watch("zombie", 3, Process(pid=zombie.pid, start=1, boot=living.boot))
    assert told.calls == []  # From the loop, never from within `watch`.
    await told.wait_for(3)
    assert [agent for agent, _, _ in told.calls] == ["reused", "dead", "zombie"]
    assert is_alive(living)
    exits.close()


async def test_unwatched_is_not_told(start: Start) -> None:
    told = Told()
    exits = Exits(asyncio.get_running_loop(), told)
    one, two, next_run = (start("sleep", "100") for _ in range(3))
    exits.watch("one", 1, known(one))
    exits.watch("two", 1, known(two))
    exits.watch("dead", 1, known_dead(start("true")))
    exits.unwatch("one")
    exits.unwatch("dead")
    exits.unwatch("nobody")
    # A watch takes the place of the earlier run's.
    exits.watch("two", 2, known(next_run))
    for child in (one, two):
        child.kill()
        child.wait()
    next_process = known(next_run)
    next_run.kill()
    await told.wait_for(1)
    await settle()
    assert told.calls == [("two", 2, next_process)]
    exits.close()


async def test_exits_without_pidfd(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(processes, "LOOK_EVERY", 0.02)
    told = Told()
    exits = Exits(asyncio.get_running_loop(), told)
    child = start("sleep", "100")
    process = known(child)
    exits.watch("a", 1, process)
    looks = asyncio.Queue[Process]()
    real = procfs.is_alive

    def counted(process: Process) -> bool:
        looks.put_nowait(process)
        return real(process)

    monkeypatch.setattr(processes, "is_alive", counted)
    async with asyncio.timeout(30):
        for _ in range(3):
            await looks.get()
    assert told.calls == []
    child.kill()
    await told.wait_for(1)
    assert told.calls == [("a", 1, process)]
    exits.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_no_descriptor_stays_open(start: Start) -> None:
    before = descriptors()
    told = Told()
    exits = Exits(asyncio.get_running_loop(), told)
    children = [start("sleep", "100") for _ in range(4)]
    pipes = descriptors() - before
    for n, child in enumerate(children):
        exits.watch(f"a{n}", 1, known(child))
        exits.watch(f"a{n}", 2, known(child))
    children[0].kill()
    await told.wait_for(1)
    await end(known(children[1]), grace=5)
    await told.wait_for(2)
    exits.close()
    assert descriptors() - before == pipes


# -- use -------------------------------------------------------------------------------------------


def test_usage_counts_the_tree(start: Start) -> None:
    tree = start("sh", "-c", "sleep 100 & sleep 100 & echo ready; wait")
    burner = start(
        *python(
            "import time\n"
            "end = time.process_time() + 0.2\n"
            "while time.process_time() < end: pass\n"
            "print('ready', flush=True)\n"
            "time.sleep(100)"
        )
    )
    line(tree), line(burner)
    found = usage(
        {"tree": known(tree), "burner": known(burner), "dead": wrong(known(tree))},
    )
    assert set(found) == {"tree", "burner"}
    assert found["tree"].children == 2
    assert found["burner"].children == 0
    assert found["burner"].cpu >= 0.15
    assert found["tree"].rss > 500_000
    for pid in {p.pid for p in processes._left_by(known(tree))}:
        support.end(pid)
    assert usage({}) == {}


SHARED = 64 << 20
SHARING = f"""
import mmap, os, signal
memory = mmap.mmap(-1, {SHARED})
memory[:] = bytes(1) * {SHARED}
for _ in range(2):
    if not os.fork():
        memory[::mmap.PAGESIZE]
        os.write(1, b"ready\\n")
        break
signal.pause()
"""


def test_memory_that_a_tree_shares_counts_once(start: Start) -> None:
    parent, other = start(*python(SHARING)), start("sleep", "100")
    line(parent), line(parent)
    trees = {"shown": known(parent), "other": known(other)}
    found = usage(trees, {"shown", "gone"})
    assert found["other"].pss is None, "nobody asked"
    assert found["shown"].children == 2
    assert found["shown"].rss >= 3 * SHARED
    pss = found["shown"].pss
    assert pss is not None
    assert SHARED <= pss < 2 * SHARED
    assert usage(trees)["shown"].pss is None


def test_a_child_that_has_ended_is_no_child_and_has_no_memory(start: Start) -> None:
    child = "import os, signal\npid = os.fork()\nif pid: print(pid, flush=True); signal.pause()"
    parent = start(*python(child))
    ended = int(line(parent))

    def is_zombie() -> bool:
        found = procfs.stat(ended)
        return found is not None and found.dead

    support.wait_until(is_zombie, "the child ended, and nobody reaped it")
    found = usage({"a": known(parent)}, {"a"})["a"]
    assert found.children == 0
    assert found.pss


@given(st.lists(st.integers(0, 1 << 40) | st.sampled_from([FileNotFoundError,
       ProcessLookupError, PermissionError]), max_size=6))  # fmt: skip
def test_memory_that_may_not_be_read_is_not_known(parts: list[int | type[OSError]]) -> None:
    def read(pid: int) -> int:
        part = parts[pid]
        if isinstance(part, int):
            return part
        raise part(pid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_own_pss", read)
        found = processes._pss(range(len(parts)))
    sizes = [part for part in parts if isinstance(part, int)]
    assert found == (sum(sizes) if sizes and PermissionError not in parts else None)


HIDING = """
import ctypes, signal
PR_SET_DUMPABLE = 4
assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
print("ready", flush=True)
signal.pause()
"""
CAPABILITY_VERSION = 0x20080522


def without_rights(look: Callable[[], T]) -> T:
    """What `look` finds in a thread that has given up all that root may do and others may not."""
    found: list[T] = []

    def run() -> None:
        nothing = (ctypes.c_uint32 * 6)()
        own = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        assert ctypes.CDLL(None).capset(own, nothing) == 0
        found.append(look())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_a_process_that_hides_its_memory(start: Start) -> None:
    """As another user's is hidden. The rest of what it uses is known."""
    child = start(*python(HIDING))
    line(child)
    hidden = known(child)
    found = without_rights(lambda: usage({"a": hidden}, {"a"}))["a"]
    assert (found.pss, found.children) == (None, 0)
    assert found.rss > 500_000


def test_usage_keeps_the_cpu_of_children_that_ended(start: Start) -> None:
    inner = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    child = start(
        *python(
            f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {inner!r}])\n"
            "print('ready', flush=True)\ntime.sleep(100)"
        )
    )
    line(child)
    assert usage({"a": known(child)})["a"].cpu >= 0.15
