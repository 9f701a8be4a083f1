"""Start the supervisor of a session, detached, and hear from it whether it is ready.

Standard library only, as `client.py` is.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from orchestrator.errors import SupervisorError
from orchestrator.locations import SessionPaths, ensure_private

# All that the process itself needs. The person's whole environment is for the agents: it is told
# over a pipe, and never stands in the supervisor's own, which every child of it would inherit.
_KEPT = frozenset({"PATH", "HOME", "LANG", "USER", "SHELL", "TERM", "CREW_BOOT_ID"})
_KEPT_PREFIXES = ("LC_", "XDG_", "CREW_FAILPOINT", "CREW_TEST_")

# For glibc: each thread that has had work at a launch keeps what it needed then in an arena of its
# own, which is more than all that is known of the agents. (See `sinks/worker.py` as well.)
_MEMORY = {"MALLOC_ARENA_MAX": "2"}

# The supervisors started here outlive this process and are not waited for.
_started: list[subprocess.Popen[bytes]] = []


def supervisor_argv(session: str) -> list[str]:
    """The command that runs a session's supervisor."""
    return [sys.executable, "-I", "-m", "orchestrator.supervisor", session]


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the person's environment the supervisor's own process gets."""
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


def start_supervisor(paths: SessionPaths, environ: Mapping[str, str], timeout: float) -> str:
    """Start it and return `ready`, `taken` if another one holds the session's lock, or `killed`
    if somebody killed it before it said a word.

    Raises SupervisorError, with its own sentence if it gave one, when it is not ready within
    `timeout` seconds; it is ended then.
    """
    # Its parents first: `mkdir` would make them readable to others.
    for directory in (paths.root.parent, *paths.directories()):
        ensure_private(directory)
    process = _launch(paths, environ)
    try:
        said = _first_line(process, timeout)
        return _judge(said, process, paths)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        assert process.stdout is not None
        process.stdout.close()


def _launch(paths: SessionPaths, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        log = os.open(paths.log, flags, 0o600)
    except OSError as error:
        raise SupervisorError(f"{paths.log}: cannot be written: {error.strerror}") from error
    try:
        process = subprocess.Popen(
            supervisor_argv(paths.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={**own_environment(environ), **_MEMORY},
            start_new_session=True,
        )
    except OSError as error:
        raise SupervisorError(
            f"the supervisor of {paths.name} cannot be started: {error.strerror}"
        ) from error
    finally:
        os.close(log)
    _started.append(process)
    assert process.stdin is not None
    line = json.dumps({"env": dict(environ)}).encode() + b"\n"
    # More than a pipe holds: a thread of its own, so that a supervisor which does not read it is
    # still bounded.
    threading.Thread(target=_tell, args=(process.stdin, line), daemon=True).start()
    return process


def _tell(pipe: IO[bytes], line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(line)


def _first_line(process: subprocess.Popen[bytes], timeout: float) -> str | None:
    """What it says within `timeout` seconds; empty: it ended without a word; None: nothing yet."""
    assert process.stdout is not None
    end = time.monotonic() + timeout
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in said:
            if not selector.select(max(0.0, end - time.monotonic())):
                return None
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                break
            said += chunk
    return said.partition(b"\n")[0].decode(errors="replace")


def _judge(said: str | None, process: subprocess.Popen[bytes], paths: SessionPaths) -> str:
    if said in ("ready", "taken"):
        return said
    if said is None:
        raise SupervisorError(
            f"the supervisor of {paths.name} was not ready in time and was ended: see {paths.log}"
        )
    if not said and process.wait() < 0:
        return "killed"
    if said.startswith("error: "):
        raise SupervisorError(said.removeprefix("error: "))
    raise SupervisorError(f"the supervisor of {paths.name} ended at its start: see {paths.log}")
