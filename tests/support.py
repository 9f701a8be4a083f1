"""What tests share: waiting on a predicate, ending processes by id."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# How often a predicate is looked at; a test never sleeps for a fixed time.
_STEP = 0.01


def wait_until(predicate: Callable[[], T], what: str, deadline: float = 30.0) -> T:
    """Return the first true value of `predicate`; fail with `what` after `deadline` seconds."""
    pause = _STEP
    end = time.monotonic() + deadline
    while True:
        got = predicate()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(pause)


def alive(pid: int) -> bool:
    """Whether `pid` is a process that runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - one short read
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def end(pid: int) -> None:
    """SIGKILL one process, by its id."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
