"""Windows and panes, over the control client: look, close, mark (`opening.py` opens them).

Targets are tmux's ids, or a checked session name with a number; names and texts of others never
reach tmux as formats. A pane is ours by its start command, which tmux keeps and no program in a
pane can change: `launcher.py <launch directory>/<agent>.<run>.order`.
"""

import contextlib
import os
import re
import signal
import unicodedata
from typing import NamedTuple

from orchestrator.core.events import PaneFact
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.procfs import process_of, stat
from orchestrator.tmux import conf, rows
from orchestrator.tmux.control import Control
from orchestrator.tmux.opening import LAUNCHER, TEAM_WINDOW, OpenedPane, open_pane, respawn

__all__ = [
    "LAUNCHER",
    "TEAM_WINDOW",
    "UNKNOWN",
    "ExitStatus",
    "OpenedPane",
    "close_pane",
    "exit_status",
    "in_mode",
    "list_panes",
    "open_pane",
    "respawn",
    "set_mark",
    "set_summary",
    "zombie_status",
]

# tmux puts words that hold blanks or the like in quotes.
_LAUNCHED = re.compile(
    r"/launcher\.py\W.*/([A-Za-z0-9][A-Za-z0-9_-]{0,31})\.([0-9]{1,18})\.order[\"']?\Z"
)


class ExitStatus(NamedTuple):
    """How a pane's process ended. `known` False: it lives, or tmux has not been told yet."""

    known: bool
    code: int | None
    signal: int | None


UNKNOWN = ExitStatus(known=False, code=None, signal=None)


# -- processes -------------------------------------------------------------------------------------


def zombie_status(pid: int, parent: int) -> ExitStatus:
    """How a process ended that `parent` has not waited for yet, as the kernel keeps it."""
    found = stat(pid)
    if found is None or not found.dead or found.parent != parent:
        return UNKNOWN
    result = os.waitstatus_to_exitcode(found.exit_code)
    if result < 0:
        return ExitStatus(known=True, code=None, signal=-result)
    return ExitStatus(known=True, code=result, signal=None)


# -- looking ---------------------------------------------------------------------------------------

_DEATH = ("pane_dead", "pane_dead_status", "pane_dead_signal", "pane_pid", "pid")


async def list_panes(control: Control, agent: str | None = None) -> list[PaneFact]:
    """All panes that run our launcher, for `agent` where one is named; a person's own and the
    holding session's are left out."""
    facts = await _facts(control, agent)
    if any(fact.dead and fact.code is None and fact.signal is None for fact in facts):
        # tmux answered just before it took the status and we looked just after: ask once more.
        facts = await _facts(control, agent)
    return facts


async def _facts(control: Control, agent: str | None) -> list[PaneFact]:
    fields = ("pane_id", "pane_tty", *_DEATH, "pane_start_command")
    facts = []
    for pane, tty, *death, command in await rows.ask(control, ["list-panes", "-a"], *fields):
        launched = _LAUNCHED.search(command)
        if launched is None or agent not in (None, launched[1]):
            continue
        dead, pid, status = death[0] == "1", death[3], _ended(*death)
        facts.append(
            PaneFact(
                agent=launched[1],
                run=int(launched[2]),
                pane=pane,
                tty=tty,
                dead=dead,
                code=status.code,
                signal=status.signal,
                process=None if dead or not pid else process_of(int(pid)),
            )
        )
    return facts


async def exit_status(control: Control, pane: str) -> ExitStatus | None:
    """How the pane's process ended; None when the pane is gone."""
    status = UNKNOWN
    for _ in range(2):  # twice for the same reason as in `list_panes`
        found = await rows.look(control, pane, *_DEATH)
        if found is None:
            return None
        status = _ended(*found)
        if status.known or found[0] != "1":
            break
    return status


def _ended(dead: str, code: str, number: str, pid: str, server: str) -> ExitStatus:
    if dead != "1":
        return UNKNOWN
    if code or number:
        return ExitStatus(
            known=True,
            code=int(code) if code else None,
            signal=int(number) if number else None,
        )
    if not pid:
        return UNKNOWN
    # Some builds of tmux miss a SIGCHLD now and then: the zombie stays, and the status unknown,
    # until the next child ends. The kernel knows; and one more signal makes tmux look again.
    status = zombie_status(int(pid), int(server))
    if status.known:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(server), signal.SIGCHLD)
    return status


async def in_mode(control: Control, pane: str) -> bool | None:
    """Whether the pane is in copy mode (or another that takes its keys); None when it is gone."""
    found = await rows.look(control, pane, "pane_in_mode")
    return None if found is None else found[0] not in ("", "0")


# -- changing -------------------------------------------------------------------------------------


async def close_pane(control: Control, pane: str) -> None:
    """Close a pane; one that is gone already is fine."""
    try:
        await control.run(["kill-pane", "-t", rows.pane_id(pane)])
    except TmuxGone:
        raise
    except TmuxError:
        if await rows.look(control, pane, "pane_id") is not None:
            raise


async def set_mark(
    control: Control, pane: str, glyph: str, colour: conf.Colour = "default"
) -> None:
    """Show `glyph` beside the agent's name: in the list of windows, or on its pane's border."""
    mark = f"#[fg={colour}]{_plain(glyph)}#[fg=default]" if glyph else ""
    await control.run(["set-option", "-p", "-t", rows.pane_id(pane), conf.MARK, mark])


async def set_summary(control: Control, rest: str, urgent: str = "") -> None:
    """Show everybody who is attached who needs them (`urgent`), and how the `rest` is."""
    texts = {conf.URGENT: urgent, conf.SUMMARY: rest}
    await control.run(*(["set-option", "-g", name, _plain(text)] for name, text in texts.items()))


def _plain(text: str) -> str:
    """Text that the status line shows as it is: one line, and no `#` that begins a style."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return kept.replace("#", "##")
