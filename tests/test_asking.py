"""Hooks that wait for an answer: who is answered, and who is let go, and when."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from orchestrator import asking
from orchestrator.asking import Asking
from orchestrator.core.state import Ask, Status, World
from tests.core.worlds import agent_spec, running

KEY, OTHER = "hook:a.1.PermissionRequest.7:1", "hook:a.1.PermissionRequest.8:2"
ALLOW = {"behavior": "allow"}


class Session:
    """A world that is changed by hand, and a journal."""

    def __init__(self) -> None:
        self.world = running(agent_spec("a"), agent_spec("b")).world
        self.journal: set[str] = set()
        self.reading = asyncio.Event()
        self.reading.set()
        self.asking = Asking(lambda: self.world, self._seen)

    async def _seen(self, keys: Sequence[str]) -> Collection[str]:
        await self.reading.wait()
        return self.journal & set(keys)

    def ask(self, key: str | None, status: Status = Status.BLOCKED, run: int = 1) -> World:
        """Let `a` ask what the hook `key` has told of; None: nothing."""
        ask = (
            None if key is None else Ask(kind="permission", text="Bash: ls", tool="Bash", hook=key)
        )
        status = Status.WORKING if ask is None and status is Status.BLOCKED else status
        agent = replace(self.world.agents["a"], ask=ask, status=status, run=run)
        self.world = replace(self.world, agents={**self.world.agents, "a": agent})
        self.asking.follow(self.world)
        return self.world

    async def wait(self, key: str = KEY, agent: str = "a", run: int = 1) -> "asyncio.Task[object]":
        """A hook that waits, as far as it has come."""
        task: asyncio.Task[object] = asyncio.create_task(self.asking.wait(agent, run, key))
        for _ in range(5):
            await asyncio.sleep(0)
        return task


@pytest.fixture
async def session() -> Session:
    return Session()


async def test_the_answer_goes_to_the_hook_of_this_request_alone(session: Session) -> None:
    session.ask(KEY)
    one, other = await session.wait(), await session.wait(KEY, "b")
    assert session.asking.is_open("a", KEY)
    assert not session.asking.is_open("a", OTHER)
    assert not session.asking.is_open("a", None)
    assert not session.asking.answer("a", OTHER, ALLOW)
    assert session.asking.answer("a", KEY, ALLOW)
    assert not session.asking.answer("a", KEY, {"behavior": "deny"}), "once"
    assert await one == ALLOW
    assert not other.done()
    other.cancel()


async def test_an_answer_can_wait_for_a_hook_that_is_on_its_way(session: Session) -> None:
    session.ask(KEY)
    coming = asyncio.create_task(session.asking.comes("a", KEY, 10))
    other = await session.wait(OTHER)
    assert not coming.done()
    one = await session.wait()
    assert await coming
    assert await session.asking.comes("a", KEY, 0)
    session.ask(None)
    assert await one is None
    assert not await session.asking.comes("a", KEY, 0)
    other.cancel()


@pytest.mark.parametrize("then", ["nothing", "another request", "the same of another run"])
async def test_a_hook_whose_request_is_over_is_let_go(session: Session, then: str) -> None:
    session.ask(KEY)
    waiting = await session.wait()
    assert not waiting.done()
    match then:
        case "nothing":
            session.ask(None)
        case "another request":
            session.ask(OTHER)
        case _:
            session.ask(KEY, run=2)
    assert await waiting is None
    assert not session.asking.is_open("a", KEY)


async def test_a_request_that_waits_behind_another_can_be_answered(session: Session) -> None:
    session.ask(KEY)
    waiting = await session.wait()
    asked = Ask(kind="permission", text="Bash: ls", tool="Bash", hook=OTHER)
    agent = session.world.agents["a"]
    assert agent.ask is not None
    agent = replace(agent, ask=asked, behind=(agent.ask,))
    session.world = replace(session.world, agents={"a": agent})
    session.asking.follow(session.world)
    assert session.asking.answer("a", KEY, ALLOW)
    assert await waiting == ALLOW


@pytest.mark.parametrize("status", [Status.EXITED, Status.STOPPING, Status.BACKOFF, Status.LOST])
async def test_a_hook_does_not_outlive_its_agent(session: Session, status: Status) -> None:
    """Also one whose request was not taken in yet."""
    session.ask(None, Status.WORKING)
    waiting = await session.wait()
    assert not waiting.done()
    session.ask(None, status)
    assert await waiting is None
    assert await session.asking.wait("a", 1, KEY) is None
    assert await session.asking.wait("nobody", 1, KEY) is None


async def test_a_hook_may_come_before_its_event(session: Session) -> None:
    waiting = await session.wait()
    session.ask(None, Status.WORKING)
    assert not waiting.done()
    session.ask(KEY)
    session.asking.committed([KEY])
    assert session.asking.answer("a", KEY, ALLOW)
    assert await waiting == ALLOW


async def test_a_hook_that_comes_when_all_is_over_is_let_go(session: Session) -> None:
    """Answered by hand while it was starting."""
    session.journal.add(KEY)
    assert await session.asking.wait("a", 1, KEY) is None
    # And one whose event is taken in and over between its coming and the look into the journal.
    session.journal.clear()
    session.reading.clear()
    waiting = await session.wait()
    session.asking.committed([KEY])
    session.reading.set()
    assert await waiting is None


async def test_a_request_that_the_world_never_shows_is_not_waited_for(session: Session) -> None:
    """A sub-agent's: its dialog comes up only when its hook has ended."""
    waiting = await session.wait()
    session.asking.committed([OTHER])
    assert not waiting.done()
    session.asking.committed([KEY])
    assert await waiting is None


async def test_a_request_that_cannot_be_read_is_not_waited_for(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "UNREAD", 0.02)
    assert await session.asking.wait("a", 1, KEY) is None
    session.ask(KEY)
    known = await session.wait()
    assert await session.asking.wait("a", 1, OTHER) is None, "as long again"
    assert not known.done(), "what is asked may take a person as long as it takes"
    known.cancel()


async def test_a_hook_that_has_gone_is_not_answered(session: Session) -> None:
    session.ask(KEY)
    waiting = await session.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert not session.asking.is_open("a", KEY)
    assert not session.asking.answer("a", KEY, ALLOW)
