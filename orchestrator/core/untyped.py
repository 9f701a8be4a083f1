"""JSON of unknown origin: whatever stands there, a value of the wanted type. Pure, and total."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# What a 64-bit column holds with room to add up.
COUNT = 10**12


def parsed(data: bytes) -> dict[str, Any] | None:
    """The object that the text spells; None if it spells none."""
    try:
        found = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def text_of(found: object, limit: int | None = None) -> str | None:
    """At most `limit` characters (None: all) that UTF-8 can hold.

    JSON can spell half a surrogate pair.
    """
    if not isinstance(found, str):
        return None
    return found[:limit].encode("utf-8", "replace").decode()


def count_of(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        return 0
    return max(0, min(found, COUNT))


def object_of(found: object) -> Mapping[str, Any]:
    """An object; an empty one instead of anything else."""
    return found if isinstance(found, dict) else {}


def objects(found: object) -> Iterator[dict[str, Any]]:
    """The objects of a list; nothing of anything else."""
    if isinstance(found, list):
        yield from (item for item in found if isinstance(item, dict))
