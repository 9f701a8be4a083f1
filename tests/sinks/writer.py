"""A writer in a process of its own, for tests that kill it: `python -m tests.sinks.writer`.

DB REPORT BATCHES: commits two events and a message a batch, saves the world now and then, and
notes in REPORT each event's number once `commit` has returned for it.

`--each DIRECTORY BATCHES`: such a writer for each fail point of the database, killed there, with
its files in DIRECTORY/1, DIRECTORY/2 and so on, until one is not. Prints how each has ended.
"""

import os
import sys
import traceback
from pathlib import Path

from orchestrator import failpoints
from orchestrator.sinks.store import Store
from tests.sinks.values import NOW, event, fold, message

# Worlds are saved so often, and so little is kept, that pruning is part of it.
SAVE_EACH, KEPT = 3, 2


def main(database: Path, report: Path, batches: int) -> None:
    notes = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    store, _ = Store.open(database, now=NOW)
    store.take_over()
    loaded = store.load("team", fold)
    world, seq = loaded.world, loaded.seq
    for batch in range(1, batches + 1):
        events = [event(seq + 1), event(seq + 2)]
        assert not store.seen([str(each.key) for each in events])
        numbers = store.commit(events, [message(seq + 2)])
        os.write(notes, f"{numbers[-1]}\n".encode())
        for each in events:
            world, _ = fold(world, each)
        seq = numbers[-1]
        if batch % SAVE_EACH == 0:
            store.save_world(world, seq, keep=KEPT)
    store.close()


def each(directory: Path, batches: int) -> None:
    """Forks: to import what writes takes a process of its own ten times as long as to write."""
    for number in range(1, 200):
        place = directory / str(number)
        place.mkdir()
        child = os.fork()
        if child == 0:
            _be_killed(place, batches, number)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)
        if code >= 0:
            return


def _be_killed(place: Path, batches: int, number: int) -> None:
    failpoints._target, failpoints._FATAL, failpoints._ARMED = failpoints.DB, number, True
    try:
        main(place / "crew.db", place / "report", batches)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "--each":
        each(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
