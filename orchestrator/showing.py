"""What a person wants of a pane: the text that it shows, and the way there."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.core.state import NEEDS_HUMAN, Agent, Status, World
from orchestrator.errors import TmuxError
from orchestrator.locations import SessionPaths
from orchestrator.tmux.link import Link


async def text(agent: Agent, lines: int, link: Link, paths: SessionPaths) -> str:
    """The last `lines` (0: all) of what the agent's pane shows and has shown; of one that is gone,
    of its last text."""
    found: list[str] | None = None
    if agent.pane is not None:
        with contextlib.suppress(TmuxError):
            found = await link.control.snapshot(agent.pane, history=True)
    if not found:
        kept = await asyncio.to_thread(_read_or_none, paths.panes / f"{agent.name}.txt")
        found = (kept or "").split("\n")
    found = "\n".join(found).rstrip().split("\n")
    return "\n".join(found[-lines:] if lines else found)


def _read_or_none(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def target(world: World, agent: Agent | None, socket: str) -> Mapping[str, Any]:
    """Where `crew attach` goes: to `agent`; else to whoever alone needs a person, else to the
    first of the team. `error`: why there is nowhere to go. `socket`: of the tmux server."""
    specs = world.team.agents if world.team is not None else ()
    team = [world.agents[spec.name] for spec in specs if spec.name in world.agents]
    there = [a for a in (*team, *world.agents.values()) if a.pane is not None]
    if world.server is None or not there:
        if any(a.wanted and a.status in (Status.STARTING, Status.LOST) for a in team):
            return {"error": "nobody has a pane yet: `crew status` shows how far they are"}
        return {"error": "nothing runs here to attach to: `crew up` starts the team"}
    if agent is not None and agent.pane is None:
        remedy = "" if agent.wanted else f": `crew restart {agent.name}` starts it"
        return {"error": f"{agent.name} has no pane, it is {agent.status}{remedy}"}
    if agent is None:
        needing = [a for a in team if a.status in NEEDS_HUMAN and a.pane is not None]
        agent = needing[0] if len(needing) == 1 else there[0]
    return {
        "socket": socket,
        "session": world.session,
        "target": agent.pane,
        "root": world.team.root if world.team is not None else None,
    }
