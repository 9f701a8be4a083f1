"""Numbers for whoever watches: what agents use, how the loop keeps up, what is out of order."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import views
from orchestrator.core.events import AnyEvent, DeadlinePassed
from orchestrator.core.state import Process, empty_world
from orchestrator.procfs import process_of
from orchestrator.sampling import RSS_STEP, Meter, Sampler
from orchestrator.sinks.publish import Publisher
from orchestrator.sources.processes import Usage
from orchestrator.sources.ptys import Terminals
from orchestrator.sources.watches import Watches
from orchestrator.verbs.render import session_remarks
from tests.end_to_end.conftest import Crew
from tests.end_to_end.conftest import crew as crew
from tests.test_viewing import Ask
from tests.test_viewing import ask as ask

Json = dict[str, Any]
TEAM = '[[agents]]\nname = "a"\n[[agents]]\nname = "b"\n'


# -- the meter -------------------------------------------------------------------------------------


def event(mono: float) -> AnyEvent:
    return DeadlinePassed(at=0.0, mono=mono, source="clock", name="x", due=0.0, jitter=0.0)


def test_the_meter_reads_the_queue_and_the_latency_of_an_interval() -> None:
    meter = Meter()
    assert meter.reading() == {"queue": 0, "latency_ms": None, "events": 0}
    first, again, second, late = event(10.0), event(10.0), event(10.5), event(12.0)
    meter.posted((first, again))
    meter.posted((second,))
    meter.published(10.75)
    meter.posted((late,))
    # The loop dropped one of them as told twice.
    meter.committed((first, second))
    assert meter.reading() == {"queue": 4, "latency_ms": 750.0, "events": 2}
    # What comes after the publication was not part of it: it changed nothing.
    meter.committed((late,))
    assert meter.reading() == {"queue": 1, "latency_ms": None, "events": 1}
    assert meter.reading() == {"queue": 0, "latency_ms": None, "events": 0}


# -- the sampler -----------------------------------------------------------------------------------


@dataclass
class Told:
    """What a sampler said, and a wait for the next."""

    samples: list[Json] = field(default_factory=list)
    loads: list[Json | None] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, samples: Json, load: Json | None) -> None:
        self.samples.append(samples)
        self.loads.append(load)
        self.more.set()

    async def next(self) -> tuple[Json, Json | None]:
        async with asyncio.timeout(20):
            await self.more.wait()
        self.more.clear()
        return self.samples[-1], self.loads[-1]


@contextlib.asynccontextmanager
async def running(sampler: Sampler) -> AsyncIterator[None]:
    task = asyncio.create_task(sampler.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose child uses a core."""
    command = f"{sys.executable} -c 'while True: pass'; :"
    child = subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)
    yield child
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


async def test_a_tree_is_measured_for_whoever_watches(busy: subprocess.Popen[bytes]) -> None:
    process = process_of(busy.pid)
    assert process is not None
    told = Told()
    shown: set[str] = set()
    sampler = Sampler(
        lambda: {"a": process}, Meter(), told, shown=lambda: shown, idle=60, every=0.3, soon=0.5
    )
    async with running(sampler):
        with sampler.watching():
            samples, load = await told.next()
            assert (list(samples), samples["a"]["cpu"], load) == (["a"], None, None)
            assert samples["a"]["rss"] % RSS_STEP == 0
            assert samples["a"]["pss"] is None, "nobody looks at it"
            with sampler.watching():  # A second one changes nothing.
                samples, load = await told.next()
            assert load == {"queue": 0, "latency_ms": None, "events": 0}
            # Its child counts, once that has come to run.
            async with asyncio.timeout(20):
                while not 0.05 <= samples["a"]["cpu"] <= 1.5 or samples["a"]["rss"] < 5 * RSS_STEP:
                    samples, _ = await told.next()
            assert samples["a"]["children"] == 1
            shown.add("a")
            while samples["a"]["pss"] is None:
                samples, _ = await told.next()
            assert samples["a"]["pss"] % RSS_STEP == 0
            assert samples["a"]["pss"] > 0
            shown.clear()
            while samples["a"]["pss"] is not None:
                samples, _ = await told.next()
        assert (await told.next())[1] is None, "nobody watches: there is no load to tell"


async def test_passes_are_spared_and_a_failure_is_not_the_end() -> None:
    """One that comes right after another one left sees what was just measured."""
    passes = 0
    process, other = (Process(pid=n, start=1, boot="b") for n in (1, 2))
    processes = {"a": process}

    def usage(found: Mapping[str, Process], shown: Collection[str]) -> Mapping[str, Usage]:
        nonlocal passes
        passes += 1
        if passes == 2:
            raise OSError("no /proc today")
        return {name: Usage(cpu=float(passes), rss=1, children=0) for name in found}

    told = Told()
    sampler = Sampler(lambda: processes, Meter(), told, usage=usage, idle=60, every=0.05, soon=60)
    async with running(sampler):
        with sampler.watching():
            await told.next()
        for _ in range(20):
            with sampler.watching():
                await asyncio.sleep(0)
        assert passes == 1
        told.more.clear()
        sampler._soon = 0.05
        with sampler.watching():
            samples, _ = await told.next()
            assert passes >= 3, "after the one that failed"
            cpu = samples["a"]["cpu"]
            assert samples["a"] == {"cpu": cpu, "rss": 0, "children": 0, "pss": None}
            assert cpu > 0
            processes["a"] = other
            while (samples := (await told.next())[0])["a"]["cpu"] is not None:
                pass
            processes.clear()
            while (await told.next())[0]:
                pass


async def test_what_differs_by_little_is_told_as_the_same() -> None:
    """And of whom nobody looks at, the costly part is not asked for."""
    asked: list[Collection[str]] = []
    processes = {name: Process(pid=1, start=1, boot="b") for name in "ab"}

    def usage(found: Mapping[str, Process], shown: Collection[str]) -> Mapping[str, Usage]:
        asked.append(shown)
        size = 7 * RSS_STEP + 1000 * len(asked)
        pss = dict.fromkeys(shown, size - RSS_STEP)
        return {n: Usage(cpu=1.0, rss=size, children=2, pss=pss.get(n)) for n in found}

    told = Told()
    sampler = Sampler(
        lambda: processes,
        Meter(),
        told,
        shown=lambda: ["b", "gone"],
        usage=usage,
        idle=60,
        every=0.02,
        soon=0.02,
    )
    async with running(sampler):
        with sampler.watching():
            while len(told.samples) < 4:
                await told.next()
    assert {frozenset(each) for each in asked} == {frozenset({"b", "gone"})}
    same = {"cpu": 0.0, "rss": 7 * RSS_STEP, "children": 2}
    expected = {"a": {**same, "pss": None}, "b": {**same, "pss": 6 * RSS_STEP}}
    assert [told.samples[n] == expected for n in (1, 2, 3)] == [True] * 3


# -- what is told ----------------------------------------------------------------------------------


async def test_samples_and_health_are_told_when_they_differ() -> None:
    world = empty_world("t")
    publisher = Publisher(world)
    publisher.sample({"a": {"cpu": None, "rss": 1}})
    async with contextlib.aclosing(publisher.watch()) as told:
        view = (await anext(told))["view"]
        assert view["samples"] == {"a": {"cpu": None, "rss": 1}}
        assert view["health"] == views.HEALTH
        publisher.sample({"a": {"cpu": 0.5, "rss": 1}})
        publisher.say(loop={"queue": 1, "latency_ms": 0.1, "events": 2})
        part = (await anext(told))["change"]
        assert part == {
            "samples": {"a": {"cpu": 0.5, "rss": 1}},
            "health": {**views.HEALTH, "loop": {"queue": 1, "latency_ms": 0.1, "events": 2}},
        }
        publisher.sample({"a": {"cpu": 0.5, "rss": 1}})
        publisher.say(tmux="it is gone")
        publisher.end()
        assert set((await anext(told))["change"]) == {"health"}, "the last change, and the end"
        assert [line async for line in told] == []


def test_only_sentences_are_remarks() -> None:
    health = {**views.HEALTH, "storage": "the disk is full", "tmux": "it is gone"}
    health |= {"loop": {"queue": 9}, "sources": {"files": "no watch", "tmux": "it is gone"}}
    view = views.view(empty_world("t"), health)
    assert session_remarks(view) == ["! the disk is full", "! it is gone", "! no watch"]


async def test_who_cannot_watch_a_place_says_what_stands_in_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sources' own sentences, by their own failures."""
    told: list[str] = []
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.sources.watches.os.access", lambda path, mode: False)
        made = Watches[str](lambda tokens: None, lambda: None, told.append)
        made.settle([], {hidden: "token"})
        made.close()
    terminals = Terminals(asyncio.get_running_loop(), lambda agent: None, told.append)
    terminals._without("a", "/dev/pts/1", OSError(28, "No space left on device"))
    terminals.close()
    assert len(told) == 2
    assert all("looked at every" in sentence for sentence in told)


# -- through the real supervisor -------------------------------------------------------------------


def sample(line: Json, name: str) -> Json:
    """What a line of `watch` says that an agent uses."""
    told = line.get("view") or line.get("change") or {}
    found: Json = told.get("samples", {}).get(name, {})
    return found


def test_a_watcher_sees_what_agents_use_and_how_the_loop_keeps_up(crew: Crew, ask: Ask) -> None:
    crew.blueprint(TEAM)
    crew.up()
    crew.wait_status(a="ready", b="ready")
    crew.run("stop", "b")
    crew.wait_status(b="stopped")
    screen = ask("screen", agent="a")
    assert screen.next() is not None
    stream = ask("watch")
    view = stream.next()
    assert view is not None
    assert {"samples", "health"} <= set(view["view"])
    crew.run("send", "--wait", "a", "hello")

    def load_of(line: Json) -> Json:
        found: Json = line.get("change", {}).get("health", {}).get("loop") or {}
        return found

    def is_whole(line: Json) -> bool:
        """What was published in one interval may be on disk in the next one only."""
        return load_of(line).get("latency_ms") is not None and bool(load_of(line)["events"])

    load = load_of(stream.until(is_whole, "a load"))
    assert 0 <= load["latency_ms"] < 5000
    assert load["queue"] >= 1
    status = crew.wait(
        lambda view: view["samples"].get("a", {}).get("pss"), "somebody looks at its screen"
    )
    assert set(status["samples"]) == {"a"}, "who has no process is left out"
    used = status["samples"]["a"]
    assert used["rss"] > 0
    assert used["children"] >= 0
    assert status["health"]["sources"] == {"files": None, "screens": None, "tmux": None}
    assert "!" not in crew.run("status").stdout
    stream.close()
    crew.wait(lambda view: view["health"]["loop"] is None, "nobody watches")
    screen.close()
    ask("watch").until(
        lambda line: sample(line, "a").get("pss", 1) is None, "nobody looks at its screen"
    )
    assert all(e["kind"] != "sampled" for e in crew.events()), "never journalled"
