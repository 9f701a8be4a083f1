"""Runs a command, then fails if a process that it started, at any depth, is left.

`python -m tests.reaper COMMAND [ARGUMENT...]`: exits as the command did, or with 1 if it left
something, naming each by its id, and ends it. A daemon leaves its parent and its session and
clears its environment; but the kernel hands every orphan to the nearest subreaper above it, and
that is this process. Linux only.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence

import psutil

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
# Seconds that a process may take to end after the command did.
GRACE = 30.0
_STEP = 0.02


def _adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot be made a subreaper")


def _run(command: Sequence[str]) -> int:
    """Run the command and reap whatever ends meanwhile; returns its exit status."""
    child = os.posix_spawnp(command[0], list(command), os.environ)
    # Ctrl-C reaches the command by itself; SIGTERM is sent to one process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(child, number))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _descendants() -> list[psutil.Process]:
    _reap()
    return psutil.Process().children(recursive=True)


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {shlex.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return f"{process.pid}: (gone meanwhile)"


def _end_all() -> None:
    # The children of what is killed become ours in turn.
    while left := _descendants():
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_STEP)


def run(command: Sequence[str], grace: float = GRACE) -> int:
    """Run `command`; returns its exit status, or 1 if it was 0 and something is left."""
    _adopt_orphans()
    code = _run(command)
    end = time.monotonic() + grace
    while (left := _descendants()) and time.monotonic() < end:
        time.sleep(_STEP)
    if not left:
        return code
    print(f"left running, and ended now: {len(left)}", file=sys.stderr)
    for process in left:
        print(f"  {_describe(process)}", file=sys.stderr)
    _end_all()
    return code or 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
