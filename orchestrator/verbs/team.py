"""Team: down and restore. `up` and `attach` have files of their own."""

import click

from orchestrator.client import Client, NotRunning
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths, session_paths
from orchestrator.verbs import program
from orchestrator.verbs.common import View, choose_session, flag_needed, require_known, up_words
from orchestrator.verbs.options import complete_session, json_option, session_option
from orchestrator.verbs.output import say, say_json
from orchestrator.verbs.recorded import recorded_down

# Seconds. An agent is asked to end and made to a few seconds later; all at once.
DOWN = 60.0
# Supervisors that may die in the middle of it.
TRIES = 3


@click.command(epilog="Example: crew down -s demo")
@session_option
@json_option
def down(session: str | None, as_json: bool) -> None:
    """End every agent; `crew restore` brings them back."""
    paths = choose_session(session)
    ended, up = _end(paths)
    if as_json:
        say_json({"session": paths.name, "ended": ended or [], "already": ended is None})
    elif ended is None:
        say(f"{paths.name} is down already")
    else:
        again = [paths.name] if flag_needed(paths.name) else []
        say(
            f"{paths.name} is down: ended {', '.join(ended) or 'nobody, for nobody ran'}; "
            f"{program.command('restore', *again)} brings them back, "
            f"{program.command(*up)} starts afresh"
        )


def _end(paths: SessionPaths) -> tuple[list[str] | None, list[str]]:
    """End the session and wait until its supervisor has gone.

    Who was ended (None: it was down), and what `crew` must be told to launch it anew.
    """
    try:
        client = Client.connect(paths, start=False)
    except NotRunning:
        require_known(paths)
        if recorded_down(paths):
            return None, []
        client = Client.connect(paths, start=True)
    with client:
        up = up_words(client.request("status")["view"])
        ending = _order(client)
    for _ in range(TRIES):
        if not paths.tmux_socket.exists():
            return ending, up
        # The supervisor ended before it was done: the next one goes on with it.
        with Client.connect(paths, start=True) as client:
            if client.request("status")["view"]["state"] != "down":
                raise CrewError(
                    f"session {paths.name} was ended, and somebody has started it again meanwhile"
                )
            _order(client)
    raise CrewError(f"session {paths.name} could not be ended: see {paths.log}")


def _order(client: Client) -> list[str]:
    """Order the end and wait until the supervisor has gone; who is ended."""
    answer = client.request("down", timeout=DOWN)
    if not client.wait_closed(DOWN):
        raise CrewError(
            f"session {client.paths.name} is still ending after {DOWN:.0f} s: "
            f"see {client.paths.log}"
        )
    return list(answer.get("ending") or [])


@click.command(epilog="Example: crew restore demo")
@click.argument("name", metavar="[SESSION]", required=False, shell_complete=complete_session)
@session_option
@json_option
def restore(name: str | None, session: str | None, as_json: bool) -> None:
    """Start a session that is down, with its conversations."""
    if name and session and name != session:
        raise click.UsageError(f"SESSION is {name!r} and -s {session!r}: say one of them")
    paths = session_paths(name) if name is not None else choose_session(session)
    client, was_up = _restorer(paths)
    with client:
        before = client.request("status")["view"]
        restored = client.request("restore")["restored"]
    names = ", ".join(restored) or "no agents"
    already = was_up and before["state"] == "up"
    if as_json:
        say_json({"session": paths.name, "restored": restored, "already": already})
    elif already:
        again = ", ".join(_fallen(before))
        say(f"{paths.name} is up already: {names}" + (f"; starts again: {again}" if again else ""))
    else:
        say(f"{paths.name} is up again: {names}")


def _restorer(paths: SessionPaths) -> tuple[Client, bool]:
    """A connection to the session's supervisor, and whether it was there before."""
    try:
        return Client.connect(paths, start=False), True
    except NotRunning:
        require_known(paths)
    return Client.connect(paths, start=True), False


def _fallen(view: View) -> list[str]:
    """Who should run and does not: these are what `restore` starts in a session that is up."""
    over = ("backoff", "stopped", "failed", "lost")
    return [a["name"] for a in view["agents"] if a["wanted"] and a["status"] in over]
