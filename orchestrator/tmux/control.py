"""The one control client of a session's tmux server: commands, screens, typing.

It carries commands, their answers, and what tmux tells of windows; never what panes print
(`no-output`: a client that reads it slowly would freeze the panes). Screens and messages travel
through memory files, which no pane can forge and no disk holds.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial

from orchestrator.core.paste import clean_text
from orchestrator.errors import TmuxError
from orchestrator.tmux.client import TIMEOUT, Call, Client, Command
from orchestrator.tmux.protocol import Notification

__all__ = ["TIMEOUT", "Command", "Control"]


class Control(Client):
    """A client that also reads screens and types."""

    def __init__(
        self,
        on_notification: Callable[[Notification], None],
        on_gone: Callable[[str], None],
        on_silent: Callable[[bool], None] = lambda _: None,
    ) -> None:
        super().__init__(on_notification, on_gone, on_silent)
        # One at a time is enough: a chain makes its buffer and deletes it.
        self._buffer = f"crew-{secrets.token_hex(4)}"
        self._structure = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def structure(self) -> AsyncIterator[None]:
        """Be the only one who makes windows and panes: what exists decides how they are made.

        The one lock that is held across calls. Without it two launches would both find no window
        of the team, and tmux would make both. Nothing but launches waits for it, whoever is inside
        is bounded by each of his few calls, and whoever waits is by `TIMEOUT` seconds: then it
        raises TmuxError, as tmux hangs and those inside wait in vain as well.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._structure.acquire()
        except TimeoutError as error:
            raise TmuxError("new-window", "not sent: others wait for an answer") from error
        try:
            yield
        finally:
            self._structure.release()

    async def snapshot(
        self, pane: str, *, history: bool = False, escapes: bool = False, timeout: float = TIMEOUT
    ) -> list[str] | None:
        """The lines that a pane shows; None when it is gone or the text did not arrive whole.

        `history`: with everything that scrolled off. `escapes`: with colours and attributes.
        """
        buffer = self._buffer
        with contextlib.ExitStack() as stack:
            try:
                fd, path, lend = stack.enter_context(self._memory_file("crew-screen"))
            except OSError:
                return None  # no descriptor is left, or no memory
            capture = ["capture-pane", "-b", buffer, "-t", pane]
            capture += ["-e"] * escapes + ["-S", "-"] * history
            listing = ["list-buffers", "-F", "#{buffer_size}"]
            call = self.send(
                (
                    capture,
                    [*listing, "-f", f"#{{==:#{{buffer_name}},{buffer}}}"],
                    ["save-buffer", "-b", buffer, path],
                    ["delete-buffer", "-b", buffer],
                )
            )
            lend(call)
            await self.wait(call, timeout)
            try:
                _, sizes, _, _ = call.results()
            except TmuxError:
                return None
            data = os.pread(fd, os.fstat(fd).st_size, 0)
        # tmux reports a write that failed (a full disk) as success.
        if sizes != (str(len(data)).encode(),):
            return None
        return data.decode("utf-8", "replace").removesuffix("\n").split("\n")

    async def paste(
        self, pane: str, text: str, keys: Sequence[str], timeout: float = TIMEOUT
    ) -> None:
        """Paste `text`, then press `keys` (tmux key names), in one chain.

        The text is cleaned (`core.paste.clean_text`). In a program that asks for it, it arrives as
        one bracketed paste. A pane in copy mode would take the keys as its own: look first
        (`panes.in_mode`). After a time-out it may still be typed: never simply try again.
        """
        buffer = self._buffer
        cleaned = clean_text(text)
        commands: list[Command] = []
        with contextlib.ExitStack() as stack:
            try:
                fd, path, lend = stack.enter_context(self._memory_file("crew-text"))
            except OSError as error:
                raise TmuxError("load-buffer", f"not sent: {error.strerror}") from error
            if cleaned:
                os.pwrite(fd, cleaned.encode(), 0)
                commands = [
                    ["load-buffer", "-b", buffer, path],
                    ["paste-buffer", "-p", "-d", "-b", buffer, "-t", pane],
                ]
            if keys:
                commands.append(["send-keys", "-t", pane, *keys])
            if not commands:
                return
            call = self.send(commands)
            lend(call)
            await self.wait(call, timeout)
        try:
            call.results()
        except TmuxError:
            with contextlib.suppress(TmuxError):  # never loaded, or gone with the server
                await self.run(["delete-buffer", "-b", buffer])
            raise

    @contextlib.contextmanager
    def _memory_file(self, name: str) -> Iterator[tuple[int, str, Callable[[Call], None]]]:
        """A memory file that tmux can open, until it is done with it.

        tmux opens it by our descriptor's number. Were that closed while tmux hangs, the number
        would go to another file of ours, and tmux would write a screen into it. So a descriptor
        lent to a call is closed when that call is answered; if the client ends before, when tmux
        has forgotten that client.
        """
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        lent: list[Call] = []
        try:
            yield fd, f"/proc/{os.getpid()}/fd/{fd}", lent.append
        finally:
            if lent:
                lent[0].after(partial(os.close, fd))
            else:
                os.close(fd)
