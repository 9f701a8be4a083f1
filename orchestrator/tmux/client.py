"""A `tmux -C` process that stays, and the chains of commands that it is sent.

Calls are answered in order. Each chain is followed by a marker, a command of its own on the next
line: an error ends a chain early, the marker still comes, so no call can take the answers of
another, however it ended.
"""

import asyncio
import contextlib
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.tmux.protocol import FROM_CLIENT, Block, ControlParser, Notification, quote

Command = Sequence[str]

# Seconds for one call. A healthy server answers in under a millisecond.
TIMEOUT = 5.0
# Seconds after which it is said that the server does not answer.
SILENT = 1.0
# Seconds that a client whose process ended has to hand over its last words.
_LAST_WORDS = 0.5
# Seconds that a client has to leave when asked; then it is killed.
_LEAVE = 1.0
# Calls that may wait at once. A server that hangs takes none, and callers come back every few
# seconds: past this the caller is told at once instead of feeding the queue.
MAX_WAITING = 1000


class Call:
    """A chain that was sent, until its marker comes back."""

    def __init__(self, commands: Sequence[Command], number: int) -> None:
        self.commands = commands
        self.number = number
        self.blocks: list[Block] = []
        self.answer: asyncio.Future[list[Block]] = asyncio.get_running_loop().create_future()
        self.answered = False
        self._after: list[Callable[[], None]] = []

    def after(self, release: Callable[[], None]) -> None:
        """Call `release` once tmux is done with this chain: now, or later."""
        if self.answered:
            release()
        else:
            self._after.append(release)

    def finish(self) -> None:
        if not self.answer.done():  # else the caller has gone
            self.answer.set_result(self.blocks)
        self.release()

    def release(self) -> None:
        """tmux is done with this chain, or will never come to it."""
        self.answered = True
        while self._after:
            self._after.pop()()

    def results(self) -> list[tuple[bytes, ...]]:
        """The lines of each command; raises TmuxError for the first that failed."""
        for command, block in zip(self.commands, self.blocks, strict=False):
            if not block.ok:
                raise TmuxError(" ".join(command), _text(block))
        if len(self.blocks) != len(self.commands):
            chain = " ; ".join(" ".join(c) for c in self.commands)
            raise TmuxError(chain, f"{len(self.blocks)} answers to {len(self.commands)} commands")
        return [block.lines for block in self.blocks]


class Client(asyncio.SubprocessProtocol):
    """A connected control client. Made by `connect`; ends by `close` or by itself (`on_gone`)."""

    def __init__(
        self,
        on_notification: Callable[[Notification], None],
        on_gone: Callable[[str], None],
        on_silent: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_notification = on_notification
        self._on_gone = on_gone
        self._on_silent = on_silent
        # While something waits: when that is said aloud. And that it was.
        self._patience: asyncio.TimerHandle | None = None
        self._silent = False
        self._parser = ControlParser()
        self._waiting: deque[Call] = deque()
        # Sent and not answered when this client ended: tmux may still carry them out.
        self._left: list[Call] = []
        self._count = 0
        # Nothing in a pane can know it, so nothing in a pane can pass for a marker.
        self._token = f"crew-{secrets.token_hex(8)}-"
        self._marker = re.compile(rf"{self._token}([0-9]+)".encode())
        self._attached: asyncio.Future[Block] = self._loop.create_future()
        self._exited = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._said = ""
        self._gone: str | None = None
        self._connected = False
        self._closing = False

    @classmethod
    async def connect(
        cls,
        socket: Path,
        session: str,
        on_notification: Callable[[Notification], None],
        on_gone: Callable[[str], None],
        on_silent: Callable[[bool], None] = lambda _: None,
    ) -> Self:
        """Attach to `session` of the server on `socket`; raises TmuxGone if that cannot be done.

        `on_gone(reason)` is called once if the client ends without `close`; `on_silent(True)` when
        a call has waited for `SILENT` seconds, and with False when one is answered again. They run
        in the loop, in order, and must not block.
        """
        control = cls(on_notification, on_gone, on_silent)
        # -N: never start a server, which would read the user's own configuration.
        # -u: answers in UTF-8, whatever the locale says.
        argv = ["tmux", "-N", "-u", "-S", str(socket), "-C", "attach-session"]
        argv += ["-t", f"={session}", "-f", "no-output,ignore-size"]
        try:
            await control._loop.subprocess_exec(
                lambda: control,
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ},
                cwd="/",
                start_new_session=True,
                close_fds=True,
            )
            async with asyncio.timeout(TIMEOUT):
                block = await control._attached
        except OSError as error:
            raise TmuxGone("attach-session", error.strerror or str(error)) from error
        except TimeoutError as error:
            await control.close()
            raise TmuxGone("attach-session", f"no answer within {TIMEOUT:g} s") from error
        except BaseException:
            await control.close()
            raise
        if not block.ok:
            await control.close()
            raise TmuxGone("attach-session", _text(block))
        return control

    @property
    def pid(self) -> int:
        """The client's process."""
        assert self._transport is not None
        pid = self._transport.get_pid()
        assert pid is not None
        return pid

    async def run(self, *commands: Command, timeout: float = TIMEOUT) -> list[tuple[bytes, ...]]:
        """Run a chain; return the lines of each command.

        Raises TmuxError at the first command that fails (those before it were carried out, those
        after it were not), TmuxGone if the client is gone or ends meanwhile. After a time-out
        (TmuxError) tmux may still carry the chain out, when it goes on.

        Never ask for what a pane can fill with line ends (its contents): it could forge the end
        of the answer. `Control.snapshot` is for that.
        """
        call = self.send(commands)
        await self.wait(call, timeout)
        return call.results()

    async def close(self) -> None:
        """End the client, and return when its process is gone. Waiting calls get TmuxGone."""
        self._closing = True
        self._end("closed")
        if self._transport is None:
            return
        if not await self._has_exited():
            # Its server may hang, and it with it.
            self._kill()
            await self._has_exited(TIMEOUT)
        self._transport.close()

    def forgotten(self) -> None:
        """tmux does not know this client any more: it carries out nothing of what it was sent."""
        for call in self._left:
            call.release()
        self._left.clear()

    async def _has_exited(self, within: float = _LEAVE) -> bool:
        try:
            async with asyncio.timeout(within):
                return await self._exited.wait()
        except TimeoutError:
            return False

    def _kill(self) -> None:
        if self._transport is not None and not self._exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    def send(self, commands: Sequence[Command]) -> Call:
        """Send a chain without waiting for it. Raises TmuxGone, or TmuxError if too many wait."""
        line = " ; ".join(" ".join(map(quote, command)) for command in commands)
        if not line:
            raise ValueError("an empty command would detach the client")
        what = commands[0][0]
        if self._gone is not None or self._closing or self._transport is None:
            raise TmuxGone(what, self._gone or "closed")
        if len(self._waiting) >= MAX_WAITING:
            raise TmuxError(what, f"not sent: {MAX_WAITING} calls wait for an answer already")
        self._count += 1
        marker = f"{self._token}{self._count}"
        call = Call(commands, self._count)
        stdin = self._transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        stdin.write(f"{line}\ndisplay-message -p {quote(marker)}\n".encode())
        self._waiting.append(call)
        if self._patience is None and not self._silent:
            self._patience = self._loop.call_later(SILENT, self._not_answered)
        return call

    def _not_answered(self) -> None:
        self._patience, self._silent = None, True
        self._loop.call_soon(self._on_silent, True)

    def _answered(self) -> None:
        """Something was: the patience with what still waits begins anew."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._silent:
            self._silent = False
            self._loop.call_soon(self._on_silent, False)
        if self._waiting:
            self._patience = self._loop.call_later(SILENT, self._not_answered)

    async def wait(self, call: Call, timeout: float) -> None:
        """Wait for the answer; raises TmuxError after `timeout` seconds, TmuxGone as for `run`."""
        try:
            async with asyncio.timeout(timeout):
                await call.answer
        except TimeoutError as error:
            # The call stays in the queue: its late answers are still its own.
            raise TmuxError(
                " ".join(call.commands[0]),
                f"no answer within {timeout:g} s; it may still be carried out",
            ) from error

    # -- what the client's process says -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        for item in self._parser.receive(data):
            if isinstance(item, Block):
                self._take_block(item)
            elif not item.name:
                self._said = item.args.decode("utf-8", "replace")
            else:
                if item.name == "exit":
                    self._said = item.args.decode("utf-8", "replace")
                # By way of the loop: an error in there is reported, and is not ours.
                self._loop.call_soon(self._on_notification, item)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._end(self._said or "the client left")

    def process_exited(self) -> None:
        self._exited.set()
        # What it said last may still be on its way. A server that hangs keeps our pipe open
        # although the client is gone, so the pipe's end alone would tell too late.
        self._loop.call_later(_LAST_WORDS, self._let_go)

    def _let_go(self) -> None:
        self._end("the client's process ended")
        # Not before its end: asyncio would reap the process itself, and complain that it did.
        if self._transport is not None:
            self._transport.close()

    def _take_block(self, block: Block) -> None:
        if not block.flags & FROM_CLIENT:
            if not self._attached.done():
                self._connected = block.ok
                self._attached.set_result(block)
            return
        marker = self._marker.fullmatch(block.lines[0]) if len(block.lines) == 1 else None
        if marker:
            # Markers come in the order of the calls: one that got lost ends its call all the same.
            while self._waiting and self._waiting[0].number <= int(marker[1]):
                self._waiting.popleft().finish()
            self._answered()
        elif self._waiting:
            self._waiting[0].blocks.append(block)

    def _end(self, reason: str) -> None:
        """Once: answer everybody who waits, and tell that this client is gone."""
        if self._gone is not None:
            return
        self._gone = reason
        if self._patience is not None:
            self._patience.cancel()
        while self._waiting:
            call = self._waiting.popleft()
            self._left.append(call)
            if not call.answer.done():
                call.answer.set_exception(TmuxGone(" ".join(call.commands[0]), reason))
        if not self._attached.done():
            self._attached.set_exception(TmuxGone("attach-session", reason))
        elif self._connected and not self._closing:
            self._loop.call_soon(self._on_gone, reason)
        if self._transport is not None:
            stdin = self._transport.get_pipe_transport(0)
            if stdin is not None:
                stdin.close()
            self._loop.call_later(_LEAVE, self._kill)


def _text(block: Block) -> str:
    return b" / ".join(block.lines).decode("utf-8", "replace") or "failed without a word"
