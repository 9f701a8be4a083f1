"""What an agent has used: tokens by model, and what they cost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.spec import PriceSpec, PricesSpec
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import (
    CONVERSATIONS,
    MARKS,
    Mark,
    Usage,
    cost_of,
    counted,
    price_of,
    reported,
    taken_up,
    total,
)

OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-4-5"
PRICES = PricesSpec(
    dated="2026-11-01",
    models={
        OPUS: PriceSpec(input=4, output=20, cache_write=5, cache_read=0.2),
        HAIKU: PriceSpec(input=1, output=5, cache_write=1.25, cache_read=0.1),
    },
)
# What costs one dollar.
DOLLAR = Tokens(input=250_000)


def used(usage: Usage, tokens: Tokens, model: str = OPUS) -> Usage:
    return counted(usage, "/t", Mark(offset=1), {model: tokens})


def said(
    usage: Usage, run: int, cost: float, *, conversation: str = "c", answered: bool = True
) -> Usage:
    return reported(usage, PRICES, run=run, conversation=conversation, cost=cost, answered=answered)


def start(usage: Usage, run: int, cost: float = 0.0, conversation: str = "c") -> Usage:
    """The first word of a process: before any answer, with what the CLI had saved."""
    return said(usage, run, cost, conversation=conversation, answered=False)


def cost(usage: Usage, prices: PricesSpec | None = PRICES, *, over: bool = False) -> float | None:
    return cost_of(usage, prices, over=over)[0]


# -- tokens ---------------------------------------------------------------------------------------


def test_tokens_add_up_by_model_and_the_mark_goes_with_them() -> None:
    usage = used(used(Usage(), DOLLAR), Tokens(output=3, cache_read=4), HAIKU)
    usage = counted(usage, "/u", Mark(offset=7), {HAIKU: Tokens(output=2)})
    assert usage.models == {OPUS: DOLLAR, HAIKU: Tokens(output=5, cache_read=4)}
    assert total(usage.models) == Tokens(input=250_000, output=5, cache_read=4)
    assert {file: mark.offset for file, mark in usage.marks.items()} == {"/t": 1, "/u": 7}


def test_the_mark_longest_untouched_is_forgotten_and_its_time_kept() -> None:
    usage = Usage()
    for n in range(MARKS + 1):
        usage = counted(usage, f"/{n}", Mark(at=1000.0 - n), {})
    assert len(usage.marks) == MARKS
    assert f"/{MARKS}" not in usage.marks
    assert usage.forgotten == 1000.0 - MARKS


def test_a_conversation_is_the_agents_own_from_when_it_was_taken_up() -> None:
    usage = taken_up(taken_up(Usage(since=5.0), "/a", 5.0), "/b", 9.0)
    assert taken_up(usage, "/a", 30.0) is usage
    for n in range(CONVERSATIONS):
        usage = taken_up(usage, f"/{n}", 10.0 + n)
    assert list(usage.transcripts) == [f"/{n}" for n in range(CONVERSATIONS)]


# -- the price table ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (HAIKU, HAIKU),
        (f"{HAIKU}-20251001", HAIKU),
        (f"{HAIKU}@20251001", HAIKU),
        (f"{OPUS}[1m]", OPUS),
        (f"{HAIKU}-20251001[1m]", HAIKU),
        ("claude-haiku-4", None),
        ("unknown", None),
    ],
)
def test_a_name_with_a_date_or_a_context_has_the_price_of_its_model(
    model: str, known: str | None
) -> None:
    assert price_of(PRICES, model) == (PRICES.models[known] if known else None)


def test_the_exact_name_has_its_own_price() -> None:
    special = PriceSpec(input=9, output=9, cache_write=9, cache_read=9)
    prices = replace(PRICES, models={**PRICES.models, f"{OPUS}[1m]": special})
    assert price_of(prices, f"{OPUS}[1m]") == special
    assert price_of(prices, f"{OPUS}-20260101") == PRICES.models[OPUS]


def test_without_a_word_of_the_cli_the_table_tells_the_cost() -> None:
    tokens = Tokens(input=1000, output=100, cache_write=10, cache_read=10_000)
    usage = used(used(Usage(), tokens), tokens, f"{HAIKU}-20251001")
    opus = (4 * 1000 + 20 * 100 + 5 * 10 + 0.2 * 10_000) / 1e6
    haiku = (1000 + 5 * 100 + 1.25 * 10 + 0.1 * 10_000) / 1e6
    usd, source = cost_of(usage, PRICES, over=False)
    assert usd == pytest.approx(opus + haiku)
    assert source == "prices 2026-11-01"


def test_an_unknown_model_has_an_unknown_cost() -> None:
    usage = used(used(Usage(), DOLLAR), Tokens(output=1), "new-model")
    assert cost_of(usage, PRICES, over=False) == (None, None)
    # The CLI reports a price that it guessed.
    assert cost_of(said(usage, 1, 0.5), PRICES, over=False) == (None, None)
    assert cost_of(usage, None, over=False) == (None, None)
    # Its lines may be read later than its cost is told.
    early = replace(said(start(Usage(), 1), 1, 0.5), model="new-model")
    assert cost_of(early, PRICES, over=False) == (None, None)
    assert cost(replace(early, model=OPUS)) == 0.5


@pytest.mark.parametrize("prices", [PRICES, None])
def test_who_has_used_nothing_has_cost_nothing(prices: PricesSpec | None) -> None:
    assert cost(Usage(), prices) == 0.0
    assert cost(start(Usage(), 1), prices) == 0.0


# -- the CLI's own figure -------------------------------------------------------------------------


def test_the_figure_of_the_cli_comes_first() -> None:
    usage = said(used(start(Usage(), 1), DOLLAR), 1, 1.25)
    assert cost_of(usage, PRICES, over=False) == (1.25, "cli")
    # At its end too: a compaction has answers that no transcript has.
    assert cost(usage, over=True) == 1.25


def test_a_cleared_conversation_counts_on() -> None:
    usage = said(start(Usage(), 1), 1, 2.0)
    usage = said(start(usage, 1, conversation="d"), 1, 3.0, conversation="d")
    assert cost(usage) == 5.0
    # Back in the first one, in the same process and in another.
    usage = said(start(usage, 1, 2.0), 1, 2.5)
    assert cost(usage) == 5.5
    usage = start(start(usage, 2, 2.5), 2, 3.0, conversation="d")
    assert cost(usage) == 5.5


def test_a_resumed_conversation_goes_on_from_what_was_saved() -> None:
    usage = said(start(Usage(), 1), 1, 2.0)
    usage = said(start(usage, 2, 2.0), 2, 3.0)
    assert cost(usage) == 3.0
    # What was spent after the last report, but saved at the end.
    assert cost(start(usage, 3, 3.25)) == 3.25


@pytest.mark.parametrize("saved", [0.0, 2.0])
def test_what_a_killed_process_took_along_stays_spent(saved: float) -> None:
    usage = said(start(said(start(Usage(), 1), 1, 2.0), 2, 2.0), 2, 5.0)
    usage = start(usage, 3, saved)
    assert cost(usage) == 5.0
    assert cost(said(usage, 3, saved + 1.0)) == 6.0


def test_a_branch_or_a_foreign_conversation_begins_with_its_past() -> None:
    usage = said(start(Usage(), 1), 1, 2.0)
    usage = said(start(usage, 1, 7.0, conversation="old"), 1, 7.5, conversation="old")
    assert cost(usage) == 2.5


def test_a_figure_that_falls_has_begun_anew() -> None:
    usage = said(said(said(start(Usage(), 1), 1, 2.0), 1, 0.5), 1, 0.75)
    assert cost(usage) == 2.75


def test_answers_that_a_killed_process_did_not_report_are_priced() -> None:
    usage = said(used(start(Usage(), 1), DOLLAR), 1, 1.0)
    usage = used(usage, DOLLAR)
    # It still may report them.
    assert cost(usage) == 1.0
    assert cost(usage, over=True) == 2.0
    usage = start(usage, 2, 0.0)
    assert cost(usage) == 2.0
    assert cost(said(used(usage, DOLLAR), 2, 1.0), over=True) == 3.0


def test_answers_that_it_has_saved_at_least_count_once() -> None:
    usage = used(said(used(start(Usage(), 1), DOLLAR), 1, 1.0), DOLLAR)
    assert cost(usage, over=True) == 2.0
    assert cost(start(usage, 2, 2.0)) == 2.0


def test_an_answer_that_is_read_after_its_report_is_not_missing() -> None:
    usage = used(said(start(Usage(), 1), 1, 1.0), DOLLAR)
    assert cost(usage, over=True) == 1.0
    assert cost(start(usage, 2, 1.0)) == 1.0


def test_tokens_from_before_the_first_report_are_priced() -> None:
    """The agent's settings had no status line in its first runs."""
    usage = start(used(Usage(), DOLLAR), 3, 1.0)
    assert cost(usage) == 1.0
    assert cost(said(usage, 3, 1.5)) == 1.5


@given(
    st.lists(
        st.tuples(
            # Answers of a process, in dollars; whether it reports the last; whether it is killed.
            st.lists(st.integers(1, 5), max_size=4),
            st.booleans(),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_the_sum_is_what_all_answers_cost(runs: list[tuple[list[int], bool, bool]]) -> None:
    usage, saved, all_of_it = Usage(), 0.0, 0.0
    for run, (answers, reports_last, killed) in enumerate(runs, 1):
        figure = saved
        usage = start(usage, run, figure)
        for n, dollars in enumerate(answers, 1):
            usage = used(usage, Tokens(input=DOLLAR.input * dollars))
            figure += dollars
            all_of_it += dollars
            if n < len(answers) or reports_last:
                usage = said(usage, run, figure)
        saved = saved if killed else figure
        assert cost(usage, over=True) == pytest.approx(all_of_it)
    assert total(usage.models).input == DOLLAR.input * all_of_it


def test_conversations_that_the_meter_knows_are_bounded() -> None:
    usage = Usage()
    for n in range(2 * CONVERSATIONS):
        usage = said(start(usage, 1, conversation=str(n)), 1, 1.0, conversation=str(n))
    assert len(usage.meter.conversations) == CONVERSATIONS
    assert cost(usage) == 2.0 * CONVERSATIONS
    # One that was forgotten begins with its past.
    assert cost(start(usage, 2, 1.0, conversation="0")) == 2.0 * CONVERSATIONS
