"""Hooks that wait for a person's answer beside the dialog that they told of.

    hook --spool---> event --> world: the ask, with the hook's key
         --socket--> `wait` <-- `answer`: a person has decided
                            <-- `follow`, `committed`: the world has moved on, so nobody answers

The CLI takes whichever comes first, the dialog's answer or the hook's. A hook is let go as soon
as what it waits for is not what its agent asks: then the dialog alone is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from orchestrator.core.lifecycle import REPORTING
from orchestrator.core.state import World

Decision = Mapping[str, str]

# Seconds in which the event of a hook is taken in; what takes longer is none that we can read.
UNREAD = 10.0


class _Waiter:
    """One hook. `known`: the world has shown its request."""

    def __init__(self, agent: str, run: int, key: str) -> None:
        self.agent = agent
        self.run = run
        self.key = key
        self.known = False
        self._result: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> bool:
        return not self._result.done()

    def end(self, decision: Decision | None) -> None:
        if self.open:
            self._result.set_result(decision)

    async def result(self) -> Decision | None:
        return await self._result


class Asking:
    """The hooks of a session that wait. Used from the loop's own thread alone.

    `seen(keys)` tells which of these keys the journal has.
    """

    def __init__(
        self,
        world: Callable[[], World],
        seen: Callable[[Sequence[str]], Awaitable[Collection[str]]],
    ) -> None:
        self._world = world
        self._seen = seen
        self._waiters: set[_Waiter] = set()
        self._came = asyncio.Event()

    async def wait(self, agent: str, run: int, key: str) -> Decision | None:
        """Wait for the answer to what the hook `key` of this agent asks.

        None: it is not to be answered any more, or never was.
        """
        waiter = _Waiter(agent, run, key)
        self._waiters.add(waiter)
        self._came.set()
        unread = asyncio.get_running_loop().call_later(UNREAD, self._unknown, waiter)
        try:
            self._judge(waiter, self._world())
            if not waiter.known and key in await self._seen((key,)):
                # It was taken in before this hook came to wait, and may be over.
                self._unknown(waiter)
            return await waiter.result()
        finally:
            unread.cancel()
            self._waiters.discard(waiter)

    def is_open(self, agent: str, key: str | None) -> bool:
        """Whether a hook waits for the answer to this request."""
        return any(self._of(agent, key))

    async def comes(self, agent: str, key: str | None, within: float) -> bool:
        """Whether a hook waits for the answer to this request, or does in so many seconds."""
        try:
            async with asyncio.timeout(within):
                while not self.is_open(agent, key):
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return False
        return True

    def answer(self, agent: str, key: str | None, decision: Decision) -> bool:
        """Give the answer to the hook that waits for it; False if none does."""
        found = self._of(agent, key)
        for waiter in found:
            waiter.end(decision)
        return bool(found)

    def _of(self, agent: str, key: str | None) -> list[_Waiter]:
        return [w for w in self._waiters if w.open and (w.agent, w.key) == (agent, key)]

    # -- the world moves on -----------------------------------------------------------------------

    def follow(self, world: World) -> None:
        """Let go whose request is over. Called at each change of the world."""
        for waiter in self._waiters:
            self._judge(waiter, world)

    def committed(self, keys: Collection[str]) -> None:
        """The events of these hooks are taken in: who waits for one is known now, or never."""
        for waiter in self._waiters:
            if waiter.key in keys:
                self._unknown(waiter)

    def _judge(self, waiter: _Waiter, world: World) -> None:
        agent = world.agents.get(waiter.agent)
        if agent is None or agent.run != waiter.run or agent.status not in REPORTING:
            waiter.end(None)
        elif any(ask.hook == waiter.key for ask in (agent.ask, *agent.behind) if ask):
            waiter.known = True
        elif waiter.known:
            waiter.end(None)

    def _unknown(self, waiter: _Waiter) -> None:
        """Let it go unless the world shows what it waits for."""
        self._judge(waiter, self._world())
        if not waiter.known:
            waiter.end(None)
