"""Dial a session's supervisor, starting it if it is missing, and speak lines of JSON with it.

Standard library only: every verb pays for what is imported here. A connection that breaks before
the final answer is dialled again and the same line sent again: the supervisor never does one
request id twice.
"""

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import CrewError, SupervisorError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.start import start_supervisor

Json = dict[str, Any]

# Seconds. A cold start of the supervisor takes well under one.
START = 20.0
# How long an answer may take: the slowest, `up` of a large team, takes one or two.
ANSWER = 30.0
# And the answer to a question, which nothing has to be done for.
QUESTION = 5.0
QUESTIONS = frozenset({"ping", "status", "why", "attach"})
# A supervisor that breaks this often in a row, without a word between, will not do better.
BREAKS = 3
_PAUSE = 0.02
_HELD, _HELD_MAX = 0.5, 4.0
_CHUNK = 65536


class NotRunning(SupervisorError):
    """Nothing listens on the session's socket."""


class _Broken(Exception):
    """The connection ended before the final answer."""


def _try(path: str) -> socket.socket | None:
    """One try to connect; None: nothing listens."""
    dialled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Bounds the connecting too: it waits while a supervisor that hangs has a full queue of it.
    dialled.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(START), 0))
    try:
        dialled.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        dialled.close()
        return None
    except OSError as error:
        dialled.close()
        raise SupervisorError(f"{path}: cannot be connected to: {error.strerror}") from error
    return dialled


def _dial(paths: SessionPaths, start: bool, environ: Mapping[str, str]) -> socket.socket:
    """Connect; start the supervisor if nothing listens and `start` is set."""
    end = time.monotonic() + START
    held, patience = 0.0, _HELD
    killed = 0
    while (dialled := _try(str(paths.socket))) is None:
        if not start:
            raise NotRunning(f"no supervisor runs for session {paths.name}")
        left = end - time.monotonic()
        unreached = SupervisorError(
            f"the supervisor of {paths.name} could not be reached within {START:.0f} s: "
            f"see {paths.log}"
        )
        if left <= 0:
            raise unreached
        if time.monotonic() < held:
            time.sleep(_PAUSE)
        else:
            try:
                became = start_supervisor(paths, environ, left)
            except SupervisorError:
                if held and time.monotonic() >= end:
                    # The time was too short for this one: another one holds the lock all along.
                    raise unreached from None
                raise
            killed += became == "killed"
            if killed > BREAKS:
                raise SupervisorError(
                    f"the supervisor of {paths.name} was killed at its start {killed} times: "
                    f"see {paths.log}"
                )
            if became == "taken":
                # Another one holds the lock: it is about to listen, or about to leave.
                held = time.monotonic() + patience
                # Each of us that starts makes it wait longer for its turn on a busy machine.
                patience = min(2 * patience, _HELD_MAX)
    return dialled


class Client:
    """A connection to the supervisor of one session. Use as a context manager."""

    def __init__(
        self, paths: SessionPaths, dialled: socket.socket, environ: Mapping[str, str]
    ) -> None:
        self.paths = paths
        self._socket = dialled
        self._environ = environ
        self._buffer = bytearray()

    @classmethod
    def connect(
        cls, paths: SessionPaths, *, start: bool, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Dial the supervisor of `paths`, with `start` also where it must be started first.

        `environ` (by default this process's) is the person's: a supervisor that is started here
        is told it. Raises NotRunning if nothing listens and `start` is False.
        """
        environ = os.environ if environ is None else environ
        return cls(paths, _dial(paths, start, environ), environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, verb: str, *, timeout: float | None = None, **args: Any) -> Json:
        """Ask for `verb` and return the final answer. `timeout` in seconds: by default ANSWER,
        and QUESTION for what only asks.

        An `id` among `args` is that of an earlier request, which is asked about, not done again.
        Raises UserError or CrewError with the supervisor's own sentence when it says no, and
        SupervisorError when it does not answer at all.
        """
        asks = verb in QUESTIONS
        seconds = timeout if timeout is not None else (QUESTION if asks else ANSWER)
        try:
            for answer in self._exchange(verb, seconds, None, args):
                if "exit" in answer:
                    return answer
        except TimeoutError as error:
            unknown = "" if asks else ", and whether it is done is not known"
            raise SupervisorError(
                f"the supervisor of {self.paths.name} did not answer `{verb}` within "
                f"{seconds:g} s{unknown}: see {self.paths.log}"
            ) from error
        raise AssertionError("an exchange ends with a final answer or an error")

    def stream(
        self,
        verb: str,
        *,
        timeout: float | None = None,
        until: Callable[[], float | None] | None = None,
        revive: Callable[[], bool] | None = None,
        **args: Any,
    ) -> Iterator[Json]:
        """Ask for `verb` and yield what comes until the final answer.

        `timeout` in seconds for the whole of it: TimeoutError when it is over. `until` is asked
        before each wait for another monotonic time at which it is. `revive` is asked when the
        supervisor is gone: if False, the stream ends instead of starting it again.
        """
        for answer in self._exchange(verb, timeout, revive, args, until):
            if "exit" not in answer:
                yield answer

    def views(
        self,
        *,
        timeout: float | None = None,
        until: Callable[[], float | None] | None = None,
        revive: Callable[[], bool] | None = None,
    ) -> Iterator[Json]:
        """The whole view, now and after each change; the rest as in `stream`."""
        view: Json = {}
        for told in self.stream("watch", timeout=timeout, until=until, revive=revive):
            view = told["view"] if "view" in told else merge(view, told["change"])
            yield view

    def wait_closed(self, timeout: float) -> bool:
        """Wait until the supervisor has closed this connection and its process has ended.

        False after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        with _pidfd(self._peer()) as process:
            try:
                while True:
                    self._line(end)
            except TimeoutError:
                return False
            except _Broken:
                return process is None or _ended(process, max(0.0, end - time.monotonic()))

    def _peer(self) -> int:
        """The pid of the supervisor, as the kernel tells it."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], sys.byteorder)

    def _exchange(
        self,
        verb: str,
        timeout: float | None,
        revive: Callable[[], bool] | None,
        args: Json,
        until: Callable[[], float | None] | None = None,
    ) -> Iterator[Json]:
        request = {"id": uuid.uuid4().hex, "verb": verb, **args}
        end = None if timeout is None else time.monotonic() + timeout
        breaks = 0
        after: int | None = None
        while True:
            try:
                self._send(request, end)
                while True:
                    answer = self._answer(request["id"], _first(end, until() if until else None))
                    breaks = 0
                    if "exit" in answer:
                        _raise_for(answer)
                        yield answer
                        return
                    after = _event_number(answer)
                    yield answer
            except _Broken as broken:
                breaks += 1
                if breaks > BREAKS:
                    raise SupervisorError(
                        f"the supervisor of {self.paths.name} broke the connection {breaks} "
                        f"times: see {self.paths.log}"
                    ) from broken
                if not self._redial(revive):
                    return
                if after is not None:
                    # Events go on after the last that came: another question, so another id.
                    request |= {"id": uuid.uuid4().hex, "since": after, "limit": None}

    def _redial(self, revive: Callable[[], bool] | None) -> bool:
        self._socket.close()
        self._buffer.clear()
        if revive is not None:
            try:
                self._socket = _dial(self.paths, False, self._environ)
                return True
            except NotRunning:
                if not revive():
                    return False
        # It ran when this connection was made: it is started again whatever `start` was.
        self._socket = _dial(self.paths, True, self._environ)
        return True

    def _send(self, request: Json, end: float | None) -> None:
        self._socket.settimeout(_left(end))
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except ConnectionError as error:
            raise _Broken from error

    def _answer(self, request: str, end: float | None) -> Json:
        """The next line that answers `request`; those of a stream that was left are skipped."""
        while True:
            line = self._line(end)
            try:
                answer = json.loads(line)
            except ValueError as error:
                raise self._unreadable(line) from error
            if not isinstance(answer, dict):
                raise self._unreadable(line)
            # Without an id: what it could not read as a request, and so cannot name.
            if answer.get("id") == request or (answer.get("id") == "" and "exit" in answer):
                return answer

    def _line(self, end: float | None) -> bytes:
        searched = 0
        while (at := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            self._socket.settimeout(_left(end))
            try:
                chunk = self._socket.recv(_CHUNK)
            except ConnectionError as error:
                raise _Broken from error
            if not chunk:
                raise _Broken
            self._buffer += chunk
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return line

    def _unreadable(self, line: bytes) -> SupervisorError:
        return SupervisorError(
            f"the supervisor of {self.paths.name} said what cannot be read, it may be of another "
            f"version: {line[:60]!r}"
        )


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """A hold on a process; None if it is gone already."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def _ended(process: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _first(*times: float | None) -> float | None:
    return min((each for each in times if each is not None), default=None)


def _left(end: float | None) -> float | None:
    """What a socket's next operation may take, in seconds."""
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _raise_for(answer: Json) -> None:
    if answer["exit"] == 0:
        return
    sentence = str(answer.get("error") or "it failed, and no reason was given")
    raise UserError(sentence) if answer["exit"] == 2 else CrewError(sentence)


def _event_number(answer: Json) -> int | None:
    event = answer.get("event")
    return event.get("seq") if isinstance(event, dict) else None


def merge(view: Json, change: Json) -> Json:
    """`view` with `change` applied, as a new value. Agents merge by name; `gone` are left out."""
    merged = {**view, **{k: v for k, v in change.items() if k not in ("agents", "gone")}}
    gone = set(change.get("gone", ()))
    agents = {agent["name"]: agent for agent in view["agents"] if agent["name"] not in gone}
    for agent in change.get("agents", ()):
        agents[agent["name"]] = {**agents.get(agent["name"], {}), **agent}
    merged["agents"] = list(agents.values())
    return merged
