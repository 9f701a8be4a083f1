"""Run by `test_store_full.py` in a mount namespace of its own: DIRECTORY is a 2 MB file system.

Prints what it found as JSON; what must not be raises.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import StorageFull
from orchestrator.sinks.store import Store, read_world
from tests.sinks.values import NOW, event, fold, message, names


def fill(store: Store) -> tuple[int, str]:
    """Commit until nothing more can be; the events that were taken, and what was said."""
    for number in range(1, 10_000):
        try:
            assert store.commit([event(number, size=2000)], [message(number)]) == [number]
        except StorageFull as error:
            return number - 1, str(error)
    raise AssertionError("the disk is never full")


def retry_after_space(store: Store, taken: int, free: "os.PathLike[str]") -> None:
    """The refused batch changed nothing, and is taken once there is room."""
    batch = [event(taken + 1, size=2000)], [message(taken + 1)]
    for _ in range(3):
        try:
            store.commit(*batch)
        except StorageFull:
            continue
        raise AssertionError("it was taken though the disk is full")
    assert store.load("team", fold).world.edited == names(1, taken)
    assert len(store.messages()) == taken
    Path(free).unlink()
    assert store.commit(*batch) == [taken + 1]


def full(directory: Path) -> dict[str, object]:
    database, ballast = directory / "crew.db", directory / "ballast"
    ballast.write_bytes(bytes(600_000))
    store, _ = Store.open(database, now=NOW)
    with store:
        store.take_over()
        taken, said = fill(store)
        retry_after_space(store, taken, ballast)
    store, opened = Store.open(database, now=NOW)
    with store:
        assert opened.set_aside is None, opened.reason
        assert store.load("team", fold).world.edited == names(1, taken + 1)
    return {"taken": taken, "said": said}


def full_from_the_start(directory: Path) -> dict[str, object]:
    """No room for a database at all; then there is."""
    ballast = directory / "ballast"
    # Unbuffered: nothing is left to be written when it is closed.
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        Store.open(directory / "crew.db", now=NOW)
    except StorageFull as error:
        said = str(error)
    else:
        raise AssertionError("it was opened though the disk is full")
    ballast.unlink()
    store, opened = Store.open(directory / "crew.db", now=NOW)
    with store:
        assert (opened.fresh, opened.set_aside) == (True, None)
        store.take_over()
        assert store.commit([event(1)], []) == [1]
    return {"said": said}


def read_only(directory: Path) -> dict[str, object]:
    """The file system turns read-only: once with a log left by a kill, once without."""
    database = directory / "crew.db"
    said = []
    for kill in (True, False):
        database.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            store, _ = Store.open(database, now=NOW)
            store.take_over()
            store.commit([event(1), event(2)], [])
            if not kill:
                store.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert database.with_name("crew.db-wal").exists() is kill
        remount(directory, "ro")
        assert read_world(database, "team", fold).world.edited == names(1, 2)
        try:
            Store.open(database, now=NOW)
        except StorageFull as error:
            said.append(str(error))
        remount(directory, "rw")
        for left in directory.iterdir():
            left.unlink()
    return {"said": said}


def remount(directory: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(directory)], check=True)


if __name__ == "__main__":
    where = Path(sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(where)], check=True)
    scenarios = {"full": full, "full_from_the_start": full_from_the_start, "read_only": read_only}
    print(json.dumps(scenarios[sys.argv[1]](where)))
