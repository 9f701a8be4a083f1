"""What the asks on record say about the cache: how often it answered, what that saved, and which
setting would have made it answer more often. Pure: replays the records under another setting.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.core.text import span
from orchestrator.core.values import value
from orchestrator.sinks.cache import MEGABYTE, Stats
from orchestrator.sinks.history import SAVED, Asked

# Fewer asks say nothing about a rate.
ENOUGH = 20
HOUR, DAY = 3600.0, 86400.0
# Times to live that are worth proposing, and the share of the longest one's gain that is enough.
TTLS = (HOUR, 6 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 30 * DAY)
MOST = 0.9


@value
class Figures:
    """Of the asks on record. Sums of cost are of those that are known; None: of none."""

    asks: int
    outcomes: Mapping[str, int]
    misses: int
    hit_rate: float | None
    reasons: Mapping[str, int]
    saved: Mapping[str, float | None]
    spent: Mapping[str, float | None]


@value
class Advice:
    """Why so many asks missed, and what would have helped: `setting` = `value` would have made
    `hits` more. No setting: none would."""

    reason: str
    misses: int
    share: float
    said: str
    setting: str | None = None
    value: float | None = None
    hits: int = 0
    hit_rate: float | None = None


def figures(records: Sequence[Asked]) -> Figures:
    outcomes = Counter[str](asked.outcome for asked in records)
    hits, misses = outcomes["hit"], len(records) - outcomes["hit"] - outcomes["joined"]
    saved = [asked for asked in records if asked.outcome in SAVED]
    spent = [asked for asked in records if asked.outcome not in SAVED]
    return Figures(
        asks=len(records),
        outcomes=dict(outcomes),
        misses=misses,
        hit_rate=hits / (hits + misses) if hits + misses else None,
        reasons=dict(Counter[str](asked.reason for asked in records if _missed(asked))),
        saved={"seconds": sum(asked.saved for asked in saved), **_used(saved)},
        spent={"seconds": sum(asked.took for asked in spent), **_used(spent)},
    )


def _missed(asked: Asked) -> bool:
    return asked.outcome not in ("hit", "joined")


def _used(records: Sequence[Asked]) -> dict[str, float | None]:
    costs = [asked.cost_usd for asked in records if asked.cost_usd is not None]
    return {
        "tokens": sum(asked.tokens for asked in records),
        "cost_usd": sum(costs) if costs or not records else None,
    }


def advice(records: Sequence[Asked], stats: Stats, ttl: float) -> list[Advice]:
    """What the misses come from, most of them first. `ttl`: seconds that an answer lives now,
    where nothing else is said."""
    found = figures(records)
    misses = {
        reason: found.reasons.get(reason, 0)
        for reason in ("expired", "evicted", "finer", "refresh", "uncached", "cleared")
    }
    times = Counter(asked.key for asked in records)
    misses["once"] = sum(asked.reason == "new" and times[asked.key] == 1 for asked in records)
    told = {
        "expired": _longer(records),
        "evicted": _larger(records, stats, ttl),
        "finer": _coarser(records, ttl),
        "once": {"said": "were asked once and never again: no setting answers those"},
        "refresh": {"said": "were to be asked anew (--refresh)"},
        "uncached": {"said": "had no answer that could be kept (failed, cut, or with tools)"},
        "cleared": {"said": "had their answers cleared"},
    }
    return [
        _advice(found, reason, number, told[reason])
        for reason, number in sorted(misses.items(), key=lambda one: -one[1])
        if number
    ]


def _advice(found: Figures, reason: str, number: int, told: dict[str, Any]) -> Advice:
    hits = found.outcomes.get("hit", 0)
    # A replay can lose what a real run had kept: no advice then.
    more = max(0, told.get("hits", 0))
    return Advice(
        reason=reason,
        misses=number,
        share=number / found.misses,
        said=told["said"],
        setting=told.get("setting") if more else None,
        value=told.get("value") if more else None,
        hits=more,
        hit_rate=(hits + more) / (hits + found.misses) if more else None,
    )


def _longer(records: Sequence[Asked]) -> dict[str, Any]:
    """The shortest time to live that gets most of what the longest one would."""
    now = sum(asked.outcome == "hit" for asked in records)
    gains = {ttl: _hits(records, ttl) - now for ttl in TTLS}
    best = max(gains.values())
    if best <= 0:
        return {"said": "had expired"}
    value = next(ttl for ttl, gain in gains.items() if gain >= MOST * best)
    said = f"had expired: to keep answers for {span(value)}"
    return {"said": said, "setting": "ttl", "value": value, "hits": gains[value]}


def _larger(records: Sequence[Asked], stats: Stats, ttl: float) -> dict[str, Any]:
    """The bound under which none of these would have had to go."""
    evicted = len({asked.key for asked in records if asked.reason == "evicted"})
    share = 1 + evicted / max(1, stats.entries)
    if stats.entries * stats.max_bytes >= stats.bytes * stats.max_entries:
        setting, value = "entries", float(stats.max_entries + evicted)
    else:
        setting, value = "megabytes", float(math.ceil(stats.max_bytes / MEGABYTE * share))
    hits = _hits(records, ttl, evicting=False) - _hits(records, ttl)
    return {"said": "had made room for others", "setting": setting, "value": value, "hits": hits}


def _coarser(records: Sequence[Asked], ttl: float) -> dict[str, Any]:
    said = (
        "had the prompt of an earlier ask, but another version, model, system prompt, --input "
        "or --context"
    )
    alike = _hits(records, ttl, coarse=True) - _hits(records, ttl)
    return {"said": f"{said}: if those had not counted, {max(0, alike)} more would have hit"}


def _hits(
    records: Sequence[Asked], ttl: float, *, evicting: bool = True, coarse: bool = False
) -> int:
    """How many of these asks would be hits if answers lived so long, were never `evicting` each
    other, or were told apart by their prompts alone."""
    # When the answer of each question was made, and when it really was.
    made: dict[str, float] = {}
    really: dict[str, float] = {}
    hits = 0
    barred = {"refresh", "uncached", "cleared"} | ({"evicted"} if evicting else set())
    for asked in records:
        key = asked.coarse if coarse else asked.key
        if asked.outcome == "hit" and made.get(key) == really.get(key):
            hits += 1  # nothing is different so far
        elif asked.outcome == "joined":
            continue
        elif key in made and asked.reason not in barred and asked.at - made[key] < ttl:
            hits += 1
        elif asked.outcome in ("hit", "ran"):
            made[key] = asked.at
        if asked.outcome == "ran":
            really[key] = asked.at
    return hits
