"""The link over a real socket: it tells what changes, says when nobody answers, comes back."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.client import Json
from orchestrator.dashboard import link as links
from orchestrator.dashboard.link import (
    Changed,
    Connected,
    Lost,
    Recorded,
    Regained,
    SocketLink,
    Told,
)
from orchestrator.errors import CrewError, SupervisorError, UserError
from orchestrator.locations import SessionPaths, session_paths
from tests.fake_supervisor import FakeSupervisor, agent, session
from tests.support import wait_until

UP: Json = session("t", agent("a"))


@pytest.fixture
def paths(home: Path) -> SessionPaths:
    return session_paths("t")


@pytest.fixture
def supervisor(paths: SessionPaths) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(paths, agent("a")) as made:
        yield made


class Ear:
    """What the link has told; `hear` waits for the next of a kind."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._came = asyncio.Event()

    def __call__(self, told: Told) -> None:
        self.told.append(told)
        self._came.set()

    async def hear(self, kind: type[Any], deadline: float = 20.0) -> Any:
        """The first of that kind; it and what came before it is forgotten."""
        number = await self.until(kind, deadline)
        told = self.told[number]
        del self.told[: number + 1]
        return told

    async def until(self, kind: type[Any], deadline: float = 20.0) -> int:
        """The place of the first of that kind, once it is there."""
        async with asyncio.timeout(deadline):
            while True:
                for number, told in enumerate(self.told):
                    if isinstance(told, kind):
                        return number
                self._came.clear()
                await self._came.wait()


@contextlib.asynccontextmanager
async def running(link: SocketLink) -> AsyncIterator[Ear]:
    ear = Ear()
    task = asyncio.create_task(link.run(ear))
    try:
        yield ear
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def linked(paths: SessionPaths, recorded: Json = UP) -> SocketLink:
    return SocketLink(paths, lambda: recorded)


async def test_it_tells_the_view_and_its_changes(
    paths: SessionPaths, supervisor: FakeSupervisor
) -> None:
    async with running(linked(paths)) as ear:
        assert (await ear.hear(Connected)).view["agents"][0]["status"] == "ready"
        supervisor.publish(agents=[agent("a", "working"), agent("b")])
        view = (await ear.hear(Changed)).view
        assert [(a["name"], a["status"]) for a in view["agents"]] == [
            ("a", "working"),
            ("b", "ready"),
        ]


async def test_a_request_and_its_refusals(paths: SessionPaths, supervisor: FakeSupervisor) -> None:
    link = linked(paths)
    async with running(link) as ear:
        await ear.hear(Connected)
        supervisor.handlers["stop"] = lambda request: {"note": request["agent"]}
        assert (await link.request("stop", agent="a"))["note"] == "a"
        supervisor.handlers["stop"] = lambda _: {"exit": 1, "error": "it is gone"}
        with pytest.raises(CrewError, match="it is gone"):
            await link.request("stop", agent="a")
        supervisor.handlers["stop"] = lambda _: {"exit": 2, "error": "no such agent"}
        with pytest.raises(UserError, match="no such agent"):
            await link.request("stop", agent="x")
        # A connection that breaks before the answer: the same request again, and done once.
        supervisor.handlers.clear()
        supervisor.breaks = 1
        assert (await link.request("interrupt", agent="a"))["exit"] == 0
        first, second = supervisor.asked("interrupt")
        assert first == second


async def test_a_stream_goes_on_after_a_break(
    paths: SessionPaths, supervisor: FakeSupervisor
) -> None:
    def serve(request: Json, talk: Any) -> bool:
        if request["verb"] != "events" or request.get("since") is not None:
            return supervisor._serve(request, talk)
        talk.wfile.write(json.dumps({"id": request["id"], "event": {"seq": 1}}).encode() + b"\n")
        return False  # and hangs up

    supervisor.serve = serve
    supervisor.streams["events"] = lambda _: iter([{"event": {"seq": 2}}, {"exit": 0}])
    link = linked(paths)
    async with running(link) as ear:
        await ear.hear(Connected)
        seen = [line["event"]["seq"] async for line in link.stream("events", limit=5, follow=True)]
    assert seen == [1, 2]
    assert [line.get("since") for line in supervisor.asked("events")] == [None, 1]


async def test_a_supervisor_that_hangs_is_said_within_a_second(
    paths: SessionPaths, supervisor: FakeSupervisor
) -> None:
    goes_on = threading.Event()
    goes_on.set()
    pinged: list[float] = []

    def ping(_: Json) -> Json:
        pinged.append(time.monotonic())
        return {"waited": goes_on.wait(50)}

    supervisor.handlers["ping"] = ping

    def seconds(lost: Lost) -> int:
        found = re.fullmatch(r"the supervisor has not answered for (\d+) s", lost.reason)
        assert found
        return int(found[1])

    async with running(linked(paths)) as ear:
        await ear.hear(Connected)
        goes_on.clear()
        first = seconds(await ear.hear(Lost))
        # PATIENCE where the machine has time for it.
        assert time.monotonic() - pinged[-1] < 15
        # The next number, but for those that a busy machine has slept through.
        assert 1 <= first < seconds(await ear.hear(Lost))
        goes_on.set()
        await ear.hear(Regained)


async def test_one_that_hangs_from_the_start_is_said(
    paths: SessionPaths, supervisor: FakeSupervisor
) -> None:
    stop = threading.Event()
    supervisor.serve = lambda request, talk: stop.wait(50)
    async with running(linked(paths)) as ear:
        assert "has not answered" in (await ear.hear(Lost)).reason
        stop.set()


async def test_what_is_not_the_supervisors_silence(
    paths: SessionPaths, supervisor: FakeSupervisor
) -> None:
    asked, stopped = threading.Event(), threading.Event()

    def ping(_: Json) -> Json:
        asked.set()
        return {"waited": stopped.wait(20)}

    supervisor.handlers["ping"] = ping
    async with running(linked(paths)) as ear:
        await ear.hear(Connected)
        await asyncio.to_thread(asked.wait, 20)
        # This process is stopped now, not that one: what it has not read is no silence.
        ear.told.clear()
        stopped.set()
        over = time.monotonic() + links.BEAT + 3 * links.PATIENCE
        wait_until(lambda: time.monotonic() > over, "it goes on")
        supervisor.publish(agents=[agent("a", "working")])
        await ear.until(Changed)
        assert not [told for told in ear.told if isinstance(told, Lost)]


async def test_a_supervisor_that_is_gone_is_started_again(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[FakeSupervisor] = []
    tries: list[str] = []

    def start(paths: SessionPaths, environ: Any, timeout: float) -> str:
        tries.append(paths.name)
        if len(tries) == 1:
            raise SupervisorError("it could not be started: see the log")
        started.append(FakeSupervisor(paths, agent("a", "working")).__enter__())
        return "ready"

    monkeypatch.setattr(links, "start_supervisor", start)
    monkeypatch.setattr(links, "FAILED", 0.05)
    link = linked(paths)
    with FakeSupervisor(paths, agent("a")) as first:
        async with running(link) as ear:
            await ear.hear(Connected)
            first.leave()
            assert "is gone" in (await ear.hear(Lost)).reason
            assert "see the log" in (await ear.hear(Lost)).reason
            assert tries == ["t"]
            assert (await ear.hear(Connected)).view["agents"][0]["status"] == "working"
            started[0].leave()


async def test_a_session_that_is_down_is_shown_and_not_started(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "DOWN", 0.05)
    link = linked(paths, {**UP, "state": "down"})
    async with running(link) as ear:
        told = await ear.hear(Recorded)
        assert told.view["state"] == "down"
        assert told.reason == "session t is down: `crew restore t` brings its agents back"
        with pytest.raises(CrewError, match="crew restore t"):
            await link.request("stop", agent="a")
        with pytest.raises(CrewError, match="is down"):
            await anext(link.stream("screen", agent="a"))
        with FakeSupervisor(paths, agent("a")):
            await ear.hear(Connected)
            assert (await link.request("stop", agent="a"))["exit"] == 0


def test_a_thread_does_not_keep_the_process_from_ending() -> None:
    code = (
        "import asyncio, threading; from orchestrator.dashboard.link import in_thread\n"
        "runs = threading.Event()\n"
        "def for_ever(): runs.set(); threading.Event().wait()\n"
        "async def main():\n"
        "    task = asyncio.create_task(in_thread(for_ever))\n"
        "    await asyncio.to_thread(runs.wait)\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=40)
