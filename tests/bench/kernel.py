"""What processes have cost, as the kernel counted it.

CPU: process clocks (`clock_getcpuclockid`), of the supervisor and of all that lives below it (the
control client among them); of children that have ended and were waited for, what /proc/PID/stat of
the supervisor says. The tmux server's own is counted where the figure says so.
Forks: what the process connector (netlink, CN_PROC) tells of each fork, of those processes and of
all that they start meanwhile; a new thread is none. That takes root. Where it is not allowed, the
line `processes` of /proc/stat: all forks of the machine, new threads too, so rather too many.
Wake-ups: voluntary context switches from /proc/PID/task/*/status, of all threads of the supervisor
and of all below it. Of a thread that has ended the kernel keeps none: it counts as one.
"""

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from orchestrator.procfs import stat

# `clock_getcpuclockid(3)` for another process, which Python does not offer: MAKE_PROCESS_CPUCLOCK
# with CPUCLOCK_SCHED, from Linux' posix-timers.h.
_SCHED = 2

# From Linux' connector.h, cn_proc.h and asm-generic/socket.h.
_CONNECTOR, _CN_PROC, _LISTEN, _IGNORE, _FORK = 11, 1, 1, 2, 1
_RCVBUFFORCE = 33
# A netlink and a connector header, and what stands before the pids of an event.
_HEADERS = struct.Struct("=IHHII IIIIHH")
_EVENT = struct.Struct("=IIQ")
_PIDS = struct.Struct("=IIII")
# What can wait until it is read: some 100,000 events.
_BUFFER = 64 << 20

# A thread by its id and its start: the id alone is given to another one later.
Threads = Mapping[tuple[int, int], int]


def cpu_seconds(pid: int) -> float:
    """Of all its threads, those that have ended too; to the nanosecond, unlike /proc/PID/stat."""
    return time.clock_gettime(~pid << 3 | _SCHED)


def wake_ups(pid: int) -> int:
    """How often its threads that live have waited for something, and were woken."""
    return sum(_threads(pid).values())


def resident_mib(pid: int) -> float:
    """Its memory, what it shares with others included."""
    return _field(Path(f"/proc/{pid}/status").read_text(), "VmRSS") / 1024


def below(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    numbers = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    known = [each for number in numbers if (each := stat(number))]
    found, young = [], [pid]
    while young:
        parents = {*young}
        young = [each.pid for each in known if each.parent in parents]
        found += young
    return found


@dataclass(frozen=True)
class Cost:
    """Of the time that was counted: CPU seconds of the supervisor with all below it, and of the
    tmux server; wake-ups; processes started."""

    cpu: float
    server: float
    woken: int
    forks: int


@dataclass(frozen=True)
class Team:
    """What watches a team: two processes, and what the supervisor has started."""

    supervisor: int
    tmux: int

    def all_of_it(self) -> list[int]:
        return [self.supervisor, *below(self.supervisor), self.tmux]


def costs(teams: Sequence[Team], during: Callable[[], object]) -> list[Cost]:
    """What each of them costs while `during` runs."""
    with Forks() as forks:
        before = [State.of(team) for team in teams]
        during()
        after = [State.of(team) for team in teams]
    pairs = zip(teams, before, after, strict=True)
    return [
        Cost(
            new.cpu_since(old),
            new.server - old.server,
            new.woken_since(old),
            forks.by(team.all_of_it()),
        )
        for team, old, new in pairs
    ]


class Forks:
    """The processes that were started, by whom, while the block ran."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        # Parent and child, in the order in which they came.
        self._seen: list[tuple[int, int]] = []
        self._machine = 0

    def __enter__(self) -> "Forks":
        self._machine = _forks_of_all()
        with contextlib.suppress(OSError):
            self._socket = _connector()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._machine = _forks_of_all() - self._machine
        if self._socket is not None:
            with self._socket:
                _tell(self._socket, _IGNORE)
                if not self._read(self._socket):
                    self._socket = None

    @property
    def is_exact(self) -> bool:
        """Whether the kernel has told of each fork."""
        return self._socket is not None

    def by(self, pids: Collection[int]) -> int:
        """How many were started by these, and by those; at most, where that is not told."""
        if not self.is_exact:
            return self._machine
        family, count = {*pids}, 0
        for parent, child in self._seen:
            if parent in family:
                family.add(child)
                count += 1
        return count

    def _read(self, source: socket.socket) -> bool:
        """Take in what was told; whether that is all there was."""
        while True:
            try:
                data = source.recv(4096)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return False
                raise
            if fork := _fork_in(data):
                self._seen.append(fork)


def _connector() -> socket.socket:
    """Told of what all processes do. Raises OSError where that is not allowed."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR)
    try:
        made.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        made.bind((0, _CN_PROC))
        _tell(made, _LISTEN)
        # In a container nothing may ever come, without an error: one of our own must be told.
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(pid, 0)
        made.settimeout(1)
        while _fork_in(made.recv(4096)) != (os.getpid(), pid):
            pass
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _fork_in(data: bytes) -> tuple[int, int] | None:
    """Parent and child, if it tells of a new process; not of a thread, nor of anything else."""
    what, _, _ = _EVENT.unpack_from(data, _HEADERS.size)
    if what != _FORK:
        return None
    _, parent, thread, child = _PIDS.unpack_from(data, _HEADERS.size + _EVENT.size)
    return (parent, child) if thread == child else None


def _tell(connector: socket.socket, order: int) -> None:
    body = struct.pack("=I", order)
    size = _HEADERS.size + len(body)
    done = 3  # NLMSG_DONE
    head = _HEADERS.pack(size, done, 0, 0, 0, _CN_PROC, _CN_PROC, 0, 0, len(body), 0)
    connector.send(head + body)


def _forks_of_all() -> int:
    """Since the machine was started; new threads too."""
    lines = Path("/proc/stat").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes "))


@dataclass(frozen=True)
class State:
    """What a team has cost so far."""

    used: Mapping[int, float]
    ended: float
    server: float
    threads: Threads

    @classmethod
    def of(cls, team: Team) -> "State":
        own = [team.supervisor, *below(team.supervisor)]
        threads: dict[tuple[int, int], int] = {}
        used = {}
        for pid in own:
            with contextlib.suppress(OSError):
                threads |= _threads(pid)
                used[pid] = cpu_seconds(pid)
        return cls(used, _of_children(team.supervisor), cpu_seconds(team.tmux), threads)

    def cpu_since(self, old: "State") -> float:
        living = sum(now - old.used.get(pid, 0.0) for pid, now in self.used.items())
        return living + self.ended - old.ended

    def woken_since(self, old: "State") -> int:
        living = sum(now - old.threads.get(thread, 0) for thread, now in self.threads.items())
        return living + len(old.threads.keys() - self.threads.keys())


def _threads(pid: int) -> Threads:
    """How often each of its threads has waited."""
    return dict(_each_thread(Path(f"/proc/{pid}/task").iterdir()))


def _each_thread(tasks: Iterable[Path]) -> Iterator[tuple[tuple[int, int], int]]:
    for task in tasks:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status, line = (task / "status").read_text(), (task / "stat").read_bytes()
            started = int(line.rpartition(b")")[2].split()[19])
            yield (int(task.name), started), _field(status, "voluntary_ctxt_switches")


def _of_children(pid: int) -> float:
    """CPU seconds of those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


def _field(status: str, name: str) -> int:
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise ValueError(f"no {name} in a process's status")
