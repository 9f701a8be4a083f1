"""Making panes: a window for each agent, or one window with all of them.

What exists decides how the next pane is made, and agents are started side by side: one at a time
holds `Control.structure()`. A pane, its name and its place are made by one chain of commands, which
tmux carries out in one go: no crash leaves half of it.
"""

import sys
from pathlib import Path

from orchestrator.core.spec import Layout
from orchestrator.core.values import value
from orchestrator.errors import TmuxError
from orchestrator.locations import PACKAGE, check_name
from orchestrator.tmux import conf, rows
from orchestrator.tmux.control import Control

LAUNCHER = PACKAGE / "launcher.py"
# The window of the layouts that show all agents at once.
TEAM_WINDOW = "team"
_TMUX_LAYOUTS = {"tiled": "tiled", "main": "main-vertical"}


@value
class OpenedPane:
    """A pane whose process was just started. `tty` is the terminal's path."""

    pane: str
    tty: str
    pid: int


@value
class _Order:
    """A pane to be made."""

    session: str
    agent: str
    place: int
    launch_file: Path

    @property
    def here(self) -> str:
        """The session's current window: as a target, exact."""
        return f"={self.session}:"


async def open_pane(
    control: Control,
    session: str,
    agent: str,
    *,
    place: int,
    layout: Layout,
    launch_file: Path,
    beside: str | None = None,
) -> OpenedPane:
    """Open a pane for `agent` in `session` (made if need be) and start its launch order in it.

    "windows": a window of its own, at index `place` (the next free one if somebody has that).
    "tiled" and "main": a pane of the one window `team`, in the order of the places; `beside` names
    a pane of that window, where the caller knows one. Raises TmuxError if it cannot be opened.
    """
    order = _Order(
        session=check_name(session, "session"),
        agent=check_name(agent, "agent"),
        place=place,
        launch_file=launch_file,
    )
    async with control.structure():
        found = await rows.ask(control, ["list-sessions"], "session_attached", "session_name")
        attached = next((int(people) for people, name in found if name == session), None)
        if layout == "windows":
            if attached is None:
                return await _first_window(control, order)
            return await _next_window(control, order, watched=attached > 0)
        team = [] if attached is None else await _team(control, order, beside)
        if not team:
            return await _first_of_team(control, order, exists=attached is not None)
        return await _split(control, order, team, layout, watched=attached != 0)


async def respawn(control: Control, pane: str, launch_file: Path) -> OpenedPane:
    """Start a launch order in an existing pane, ending what runs there; keeps id and place."""
    command = ["respawn-pane", "-k", "-c", "/", "-t", rows.pane_id(pane), *_argv(launch_file)]
    await control.run(command)
    found = await rows.look(control, pane, "pane_tty", "pane_pid")
    if found is None:
        raise TmuxError("respawn-pane", f"pane {pane} is gone")
    return OpenedPane(pane=pane, tty=found[0], pid=int(found[1]))


# -- a window for each agent -----------------------------------------------------------------------


async def _first_window(control: Control, order: _Order) -> OpenedPane:
    chain = [_new_session(order, order.agent), *_named(order.here, order)]
    if order.place != 1:  # base-index: tmux has put it there
        where = f"{order.here}{order.place}"
        chain.append(["move-window", "-s", order.here, "-t", where])
        # Whoever attaches before the others are there must find a current window.
        chain.append(["select-window", "-t", where])
    return _opened(await control.run(*chain))


async def _next_window(control: Control, order: _Order, *, watched: bool) -> OpenedPane:
    found = await rows.ask(control, ["list-windows", "-t", order.here], "window_index")
    taken = [int(index) for (index,) in found]
    if order.place in taken:
        # A person's own window has the number, so what ours will be is not known before.
        return _opened(await control.run(*_unnumbered(order, order.agent)))
    where = f"{order.here}{order.place}"
    chain = [
        ["new-window", "-d", "-t", where, "-n", order.agent, *_made(order)],
        *_named(where, order),
    ]
    if not watched and order.place < min(taken):
        # Who attaches next begins with the first agent, whichever was started first.
        chain.append(["select-window", "-t", where])
    return _opened(await control.run(*chain))


# -- one window with all agents --------------------------------------------------------------------


async def _team(control: Control, order: _Order, beside: str | None) -> list[tuple[int, str, str]]:
    """Place, pane and window of the agents' panes in the team's window."""
    found = await rows.ask(
        control, ["list-panes", "-s", "-t", order.here], "pane_id", "window_id", conf.PLACE
    )
    team = sorted((int(place), pane, window) for pane, window, place in found if place)
    # A person may have moved panes: the window is that of the pane which the caller knows.
    at = next((window for _, pane, window in team if pane == beside), team[0][2] if team else "")
    return [member for member in team if member[2] == at]


async def _first_of_team(control: Control, order: _Order, *, exists: bool) -> OpenedPane:
    border = ["set-option", "-w", "-t", order.here, "pane-border-status", "top"]
    if exists:
        return _opened(await control.run(*_unnumbered(order, TEAM_WINDOW, border)))
    return _opened(
        await control.run(_new_session(order, TEAM_WINDOW), *_named(order.here, order), border)
    )


async def _split(
    control: Control,
    order: _Order,
    team: list[tuple[int, str, str]],
    layout: Layout,
    *,
    watched: bool,
) -> OpenedPane:
    window = team[0][2]
    before = [pane for place, pane, _ in team if place <= order.place]
    where = ["-t", before[-1]] if before else ["-b", "-t", team[0][1]]
    # The new pane is the active one until it has its name: so one chain can do it all.
    chain = [
        ["split-window", "-Z", *where, *_made(order)],
        *_named(window, order),
        ["select-layout", "-t", window, _TMUX_LAYOUTS[layout]],
    ]
    # Back to where a person is; while nobody is, the first agent is the active one.
    if watched:
        chain.append(["select-pane", "-l", "-Z", "-t", window])
    elif before:
        chain.append(["select-pane", "-Z", "-t", before[0]])
    return _opened(await control.run(*chain))


# -- parts of commands -----------------------------------------------------------------------------


def _new_session(order: _Order, window: str) -> list[str]:
    return ["new-session", "-d", "-s", order.session, "-n", window, *_made(order)]


def _unnumbered(order: _Order, name: str, *more: list[str]) -> list[list[str]]:
    """A window at the next free index: the current one until it has its name, then as before."""
    return [
        ["new-window", "-t", order.here, "-n", name, *_made(order)],
        *_named(order.here, order),
        *more,
        ["last-window", "-t", order.here],
    ]


def _made(order: _Order) -> list[str]:
    """The end of a command that makes a pane: report it, start in /, run the launcher.

    The agent's directory is set by the launcher: tmux would run a `#(...)` in it.
    """
    report = rows.shown("pane_id", "pane_tty", "pane_pid")
    return ["-P", "-F", report, "-c", "/", *_argv(order.launch_file)]


def _argv(launch_file: Path) -> list[str]:
    """Several words: tmux executes them as they are, without a shell."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(launch_file)]


def _named(target: str, order: _Order) -> list[list[str]]:
    return [
        ["set-option", "-p", "-t", target, conf.NAME, order.agent],
        ["set-option", "-p", "-t", target, conf.PLACE, str(order.place)],
    ]


def _opened(answers: list[tuple[bytes, ...]]) -> OpenedPane:
    (found,) = rows.read(answers[0], 3)
    pane, tty, pid = found
    return OpenedPane(pane=pane, tty=tty, pid=int(pid))
