"""Talk: send, answer, interrupt."""

import os
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import click

from orchestrator.client import Client, merge
from orchestrator.core.text import safe_text
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.verbs.common import (
    View,
    agent_argument,
    agent_of,
    choose_session,
    complete_choice,
    dial,
    hint,
    json_option,
    say,
    say_json,
    session_option,
)
from orchestrator.verbs.numbers import seconds

# Seconds. A receipt normally takes less than a tenth of one.
RECEIPT = 2.0
# A status may be told a moment before it is on disk, where a message's end is looked up.
SETTLED = 1.0
_PAUSE = 0.02
PENDING = ("queued", "typing")
# What people type for the words that definitions know.
SHORT = {"y": "yes", "n": "no"}


def _text(words: Sequence[str]) -> str:
    """The words themselves, from standard input for `-`. Bytes in, replacement out."""
    piped = tuple(words) == ("-",)
    raw = sys.stdin.buffer.read() if piped else os.fsencode(" ".join(words))
    text = raw.decode("utf-8", "replace")
    if piped:
        text = text.rstrip("\n")
    if not text.strip():
        raise UserError("there is nothing to send: the text is empty")
    return text


@click.command(epilog="Example: git diff | crew send reviewer -")
@agent_argument
@click.argument("text", metavar="TEXT...|-", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Wait until the agent has taken it.")
@click.option(
    "--timeout",
    type=seconds,
    metavar="SECONDS",
    help="With --wait: at most.",
)
@click.option("--shell", is_flag=True, help="Allow a text that starts with `!`.")
@session_option
@json_option
def send(
    *,
    agent: str,
    text: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    shell: bool,
    session: str | None,
    as_json: bool,
) -> None:
    """Send a message: typed as soon as the agent can take it."""
    words = _text(text)
    if words.startswith("!") and not shell:
        raise UserError(
            "agents run a text that starts with `!` as a shell command: add --shell if you mean it"
        )
    asked: View = {"id": uuid.uuid4().hex, "agent": agent, "text": words}
    paths = choose_session(session)
    with dial(paths) as client:
        message = client.request("send", **asked)["message"]
        if wait or message["state"] != "delivered":
            message = _followed(client, asked, message, wait, timeout)
    if as_json:
        say_json(message)
    _judge(paths, agent, message, wait, quiet=as_json)


def _followed(
    client: Client, asked: View, message: View, wait: bool, timeout: float | None
) -> View:
    """The message as it is once it is delivered or given up, or the time is over."""
    view: View = {"agents": []}
    bound = timeout if wait else RECEIPT
    try:
        for answer in client.stream("watch", timeout=bound):
            view = answer["view"] if "view" in answer else merge(view, answer["change"])
            found = [m for m in view["messages"] if m["number"] == message["number"]]
            if not found:
                # Done with, one way or the other: the outbox knows which.
                return _ended(client, asked, message)
            # Why it waits is in the first answer; the row has a detail when it was held.
            message = {**message, "state": found[0]["state"]}
            message["detail"] = found[0]["detail"] or message["detail"]
            if message["state"] not in PENDING:
                return message
            if not wait and _must_wait(view, asked["agent"], message):
                return message
    except TimeoutError:
        pass
    return message


def _must_wait(view: View, agent: str, message: View) -> bool:
    """Nothing is to be expected soon: the agent cannot take it now."""
    status = agent_of(view, agent)["status"]
    return bool(message["state"] == "queued" and status != "ready")


def _ended(client: Client, asked: View, message: View) -> View:
    end = time.monotonic() + SETTLED
    while True:
        last: dict[str, Any] = client.request("send", **asked)["message"]
        if last["state"] not in PENDING or time.monotonic() > end:
            return {**message, **last}
        time.sleep(_PAUSE)


def _judge(paths: SessionPaths, agent: str, message: View, wait: bool, *, quiet: bool) -> None:
    """Say what became of the message; raise CrewError if that is not what was asked for."""
    number, state = message["number"], message["state"]
    detail = safe_text(message["detail"] or "")
    if state == "unconfirmed":
        raise CrewError(
            f"message {number} was typed, but {agent} has not confirmed it: look at its pane "
            f"({hint(paths, 'attach', agent)}) before sending it again"
        )
    if state == "abandoned":
        raise CrewError(f"message {number} to {agent} was given up: {detail or 'no reason known'}")
    typed = f"message {number} typed; {agent} has not confirmed it yet"
    if state == "typing" and wait:
        raise CrewError(typed)
    if state != "delivered" and wait:
        raise CrewError(f"message {number} to {agent} is not delivered yet: {detail or state}")
    if quiet:
        return
    if state == "delivered":
        say(f"message {number} delivered to {agent}")
    elif state == "typing":
        say(typed)
    else:
        say(f"message {number} to {agent} is {state}: {detail or 'no receipt yet'}")


@click.command(epilog="Example: crew answer worker-1 1")
@agent_argument
@click.argument("choice", shell_complete=complete_choice)
@session_option
def answer(agent: str, choice: str, session: str | None) -> None:
    """Answer what an agent asks.

    CHOICE is an option's key or label, as `crew status` shows them, or a word that the agent's
    definition knows, such as yes or no.
    """
    from orchestrator.core.screen import choose

    paths = choose_session(session)
    with dial(paths) as client:
        ask = agent_of(client.request("status")["view"], agent)["ask"]
        if ask is None:
            raise CrewError(f"{agent} asks nothing now: {hint(paths, 'status')} shows who does")
        options = [(one["key"], one["label"]) for one in ask["options"]]
        if choose(options, {}, choice) is None:
            choice = SHORT.get(choice.strip().casefold(), choice)
        try:
            # Bound to what is asked now: if that changes before the key is pressed, it is not.
            given = client.request("answer", agent=agent, choice=choice, asked=ask["text"])
        except CrewError as error:
            # Only the agent's definition knows its other words, such as yes: it was asked first.
            named = choose(options, {}, choice) is not None
            if named or not options or type(error) is not CrewError:
                raise
            raise UserError(str(error)) from error
    chosen = str(given.get("choice") or choice)
    key = choose(options, {}, chosen)
    say(f"answered {agent}: {safe_text(dict(options).get(key or '', chosen))}")


@click.command(epilog="Example: crew interrupt worker-1")
@agent_argument
@session_option
def interrupt(agent: str, session: str | None) -> None:
    """Stop an agent's turn; the agent itself goes on."""
    with dial(choose_session(session)) as client:
        client.request("interrupt", agent=agent)
    say(f"{agent} was interrupted")
