"""What a supervisor that starts finds: the tmux server, its panes, and the launch's environment."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator import procfs
from orchestrator.core.events import PaneFact
from orchestrator.core.state import Process, World
from orchestrator.errors import TmuxError
from orchestrator.launching import DENIED
from orchestrator.locations import SessionPaths
from orchestrator.tmux import bootstrap, panes
from orchestrator.tmux.link import Link

log = logging.getLogger(__name__)

# Seconds between two tries to reach a tmux server that lives and does not answer.
TMUX_AGAIN = 1.0


async def find_server(
    paths: SessionPaths, link: Link, hangs: Callable[[Process], None]
) -> tuple[Process | None, Sequence[PaneFact]]:
    """The living tmux server, connected, and its panes.

    A server that lives and does not answer is waited for, and `hangs` is told each time: to take
    it for gone would launch every agent a second time.
    """
    pid = await asyncio.to_thread(bootstrap.server_pid, paths)
    server = procfs.process_of(pid) if pid is not None else None
    while server is not None and procfs.is_alive(server):
        try:
            await link.connect(server)
            return server, await panes.list_panes(link.control)
        except TmuxError as error:
            log.warning("the tmux server does not answer: %s", error)
            hangs(server)
            await asyncio.sleep(TMUX_AGAIN)
    return None, ()


def environment_of(
    running: Sequence[Process], world: World, paths: SessionPaths
) -> Mapping[str, str] | None:
    """The environment of `crew up`, from an agent that was started with it; None: nobody has it.

    Whoever started this supervisor again may be someone else: a script, or an agent.
    """
    clis = world.team.clis.values() if world.team is not None else ()
    ours = {name for a in world.agents.values() for name in a.spec.env} | set(DENIED)
    ours |= {name for cli in clis for name in cli.launch.env}
    for process in running:
        with contextlib.suppress(OSError):
            block = Path(f"/proc/{process.pid}/environ").read_bytes()
            pairs = (os.fsdecode(p).partition("=") for p in block.split(b"\0") if p)
            found = {name: value for name, _, value in pairs}
            if "CREW_AGENT" not in found:
                continue  # Its launcher is still at work: this is tmux's environment.
            environ = {name: value for name, value in found.items() if name not in ours}
            environ["PATH"] = environ.get("PATH", "").removeprefix(f"{paths.bin}:")
            return environ
    return None
