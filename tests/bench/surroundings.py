"""What a benchmark runs in: an own HOME, and the processes that it needs there."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CREW = str(Path(sys.executable).with_name("crew"))


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """An empty, private directory with a short path (a socket path holds 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="crew-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def environment(home: Path) -> dict[str, str]:
    """For every process of a benchmark: of the person's own, the PATH alone."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "SHELL": "/bin/sh",
    }


def module(name: str, *arguments: str) -> list[str]:
    """The argv that runs a module of these benchmarks."""
    return [sys.executable, "-m", f"tests.bench.{name}", *arguments]


@contextlib.contextmanager
def scripted(home: Path, session: str, agents: int) -> Iterator[Callable[[str], None]]:
    """A scripted supervisor, listening; what is called says `busy` or `quiet` to it."""
    with subprocess.Popen(
        module("scripted", session, str(agents)),
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        answer = stdout.readline()
        assert answer == "ready\n", "the scripted supervisor did not start"

        def say(word: str) -> None:
            stdin.write(f"{word}\n")
            stdin.flush()
            assert stdout.readline() == f"{word}\n"

        try:
            yield say
        finally:
            process.kill()
