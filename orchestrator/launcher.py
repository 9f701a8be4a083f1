"""What a pane runs: `python -I -S launcher.py FILE`. Standard library only, imports nothing else.

FILE is a launch order, 0600, written by the supervisor and removed here once it is read:

    {
      "argv": ["claude", "--session-id", "..."],   what the pane's process becomes
      "cwd": "/absolute/directory",
      "environ": {"NAME": "value"},                set last; these win
      "inherit": "/proc/<pid>/fd/<n>" or null,     NUL-separated NAME=VALUE block
      "inherit_deny": ["NAME"],                    left out of `inherit`
      "path_first": "/directory" or null           put in front of PATH
    }

The environment is `inherit` (null: our own), less `inherit_deny`, with the variables that describe
this terminal taken from our own, then `environ`, then `path_first`. `inherit` is a memory file of
the supervisor, so that values are never on a disk, in an argv or in tmux's environment.

Exit status: 127 the command was not found; 126 it, the directory or the order cannot be used;
75 (EX_TEMPFAIL) the environment cannot be read any more, so another order is needed.
"""

import json
import os
import signal
import sys
from typing import Any, NoReturn

NOT_FOUND = 127
UNUSABLE = 126
TRY_AGAIN = 75

# They describe the terminal that a program runs in: ours is the pane, not the person's.
TERMINAL = (
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TMUX",
    "TMUX_PANE",
    "COLUMNS",
    "LINES",
)

# When memory runs out the kernel ends the process with the highest score: the agent, before the
# tmux server or the supervisor (0). Any process may raise its own.
OOM_SCORE = 500


def fail(status: int, sentence: str) -> NoReturn:
    """Say why in the pane, and leave."""
    print(f"crew: {sentence}", file=sys.stderr, flush=True)
    sys.exit(status)


def read_order(file: str) -> dict[str, Any]:
    """Read the order and remove it."""
    try:
        with open(file, encoding="utf-8") as order:  # noqa: PTH123 - pathlib costs start time
            found = json.load(order)
        os.unlink(file)  # noqa: PTH108
    except OSError as error:
        fail(UNUSABLE, f"the launch order {file} cannot be read: {error.strerror}")
    except ValueError:
        fail(UNUSABLE, f"the launch order {file} is damaged")
    if not isinstance(found, dict) or not found.get("argv"):
        fail(UNUSABLE, f"the launch order {file} holds no command")
    return found


def inherited(source: str | None) -> dict[str, str]:
    """The environment to start from."""
    if source is None:
        return dict(os.environ)
    try:
        with open(source, "rb") as block:  # noqa: PTH123
            pairs = block.read().split(b"\0")
    except OSError as error:
        fail(
            TRY_AGAIN,
            f"the environment at {source} cannot be read ({error.strerror}): "
            "the supervisor that wrote it is gone; start the agent again",
        )
    split = (os.fsdecode(pair).partition("=") for pair in pairs if pair)
    return {name: value for name, equals, value in split if name and equals}


def environment(order: dict[str, Any]) -> dict[str, str]:
    """The environment that the command gets."""
    denied = {*order.get("inherit_deny", ()), *TERMINAL}
    result = {k: v for k, v in inherited(order.get("inherit")).items() if k not in denied}
    result.update((name, os.environ[name]) for name in TERMINAL if name in os.environ)
    result.update(order.get("environ", {}))
    if first := order.get("path_first"):
        result["PATH"] = first + os.pathsep + result.get("PATH", os.defpath)
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
    argv = order["argv"]
    environ = environment(order)
    try:
        os.chdir(order["cwd"])
    except (OSError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) else "none was given"
        fail(UNUSABLE, f"the directory {order.get('cwd')} cannot be entered: {reason}")
    prepare()
    try:
        os.execvpe(argv[0], argv, environ)  # noqa: S606 - an argv, no shell
    except (FileNotFoundError, NotADirectoryError):
        fail(NOT_FOUND, f"{argv[0]}: command not found; PATH is {environ.get('PATH', '')}")
    except (OSError, ValueError, TypeError) as error:
        fail(UNUSABLE, f"{argv[0]}: cannot be run: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main(sys.argv[1:])
