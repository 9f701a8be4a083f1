"""Deaths that fall into a moment in which the control client is away."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator import procfs, watchers
from orchestrator.core.events import AnyEvent, ProcessExited
from orchestrator.core.reducer import reduce
from orchestrator.core.state import Process, Status, World
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.launching import Environment
from orchestrator.locations import ensure_private, session_paths
from orchestrator.tmux import panes
from orchestrator.tmux.link import Link
from orchestrator.watchers import Watchers
from tests.core.worlds import agent_spec, running

GONE = Process(pid=1, start=0, boot="another boot")
Told = tuple[bool, int | None, int | None] | None


class Tmux:
    """A server that lives, and a connection to it that comes back after `away` looks.

    `dead` is what it then says of a pane whose process has ended: None, the pane is gone.
    """

    def __init__(self, away: int, dead: Told = None) -> None:
        self.away = away
        self.dead = dead
        self.looks = 0
        self.on_look: Callable[[], None] = lambda: None

    @property
    def control(self) -> "Tmux":
        self.looks += 1
        self.on_look()
        if self.looks <= self.away:
            raise TmuxGone("attach-session", "there is no connection to the tmux server")
        return self

    async def snapshot(self, pane: str, *, history: bool) -> Sequence[str]:
        raise TmuxError("capture-pane", "no last words")


class Session:
    """A team of one in a world of its own, and what is posted to it."""

    def __init__(self) -> None:
        server = procfs.process_of(os.getpid())
        self.world: World = replace(running(agent_spec("a")).world, server=server)
        self.posted: list[AnyEvent] = []

    def post(self, *events: AnyEvent) -> None:
        for event in events:
            self.posted.append(event)
            self.world, _ = reduce(self.world, event)

    @property
    def status(self) -> Status:
        return self.world.agents["a"].status

    def exits(self) -> list[tuple[bool, bool, int | None]]:
        found = [e for e in self.posted if isinstance(e, ProcessExited)]
        return [(e.known, e.pane_gone, e.code) for e in found]


Dies = Callable[[Tmux, Session], Any]


@pytest.fixture
async def dies(home: object, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Dies]:
    """The process of an agent ends; returns when everything is told."""
    monkeypatch.setattr(watchers, "STATUS_SOON", 0.0)
    monkeypatch.setattr(watchers, "STATUS_STEP", 0.0)
    made: list[Watchers] = []

    async def exit_status(tmux: Tmux, pane: str) -> panes.ExitStatus | None:
        return None if tmux.dead is None else panes.ExitStatus(*tmux.dead)

    async def die(tmux: Tmux, session: Session) -> None:
        paths = session_paths("t")
        for directory in paths.directories():
            await asyncio.to_thread(ensure_private, directory)
        made.append(
            Watchers(
                paths,
                cast(Link, tmux),
                world=lambda: session.world,
                post=session.post,
                already=set,
                doubt=lambda source, reason: None,
                environment=lambda: Environment({}),
                wrong=lambda source, sentence: None,
            )
        )
        agent = session.world.agents["a"]
        await made[-1]._tell_exit("a", agent.run, agent.pane)

    monkeypatch.setattr(panes, "exit_status", exit_status)
    yield die
    for one in made:
        await one.close()


async def test_a_pane_that_was_closed_meanwhile_is_taken_as_a_wish(dies: Dies) -> None:
    session = Session()
    await dies(Tmux(away=20), session)
    assert session.exits() == [(False, False, None), (True, True, None)]
    assert session.status is Status.STOPPED
    assert not session.world.agents["a"].wanted


async def test_an_exit_status_is_learned_when_the_client_is_back(dies: Dies) -> None:
    session = Session()
    await dies(Tmux(away=20, dead=(True, 0, None)), session)
    assert session.exits() == [(False, False, None), (True, False, 0)]
    assert session.status is Status.EXITED


async def test_a_server_that_went_with_it_is_not_waited_for(dies: Dies) -> None:
    session = Session()
    session.world = replace(session.world, server=GONE)
    tmux = Tmux(away=10**9)
    await dies(tmux, session)
    assert session.exits() == [(True, False, None)]
    assert tmux.looks < 5


async def test_a_client_that_does_not_come_back_is_not_waited_for_in_vain(
    dies: Dies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "AWAY", 0.05)
    monkeypatch.setattr(watchers, "STATUS_LATE", 0.05)
    session = Session()
    await dies(Tmux(away=10**9), session)
    assert session.exits() == [(False, False, None), (True, False, None)]
    assert session.status is Status.BACKOFF


async def test_what_the_server_took_with_it_is_not_told_twice(dies: Dies) -> None:
    """By then it is about to be started again: the old death is no death of the new one."""
    session = Session()
    tmux = Tmux(away=10**9)

    def server_goes() -> None:
        if tmux.looks == 20:
            agent = replace(session.world.agents["a"], status=Status.STARTING, process=None)
            session.world = replace(session.world, server=None, agents={"a": agent})

    tmux.on_look = server_goes
    await dies(tmux, session)
    assert session.exits() == [(False, False, None)]
    assert session.status is Status.STARTING
