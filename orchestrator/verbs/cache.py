"""`crew cache`: what is remembered of asks, what that has saved, and how to forget it.

What it needs for that is imported when it is needed: every verb pays for what is imported here.
"""

import contextlib
import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator import locations
from orchestrator.core import numbers
from orchestrator.core.text import clip, safe_text, span
from orchestrator.errors import UserError
from orchestrator.oneshot import settings as ask_settings
from orchestrator.verbs import program, render
from orchestrator.verbs.options import json_option
from orchestrator.verbs.output import columns, say, say_json
from orchestrator.verbs.types import age, whole

if TYPE_CHECKING:
    from orchestrator.sinks.cache import Cache, Entry, Stats
    from orchestrator.verbs import savings

# Characters of a key in a list: enough to name it again.
SHORT = 12
# Questions that are shown as those asked most.
TOP = 5


@click.group(epilog="Example: crew cache stats")
def cache() -> None:
    """Show or clear what `crew ask` remembers."""


@cache.command(epilog="Example: crew cache stats")
@json_option
def stats(as_json: bool) -> None:
    """Show how often it answered and what that saved."""
    from orchestrator.verbs import savings

    settings = ask_settings.read(locations.ask_file())
    with opened(settings) as store:
        there, records, most = store.stats(), store.records(), store.most_asked(TOP)
    found = savings.figures(records)
    low = found.hit_rate is not None and found.hit_rate < settings.warn_below
    told: list[savings.Advice] = []
    if low and found.asks >= savings.ENOUGH:
        ttl = savings.DAY if settings.ttl is None else settings.ttl
        told = savings.advice(records, there, ttl)
    if as_json:
        most_asked = [{"key": one.key, "asked": one.asked, "last": one.last} for one in most]
        rest = {"most_asked": most_asked, "advice": [asdict(one) for one in told]}
        say_json({**asdict(there), **asdict(found), **rest})
        return
    lines = [_size(there, time.time())]
    if records:
        lines += _totals(found, records[0].at)
        lines += ["", "asked most"]
        rows = [
            (one.key[:SHORT], f"{one.asked} times", safe_text(one.question or "(no answer kept)"))
            for one in most
        ]
        lines += render.table(rows, columns())
    if told:
        limit = f"below {settings.warn_below:.0%}"
        lines += ["", f"the hit rate is {limit}. Of the misses"]
        lines += [line for one in told for line in _advised(one)]
        if any(one.setting for one in told):
            lines.append(f"settings are in {locations.ask_file()}")
    say("\n".join(clip(line, columns()) for line in lines))


@cache.command("list", epilog="Example: crew cache list -n 20")
@click.option("-n", "limit", default=40, show_default=True, type=whole(1), help="How many.")
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List the answers, most used first."""
    with opened() as store:
        found = store.listed(limit)
    if as_json:
        say_json([asdict(one) for one in found])
        return
    if not found:
        say(program.as_typed("no answer is kept yet: `crew ask` asks"))
        return
    now = time.time()
    rows = [("KEY", "CLI", "AGE", "USES", "SIZE", "QUESTION")]
    rows += [
        (
            one.key[:SHORT],
            safe_text(one.cli),
            span(now - one.created) + ("" if now - one.created < one.ttl else " (old)"),
            str(one.uses),
            _bytes(one.size),
            safe_text(one.question),
        )
        for one in found
    ]
    say("\n".join(render.table(rows, columns())))


@cache.command(epilog="Example: crew cache show 1f3a90")
@click.argument("key")
@json_option
def show(key: str, as_json: bool) -> None:
    """Show an answer and its question."""
    from orchestrator.sinks.cache import fresh

    with opened() as store:
        entry = _entry(store, key)
    now = time.time()
    if as_json:
        say_json({**asdict(entry), "age": now - entry.created, "fresh": fresh(entry, now)})
        return
    used = entry.answer.tokens
    tokens = used.input + used.output + used.cache_write + used.cache_read
    state = "fresh" if fresh(entry, now) else "old"
    say(f"key       {entry.key}")
    say(f"asked     {safe_text(entry.cli)}, {safe_text(entry.answer.model)}")
    say(f"answered  {span(now - entry.created)} ago in {entry.took:.1f} s, {state}")
    say(f"used      {entry.uses} times, {tokens} tokens, {numbers.cost(entry.answer.cost_usd)}")
    say(f"\n{safe_text(entry.question, lines=True)}\n\n{safe_text(entry.answer.text, lines=True)}")


@cache.command(epilog="Example: crew cache clear --older 7d")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--older", type=age, metavar="AGE", help="Only those of this age or more.")
@json_option
def clear(keys: tuple[str, ...], older: float | None, as_json: bool) -> None:
    """Forget these answers; without a KEY, all."""
    with opened() as store:
        chosen = [_key(store, key) for key in keys] if keys else None
        before = None if older is None else time.time() - older
        number = store.clear(chosen, before)
    if as_json:
        say_json({"cleared": number})
    else:
        say(f"{number} answer{'' if number == 1 else 's'} cleared")


# -- the cache ------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(settings: ask_settings.AskSettings | None = None) -> Iterator["Cache"]:
    """The user's cache. What is wrong with it is said at the end."""
    from orchestrator.sinks.cache import open_cache

    settings = settings or ask_settings.read(locations.ask_file())
    store = open_cache(locations.cache_root(), settings, time.time())
    try:
        yield store
    finally:
        store.close()
        for warning in store.warnings:
            click.echo(f"crew: {safe_text(warning)}", err=True)


def _key(store: "Cache", start: str) -> str:
    """The key that begins so. Raises UserError if none does, or several."""
    found = store.find(start.lower())
    if len(found) != 1:
        begins = "no key begins" if not found else f"{len(found)} keys begin"
        raise UserError(f"{begins} with {safe_text(start)!r}: `crew cache list` shows them")
    return found[0]


def _entry(store: "Cache", start: str) -> "Entry":
    entry = store.look(_key(store, start))
    if entry is None:
        raise UserError(f"the answer of {safe_text(start)!r} cannot be used any more: ask again")
    return entry


# -- lines ----------------------------------------------------------------------------------------


def _size(there: "Stats", now: float) -> str:
    parts = [
        f"{there.entries:,} of at most {there.max_entries:,} answers",
        f"{_bytes(there.bytes)} of at most {_bytes(there.max_bytes)}",
    ]
    if there.oldest is not None:
        parts.append(f"the oldest is {span(now - there.oldest)} old")
    return " · ".join(parts)


def _totals(found: "savings.Figures", since: float) -> Sequence[str]:
    begun = datetime.datetime.fromtimestamp(since)
    count = found.outcomes.get
    rate = "" if found.hit_rate is None else f" · {found.hit_rate:.0%} hits"
    return [
        f"{_counted(found.asks, 'ask')} since {begun:%Y-%m-%d %H:%M}: "
        f"{_counted(count('hit', 0), 'hit')}, {_counted(found.misses, 'miss', 'misses')}, "
        f"{count('joined', 0):,} joined{rate}",
        f"saved {_used(found.saved)} · spent {_used(found.spent)}",
    ]


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _used(sums: Any) -> str:
    cost = numbers.cost(sums["cost_usd"])
    return f"{span(sums['seconds'])}, {numbers.count(sums['tokens'])} tokens, {cost}"


def _advised(one: "savings.Advice") -> list[str]:
    lines = [f"  {one.share:>4.0%} {one.said}"]
    if one.setting is not None and one.hit_rate is not None:
        lines.append(
            f"       {one.setting} = {one.value:.0f} would have made "
            f"{_counted(one.hits, 'more hit')}: {one.hit_rate:.0%}"
        )
    return lines


def _bytes(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
