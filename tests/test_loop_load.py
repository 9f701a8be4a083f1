"""The loop under load: a bounded queue, nothing lost, and it is said that it is long."""

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import runtime
from orchestrator.core import events as ev
from orchestrator.core import views
from orchestrator.core.effects import AnyEffect, Reply
from orchestrator.core.reducer import reduce_safely
from orchestrator.core.state import Message, World, empty_world
from orchestrator.dashboard import model
from orchestrator.requests import Requests
from orchestrator.runtime import Queue, sample_of
from orchestrator.sources import ipc
from orchestrator.sources.files import Files
from orchestrator.verbs.render import session_remarks
from tests.core.worlds import NAMES, RUNS, agent_spec, any_event, running
from tests.test_runtime import Loop, until

# -- what is merged ------------------------------------------------------------------------------

STAMP: dict[str, Any] = {
    "at": st.floats(1_000_100, 1_000_120),
    "mono": st.floats(100, 120),
    "source": st.just("crew"),
}
SAMPLES: st.SearchStrategy[ev.AnyEvent] = st.one_of(
    st.builds(
        ev.TerminalSeen,
        agent=NAMES,
        run=RUNS,
        quiet_since=st.none() | st.sampled_from([1_000_095.0, 1_000_115.0]),
        **STAMP,
    ),
    st.builds(
        ev.SourceDoubted,
        doubted=st.sampled_from(["tmux", "hook"]),
        reason=st.sampled_from(["away", "it overflowed"]),
        **STAMP,
    ),
)


def at_work() -> World:
    """Two agents in the middle of a turn: what their terminals do means something."""
    play = running(agent_spec("a"), agent_spec("b"))
    for name in ("a", "b"):
        play.hook(name, "UserPromptSubmit")
        assert play.status(name) == "working"
    return play.world


def through(events: Sequence[ev.AnyEvent], takes: Sequence[bool]) -> list[ev.AnyEvent]:
    """What the loop takes in of these; `takes`: whether it takes one after each of them."""
    queue, taken = Queue(), []
    for event, take in zip(events, takes, strict=False):
        queue.put(event)
        if take:
            taken.append(queue.take())
    while queue:
        taken.append(queue.take())
    return taken


def fold(events: Sequence[ev.AnyEvent]) -> tuple[World, list[AnyEffect]]:
    world, effects = at_work(), list[AnyEffect]()
    for event in events:
        world, more = reduce_safely(world, event)
        effects += [effect for effect in more if effect not in effects]
    return world, effects


@given(
    st.lists(st.one_of(SAMPLES, SAMPLES, SAMPLES, any_event()), max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_what_is_merged_leaves_the_same_world(events: list[ev.AnyEvent], takes: list[bool]) -> None:
    merged = through(events, takes)
    assert fold(merged) == fold(events)
    facts = [event for event in events if sample_of(event) is None]
    assert [event for event in merged if sample_of(event) is None] == facts


@given(any_event())
def test_only_samples_are_merged(event: ev.AnyEvent) -> None:
    merged = through([event, event], [False, False])
    assert len(merged) == (1 if event.kind in ("terminal_seen", "source_doubted") else 2)


def terminal(agent: str, mono: float, quiet: float | None = None) -> ev.TerminalSeen:
    return ev.TerminalSeen(
        agent=agent, run=1, quiet_since=quiet, at=1_000_000 + mono, mono=mono, source="process"
    )


def test_a_thousand_samples_are_the_newest_of_each_agent() -> None:
    samples = [terminal(name, 200.0 + n, float(n)) for n in range(1000) for name in "abc"]
    merged = through(samples, [False] * len(samples))
    assert merged == samples[-3:]


def test_one_that_is_read_late_stands_for_nothing_newer() -> None:
    first, late = terminal("a", 200.0, 1_000_195.0), terminal("a", 101.0)
    assert through([first, late], [False] * 2) == [first, late]
    assert fold([first, late]) != fold([late]), "which is older than what it was doing"


def test_a_fact_between_two_samples_keeps_both() -> None:
    first, second = terminal("a", 200.0, 5.0), terminal("a", 201.0)
    fact = counted("x")
    assert through([first, fact, second], [False] * 3) == [first, fact, second]


# -- a loop that is behind ------------------------------------------------------------------------


def counted(key: str) -> ev.AnyEvent:
    """A fact that the world counts: one that is lost, or taken in twice, is seen there."""
    return ev.EventsMissed(at=1.0, mono=1.0, source="audit", count=1, key=key)


class Stuck(Loop):
    """A loop whose disk takes nothing while `go` is not set; what it did is counted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go = threading.Event()
        self.commits = 0
        self.longest = self.held = 0
        self.said: set[str | None] = set()
        self.reply: Callable[[Reply], None] = lambda _: None
        commit, publish = self.disk.commit, self.publisher.publish

        def slowly(events: Sequence[ev.AnyEvent], messages: Sequence[Message]) -> list[int]:
            assert self.go.wait(60)
            self.commits += 1
            return commit(events, messages)

        def published(world: World) -> None:
            self.log.append("published")
            publish(world)

        self.disk.commit = slowly  # type: ignore[method-assign]
        self.publisher.publish = published  # type: ignore[method-assign]

    def _ran(self, effects: Sequence[AnyEffect]) -> None:
        super()._ran(effects)
        for effect in effects:
            if isinstance(effect, Reply):
                self.reply(effect)

    async def source(self, name: str, count: int) -> None:
        """Post as a source does that can wait."""
        for number in range(count):
            await self.runtime.room()
            self.runtime.post(counted(f"{name}:{number}"))
            self.look()
            await asyncio.sleep(0)

    def look(self) -> None:
        self.longest = max(self.longest, len(self.runtime._queue))
        self.held = max(self.held, len(self.runtime._uncommitted))
        self.said.add(self.publisher.health["behind"])

    @property
    def full(self) -> bool:
        return self.runtime._queue.full

    async def on_disk(self) -> dict[str, list[int]]:
        """What the journal has, by source, in its order."""
        found: dict[str, list[int]] = {}
        for row in await self.worker.call(self.disk.store.events, 0, limit=10_000):
            name, _, number = str(row["key"]).partition(":")
            found.setdefault(name, []).append(int(number))
        return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches soon."""
    for name, value in (("BATCH", 10), ("BEHIND", 10), ("QUEUE", 50), ("RETRY", 0.01)):
        monkeypatch.setattr(runtime, name, value)


@pytest.fixture
async def stuck(home: Path, small: None) -> AsyncIterator[Stuck]:
    made = Stuck(home / "crew.db")
    task = asyncio.create_task(made.runtime.run())
    yield made
    made.go.set()
    made.runtime.leave("now")
    await asyncio.wait_for(task, 60)
    made.disk.store.close()
    made.worker.close()


@contextlib.asynccontextmanager
async def sources(loop: Stuck, *counts: int) -> AsyncIterator["asyncio.Future[list[None]]"]:
    posting = asyncio.gather(*(loop.source(f"s{n}", count) for n, count in enumerate(counts)))
    try:
        yield posting
        await asyncio.wait_for(posting, 60)
    finally:
        posting.cancel()


async def test_sources_wait_while_the_disk_is_slow_and_nothing_is_lost(stuck: Stuck) -> None:
    async with sources(stuck, 300, 200, 100) as posting:
        await until(lambda: stuck.full, "the queue is full")
        said = stuck.publisher.health["behind"]
        assert said.startswith("the supervisor is behind: 50 events wait")
        assert "hooks wait in their files and commands for their answers" in said
        assert not posting.done()
        stuck.go.set()
    await until(lambda: stuck.runtime.world.missed_events == 600, "all is taken in")
    await until(lambda: stuck.publisher.committed == 600, "all is on disk")
    assert await stuck.on_disk() == {f"s{n}": list(range(c)) for n, c in enumerate((300, 200, 100))}
    assert stuck.longest == 50
    assert stuck.publisher.health["behind"] is None, "it is not behind any more"
    # One commit and one publication for each drain, and a drain is a batch.
    assert stuck.log.count("published") == stuck.log.count("follow") == stuck.commits
    assert stuck.commits >= 600 / runtime.BATCH


async def test_all_who_wait_at_once_do_not_post_at_once(stuck: Stuck) -> None:
    async with sources(stuck, *[1] * 400):
        await until(lambda: stuck.full, "the queue is full")
        stuck.go.set()
    await until(lambda: stuck.runtime.world.missed_events == 400, "all is taken in")
    assert stuck.longest == 50


async def test_a_disk_that_stays_full_is_no_end_of_memory(
    stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "HELD", 100)
    stuck.go.set()
    stuck.disk.full = True
    async with sources(stuck, 200, 200):
        await until(lambda: len(stuck.runtime._uncommitted) == 100, "as much is held as may be")
        # It may have been full before, and have been emptied into what is held.
        await until(lambda: stuck.full, "the queue is full")
        tries = stuck.disk.tries
        await until(lambda: stuck.disk.tries > tries, "it is tried again")
        assert stuck.publisher.health["storage"]
        assert "50 events wait" in stuck.publisher.health["behind"]
        stuck.disk.full = False
    await until(lambda: stuck.publisher.committed == 400, "all is on disk")
    assert await stuck.on_disk() == {"s0": list(range(200)), "s1": list(range(200))}
    assert stuck.longest == 50
    assert stuck.held == 100
    assert (await stuck.worker.call(stuck.loaded))[0].missed_events == 400
    health = stuck.publisher.health
    assert (health["storage"], health["behind"]) == (None, None)


async def test_who_waits_for_room_is_let_go_when_the_loop_ends(home: Path, small: None) -> None:
    made = Stuck(home / "crew.db")
    made.go.set()
    made.disk.full = True
    task = asyncio.create_task(made.runtime.run())
    made.runtime.post(*(counted(f"x:{n}") for n in range(200)))
    waiting = asyncio.create_task(made.runtime.room())
    await until(lambda: made.publisher.health["storage"], "the disk is full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "HELD", 0)  # Nothing is taken in any more.
        made.runtime.post(*(counted(f"y:{n}") for n in range(200)))
        late = asyncio.create_task(made.runtime.room())
        await asyncio.sleep(0)
        made.runtime.leave("now")
        await asyncio.wait_for(asyncio.gather(task, waiting, late), 60)
    assert late.result() is True
    assert len(made.runtime._queue) >= 200
    made.disk.store.close()
    made.worker.close()


async def test_a_loop_that_keeps_up_says_nothing_and_nobody_waits(stuck: Stuck) -> None:
    stuck.go.set()
    async with sources(stuck, 5):
        assert await stuck.runtime.room() is False
    await until(lambda: stuck.publisher.committed == 5, "all is on disk")
    assert stuck.said == {None}


# -- it is said -----------------------------------------------------------------------------------


def test_that_it_is_behind_stands_in_status_and_in_the_dashboard() -> None:
    text = "the supervisor is behind: 2,345 events wait to be taken in"
    well = views.view(empty_world("t"))
    well["state"], well["supervisor"] = "up", {"pid": 1, "since": 0.0}
    behind = {**well, "health": {**views.HEALTH, "behind": text, "loop": {"queue": 2345}}}
    assert session_remarks(behind) == [f"! {text}"]
    assert session_remarks(well) == []

    def shown(view: dict[str, Any]) -> str:
        return "".join(part for part, _ in model.header(view, None, 120))

    assert "✗ supervisor · 2345 events wait" in shown(behind)
    assert "✓ supervisor" in shown(well)
    remarks = model.remarks(behind, None, 120)
    assert ["".join(part for part, _ in line) for line in remarks] == [f"✗ {text}"]


# -- a client that asks too much ------------------------------------------------------------------


@pytest.fixture
async def held(home: Path) -> AsyncIterator["Held"]:
    made = Held()
    server = await ipc.serve(home / "socket", made.handle)
    yield made
    server.close()


class Held:
    """Serves requests; those of one verb only when `go` is set. Counts them."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.now = self.most = 0

    async def handle(self, request: dict[str, Any], connection: ipc.Connection) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        if request["verb"] == "order":
            await self.go.wait()
        await connection.final(request["id"], 0, {})
        self.now -= 1


def lines(verb: str, count: int) -> Iterator[bytes]:
    for number in range(count):
        yield json.dumps({"id": str(number), "verb": verb}).encode() + b"\n"


async def test_a_client_that_asks_a_thousand_things_at_once_waits(home: Path, held: Held) -> None:
    reader, writer = await asyncio.open_unix_connection(home / "socket")
    writer.writelines(lines("order", 1000))
    await until(lambda: held.now == ipc.AT_ONCE, "as many are served as may be")
    other_reader, other = await asyncio.open_unix_connection(home / "socket")
    other.writelines(lines("ping", 1))
    assert json.loads(await asyncio.wait_for(other_reader.readline(), 30))["exit"] == 0
    assert held.most == ipc.AT_ONCE + 1, "the other one is served beside it"
    held.go.set()
    answers = [json.loads(await asyncio.wait_for(reader.readline(), 30)) for _ in range(1000)]
    assert sorted(int(answer["id"]) for answer in answers) == list(range(1000))
    for each in (writer, other):
        each.close()


# -- sources that can wait -------------------------------------------------------------------------


class Door:
    """The room of a loop, that a test opens; whether somebody waits for it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def __call__(self) -> bool:
        if self.open.is_set():
            return False
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        return True


def spool_hooks(spool: Path, count: int) -> None:
    for number in range(count):
        data = {"hook_event_name": "Stop", "session_id": "c", "transcript_path": "/t"}
        (spool / "new" / f"a.1.Stop.{number + 1}").write_text(json.dumps(data))


async def test_hooks_stay_in_their_files_until_there_is_room(tmp_path: Path) -> None:
    for name in ("new", "tmp", "bad"):
        (tmp_path / name).mkdir(mode=0o700)
    door, posted = Door(), list[ev.AnyEvent]()
    files = Files(
        tmp_path,
        post=posted.extend,
        already=lambda _: set(),
        report=pytest.fail,
        doubt=lambda source, reason: pytest.fail(reason),
        room=door,
    )
    await files.start()
    await until(lambda: door.waiting == 1, "it waits before it looks")
    spool_hooks(tmp_path, 300)
    assert (posted, len(list((tmp_path / "new").iterdir()))) == ([], 300)
    door.open.set()
    await until(lambda: len(posted) == 300, "all are told")
    assert len({event.key for event in posted}) == 300
    await files.stop()


async def test_files_can_be_stopped_when_the_loop_has_ended_while_they_wait(
    tmp_path: Path, small: None
) -> None:
    queue = Queue()
    for number in range(100):
        queue.put(counted(f"x:{number}"))
    files = Files(
        tmp_path,
        post=lambda _: None,
        already=lambda _: set(),
        report=lambda _: None,
        doubt=lambda source, reason: None,
        room=queue.room,
    )
    await files.start()
    queue.release()
    await asyncio.wait_for(files.stop(), 60)


class Caller:
    """The connection of a client: what it was answered."""

    pid = os.getpid()

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []

    async def final(self, request: str, exit: int, body: dict[str, Any]) -> None:
        self.answers.append({"id": request, "exit": exit, **body})


async def test_an_order_is_answered_late_and_carried_out_once(stuck: Stuck) -> None:
    stuck.go.set()
    door, nothing = Door(), cast(Any, None)
    requests = Requests(
        stuck.publisher,
        stuck.disk.store,
        stuck.worker,
        stuck.runtime.post,
        logs=nothing,
        environ=nothing,
        target=nothing,
        asking=nothing,
        viewing=nothing,
        watching=nothing,
        ahead=nothing,
        room=door,
    )
    stuck.reply = requests.reply
    requests.readable.set()
    requests.ready.set()
    caller = Caller()
    order = {"id": "1", "verb": "stop", "agent": "nobody"}
    both = [asyncio.create_task(requests.handle(order, cast(Any, caller))) for _ in range(2)]
    await until(lambda: door.waiting == 2, "they wait for room")
    status = Caller()
    await requests.handle({"id": "2", "verb": "status"}, cast(Any, status))
    assert status.answers[0]["exit"] == 0, "a question needs no room"
    door.open.set()
    await asyncio.wait_for(asyncio.gather(*both), 60)
    assert [answer["exit"] for answer in caller.answers] == [2, 2]
    assert "no agent 'nobody'" in caller.answers[0]["error"]
    assert await stuck.on_disk() == {"request": [1]}
