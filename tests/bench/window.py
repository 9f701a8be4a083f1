"""A program on a terminal of its own, whose far end is here."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

# Bytes that are told of a program that has ended: a traceback, with its colours, is long.
_LAST_WORDS = 12_000
# Seconds in which one that has closed its terminal has ended as well.
_REAPED = 5.0


class Window:
    """`argv` on a pty of `size` (columns, rows). What it writes is seen only while it is read:
    every wait reads. Ended with the block."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], size: tuple[int, int]) -> None:
        self._far, near = pty.openpty()
        columns, rows = size
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.started = time.monotonic()
        # Without a fork of ours, which may have threads; setsid gives its own place to `argv`.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv], env=env, stdin=near, stdout=near, stderr=near
        )
        os.close(near)
        self._tail = b""
        # The newest of all that was read, whoever waited for it: its last words, should it end.
        self._last = b""

    @property
    def pid(self) -> int:
        """Of the program."""
        return self._process.pid

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        os.close(self._far)
        self._process.wait()

    def press(self, key: bytes) -> float:
        """Type `key`; returns when, as `time.monotonic`."""
        self._tail = b""
        at = time.monotonic()
        os.write(self._far, key)
        return at

    def until(self, text: bytes, deadline: float = 20.0) -> float:
        """When `text` has come whole, since the last key or wait; as `time.monotonic`."""
        end = time.monotonic() + deadline
        while (left := end - time.monotonic()) > 0:
            chunk = self._read(left)
            at = time.monotonic()
            self._tail += chunk
            if text in self._tail:
                self._tail = self._tail.partition(text)[2]
                return at
        raise AssertionError(f"not drawn within {deadline} s: {text!r}")

    def watch(self, seconds: float) -> int:
        """How many bytes come in this time."""
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            count += len(self._read(left))
        return count

    def settle(self, quiet: float, deadline: float = 20.0) -> None:
        """Wait until nothing has come for `quiet` seconds."""
        end = time.monotonic() + deadline
        while self._read(quiet):
            if time.monotonic() > end:
                raise AssertionError(f"it still draws after {deadline} s")

    def _read(self, seconds: float) -> bytes:
        """What there is, at most `seconds` from now; empty if nothing came."""
        if not select.select([self._far], [], [], seconds)[0]:
            return b""
        try:
            chunk = os.read(self._far, 1 << 16)
        except OSError as error:
            raise AssertionError(f"it has ended, {self._how()}: {self._last!r}") from error
        self._last = (self._last + chunk)[-_LAST_WORDS:]
        return chunk

    def _how(self) -> str:
        """How the program ended: by itself or by a signal."""
        try:
            status = self._process.wait(_REAPED)
        except subprocess.TimeoutExpired:
            return "or closed its terminal"
        return f"exit status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
