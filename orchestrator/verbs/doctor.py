"""`crew doctor`: what on this machine keeps a crew from working, and what to do about it."""

import contextlib
import dataclasses
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from orchestrator.core.text import pad, safe_text
from orchestrator.errors import UserError
from orchestrator.locations import session_paths, sessions
from orchestrator.verbs import program, recorded
from orchestrator.verbs.attach import is_nested
from orchestrator.verbs.options import json_option
from orchestrator.verbs.output import columns, say, say_json

if TYPE_CHECKING:
    from orchestrator.doctor.findings import Finding
    from orchestrator.doctor.sessions import Glance

# Glyph and colour of each level.
LOOKS = {
    "ok": ("✓", "green"),
    "note": ("·", None),
    "warn": ("!", "yellow"),
    "bad": ("✗", "red"),
}
# Columns of what a finding is about: "claude hooks".
CHECK = 12
# Columns in which a text can still be read.
NARROWEST = 20
_COMMAND = re.compile(r"`[^`]*`")
_HELD = "\xa0"  # a blank where no line is broken


def complete_cli(_: click.Context, __: click.Parameter, start: str) -> list[CompletionItem]:
    """Names of agent CLIs that have a definition."""
    try:
        from orchestrator.doctor import clis

        known = clis.names(clis.Project(Path.cwd()), ())
        return [CompletionItem(name) for name in known if name.startswith(start)]
    except Exception:  # a shell would show it in the middle of the person's line
        return []


@click.command(epilog="Example: crew doctor claude")
@click.argument("clis", nargs=-1, metavar="[CLI]...", shell_complete=complete_cli)
@json_option
def doctor(clis: tuple[str, ...], as_json: bool) -> int:
    """Check this machine: tmux, agent CLIs, their hooks.

    Each agent CLI is started once, without a message, to see that its hooks arrive. With CLI,
    only these are looked at, and have to be there. Exit status: 1 if anything is bad.
    """
    from orchestrator.doctor.checkup import Asked, examine

    asked = Asked(clis, _here(), dict(os.environ), is_nested(os.environ), _glances())
    found: list[Finding] = []
    # What it has started is ended by the time that this is left, however it is left.
    with contextlib.closing(examine(asked)) as findings:
        for told in findings:
            finding = dataclasses.replace(told, remedy=program.as_typed(told.remedy))
            found.append(finding)
            if not as_json:
                say("\n".join(lines(finding, columns())))
    if as_json:
        say_json([dataclasses.asdict(finding) for finding in found])
    else:
        say(f"\n{summary(found)}")
    return 1 if any(finding.level == "bad" for finding in found) else 0


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UserError("this directory was removed: go to another one") from None


def _glances() -> "Iterator[Glance]":
    from orchestrator.doctor.sessions import Glance

    for name in sessions():
        try:
            yield Glance(name, *recorded.glance(session_paths(name)))
        except UserError as error:
            yield Glance(name, {"state": "unknown"}, live=False, problem=str(error))


def lines(finding: "Finding", columns: int) -> list[str]:
    """A finding for a terminal, then its remedy. Folded, not cut, and no command in two."""
    glyph, colour = LOOKS[finding.level]
    head = f"{glyph} {finding.level:<4}"
    text = _folded(f"{pad(finding.check, CHECK)} {finding.text}", len(head) + 2, columns)
    text[0] = f"{click.style(head, fg=colour) if colour else head}  {text[0].lstrip()}"
    if not finding.remedy:
        return text
    return text + _folded(f"-> {finding.remedy}", len(head) + 2, columns)


def _folded(text: str, indent: int, columns: int) -> list[str]:
    blanks = " " * indent
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _HELD), safe_text(text))
    folded = textwrap.wrap(
        whole,
        max(columns, indent + NARROWEST),
        initial_indent=blanks,
        subsequent_indent=blanks,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_HELD, " ") for line in folded]


def summary(found: "list[Finding]") -> str:
    bad, warned = (sum(one.level == level for one in found) for level in ("bad", "warn"))
    counts = [
        f"{bad} bad" if bad else "",
        f"{warned} warning{'' if warned == 1 else 's'}" if warned else "",
    ]
    return ", ".join(filter(None, counts)) or "all is well"
