"""Talk: send, answer, interrupt."""

import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.client import Client
from orchestrator.core.receipts import PENDING, RECEIPT, SETTLED, SOON, is_for_shell
from orchestrator.core.text import safe_text
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.verbs import program
from orchestrator.verbs.common import View, agent_of, choose_session, dial, hint
from orchestrator.verbs.options import agent_argument, complete_choice, json_option, session_option
from orchestrator.verbs.output import say, say_json
from orchestrator.verbs.recorded import follow_while_up
from orchestrator.verbs.types import seconds

if TYPE_CHECKING:
    from orchestrator.verbs.turns import Answer

# Seconds between two looks at what a message has come to.
_PAUSE = 0.02
# Seconds that an interrupted agent may take to say so.
CALM = 3.0
IN_TURN = ("working", "blocked", "limited")
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
@click.option("--wait", is_flag=True, help="Wait for the answer, and print it as it comes.")
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
    """Send a message: typed as soon as the agent can take it.

    With --wait: what the agent says from then on, until its turn is over, and nothing else. A
    command to its CLI (`/clear`), or a CLI that keeps no transcript, is waited for until it is
    delivered.
    """
    words = _text(text)
    if is_for_shell(words) and not shell:
        raise UserError(
            "agents run a text that starts with `!` as a shell command: add --shell if you mean it"
        )
    asked: View = {"id": uuid.uuid4().hex, "agent": agent, "text": words}
    paths = choose_session(session)
    with dial(paths) as client:
        if wait:
            _wait(client, paths, asked, timeout, as_json=as_json)
            return
        message = client.request("send", **asked)["message"]
        if message["state"] != "delivered":
            message = _followed(client, asked, message, RECEIPT)
    if as_json:
        say_json(_outcome(message))
    _judge(paths, agent, message, wait, quiet=as_json)


def _wait(
    client: Client, paths: SessionPaths, asked: View, timeout: float | None, *, as_json: bool
) -> None:
    """Send, and stay until the turn of it is over."""
    from orchestrator.verbs.turns import Answer

    agent = asked["agent"]
    if (os.environ.get("CREW_SESSION"), os.environ.get("CREW_AGENT")) == (paths.name, agent):
        raise UserError(f"you are {agent}: its turn cannot wait for its own end; leave out --wait")
    end = None if timeout is None else time.monotonic() + timeout
    show = (lambda _: None) if as_json else _shown()
    answer = Answer(client, paths, agent, asked["text"], show=show, note=_note)
    message = client.request("send", **asked)["message"]
    message = _followed(client, asked, message, timeout, answer)
    told = message["state"] == "delivered" and answer.is_told()
    try:
        if told:
            answer.follow(message, None if end is None else end - time.monotonic())
    except TimeoutError:
        raise CrewError(
            f"{agent} has not finished within {timeout:g} s: its turn goes on"
        ) from None
    finally:
        if as_json:
            whole = "\n\n".join(answer.turn.words) if told else None
            say_json({"message": _outcome(message), "answer": whole})
    if not told:
        _judge(paths, agent, message, True, quiet=as_json)


def _shown() -> Callable[[str], None]:
    """Prints texts with a blank line between two, each at once."""
    between = [""]

    def show(text: str) -> None:
        say(between[0] + safe_text(text, lines=True, tabs=True))
        between[0] = "\n"

    return show


def _note(text: str) -> None:
    """Say on the error output what is none of the answer."""
    click.echo(program.as_typed(text), err=True)


def _outcome(message: View) -> View:
    return {key: message[key] for key in ("number", "state", "detail")}


def _followed(
    client: Client,
    asked: View,
    message: View,
    timeout: float | None,
    answer: "Answer | None" = None,
) -> View:
    """The message as it is once it is delivered or given up, or the time is over.

    With an `answer` it is waited for through everything, else while it is soon to be expected.
    """
    said = False
    soon = time.monotonic() + SOON

    def until() -> float | None:
        return soon if answer is None and message["state"] == "queued" else None

    try:
        revive = follow_while_up(client.paths)
        for view in client.views(timeout=timeout, until=until, revive=revive):
            found = [m for m in view["messages"] if m["number"] == message["number"]]
            if not found:
                # Done with, one way or the other: the outbox knows which.
                return _ended(client, asked, message)
            # Why it waits is in the first answer; the row has a detail when it was held.
            message = {**message, "state": found[0]["state"]}
            message["detail"] = found[0]["detail"] or message["detail"]
            message["typed_at"] = found[0].get("typed_at")
            if message["state"] not in PENDING:
                return message
            held = _must_wait(view, asked["agent"], message)
            if held and answer is None:
                return message
            if held and not said:
                said = True
                _note(_waits(asked["agent"], message))
            if answer is not None:
                answer.look(agent_of(view, asked["agent"]))
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
        say(_waits(agent, message))


def _waits(agent: str, message: View) -> str:
    detail = safe_text(message["detail"] or "") or "no receipt yet"
    return f"message {message['number']} to {agent} is {message['state']}: {detail}"


@click.command(epilog="Example: crew answer worker-1 1")
@agent_argument
@click.argument("choice", shell_complete=complete_choice)
@click.option("--because", metavar="TEXT", help="With a no: tell the agent why.")
@session_option
def answer(agent: str, choice: str, because: str | None, session: str | None) -> None:
    """Answer what an agent asks.

    CHOICE is an option's key or label, as `crew status` shows them, or a word that the agent's
    definition knows, such as yes or no; of a question that takes one, an answer in your own words.
    """
    from orchestrator.core.screen import choose

    if because is not None and not because.strip():
        raise UserError("the reason is empty: leave out --because, or say why")
    paths = choose_session(session)
    with dial(paths) as client:
        ask = agent_of(client.request("status")["view"], agent)["ask"]
        if ask is None:
            raise CrewError(f"{agent} asks nothing now: {hint(paths, 'status')} shows who does")
        options = [(one["key"], one["label"]) for one in ask["options"]]
        if choose(options, {}, choice) is None:
            choice = SHORT.get(choice.strip().casefold(), choice)
        # Bound to what was just read: if something else is asked by now, it is not answered.
        bound = {"asked": ask["text"], "hook": ask.get("hook"), "reason": because}
        given = client.request("answer", agent=agent, choice=choice, **bound)
    say(f"answered {agent}: {safe_text(given.get('label') or choice)}")


@click.command(epilog="Example: crew interrupt worker-1")
@agent_argument
@session_option
def interrupt(agent: str, session: str | None) -> None:
    """Stop an agent's turn; the agent itself goes on.

    A prompt that its CLI puts back into the input line is cleared; what a person typed stays.
    """
    with dial(choose_session(session)) as client:
        note = safe_text(client.request("interrupt", agent=agent).get("note") or "")
        status = _status_after(client, agent)
    now = "" if status not in IN_TURN else f", and is {status} again"
    say(f"{agent} was interrupted{now}{': ' if note else ''}{note}")


def _status_after(client: Client, agent: str) -> str:
    """The agent's status once its turn is over; what was queued may go on at once."""
    status = "gone"
    try:
        for view in client.views(timeout=CALM, revive=follow_while_up(client.paths)):
            statuses = {a["name"]: str(a["status"]) for a in view["agents"]}
            status = statuses.get(agent, "gone")
            if status not in IN_TURN:
                break
    except TimeoutError:
        pass
    return status
