"""Freeze a process until standard input ends: `freezing.py PID`. It says `frozen` when it is.

SIGSTOP is no way: tmux wakes whatever is stopped in its panes. A traced process stands still, its
parent hears nothing of that, and it goes on when its tracer is gone.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counts import cannot

SEIZE, INTERRUPT = 0x4206, 0x4207  # <sys/ptrace.h>


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Nothing of process `pid` runs inside."""
    command = [sys.executable, __file__, str(pid)]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if said != "frozen":
            process.communicate()
            cannot(f"a process cannot be traced: {said}")
        yield


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    known: set[int] = set()
    # A thread may be made by one that does not stand still yet.
    while tasks := {int(p.name) for p in Path(f"/proc/{sys.argv[1]}/task").iterdir()} - known:
        for task in tasks:
            for request in (SEIZE, INTERRUPT):
                if libc.ptrace(request, task, None, None) == -1:
                    print(os.strerror(ctypes.get_errno()), flush=True)
                    return
            os.waitpid(task, 0x40000000)  # __WALL: any thread
        known |= tasks
    print("frozen", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
