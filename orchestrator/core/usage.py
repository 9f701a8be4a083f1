"""What an agent has used in its life: tokens by model, what they cost, how full its context is.

Tokens are those of its transcripts' lines, its sub-agents' too, each answer once. How far a file
is counted is stored with the sum, in one event, so that nothing ever counts twice or not at all.

The cost is the CLI's own figure where it gives one, else that of the definition's prices. A CLI
guesses the price of a model that it does not know, so a model without a price of ours leaves the
cost unknown either way. Pure, as everything here.
"""

import re
from collections.abc import Mapping
from dataclasses import field, replace

from orchestrator.core.spec import PriceSpec, PricesSpec
from orchestrator.core.tokens import NONE, Tokens
from orchestrator.core.values import value

# Files and conversations remembered, the newest of each.
MARKS = 256
CONVERSATIONS = 64
# USD a price is given for so many tokens.
MILLION = 1_000_000
# What a model's name may end with beside what the price depends on: its context, its date.
SUFFIXES = (re.compile(r"\[[^\]]*\]$"), re.compile(r"[-@]\d{8}$"))


ByModel = Mapping[str, Tokens]


@value
class Answer:
    """What was counted of an answer of the model: its next lines repeat it, and may have more."""

    model: str
    tokens: Tokens


@value
class Mark:
    """How far a transcript file is counted.

    `offset` is the end of the last whole line; `before` a digest of the bytes that lead up to it,
    which tells the file from another one; `at` the time of the newest line (wall clock), for a
    file that has to be read again; `answers` the last ones by their ids.
    """

    offset: int = 0
    before: str = ""
    at: float = 0.0
    answers: Mapping[str, Answer] = field(default_factory=dict)


@value
class Count:
    """What the CLI said last that a conversation has cost, and in which run of the agent."""

    run: int
    cost: float


@value
class Meter:
    """The CLI's figures, added up. `run` 0: there was none yet.

    Its figure goes on within a conversation, across clean ends of its process too. A process that
    is killed takes what it did not save along: the next one goes on from an older, lower figure.
    """

    run: int = 0
    # USD, over all runs and conversations.
    spent: float = 0.0
    conversations: Mapping[str, Count] = field(default_factory=dict)
    # The conversation of the latest figure, and the tokens that were counted by then.
    conversation: str = ""
    reported: ByModel = field(default_factory=dict)
    # When this run began to report: the same, and `spent`.
    began_with: ByModel = field(default_factory=dict)
    began_at: float = 0.0


@value
class Usage:
    """`since`: the agent's life began (wall clock); older lines are not its own. `former`: runs up
    to this were of another agent of its name.

    `transcripts`: the main file of each conversation it had, and when it took that one up.
    """

    since: float = 0.0
    former: int = 0
    models: ByModel = field(default_factory=dict)
    transcripts: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    # Lines up to this time are counted in files whose mark is no longer kept.
    forgotten: float = 0.0
    meter: Meter = Meter()
    # As the status line had it last.
    model: str | None = None
    context_used: int | None = None
    context_size: int | None = None


# -- tokens ---------------------------------------------------------------------------------------


def taken_up(usage: Usage, transcript: str, since: float) -> Usage:
    """The agent goes on in the conversation of `transcript`, whose lines up to `since` are not
    its own. One that it had before stays its own."""
    if transcript in usage.transcripts:
        return usage
    kept = list(usage.transcripts.items())[1 - CONVERSATIONS :]
    return replace(usage, transcripts={**dict(kept), transcript: since})


def counted(usage: Usage, file: str, mark: Mark, tokens: ByModel) -> Usage:
    """`tokens` more, with which `file` is counted up to `mark`."""
    marks = {**usage.marks, file: mark}
    forgotten = usage.forgotten
    if len(marks) > MARKS:
        oldest = min(marks, key=lambda each: marks[each].at)
        forgotten = max(forgotten, marks.pop(oldest).at)
    return replace(usage, models=_sum(usage.models, tokens), marks=marks, forgotten=forgotten)


def total(models: ByModel) -> Tokens:
    """Over all models."""
    return sum(models.values(), NONE)


def _sum(models: ByModel, more: ByModel) -> ByModel:
    return {**models, **{m: models.get(m, NONE) + tokens for m, tokens in more.items()}}


def _less(models: ByModel, before: ByModel) -> ByModel:
    return {m: tokens - before.get(m, NONE) for m, tokens in models.items()}


# -- cost -----------------------------------------------------------------------------------------


def reported(
    usage: Usage,
    prices: PricesSpec | None,
    *,
    run: int,
    conversation: str,
    cost: float,
    answered: bool,
) -> Usage:
    """The CLI says that `conversation` has cost so much. `answered`: it has had an answer in this
    process; if not, the figure is of earlier ones."""
    meter = usage.meter
    if run > meter.run:
        meter = _next_run(usage, prices, run, with_answers=answered)
    count = meter.conversations.get(conversation)
    if count is None:
        more = cost if answered else 0.0
    elif count.run < run or cost >= count.cost:
        more = max(0.0, cost - count.cost)
    else:
        more = cost  # It fell: a new count began.
    counts = {name: c for name, c in meter.conversations.items() if name != conversation}
    kept = dict(list(counts.items())[1 - CONVERSATIONS :])
    meter = replace(
        meter,
        spent=meter.spent + more,
        conversations={**kept, conversation: Count(run=run, cost=cost)},
        conversation=conversation,
        reported=usage.models,
    )
    return replace(usage, meter=meter)


def _next_run(usage: Usage, prices: PricesSpec | None, run: int, *, with_answers: bool) -> Meter:
    """The meter at the beginning of `run`: what the one before did not live to report is added."""
    meter = usage.meter
    first = meter.run == 0
    missing = 0.0 if first and with_answers else _unreported(usage, prices)
    counts = meter.conversations
    if last := counts.get(meter.conversation):
        # If the CLI has saved it, it is in its next figure.
        saved = Count(run=last.run, cost=last.cost + missing)
        counts = {**counts, meter.conversation: saved}
    spent = meter.spent + missing
    return replace(
        meter,
        run=run,
        spent=spent,
        conversations=counts,
        reported=usage.models,
        began_with=usage.models,
        began_at=spent,
    )


def _unreported(usage: Usage, prices: PricesSpec | None) -> float:
    """The cost of answers that came after the CLI's last figure, as far as that lacks them."""
    meter = usage.meter
    since_report = _priced(_less(usage.models, meter.reported), prices)
    in_run = _priced(_less(usage.models, meter.began_with), prices)
    if since_report is None or in_run is None:
        return 0.0
    return max(0.0, min(since_report, in_run - (meter.spent - meter.began_at)))


def cost_of(
    usage: Usage, prices: PricesSpec | None, *, over: bool
) -> tuple[float | None, str | None]:
    """What it has cost in USD, and who says so; None: unknown. `over`: the process that the CLI's
    latest figure is of is gone."""
    by_cli = usage.meter.run > 0
    source = "cli" if by_cli else f"prices {prices.dated}" if prices else None
    used = usage.models
    if by_cli and not used and usage.meter.spent and usage.model is not None:
        used = {usage.model: NONE}  # Its lines are still to be read.
    priced = _priced(used, prices)
    if priced is None:
        return None, None
    if not by_cli:
        return priced, source
    return usage.meter.spent + (_unreported(usage, prices) if over else 0.0), source


def price_of(prices: PricesSpec | None, model: str) -> PriceSpec | None:
    """The price of a model: of its exact name, else without what else the name may end with."""
    known = prices.models if prices is not None else {}
    names = [model]
    for suffix in SUFFIXES:
        names.append(suffix.sub("", names[-1]))
    return next((known[name] for name in names if name in known), None)


def _priced(models: ByModel, prices: PricesSpec | None) -> float | None:
    """What these tokens cost; None if a model among them has no price."""
    cost = 0.0
    for model, tokens in models.items():
        price = price_of(prices, model)
        if price is None:
            return None
        cost += (
            tokens.input * price.input
            + tokens.output * price.output
            + tokens.cache_write * price.cache_write
            + tokens.cache_read * price.cache_read
        ) / MILLION
    return cost
