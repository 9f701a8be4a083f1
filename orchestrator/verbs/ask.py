"""Ask: a question to a CLI, once."""

import dataclasses
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from orchestrator.core.launch import IDENTITY
from orchestrator.core.text import safe_text, span
from orchestrator.errors import UserError
from orchestrator.locations import ask_file, cache_root
from orchestrator.verbs import program
from orchestrator.verbs.options import json_option
from orchestrator.verbs.output import say, say_json
from orchestrator.verbs.telling import Telling
from orchestrator.verbs.types import age, seconds

if TYPE_CHECKING:
    from orchestrator.core.questions import Question
    from orchestrator.oneshot.ask import Run, Told
    from orchestrator.oneshot.prepare import Cli
    from orchestrator.oneshot.settings import AskSettings

# Exit statuses besides those of every verb; the third is that of timeout(1).
ABSENT, REFUSED, TIMEOUT = 3, 4, 124


@click.command(epilog="Example: crew ask --input README.md 'What is this, in one sentence?'")
@click.argument("prompt", metavar="[PROMPT|-]", nargs=-1)
@click.option(
    "--cli", "--agent", "cli", metavar="CLI", default="claude", show_default=True, help="Which CLI."
)
@click.option("--model", default="", metavar="NAME", help="The model, as the CLI names it.")
@click.option("--system", default="", metavar="TEXT", help="Added to the CLI's system prompt.")
@click.option(
    "--input",
    "inputs",
    metavar="FILE",
    multiple=True,
    help="A text that is part of the question; again for more.",
)
@click.option(
    "--context",
    type=click.Choice(["git"]),
    help="Ask in this repository; an answer is good for this state of it.",
)
@click.option("--ttl", type=age, metavar="AGE", help="How old an answer may be: 90, 10m, 2h, 7d.")
@click.option("--refresh", is_flag=True, help="Ask anew, and keep the new answer.")
@click.option("--no-cache", is_flag=True, help="Ask anew, by itself, and keep nothing.")
@click.option("--cached-only", is_flag=True, help="Answer from disk, or leave with 3.")
@click.option(
    "--stale-if-error",
    type=age,
    default="0",
    metavar="AGE",
    help="If asking fails, take an answer up to this old.",
)
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "low"]),
    default="normal",
    show_default=True,
    help="Whose turn it is first, where questions queue.",
)
@click.option("--timeout", type=seconds, metavar="SECONDS", help="Wait so long at most.")
@json_option
def ask(
    *,
    prompt: tuple[str, ...],
    cli: str,
    model: str,
    system: str,
    inputs: tuple[str, ...],
    context: Literal["git"] | None,
    ttl: float | None,
    refresh: bool,
    no_cache: bool,
    cached_only: bool,
    stale_if_error: float,
    priority: Literal["high", "normal", "low"],
    timeout: float | None,
    as_json: bool,
) -> int:
    """Ask a CLI one question; what was asked before is answered from disk.

    The CLI runs in an empty directory of its own, so that an answer depends on nothing that is
    not in the question; with --context git it runs here. An answer for which it used a tool is
    not kept, nor one to a question that names files elsewhere by `@path`.

    Exit status: 0 answered, 1 failed, 2 a mistake of yours, 3 not on disk (--cached-only),
    4 refused for now (the queue is full, or the CLI keeps failing), 124 not within --timeout.
    """
    from orchestrator.oneshot.ask import Show, Wish
    from orchestrator.oneshot.ask import ask as answer
    from orchestrator.oneshot.prepare import prepare
    from orchestrator.oneshot.settings import read
    from orchestrator.sinks.cache import NullCache, open_cache

    if no_cache and (refresh or cached_only or stale_if_error):
        raise UserError("--no-cache goes with none of --refresh, --cached-only, --stale-if-error")
    if refresh and cached_only:
        raise UserError("--refresh and --cached-only contradict each other: leave one out")
    text = _prompt(prompt)
    settings = read(ask_file())
    directory = cache_root()
    with closing(open_cache(directory, settings, time.time())) as cache:
        run = _run(settings, prepare(cli, cache, os.environ), text, model, system, inputs, context)
        alone = no_cache or _may_attach(run)
        wish = Wish(
            ttl=ttl,
            refresh=refresh and not alone,
            share=not alone,
            cached_only=cached_only,
            stale_if_error=stale_if_error,
            priority=priority,
            timeout=timeout,
        )
        screen, session = _Screen(quiet=as_json), Telling(os.environ)
        told = answer(
            run,
            wish,
            NullCache() if alone else cache,
            Show(
                heard=screen.heard,
                restarted=screen.restarted,
                waits=session.waits,
                runs=session.runs,
            ),
        )
        screen.ended()
        for warning in cache.warnings:
            _note(warning)
    if as_json:
        say_json(_whole(told, run.question))
    session.ended(told.outcome, _saved(told))
    return _judged(told, cli, quiet=as_json)


def _prompt(words: tuple[str, ...]) -> str:
    """The words themselves, or the standard input. Bytes in, replacement out."""
    if words in ((), ("-",)):
        if not words and sys.stdin.isatty():
            raise UserError("there is nothing to ask: say it, or `-` to type it")
        raw = sys.stdin.buffer.read()
    else:
        raw = os.fsencode(" ".join(words))
    text = raw.decode("utf-8", "replace")
    if not text.strip():
        raise UserError("there is nothing to ask: the text is empty")
    return text


def _run(
    settings: "AskSettings",
    cli: "Cli",
    text: str,
    model: str,
    system: str,
    inputs: tuple[str, ...],
    context: str | None,
) -> "Run":
    """The question and how it is run. Raises UserError for what cannot be part of it."""
    from orchestrator.core.questions import Question, composed
    from orchestrator.oneshot.ask import Run
    from orchestrator.oneshot.inputs import git_context, read_inputs

    directory = cache_root()
    arguments = cli.arguments(model, system)
    read = read_inputs(inputs, Path.cwd())
    state = cli.surroundings
    if context:
        state = (*state, (context, git_context(Path.cwd())), ("directory", str(Path.cwd())))
    return Run(
        question=Question(
            cli=cli.name,
            version=cli.version,
            arguments=arguments,
            model=model,
            system=system,
            prompt=text,
            inputs=tuple((each.name, each.digest) for each in read),
            context=state,
        ),
        argv=(cli.program, *arguments[1:]),
        text=composed(text, [(each.name, each.text) for each in read]),
        env={
            **cli.spec.env,
            **{name: text for name, text in os.environ.items() if name not in IDENTITY},
        },
        cwd=Path.cwd() if context else None,
        dialect=cli.spec.dialect,
        ttl=settings.ttl or cli.spec.ttl,
        directory=directory,
        settings=settings,
    )


def _may_attach(run: "Run") -> bool:
    """Whether the CLI may take in files by this text of which the key says nothing."""
    from orchestrator.core.questions import leads_out, mentions
    from orchestrator.oneshot.inputs import beyond_git

    if run.text.lstrip().startswith("/"):  # a command of the CLI, which may read any file
        return True
    named = mentions(run.text)
    return any(map(leads_out, named)) or (run.cwd is not None and beyond_git(run.cwd, named))


class _Screen:
    """Prints the text as it comes."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = ""

    def heard(self, text: str) -> None:
        if not self._quiet and text:
            say(safe_text(text, lines=True, tabs=True), end="")
            self._shown = text

    def restarted(self) -> None:
        """What was printed cannot be taken back: the answer that counts comes after this."""
        if self._shown:
            self.ended()
            _note("the answer broke off here, and begins anew:")

    def ended(self) -> None:
        if self._shown and not self._shown.endswith("\n"):
            say()
        self._shown = ""


def _saved(told: "Told") -> float | None:
    """What the answer would have cost, in USD, if no other run had it."""
    from orchestrator.sinks.history import SAVED

    return told.answer.cost_usd if told.answer and told.outcome in SAVED else None


def _note(text: str) -> None:
    """Say on the error output what is none of the answer."""
    click.echo(f"crew: {safe_text(program.as_typed(text))}", err=True)


def _whole(told: "Told", question: "Question") -> dict[str, Any]:
    """The result, for scripts."""
    answer = told.answer
    return {
        "outcome": told.outcome,
        "text": answer.text if answer else None,
        "cached": told.outcome in ("hit", "stale"),
        "age": told.age,
        "reason": told.reason or None,
        "error": told.failure and dataclasses.asdict(told.failure),
        "refused": told.refused or None,
        "cli": question.cli,
        "version": question.version,
        "model": answer.model if answer else question.model or None,
        "usage": answer and dataclasses.asdict(answer.tokens),
        "cost_usd": answer and answer.cost_usd,
        "conversation": answer and answer.conversation,
        "tools": answer and answer.tools,
        "cut": answer and answer.cut,
        "tries": told.tries,
        "waited": told.waited,
        "took": told.took,
        "key": told.key,
    }


def _judged(told: "Told", cli: str, *, quiet: bool) -> int:
    """The exit status; what went wrong is said."""
    sentence = told.refused or (f"{cli}: {told.failure.sentence}" if told.failure else "")
    match told.outcome:
        case "hit" | "ran" | "joined":
            if not (told.answer and told.answer.cut):
                return 0
            sentence, status = "the model was stopped here: the answer is not whole", 0
        case "stale":
            sentence, status = f"this answer is {span(told.age or 0)} old, for {sentence}", 0
        case "absent":
            sentence, status = "there is no fresh answer to this on disk", ABSENT
        case "refused":
            status = REFUSED
        case "timeout":
            status = TIMEOUT
        case "failed":
            status = 1
    if not quiet:
        _note(sentence)
    return status
