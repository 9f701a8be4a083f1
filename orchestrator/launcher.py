"""What a pane runs: `python -I -S launcher.py FILE`. It imports nothing of ours, and little else:
each agent waits for it, and on the way to a large team it is a good part of the time.

FILE is a launch order, 0600, written by the supervisor and removed here once it is read. Its
records end with a NUL each, as those of /proc/PID/environ do; a word says what a record is:

    arg TEXT           of what the pane's process becomes, the program first
    cwd PATH           an absolute directory
    env NAME=VALUE     set last; these win
    inherit PATH       a NUL-separated NAME=VALUE block, such as /proc/PID/fd/N
    deny NAME          left out of what is inherited
    path PATH          put in front of PATH
    end                the order is whole

The environment is `inherit` (without it our own), less `deny`, with the variables that describe
this terminal taken from our own, then `env`, then `path`. `inherit` is a memory file of the
supervisor, so that values are never on a disk, in an argv or in tmux's environment.

Exit status: 127 the command was not found; 126 it, the directory or the order cannot be used;
75 (EX_TEMPFAIL) the environment cannot be read any more, so another order is needed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself costs as much as half of what is done here
    from typing import NoReturn

# `signal` would bring `enum` and `re`, which take longer than all else here together.
signal = __import__("_signal")

NOT_FOUND = 127
UNUSABLE = 126
TRY_AGAIN = 75

# They describe the terminal that a program runs in: ours is the pane, not the person's.
TERMINAL = (
    b"TERM",
    b"TERM_PROGRAM",
    b"TERM_PROGRAM_VERSION",
    b"TMUX",
    b"TMUX_PANE",
    b"COLUMNS",
    b"LINES",
)

# When memory runs out the kernel ends the process with the highest score: the agent, before the
# tmux server or the supervisor (0). Any process may raise its own.
OOM_SCORE = 500


def fail(status: int, sentence: str) -> NoReturn:
    """Say why in the pane, and leave."""
    print(f"crew: {sentence}", file=sys.stderr, flush=True)
    sys.exit(status)


class Order:
    """A launch order, taken apart. All is bytes: what the kernel gets is what was written."""

    def __init__(self, records: list[bytes]) -> None:
        self.argv: list[bytes] = []
        self.env: list[bytes] = []
        self.deny: list[bytes] = []
        self.cwd = self.inherit = self.path = b""
        several = {b"arg": self.argv, b"env": self.env, b"deny": self.deny}
        for record in records:
            word, _, value = record.partition(b" ")
            if word in several:
                several[word].append(value)
            elif word in (b"cwd", b"inherit", b"path"):
                setattr(self, word.decode(), value)
            else:
                raise ValueError(word)


def read_order(file: str) -> Order:
    """Read the order and remove it."""
    try:
        with open(file, "rb") as written:  # noqa: PTH123 - pathlib costs start time
            records = written.read().split(b"\0")
        os.unlink(file)  # noqa: PTH108
    except OSError as error:
        fail(UNUSABLE, f"the launch order {file} cannot be read: {error.strerror}")
    try:
        if records[-2:] != [b"end", b""]:
            raise ValueError(records[-1])
        order = Order(records[:-2])
    except ValueError:
        fail(UNUSABLE, f"the launch order {file} is damaged")
    if not order.argv:
        fail(UNUSABLE, f"the launch order {file} holds no command")
    return order


def inherited(source: bytes) -> dict[bytes, bytes]:
    """The environment to start from."""
    if not source:
        return dict(os.environb)
    try:
        with open(source, "rb") as block:  # noqa: PTH123
            return named(block.read().split(b"\0"))
    except OSError as error:
        fail(
            TRY_AGAIN,
            f"the environment at {os.fsdecode(source)} cannot be read ({error.strerror}): "
            "the supervisor that wrote it is gone; start the agent again",
        )


def named(pairs: list[bytes]) -> dict[bytes, bytes]:
    """NAME=VALUE, each taken apart; what is no such pair is left out."""
    split = (pair.partition(b"=") for pair in pairs)
    return {name: value for name, equals, value in split if name and equals}


def environment(order: Order) -> dict[bytes, bytes]:
    """The environment that the command gets."""
    denied = {*order.deny, *TERMINAL}
    result = {k: v for k, v in inherited(order.inherit).items() if k not in denied}
    result.update((name, os.environb[name]) for name in TERMINAL if name in os.environb)
    result.update(named(order.env))
    if order.path:
        result[b"PATH"] = order.path + b":" + result.get(b"PATH", os.defpath.encode())
    return result


def prepare() -> None:
    """Undo what Python did to this process, and offer it to the kernel as the first to end."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        # Python ignores these, and an ignored signal stays so through exec.
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
            score.write(str(OOM_SCORE))
    except OSError:
        # No such file here, or a higher score was set already: nothing is lost.
        pass


def main(arguments: list[str]) -> NoReturn:
    if len(arguments) != 1:
        fail(UNUSABLE, "usage: launcher.py FILE")
    order = read_order(arguments[0])
    environ = environment(order)
    try:
        os.chdir(order.cwd)
    except OSError as error:
        directory = os.fsdecode(order.cwd) or "(none)"
        fail(UNUSABLE, f"the directory {directory} cannot be entered: {error.strerror}")
    prepare()
    program = os.fsdecode(order.argv[0])
    try:
        os.execvpe(order.argv[0], order.argv, environ)  # noqa: S606 - an argv, no shell
    except (FileNotFoundError, NotADirectoryError):
        path = os.fsdecode(environ.get(b"PATH", b""))
        fail(NOT_FOUND, f"{program}: command not found; PATH is {path}")
    except (OSError, ValueError) as error:
        fail(UNUSABLE, f"{program}: cannot be run: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main(sys.argv[1:])
