"""The traces of the benchmark of `crew ask`, and the best that could be made of one."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.traces import best_hits, our_hits, spaced, zipf


def tried(trace: Sequence[int], entries: int, kept: frozenset[int] = frozenset()) -> int:
    """The most hits, by trying every choice of what is kept."""
    if not trace:
        return 0
    hit = trace[0] in kept
    rooms = itertools.combinations({*kept, trace[0]}, min(entries, len({*kept, trace[0]})))
    return hit + max(tried(trace[1:], entries, frozenset(room)) for room in rooms)


@given(st.lists(st.integers(0, 4), max_size=8), st.integers(1, 3))
def test_no_choice_is_better_than_the_best(trace: list[int], entries: int) -> None:
    assert best_hits(trace, entries) == tried(trace, entries)


def test_what_is_spaced_differently_is_the_same_question(tmp_path: Path) -> None:
    trace = zipf(200, 20, 1)
    texts = spaced(trace, 5, 1)
    assert len({*texts}) > len({*trace})
    assert our_hits(texts, 1000, tmp_path / "cache") == len(trace) - len({*trace})
    assert best_hits(trace, 1000) == len(trace) - len({*trace})


def test_the_first_ones_are_asked_most() -> None:
    trace = zipf(10_000, 100, 1)
    counts = [trace.count(number) for number in (0, 1, 9)]
    assert counts == sorted(counts, reverse=True)
    assert 1.5 < counts[0] / counts[1] < 2.5
