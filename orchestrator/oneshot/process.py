"""One run of a CLI: the prompt on its standard input, what it says as it comes, how it ended.

It has a process session of its own: Ctrl-C reaches us alone. When the run is over, by time-out or
because nobody wants it any more, all of its processes are ended (tree.py). If we are killed, the
kernel kills the CLI (`setpriv --pdeathsig`, where there is one).
"""

import asyncio
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from orchestrator.core import oneshots
from orchestrator.core.oneshots import Answer, Dialect, Failure, Piece, Retry
from orchestrator.oneshot.tree import MARK, kill_tree, tied
from orchestrator.procfs import stat

_CHUNK = 65536
# Bytes of its errors that are kept, the last ones.
STDERR_MOST = 16 * 1024
# Seconds that what it printed may take to be read after its end: longer only where a process
# that it left behind holds the pipe.
DRAIN = 0.5
# How often (s) a process is looked at where the system has no pidfd for us.
LOOK_EVERY = 0.1


async def run(
    argv: Sequence[str],
    prompt: str,
    env: Mapping[str, str],
    cwd: Path,
    dialect: Dialect,
    timeout: float | None,
    heard: Callable[[Piece | Retry], None],
) -> Answer | Failure:
    """Run a CLI once, with `env` for its whole environment. `timeout` in seconds."""
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None:
        return Failure(
            kind="missing",
            sentence=f"{argv[0]} is not there: install it, or put its directory on the PATH",
            retry=False,
        )
    mark = uuid.uuid4().hex
    try:
        child = _start([program, *argv[1:]], prompt, {**env, MARK: mark}, cwd)
    except (OSError, ValueError) as error:  # ValueError: what no argument can hold, as NUL is
        return Failure(kind="cli", sentence=f"{argv[0]} cannot be started: {error}", retry=False)
    printed = _Printed(child)
    stream = oneshots.begin(dialect)
    clean = False
    try:
        async with asyncio.timeout(timeout):
            async for line in printed.lines():
                stream, said = oneshots.step(stream, line)
                if said is not None:
                    heard(said)
            await printed.ended
        clean = printed.is_whole
    except TimeoutError:
        return Failure(
            kind="timeout",
            sentence=f"{argv[0]} has not answered within {timeout:g} s, and was ended",
            retry=False,
        )
    finally:
        printed.close()
        if not clean:
            kill_tree(child.pid, mark)
        child.wait()
    return oneshots.ended(stream, child.returncode, printed.errors)


def _start(
    argv: Sequence[str], prompt: str, env: Mapping[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    # A file in memory: the CLI reads it when it likes, and nobody has to write meanwhile.
    with open(os.memfd_create("prompt"), "w+b") as given:  # noqa: PTH123 - a descriptor
        given.write(prompt.encode("utf-8", "replace"))
        given.seek(0)
        return subprocess.Popen(
            [*tied("KILL"), *argv],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )


class _Printed:
    """What a process prints, read as it comes, until both of its pipes and the process end."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        assert child.stderr is not None
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._errors = b""
        self._pipes = (child.stdout, child.stderr)
        self._open = set(self._pipes)
        self._follow(child.stdout, self._chunks.put_nowait)
        self._follow(child.stderr, self._complain)
        self.ended = self._loop.create_task(_ended(child.pid))
        self.ended.add_done_callback(lambda _: self._loop.call_later(DRAIN, self._at_end))

    @property
    def errors(self) -> str:
        """The end of what it printed as errors."""
        return self._errors.decode("utf-8", "replace")

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read; if not, something that it started still has a pipe."""
        return not self._open

    def _follow(self, pipe: IO[bytes], take: Callable[[bytes], None]) -> None:
        def readable() -> None:
            if chunk := os.read(pipe.fileno(), _CHUNK):
                take(chunk)
                return
            self._loop.remove_reader(pipe)
            self._open.discard(pipe)
            if not self._open:
                self._at_end()

        self._loop.add_reader(pipe, readable)

    def _complain(self, chunk: bytes) -> None:
        self._errors = (self._errors + chunk)[-STDERR_MOST:]

    def _at_end(self) -> None:
        self._chunks.put_nowait(b"")

    async def lines(self) -> AsyncIterator[str]:
        """Its output, by lines of any length, until its end."""
        parts: list[bytes] = []
        while chunk := await self._chunks.get():
            first, *others = chunk.split(b"\n")
            parts.append(first)
            for begun in others:
                yield _text(parts)
                parts = [begun]
        yield _text(parts)

    def close(self) -> None:
        """Read no more."""
        self.ended.cancel()
        for pipe in self._pipes:
            self._loop.remove_reader(pipe)
            pipe.close()


def _text(parts: Sequence[bytes]) -> str:
    return b"".join(parts).decode("utf-8", "replace")


async def _ended(pid: int) -> None:
    """Wait until our child has ended. It is not reaped: its number stays its own."""
    try:
        process = os.pidfd_open(pid)
    except (OSError, AttributeError):
        while (found := stat(pid)) is not None and not found.dead:
            await asyncio.sleep(LOOK_EVERY)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
