"""A second look at who works: for what no source tells of.

A request that is made again after an error, and a limit, stand on the screen alone. So while an
agent waits for its model, its screen is glanced at soon after it began to, and ever more
seldom from then on: of whatever comes, no more than half its age is missed. And an agent whose CLI
shows at all times that it is at work, but whose terminal has stood still and of which nothing else
was heard, is stalled: the next write to its terminal ends that.

Who does not work costs nothing here.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core.events import TerminalSeen
from orchestrator.core.spec import CliSpec
from orchestrator.core.state import Agent, Doing, Evidence, Status
from orchestrator.sources import clock
from orchestrator.sources.ptys import Terminals

# Seconds to the first look at who works, and the most between two of them.
FIRST, SELDOM = 0.15, 30.0
# Seconds without a sign after which an agent at work is stalled. A terminal's time of its last
# write is up to 8 s behind (`tty_update_time` of the kernel); a CLI's spinner moves each second.
STALL = 30.0
# Between two looks at an agent that seems to be stalled.
AGAIN = 2.0


# In requests to its model.
ASKS = frozenset({Doing.THINKING, Doing.STREAMING, Doing.COMPACTING})


@dataclass
class _Phase:
    """What an agent has been doing since one report of it."""

    run: int
    tty: str
    evidence: Evidence
    glances: bool
    animated: bool
    wait: float = FIRST
    timer: asyncio.TimerHandle | None = None
    # It has stood still for long, at the last look.
    suspect: bool = False
    # That it is stalled was told; and the world has it.
    told: bool = False
    known: bool = False

    def is_like(self, other: "_Phase") -> bool:
        return (self.run, self.tty, self.evidence) == (other.run, other.tty, other.evidence)


class Checks:
    """Calls `glance(agent)` for a look at its screen, and posts `TerminalSeen`.

    `agent_of` gives the agent as it is now; `report` is told where terminals cannot be watched.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        agent_of: Callable[[str], Agent | None],
        glance: Callable[[str], object],
        post: Callable[[TerminalSeen], None],
        report: Callable[[str], None],
        first: float = FIRST,
        stall: float = STALL,
        again: float = AGAIN,
    ) -> None:
        self._loop = loop
        self._agent = agent_of
        self._glance = glance
        self._post = post
        self._terminals = Terminals(loop, self._written, report)
        self._first = first
        self._stall = stall
        self._again = again
        self._phases: dict[str, _Phase] = {}

    def follow(self, agent: Agent, cli: CliSpec) -> None:
        """The agent has changed: a new report of it begins a new phase."""
        phase = self._phase(agent, cli)
        known = self._phases.get(agent.name)
        if phase is None:
            self.forget(agent.name)
        elif known is None or not known.is_like(phase):
            self.forget(agent.name)
            self._begin(agent.name, phase)
        elif agent.quiet_since is not None:
            known.known = True
        elif known.known:
            # Something was heard of it that is no report.
            self.forget(agent.name)
            self._begin(agent.name, phase)

    def forget(self, name: str) -> None:
        phase = self._phases.pop(name, None)
        if phase is not None:
            self._terminals.disarm(name)
            if phase.timer is not None:
                phase.timer.cancel()

    def close(self) -> None:
        for name in list(self._phases):
            self.forget(name)
        self._terminals.close()

    def _phase(self, agent: Agent, cli: CliSpec) -> _Phase | None:
        if agent.status is not Status.WORKING or agent.tty is None or agent.process is None:
            return None
        # What goes on in the background may show nothing at all.
        animated = cli.screen.animated and agent.doing is not Doing.BACKGROUND
        # What else it does, its own reports tell: only of its requests they say nothing.
        glances = cli.status_file is not None and agent.doing in ASKS
        if not glances and not animated:
            return None
        return _Phase(agent.run, agent.tty, agent.evidence, glances, animated, self._first)

    def _begin(self, name: str, phase: _Phase) -> None:
        self._phases[name] = phase
        phase.timer = self._loop.call_later(phase.wait, self._due, name)

    def _due(self, name: str) -> None:
        phase, agent = self._phases[name], self._agent(name)
        quiet = self._quiet(phase, agent)
        if agent is None or quiet is None:
            return  # The terminal went with its pane: of that others tell.
        if phase.animated and quiet >= self._stall:
            if phase.suspect:
                self._suspect(name, phase)
            else:
                # The clock may have been set, or the machine have slept: it is given a moment.
                phase.suspect = True
                phase.timer = self._loop.call_later(self._again, self._due, name)
            return
        phase.suspect = False
        if agent.quiet_since is not None:
            # Told by a supervisor before this one.
            self._tell(name, phase, None)
        if phase.glances:
            self._glance(name)
        phase.wait = min(2 * phase.wait, SELDOM)
        phase.timer = self._loop.call_later(phase.wait, self._due, name)

    def _suspect(self, name: str, phase: _Phase) -> None:
        """Watch its terminal, then see once more that it has not moved, and tell."""
        phase.told, phase.timer = True, None
        self._terminals.arm(name, phase.tty)
        quiet = self._quiet(phase, self._agent(name))
        if quiet is not None and quiet >= self._stall:
            self._tell(name, phase, time.time() - quiet)
        else:
            self._written(name)

    def _quiet(self, phase: _Phase, agent: Agent | None) -> float | None:
        """Seconds since anything moved; None: there is nothing left to move."""
        try:
            written = os.stat(phase.tty).st_mtime  # noqa: PTH116 - a string, as tmux gives it
        except OSError:
            return None
        told = [] if agent is None else [s.at for who, s in agent.said.items() if who != "screen"]
        return time.time() - max(written, phase.evidence.at, *told)

    def _written(self, name: str) -> None:
        """An armed terminal was written to, or it is only time to look whether it was."""
        phase = self._phases.get(name)
        if phase is None or not phase.told:
            return
        quiet = self._quiet(phase, self._agent(name))
        if quiet is not None and quiet >= self._stall:
            self._terminals.arm(name, phase.tty)
            return
        phase.told = phase.known = False
        self._tell(name, phase, None)
        phase.wait = self._first
        phase.timer = self._loop.call_later(phase.wait, self._due, name)

    def _tell(self, name: str, phase: _Phase, since: float | None) -> None:
        at, mono = clock.now()
        self._post(
            TerminalSeen(
                at=at, mono=mono, source="screen", agent=name, run=phase.run, quiet_since=since
            )
        )
