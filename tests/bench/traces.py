"""Traces of questions, the best that any cache could make of one, and what ours makes of it."""

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from orchestrator.core.oneshots import Answer
from orchestrator.core.questions import Question, coarse, key
from orchestrator.core.tokens import Tokens
from orchestrator.sinks.cache import DiskCache, Entry, fresh
from orchestrator.sinks.history import Asked, Outcome

ANSWER = Answer(
    text="A sentence of some length, as an answer has it. " * 10,
    model="some-model",
    tokens=Tokens(input=3000, output=200),
    cost_usd=0.01,
    conversation=None,
    tools=False,
)
DAY = 86_400.0
MANY = 10**9


def zipf(length: int, distinct: int, seed: int) -> list[int]:
    """So many questions out of `distinct`: the n-th most frequent as often as 1 / n."""
    weights = [1 / rank for rank in range(1, distinct + 1)]
    return random.Random(seed).choices(range(distinct), weights, k=length)


def spaced(trace: Sequence[int], one_in: int, seed: int) -> list[str]:
    """Their texts, one in so many with other white space: the same question all the same."""
    chance = random.Random(seed)
    return [
        f"  What is \t number\t{number}?\n" if not chance.randrange(one_in) else _text(number)
        for number in trace
    ]


def best_hits(trace: Sequence[int], entries: int) -> int:
    """The hits of the best possible eviction, Belady's: what is asked last from now on goes. It
    knows the future, and may also leave out what is just asked."""
    later: defaultdict[int, list[int]] = defaultdict(list)
    for at in reversed(range(len(trace))):
        later[trace[at]].append(at)
    kept: set[int] = set()
    hits = 0
    for number in trace:
        later[number].pop()
        hits += number in kept
        kept.add(number)
        if len(kept) > entries:
            kept.remove(max(kept, key=lambda each: later[each][-1] if later[each] else MANY))
    return hits


def our_hits(texts: Sequence[str], entries: int, directory: Path) -> int:
    """The hits of our cache with this bound."""
    with closing(_cache(directory, entries)) as cache:
        return sum(_ask(cache, text) for text in texts)


class Filled:
    """Our cache with so many entries in it."""

    def __init__(self, directory: Path, entries: int) -> None:
        self.entries = entries
        self._cache = _cache(directory, entries)
        for number in range(entries):
            self._cache.keep(_entry(key(_question(_text(number))), _text(number)))

    def hits(self, count: int, seed: int) -> list[float]:
        """Milliseconds that each of so many hits takes, of looking it up and noting it down."""
        chance = random.Random(seed)
        return [self._hit(chance.randrange(self.entries)) for _ in range(count)]

    def close(self) -> None:
        self._cache.close()

    def _hit(self, number: int) -> float:
        question = _question(_text(number))
        name, rough = key(question), coarse(question)
        begun = time.perf_counter()
        found = self._cache.look(name)
        self._cache.note(_asked(name, rough, "hit"))
        taken = time.perf_counter() - begun
        assert found is not None
        assert found.question == _text(number)
        return 1000 * taken


def _cache(directory: Path, entries: int) -> DiskCache:
    directory.mkdir()
    file = directory / "answers-v1.db"
    return DiskCache(file, max_entries=entries, max_bytes=MANY, now=time.time())


def _ask(cache: DiskCache, text: str) -> bool:
    """As `crew ask` does; whether it was a hit."""
    question = _question(text)
    name, rough = key(question), coarse(question)
    entry = cache.look(name)
    if entry is not None and fresh(entry, time.time()):
        cache.note(_asked(name, rough, "hit"))
        return True
    cache.keep(_entry(name, text))
    cache.note(_asked(name, rough, "ran"))
    return False


def _text(number: int) -> str:
    return f"What is number {number}?"


def _question(text: str) -> Question:
    return Question(
        cli="claude",
        version="1.0",
        arguments=("claude", "-p"),
        model="",
        system="",
        prompt=text,
        inputs=(),
        context=(),
    )


def _entry(name: str, text: str) -> Entry:
    return Entry(
        key=name, answer=ANSWER, question=text, cli="claude", created=time.time(), ttl=DAY, took=2.0
    )


def _asked(name: str, rough: str, outcome: Outcome) -> Asked:
    model = ANSWER.model
    return Asked(at=time.time(), key=name, coarse=rough, cli="claude", model=model, outcome=outcome)
