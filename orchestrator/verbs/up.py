"""`crew up`: from a blueprint to a team that runs."""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import start
from orchestrator.client import Client, Json
from orchestrator.core.text import safe_text
from orchestrator.errors import CrewError, TrustError, UserError
from orchestrator.locations import builtin, session_paths
from orchestrator.verbs import program, render
from orchestrator.verbs.attach import go, need_terminal
from orchestrator.verbs.common import View, flag_needed
from orchestrator.verbs.options import json_option, session_option
from orchestrator.verbs.output import columns, is_terminal, say, say_json
from orchestrator.verbs.types import seconds

if TYPE_CHECKING:  # costs more than click to import, and only `up` needs it
    from orchestrator.core.spec import TeamSpec

# Seconds. Ten agents take one; a cold CLI on a loaded machine takes many.
TIMEOUT = 60
UP = frozenset({"ready", "working", "blocked", "limited"})
OVER = frozenset({"failed", "exited"})
# What `up` did to whom, in the words of its first line.
DID = {
    "started": "started",
    "adopted": "already running",
    "changed": "restarted as edited",
    "removed": "ended",
}
# The name in a blueprint, and how much of it is looked at.
_NAME = re.compile(rb"""^name\s*=\s*["'](?P<name>[\w-]+)["']""", re.MULTILINE)
_LOOKED_AT = 4096
NOBODY = "Nobody has trusted this yet."


@click.command(epilog="Example: crew up boss-and-workers --wait")
@click.argument("blueprint", required=False)
@click.option("--wait", is_flag=True, help="Wait until every agent is at its prompt or beyond.")
@click.option("--attach", is_flag=True, help="Go to the team's windows when it is up.")
@click.option("--trust", "trusted", is_flag=True, help="Trust what it runs, without asking.")
@click.option(
    "--timeout",
    type=seconds,
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait at most.",
)
@session_option
@json_option
def up(
    *,
    blueprint: str | None,
    wait: bool,
    attach: bool,
    trusted: bool,
    timeout: float,
    session: str | None,
    as_json: bool,
) -> None:
    """Launch a team, or apply its edited blueprint.

    BLUEPRINT is a file, a directory with a crew.toml, or a name (see sessions/); by default
    ./crew.toml, else the demo.
    """
    if attach:
        need_terminal("up --attach", "leave out --attach without one")
    with start.ahead(_likely(blueprint, session), os.environ):
        team = _load(blueprint, session)
        named = [*([blueprint] if blueprint else []), *(["-s", session] if session else [])]
        _require_trust(team, trusted, named)
        paths = session_paths(team.name)
        connected = Client.connect(paths, start=True)
    with connected as client:
        _refuse_another(client.request("status")["view"], team)
        started = client.request("up", team=_dumped(team), env=dict(os.environ))
        view, late = _watched(client, wait, timeout)
    _tell(view, started, as_json)
    _judge(view, late, wait, timeout)
    if attach:
        go(paths, None)


def _likely(blueprint: str | None, session: str | None) -> str | None:
    """The name of the session that this is most likely about, found with next to nothing loaded."""
    named = session or (None if blueprint else os.environ.get("CREW_SESSION"))
    if named:
        return named
    file = Path(blueprint or "crew.toml")
    try:
        if file.is_dir():
            file /= "crew.toml"
        elif not file.is_file():
            file = builtin() / "sessions" / f"{blueprint or 'demo'}.toml"
        # The first name of a file is its own: those of agents are in tables, which come after.
        found = _NAME.search(_beginning(file))
    except OSError:
        return None
    return found and found["name"].decode()


def _beginning(file: Path) -> bytes:
    # Without waiting: it may be a pipe that nobody writes to, which the loader refuses later.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LOOKED_AT)
    finally:
        os.close(descriptor)


def _load(blueprint: str | None, session: str | None) -> "TeamSpec":
    from orchestrator import blueprints
    from orchestrator.tmux.version import check_tmux

    check_tmux()
    # A blueprint that is named says itself which session it is for.
    name = session or (None if blueprint else os.environ.get("CREW_SESSION")) or None
    path = blueprints.find_blueprint(blueprint, Path.cwd())
    return blueprints.load_team(path, cwd=Path.cwd(), environ=os.environ, session=name)


def _require_trust(team: "TeamSpec", trusted: bool, named: Sequence[str]) -> None:
    """A project's own files run nothing before a person has seen what they would run.

    `named`: what stood behind `up`.
    """
    from orchestrator import trust

    if trust.is_trusted(team):
        return
    if not trusted:
        changed = trust.was_trusted(team.blueprint)
        if not is_terminal():
            how = "has changed since you trusted it" if changed else "is not trusted yet"
            raise TrustError(
                f"{safe_text(team.blueprint)} {how} and nobody can be asked: "
                f"look at what it runs, then say `{program.command('up', '--trust', *named)}`"
            )
        for line in trust.would_run(team, os.environ).lines():
            click.echo(safe_text(line), err=True)
        known = "It has changed since you trusted it." if changed else NOBODY
        click.echo(known, err=True)
        if not click.confirm("Trust it", default=False, err=True):
            raise TrustError("not trusted: nothing was started")
    trust.trust(team)


def _refuse_another(view: View, team: "TeamSpec") -> None:
    """Two projects may use one name: the second must not take over the first one's agents."""
    if view["state"] != "down" and view["root"] not in (None, team.root):
        raise UserError(
            f"session {team.name} runs already, in {safe_text(view['root'])}: give this one "
            f"another name with -s, or end that one with `crew down -s {team.name}`"
        )


def _dumped(team: "TeamSpec") -> Json:
    from pydantic import TypeAdapter

    from orchestrator.core.spec import TeamSpec

    dumped: Json = TypeAdapter(TeamSpec).dump_python(team, mode="json")
    return dumped


# -- waiting --------------------------------------------------------------------------------------


def _watched(client: Client, wait: bool, timeout: float) -> tuple[View, list[str]]:
    """Watch until everybody is there. The last view, and who was not there in time."""
    view: View = {}
    missing: list[str] = []
    try:
        for view in client.views(timeout=timeout):
            missing = [a["name"] for a in view["agents"] if not _settled(a, view, wait)]
            if not missing or (wait and _given_up(view)):
                return view, []
    except TimeoutError:
        if not view:
            raise CrewError(
                f"the supervisor of {client.paths.name} did not say how the team is within "
                f"{timeout:.0f} s: see {client.paths.log}"
            ) from None
    return view, missing


def _settled(agent: View, view: View, wait: bool) -> bool:
    if not agent["wanted"] or agent["status"] in OVER:
        return True
    if wait:
        # What is just being answered is nobody's to answer.
        return agent["status"] in UP and not (agent["ask"] or {}).get("answering")
    return agent["pid"] is not None or agent["status"] == "backoff" or bool(_waits(agent, view))


def _waits(agent: View, view: View) -> list[str]:
    """The agents that this one waits for before it is launched."""
    names = {other["name"] for other in view["agents"]}
    return [name for name in agent.get("waiting_for", ()) if name in names]


def _given_up(view: View) -> list[View]:
    return [a for a in view["agents"] if a["wanted"] and a["status"] in OVER]


# -- telling --------------------------------------------------------------------------------------


def _tell(view: View, started: Json, as_json: bool) -> None:
    lists = {key: started.get(key, []) for key in DID}
    if as_json:
        say_json({"session": view["session"], **lists, "agents": view["agents"]})
        return
    counts = ", ".join(f"{len(names)} {DID[key]}" for key, names in lists.items() if names)
    say(f"{view['session']} is {view['state']}: {counts or 'no agents'}")
    say("\n".join(render.short_lines(view["agents"], columns(), time.time())))
    flag = flag_needed(view["session"])
    asked = render.needs(view, columns(), flag=flag)
    say("\n".join(["", *asked, *_next(view, flag)]))


def _next(view: View, flag: bool) -> list[str]:
    looks = (
        (("watch",), "what everybody does, live"),
        (("status",), "the same, once"),
        (("attach",), "go to their windows"),
        (("logs", "NAME"), "what an agent printed"),
    )
    rows = ((render.command(view, flag, *words), what) for words, what in looks)
    return render.commands(rows, columns())


def _judge(view: View, late: list[str], wait: bool, timeout: float) -> None:
    """Raise CrewError if the team is not what was asked for."""
    bad = _given_up(view) if wait else [a for a in _given_up(view) if a["status"] == "failed"]
    if bad:
        told = "; ".join(
            f"{a['name']} {a['status']}: {safe_text(a['detail']) or 'no reason known'}" for a in bad
        )
        raise CrewError(f"not everybody is up: {told}; `crew why {bad[0]['name']}` tells more")
    if late:
        statuses = {a["name"]: a["status"] for a in view["agents"]}
        told = ", ".join(f"{name} is {statuses[name]}" for name in late)
        sentence = f"not everybody is up after {timeout:g} s: {told}"
        raise CrewError(f"{sentence}; `crew why {late[0]}` tells more")
