"""Run by `test_cache_faults.py` in a mount namespace of its own: DIRECTORY is a 2 MB file system.

Prints the warnings as JSON; what must not be raises.
"""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from orchestrator.sinks.cache import open_cache
from tests.sinks.answers import NOW, asked, cache_in, entry, key


class Settings:
    entries = 1000
    megabytes = 256


def fill(directory: Path) -> Path:
    """Take all the room that is left."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def full(directory: Path) -> list[list[str]]:
    """It fills while the cache is open, is full at the next opening, and is freed again."""
    cache = cache_in(directory)
    cache.keep(entry(1))
    ballast = fill(directory)
    for number in range(2, 40):
        cache.keep(entry(number, size=10_000))
        cache.note(asked(number))
    found = cache.look(key(1))
    assert found is not None
    assert found.answer == entry(1).answer
    cache.close()
    again = open_cache(directory, Settings(), NOW)
    again.keep(entry(50, size=100_000))
    assert again.look(key(50)) is None
    assert again.change_breaker("claude", lambda breaker: (7, breaker)) == 7
    again.close()
    ballast.unlink()
    after = open_cache(directory, Settings(), NOW)
    assert after.look(key(1)) == found
    after.keep(entry(50))
    assert after.look(key(50)) is not None
    after.close()
    return [cache.warnings, again.warnings, after.warnings]


def full_from_the_start(directory: Path) -> list[list[str]]:
    fill(directory)
    cache = open_cache(directory, Settings(), NOW)
    cache.keep(entry(1))
    cache.note(asked(1))
    assert cache.look(key(1)) is None
    cache.close()
    return [cache.warnings]


def read_only(directory: Path) -> list[list[str]]:
    """With a sound cache in it, which cannot be opened for writing."""
    cache = cache_in(directory)
    cache.keep(entry(1))
    cache.close()
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
    found = []
    for place in (directory, directory / "below"):
        cache_of_none = open_cache(place, Settings(), NOW)
        cache_of_none.keep(entry(2))
        cache_of_none.note(asked(2))
        assert cache_of_none.look(key(2)) is None
        cache_of_none.close()
        found.append(cache_of_none.warnings)
    return found


if __name__ == "__main__":
    where = Path(sys.argv[2])
    options = "size=2m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)], check=True)
    scenarios = {"full": full, "full_from_the_start": full_from_the_start, "read_only": read_only}
    print(json.dumps(scenarios[sys.argv[1]](where)))
