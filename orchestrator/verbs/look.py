"""Look: status, logs, events, why; and ls, which looks at every session."""

import contextlib
import sys
import time
from collections.abc import Generator, Iterable
from typing import Any

import click

from orchestrator.client import Client, NotRunning
from orchestrator.core.text import clip, safe_text
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import SessionPaths, session_paths, sessions
from orchestrator.verbs import program, recorded, render
from orchestrator.verbs.common import (
    View,
    agent_of,
    choose_session,
    flag_needed,
    reach,
    require_known,
    up_words,
)
from orchestrator.verbs.options import agent_argument, complete_agent, json_option, session_option
from orchestrator.verbs.output import columns, say, say_json
from orchestrator.verbs.recorded import follow_while_up, offline
from orchestrator.verbs.types import whole

# What `crew events` shows when nobody says how much.
NEWEST = 50
# Seconds that an agent's start takes at most before its pane is shown as it is; and who starts.
DRAWN, COMING = 10.0, frozenset({"starting", "backoff"})


def see(paths: SessionPaths) -> View:
    """The session's view: from its supervisor, started again for a session that is up."""
    try:
        with Client.connect(paths, start=False) as client:
            return _view(client)
    except NotRunning:
        require_known(paths)
    try:
        last = offline(paths)
    except CrewError:
        last = None  # Damaged: the supervisor sets it aside and says so.
    if last is not None and last["state"] == "down":
        return last
    try:
        with Client.connect(paths, start=True) as client:
            return _view(client)
    except CrewError as error:
        if last is None:
            raise
        # What is on disk can be read still; but it is said that nobody watches.
        click.echo(f"crew: {safe_text(str(error))}; this is what was last recorded", err=True)
        return last


def _view(client: Client) -> View:
    found: View = client.request("status")["view"]
    return found


@click.command(epilog="Example: crew status -s demo")
@session_option
@json_option
def status(session: str | None, as_json: bool) -> None:
    """Show what every agent does, and who needs you."""
    view = see(choose_session(session))
    if as_json:
        say_json(view)
        return
    flag = flag_needed(view["session"])
    up = up_words(view)
    say("\n".join(render.status_lines(view, columns(), time.time(), flag=flag, up=up)))


@click.command(epilog="Example: crew logs worker-1 -n 100")
@agent_argument
@click.option("-n", "lines", default=40, show_default=True, type=whole(1), help="How many lines.")
@session_option
def logs(agent: str, lines: int, session: str | None) -> None:
    """Show the last lines of an agent's pane."""
    paths = choose_session(session)
    client = reach(paths)
    if client is None:
        agent_of(offline(paths), agent)
        text = recorded.logs(paths, agent, lines)
    else:
        with client:
            text = _pane(client, agent, lines)
    shown = safe_text(text, lines=True).rstrip("\n").split("\n")
    if sys.stdout.isatty():
        # The pane may be wider than this terminal, which would break its lines.
        shown = [clip(line, columns()) for line in shown]
    say("\n".join(shown))


def _pane(client: Client, agent: str, lines: int) -> str:
    """What an agent's pane shows; where it is just being started, once it shows anything."""
    text: str = client.request("logs", agent=agent, lines=lines)["text"]
    if text.strip():
        return text
    with contextlib.suppress(TimeoutError):
        for view in client.views(timeout=DRAWN, revive=follow_while_up(client.paths)):
            if agent_of(view, agent)["status"] not in COMING:
                break
    text = client.request("logs", agent=agent, lines=lines)["text"]
    return text


@click.command(epilog="Example: crew events --follow --agent worker-1")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens; Ctrl-C ends it.")
@click.option("--since", type=whole(0), metavar="NUMBER", help="Only after this number.")
@click.option(
    "--agent",
    metavar="AGENT",
    shell_complete=complete_agent,
    help="Only what is about this agent.",
)
@click.option(
    "--kind", "kinds", metavar="KIND", multiple=True, help="Only this kind; may be said repeatedly."
)
@click.option("-n", "limit", type=whole(1), help=f"At most so many; else {NEWEST}.")
@click.option("--all", "everything", is_flag=True, help="Each one, with its number.")
@session_option
@json_option
def events(
    *,
    follow: bool,
    since: int | None,
    agent: str | None,
    kinds: tuple[str, ...],
    limit: int | None,
    everything: bool,
    session: str | None,
    as_json: bool,
) -> None:
    """Show what happened: the journal, newest last."""
    from orchestrator.verbs import journal

    if unknown := [kind for kind in kinds if kind not in journal.KINDS]:
        raise UserError(f"there is no kind {unknown[0]!r}: there is {', '.join(journal.KINDS)}")
    whole = everything or as_json or bool(kinds)
    asked: dict[str, Any] = {
        "since": since,
        "agent": agent,
        # What is not shown must not take the place of what is.
        "kinds": [k for k in journal.KINDS if k != "deadline_passed"] if not whole else [*kinds],
        "limit": NEWEST if limit is None and since is None else limit,
    }
    with contextlib.closing(_happened(choose_session(session), asked, follow)) as happened:
        for event in happened:
            if as_json:
                say_json(event, indent=None)
            elif whole or not journal.is_dull(event):
                say(journal.event_line(event, columns(), time.time(), numbered=everything))


def _happened(
    paths: SessionPaths, asked: dict[str, Any], follow: bool
) -> Generator[View, None, None]:
    """The events that are asked for. Of a session that is down, those on disk."""
    client = reach(paths)
    if client is None:
        found = recorded.events(paths, **asked)
        if not found and asked["agent"] is not None:
            _heard_of(asked["agent"], offline(paths), recorded.events(paths, **_any(asked)))
        yield from found
        return
    with client:
        if asked["agent"] is not None:
            ever = (answer["event"] for answer in client.stream("events", **_any(asked)))
            _heard_of(asked["agent"], _view(client), ever)
        revive = follow_while_up(paths) if follow else None
        for answer in client.stream("events", revive=revive, follow=follow, **asked):
            yield answer["event"]


def _any(asked: dict[str, Any]) -> dict[str, Any]:
    """Asks for one event of the agent, whichever."""
    return {"since": None, "agent": asked["agent"], "kinds": [], "limit": 1}


def _heard_of(agent: str, view: View, ever: Iterable[View]) -> None:
    """Raise UserError for an agent that neither is in the team nor ever was."""
    names = [one["name"] for one in view["agents"]]
    if agent not in names and not any(True for _ in ever):
        agent_of(view, agent)


@click.command(epilog="Example: crew why worker-1")
@agent_argument
@session_option
@json_option
def why(agent: str, session: str | None, as_json: bool) -> None:
    """Show why an agent has its status, and who says what."""
    paths = choose_session(session)
    client = reach(paths)
    if client is None:
        view = offline(paths)
        agent_of(view, agent)
        reasons = recorded.why(paths, agent)
    else:
        with client:
            reasons = client.request("why", agent=agent)["why"]
            view = _view(client)
    if as_json:
        say_json(reasons)
        return
    from orchestrator.verbs.reasons import why_lines

    say("\n".join(why_lines(reasons, agent_of(view, agent), columns(), time.time())))


@click.command(epilog="Example: crew ls --json")
@json_option
def ls(as_json: bool) -> None:
    """List the sessions."""
    found = [_glance(session_paths(name)) for name in sessions()]
    if as_json:
        say_json(found)
        return
    if not found:
        say(program.as_typed("no session yet: `crew up` starts one"))
        return
    head = ("SESSION", "STATE", "AGENTS", "NEED YOU", "ROOT")
    rows = [
        (
            one["session"],
            _state(one),
            str(one["agents"]),
            str(one["need_you"]) if one["need_you"] else "-",
            safe_text(one["problem"] or one["root"] or ""),
        )
        for one in found
    ]
    lines = render.table([head, *rows], columns())
    for name in (one["session"] for one in found if _state(one) == "unwatched"):
        flag = ["-s", name] if flag_needed(name) else []
        what = f"{name} has no supervisor now; any command about it brings one back, such as"
        lines += ["", what, f"    {program.command('status', *flag)}"]
    say("\n".join(lines))


def _state(one: dict[str, Any]) -> str:
    unwatched = not one["supervised"] and one["state"] not in ("down", "unknown")
    return "unwatched" if unwatched else str(one["state"])


def _glance(paths: SessionPaths) -> dict[str, Any]:
    """One line of the list; a session that cannot be read does not hide the others."""
    view, live, problem = recorded.glance(paths)
    waiting = [a["name"] for a in view["agents"] if a["status"] in render.NEED]
    return {
        "session": paths.name,
        "state": "unknown" if problem else view["state"],
        "supervised": live and not problem,
        "agents": len(view["agents"]),
        "need_you": len(waiting),
        "root": view["root"],
        "problem": problem,
    }
