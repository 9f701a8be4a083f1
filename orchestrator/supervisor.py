"""The process of a session's supervisor: takes the lock, opens the store, serves, ends. What it
does in between is `supervising.py`.

    python -m orchestrator.supervisor SESSION

reads one line of JSON on its standard input, `{"env": {...}}`, the environment of the person who
starts it (none: it is not to start, and has made nothing), and writes one line: `ready`, `taken`
(another supervisor has the session) or `error: SENTENCE`. It detaches from nothing: whoever starts
it gives it its own process session.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.core.reducer import reduce_safely
from orchestrator.errors import CrewError, Fenced
from orchestrator.locations import SessionPaths, ensure_private, session_paths
from orchestrator.logs import start_log
from orchestrator.sinks.spare import Spare
from orchestrator.sinks.store import Loaded, Opened, Store
from orchestrator.sinks.worker import Worker
from orchestrator.sources import clock, ipc
from orchestrator.start import open_log
from orchestrator.supervising import Supervisor

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive(paths: SessionPaths) -> Iterator[bool]:
    """Hold the session's lock; False if another process has it. The kernel drops it at death."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield True
    finally:
        os.close(descriptor)


def _tell(line: str) -> None:
    """Say the one line that the starter waits for."""
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 0)
    os.close(null)


def _errors_to(descriptor: int) -> None:
    """One that was loaded ahead had no log yet."""
    os.dup2(descriptor, 2)
    os.close(descriptor)


async def _serve(paths: SessionPaths, env: Mapping[str, str]) -> None:
    worker = Worker()
    store, opened = await worker.call(Store.open, paths.database, now=clock.now()[0])
    try:
        epoch = await worker.call(store.take_over)
        loaded = await worker.call(_load, store, opened, paths)
        supervisor = Supervisor(paths, store, worker, loaded, env)
        server = await ipc.serve(paths.socket, supervisor.requests.handle)
        _link_crew(paths)
        _tell("ready")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.leave)
        try:
            await supervisor.run(epoch)
        finally:
            server.close()
            with contextlib.suppress(FileNotFoundError):
                paths.socket.unlink()
    finally:
        await worker.call(store.close)
        worker.close()


def _load(store: Store, opened: Opened, paths: SessionPaths) -> Loaded:
    """The world as it was last known; from the spare, where the database was damaged."""
    if opened.set_aside is not None:
        spare = Spare(paths.spare).read()
        log.error(
            "the database was damaged: it was set aside as %s and a new one was made%s",
            opened.set_aside,
            "" if spare is None else ", from the copy of the world",
        )
        if spare is not None and spare.session == paths.name:
            store.save_world(spare, 0)
    elif opened.log_copy is not None:
        log.error("part of the database's log could not be read: %s", opened.reason)
    loaded = store.load(paths.name, reduce_safely)
    for remark in loaded.remarks:
        log.error("%s", remark)
    return loaded


def _link_crew(paths: SessionPaths) -> None:
    """Give agents a directory that holds `crew` alone."""
    program = Path(sys.executable).with_name("crew")
    link = paths.bin / "crew"
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(program)


def main(arguments: Sequence[str]) -> int:
    os.umask(0o077)
    told = sys.stdin.readline()
    if not told:
        return 0
    try:
        paths = session_paths(arguments[0])
        env = dict(json.loads(told).get("env") or os.environ)
        for directory in paths.directories():
            ensure_private(directory)
        with exclusive(paths) as ours:
            if not ours:
                _tell("taken")
                return 0
            _errors_to(open_log(paths))
            start_log(paths.log)
            log.info("the supervisor started", extra={"pid": os.getpid()})
            asyncio.run(_serve(paths, env))
            log.info("the supervisor ended", extra={"pid": os.getpid()})
    except Fenced as error:
        log.error("%s", error)
        return 1
    except CrewError as error:
        log.error("%s", error)
        _tell(f"error: {error}")
        return error.exit_status
    except Exception as error:
        log.exception("the supervisor ended by a defect")
        _tell(f"error: {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
