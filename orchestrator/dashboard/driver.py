"""The terminal, as Textual drives it: but nothing runs while no key is pressed.

Textual's own thread looks ten times a second whether it is to end. This one sleeps until there is
input, and is told when to end. When the terminal is gone, so is the app, whatever it was drawing.
"""

import contextlib
import os
import select
import sys
import weakref
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TextIO, cast

from textual import constants
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size
from textual.message import Message

# Bytes that are read at a time.
_CHUNK = 4096
# Milliseconds of silence after which an escape begins no sequence: it is the key.
_PATIENCE = constants.ESCAPE_DELAY * 1000


class TerminalDriver(LinuxDriver):
    """Reads the keys, and writes what is drawn."""

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        # Readable when the thread is to end, until input begins anew.
        self._over = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._over)
        self._file = cast(Any, _Output(cast(TextIO, sys.__stderr__)))
        self._is_on = False

    def start_application_mode(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._over)
        super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual has no types
        # In the background it is not: the process was stopped, and tries again when it goes on.
        self._is_on = self._key_thread is not None and self._key_thread.is_alive()

    def stop_application_mode(self) -> None:
        self._is_on = False
        super().stop_application_mode()

    def measured(self) -> Size | None:
        """The terminal's size now; None if that cannot be told."""
        try:
            return Size(*os.get_terminal_size(self.fileno))
        except OSError:
            return None

    def _sigcont_application(self, *_: object) -> None:
        """Not here, in the midst of whatever runs, which may hold the lock of what is drawn."""
        if self._auto_restart:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._go_on)

    def _go_on(self) -> None:
        """The process was stopped, or was told to go on because its terminal has gone away."""
        if not self._app.is_running:
            return
        if self._is_on:  # it was stopped without being asked first
            self.suspend_application_mode()
        self.start_application_mode()
        self._app.refresh(layout=True)

    def disable_input(self) -> None:
        os.eventfd_write(self._over, 1)
        super().disable_input()

    def run_input_thread(self) -> None:
        """Have the app take what is typed, until input is disabled or the terminal is gone."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        poll.register(self._over, select.POLLIN)
        patience = None
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(patience)}
            if self._over in ready:
                return
            if not ready:
                # Nothing more is begun now: there is nothing to wait for but the next key.
                patience = None
                self._take(parser.tick())
            elif data := self._read():
                patience = _PATIENCE
                if text := decode(data):  # none where a character has come in part
                    self._take(parser.feed(text))
            else:
                self._loop.call_soon_threadsafe(self._app.exit)
                return

    def _read(self) -> bytes:
        """What was typed; nothing if the terminal is gone."""
        try:
            return os.read(self.fileno, _CHUNK)
        except OSError:
            return b""

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)


class _Output:
    """What is drawn, written to `file` for as long as there is a terminal.

    Textual's thread that writes would end with the first error, and whoever draws wait for it.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._is_gone = False

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> None:
        self._unless_gone(partial(self._file.write, text))

    def flush(self) -> None:
        self._unless_gone(self._file.flush)

    def _unless_gone(self, call: Callable[[], object]) -> None:
        if not self._is_gone:
            try:
                call()
            except OSError:
                self._is_gone = True
