"""Asking tmux for fields of its lists, and reading nothing but the lines that we asked for."""

import re

from orchestrator.tmux.control import Control

# No line without it is read.
_PREFIX = "crew|"
_PANE = re.compile(r"%[0-9]+")


def pane_id(pane: str) -> str:
    """Return `pane`; raises ValueError for what is not a pane's id (`%3`)."""
    if not _PANE.fullmatch(pane):
        raise ValueError(f"{pane!r} is not a pane's id")
    return pane


def shown(*fields: str) -> str:
    """The format that makes tmux print `fields` as one of our lines."""
    return _PREFIX + "|".join(f"#{{{field}}}" for field in fields)


def read(lines: tuple[bytes, ...], count: int) -> list[list[str]]:
    """The `count` fields of each line of ours; only the last one may hold the separator."""
    texts = (line.decode("utf-8", "replace") for line in lines)
    rows = (t.removeprefix(_PREFIX).split("|", count - 1) for t in texts if t.startswith(_PREFIX))
    return [row for row in rows if len(row) == count]


async def ask(control: Control, command: list[str], *fields: str) -> list[list[str]]:
    """Run a list command; return `fields` of each entry."""
    (lines,) = await control.run([*command, "-F", shown(*fields)])
    return read(lines, len(fields))


async def look(control: Control, pane: str, *fields: str) -> list[str] | None:
    """`fields` of one pane; None when it is gone (display-message would not say so)."""
    chosen = f"#{{==:#{{pane_id}},{pane_id(pane)}}}"
    rows = await ask(control, ["list-panes", "-a", "-f", chosen], *fields)
    return rows[0] if rows else None
