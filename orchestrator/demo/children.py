"""Processes that the agent starts: tools and hooks. Nothing here waits.

A part of a turn is a generator that yields when it has to be looked at again: a monotonic time in
seconds, or None for "when something happens" (a key, a signal, the end of a child).
"""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from typing import BinaryIO, TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[float | None, None, T]

# What a shell says of a command that cannot be run.
NOT_RUN = 127
# Bytes of a child's output that are read.
OUTPUT_MAX = 256 * 1024


def _scratch(content: bytes) -> BinaryIO:
    """An unnamed file: with one at each end a child never waits for us, nor we for it."""
    if sys.platform == "linux":
        file: BinaryIO = os.fdopen(os.memfd_create("demo-agent"), "w+b")
    else:
        import tempfile  # a tenth of the start of an agent that mostly does without

        file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
    file.write(content)
    file.seek(0)
    return file


class Child:
    """A process with `stdin` as its input; `limit` is the seconds after which it is killed."""

    def __init__(self, argv: Sequence[str], stdin: bytes = b"", limit: float | None = None) -> None:
        self.due = None if limit is None else time.monotonic() + limit
        self.code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output = _scratch(b"")
        source = _scratch(stdin)
        try:
            self._process = subprocess.Popen(
                argv, stdin=source, stdout=self._output, stderr=subprocess.STDOUT
            )
        except (OSError, ValueError) as error:
            self.code = NOT_RUN
            self._output.write(f"{argv[0]}: {error}".encode("utf-8", "replace"))
        finally:
            source.close()

    def ended(self) -> bool:
        """Whether it is over; kills it if its time is."""
        if self.code is None and self._process is not None:
            self.code = self._process.poll()
            if self.code is None and self.due is not None and time.monotonic() >= self.due:
                self.kill()
        return self.code is not None

    def kill(self) -> None:
        """End it if it still runs."""
        if self.code is None and self._process is not None:
            self._process.kill()
            self.code = self._process.wait()

    def output(self) -> str:
        """What it wrote, stdout and stderr in one."""
        self._output.seek(0)
        return self._output.read(OUTPUT_MAX).decode("utf-8", "replace")

    def finish(self) -> Steps[int]:
        """Wait for its end; it does not outlive the turn. Returns its exit status."""
        try:
            while not self.ended():
                yield self.due
        finally:
            self.kill()
        assert self.code is not None
        return self.code
