"""The agent's loop: keys, signals, children and time move one turn on; the screen follows.

One thread, and no waiting anywhere but in `select`: without a turn nothing wakes the agent.
"""

import contextlib
import os
import selectors
import signal
import sys
import time
from types import FrameType

from .hooks import Hooks
from .keys import ESCAPE_DELAY, Key, KeyParser
from .options import Options, UsageError, parse
from .screen import Screen
from .session import Session
from .text import TAB
from .turns import Turns
from .view import FRAME

READ = 64 * 1024
# Seconds that hooks may still take once the agent is to end, and between two looks at them.
LAST_HOOKS, LAST_LOOK = 2.0, 0.01
# Exit codes by signal; the agent CLI that this one is modelled on ends with 0 on SIGINT.
ENDINGS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 0}


class _Leave(Exception):
    """The person leaves."""


class App:
    """One run of the agent on a terminal."""

    def __init__(self, options: Options, tty: int) -> None:
        self.options = options
        self.screen = Screen(tty)
        self.session = Session(
            options.home,
            options.cwd,
            options.conversation,
            Hooks(options.hooks),
            options.mode,
            options.pace,
        )
        self.view = self.session.view
        self.turns = Turns(self.session, options.model)
        self.keys = KeyParser()
        self._tty = tty
        self._ended_by: int | None = None
        self._problems: set[str] = set()
        self._next_frame = 0.0
        self._selector = selectors.DefaultSelector()
        self._wake = os.pipe()

    def run(self) -> int:
        """Run until the end; returns the exit status."""
        self._listen()
        self.screen.open()
        try:
            self._greet()
            reason, code = self._loop()
            self._end(reason)
        finally:
            self.screen.close()
        return code

    def _loop(self) -> tuple[str, int]:
        """Returns why it ended, as the SessionEnd hook is told, and the exit status."""
        try:
            while self._ended_by is None:
                self.turns.advance()
                self._tell_problems()
                self._draw()
                self._wait()
        except _Leave:
            return "prompt_input_exit", 0
        except SystemExit as end:
            return "other", end.code if isinstance(end.code, int) else 0
        return "other", ENDINGS[signal.Signals(self._ended_by)]

    # -- signals and time --------------------------------------------------------------------------

    def _listen(self) -> None:
        for end in self._wake:
            os.set_blocking(end, False)
        # A signal wakes `select`, also one that comes just before it.
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        noted = [signal.SIGWINCH, signal.SIGCHLD]
        for number in ENDINGS:
            if number is signal.SIGHUP and self.options.ignore_hangup:
                # Not SIG_IGN, which every tool and hook would inherit.
                noted.append(number)
            else:
                signal.signal(number, self._on_ending)
        for number in noted:
            signal.signal(number, self._on_change)
        self._selector.register(self._wake[0], selectors.EVENT_READ)
        self._selector.register(self._tty, selectors.EVENT_READ)

    def _on_ending(self, number: int, _frame: FrameType | None) -> None:
        self._ended_by = number

    def _on_change(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            self.view.dirty = True

    def _wait(self) -> None:
        """Sleep until something happens or is due, and take it in."""
        now = time.monotonic()
        times = [self.session.hooks.due, self.turns.due]
        if self.view.doing is not None and self.view.dialog is None:
            times.append(self._next_frame)
        if self.keys.waiting:
            times.append(now + ESCAPE_DELAY)
        due = min((t for t in times if t is not None), default=None)
        ready = self._selector.select(None if due is None else max(0.0, due - now))
        sources = {found.fd for found, _ in ready}
        if self._wake[0] in sources:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0], READ)
        if self._tty in sources:
            self._read()
        elif self.keys.waiting and time.monotonic() >= now + ESCAPE_DELAY:
            self._press(self.keys.flush())
        self.session.hooks.poll()

    def _draw(self) -> None:
        now = time.monotonic()
        if self.view.dirty or (self.view.doing is not None and now >= self._next_frame):
            self.screen.draw(self.view)
            self._next_frame = now + FRAME

    def _tell_problems(self) -> None:
        """Files that could not be written: said once each, and the work goes on."""
        for file in (self.session.status, self.session.transcript):
            if file.problem is not None and file.problem not in self._problems:
                self._problems.add(file.problem)
                self.view.print(f"! {file.problem}", style="31")

    # -- keys --------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = os.read(self._tty, READ)
        except OSError:
            data = b""
        if data:
            self._press(self.keys.feed(data))
            return
        # The terminal is gone.
        self._selector.unregister(self._tty)
        if not self.options.ignore_hangup:
            self._ended_by = signal.SIGHUP

    def _press(self, keys: list[Key]) -> None:
        for key in keys:
            self.view.dirty = True
            if self.view.dialog is not None and self.view.dialog.answer is None:
                self.view.dialog.press(key)
                # Keys behind the answer, in the same read, are for what comes after the dialog.
                self.turns.advance()
            else:
                self._edit(key)

    def _edit(self, key: Key) -> None:
        leaving, self.view.leaving = self.view.leaving, False
        draft = self.view.draft
        match key.name:
            case "text" | "paste":
                self.view.draft += key.text.replace("\t", " " * TAB)
            case "newline":
                self.view.draft += "\n"
            case "backspace":
                self.view.draft = draft[:-1]
            case "ctrl-u":
                self.view.draft = ""
            case "ctrl-w":
                self.view.draft = draft[: draft.rstrip().rfind(" ") + 1]
            case "enter" if draft.endswith("\\"):
                # The agent CLI that this one is modelled on breaks the line there.
                self.view.draft = draft[:-1] + "\n"
            case "enter":
                self._enter(draft.rstrip())
            case "escape":
                self.turns.interrupt()
            case "ctrl-c" if draft:
                self.view.draft = ""
            case "ctrl-c" if not self.turns.interrupt():
                if leaving:
                    raise _Leave
                self.view.leaving = True
            case "ctrl-d" if not draft:
                raise _Leave

    def _enter(self, text: str) -> None:
        self.view.draft = ""
        word = text.strip()
        if word == "/exit":
            raise _Leave
        if word == "/clear" and not self.turns.running:
            self.turns.clear()
        elif word == "/clear":
            self.view.print("/clear has to wait until the turn is over", style="2")
        elif word.startswith("/") and not set("/ \n") & set(word[1:]):
            self.view.print(f"Unknown command: {word}", style="2")
        elif word:
            self.turns.submit(text)

    # -- the beginning and the end -----------------------------------------------------------------

    def _greet(self) -> None:
        self.view.print(f"✻ Demo agent · {self.options.model} · no model, no network", style="1")
        self.view.print(self.options.cwd, first="  ", rest="  ", style="2")
        if self.options.resume:
            self.turns.resume()
        self.turns.start("resume" if self.options.resume else "startup")

    def _end(self, reason: str) -> None:
        """Tell the hooks, and leave nothing behind: no child, no status file."""
        self.turns.close()
        self.screen.draw(self.view)
        hooks, end = self.session.hooks, time.monotonic() + LAST_HOOKS
        self.session.fire("SessionEnd", reason=reason)
        while hooks.busy and time.monotonic() < end:
            time.sleep(LAST_LOOK)
            hooks.poll()
        hooks.kill()
        self.session.status.remove()


def run(arguments: list[str]) -> int:
    """The program; returns its exit status."""
    try:
        options = parse(arguments)
    except UsageError as error:
        print(error)
        return 1
    if options.exit_at_start is not None:
        print("demo agent: told to end at its start")
        return options.exit_at_start
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("Error: the demo agent needs a terminal.")
        return 1
    return App(options, sys.stdin.fileno()).run()
