"""The person's terminal: lent to a program, and put in order if that leaves it in disorder."""

import contextlib
import itertools
import os
import signal
import sys
import termios
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType

from orchestrator.errors import CrewError

# What a tmux client may have switched on, off again. The scrolling region and the margins first:
# they move the cursor, which comes back with the other screen.
RESET = "".join(
    (
        "\x1b[?2026l",  # drawing is not held back
        "\x1b[?69l\x1b[r",  # no margins, no scrolling region
        "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l",  # mouse
        "\x1b[?1004l",  # focus
        "\x1b[?2004l",  # bracketed paste
        "\x1b[>4m",  # keys as they always were
        "\x1b[?1l\x1b>",  # cursor keys and keypad
        "\x1b(B\x0f\x1b[m",  # letters and colours
        "\x1b[?1049l",  # the other screen
        "\x1b[?12l\x1b[?25h",  # the cursor
    )
)

# Keys of the terminal that are the program's own while it has it.
_KEYS = (signal.SIGINT, signal.SIGQUIT)
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Standard input and output, which are a terminal, as they are now."""

    def __init__(self) -> None:
        self.name = os.ttyname(0)
        self._state = termios.tcgetattr(0)

    def lend(self, argv: list[str], environ: Mapping[str, str]) -> tuple[int, str]:
        """Run `argv` in this terminal. Its exit status, and what it wrote to standard error.

        Signals that would end this process end the program, and then this process. Raises
        CrewError if it cannot be run.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        received: list[int] = []
        reader, writer = os.pipe()
        with open(reader, "rb") as errors, _ending(received) as child:  # noqa: PTH123
            try:
                child.append(
                    os.posix_spawnp(
                        argv[0],
                        argv,
                        environ,
                        file_actions=[(os.POSIX_SPAWN_DUP2, writer, 2)],
                        # Python ignores these, and that would stay so.
                        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                    )
                )
            except OSError as error:
                raise CrewError(f"{argv[0]} cannot be run: {error.strerror}") from error
            finally:
                os.close(writer)
            # What came before it was known whose it is.
            _hand_on(child, received)
            status = _wait(child)
            # A few words at most, which the pipe has held.
            said = errors.read().decode(errors="replace").strip()
        self.put_in_order()
        if received:
            sys.exit(128 + received[0])
        return status, said

    def put_in_order(self) -> None:
        """Undo what a program left behind that had no time to do so itself."""
        with contextlib.suppress(OSError, termios.error):  # the terminal is gone
            if termios.tcgetattr(0) != self._state:
                os.write(1, RESET.encode())
                # What came meanwhile was not meant for us: reports of the mouse, half a key.
                termios.tcsetattr(0, termios.TCSAFLUSH, self._state)


@contextlib.contextmanager
def _ending(received: list[int]) -> Iterator[list[int]]:
    """While a child runs: keys are its own business, and what would end us ends it."""
    child: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        _hand_on(child, [number])

    # Handlers, not SIG_IGN: the child would inherit that.
    before = {number: signal.signal(number, lambda *_: None) for number in _KEYS}
    before |= {number: signal.signal(number, hand_on) for number in _ENDS}
    try:
        yield child
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hand_on(child: list[int], numbers: Iterable[int]) -> None:
    for pid, number in itertools.product(child, numbers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait(child: list[int]) -> int:
    """Wait until the child has ended; while it is suspended, so are we."""
    while True:
        pid, status = os.waitpid(child[0], os.WUNTRACED)
        if os.WIFSTOPPED(status):
            # The shell that started us waits for us alone.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
            continue
        child.clear()
        return os.waitstatus_to_exitcode(status)
