"""Ending a process and all that it started, wherever that went.

A child may leave its parent's process group, its session, even its parent. What it keeps is its
environment, which holds a mark of our own; one that clears it is found by its session or its
parents, unless it has left both. Linux.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.procfs import Stat, start_of, stat

# The variable with the mark of a run.
MARK = "CREW_ASK_RUN"
# Seconds in which killed processes are gone, if nothing in the kernel holds them.
KILL_TAKES = 5.0
# Seconds between two looks at what is left.
_PAUSE = 0.005


def kill_tree(leader: int, mark: str) -> None:
    """Kill `leader`, which leads a process session, and all that it started.

    The caller has not waited for its end yet: so its number is nobody else's. Returns when none
    is left that runs: one that was missed because it was just being made is found the next time.
    """
    end = time.monotonic() + KILL_TAKES
    while _kill_all(leader, f"{MARK}={mark}".encode()) and time.monotonic() < end:
        time.sleep(_PAUSE)


def _kill_all(leader: int, mark: bytes) -> bool:
    """Kill those that run now; whether there were any."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names
    # All are found before the first one dies: its children have another parent then.
    found = [each for pid in pids if (each := _member(pid, leader, mark)) is not None]
    killed = [_kill(each) for each in found]
    return any(killed)


def _kill(found: Stat) -> bool:
    """Kill a process; False if it is gone, or may not be killed."""
    try:
        process = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError):  # The system has no pidfd for us.
        return _signalled(lambda: os.kill(found.pid, signal.SIGKILL))
    try:
        # After opening: the number may be another's by now.
        return start_of(found.pid) == found.start and _signalled(
            lambda: signal.pidfd_send_signal(process, signal.SIGKILL)
        )
    finally:
        os.close(process)


def _signalled(send: Callable[[], None]) -> bool:
    try:
        send()
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _member(pid: int, leader: int, mark: bytes) -> Stat | None:
    """The process, if it runs and is `leader` or was started by it."""
    found = stat(pid)
    if found is None or found.dead or pid == os.getpid():
        return None
    if found.session == leader or _is_below(found.parent, leader) or _is_marked(pid, mark):
        return found
    return None


def _is_below(pid: int, leader: int) -> bool:
    while pid != leader:
        found = stat(pid)
        if found is None:
            return False
        pid = found.parent
    return True


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - one short read
            return mark in file.read().split(b"\0")
    except OSError:  # gone, or another user's
        return False


def tied(name: str) -> tuple[str, ...]:
    """What runs a command, as the same process, that gets the signal `name` when the thread that
    started it ends."""
    setpriv = shutil.which("setpriv")
    # BusyBox has one that cannot.
    if setpriv is None or Path(setpriv).resolve().name != "setpriv":
        return ()
    return (setpriv, "--pdeathsig", name, "--")
