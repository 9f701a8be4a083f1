"""Terminals: a screen is looked at when its agent has written to it, and only then.

A pane's terminal is a file, and inotify reports each write to it. That is a wake-up, not data:
what the screen shows is asked of tmux. A watch fires once and is gone; it is armed again right
before the next look, so that no write between the two can be missed.
"""

import asyncio
import contextlib
import errno
from collections import deque
from collections.abc import Awaitable, Callable

from asyncinotify import Event, Inotify, Mask, Watch

# Seconds without a write after which a screen is looked at, and the most that it is put off for.
QUIET, BOUND = 0.05, 0.25
# Seconds between two looks at one screen, at least: a busy CLI redraws ten times a second.
PACE = 0.2
# Looks a second at all screens, at most: where many move at once, each is looked at less often.
AT_MOST = 60
# Seconds between looks at a terminal that cannot be watched.
LOOK_EVERY = 0.5
# Seconds after which a snapshot that failed is tried again: what was written before is not told
# once more when tmux is back.
TRY_EVERY = 0.2


class Terminals:
    """Tells of the first write to each armed terminal, by `on_write(agent)`, once per arming.

    One inotify descriptor serves all, and costs nothing while nobody writes. Where the system
    has no watch left, `report` is told once, and `on_write` is called after LOOK_EVERY seconds
    instead, whether something was written or not. `restored` is called when there is no such
    terminal any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_write: Callable[[str], None],
        report: Callable[[str], None],
        restored: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._on_write = on_write
        self._report = report
        self._restored = restored
        # Whose terminals are looked at by the clock: not empty, and `report` was told.
        self._unwatched: set[str] = set()
        self._inotify: Inotify | None = None
        # What is armed: by agent, and for events by watch descriptor.
        self._armed: dict[str, tuple[str, Watch | asyncio.TimerHandle]] = {}
        self._agents: dict[int, str] = {}
        self._events: deque[Event] = deque()

    def arm(self, agent: str, tty: str) -> None:
        """Tell of the next write to this terminal. Already armed: nothing changes."""
        known = self._armed.get(agent)
        if known is not None:
            if known[0] == tty:
                return
            self._drop(agent)
        try:
            watch = self._open().add_watch(tty, Mask.MODIFY | Mask.ONESHOT)
        except FileNotFoundError:
            self._is_watched(agent)
            return  # The terminal went with its pane: of that others tell.
        except OSError as error:
            self._without(agent, tty, error)
            return
        self._armed[agent] = (tty, watch)
        self._agents[watch.wd] = agent
        self._is_watched(agent)

    def disarm(self, agent: str) -> None:
        """Tell nothing of this agent's terminal any more."""
        self._drop(agent)
        self._is_watched(agent)

    def _drop(self, agent: str) -> None:
        _, armed = self._armed.pop(agent, (None, None))
        if isinstance(armed, Watch):
            self._agents.pop(armed.wd, None)
            self._remove(armed)
        elif armed is not None:
            armed.cancel()

    def close(self) -> None:
        for agent in list(self._armed):
            self.disarm(agent)
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
        self._events.clear()

    def _open(self) -> Inotify:
        if self._inotify is None:
            # A time-out of 0: reading what has come ends when nothing is left, and never waits.
            self._inotify = Inotify(sync_timeout=0)
            self._loop.add_reader(self._inotify.fd, self._drain)
        return self._inotify

    def _remove(self, watch: Watch) -> None:
        if self._inotify is not None:
            try:
                self._inotify.rm_watch(watch)
            except OSError as error:
                # It has fired, and its event waits to be read: the descriptor is not known then.
                if error.errno != errno.EINVAL:
                    raise

    def _without(self, agent: str, tty: str, error: OSError) -> None:
        """Watch by a timer: there is no watch to be had."""
        if not self._unwatched:
            self._report(
                f"{tty} cannot be watched ({error.strerror}): screens are looked at every "
                f"{LOOK_EVERY:g} s instead; raise fs.inotify.max_user_watches and "
                "fs.inotify.max_user_instances"
            )
        self._unwatched.add(agent)
        timer = self._loop.call_later(LOOK_EVERY, self._tell, agent)
        self._armed[agent] = (tty, timer)

    def _is_watched(self, agent: str) -> None:
        """It is, or need not be: not by the clock, in any case."""
        if agent in self._unwatched:
            self._unwatched.discard(agent)
            if not self._unwatched:
                self._restored()

    def _tell(self, agent: str) -> None:
        if self._armed.pop(agent, None) is not None:
            self._on_write(agent)

    def _drain(self) -> None:
        """Read all events that have come."""
        if self._inotify is not None:
            self._events.extend(self._inotify)
        try:
            while self._events:
                self._take(self._events.popleft())
        finally:
            if self._events:  # A call failed: the other agents' events are not lost with it.
                self._loop.call_soon(self._drain)

    def _take(self, event: Event) -> None:
        if Mask.Q_OVERFLOW in event.mask:
            # Whose writes were lost is not known: as if all had written.
            for agent in list(self._agents.values()):
                self._drop(agent)
                self._on_write(agent)
        elif event.watch is not None:
            # Either a write, or the terminal was closed, perhaps for a new one of the same name:
            # that is worth a look as well. The IGNORED event after a one-shot has no watch.
            self._tell(self._agents.pop(event.watch.wd, ""))


class Screens:
    """Looks at followed screens after writes, and publishes the lines when they changed.

    A look is due after `quiet` seconds without a write, at most `bound` after the first one, and
    `pace` after the last look, or more where many screens move; one more follows the last write,
    as tmux may be behind. A pane that is flooded costs as little as one that is redrawn now and
    then, and a hundred of them cost no more than a dozen.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        terminals: Terminals,
        snapshot: Callable[[str], Awaitable[list[str] | None]],
        publish: Callable[[str, list[str]], None],
        *,
        quiet: float = QUIET,
        bound: float = BOUND,
        pace: float = PACE,
    ) -> None:
        self._loop = loop
        self._terminals = terminals
        self._snapshot = snapshot
        self._publish = publish
        self._quiet = quiet
        self._bound = bound
        self._pace = pace
        self._followed: dict[str, _Followed] = {}
        # Those that move: nobody waits for their next write.
        self._restless: set[str] = set()

    def follow(self, agent: str, tty: str) -> None:
        """Look at this agent's screen now, and whenever its terminal is written to."""
        known = self._followed.get(agent)
        if known is not None and known.tty == tty:
            # A new pane's terminal may have the old one's name: look, which arms it.
            self.written(agent)
            return
        self.unfollow(agent)
        followed = self._followed[agent] = _Followed(tty)
        followed.task = self._loop.create_task(self._watch(agent, followed))
        followed.task.add_done_callback(lambda task: self._ended(agent, followed, task))

    def unfollow(self, agent: str) -> None:
        followed = self._followed.pop(agent, None)
        self._restless.discard(agent)
        if followed is not None:
            self._terminals.disarm(agent)
            if followed.task is not None:
                followed.task.cancel()

    def written(self, agent: str) -> None:
        """An armed terminal was written to: the `on_write` of `Terminals`."""
        followed = self._followed.get(agent)
        if followed is not None:
            followed.first = self._loop.time()
            followed.wrote.set()

    def close(self) -> None:
        for agent in list(self._followed):
            self.unfollow(agent)

    def _ended(self, agent: str, followed: "_Followed", task: asyncio.Task[None]) -> None:
        """A watch ends by being cancelled; any other way is an error, and is told."""
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._followed.get(agent) is followed:
                self.unfollow(agent)
            self._loop.call_exception_handler(
                {"message": f"the screen of {agent} is not followed any more", "exception": error}
            )

    async def _watch(self, agent: str, followed: "_Followed") -> None:
        self._restless.add(agent)
        again = await self._look(agent, followed)
        while True:
            # The watch is armed: what is written during the pause is known after it.
            await asyncio.sleep(max(self._pace, len(self._restless) / AT_MOST))
            if not again:
                self._restless.discard(agent)
                await self._wait(followed)
                self._restless.add(agent)
            wrote = followed.wrote.is_set()
            if wrote:
                await self._settle(agent, followed)
            again = await self._look(agent, followed) or wrote

    async def _wait(self, followed: "_Followed") -> None:
        """Return at the next write; soon, where the last look showed nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TRY_EVERY if followed.failed else None):
                await followed.wrote.wait()

    async def _settle(self, agent: str, followed: "_Followed") -> None:
        """Return once the terminal is quiet, or `bound` after the write that was told first.

        The watch is armed once per `quiet` seconds, so a flood wakes us as seldom.
        """
        bound = followed.first + self._bound
        while followed.wrote.is_set() and (left := bound - self._loop.time()) > 0:
            self._arm(agent, followed)
            await asyncio.sleep(min(self._quiet, left))

    def _arm(self, agent: str, followed: "_Followed") -> None:
        # Cleared first: a write from here on is told again.
        followed.wrote.clear()
        self._terminals.arm(agent, followed.tty)

    async def _look(self, agent: str, followed: "_Followed") -> bool:
        """Take a snapshot and publish it if it is another one; whether to look once more."""
        self._arm(agent, followed)
        lines = await self._snapshot(agent)
        followed.failed = lines is None
        if lines is None:
            return False  # No snapshot is no empty screen.
        changed = lines != followed.lines
        if changed:
            followed.lines = lines
            self._publish(agent, lines)
        return changed


class _Followed:
    """One terminal that is followed."""

    def __init__(self, tty: str) -> None:
        self.tty = tty
        self.task: asyncio.Task[None] | None = None
        self.lines: list[str] | None = None
        # No snapshot came of the last look.
        self.failed = False
        self.wrote = asyncio.Event()
        # Loop time (s) of the first write that was told since the watch was armed last.
        self.first = 0.0
