"""What is true of a CLI, seen without us: its status file, its process, its screen, its tools.

And what a subscriber of the supervisor was told. All times are `time.monotonic` of this machine,
those that others tell by their wall clock too.
"""

import contextlib
import ctypes
import json
import os
import re
import select
import socket
import stat
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from tests.end_to_end.claude_team import STOOD
from tests.end_to_end.conftest import Crew
from tests.support import wait_until
from tests.truth.timeline import Evidence, Shown

Json = dict[str, Any]

# Seconds for whatever must come, on a machine that does much else.
PATIENCE = 40.0
# Of inotify(7): a file was written, closed by who wrote it, made, removed, moved here.
_WRITTEN, _CLOSED, _MADE, _REMOVED, _MOVED = 0x2, 0x8, 0x100, 0x200, 0x80
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


# Readings of two clocks, of which the closest counts: one may have to wait between them.
_READINGS = 5


def monotonic(wall: float) -> float:
    """The same moment by the clock of this module."""
    closest, difference = float("inf"), 0.0
    for _ in range(_READINGS):
        before, now, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < closest:
            closest, difference = after - before, (before + after) / 2 - now
    return wall + difference


# -- the CLI's own status file ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filed:
    """What the status file of `pid` said from `at` on; status "" is a CLI that has none yet."""

    at: float
    pid: int
    status: str
    waiting_for: str
    conversation: str


class StatusFiles:
    """Reads each status file in these directories when the kernel tells that it was written."""

    def __init__(self, *directories: Path) -> None:
        self._seen: list[Filed] = []
        self._changed = threading.Condition()
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC)
        assert self._inotify >= 0, os.strerror(ctypes.get_errno())
        self._directories: dict[int, Path] = {}
        for directory in directories:
            self.watch(directory)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run, name="status-files")
        self._thread.start()

    def watch(self, directory: Path) -> None:
        """The files of this directory too; it is made if it is not there."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        mask = _WRITTEN | _CLOSED | _MADE | _REMOVED | _MOVED
        number = _libc.inotify_add_watch(self._inotify, os.fsencode(directory), mask)
        assert number >= 0, os.strerror(ctypes.get_errno())
        self._directories[number] = directory

    def close(self) -> None:
        os.close(self._stopped)
        self._thread.join()
        os.close(self._inotify)
        os.close(self._stop)

    def now(self, pid: int) -> Filed | None:
        """What it said last."""
        with self._changed:
            return next((each for each in reversed(self._seen) if each.pid == pid), None)

    def has_said(self, pid: int, status: str, since: float) -> bool:
        with self._changed:
            return any((e.pid, e.status) == (pid, status) and e.at >= since for e in self._seen)

    def wait(self, look: Callable[[Filed], object], since: float, what: str) -> Filed:
        """The first that was written after `since` of which `look` is true."""

        def found() -> Filed | None:
            return next((each for each in self._seen if each.at >= since and look(each)), None)

        with self._changed:
            self._changed.wait_for(found, PATIENCE)
            filed = found()
            told = [(f"{e.at - since:+.2f}", e.pid, e.status, e.waiting_for) for e in self._seen]
        assert filed is not None, f"no status file said {what}: {told[-6:]}"
        return filed

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._inotify, self._stop], [], [])
            if self._stop in ready:
                return
            data = os.read(self._inotify, 65536)
            at = time.monotonic()
            for path in dict.fromkeys(self._paths(data)):
                self._read(path, at)

    def _paths(self, data: bytes) -> Iterator[Path]:
        place = 0
        while place < len(data):
            number, _, _, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size
            name = data[place : place + length].rstrip(b"\0").decode()
            place += length
            if name.endswith(".json"):
                yield self._directories[number] / name

    def _read(self, path: Path, at: float) -> None:
        pid = int(path.stem) if path.stem.isdigit() else 0
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            found = {"status": "gone"}
        except (OSError, ValueError):
            return  # half of it: it is being written, and more is told of it
        words = (str(found.get(k) or "") for k in ("status", "waitingFor", "sessionId"))
        filed = Filed(at, pid, *words)
        with self._changed:
            last = next((each for each in reversed(self._seen) if each.pid == pid), None)
            if last is None or _words(last) != _words(filed):
                self._seen.append(filed)
                self._changed.notify_all()


def _words(filed: Filed) -> tuple[str, str, str]:
    return filed.status, filed.waiting_for, filed.conversation


# -- its process -----------------------------------------------------------------------------------


class Death:
    """When the kernel tells that a process has ended."""

    def __init__(self, pid: int) -> None:
        self._at = 0.0
        self._process = os.pidfd_open(pid)
        self._thread = threading.Thread(target=self._run, name="death", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        select.select([self._process], [], [])
        self._at = time.monotonic()
        os.close(self._process)

    def at(self) -> float:
        self._thread.join(PATIENCE)
        assert self._at, "it has not ended"
        return self._at


def born(pid: int) -> float:
    """When a process was made; the kernel tells it in hundredths of a second, rounded down."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


# -- its screen ------------------------------------------------------------------------------------


class Pane:
    """A pane as a person before it has it; `name` is tmux' own id of it."""

    def __init__(self, crew: Crew, name: str) -> None:
        self._crew = crew
        self.name = name

    def text(self) -> str:
        return self._crew.tmux("capture-pane", "-p", "-t", self.name)

    def pid(self) -> int:
        return int(self._crew.tmux("display-message", "-p", "-t", self.name, "#{pane_pid}"))

    def until(self, pattern: str, *, gone: bool = False) -> float:
        """When the screen first shows it, or shows it no more."""
        look = re.compile(pattern, re.MULTILINE)
        at = 0.0

        def shows() -> bool:
            nonlocal at
            at = time.monotonic()
            return bool(look.search(self.text())) is not gone

        what = f"the screen {'no longer shows' if gone else 'shows'} {pattern!r}"
        try:
            wait_until(shows, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text()}") from None
        return at

    def standing(self) -> str:
        """The screen, once it has stood still for longer than a CLI drops keys after drawing."""
        seen, since = self.text(), time.monotonic()

        def stands() -> bool:
            nonlocal seen, since
            now = self.text()
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > STOOD

        wait_until(stands, "the screen stands still", PATIENCE)
        return seen

    def press(self, *keys: str) -> float:
        """`keys`, once the screen stands still; the time before they are pressed."""
        self.standing()
        return self.keys(*keys)

    def keys(self, *keys: str) -> float:
        """Press them; the time before that."""
        at = time.monotonic()
        self._crew.tmux("send-keys", "-t", self.name, *keys)
        return at

    def type(self, text: str) -> None:
        """Type it, and nothing else."""
        self._crew.tmux("send-keys", "-t", self.name, "-l", text)

    def enter(self, text: str) -> float:
        """Paste it, and press Enter; the time before that."""
        at = time.monotonic()
        paste = ("paste-buffer", "-p", "-d", "-b", "person", "-t", self.name)
        enter = ("send-keys", "-t", self.name, "Enter")
        self._crew.tmux("set-buffer", "-b", "person", "--", text, ";", *paste, ";", *enter)
        return at


# -- its tools -------------------------------------------------------------------------------------

WORK = """#!/bin/sh
# work NAME: write down when it begins and ends; in between it waits to be let go.
date +%s.%N >"$1.began"
read -r _ <"$1.gate"
date +%s.%N >"$1.ended"
"""


class Tool:
    """A command for the CLI's shell, which tells its times and waits until it is let go."""

    def __init__(self, root: Path, name: str, program: str = "work") -> None:
        self._root = root
        self._name = name
        self.command = f"./{program} {name}"
        script = root / program
        if not script.exists():
            script.write_text(WORK)
            script.chmod(0o755)
        os.mkfifo(root / f"{name}.gate")

    def began(self) -> float:
        return self._time("began")

    def let_go(self) -> float:
        """Let it end; the time at which it does."""
        gate = self._root / f"{self._name}.gate"
        assert stat.S_ISFIFO(gate.stat().st_mode)

        def open_it() -> int:
            with contextlib.suppress(OSError):  # nobody reads it yet
                return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            return 0

        writer = wait_until(open_it, f"{self._name} waits to be let go", PATIENCE)
        os.write(writer, b"\n")
        os.close(writer)
        return self._time("ended")

    def _time(self, what: str) -> float:
        path = self._root / f"{self._name}.{what}"

        def look() -> str:
            text = path.read_text() if path.exists() else ""
            return text if text.endswith("\n") else ""

        return monotonic(float(wait_until(look, f"{self._name} has {what}", PATIENCE)))


# -- what a subscriber is told ---------------------------------------------------------------------

ABSENT = "absent"


def label(agent: Json | None) -> str:
    """What is shown of an agent, in a word: its status, in what way, and its flags."""
    if agent is None:
        return ABSENT
    said = str(agent["status"])
    if said == "working":
        said += f"/{agent['doing']}"
    if said == "blocked":
        said += f"/{(agent['ask'] or {}).get('kind')}"
    return "+".join([said, *agent["flags"]])


def detail(agent: Json | None) -> str:
    """What is told beside it."""
    if agent is None:
        return ""
    ask = agent["ask"] or {}
    options = [f"{option['key']}. {option['label']}" for option in ask.get("options", ())]
    words = (ask.get("name"), ask.get("tool"), ask.get("text"), *options, agent["exit"])
    return " | ".join([agent["detail"], *(word for word in words if word)])


class Watcher:
    """A subscriber: it writes down when what is shown of each agent has changed.

    For each change it asks `why`, over a connection of its own, so that the time of the next is
    not put off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._agents: dict[str, Json] = {}
        self._shown: dict[str, list[Shown]] = {}
        self._changed = threading.Condition()
        self._asked: SimpleQueue[tuple[str, int] | None] = SimpleQueue()
        self._socket = _dial(path)
        threads = (self._listen, self._ask)
        self._threads = [threading.Thread(target=each, name="watcher") for each in threads]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._asked.put(None)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def agent(self, name: str) -> Json:
        with self._changed:
            return self._agents[name]

    def peek(self, name: str) -> Json | None:
        """The agent, if there is one."""
        with self._changed:
            return self._agents.get(name)

    def shown(self, name: str) -> list[Shown]:
        """All that was told of it, each from when until the next."""
        with self._changed:
            return list(self._shown.get(name, ()))

    def label(self, name: str) -> str:
        shown = self.shown(name)
        return shown[-1].label if shown else ABSENT

    def wait(self, name: str, look: Callable[[Shown], object], seconds: float) -> bool:
        """Wait until `look` is true of what is shown last; whether it was, within the time."""

        def found() -> bool:
            shown = self._shown.get(name)
            return bool(look(shown[-1] if shown else Shown(0.0, ABSENT)))

        with self._changed:
            return self._changed.wait_for(found, seconds)

    def _listen(self) -> None:
        self._socket.sendall(_line("watch"))
        # It ends with the supervisor, or with us.
        with contextlib.suppress(ConnectionError), self._socket.makefile("rb") as lines:
            for line in lines:
                at = time.monotonic()
                if not line.endswith(b"\n"):
                    return  # we leave in the middle of it
                told = json.loads(line)
                part = told.get("view") or told.get("change") or {}
                with self._changed:
                    for agent in part.get("agents", ()):
                        self._note(at, agent)
                    for name in part.get("gone", ()):
                        self._agents.pop(name, None)
                        self._add(name, Shown(at, ABSENT))

    def _note(self, at: float, agent: Json) -> None:
        name = agent["name"]
        known = self._agents[name] = {**self._agents.get(name, {}), **agent}
        self._add(name, Shown(at, label(known), detail(known)))

    def _add(self, name: str, new: Shown) -> None:
        shown = self._shown.setdefault(name, [])
        if shown and (shown[-1].label, shown[-1].detail) == (new.label, new.detail):
            return
        shown.append(new)
        self._changed.notify_all()
        self._asked.put((name, len(shown) - 1))

    def _ask(self) -> None:
        with _dial(self._path) as dialled, dialled.makefile("rb") as lines:
            while (asked := self._asked.get()) is not None:
                name, place = asked
                try:
                    dialled.sendall(_line("why", agent=name))
                    why = json.loads(lines.readline()).get("why")
                except (OSError, ValueError):
                    continue  # the supervisor has ended, and so has what is watched
                if why is not None:
                    self._prove(name, place, why)

    def _prove(self, name: str, place: int, why: Json) -> None:
        with self._changed:
            shown = self._shown[name][place]
            # It may be of what came next already, of which it is asked again.
            said = str(why["status"]) + (f"/{why['doing']}" if why["doing"] else "")
            plain = shown.label.partition("+")[0]
            if said not in (plain, plain.partition("/")[0] if said == "blocked" else plain):
                return
            evidence = why["evidence"]
            at = monotonic(evidence["at"])
            proof = Evidence(shown.label, evidence["kind"], evidence["source"], at)
            self._shown[name][place] = replace(shown, evidence=proof)
            self._changed.notify_all()


def _dial(path: Path) -> socket.socket:
    dialled = socket.socket(socket.AF_UNIX)
    dialled.connect(str(path))
    return dialled


def _line(verb: str, **more: str) -> bytes:
    return json.dumps({"id": uuid.uuid4().hex, "verb": verb, **more}).encode() + b"\n"
