"""`crew diff`: a blueprint against what runs, and what `crew up` would do about it.

The session is read from its database, which has each event before it is acted on; its supervisor
is only asked to be there, as by every verb that looks.
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.core.text import clip, pad, safe_text, width
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import SessionPaths, session_paths
from orchestrator.verbs import program, recorded
from orchestrator.verbs.common import choose_session, reach, require_known, up_words
from orchestrator.verbs.options import json_option, session_option
from orchestrator.verbs.output import columns, say, say_json

if TYPE_CHECKING:  # cost more than click to import, and only a few verbs need them
    from orchestrator.core.comparison import Change, Comparison, Difference
    from orchestrator.core.spec import TeamSpec
    from orchestrator.core.state import World

DIFFERS = 1
# Columns of a value that is shown. Of longer texts it is said how long they are.
VALUE = 40
LOOKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
ASIDE = ("!", "magenta")  # as in the blueprint, but not running


class NotCompared(CrewError):
    """The two could not be compared. As for `diff`, this is no difference: exit status 2."""

    exit_status = 2


@click.command(epilog="Example: crew diff ./crew.toml")
@click.argument("blueprint", required=False)
@session_option
@json_option
@click.pass_context
def diff(ctx: click.Context, blueprint: str | None, session: str | None, as_json: bool) -> None:
    """Show what a blueprint would change in a session.

    BLUEPRINT is as for `crew up`; by default ./crew.toml, else the one that the session was
    launched from. Values of environment variables are not shown. Exit status: 0 nothing differs,
    1 something does, 2 it cannot be told.
    """
    try:
        found, team, typed = _compared(blueprint, session)
        trusted = _is_trusted(team)
    except UserError:
        raise
    except CrewError as error:
        raise NotCompared(str(error)) from error
    if as_json:
        say_json({"session": team.name, "blueprint": team.blueprint, **_as_json(found, trusted)})
    else:
        lines = _lines(found, team, trusted, typed)
        say("\n".join(clip(line, columns()) if plain else line for line, plain in lines))
    if not found.same:
        ctx.exit(DIFFERS)


# -- the two that are compared ---------------------------------------------------------------------


def _compared(blueprint: str | None, session: str | None) -> tuple["Comparison", "TeamSpec", str]:
    """The comparison, the blueprint's team, and the command that would apply it."""
    from orchestrator import blueprints
    from orchestrator.core.comparison import compare
    from orchestrator.definitions import present

    here, named = Path.cwd(), session or os.environ.get("CREW_SESSION") or None
    if blueprint is not None or (named is None and present(here / "crew.toml")):
        # As `crew up` does it: a blueprint that is named says itself which session it is for.
        path = blueprints.find_blueprint(blueprint, here)
        team = blueprints.load_team(path, cwd=here, environ=os.environ, session=session)
        world = _world(session_paths(team.name))
        words = [*([blueprint] if blueprint else []), *(["-s", session] if session else [])]
        return compare(world, team), team, program.command("up", *words)
    paths = choose_session(session)
    require_known(paths)
    world = _world(paths)
    if world.team is None:
        raise UserError(f"session {paths.name} was never launched: say which blueprint is meant")
    path, base = Path(world.team.blueprint), _base(world.team, here)
    team = blueprints.load_team(path, cwd=base, environ=os.environ, session=paths.name)
    words = up_words({"blueprint": world.team.blueprint, "session": paths.name})
    typed = program.command(*words)
    return (
        compare(world, team),
        team,
        typed if base == here else f"cd {shlex.quote(str(base))} && {typed}",
    )


def _base(launched: "TeamSpec", here: Path) -> Path:
    """The directory to type `crew up` in again: where a team works whose blueprint is not its
    project's own is decided by it.
    """
    from orchestrator.definitions import layer_of

    root = Path(launched.root)
    own = layer_of(Path(launched.blueprint)) == "project"
    return here if own or not root.is_dir() else root


def _world(paths: SessionPaths) -> "World":
    """The session as it is now; an empty one if it was never launched."""
    from orchestrator.core.state import empty_world

    if not paths.database.exists():
        return empty_world(paths.name)
    client = reach(paths)
    if client is not None:
        with client:
            client.request("status")  # one that has just started has looked at the panes by then
    return recorded.world(paths)


def _is_trusted(team: "TeamSpec") -> bool:
    from orchestrator import trust

    return trust.is_trusted(team)


# -- for scripts -----------------------------------------------------------------------------------


def _as_json(found: "Comparison", trusted: bool) -> dict[str, Any]:
    return {
        "state": found.state,
        "same": found.same,
        "refused": found.refused,
        "trusted": trusted,
        "root": _change_json(found.root) if found.root else None,
        "layout": _change_json(found.layout) if found.layout else None,
        "warm": _change_json(found.warm) if found.warm else None,
        "agents": [
            {
                "name": agent.name,
                "kind": agent.kind,
                "status": agent.status,
                "up": agent.up,
                "resumes": agent.resumes,
                "changes": [_change_json(change) for change in agent.changes],
            }
            for agent in found.agents
        ],
    }


def _change_json(change: "Change") -> dict[str, Any]:
    values = {"old": change.shown[0], "new": change.shown[1]} if change.shown else {}
    return {"key": change.key, "kind": change.kind, **values}


# -- for people ------------------------------------------------------------------------------------


def _lines(
    found: "Comparison", team: "TeamSpec", trusted: bool, typed: str
) -> Iterator[tuple[str, bool]]:
    """Lines of text, each with whether it may be cut at the terminal's edge."""
    file = safe_text(team.blueprint)
    count = f"{len(team.agents)} agent{'s' if len(team.agents) > 1 else ''}"
    if found.same:
        yield f"{team.name} runs as {file} says: {count}", True
        return
    yield f"{team.name} is {found.state}, and not as {file} says:", True
    differing = [agent for agent in found.agents if agent.differs]
    size = max((width(agent.name) for agent in differing), default=0)
    for agent in differing:
        glyph, colour = LOOKS.get(agent.kind, ASIDE)
        line = f"  {glyph} {pad(agent.name, size)}  {_what(agent)}"
        yield click.style(clip(line, columns()), fg=colour), False
        yield from ((f"      {_change_text(change)}", True) for change in agent.changes)
    for change, remark in (
        (found.layout, "for panes that are opened from then on"),
        (found.warm, ""),
        (found.root, ""),
    ):
        if change:
            yield f"  ~ {_change_text(change)}{f', {remark}' if remark else ''}", True
    alike = len(found.agents) - len(differing)
    if alike:
        yield f"  as it says: {alike} other{'s' if alike > 1 else ''}", True
    if found.refused:
        yield f"`{typed}` would be refused: {safe_text(found.refused)}", False
    else:
        asks = "" if trusted else "; first it asks whether you trust what it runs"
        yield f"`{typed}` applies it{asks}", False


def _what(agent: "Difference") -> str:
    """What is the matter with an agent, and what becomes of it."""
    spec, again = agent.spec, ", with its conversation" if agent.resumes else ", afresh"
    is_what = {
        "added": f"new: {spec.cli}{f', {safe_text(spec.role)}' if spec.role else ''}",
        "removed": "is not in the blueprint",
        "changed": "is edited",
        "same": f"is {agent.status}",
    }[agent.kind]
    if agent.kind == "changed" and agent.up == "starts":
        is_what += f" and {agent.status}"
    match agent.up:
        case "starts":
            return f"{is_what}; starts{'' if agent.kind == 'added' else again}"
        case "restarts":
            return f"{is_what}; restarts{again}"
        case "ends":
            return f"{is_what}; ends"
        case "adopts":
            return f"{is_what}; starts again when it has ended"
        case _:
            return is_what


def _change_text(change: "Change") -> str:
    if change.shown is None:
        return safe_text(f"{change.key}: {change.kind}")
    old, new = change.shown
    if isinstance(old, list) and isinstance(new, list) and {*old} != {*new}:
        gone = [f"-{_short(item)}" for item in old if item not in new]
        come = [f"+{_short(item)}" for item in new if item not in old]
        return safe_text(f"{change.key}: {' '.join([*gone, *come])}")
    if isinstance(old, str) and isinstance(new, str) and len(old) + len(new) > 2 * VALUE:
        return f"{change.key}: {len(old)} -> {len(new)} characters"
    return safe_text(f"{change.key}: {_short(old)} -> {_short(new)}")


def _short(item: object) -> str:
    return "none" if item is None else clip(json.dumps(item, ensure_ascii=False), VALUE)
