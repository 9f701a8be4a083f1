"""The supervisor's standing connection to its tmux server: one control client, kept up.

A control client that ends while the server lives is connected again: at once if it had lasted,
with growing pauses if not, so that a server which lives and throws out whoever attaches is not
asked all the time. A server whose process is gone is reported once. Nothing here polls: the end of
the client's output is the event.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from orchestrator.core.state import Process
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.locations import SessionPaths
from orchestrator.tmux.bootstrap import HOLDING, hold
from orchestrator.tmux.control import Control
from orchestrator.tmux.protocol import Notification

log = logging.getLogger(__name__)

# Seconds between attempts to connect again: first, and at most.
PAUSE, PAUSE_MAX = 0.05, 0.5
# Seconds that a connection has to last for the next one to be made at once; and the most between
# two that did not.
STEADY = 0.1
THROWN_OUT_MAX = 2.0
# A window or a session went away: someone may have closed it by hand. Of a pane that shares its
# window tmux tells a client of another session nothing; there the process's own end is the event.
CLOSING = frozenset({"window-close", "unlinked-window-close", "sessions-changed"})


def pause_after(lasted: float, pause: float) -> float:
    """Seconds until the next attempt after a connection that lasted so long, itself made after
    `pause`: none, or twice as long as before where it lasted no longer than that."""
    if lasted >= max(STEADY, 2 * pause):
        return 0.0
    return min(max(PAUSE, 2 * pause), THROWN_OUT_MAX)


class Link:
    """`on_lost(reason)`: the server is gone. `on_closing()`: panes may have gone. `on_away()`,
    `on_back()`: the client. `on_silent(hangs)`: the server does not answer; or does again."""

    def __init__(
        self,
        paths: SessionPaths,
        is_alive: Callable[[Process], bool],
        *,
        on_lost: Callable[[str], None],
        on_closing: Callable[[], None],
        on_away: Callable[[], None],
        on_back: Callable[[], None],
        on_silent: Callable[[bool], None],
    ) -> None:
        self._paths = paths
        self._is_alive = is_alive
        self._on_lost = on_lost
        self._on_closing = on_closing
        self._on_away = on_away
        self._on_back = on_back
        self._on_silent = on_silent
        self._control: Control | None = None
        # Clients that ended and that tmux may not have forgotten yet.
        self._former: list[Control] = []
        self._server: Process | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._mending: asyncio.Task[None] | None = None
        self._forgetting: asyncio.Task[None] | None = None
        # Loop time (s) of the connection, and the pause (s) before it.
        self._since = 0.0
        self._pause = 0.0

    @property
    def control(self) -> Control:
        """The control client. Raises TmuxGone when there is none now."""
        if self._control is None:
            raise TmuxGone("attach-session", "there is no connection to the tmux server")
        return self._control

    def _is_connected(self) -> bool:
        return self._control is not None

    async def connect(self, server: Process) -> None:
        """Attach to the server, unless it is done. Raises TmuxError, TmuxGone.

        Whoever comes while that is under way waits for the same attempt: there is one client.
        """
        self._server = server
        if self._control is not None:
            return
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_task(self._attach())
            self._attempt.add_done_callback(self._attempted)
        await asyncio.shield(self._attempt)

    def _attempted(self, attempt: asyncio.Task[None]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # Who waited has it; nobody may have.

    async def _attach(self) -> None:
        # Somebody may have closed the session that we hold on to.
        if (wrong := await asyncio.to_thread(hold, self._paths)) is not None:
            raise TmuxError("new-session", wrong)
        control = await Control.connect(
            self._paths.tmux_socket, HOLDING, self._notified, self._gone, self._on_silent
        )
        if self._server is None:
            await control.close()
            raise TmuxGone("attach-session", "closed")
        self._control, self._since = control, asyncio.get_running_loop().time()
        if self._former:
            self._forgetting = asyncio.get_running_loop().create_task(self._forget(control))

    async def _forget(self, control: Control) -> None:
        """Give free what former clients had lent to tmux, as far as it has forgotten them."""
        with contextlib.suppress(TmuxError):
            (known,) = await control.run(["list-clients", "-F", "#{client_pid}"])
            gone = [one for one in self._former if b"%d" % one.pid not in known]
            self._former = [one for one in self._former if one not in gone]
            for one in gone:
                one.forgotten()

    def _notified(self, notification: Notification) -> None:
        if notification.name in CLOSING:
            self._on_closing()

    def _gone(self, reason: str) -> None:
        """The client ended: was it alone, or did the server go?"""
        if self._control is not None:
            self._former.append(self._control)
        self._control = None
        if self._server is not None:
            log.warning("the control client ended: %s", reason)
            self._on_away()
            loop = asyncio.get_running_loop()
            self._pause = pause_after(loop.time() - self._since, self._pause)
            self._mending = loop.create_task(self._mend(self._server, self._pause))

    async def _mend(self, server: Process, first: float) -> None:
        await asyncio.sleep(first)
        pause = PAUSE
        while self._server == server and not self._is_connected():
            if not self._lives(server):
                self._server = None
                while self._former:
                    self._former.pop().forgotten()
                self._on_lost("the tmux server is gone")
                return
            try:
                await self.connect(server)
            except (TmuxError, OSError) as error:
                log.info("not connected yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX)
            else:
                # It may have ended already: that has begun another mending.
                if self._is_connected():
                    log.warning("connected to the tmux server again")
                    self._on_back()
                return

    def _lives(self, server: Process) -> bool:
        try:
            return self._is_alive(server)
        except OSError:
            return True  # It cannot be known now (no descriptor is left, say): we go on.

    async def close(self) -> None:
        """Let go of the server without losing it."""
        self._server = None
        control, self._control = self._control, None
        if control is not None:
            await control.close()
