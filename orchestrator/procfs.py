"""Who a process is, from /proc: its pid, its start time, and the boot that both belong to."""

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.core.state import Process

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Stat(NamedTuple):
    """What is read of /proc/<pid>/stat. `exit_code` is a wait status; of a zombie it is the last
    that is known of it."""

    pid: int
    state: bytes
    parent: int
    session: int
    start: int
    exit_code: int

    @property
    def dead(self) -> bool:
        """A zombie is no process any more: nothing of it runs."""
        return self.state in (b"Z", b"X")


def stat(pid: int) -> Stat | None:
    """Of a process or a zombie; None if there is neither."""
    if pid <= 0:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - half the cost of a Path
            content = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold blanks and parentheses itself: count from its end.
    fields = content.rpartition(b")")[2].split()
    return Stat(
        pid=pid,
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        start=int(fields[19]),
        exit_code=int(fields[49]),
    )


def boot_id() -> str:
    """The kernel's id of this boot: a pid and its start time mean nothing in another one.

    CREW_BOOT_ID stands in for it, so that a test can act out a reboot.
    """
    return os.environ.get("CREW_BOOT_ID") or _kernel_boot_id()


@lru_cache(maxsize=1)
def _kernel_boot_id() -> str:
    return _BOOT_ID.read_text("ascii").strip()


def start_of(pid: int) -> int | None:
    """The start time of a process (clock ticks since boot); None if it is gone or a zombie."""
    found = stat(pid)
    return None if found is None or found.dead else found.start


def process_of(pid: int) -> Process | None:
    """The process that has this pid now."""
    start = start_of(pid)
    return None if start is None else Process(pid=pid, start=start, boot=boot_id())


def is_alive(process: Process) -> bool:
    """Whether this very process runs: not a later one of its pid, nor one before a reboot."""
    return process.boot == boot_id() and start_of(process.pid) == process.start
