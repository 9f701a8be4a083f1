"""Processes: who is alive, who ended, and ending them for sure.

A pid alone names nobody: it is given to another process later. Everything here that waits or
kills holds a pidfd whose process was checked, by its start time, after it was opened.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import psutil

from orchestrator.core.state import Process
from orchestrator.core.values import value
from orchestrator.errors import CrewError
from orchestrator.procfs import Stat, boot_id, is_alive, stat

# How often (s) a process is looked at where the system has no pidfd for us.
LOOK_EVERY = 1.0
# Seconds in which a killed process is gone, if nothing in the kernel holds it.
KILL_TAKES = 5.0
# Seconds between asking what an agent left behind to end, and killing it.
SWEEP_GRACE = 1.0
# Looks at what is left: a process that is ended may start one more.
SWEEPS = 5


# -- family ----------------------------------------------------------------------------------------


def _upwards(pid: int) -> Iterator[Stat]:
    """The process and its ancestors. Raises ProcessLookupError if the chain breaks off."""
    while pid != 0:
        found = stat(pid)
        if found is None:
            raise ProcessLookupError(pid)
        yield found
        pid = found.parent


def caller(pid: int, panes: Mapping[int, str]) -> str | None:
    """The agent in whose process tree `pid` is; `panes` gives the agents by their process' pid.

    A process session counts as well: an agent's process leads one, and its children stay in it
    when their parents end. Raises CrewError where nobody can tell, as the process is gone:
    a request from there is refused, for "no agent" has more rights than any agent.
    """
    for _ in range(3):  # A parent may end between two looks; its children then have another.
        try:
            for each in _upwards(pid):
                agent = panes.get(each.pid) or panes.get(each.session)
                if agent is not None:
                    return agent
            if pid != 0:  # 0 is a process of another namespace: no chain at all.
                return None
        except ProcessLookupError:
            continue
    raise CrewError(f"process {pid} is gone: whether it was an agent's cannot be told any more")


def claimed(pid: int, session: str) -> str | None:
    """The agent of `session` that a process's own environment says it belongs to."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - one short read
            pairs = dict(item.partition(b"=")[::2] for item in file.read().split(b"\0"))
    except OSError:
        return None
    if pairs.get(b"CREW_SESSION") != session.encode():
        return None
    return os.fsdecode(pairs.get(b"CREW_AGENT", b"")) or None


# -- handles ---------------------------------------------------------------------------------------


class Handle:
    """A hold on one process: signals reach it and no other. Raises ProcessLookupError if gone.

    Where the system gives no pidfd (none in its kernel, forbidden in a container, no descriptor
    left) `fd` is None, and the start time is compared before each signal instead.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.fd: int | None = None
        try:
            self.fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            raise
        except (OSError, AttributeError):
            self.fd = None
        # After opening: what the descriptor holds is what is compared here.
        if not is_alive(process):
            self.close()
            raise ProcessLookupError(process.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; that the process is gone is no error."""
        with contextlib.suppress(ProcessLookupError):
            if self.fd is not None:
                signal.pidfd_send_signal(self.fd, number)
            elif is_alive(self.process):
                os.kill(self.process.pid, number)

    async def gone(self, within: float) -> bool:
        """Whether the process ends within so many seconds."""
        loop = asyncio.get_running_loop()
        if self.fd is None:
            end = loop.time() + within
            while is_alive(self.process) and loop.time() < end:
                await asyncio.sleep(min(LOOK_EVERY / 10, within))
            return not is_alive(self.process)
        ended = asyncio.Event()
        loop.add_reader(self.fd, ended.set)
        try:
            async with asyncio.timeout(within):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self.fd)
        return True

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


async def end(
    process: Process,
    *,
    grace: float,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGHUP),
) -> None:
    """End a process: ask it to, wait up to `grace` seconds, kill it; returns when it is gone.

    The grace is divided among `signals`: an interactive shell takes no notice of SIGTERM, and
    ends on SIGHUP. A stopped process is continued, so that it hears. Raises CrewError if it may
    not be signalled, or lives on although it was killed.
    """
    try:
        handle = Handle(process)
    except ProcessLookupError:
        return
    try:
        for number in signals:
            handle.send(number)
            handle.send(signal.SIGCONT)
            if await handle.gone(grace / len(signals)):
                return
        handle.send(signal.SIGKILL)
        if not await handle.gone(KILL_TAKES):
            raise CrewError(f"process {process.pid} does not end although it was killed")
    except PermissionError as error:
        raise CrewError(f"process {process.pid} may not be ended: it is another user's") from error
    finally:
        handle.close()


def _left_by(leader: Process) -> list[Process]:
    """The processes in the process session that `leader` led, without itself and us."""
    now = stat(leader.pid)
    # The kernel gives a pid to nobody while a session has its number. So where somebody else has
    # it, the session was empty before.
    if leader.boot != boot_id() or (now is not None and now.start != leader.start):
        return []
    found = []
    for pid in psutil.pids():
        if pid in (leader.pid, os.getpid()):
            continue
        each = stat(pid)
        if (
            each is not None
            and each.session == leader.pid
            and each.start >= leader.start
            and not each.dead
        ):
            found.append(Process(pid=pid, start=each.start, boot=leader.boot))
    return found


async def sweep(session_leader: Process, deadline: float = SWEEP_GRACE) -> tuple[int, ...]:
    """End what a pane's process left behind in its process session; returns the pids ended.

    What is left has `deadline` seconds to end by itself after SIGTERM. A process that made a
    session of its own is not found. Raises CrewError as `end` does, after all were tried.
    """
    ended: set[int] = set()
    failed: BaseException | None = None
    for turn in range(SWEEPS):
        left = _left_by(session_leader)
        if not left:
            break
        # The first turn asks; what comes to light later was started by something told to end.
        grace = deadline if turn == 0 else 0.0
        results = await asyncio.gather(
            *(end(process, grace=grace) for process in left), return_exceptions=True
        )
        for process, result in zip(left, results, strict=True):
            if result is None:
                ended.add(process.pid)
            else:
                failed = result
        if failed is not None:
            raise failed
    return tuple(sorted(ended))


# -- deaths ----------------------------------------------------------------------------------------


class _Watch:
    """One process that is waited for."""

    def __init__(self, run: int, process: Process) -> None:
        self.run = run
        self.process = process
        self.handle: Handle | None = None
        self.timer: asyncio.Handle | None = None


class Exits:
    """Calls `on_exit(agent, run, process)` once when an agent's process ends, from the loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_exit: Callable[[str, int, Process], None]
    ) -> None:
        self._loop = loop
        self._on_exit = on_exit
        # Those whose exit was told stay until they are unwatched: it is told once.
        self._watches: dict[str, _Watch] = {}

    def watch(self, agent: str, run: int, process: Process) -> None:
        """Wait for the end of an agent's process, in place of any other of this agent."""
        known = self._watches.get(agent)
        if known is not None and (known.run, known.process) == (run, process):
            return
        self.unwatch(agent)
        watch = self._watches[agent] = _Watch(run, process)
        try:
            watch.handle = Handle(process)
        except ProcessLookupError:
            watch.timer = self._loop.call_soon(self._tell, agent, watch)
            return
        if watch.handle.fd is not None:
            self._loop.add_reader(watch.handle.fd, self._tell, agent, watch)
        else:
            watch.timer = self._loop.call_later(LOOK_EVERY, self._look, agent, watch)

    def unwatch(self, agent: str) -> None:
        """Forget an agent: nothing more is told of it."""
        watch = self._watches.pop(agent, None)
        if watch is not None:
            self._let_go(watch)

    def close(self) -> None:
        for agent in list(self._watches):
            self.unwatch(agent)

    def _let_go(self, watch: _Watch) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        if watch.handle is not None and watch.handle.fd is not None:
            self._loop.remove_reader(watch.handle.fd)
            watch.handle.close()

    def _tell(self, agent: str, watch: _Watch) -> None:
        self._let_go(watch)
        self._on_exit(agent, watch.run, watch.process)

    def _look(self, agent: str, watch: _Watch) -> None:
        if is_alive(watch.process):
            watch.timer = self._loop.call_later(LOOK_EVERY, self._look, agent, watch)
        else:
            self._tell(agent, watch)


# -- use of resources ------------------------------------------------------------------------------


@value
class Usage:
    """What a process and all below it use: CPU seconds so far, resident bytes, how many live below.

    The CPU seconds include those of children that ended; they never fall while the process lives.
    What several of them share counts in `rss` once for each, and in `pss` once; that takes long to
    find out: None where nobody asked, or where it may not be read.
    """

    cpu: float
    rss: int
    children: int
    pss: int | None = None


class _Own(NamedTuple):
    """What one process uses, without those below it."""

    parent: int
    cpu: float
    rss: int
    alive: bool


_NONE = _Own(0, 0.0, 0, alive=False)
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def usage(
    processes: Mapping[str, Process], shown: Collection[str] = frozenset()
) -> Mapping[str, Usage]:
    """The use of each agent's process tree, by agent, in one pass; who is dead is left out.

    `shown`: those whose `pss` is wanted as well.
    """
    alive = {name: process for name, process in processes.items() if is_alive(process)}
    if not alive:
        return {}
    below: dict[int, list[int]] = {}
    own: dict[int, _Own] = {}
    for pid in psutil.pids():
        # One that has ended meanwhile, or that may not be seen, is nobody's.
        with contextlib.suppress(OSError):
            own[pid] = _own(pid)
            below.setdefault(own[pid].parent, []).append(pid)
    trees = {name: _tree(process.pid, below) for name, process in alive.items()}
    return {name: _sum(tree, own, with_pss=name in shown) for name, tree in trees.items()}


def _own(pid: int) -> _Own:
    """By a single read: this is done for all processes there are."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - half the cost of a Path
        fields = file.read().rpartition(b")")[2].split()
    # User and system time, its own and of children that it has waited for.
    ticks = sum(map(int, fields[11:15]))
    alive = fields[0] not in (b"Z", b"X")
    return _Own(int(fields[1]), ticks / _TICKS, int(fields[21]) * _PAGE, alive)


def _tree(root: int, below: Mapping[int, list[int]]) -> list[int]:
    """The pids of a process and of all below it, its own first."""
    tree = [root]
    for pid in tree:  # Grows as it goes.
        tree.extend(below.get(pid, ()))
    return tree


def _sum(tree: Sequence[int], own: Mapping[int, _Own], *, with_pss: bool) -> Usage:
    parts = [own.get(pid, _NONE) for pid in tree]
    return Usage(
        cpu=sum(part.cpu for part in parts),
        rss=sum(part.rss for part in parts),
        children=sum(part.alive for part in parts[1:]),
        pss=_pss(tree) if with_pss else None,
    )


def _pss(tree: Iterable[int]) -> int | None:
    """The memory of these processes. None if it may not be read of one of them: a sum without it
    would be taken for the whole. One that has just ended has none."""
    parts: list[int] = []
    for pid in tree:
        try:
            parts.append(_own_pss(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            return None
    return sum(parts) if parts else None


def _own_pss(pid: int) -> int:
    """Its own memory, and its part of each page that it shares, in bytes."""
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123 - one short read
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)
