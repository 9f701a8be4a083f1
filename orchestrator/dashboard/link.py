"""The dashboard's side of the socket: lines of JSON, and what became of the supervisor.

Each stream and each request has a connection of its own, so that none waits for another. Nothing
here blocks the loop: what may take long, starting a supervisor or reading a session from disk,
runs in a thread that is not waited for at the end.
"""

import asyncio
import contextlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from orchestrator import procfs
from orchestrator.client import ANSWER, START, Json, merge
from orchestrator.dashboard.wire import Broken, Talk
from orchestrator.errors import CrewError, SupervisorError
from orchestrator.locations import SessionPaths
from orchestrator.start import start_supervisor

T = TypeVar("T")

# Seconds between two looks at the supervisor's process, and how long the answer to a ping may
# take: one that is stopped is said within a second.
BEAT, PATIENCE = 0.5, 0.4
# It is pinged each so many looks, for what else may keep it from answering; and when it looks
# stopped. A ping costs both sides ten times what a look does.
PINGED = 4
STOPPED = frozenset({b"T", b"t"})
# Seconds between two tries to reach one that is gone, and after a start that failed.
RETRY, FAILED = 0.25, 2.0
# And to one of a session that is down, where nobody waits for it.
DOWN = 1.0


@dataclass(frozen=True)
class Connected:
    """The session's supervisor answers; `view` is the whole session."""

    view: Json


@dataclass(frozen=True)
class Changed:
    """Something is different; `view` is the whole session again."""

    view: Json


@dataclass(frozen=True)
class Lost:
    """What is shown is not current any more, and why, in one sentence."""

    reason: str


@dataclass(frozen=True)
class Regained:
    """A supervisor that did not answer does so again."""


@dataclass(frozen=True)
class Recorded:
    """The session is down: `view` is what was last recorded of it."""

    view: Json
    reason: str


Told = Connected | Changed | Lost | Regained | Recorded


class Link(Protocol):
    """What the dashboard needs of a session. `SocketLink` is the real one."""

    async def run(self, tell: Callable[[Told], None]) -> None:
        """Follow the session until cancelled; every change goes to `tell`."""

    async def request(self, verb: str, **args: Any) -> Json:
        """The final answer. Raises CrewError with the supervisor's own sentence."""

    def stream(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        """What comes, through reconnections, until it is over. Raises CrewError if refused."""


class SocketLink:
    """The link to the supervisor of `paths`, which is started again when it is gone.

    `recorded` reads the session's last view from disk; it may raise CrewError.
    """

    def __init__(self, paths: SessionPaths, recorded: Callable[[], Json]) -> None:
        self._paths = paths
        self._recorded = recorded
        self._answers = asyncio.Event()  # while a supervisor can be talked to
        self._down = ""

    async def run(self, tell: Callable[[Told], None]) -> None:
        pulse = asyncio.create_task(self._beat(tell))
        try:
            while True:
                try:
                    await self._follow(tell)
                except Broken:
                    self._answers.clear()
                    await self._revive(tell)
        finally:
            pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pulse

    async def _follow(self, tell: Callable[[Told], None]) -> None:
        """Tell of every change while the connection lasts. Raises Broken when it ends."""
        async with Talk.open(self._paths.socket) as talk:
            view: Json = {}
            async for line in talk.ask("watch"):
                if "view" in line:
                    view = line["view"]
                    self._down = ""
                    self._answers.set()
                    tell(Connected(view))
                elif "change" in line:
                    view = merge(view, line["change"])
                    tell(Changed(view))
                elif "exit" in line:
                    raise Broken

    async def _revive(self, tell: Callable[[Told], None]) -> None:
        """Bring the supervisor of a session that is up back, or see that the session is down."""
        last = None
        with contextlib.suppress(CrewError):  # damaged: the supervisor sets it aside and says so
            last = await in_thread(self._recorded)
        if last is not None and last["state"] == "down":
            name = self._paths.name
            self._down = f"session {name} is down: `crew restore {name}` brings its agents back"
            tell(Recorded(last, self._down))
            await self._reappears()
            return
        tell(Lost("the supervisor is gone: it is being started again"))
        try:
            await in_thread(lambda: start_supervisor(self._paths, dict(os.environ), START))
        except CrewError as error:
            tell(Lost(str(error)))
            await asyncio.sleep(FAILED)
        else:
            await asyncio.sleep(RETRY if not self._paths.socket.exists() else 0)

    async def _reappears(self) -> None:
        """Wait until something listens again: a person has restored the session."""
        while True:
            await asyncio.sleep(DOWN)
            with contextlib.suppress(Broken):
                async with Talk.open(self._paths.socket):
                    return

    # -- is it alive ------------------------------------------------------------------------------

    async def _beat(self, tell: Callable[[Told], None]) -> None:
        while True:
            with contextlib.suppress(Broken):
                async with Talk.open(self._paths.socket) as talk:
                    for look in itertools.count():
                        if look % PINGED == 0 or _is_stopped(talk.peer):
                            await self._ping(talk, tell)
                        await asyncio.sleep(BEAT)
            await asyncio.sleep(BEAT)

    async def _ping(self, talk: Talk, tell: Callable[[Told], None]) -> None:
        """One ping, answered or not; while it is not, that is said anew as time goes by."""
        asked = time.monotonic()
        answer = asyncio.ensure_future(talk.final("ping"))
        patience, said = PATIENCE, ""
        try:
            while not answer.done():
                before = time.monotonic()
                await asyncio.wait({answer}, timeout=patience)
                now = time.monotonic()
                # Were it this process that was stopped, the answer may be there, not read yet.
                asleep = now - before > patience + PATIENCE
                if not answer.done() and not asleep:
                    sentence = f"the supervisor has not answered for {max(1, int(now - asked))} s"
                    if sentence != said:
                        tell(Lost(sentence))
                    said, patience = sentence, BEAT
            await answer
        finally:
            answer.cancel()
        if said:
            tell(Regained())

    # -- what the dashboard asks for --------------------------------------------------------------

    async def request(self, verb: str, **args: Any) -> Json:
        """As `Link.request`. A connection that breaks is dialled again with the same request: the
        supervisor never does one id twice. An `id` among `args` is that of an earlier request,
        which is asked about."""
        asked = {"id": uuid.uuid4().hex, **args}
        try:
            async with asyncio.timeout(ANSWER):
                while True:
                    if self._down:
                        raise CrewError(self._down)
                    with contextlib.suppress(Broken):
                        async with Talk.open(self._paths.socket) as talk:
                            return await talk.final(verb, **asked)
                    await asyncio.sleep(RETRY)
        except TimeoutError:
            raise SupervisorError(
                f"the supervisor did not answer `{verb}` within {ANSWER:.0f} s, and whether it is "
                f"done is not known: see {self._paths.log}"
            ) from None

    async def stream(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        """As `Link.stream`. Events go on after the last that came."""
        while True:
            if self._down:
                raise CrewError(self._down)
            await self._answers.wait()
            with contextlib.suppress(Broken):
                async with Talk.open(self._paths.socket) as talk:
                    async for line in talk.ask(verb, **args):
                        if "exit" in line:
                            return
                        if "event" in line:
                            args |= {"since": line["event"]["seq"], "limit": None}
                        yield line
            await asyncio.sleep(RETRY)


def _is_stopped(pid: int) -> bool:
    found = procfs.stat(pid)
    return found is None or found.state in STOPPED


async def in_thread(call: Callable[[], T]) -> T:
    """`call()` in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def give(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # `call` returned it

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(give, result, error)

    threading.Thread(target=work, daemon=True).start()
    return await done
