"""A question that has to be run: by this process, or by another one that is at it already."""

import asyncio
import dataclasses
import hashlib
import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from orchestrator.core.breakers import admits, after, wait
from orchestrator.core.oneshots import Answer, Failure, Piece, Retry, lasting
from orchestrator.core.tokens import Tokens
from orchestrator.core.values import value
from orchestrator.oneshot import process
from orchestrator.oneshot.ask import Run, Show, Told, Wish
from orchestrator.oneshot.flight import Hearing, Teller, alone, fly
from orchestrator.oneshot.slots import QueueFull, Slots, Urgency, default_parallel
from orchestrator.sinks.cached import Cache, Entry, fresh

# Runs after the first one that failed. The CLI tries again too: these come after all of its own.
RETRIES: Final = 2
# Seconds, of which a random part is waited, so that those who failed together part.
BACKOFF: Final = 1.0
# Seconds that a run takes at most: one that hangs is not to hold its place for good.
RUN_MOST: Final = 3600.0
# Of what flies between processes (flight.py): another one where its frames are others.
FRAMES: Final = "2"
# HTTP statuses that are the question's fault, not the CLI's.
OWN_FAULT: Final = frozenset({400, 404, 413})


@value
class Outcome:
    """What the leader of a flight found; `created`: it found the answer on disk after all.

    `ran`: what the answer took when it ran, in seconds.
    """

    answer: Answer | None = None
    failure: Failure | None = None
    refused: str = ""
    tries: int = 0
    waited: float = 0.0
    ran: float = 0.0
    created: float | None = None


def _format() -> str:
    """Another one where the processes of two versions of ours would not understand each other."""
    kinds = (Outcome, Answer, Tokens, Failure)
    shapes = [[(field.name, str(field.type)) for field in fields(kind)] for kind in kinds]
    return hashlib.sha256(f"{FRAMES}{shapes}".encode()).hexdigest()[:8]


def run_question(run: Run, wish: Wish, cache: Cache, show: Show, key: str) -> Told:
    """Run the question, or join whoever runs it. Nothing is left of it where this is cut off, also
    where this process is told to end: then SystemExit is raised, with the status that shells have
    for it."""
    ended: list[int] = []
    try:
        return asyncio.run(_run_question(run, wish, cache, show, key, ended))
    except asyncio.CancelledError:
        raise SystemExit(128 + ended[0]) from None


async def _run_question(
    run: Run, wish: Wish, cache: Cache, show: Show, key: str, ended: list[int]
) -> Told:
    task = asyncio.current_task()
    assert task is not None, "it is run by asyncio"

    def end(number: int) -> None:
        ended.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)

    urgency = Urgency(wish.priority)

    async def lead(teller: Teller) -> bytes:
        return _dump(await Leader(run, wish, cache, key, teller, urgency, show.runs).run())

    try:
        async with asyncio.timeout(wish.timeout):
            if wish.share:
                # Who wants a new answer is not to be given one that was found on disk after all.
                name = f"{key}-{_format()}{'-anew' if wish.refresh else ''}"
                result, joined = await fly(
                    run.directory,
                    name,
                    lead,
                    show.heard,
                    show.restarted,
                    rank=urgency.rank,
                    joined=urgency.also,
                )
            else:
                result, joined = await alone(lead, Hearing(show.heard, show.restarted))
    except TimeoutError:
        sentence = f"there is no answer after {wish.timeout:g} s"
        failure = Failure(kind="timeout", sentence=sentence, retry=False)
        return Told(outcome="timeout", key=key, failure=failure)
    return _told(key, _load(result), joined)


def _told(key: str, found: Outcome, joined: bool) -> Told:
    told = Told(
        outcome="failed",
        key=key,
        answer=found.answer,
        failure=found.failure,
        refused=found.refused,
        tries=found.tries,
        waited=found.waited,
        ran=found.ran,
    )
    if found.refused:
        return dataclasses.replace(told, outcome="refused")
    if found.answer is None:
        return told
    if found.created is not None and not joined:
        age = max(0.0, time.time() - found.created)
        return dataclasses.replace(told, outcome="hit", age=age)
    return dataclasses.replace(told, outcome="joined" if joined else "ran")


class Leader:
    """Answers one question for all who ask it now."""

    def __init__(
        self,
        run: Run,
        wish: Wish,
        cache: Cache,
        key: str,
        teller: Teller,
        urgency: Urgency,
        runs: Callable[[], None],
    ) -> None:
        self._run = run
        self._wish = wish
        self._cache = cache
        self._key = key
        self._teller = teller
        self._urgency = urgency
        self._runs = runs
        parallel = run.settings.parallel or default_parallel()
        self._slots = Slots(run.directory, parallel, run.settings.queue)

    async def run(self) -> Outcome:
        """The answer, after as many tries as are worth it."""
        found = self._answered_meanwhile()
        if found is not None:
            return found
        outcome = Outcome()
        while True:
            try:
                outcome = await self._try(outcome)
            except QueueFull as full:
                return dataclasses.replace(outcome, refused=str(full))
            failure = outcome.failure
            if failure is None or not failure.retry or outcome.refused or outcome.tries > RETRIES:
                return outcome
            await asyncio.sleep(random.uniform(0, BACKOFF * 2**outcome.tries))  # noqa: S311 - jitter
            self._teller.anew()

    def _answered_meanwhile(self) -> Outcome | None:
        """The answer of a flight that ended between our look at the disk and our own flight."""
        entry = None if self._wish.refresh else self._cache.look(self._key)
        if entry is None or not fresh(entry, time.time(), self._wish.ttl):
            return None
        self._teller(entry.answer.text)
        return Outcome(answer=entry.answer, ran=entry.took, created=entry.created)

    async def _try(self, before: Outcome) -> Outcome:
        cli = self._run.question.cli
        # Seconds on the wall clock throughout: other processes judge by them too.
        if not self._cache.change_breaker(cli, lambda breaker: admits(breaker, time.time())):
            return dataclasses.replace(before, refused=self._closed(cli))
        async with self._slots.slot(self._urgency) as waited:
            self._runs()
            began = time.monotonic()
            got = await self._one_run()
            took = time.monotonic() - began
        ok = isinstance(got, Answer) or got.status in OWN_FAULT
        self._cache.change_breaker(cli, lambda breaker: (None, after(breaker, ok, time.time())))
        after_it = dataclasses.replace(
            before, tries=before.tries + 1, waited=before.waited + waited
        )
        if isinstance(got, Failure):
            return dataclasses.replace(after_it, failure=got)
        if lasting(got):
            self._cache.keep(self._entry(got, took))
        return dataclasses.replace(after_it, answer=got, failure=None, ran=took)

    async def _one_run(self) -> Answer | Failure:
        run = self._run
        cwd = run.cwd or _nowhere(run.directory)

        def heard(said: Piece | Retry) -> None:
            if isinstance(said, Piece):
                self._teller(said.text)

        return await process.run(
            run.argv, run.text, run.env, cwd, run.dialect, timeout=RUN_MOST, heard=heard
        )

    def _entry(self, answer: Answer, took: float) -> Entry:
        question = self._run.question
        return Entry(
            key=self._key,
            answer=answer,
            question=question.prompt,
            cli=question.cli,
            created=time.time(),
            ttl=self._run.ttl,
            took=took,
        )

    def _closed(self, cli: str) -> str:
        now = time.time()
        left = wait(self._cache.breaker(cli), now)
        at = datetime.fromtimestamp(now + left).astimezone().strftime("%H:%M:%S")
        return f"{cli} has failed again and again: it is asked again at {at}, in {left:.0f} s"


def _nowhere(directory: Path) -> Path:
    """A directory with nothing in it; where none can be made, the one with nothing of anybody's."""
    empty = directory / "empty"
    try:
        empty.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path("/")
    return empty


def _dump(outcome: Outcome) -> bytes:
    return json.dumps(dataclasses.asdict(outcome)).encode()


def _load(result: bytes) -> Outcome:
    """What `_dump` made, here or in another process."""
    found: dict[str, Any] = json.loads(result)
    if found["answer"]:
        tokens = Tokens(**found["answer"]["tokens"])
        found["answer"] = Answer(**{**found["answer"], "tokens": tokens})
    if found["failure"]:
        found["failure"] = Failure(**found["failure"])
    return Outcome(**found)
