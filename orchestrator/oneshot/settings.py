"""The user's settings of `crew ask`, in one small file: see `locations.ask_file`."""

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.values import value

if TYPE_CHECKING:
    from orchestrator.tables import Problem

# What a number may be at most: beyond it, it is a slip of the keyboard.
PARALLEL_MOST = 256
QUEUE_MOST = 100_000
ENTRIES_MOST = 10_000_000
MEGABYTES_MOST = 1_000_000
# Bytes of a file that is read without a closer look.
PLAIN_MOST = 4096
# What each key may be in TOML, the kind that it is kept as first.
KINDS: Final[dict[str, tuple[type[Any], ...]]] = {
    **dict.fromkeys(("parallel", "queue", "entries", "megabytes"), (int,)),
    **dict.fromkeys(("ttl", "warn_below"), (float, int)),
}


@value
class AskSettings:
    """`parallel`: runs of a CLI at a time, None: as many as cores and memory allow. `queue`: how
    many wait at most. `entries`, `megabytes`: the bounds of the cache. `ttl`: seconds for which an
    answer is given again, over what the definitions say. `warn_below`: the hit rate below which
    `crew cache stats` says why.
    """

    parallel: int | None = None
    queue: int = 1000
    entries: int = 10_000
    megabytes: int = 256
    ttl: float | None = None
    warn_below: float = 0.2


def read(file: Path) -> AskSettings:
    """The settings in `file`; the defaults where there is none. Raises SpecError."""
    try:
        found = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return AskSettings()
    except OSError:
        pass  # said below, in words
    else:
        if stat.S_ISREG(found.st_mode) and found.st_size <= PLAIN_MOST:
            made = _plain(file)
            if made is not None:
                return made
    # Costs more to import than all else that a question needs.
    from orchestrator import tables

    made = tables.checked(AskSettings, tables.read_toml(file), file)
    tables.raise_problems(file, _wrong(made))
    return made


def _plain(file: Path) -> AskSettings | None:
    """The settings in a file that is plainly in order; None: look at it closely, and say what is
    wrong with it."""
    import tomllib

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if any(type(item) not in KINDS.get(key, ()) for key, item in table.items()):
        return None
    made = AskSettings(**{key: KINDS[key][0](item) for key, item in table.items()})
    return None if any(_wrong(made)) else made


def _wrong(settings: AskSettings) -> Iterator["Problem"]:
    bounds = (
        ("parallel", 1, PARALLEL_MOST),
        ("queue", 0, QUEUE_MOST),
        ("entries", 1, ENTRIES_MOST),
        ("megabytes", 1, MEGABYTES_MOST),
    )
    for key, least, most in bounds:
        number = getattr(settings, key)
        if number is not None and not least <= number <= most:
            yield (key,), f"should be {least} to {most:,}"
    if settings.ttl is not None and not 0 < settings.ttl < math.inf:
        yield ("ttl",), "should be more than 0 seconds"
    if not 0 <= settings.warn_below <= 1:
        yield ("warn_below",), "should be 0 to 1: it is the share of questions that were hits"
