"""`crew attach`: a tmux client of the session's own server, in this terminal, and its minder.

The client is a child: when its server is lost, somebody is left who puts the terminal in order
and goes back once the team is there again.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Mapping

import click

from orchestrator.client import Json
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.tmux import conf
from orchestrator.verbs import program
from orchestrator.verbs.common import View, choose_session, dial
from orchestrator.verbs.options import complete_agent, session_option
from orchestrator.verbs.output import is_terminal
from orchestrator.verbs.recorded import recorded_down
from orchestrator.verbs.terminal import Terminal

# Seconds to wait for a pane that is on its way: at first, and after a loss of the server.
PATIENCE, PATIENCE_LOST = 10.0, 15.0
# What has no pane in these is on its way to one.
COMING = frozenset({"starting", "lost", "backoff"})
# Seconds in which the tmux around us answers, if it does.
OUTER = 1.0

# tmux's words for a server, or a session of it, that is not there.
_GONE = re.compile(
    r"no server running|error connecting|server exited|lost server|no sessions|can't find"
)


@click.command(epilog="Example: crew attach worker-1")
@click.argument("agent", required=False, shell_complete=complete_agent)
@session_option
def attach(agent: str | None, session: str | None) -> None:
    """Go to the team's windows, or to an agent's. The prefix and d leave them running."""
    need_terminal("attach", "use `crew logs AGENT` without one")
    go(choose_session(session), agent)


def need_terminal(verb: str, remedy: str) -> None:
    if not is_terminal():
        raise UserError(f"`crew {verb}` needs a terminal: {remedy}")


def go(paths: SessionPaths, agent: str | None) -> None:
    """Be at the team's windows until the person leaves, also when tmux is lost meanwhile.

    Raises CrewError where that is not possible.
    """
    terminal = Terminal()
    environ = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TMUX_PANE")}
    marked = conf.nested_option(terminal.name, nested=is_nested(os.environ))
    server, place = find_place(paths, agent, PATIENCE)
    refused = False
    while True:
        status, error = terminal.lend(attach_argv(place, paths.name, marked), environ)
        if status == 0:
            return
        # The server may go between the answer and the attaching: once is no reason to give up.
        if error and (refused or not _GONE.search(error)):
            raise CrewError(f"tmux: {error}")
        refused = bool(error)
        if recorded_down(paths):
            _tell(f"session {paths.name} is down: `crew restore {paths.name}` brings it back")
            return
        _tell("tmux was lost: waiting for the team to come back (C-c leaves)")
        server, place = find_place(paths, agent, PATIENCE_LOST, lost=server)


def _tell(sentence: str) -> None:
    click.echo(f"crew: {program.as_typed(sentence)}", err=True)


def find_place(
    paths: SessionPaths, agent: str | None, patience: float, lost: int | None = None
) -> tuple[int | None, Json]:
    """The tmux server's pid, and where to go on it, as the supervisor says.

    Waits up to `patience` seconds while a pane is on its way. `lost` is the pid of a server that
    is gone, whatever the supervisor has heard of it yet.
    """
    view: View = {}
    with dial(paths) as client:
        with contextlib.suppress(TimeoutError):
            for view in client.views(timeout=patience):
                if not is_coming(view, agent, lost):
                    break
        return view.get("server"), client.request("attach", agent=agent)


def is_coming(view: View, agent: str | None, lost: int | None = None) -> bool:
    """Whether there will soon be a pane to go to, and there is none now."""
    if lost is not None and view["server"] == lost:
        return True
    meant = [a for a in view["agents"] if agent in (None, a["name"])]
    if view["state"] != "up" or any(a["pane"] for a in meant):
        return False
    return any(a["wanted"] and a["status"] in COMING for a in meant)


def is_nested(environ: Mapping[str, str]) -> bool:
    """Whether the prefix goes to another tmux first."""
    if environ.get("TMUX"):
        return _outer_prefix(environ) in (None, "C-b")
    # From a tmux through ssh, or into a container. GNU screen has another prefix.
    return environ.get("TERM", "").startswith(("tmux", "screen")) and not environ.get("STY")


def _outer_prefix(environ: Mapping[str, str]) -> str | None:
    """The prefix of the tmux around us; None if it does not say."""
    try:
        done = subprocess.run(
            ["tmux", "display-message", "-p", "#{prefix}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=OUTER,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def attach_argv(place: Json, session: str, first: list[str]) -> list[str]:
    """The tmux command for `place`: a socket, and as target a window, a pane or the session.

    `first` is a command that goes before.
    """
    target = place.get("target")
    named = target.partition(":")[0] if target and target.startswith("=") else f"={session}"
    # -N: were the server gone, this would start one with the person's own configuration.
    argv = ["tmux", "-N", "-S", place["socket"], *first, ";", "attach-session", "-t", named]
    if root := place.get("root"):
        # Where windows that the person opens start. It is read as a format: a `#` is doubled.
        argv += ["-c", root.replace("#", "##")]
    if target and target != named:
        argv += [";", "select-window", "-t", target]
    if target and target.startswith("%"):
        argv += [";", "select-pane", "-t", target]
    return argv
