"""One flight: the same question, asked by many processes at once, is run by one of them.

The first to take the lock of the question's key leads: it runs the question, and serves
`flights/KEY.sock` to the others, who hear the same text as it comes and then the same result. If
the leader dies or gives up, its connections end without a result, and one of the others leads.

A follower says one byte, its rank in the queue: the leader may have to wait for its turn, and is
as urgent as the most urgent of its followers. What it is sent: frames of one letter, the length of
the body, and the body.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import CrewError, UserError
from orchestrator.oneshot.locks import Lock

# Seconds between two looks for a leader that has the lock and does not listen: it is about to
# listen, or about to leave, which takes it less than a millisecond.
_PAUSE = 0.002
_PAUSE_MOST = 0.1
# And how long it is looked for: after that, the question is run without it.
PATIENCE = 5.0
# Seconds that a leader stays after its end for followers that do not read.
LINGER = 1.0

_TEXT, _ANEW, _RESULT, _ERROR = b"T", b"A", b"R", b"E"
_HEADER = struct.Struct(">cI")
_CHUNK = 65536
# Connections that wait to be accepted; the kernel's own bound is lower.
_BACKLOG = 8192


class Flight(NamedTuple):
    """What became of a question: its result, and whether another process had it run."""

    result: bytes
    joined: bool


class Hearing:
    """Passes on what is told, and nothing twice.

    A run that ends early is followed by another, here or in another process, that tells its text
    from the beginning. As far as that is what was heard, it is not passed on. Where it differs,
    `restarted` is called, and its whole text passed on.
    """

    def __init__(self, heard: Callable[[str], None], restarted: Callable[[], None]) -> None:
        self._heard = heard
        self._restarted = restarted
        self._passed_on = ""
        # How much of that this run has told.
        self._told = 0

    def anew(self) -> None:
        """Another run begins."""
        self._told = 0

    def piece(self, text: str) -> None:
        """The run says more."""
        begun, self._told = self._told, self._told + len(text)
        known = self._passed_on[begun : self._told]
        if not text.startswith(known):
            self._restart(self._passed_on[:begun] + text)
        elif fresh := text[len(known) :]:
            self._passed_on += fresh
            self._heard(fresh)

    def ended(self) -> None:
        """The run is over: its text may be the beginning of what was heard, and no more."""
        if 0 < self._told < len(self._passed_on):
            self._restart(self._passed_on[: self._told])

    def _restart(self, text: str) -> None:
        self._passed_on = text
        self._restarted()
        self._heard(text)


class Teller:
    """What the leader says: called with each piece of the text; `anew` before a second try."""

    over = False

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        # The frames of this try, for those who come late.
        self._said: list[bytes] = []
        self._more = asyncio.Event()

    def __call__(self, text: str) -> None:
        self._say(_TEXT, text.encode("utf-8", "surrogatepass"))
        self._hearing.piece(text)

    def anew(self) -> None:
        """What was told so far is void: it is told from the beginning now."""
        self._said = []
        self._say(_ANEW)
        self._hearing.anew()

    def end(self, kind: bytes, body: bytes) -> None:
        """Say how it ended; nothing more is said."""
        self.over = True
        self._say(kind, body)

    def _say(self, kind: bytes, body: bytes = b"") -> None:
        self._said.append(_HEADER.pack(kind, len(body)) + body)
        self._more.set()
        self._more = asyncio.Event()

    async def tell(self, follower: socket.socket) -> None:
        """Tell a follower all of it, from the beginning; at its own pace."""
        loop = asyncio.get_running_loop()
        said, told = self._said, 0
        with contextlib.suppress(ConnectionError):
            while True:
                if said is not self._said:
                    said, told = self._said, 0
                if frames := said[told:]:
                    told = len(said)
                    await loop.sock_sendall(follower, b"".join(frames))
                elif self.over:
                    return
                else:
                    await self._more.wait()


Lead = Callable[[Teller], Awaitable[bytes]]


async def fly(
    directory: Path,
    key: str,
    lead: Lead,
    heard: Callable[[str], None],
    restarted: Callable[[], None],
    *,
    rank: int = 0,
    joined: Callable[[int], None] = lambda _: None,
) -> Flight:
    """The result of the question of `key`: of `lead`, called here or in another process.

    `directory` is the cache's. `heard` is called with each piece of the text; `restarted` when
    the text so far is void and comes anew. `rank` is said to the leader, where `joined` is called
    with it. Two processes that do not overlap both lead: the later one's `lead` finds the result
    of the first in the cache, if it looks there.

    Raises what `lead` raises; in the other processes CrewError or UserError with its sentence.
    """
    loop = asyncio.get_running_loop()
    flights = directory / "flights"
    hearing = Hearing(heard, restarted)
    give_up, pause = loop.time() + PATIENCE, _PAUSE
    while True:
        hearing.anew()
        try:
            leading = _open(flights, key)
        except OSError:  # Nothing can be shared where no files can be made.
            return await alone(lead, hearing)
        if leading is not None:
            result = await _lead(leading, lead, Teller(hearing), joined)
            hearing.ended()
            return Flight(result, joined=False)
        if (leader := _dial(flights, key)) is not None:
            with leader:
                heard_of = await _follow(leader, hearing, rank)
            if heard_of is not None:
                hearing.ended()
                return Flight(heard_of, joined=True)
            give_up, pause = loop.time() + PATIENCE, _PAUSE
        elif loop.time() < give_up:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_MOST)
        else:
            return await alone(lead, hearing)


async def alone(lead: Lead, hearing: Hearing) -> Flight:
    """The same, without telling anybody."""
    result = await lead(Teller(hearing))
    hearing.ended()
    return Flight(result, joined=False)


# -- the leader -----------------------------------------------------------------------------------


class _Leading(NamedTuple):
    lock: Lock
    listening: socket.socket
    socket: Path

    def close(self) -> None:
        """Nobody can join from here on; the next one to ask leads."""
        with contextlib.suppress(OSError):
            self.socket.unlink()
        self.listening.close()
        self.lock.release()


def _open(flights: Path, key: str) -> _Leading | None:
    """Take the lead of a question, and listen; None if another process leads."""
    flights.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = Lock.take(flights / f"{key}.lock")
    if lock is None:
        return None
    path = flights / f"{key}.sock"
    try:
        path.unlink(missing_ok=True)  # of a leader that was killed
        return _Leading(lock, _listen(flights, key), path)
    except BaseException:
        lock.release()
        raise


def _listen(flights: Path, key: str) -> socket.socket:
    listening = _socket()
    try:
        os.fchmod(listening.fileno(), 0o600)  # is the mode of the file that bind makes
        with _address(flights, key) as address:
            listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


async def _lead(
    leading: _Leading, lead: Lead, teller: Teller, joined: Callable[[int], None]
) -> bytes:
    """Run the question, and tell the followers. They are told of an error with a sentence; on any
    other end of it they are left, so that one of them leads."""
    loop = asyncio.get_running_loop()
    followers: set[asyncio.Task[None]] = set()

    def left(follower: socket.socket, task: asyncio.Task[None]) -> None:
        # Not by the task itself: one that is cancelled may never have begun.
        loop.remove_reader(follower)
        follower.close()
        followers.discard(task)

    def heed(follower: socket.socket) -> None:
        """It says its rank, or has left."""
        loop.remove_reader(follower)
        with contextlib.suppress(OSError):
            for rank in follower.recv(1):
                joined(rank)

    def accept() -> None:
        try:
            while True:
                follower = leading.listening.accept()[0]
                follower.setblocking(False)
                loop.add_reader(follower, heed, follower)
                task = loop.create_task(teller.tell(follower))
                followers.add(task)
                task.add_done_callback(partial(left, follower))
        except BlockingIOError:
            return
        except OSError:  # No descriptors are left: the others are not told, and lead in turn.
            loop.remove_reader(leading.listening)

    loop.add_reader(leading.listening, accept)
    try:
        result = await lead(teller)
        teller.end(_RESULT, result)
        return result
    except CrewError as error:
        told = {"sentence": str(error), "exit": error.exit_status}
        teller.end(_ERROR, json.dumps(told).encode())
        raise
    finally:
        loop.remove_reader(leading.listening)
        if teller.over:
            accept()
        leading.close()
        if followers and teller.over:
            await asyncio.wait(followers, timeout=LINGER)
        for follower in followers:
            follower.cancel()


# -- a follower -----------------------------------------------------------------------------------


def _dial(flights: Path, key: str) -> socket.socket | None:
    """Connect to the leader; None: nobody listens, or too many wait to be heard."""
    dialled = _socket()
    try:
        with _address(flights, key) as address:
            dialled.connect(address)
    except OSError:
        dialled.close()
        return None
    return dialled


async def _follow(leader: socket.socket, hearing: Hearing, rank: int) -> bytes | None:
    """Hear the leader's text; its result, or None: the leader is gone."""
    with contextlib.suppress(OSError):  # What it said before its end is there to be heard.
        leader.send(bytes([rank]))
    buffer = bytearray()
    while chunk := await _receive(leader):
        buffer += chunk
        for kind, body in _frames(buffer):
            if kind == _TEXT:
                hearing.piece(body.decode("utf-8", "surrogatepass"))
            elif kind == _ANEW:
                hearing.anew()
            elif kind == _ERROR:
                raise _error(body)
            else:
                return body
    return None


async def _receive(leader: socket.socket) -> bytes:
    """What comes next; nothing at the end, also where the leader died before it accepted us."""
    try:
        return await asyncio.get_running_loop().sock_recv(leader, _CHUNK)
    except ConnectionError:
        return b""


def _frames(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole frames from the buffer."""
    while len(buffer) >= _HEADER.size:
        kind, length = _HEADER.unpack_from(buffer)
        end = _HEADER.size + length
        if len(buffer) < end:
            return
        body = bytes(buffer[_HEADER.size : end])
        del buffer[:end]
        yield kind, body


def _error(body: bytes) -> CrewError:
    told = json.loads(body)
    return (UserError if told["exit"] == UserError.exit_status else CrewError)(told["sentence"])


# -- sockets --------------------------------------------------------------------------------------


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


@contextlib.contextmanager
def _address(flights: Path, key: str) -> Iterator[str]:
    """The address of the leader's socket: short, wherever the cache is."""
    directory = os.open(flights, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{key}.sock"
    finally:
        os.close(directory)
