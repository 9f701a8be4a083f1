"""What verbs share that are about a session: which one is meant, and a connection to it."""

import os
from pathlib import Path
from typing import Any

from orchestrator.client import Client, NotRunning
from orchestrator.core.text import safe_text
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import (
    SessionPaths,
    builtin,
    config_root,
    session_paths,
    sessions,
)
from orchestrator.verbs import program
from orchestrator.verbs.recorded import GLANCE, glance, recorded_down

View = dict[str, Any]


# -- which session --------------------------------------------------------------------------------


def choose_session(name: str | None, timeout: float = GLANCE) -> SessionPaths:
    """The session that is meant: flag, $CREW_SESSION, ./crew.toml, the one whose root this
    directory or the nearest above it is, else the only one that is up, or that there is.

    `timeout`: seconds for each supervisor that must be asked. Raises UserError that lists the
    sessions when that does not tell.
    """
    named = name or os.environ.get("CREW_SESSION") or name_in(Path("crew.toml"))
    if named:
        return session_paths(named)
    known = sessions()
    if not known:
        raise UserError("there is no session yet: `crew up` starts one")
    if len(known) == 1:
        return session_paths(known[0])
    seen = {session: glance(session_paths(session), timeout) for session in known}
    up = [session for session, (view, live, wrong) in seen.items() if _is_up(view, live, wrong)]
    near = _nearest({session: view["root"] for session, (view, _, _) in seen.items()})
    for candidates in (near, [session for session in near if session in up], up or known):
        if len(candidates) == 1:
            return session_paths(candidates[0])
    raise UserError(f"which session? Say -s with one of: {', '.join(up or known)}")


def _is_up(view: View, live: bool, wrong: str | None) -> bool:
    """Whether it is meant to run, or, where that cannot be asked, whether something listens."""
    return live if wrong else view["state"] not in ("down", "unknown")


def _nearest(roots: dict[str, str | None]) -> list[str]:
    """The sessions whose root is the current directory, else those of the nearest above it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed
        return []
    for directory in (here, *here.parents):
        if near := [session for session, root in roots.items() if root == str(directory)]:
            return near
    return []


def name_in(blueprint: Path) -> str | None:
    """The name in a blueprint, if there is one that can be read."""
    if not blueprint.is_file():
        return None
    import tomllib

    try:
        name = tomllib.loads(blueprint.read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError):
        return None  # `crew up` says what is wrong with it
    return name if isinstance(name, str) else None


def flag_needed(session: str) -> bool:
    """Whether a command typed here must say -s to be about `session`."""
    try:
        return choose_session(None).name != session
    except CrewError:
        return True


def hint(paths: SessionPaths, verb: str, *words: str) -> str:
    """A command about this session for the middle of a sentence, to be typed as it stands."""
    flag = ["-s", paths.name] if flag_needed(paths.name) else []
    return f"`{program.command(verb, *flag, *words)}`"


def up_words(view: View) -> list[str]:
    """What `crew` must be told, typed here, to launch the team of `view` anew."""
    file = Path(view["blueprint"] or "")
    words = ["up"]
    named = name_in(file)
    if file == _default_blueprint():
        named = os.environ.get("CREW_SESSION") or named
    elif file.parent in (config_root() / "sessions", builtin() / "sessions"):
        words.append(file.stem)
    elif view["blueprint"]:
        words.append(str(file))
    return words if named == view["session"] else [*words, "-s", view["session"]]


def _default_blueprint() -> Path:
    own = Path("crew.toml")
    return Path.cwd() / own if own.exists() else builtin() / "sessions" / "demo.toml"


# -- a connection ---------------------------------------------------------------------------------


def require_known(paths: SessionPaths) -> None:
    """Raise UserError if this session was never started."""
    if not paths.database.exists():
        known = ", ".join(sessions()) or "none yet"
        raise UserError(f"there is no session {paths.name!r}: there is {known}")


def reach(paths: SessionPaths) -> Client | None:
    """A connection to the session's supervisor, started again if it is missing.

    None for a session that is down: what is known of it is on disk.
    """
    try:
        return Client.connect(paths, start=False)
    except NotRunning:
        require_known(paths)
    return None if recorded_down(paths) else Client.connect(paths, start=True)


def dial(paths: SessionPaths) -> Client:
    """As `reach`, but for a session that is down: UserError with the remedy."""
    client = reach(paths)
    if client is None:
        raise UserError(
            f"session {paths.name} is down: `crew restore {paths.name}` brings its agents back"
        )
    return client


def agent_of(view: View, name: str) -> View:
    """The agent `name` of `view`; raises UserError that lists those there are."""
    for agent in view["agents"]:
        if agent["name"] == name:
            found: View = agent
            return found
    names = ", ".join(agent["name"] for agent in view["agents"]) or "none"
    raise UserError(f"there is no agent {safe_text(name)!r} here: there is {names}")
