"""Live screens: what an agent's pane shows, with its colours, for whoever looks at it.

    a write to the terminal --> Screens --> snapshot, size, cursor --> the newest frame --> viewers

Nothing is looked at but for a viewer, and nothing is told but what differs from the last frame
that the viewer got (`core/frames.py`): a slow one is told less often, and nothing is queued for
it. One agent is followed once, however many look at it. No screen is written to the database, as
it may show a secret: what is kept of one is what it says of its agent.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable

from orchestrator.core.state import Agent, World
from orchestrator.core.styles import standalone
from orchestrator.core.views import View
from orchestrator.errors import TmuxError
from orchestrator.sources.ptys import Screens, Terminals
from orchestrator.tmux import rows
from orchestrator.tmux.control import Control

# Seconds between two looks at one screen, at least.
PACE = 0.25
# Where a pane's terminal is gone: there is no such file, so nothing is waited for.
NO_TERMINAL = "/dev/pts/none"
_FIELDS = ("pane_width", "pane_height", "cursor_flag", "cursor_x", "cursor_y")


class _Viewed:
    """One agent that is looked at."""

    def __init__(self) -> None:
        self.viewers = 0
        # Empty: nothing is known yet. None: it has no pane.
        self.frame: View | None = {}
        self.wake = asyncio.Event()

    def show(self, frame: View | None) -> None:
        if frame != self.frame:
            self.frame = frame
            self.ring()

    def ring(self) -> None:
        self.wake.set()
        self.wake = asyncio.Event()


class Viewing:
    """The screens that somebody looks at. `control()` is the client of tmux, or raises TmuxGone;
    `report` is told once if terminals cannot be watched."""

    def __init__(
        self,
        control: Callable[[], Control],
        world: Callable[[], World],
        report: Callable[[str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._control = control
        self._world = world
        self._terminals = Terminals(loop, self._written, report)
        self._screens = Screens(loop, self._terminals, self._snapshot, self._took, pace=PACE)
        self._viewed: dict[str, _Viewed] = {}
        self._ended = False

    @property
    def viewed(self) -> frozenset[str]:
        """The agents that somebody looks at."""
        return frozenset(self._viewed)

    async def watch(self, name: str) -> AsyncGenerator[View | None, None]:
        """The agent's frames: the present one at once, then each other one, until `end`.

        A frame has `agent`, `run`, `columns`, `rows`, `cursor` ([x, y] in cells from 0, None:
        hidden) and `lines`, each with all of its colours (SGR). None: no pane.
        """
        viewed = self._join(name)
        try:
            sent: View | None = {}
            while True:
                wake = viewed.wake
                if viewed.frame == sent:
                    if self._ended:
                        return
                    await wake.wait()
                    continue
                sent = viewed.frame
                yield sent
        finally:
            self._leave(name, viewed)

    def _join(self, name: str) -> _Viewed:
        viewed = self._viewed.get(name)
        if viewed is None:
            viewed = self._viewed[name] = _Viewed()
            self._point(name, viewed, self._world())
        viewed.viewers += 1
        return viewed

    def _leave(self, name: str, viewed: _Viewed) -> None:
        viewed.viewers -= 1
        if not viewed.viewers and self._viewed.pop(name, None) is not None:
            self._screens.unfollow(name)
            if not self._viewed:
                self._terminals.close()

    # -- the world moves on -----------------------------------------------------------------------

    def follow(self, old: World, new: World) -> None:
        """Point at the panes that agents have now. Called at each change of the world."""
        if new.agents is old.agents:
            return
        for name, viewed in self._viewed.items():
            if _place(old.agents.get(name)) != _place(new.agents.get(name)):
                self._point(name, viewed, new)

    def _point(self, name: str, viewed: _Viewed, world: World) -> None:
        agent = world.agents.get(name)
        if agent is None or agent.pane is None:
            self._screens.unfollow(name)
            viewed.show(None)
        else:
            self._screens.follow(name, agent.tty or NO_TERMINAL)

    def again(self) -> None:
        """Look at all of it: the connection to tmux was away."""
        for name in self._viewed:
            self._screens.written(name)

    def end(self) -> None:
        """Nothing more will come: each viewer is told what is left, and done."""
        self._ended = True
        for viewed in self._viewed.values():
            viewed.ring()

    def close(self) -> None:
        self._screens.close()
        self._terminals.close()

    # -- looking ----------------------------------------------------------------------------------

    def _written(self, name: str) -> None:
        self._screens.written(name)

    async def _snapshot(self, name: str) -> list[str] | None:
        """The lines of a pane, after one that holds what else makes a frame another one."""
        agent = self._world().agents.get(name)
        if agent is None or agent.pane is None:
            return None
        try:
            control = self._control()
            # Both are on their way to tmux before either is answered.
            lines, found = await asyncio.gather(
                control.snapshot(agent.pane, escapes=True),
                rows.look(control, agent.pane, *_FIELDS),
            )
        except TmuxError:
            return None
        if lines is None or found is None:
            return None
        columns, height, shown, x, y = (int(field or 0) for field in found)
        # At the end of a full line it stands past the last column until the next character.
        cursor = [min(x, columns - 1), y] if shown else None
        return [json.dumps([agent.run, columns, height, cursor]), *lines]

    def _took(self, name: str, snapshot: list[str]) -> None:
        viewed = self._viewed.get(name)
        if viewed is None:
            return
        run, columns, height, cursor = json.loads(snapshot[0])
        viewed.show(
            {
                "agent": name,
                "run": run,
                "columns": columns,
                "rows": height,
                "cursor": cursor,
                "lines": standalone(snapshot[1:]),
            }
        )


def _place(agent: Agent | None) -> tuple[object, ...] | None:
    """What makes an agent's screen another one, or worth another look."""
    return None if agent is None else (agent.run, agent.pane, agent.tty, agent.process)
