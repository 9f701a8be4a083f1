"""The files that the agent keeps below its home: its status, and one transcript a conversation.

    sessions/<pid>.json                     rewritten in place at each change
    projects/<directory>/<conversation>.jsonl   appended to, line by line

Directories are 0700 and files 0600. A disk that is full or read-only does not stop the agent:
`problem` says what could not be written.
"""

import json
import os
import re
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Status = Literal["busy", "idle", "waiting", "limited"]
Record = dict[str, Any]


def agent_home() -> Path:
    """Where the agent keeps its files."""
    return Path(os.environ.get("DEMO_AGENT_HOME") or Path.home() / ".demo-agent")


def transcript_path(home: Path, cwd: str, conversation: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9]", "-", cwd)
    return home / "projects" / slug / f"{conversation}.jsonl"


def _private_parents(path: Path) -> None:
    """Make the directories above `path`, each 0700 (`mkdir(parents=True)` minds the last only)."""
    missing = [directory for directory in path.parents if not directory.exists()]
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _proc_start() -> str:
    """Field 22 of /proc/self/stat, which tells a pid from a later one; empty if there is none."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the program, in parentheses, may hold blanks.
    return stat.rpartition(")")[2].split()[19]


class StatusFile:
    """`sessions/<pid>.json`. Times in it are milliseconds, but `until`: seconds since the epoch."""

    def __init__(self, home: Path, cwd: str, conversation: str) -> None:
        self.path = home / "sessions" / f"{os.getpid()}.json"
        self.conversation = conversation
        self.problem: str | None = None
        self._known = {"pid": os.getpid(), "cwd": cwd, "procStart": _proc_start()}
        self._started = _milliseconds()

    def set(
        self, status: Status, waiting_for: str | None = None, until: float | None = None
    ) -> None:
        now = _milliseconds()
        state = {
            **self._known,
            "sessionId": self.conversation,
            "startedAt": self._started,
            "kind": "interactive",
            "status": status,
            "waitingFor": waiting_for,
            "until": until,
            "updatedAt": now,
            "statusUpdatedAt": now,
        }
        text = json.dumps({key: value for key, value in state.items() if value is not None})
        try:
            _private_parents(self.path)
            with open(self.path, "w", opener=_opener) as file:
                file.write(text)
        except OSError as error:
            self.problem = f"cannot write {self.path}: {error.strerror}"

    def remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self.problem = f"cannot remove {self.path}: {error.strerror}"


class Transcript:
    """One conversation. The file is made with its first line; `records` is what it holds."""

    def __init__(self, path: Path, conversation: str, cwd: str) -> None:
        self.path = path
        self.problem: str | None = None
        self.records: list[Record] = []
        self._common = {"sessionId": conversation, "cwd": cwd}
        self._cut = False

    def load(self) -> None:
        """Read what is there. A line that was cut by a crash is passed over."""
        data = self.path.read_bytes()
        self._cut = not data.endswith(b"\n") and bool(data)
        for line in data.split(b"\n"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                self.records.append(record)

    def append(self, kind: str, **fields: Any) -> None:
        """Write one line, at once."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {
            "type": kind,
            **fields,
            **self._common,
            "uuid": str(uuid.uuid4()),
            "timestamp": stamp.replace("+00:00", "Z"),
        }
        self.records.append(record)
        line = json.dumps(record).encode() + b"\n"
        try:
            _private_parents(self.path)
            with open(self.path, "ab", opener=_opener) as file:
                file.write(b"\n" + line if self._cut else line)
                self._cut = False
        except OSError as error:
            self._cut = True  # part of the line may be there
            self.problem = f"cannot write {self.path}: {error.strerror}"


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
