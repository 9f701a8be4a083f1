"""What is known of a session without asking its supervisor: read from disk, nothing is started.

What it needs for that is imported when it is needed: `crew status` of a session that lives is
typed often, and needs none of it.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.client import Client, NotRunning
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths

if TYPE_CHECKING:
    from orchestrator.core.state import World

View = dict[str, Any]

# What tmux itself wrote last into the pane: how to restart one agent, which is not possible now.
_DEAD = re.compile(r"(?:^|\n)(?:ended\b[^\n]*: crew restart \S+|Pane is dead\b[^\n]*)\Z")
# The rest of a screen that was not full.
_BLANK = re.compile(r"\n{4,}")

# Seconds that a supervisor may take to answer when several are asked in turn.
GLANCE = 2.0


def world(paths: SessionPaths) -> "World":
    """The session as last recorded. Raises CrewError if that cannot be read."""
    from orchestrator.core.reducer import reduce_safely
    from orchestrator.sinks.store import read_world

    return read_world(paths.database, paths.name, reduce_safely).world


def offline(paths: SessionPaths) -> View:
    """The view of the session as last recorded."""
    from orchestrator.core.views import view

    found = view(world(paths))
    # The recorded one does not run: nothing listens.
    found["supervisor"] = None
    return found


def recorded_down(paths: SessionPaths) -> bool:
    """Whether a person ended the session. What cannot be read is left to the supervisor."""
    try:
        return bool(offline(paths)["state"] == "down")
    except CrewError:
        return False


def follow_while_up(paths: SessionPaths) -> Callable[[], bool]:
    """For a stream that is followed: go on after a crash, but not after `crew down`."""
    return lambda: not recorded_down(paths)


def glance(paths: SessionPaths, timeout: float = GLANCE) -> tuple[View, bool, str | None]:
    """The session's view, whether its supervisor lives, and what is wrong, if anything is.

    `timeout`: seconds for a living supervisor; one that does not answer is read from disk.
    """
    live, problem = False, None
    try:
        with Client.connect(paths, start=False) as client:
            live = True
            return client.request("status", timeout=timeout)["view"], live, None
    except NotRunning:
        pass
    except CrewError as error:
        problem = str(error)
    try:
        return offline(paths), live, problem
    except CrewError as error:
        unknown: View = {"state": "unknown", "root": None, "agents": []}
        return unknown, live, problem or str(error)


def why(paths: SessionPaths, agent: str) -> View:
    """As the supervisor would answer it; the agent must be there."""
    from orchestrator.core import views

    recorded = world(paths)
    return views.why(recorded, recorded.agents[agent])


def logs(paths: SessionPaths, agent: str, lines: int) -> str:
    """The last lines that were kept of the agent's pane when its process ended."""
    try:
        text = (paths.panes / f"{agent}.txt").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise CrewError(f"nothing was kept of {agent}'s pane") from None
    except OSError as error:
        raise CrewError(f"{error.filename}: cannot be read: {error.strerror}") from error
    text = _BLANK.sub("\n\n", _DEAD.sub("", text.rstrip()).rstrip())
    return "\n".join(text.split("\n")[-lines:])


def events(
    paths: SessionPaths,
    *,
    since: int | None,
    agent: str | None,
    kinds: Sequence[str],
    limit: int | None,
) -> list[View]:
    """The journal, chosen as the supervisor does it: with only `limit`, the newest ones."""
    from orchestrator.sinks.store import Reader

    newest = since is None and limit is not None
    with Reader.look(paths.database) as reader:
        return reader.events(since or 0, agent=agent, kinds=kinds, limit=limit, newest=newest)
