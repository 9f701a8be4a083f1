"""Deaths while the control client is away; and what is read from screens beside all else."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator import procfs, watchers
from orchestrator.core.events import (
    AnyEvent,
    DeadlinePassed,
    HookReceived,
    ProcessExited,
    ScreenSeen,
    StatusFileGone,
)
from orchestrator.core.reducer import reduce
from orchestrator.core.spec import ScreenPattern
from orchestrator.core.state import Doing, Process, Status, World
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.launching import Environment
from orchestrator.locations import ensure_private, session_paths
from orchestrator.sources import clock
from orchestrator.tmux import panes
from orchestrator.tmux.link import Link
from orchestrator.watchers import Watchers
from tests.core.worlds import agent_spec, running
from tests.test_runtime import until

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


# -- screens ---------------------------------------------------------------------------------------


class Screens(Tmux):
    """A server whose pane shows `lines`; where they are being drawn, one more at each look."""

    def __init__(self, lines: Sequence[str], drawn: int | None = None) -> None:
        super().__init__(away=0)
        self.lines = lines
        self.drawn = drawn

    async def snapshot(self, pane: str, *, history: bool = False) -> Sequence[str]:
        shown = self.lines[: self.drawn]
        self.drawn = None if self.drawn is None else self.drawn + 1
        return shown


LIMITED = ScreenPattern(match=r"limit, (?P<seconds>\d+)s", status="limited")
RETRYING = ScreenPattern(match="again", status="working", doing="retrying")
READY = ScreenPattern(match="ready", status="ready")
ASKS = ScreenPattern(match="Proceed", status="blocked", ask="permission")
OPTION = r"^ *(?P<cursor>❯)? *(?P<key>\d)\. (?P<label>.+)"
DIALOG = ["Proceed?", "❯ 1. Yes", "  2. Yes, always", "  3. No"]


@pytest.fixture
async def watching(home: object) -> AsyncIterator[tuple[Watchers, Session, Screens]]:
    """An agent at work, whose CLI tells by hooks and a status file."""
    session, tmux = Session(), Screens([])
    team = session.world.team
    assert team is not None
    cli = team.clis["demo"]
    screen = replace(cli.screen, patterns=(LIMITED, RETRYING, READY))
    clis = {**team.clis, "demo": replace(cli, screen=screen)}
    session.world = replace(session.world, team=replace(team, clis=clis))
    at, mono = clock.now()
    stamp: dict[str, Any] = {"at": at, "mono": mono, "agent": "a", "run": 1}
    session.post(HookReceived(source="hook", hook="UserPromptSubmit", text="do it", **stamp))
    made = Watchers(
        session_paths("t"),
        cast(Link, tmux),
        world=lambda: session.world,
        post=session.post,
        already=lambda keys: set(),
        doubt=lambda source, reason: None,
        environment=lambda: Environment({}),
        wrong=lambda source, sentence: None,
    )
    yield made, session, tmux
    await made.close()


def shown(session: Session) -> list[tuple[str | None, str | None]]:
    return [(e.status, e.doing) for e in session.posted if isinstance(e, ScreenSeen)]


async def test_a_glance_tells_what_nothing_else_does(
    watching: tuple[Watchers, Session, Screens],
) -> None:
    made, session, tmux = watching
    tmux.lines = ["ready"]
    await made._glance("a")
    assert shown(session) == [], "of that, its status file tells"
    tmux.lines = ["again"]
    await made._glance("a")
    assert shown(session) == [("working", "retrying")]
    assert session.world.agents["a"].doing is Doing.RETRYING
    tmux.lines = ["limit, 24s"]
    await made._glance("a")
    assert session.status is Status.LIMITED


async def test_the_seconds_that_are_left_of_a_limit_are_no_news(
    watching: tuple[Watchers, Session, Screens], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, session, _ = watching
    now = 1000.0
    monkeypatch.setattr(made, "_ends", lambda look: now + look.seconds)
    made._screen("a", ["limit, 24s"])
    for second in range(23):
        now = 1000.5 + second
        made._screen("a", [f"limit, {24 - second}s"])
    assert shown(session) == [("limited", None)]
    made._screen("a", ["limit, 38s"])
    assert shown(session) == [("limited", None)] * 2


async def test_a_screen_that_stands_in_for_a_status_file_tells_what_it_told_before(
    watching: tuple[Watchers, Session, Screens],
) -> None:
    """It said so at the start; of the interrupt since then, nothing else tells."""
    made, session, _ = watching
    made._screen("a", ["ready"])
    at, mono = clock.now()
    session.post(StatusFileGone(at=at, mono=mono, source="status", agent="a", run=1))
    due = session.world.deadlines["doubt:a"]
    session.post(
        DeadlinePassed(at=at, mono=mono, source="clock", name="doubt:a", due=due, jitter=0.5)
    )
    made._screen("a", ["ready"])
    assert session.status is Status.READY


async def test_a_dialog_is_told_of_once_it_stands(
    watching: tuple[Watchers, Session, Screens],
) -> None:
    """The first look comes while it is drawn: its first choices are not all that it has."""
    made, session, tmux = watching
    team = session.world.team
    assert team is not None
    screen = replace(team.clis["demo"].screen, patterns=(ASKS,), option=OPTION)
    clis = {**team.clis, "demo": replace(team.clis["demo"], screen=screen)}
    session.world = replace(session.world, team=replace(team, clis=clis))
    tmux.lines, tmux.drawn = DIALOG, 3
    made._screen("a", DIALOG[:3])
    await until(lambda: shown(session), "it is told of")
    (told,) = [e for e in session.posted if isinstance(e, ScreenSeen)]
    assert [label for _, label in told.options] == ["Yes", "Yes, always", "No"]
    made._screen("a", DIALOG)
    await made.settle()
    assert shown(session) == [("blocked", None)], "it is no news"
