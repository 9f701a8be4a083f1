"""What the verbs on the socket mean: a question is answered from the world or the journal, an
order becomes an event.

An order's answer is the reducer's `Reply`; it comes after the event is on disk. The same request
sent twice (its first answer was lost with a supervisor) is found in the journal by its id and
not done again.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from orchestrator.asking import Asking
from orchestrator.core import views
from orchestrator.core.effects import Reply
from orchestrator.core.events import (
    AnswerRequested,
    AnyEvent,
    DownRequested,
    InterruptRequested,
    RestartRequested,
    RestoreRequested,
    SendRequested,
    StopRequested,
    UpRequested,
)
from orchestrator.core.frames import Teller
from orchestrator.core.receipts import PERSON
from orchestrator.core.state import Agent, Source
from orchestrator.errors import CrewError
from orchestrator.sinks.publish import Publisher
from orchestrator.sinks.store import Store
from orchestrator.sinks.worker import Worker
from orchestrator.sources import clock, processes
from orchestrator.sources.ipc import Connection, parse_team
from orchestrator.tally import Tally
from orchestrator.viewing import Viewing

log = logging.getLogger(__name__)

# What an agent may ask for, from inside its own process tree: it may talk and look.
AGENTS_MAY = frozenset(
    {"ping", "status", "watch", "screen", "send", "events", "why", "logs", "asked", "oneshot"}
)
EVENTS_PAGE = 1000
# What is told of a message that was sent before.
MESSAGE = ("number", "sender", "state", "detail", "run")
# Messages among which a repeated `send` is looked for: it comes back within seconds.
RECENT = 1000
# Seconds that whoever watches has to take the last changes when the session is down.
LAST_CHANGES = 0.5

Request = Mapping[str, Any]


class Requests:
    """Serves every connection. `logs(agent, lines)` reads a pane; `environ(env)` takes the
    environment that panes get from now on; `target(agent)` is where `crew attach` goes;
    `watching()` is entered while somebody watches; `ahead(pid)`: whether the supervisor itself
    has this process ask a CLI; `room()` waits until the loop can take an order in, and tells
    whether it had to."""

    def __init__(
        self,
        publisher: Publisher,
        store: Store,
        worker: Worker,
        post: Callable[[AnyEvent], None],
        *,
        logs: Callable[[Agent, int], Awaitable[str]],
        environ: Callable[[Mapping[str, str]], None],
        target: Callable[[Agent | None], Awaitable[Mapping[str, Any]]],
        asking: Asking,
        viewing: Viewing,
        watching: Callable[[], AbstractContextManager[None]],
        ahead: Callable[[int], bool],
        room: Callable[[], Awaitable[bool]],
    ) -> None:
        self._publisher = publisher
        self._store = store
        self._worker = worker
        self._post = post
        self._logs = logs
        self._environ = environ
        self._target = target
        self._asking = asking
        self._viewing = viewing
        self._watching = watching
        self._ahead = ahead
        self._room = room
        self._tally = Tally(publisher.count)
        self._streams: set[asyncio.Task[Any]] = set()
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        # Set when the recorded world may be shown, and when orders may be taken.
        self.readable = asyncio.Event()
        self.ready = asyncio.Event()
        self._closed = False

    def reply(self, effect: Reply) -> None:
        """Hand an answer to whoever waits for it."""
        future = self._waiting.pop(effect.request, None)
        if future is not None and not future.done():
            future.set_result(effect)

    def close(self) -> None:
        """The loop has ended. Who asks from here on is not answered: the connection ends with this
        process, and the same is asked of the next one."""
        self._closed = True
        self.ready.clear()

    async def finish(self) -> None:
        """The session is down: tell whoever watches the last changes, and that it is over."""
        self._publisher.end()
        self._viewing.end()
        if self._streams:
            await asyncio.wait(self._streams, timeout=LAST_CHANGES)

    async def handle(self, request: Request, connection: Connection) -> None:
        """Serve one request to its final answer, whatever goes wrong."""
        try:
            await self._serve(request, connection)
        except (CrewError, ValueError, TypeError) as error:
            if self._closed:
                return
            status = error.exit_status if isinstance(error, CrewError) else 2
            await connection.final(request["id"], status, {"error": str(error)})
        except Exception as error:  # a defect, of which the client is told as well
            if self._closed:
                return
            log.exception("a request was not served")
            text = f"{request['verb']} failed by a defect: {type(error).__name__}: {error}"
            await connection.final(request["id"], 1, {"error": text})

    async def _serve(self, request: Request, connection: Connection) -> None:
        await self.readable.wait()
        verb, name = request["verb"], request["id"]
        question = getattr(self, f"_ask_{verb}", None)
        if question is not None and verb in AGENTS_MAY:
            # Whoever it is may: its process may have gone, having told all that it had to.
            await question(request, connection)
            return
        caller = self._caller(connection.pid)
        if caller is not None and verb not in AGENTS_MAY:
            text = f"{caller} is an agent: it may send and look, not {verb}"
            await connection.final(name, 1, {"error": text})
            return
        if question is not None:
            await question(request, connection)
            return
        event = self._order(request, caller)
        await self.ready.wait()
        if isinstance(event, str):
            await connection.final(name, 2, {"error": event})
        else:
            await self._do(request, event, connection)

    def _caller(self, pid: int) -> str | None:
        """The agent that `pid` belongs to, by its process tree, now or in its last run.

        An environment is a claim, so it can only take rights away: it tells of a process that is
        so young that its agent's launch is not known yet.
        """
        return self._of(pid) or processes.claimed(pid, self._publisher.world.session)

    def _of(self, pid: int) -> str | None:
        """The agent that `pid` is seen to belong to."""
        leaders = {
            process.pid: agent.name
            for agent in self._publisher.world.agents.values()
            for process in (agent.process, agent.previous)
            if process is not None
        }
        return processes.caller(pid, leaders)

    # -- orders -----------------------------------------------------------------------------------

    async def _do(self, request: Request, event: AnyEvent, connection: Connection) -> None:
        name = request["id"]
        waited = True
        while waited:
            if broken := self._publisher.health["storage"]:
                await connection.final(name, 1, {"error": f"nothing is accepted now: {broken}"})
                return
            if await self._worker.call(self._store.seen, [f"request:{name}"]):
                await self._again(request, connection)
                return
            waited = await self._room()
        if isinstance(event, UpRequested):
            self._environ(dict(request.get("env") or {}))
        future = self._waiting.get(name)
        if future is None:
            future = self._waiting[name] = asyncio.get_running_loop().create_future()
            self._post(event)
        # Whoever asks again before the event is on disk waits for the same answer.
        reply = await self._answer_or_full(future)
        await connection.final(name, reply.exit, dict(reply.body))

    async def _answer_or_full(self, future: asyncio.Future[Reply]) -> Reply:
        """Wait for the answer. A disk that fills meanwhile is an answer too: it is not accepted."""
        while True:
            changed = asyncio.ensure_future(self._publisher.changed())
            both: set[asyncio.Future[Any]] = {future, changed}
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if future.done():
                return future.result()
            if broken := self._publisher.health["storage"]:
                text = f"it is not on disk yet: {broken}; it is done when the disk can be written"
                return Reply(request="", exit=1, body={"error": text})

    async def _again(self, request: Request, connection: Connection) -> None:
        """A repeated request: say what is known of the first one's outcome."""
        name, verb = request["id"], request["verb"]
        if verb == "send":
            rows = await self._worker.call(self._store.messages, limit=RECENT, newest=True)
            for row in rows:
                if row["key"] == f"request:{name}":
                    message = {k: row[k] for k in MESSAGE}
                    await connection.final(name, 0, {"message": message, "repeated": True})
                    return
            text = "the message was not accepted: look with `crew status` and send it again"
            await connection.final(name, 1, {"error": text, "repeated": True})
            return
        if verb in ("answer", "interrupt"):
            text = f"the supervisor restarted in the middle of this {verb}: look before repeating"
            await connection.final(name, 1, {"error": text, "repeated": True})
            return
        names = list(self._publisher.world.agents)
        body = {"started": names, "adopted": [], "changed": [], "removed": [], "restored": names}
        await connection.final(name, 0, {**body, "repeated": True})

    def _order(self, request: Request, caller: str | None) -> AnyEvent | str:
        """The event that a request is, or what is wrong with the request."""
        at, mono = clock.now()
        source: Source = "agent" if caller else "person"
        common: dict[str, Any] = {
            "at": at,
            "mono": mono,
            "source": source,
            "key": f"request:{request['id']}",
            "request": request["id"],
        }
        try:
            match request["verb"]:
                case "up":
                    team = parse_team(request["team"])
                    draws = {spec.name: str(uuid.uuid4()) for spec in team.agents}
                    return UpRequested(team=team, conversations=draws, **common)
                case "down":
                    return DownRequested(**common)
                case "restore":
                    return RestoreRequested(**common)
                case "send":
                    sender, text = caller or PERSON, str(request["text"])
                    agent = str(request["agent"])
                    return SendRequested(agent=agent, text=text, sender=sender, **common)
                case "answer":
                    return AnswerRequested(
                        agent=str(request["agent"]),
                        choice=str(request["choice"]),
                        asked=_text(request.get("asked")),
                        hook=_text(request.get("hook")),
                        reason=_text(request.get("reason")),
                        **common,
                    )
                case "interrupt":
                    return InterruptRequested(agent=str(request["agent"]), **common)
                case "restart":
                    return RestartRequested(agent=str(request["agent"]), **common)
                case "stop":
                    return StopRequested(agent=str(request["agent"]), **common)
                case verb:
                    return f"{verb!r} is no verb of this supervisor"
        except KeyError as error:
            return f"{request['verb']}: {error.args[0]!r} is missing"
        except ValueError as error:
            return f"{request['verb']}: {error}"

    # -- questions --------------------------------------------------------------------------------

    async def _ask_ping(self, request: Request, connection: Connection) -> None:
        await connection.final(request["id"], 0, {})

    async def _ask_status(self, request: Request, connection: Connection) -> None:
        told = self._publisher
        view = views.view(told.world, told.health, told.samples, told.asks)
        await connection.final(request["id"], 0, {"view": view})

    async def _ask_watch(self, request: Request, connection: Connection) -> None:
        with self._stream(), self._watching():
            async with contextlib.aclosing(self._publisher.watch()) as changes:
                async for line in changes:
                    if not await connection.send(id=request["id"], **line):
                        return
            await connection.final(request["id"], 0, {})

    async def _ask_screen(self, request: Request, connection: Connection) -> None:
        """What an agent's pane shows, now and whenever it shows something else: what differs."""
        agent = await self._agent(request, connection)
        if agent is None:
            return
        teller = Teller()
        with self._stream():
            async with contextlib.aclosing(self._viewing.watch(agent.name)) as frames:
                async for frame in frames:
                    if not await connection.send(id=request["id"], **teller.line(frame)):
                        return
            await connection.final(request["id"], 0, {})

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        """What runs inside ends by `finish`."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)

    async def _ask_events(self, request: Request, connection: Connection) -> None:
        """Events after `since`; with only `limit`, the newest ones; with `follow`, what comes."""
        since, limit = request.get("since"), request.get("limit")
        newest, seq = since is None and limit is not None, int(since or 0)
        agent, kinds = request.get("agent"), tuple(request.get("kinds") or ())
        while True:
            upto = self._publisher.committed
            page = int(limit) if limit is not None else EVENTS_PAGE
            rows = await self._worker.call(
                self._store.events, seq, agent=agent, kinds=kinds, limit=page, newest=newest
            )
            for row in rows:
                if not await connection.send(id=request["id"], event=row):
                    return
            if limit is None and len(rows) == EVENTS_PAGE:
                seq = rows[-1]["seq"]
                continue
            if not request.get("follow"):
                await connection.final(request["id"], 0, {})
                return
            limit, newest = None, False
            seq = max([upto, *(row["seq"] for row in rows)])
            while self._publisher.committed <= seq:
                await self._publisher.changed()

    async def _ask_asked(self, request: Request, connection: Connection) -> None:
        """A hook waits for a person's answer to what it told of. Who it belongs to is seen."""
        agent = self._of(connection.pid)
        if agent is None or agent != request.get("agent"):
            text = "only an agent's own hook waits for the answer to its request"
            await connection.final(request["id"], 1, {"error": text})
            return
        run, key = int(request["run"]), str(request["key"])
        decision = await self._asking.wait(agent, run, key)
        await connection.final(request["id"], 0, {"decision": decision})

    async def _ask_oneshot(self, request: Request, connection: Connection) -> None:
        """`crew ask` tells how far its question is: it waits, its CLI runs, it has ended.

        It is being answered for as long as the connection is there.
        """
        match request.get("state"):
            case "waiting":
                with self._tally.asking(connection):
                    await asyncio.Event().wait()
            case "running":
                self._tally.runs(connection)
            case "ended":
                outcome, saved = str(request.get("outcome")), float(request.get("saved_usd") or 0)
                ahead = self._ahead(connection.pid)
                self._tally.ended(connection, outcome, saved, ahead=ahead)
                await connection.final(request["id"], 0, {})
            case state:
                raise ValueError(f"{state!r} is no state of a question")

    async def _ask_why(self, request: Request, connection: Connection) -> None:
        agent = await self._agent(request, connection)
        if agent is not None:
            why = views.why(self._publisher.world, agent)
            await connection.final(request["id"], 0, {"why": why})

    async def _ask_logs(self, request: Request, connection: Connection) -> None:
        agent = await self._agent(request, connection)
        if agent is not None:
            text = await self._logs(agent, int(request.get("lines") or 0))
            await connection.final(request["id"], 0, {"text": text})

    async def _ask_attach(self, request: Request, connection: Connection) -> None:
        agent = None
        if request.get("agent") is not None:
            agent = await self._agent(request, connection)
            if agent is None:
                return
        body = dict(await self._target(agent))
        exit_status = 1 if "error" in body else 0
        await connection.final(request["id"], exit_status, body)

    async def _agent(self, request: Request, connection: Connection) -> Agent | None:
        agents = self._publisher.world.agents
        agent = agents.get(str(request.get("agent")))
        if agent is None:
            names = ", ".join(agents) or "none"
            text = f"there is no agent {request.get('agent')!r} here: there is {names}"
            await connection.final(request["id"], 2, {"error": text})
        return agent


def _text(found: object) -> str | None:
    return None if found is None else str(found)
