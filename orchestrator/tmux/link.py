"""The supervisor's standing connection to its tmux server: one control client, kept up.

A control client that ends while the server lives is connected again, with growing pauses. A
server whose process is gone is reported once. Nothing here polls: the end of the client's
output is the event.
"""

import asyncio
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
# A window or a session went away: someone may have closed it by hand. Of a pane that shares its
# window tmux tells a client of another session nothing; there the process's own end is the event.
CLOSING = frozenset({"window-close", "unlinked-window-close", "sessions-changed"})


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
        self._connecting = asyncio.Lock()
        self._is_alive = is_alive
        self._on_lost = on_lost
        self._on_closing = on_closing
        self._on_away = on_away
        self._on_back = on_back
        self._on_silent = on_silent
        self._control: Control | None = None
        self._server: Process | None = None
        self._mending: asyncio.Task[None] | None = None

    @property
    def control(self) -> Control:
        """The control client. Raises TmuxGone when there is none now."""
        if self._control is None:
            raise TmuxGone("attach-session", "there is no connection to the tmux server")
        return self._control

    async def connect(self, server: Process) -> None:
        """Attach to the server, unless it is done. Raises TmuxError, TmuxGone."""
        self._server = server
        async with self._connecting:
            if self._control is not None:
                return
            # Somebody may have closed the session that we hold on to.
            if (wrong := await asyncio.to_thread(hold, self._paths)) is not None:
                raise TmuxError("new-session", wrong)
            self._control = await Control.connect(
                self._paths.tmux_socket, HOLDING, self._notified, self._gone, self._on_silent
            )

    def _notified(self, notification: Notification) -> None:
        if notification.name in CLOSING:
            self._on_closing()

    def _gone(self, reason: str) -> None:
        """The client ended: was it alone, or did the server go?"""
        self._control = None
        if self._server is not None:
            log.warning("the control client ended: %s", reason)
            self._on_away()
            self._mending = asyncio.get_running_loop().create_task(self._mend(self._server))

    async def _mend(self, server: Process) -> None:
        pause = PAUSE
        while self._server == server and self._control is None:
            if not self._is_alive(server):
                self._server = None
                self._on_lost("the tmux server is gone")
                return
            try:
                await self.connect(server)
            except TmuxError as error:
                log.info("not connected yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX)
            else:
                log.warning("connected to the tmux server again")
                self._on_back()

    async def close(self) -> None:
        """Let go of the server without losing it."""
        self._server = None
        control, self._control = self._control, None
        if control is not None:
            await control.close()
