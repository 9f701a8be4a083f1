"""Places where a test can end this process, as a power cut or a SIGKILL would.

`CREW_FAILPOINT=site:n`       SIGKILL at the n-th hit of that site, n from 1
`CREW_FAILPOINT_ONCE=FILE`    only if FILE is not there yet; it is made right before
`CREW_FAILPOINT_COUNT=FILE`   append `site count` to FILE at each hit: how many there are to try

Without them a hit costs one check of a constant.
"""

import os
import signal
import threading
from collections import Counter
from typing import Final

# A database transaction: before its begin, before its commit, after its commit.
DB: Final = "db"
# A file written, renamed or unlinked.
FILE: Final = "file"
# A command written to tmux, a reply of it taken.
TMUX: Final = "tmux"

_target, _, _number = os.environ.get("CREW_FAILPOINT", "").rpartition(":")
_count_file = os.environ.get("CREW_FAILPOINT_COUNT", "")
_once_file = os.environ.get("CREW_FAILPOINT_ONCE", "")
_ARMED = bool(_number or _count_file)
_FATAL = int(_number or "0")

_hits: Counter[str] = Counter()
# Hits come from the loop and from worker threads, and a number must be met exactly once.
_lock = threading.Lock()


def hit(site: str) -> None:
    """Pass `site`; the process ends here if this is the hit it was told to end at."""
    if _ARMED:
        _hit(site)


def _hit(site: str) -> None:
    with _lock:
        _hits[site] += 1
        if _count_file:
            # Written out at each hit: a process that is killed has no exit to write at.
            with open(_count_file, "a", encoding="utf-8") as file:  # noqa: PTH123 - no import more
                file.write(f"{site} {_hits[site]}\n")
        if site == _target and _hits[site] == _FATAL and _first():
            os.kill(os.getpid(), signal.SIGKILL)


def _first() -> bool:
    """Whether no process of this scenario has ended itself yet: the next one is to live on."""
    if not _once_file:
        return True
    try:
        os.close(os.open(_once_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True
