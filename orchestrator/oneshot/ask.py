"""The whole way of one question: from disk if it can be, else by a run of the CLI.

What is imported here is imported for an answer from disk as well, which takes a few milliseconds:
the rest (`lead.py`) is for a question that has to be run.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.core.oneshots import Answer, Failure
from orchestrator.core.questions import Question, coarse, key
from orchestrator.core.values import value
from orchestrator.sinks.cached import Cache, Entry, fresh
from orchestrator.sinks.history import SAVED, Asked, Outcome, Reason

if TYPE_CHECKING:
    from orchestrator.oneshot.settings import AskSettings

Priority = Literal["high", "normal", "low"]


@value
class Run:
    """How the question is put to its CLI, and where its cache, queue and flights are.

    `cwd`: where the CLI runs, None: where nothing is, so that an answer depends on no project.
    `ttl`: how long its answer is good for where the ask does not say, in seconds.
    """

    question: Question
    argv: tuple[str, ...]
    text: str
    env: Mapping[str, str]
    cwd: Path | None
    dialect: Literal["claude"]
    ttl: float
    directory: Path
    settings: "AskSettings"


@value
class Wish:
    """How one ask is to be answered. All lengths of time in seconds.

    `ttl`: how old an answer may be, instead of what it was kept with. `share`: an identical
    question that is being run may answer this one, and the other way round. `stale_if_error`: the
    age up to which an answer is better than none.
    """

    ttl: float | None = None
    refresh: bool = False
    share: bool = True
    cached_only: bool = False
    stale_if_error: float = 0.0
    priority: Priority = "normal"
    timeout: float | None = None


@value
class Told:
    """What became of an ask. `failure` stands beside a stale answer too; `refused` is a sentence.

    `age` is that of an answer from disk, `tries` counts runs of the CLI, here or in the process
    that was joined; `waited` for a slot and `took` in all, in seconds; `ran`: what the answer took
    when it ran.
    """

    outcome: Outcome
    key: str
    reason: Reason = ""
    answer: Answer | None = None
    failure: Failure | None = None
    refused: str = ""
    age: float | None = None
    tries: int = 0
    waited: float = 0.0
    took: float = 0.0
    ran: float = 0.0


def _nothing() -> None:
    pass


@value
class Show:
    """Where the text goes as it comes; `restarted`: what was shown is void, it begins anew.

    `waits` is called for a question that is not answered from disk, `runs` when its CLI is
    started by this process.
    """

    heard: Callable[[str], None]
    restarted: Callable[[], None]
    waits: Callable[[], None] = _nothing
    runs: Callable[[], None] = _nothing


def ask(run: Run, wish: Wish, cache: Cache, show: Show) -> Told:
    """Answer the question and write down how."""
    began = time.monotonic()
    name = key(run.question)
    reason: Reason = "refresh"
    entry = cache.look(name)
    if not wish.refresh:
        if entry is not None and fresh(entry, time.time(), wish.ttl):
            told = _from_disk("hit", entry)
            show.heard(entry.answer.text)
            return _noted(run, cache, told, began)
        reason = cache.why(name, coarse(run.question))
    if wish.cached_only:
        told = Told(outcome="absent", key=name, reason=reason)
    else:
        from orchestrator.oneshot.lead import run_question

        show.waits()
        told = run_question(run, wish, cache, show, name)
        told = dataclasses.replace(told, reason=reason)
        if told.answer is None and entry is not None and _is_better(entry, wish):
            show.restarted()
            show.heard(entry.answer.text)
            stale = _from_disk("stale", entry)
            told = dataclasses.replace(
                told, outcome=stale.outcome, answer=stale.answer, age=stale.age, ran=stale.ran
            )
    return _noted(run, cache, told, began)


def _from_disk(outcome: Outcome, entry: Entry) -> Told:
    age = max(0.0, time.time() - entry.created)
    return Told(outcome=outcome, key=entry.key, answer=entry.answer, age=age, ran=entry.took)


def _is_better(entry: Entry, wish: Wish) -> bool:
    """Whether an old answer is better than none."""
    return fresh(entry, time.time(), wish.stale_if_error)


def _noted(run: Run, cache: Cache, told: Told, began: float) -> Told:
    told = dataclasses.replace(told, took=time.monotonic() - began)
    answer, saved = told.answer, told.outcome in SAVED
    tokens = answer.tokens if answer else None
    cache.note(
        Asked(
            at=time.time(),
            key=told.key,
            coarse=coarse(run.question),
            cli=run.question.cli,
            model=answer.model if answer else run.question.model,
            outcome=told.outcome,
            reason=told.reason,
            waited=told.waited,
            took=told.took,
            saved=max(0.0, told.ran - told.took) if saved else 0.0,
            tokens=sum(dataclasses.astuple(tokens)) if tokens else 0,
            cost_usd=answer.cost_usd if answer else None,
            error=told.failure.sentence if told.failure else told.refused,
        )
    )
    return told
