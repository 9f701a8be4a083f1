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
from collections.abc import Iterator, Mapping

from orchestrator.errors import CrewError, SupervisorError
from orchestrator.locations import SessionPaths, ensure_private, session_paths

# All that the process itself needs. The person's whole environment is for the agents: it is told
# over a pipe, and never stands in the supervisor's own, which every child of it would inherit.
_KEPT = frozenset({"PATH", "HOME", "LANG", "USER", "SHELL", "TERM", "CREW_BOOT_ID"})
_KEPT_PREFIXES = ("LC_", "XDG_", "CREW_FAILPOINT", "CREW_TEST_")

# For glibc: each thread that has had work at a launch keeps what it needed then in an arena of its
# own, which is more than all that is known of the agents. (See `sinks/worker.py` as well.)
_MEMORY = {"MALLOC_ARENA_MAX": "2"}

# The supervisors started here outlive this process and are not waited for.
_started: list[subprocess.Popen[bytes]] = []
# Those that have been loaded ahead and wait to be started, by session.
_loaded: dict[str, subprocess.Popen[bytes]] = {}


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


@contextlib.contextmanager
def ahead(session: str | None, environ: Mapping[str, str]) -> Iterator[None]:
    """Load the supervisor of `session`, if it has none, while what it is for is being found out.

    To load takes it longer than to start. It waits for its first line and makes nothing before, be
    it that a person is asked meanwhile; if it is not started in here it is ended again. None: which
    session it will be is not known.
    """
    process = _load(session, environ) if session is not None else None
    if session is None or process is None:
        yield
        return
    _loaded[session] = process
    try:
        yield
    finally:
        if _loaded.pop(session, None) is not None:
            with process:
                process.kill()


def _load(session: str, environ: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """None: it runs already, or it cannot be loaded, which is said when it is to be started."""
    try:
        if not session_paths(session).socket.exists():
            # What it says before it has its log is that it cannot be loaded.
            return _process(session, environ, subprocess.DEVNULL)
    except (CrewError, OSError):
        pass
    return None


def start_supervisor(paths: SessionPaths, environ: Mapping[str, str], timeout: float) -> str:
    """Start it and return `ready`, `taken` if another one holds the session's lock, or `killed`
    if somebody killed it before it said a word.

    Raises SupervisorError, with its own sentence if it gave one, when it is not ready within
    `timeout` seconds; it is ended then.
    """
    # Its parents first: `mkdir` would make them readable to others.
    for directory in (paths.root.parent, *paths.directories()):
        ensure_private(directory)
    end = time.monotonic() + timeout
    if (loaded := _loaded.pop(paths.name, None)) is not None:
        said = _hear(loaded, environ, timeout)
        if said or said is None:
            return _judge(said, loaded, paths)
        loaded.wait()  # It could not be loaded, and had no log to say why: another one has.
    process = _launch(paths, environ)
    said = _hear(process, environ, max(0.0, end - time.monotonic()))
    return _judge(said, process, paths)


def _hear(
    process: subprocess.Popen[bytes], environ: Mapping[str, str], timeout: float
) -> str | None:
    """Tell it to start, and hear what it says, as `_first_line` has it. One that says nothing in
    time is ended."""
    _started.append(process)
    assert process.stdout is not None
    said = None
    try:
        _tell(process, environ)
        said = _first_line(process, timeout)
    finally:
        if said is None:
            process.kill()
            process.wait()
        process.stdout.close()
    return said


def _launch(paths: SessionPaths, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    log = open_log(paths)
    try:
        return _process(paths.name, environ, log)
    except OSError as error:
        raise SupervisorError(
            f"the supervisor of {paths.name} cannot be started: {error.strerror}"
        ) from error
    finally:
        os.close(log)


def open_log(paths: SessionPaths) -> int:
    """A descriptor for what Python and libraries say in the last moment of a supervisor.

    Raises SupervisorError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(paths.log, flags, 0o600)
    except OSError as error:
        raise SupervisorError(f"{paths.log}: cannot be written: {error.strerror}") from error


def _process(session: str, environ: Mapping[str, str], errors: int) -> subprocess.Popen[bytes]:
    """The process of a session's supervisor, which waits to be told to start."""
    return subprocess.Popen(
        supervisor_argv(session),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd="/",
        env={**own_environment(environ), **_MEMORY},
        start_new_session=True,
    )


def _tell(process: subprocess.Popen[bytes], environ: Mapping[str, str]) -> None:
    """Tell it to start, for the person with this environment."""
    pipe = process.stdin
    assert pipe is not None
    line = json.dumps({"env": dict(environ)}).encode() + b"\n"

    def tell() -> None:
        with contextlib.suppress(BrokenPipeError), pipe:
            pipe.write(line)

    # More than a pipe holds: a thread of its own, so that a supervisor which does not read it is
    # still bounded.
    threading.Thread(target=tell, daemon=True).start()


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
    process.kill()
    process.wait()
    if said.startswith("error: "):
        raise SupervisorError(said.removeprefix("error: "))
    raise SupervisorError(f"the supervisor of {paths.name} ended at its start: see {paths.log}")
