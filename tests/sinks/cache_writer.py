"""A writer of the cache in a process of its own, for tests that kill it.

`python -m tests.sinks.cache_writer DIRECTORY REPORT SEED ROUNDS`: keeps and notes at random, over
and over what another one has kept, with bounds that make others go; notes in REPORT each answer
that is kept.
"""

import os
import random
import sys
from pathlib import Path
from unittest import mock

from orchestrator.sinks import cache_schema
from tests.sinks.answers import NOW, asked, cache_in, entry

# Few enough that writers meet at the same keys, of which some must always go.
NUMBERS, ENTRIES = 30, 20


def main(directory: Path, report: Path, seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    notes = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # Who wants the file at the same time is no failure, however long a busy machine takes.
    mock.patch.object(cache_schema, "BUSY_TIMEOUT", 60.0).start()
    cache = cache_in(directory, entries=ENTRIES)
    for number in range(rounds):
        which = chance.randrange(NUMBERS)
        # Long ones take several pages.
        cache.keep(entry(which, at=NOW + number, size=chance.choice((10, 1000, 20_000))))
        os.write(notes, b"kept\n")
        cache.note(asked(which, "ran", at=NOW + number))
        cache.look(entry(chance.randrange(NUMBERS)).key)
        if number % 10 == 9:
            cache.clear([entry(which).key])
    assert cache.warnings == [], cache.warnings
    cache.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
