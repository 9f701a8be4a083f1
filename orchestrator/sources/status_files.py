"""The status file of a CLI: JSON that it rewrites in place whenever its state changes.

A file that does not parse is being written: it is read again, and is never evidence. A file of
another process that had the same pid is left alone.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.core.dialects import conversation_id
from orchestrator.core.events import StatusFileGone, StatusFileSeen
from orchestrator.core.spec import StatusFileSpec
from orchestrator.core.state import Process
from orchestrator.sources.reading import NotReadable, read_plain, stamp_of

# Bytes; the files are about 700.
STATUS_MAX = 256 * 1024
# Characters of what is shown to people.
TEXT = 200
# Seconds that a CLI's clock may be before its file's time, which the kernel rounds down.
SLACK = 1.0
# Seconds after which a file that is written to has another time than before, for sure.
SETTLED = 1.0
# A number of this size counts milliseconds, not seconds (the year 5138).
MILLISECONDS = 1e11


class Unfinished(Exception):
    """The file does not parse: it is being written."""


class StatusFile:
    """The status file of one run of an agent; `path` is its file, `report` is told of the odd."""

    def __init__(
        self,
        agent: str,
        run: int,
        process: Process,
        *,
        spec: StatusFileSpec,
        path: Path,
        report: Callable[[str], None],
    ) -> None:
        self.agent = agent
        self.run = run
        self.process = process
        self.spec = spec
        self.path = path
        self._report = report
        self._last: object = None
        # The file as it was read; None: it has to be read.
        self._state: tuple[int, ...] | None = None

    def is_like(self, other: "StatusFile") -> bool:
        """Whether both read the same file for the same run."""
        mine = (self.agent, self.run, self.process, self.spec, self.path)
        return mine == (other.agent, other.run, other.process, other.spec, other.path)

    def read(self) -> StatusFileSeen | StatusFileGone | None:
        """What it says, if that is new, or that it can be read no more. Raises Unfinished."""
        if self._state is not None and self._state == _state_at(self.path):
            return None
        self._state = None
        try:
            data, info = read_plain(self.path, STATUS_MAX)
        except (FileNotFoundError, NotADirectoryError):
            return self._gone()  # not yet, or removed: by the CLI at its end, or by others
        except NotReadable as error:
            self._report(f"{self.path}: {error}")
            return self._gone()
        except OSError as error:
            self._report(f"{self.path}: cannot be read: {error.strerror}")
            return self._gone()
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise Unfinished from None
        if not isinstance(found, dict):
            raise Unfinished
        # One that was just written may be written again within the same tick of the clock.
        self._state = _state(info) if time.time() - info.st_ctime > SETTLED else None
        return self._event(found, info.st_mtime) if self._is_ours(found) else None

    def _gone(self) -> StatusFileGone | None:
        """Told once. What is written next is news, be it the same as before."""
        if self._last is None:
            return None
        self._last = None
        at, mono = stamp_of(time.time())
        return StatusFileGone(at=at, mono=mono, source="status", agent=self.agent, run=self.run)

    def _is_ours(self, found: Mapping[str, Any]) -> bool:
        return _same(found.get("pid"), self.process.pid) and _same(
            found.get("procStart"), self.process.start
        )

    def _event(self, found: Mapping[str, Any], mtime: float) -> StatusFileSeen | None:
        raw = _text(found.get("status"))
        if raw is None:
            return None  # starting: there is no status yet
        status = self.spec.states.get(raw)
        if status is None:
            self._report(f"{self.agent}: its status file says {raw!r}, which no definition knows")
            return None
        until = _seconds(found.get("until"))
        waiting_for = _text(found.get("waitingFor"))
        conversation = conversation_id(found.get("sessionId"))
        version = _text(found.get("version"))
        changed = _seconds(found.get("statusUpdatedAt"))
        # With its time: it may have been another one, and the same again, between two looks.
        said = (raw, waiting_for, conversation, until, version, changed)
        if said == self._last:
            return None
        self._last = said
        sane = changed is not None and 0 < changed <= mtime + SLACK
        at, mono = stamp_of(changed if sane and changed is not None else mtime)
        return StatusFileSeen(
            at=at,
            mono=mono,
            source="status",
            agent=self.agent,
            run=self.run,
            status=status,
            raw=raw,
            waiting_for=waiting_for,
            conversation=conversation,
            until=until,
            version=version,
        )


def _state(info: os.stat_result) -> tuple[int, ...]:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _state_at(path: Path) -> tuple[int, ...] | None:
    try:
        return _state(path.stat())
    except OSError:
        return None


def _same(found: object, ours: int) -> bool:
    """Whether a number, or its digits, is ours; what a CLI does not say cannot differ."""
    return found is None or str(found) == str(ours)


def _text(found: object) -> str | None:
    if not isinstance(found, str) or not found:
        return None
    return found[:TEXT].encode("utf-8", "replace").decode()


def _seconds(found: object) -> float | None:
    """Wall clock seconds, from seconds or milliseconds since the epoch."""
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    # Outside of this range (also not a number, infinite): no time.
    if not 0 < found < 1000 * MILLISECONDS:
        return None
    return found / 1000 if found > MILLISECONDS else float(found)
