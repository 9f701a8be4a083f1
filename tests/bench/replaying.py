"""A team's work as events, and the real loop that takes them in, in a process of its own.

`python -m tests.bench.replaying WHAT AGENTS EVENTS` prints what it measured as JSON: `cost` (CPU
microseconds an event takes), `memory` (MiB and bytes that stay), `queries` (milliseconds).

The loop is the supervisor's own, put together by `Supervisor`: its queue, the reducer, the journal
on disk, `Watchers.follow` and all else that is told of a new world, the publisher, and one
subscriber that is sent each change as bytes. It has neither tmux nor processes: terminals and
files that it is pointed at do not exist. One event is posted when the one before is on disk, so
nothing is shared out over a batch: that is the dearest way.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.core.dialects import Malformed, parse_hook, parse_status_line
from orchestrator.core.events import (
    AgentSpawned,
    AnyEvent,
    HookReceived,
    ProcessExited,
    Recovered,
    ScreenSeen,
    ServerStarted,
    StatusFileSeen,
    StatusLineSeen,
    TranscriptSeen,
    UpRequested,
)
from orchestrator.core.reducer import reduce, reduce_safely
from orchestrator.core.spec import AgentSpec, RestartPolicy, TeamSpec
from orchestrator.core.state import Process, World, empty_world
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import Answer, Mark
from orchestrator.core.views import view
from orchestrator.definitions import load_definition
from orchestrator.locations import ensure_private, session_paths
from orchestrator.sinks.store import Loaded, Reader, Store
from orchestrator.sinks.worker import Worker
from orchestrator.supervising import Supervisor
from tests.bench.kernel import resident_mib

Told = tuple[AnyEvent, ...]

PAYLOADS = Path(__file__).resolve().parents[1] / "payloads"
SESSION, BOOT = "replay", "boot"
MODEL = "claude-opus-5-5"
PROMPT = "Look at what the last change does to the order of the rows, and say what is wrong. " * 3
WORDS = "The rows are sorted twice, and the second time by another key: I took that out. " * 5
# Of so many agents one is known by its screen alone; tools that a turn uses.
SCREENS, TOOLS = 10, 2
STEPS = 2 + 2 * TOOLS
# Seconds: when a story begins, and between two of its events.
LATER, STEP = 4e9, 0.01
# Turns of everybody before anything is measured: what an agent is remembered by is all there.
BEFORE = 2
# Of a journal: events of one transaction, rows that a person is shown, and times that each question
# is asked; and an agent that did something at the beginning alone.
COMMIT, SHOWN, ROUNDS, SELDOM = 500, 50, 50, "seldom"
# Rounds of the polling way.
LOOKS = 5
# Events at once where it does not matter what one costs.
BURST = 50


class Story:
    """Events of a team at work, in the order in which its sources tell them.

    Who does the next thing is drawn; each does one thing after the other, turn by turn. Of one
    thing several sources tell. It is long from now, and one event comes `STEP` after the other: no
    deadline falls due, however slow the machine is.
    """

    def __init__(self, agents: int) -> None:
        self.names = [f"a-{number}" for number in range(agents)]
        self._chance = random.Random(agents)
        self._hooks = {f.stem: json.loads(f.read_text()) for f in (PAYLOADS / "claude").iterdir()}
        self._line = json.loads((PAYLOADS / "claude_status_line.json").read_text())
        self._ids = {name: str(uuid.UUID(int=n)) for n, name in enumerate(self.names)}
        self._steps = {name: self._work(name) for name in self.names}
        self._number = 0

    def launch(self) -> Iterator[AnyEvent]:
        """The team is launched, and everybody ready."""
        yield Recovered(
            boot=BOOT,
            epoch=1,
            supervisor=1,
            server=None,
            panes=(),
            jitter=0.5,
            **self._stamp("crew"),
        )
        conversations = dict(self._ids)
        stamp = self._stamp("person")
        yield UpRequested(team=self._team(), conversations=conversations, request="up", **stamp)
        yield ServerStarted(server=_process(2), **self._stamp("tmux"))
        for number, name in enumerate(self.names):
            yield AgentSpawned(
                agent=name,
                run=1,
                pane=f"%{number}",
                tty=f"/nowhere/{number}",
                process=_process(number + 3),
                resumed=False,
                **self._stamp("tmux"),
            )
            if self._is_shell(name):
                yield self._screen(name, "ready")
            else:
                yield self._hook(name, "SessionStart")
                yield self._status(name, "ready", "idle")

    def turns(self, count: int) -> Iterator[AnyEvent]:
        """So many turns of everybody, one agent after the other."""
        for name in self.names:
            for _ in range(count):
                for told in self._turn(name):
                    yield from told

    def scattered(self) -> Iterator[AnyEvent]:
        """Everybody gets on, to one step of a turn or another."""
        for name in self.names:
            for _ in range(self._chance.randrange(STEPS)):
                yield from next(self._steps[name])

    def work(self) -> Iterator[AnyEvent]:
        """What everybody does from here on, without an end."""
        while True:
            yield from next(self._steps[self._chance.choice(self.names)])

    def _work(self, name: str) -> Iterator[Told]:
        while True:
            yield from self._turn(name)

    def _turn(self, name: str) -> Iterator[Told]:
        if self._is_shell(name):
            yield (self._screen(name, "working"),)
            yield (self._screen(name, "ready"),)
            return
        yield (
            self._hook(name, "UserPromptSubmit", prompt=PROMPT),
            self._status(name, "working", "busy"),
            self._transcript(name, prompts=(PROMPT,)),
        )
        for _ in range(TOOLS):
            yield (self._hook(name, "PreToolUse"),)
            yield (
                self._hook(name, "PostToolBatch"),
                self._transcript(name, tokens={MODEL: Tokens(input=900, output=40)}),
                self._status_line(name),
            )
        tokens = {MODEL: Tokens(input=50, output=300, cache_read=9000)}
        yield (
            self._hook(name, "Stop", last_assistant_message=WORDS),
            self._status(name, "ready", "idle"),
            self._transcript(name, last_words=WORDS[:500], tokens=tokens),
        )

    # -- one event --------------------------------------------------------------------------------

    def _stamp(self, source: str) -> dict[str, Any]:
        self._number += 1
        now = LATER + STEP * self._number
        return {"at": now, "mono": now, "source": source}

    def _is_shell(self, name: str) -> bool:
        return self.names.index(name) % SCREENS == SCREENS - 1

    def seldom(self) -> AnyEvent:
        """An event of an agent that is not in the team any more."""
        return self._screen(SELDOM, "ready")

    def death(self) -> AnyEvent:
        stamp = self._stamp("process")
        return ProcessExited(agent=self.names[0], run=9, signal=9, jitter=0.5, **stamp)

    def _team(self) -> TeamSpec:
        return TeamSpec(
            name=SESSION,
            root="/nowhere",
            blueprint="/nowhere/crew.toml",
            digest="",
            agents=tuple(
                AgentSpec(
                    name=name,
                    cli="shell" if self._is_shell(name) else "claude",
                    role="worker",
                    role_prompt="You work on what you are told, and say when it is done. " * 10,
                    env={},
                    restart=RestartPolicy(),
                )
                for name in self.names
            ),
            clis={cli: load_definition(cli, None) for cli in ("claude", "shell")},
        )

    def _hook(self, name: str, hook: str, **fields: object) -> HookReceived:
        payload = {**self._hooks[hook], **fields, "session_id": self._ids[name]}
        payload["transcript_path"] = self._file(name)
        found = parse_hook("claude", hook, json.dumps(payload).encode())
        assert not isinstance(found, Malformed)
        key = f"hook:{name}.1.{hook}.{self._number}:{self._number}"
        stamp = self._stamp("hook")
        given = {f: getattr(found, f) for f in found.__dataclass_fields__}
        return HookReceived(agent=name, run=1, hook=hook, key=key, **given, **stamp)

    def _status_line(self, name: str) -> StatusLineSeen:
        cost = {"total_cost_usd": 0.001 * self._number}
        payload = {**self._line, "session_id": self._ids[name], "cost": cost}
        found = parse_status_line("claude", json.dumps(payload).encode())
        assert not isinstance(found, Malformed)
        given = {f: getattr(found, f) for f in found.__dataclass_fields__}
        key = f"hook:{name}.1.StatusLine.{self._number}:{self._number}"
        return StatusLineSeen(agent=name, run=1, key=key, **given, **self._stamp("hook"))

    def _status(self, name: str, status: Any, raw: str) -> StatusFileSeen:
        known: dict[str, Any] = {"conversation": self._ids[name], "version": "2.1.329"}
        stamp = self._stamp("status")
        return StatusFileSeen(agent=name, run=1, status=status, raw=raw, **known, **stamp)

    def _screen(self, name: str, status: Any) -> ScreenSeen:
        return ScreenSeen(agent=name, run=1, status=status, **self._stamp("screen"))

    def _transcript(self, name: str, **fields: Any) -> TranscriptSeen:
        stamp = self._stamp("transcript")
        numbers = range(self._number, self._number + 4)
        answer = Answer(model=MODEL, tokens=Tokens(input=9, output=9))
        mark = Mark(
            offset=400 * self._number,
            before=f"{self._number:016x}",
            at=stamp["at"],
            answers={f"msg_{n:024d}": answer for n in numbers},
        )
        file = self._file(name)
        return TranscriptSeen(
            agent=name, run=1, transcript=file, file=file, mark=mark, **fields, **stamp
        )

    def _file(self, name: str) -> str:
        return f"/nowhere/.claude/projects/-nowhere/{self._ids[name]}.jsonl"


def _process(pid: int) -> Process:
    """One that is not there: no process has such a number."""
    return Process(pid=2**22 + pid, start=pid, boot=BOOT)


def begun(story: Story) -> World:
    """The world after the launch and the first turns."""
    world = empty_world(SESSION)
    for events in (story.launch(), story.turns(BEFORE), story.scattered()):
        for event in events:
            world, _ = reduce(world, event)
    return world


# -- the loop -------------------------------------------------------------------------------------


class Loop:
    """A supervisor's loop on its real database, with one subscriber."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.told = 0
        self._supervisor = supervisor
        self._until = 0

    def post(self, *events: AnyEvent) -> None:
        self._supervisor.meter.posted(events)
        self._supervisor.runtime.post(*events)
        self._until = self._supervisor.publisher.committed + len(events)

    async def written(self) -> None:
        """Wait until all that was posted is on disk, and told."""
        publisher = self._supervisor.publisher
        while publisher.committed < self._until:
            await publisher.changed()

    async def take(self, events: Iterator[AnyEvent], count: int, at_once: int = 1) -> None:
        """Take in so many events."""
        for _ in range(count // at_once):
            self.post(*itertools.islice(events, at_once))
            await self.written()
        await self._supervisor.watchers.files.settled()

    async def subscribe(self) -> None:
        """Be told of every change, as bytes, as the socket would."""
        async for line in self._supervisor.publisher.watch():
            self.told += len(json.dumps(line, separators=(",", ":")).encode())


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[Loop]:
    """The loop, from this world on."""
    paths = session_paths(SESSION)
    for directory in paths.directories():
        ensure_private(directory)
    store, _ = Store.open(paths.database, now=time.time())
    store.take_over()
    store.save_world(world, 0)
    worker = Worker()
    supervisor = Supervisor(paths, store, worker, Loaded(world, 0), dict(os.environ))
    loop = Loop(supervisor)
    await supervisor.watchers.files.start()
    tasks = [asyncio.create_task(work) for work in (supervisor.runtime.run(), loop.subscribe())]
    try:
        yield loop
    finally:
        supervisor.runtime.leave("now")
        await tasks[0]
        supervisor.publisher.end()
        await tasks[1]
        await supervisor.watchers.close()
        await supervisor.spare.close()
        store.close()
        worker.close()


# -- what is measured -----------------------------------------------------------------------------


async def cost(agents: int, events: int) -> Mapping[str, float]:
    """`reducer`, `loop` and `polling`: CPU microseconds that an event takes."""
    story = Story(agents)
    world = begun(story)
    reducer = _reducer(world, story, events)
    async with running(world) as loop:
        await loop.take(story.work(), 50)
        given = iter(list(itertools.islice(story.work(), events)))
        begin = time.process_time()
        await loop.take(given, events)
        taken = time.process_time() - begin
        assert loop.told, "the subscriber was told of nothing"
    return {"reducer": reducer, "loop": taken / events * 1e6, "polling": _polling(world)}


def _reducer(world: World, story: Story, events: int) -> float:
    given = list(itertools.islice(story.work(), events))
    begin = time.process_time()
    for event in given:
        world, _ = reduce(world, event)
    return (time.process_time() - begin) / events * 1e6


def _polling(world: World) -> float:
    """Of the way without events: the whole state is read from its file, and written again."""
    text = json.dumps(view(world))
    begin = time.process_time()
    for _ in range(LOOKS):
        text = json.dumps(json.loads(text))
    return (time.process_time() - begin) / LOOKS * 1e6


async def memory(agents: int, events: int) -> Mapping[str, float]:
    """`grown` MiB while so many events are taken in, after a few of them; `database` MiB."""
    story = Story(agents)
    async with running(begun(story)) as loop:
        work = story.work()
        await loop.take(work, events // 50, BURST)
        before = resident_mib(os.getpid())
        await loop.take(work, events, BURST)
        grown = resident_mib(os.getpid()) - before
    size = session_paths(SESSION).database.stat().st_size
    return {"grown": grown, "database": size / 2**20}


async def queries(agents: int, events: int) -> Mapping[str, list[float]]:
    """Milliseconds that each of some reads of the journal takes, by what is asked; `dump`: to find
    an agent's newest events in a file of JSON lines, as others keep them."""
    path = session_paths(SESSION).database
    ensure_private(path.parent)
    store, _ = Store.open(path, now=time.time())
    store.take_over()
    story = Story(agents)
    told = itertools.chain(story.launch(), _now_and_then(story))
    for _ in range(events // COMMIT):
        store.commit([next(told) for _ in range(COMMIT)], [])
    store.save_world(begun(story), events)
    text = path.with_name("journal.jsonl")
    with text.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in store.events())
    name = story.names[agents // 2]
    asked: Mapping[str, Callable[[], object]] = {
        "newest": lambda: store.events(limit=SHOWN, newest=True),
        "of one": lambda: store.events(agent=name, limit=SHOWN, newest=True),
        "of a few": lambda: store.events(agent=SELDOM, limit=SHOWN, newest=True),
        "of a kind": lambda: store.events(kinds=("process_exited",), limit=SHOWN, newest=True),
        "what came": lambda: store.events(events - 1),
        "a page": lambda: store.events(events // 2, limit=COMMIT),
        "seen": lambda: store.seen([f"hook:{n}" for n in range(COMMIT)]),
        "world": lambda: store.load(SESSION, reduce_safely),
    }
    taken = {what: [_timed(ask) for _ in range(ROUNDS)] for what, ask in asked.items()}
    store.close()
    taken["look"] = [_timed(lambda: Reader.look(path).close()) for _ in range(3)]
    taken["dump"] = [_timed(lambda: _grep(text, name)) for _ in range(3)]
    return taken


def _now_and_then(story: Story) -> Iterator[AnyEvent]:
    """The team's work; one who was there at its beginning alone, and, seldom, a death."""
    yield from (story.seldom() for _ in range(SHOWN))
    for number, event in enumerate(story.work()):
        yield event
        if not number % 5000:
            yield story.death()


def _timed(ask: Callable[[], object]) -> float:
    begin = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - begin)


def _grep(file: Path, name: str) -> list[object]:
    with file.open() as lines:
        rows = map(json.loads, lines)
        return [row for row in rows if row["agent"] == name][-SHOWN:]


def main(what: str, agents: int, events: int) -> None:
    measures = {"cost": cost, "memory": memory, "queries": queries}
    print(json.dumps(asyncio.run(measures[what](agents, events))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
