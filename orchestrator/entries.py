"""One `[[agents]]` table of a blueprint: checked against its CLI, and what it names put in.

Where the blueprint itself stands, and how its agents go together, is `blueprints.py`'s.
"""

import dataclasses
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from orchestrator import definitions, settings
from orchestrator.core import launch
from orchestrator.core.spec import AgentSpec, CliSpec, PermissionsSpec, RestartPolicy
from orchestrator.core.values import value
from orchestrator.errors import SpecError, UserError
from orchestrator.tables import Problem, as_text, dotted, shown

ROLE_LABEL_MAX = 64

_ROLE_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")


@value
class Entry(AgentSpec):
    """One `[[agents]]` table, its defaults filled in."""

    count: int | None = None


def from_home(given: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    return home + given[1:] if home and (given == "~" or given.startswith("~/")) else given


def wrong_in_entry(entry: Entry, cli: CliSpec) -> Iterator[Problem]:
    """What the types cannot say."""
    for key in ("model", "mode", "role_prompt"):
        # Left out in silence, a mode that was meant to hold an agent back would not.
        if getattr(entry, key) and key not in launch.taken(cli):
            remedy = f'remove it, or set {key} = "" for this agent'
            yield (key,), f"the agent CLI {cli.name!r} takes no {key}: {remedy}"
    for key, taken in (
        ("permissions", cli.hooks is not None and settings.needs_file(cli)),
        ("add_dirs", cli.hooks is not None and settings.needs_file(cli)),
        ("mcp_servers", "mcp" in launch.taken(cli)),
        ("trust_folder", any(pattern.name == "trust" for pattern in cli.screen.patterns)),
    ):
        if getattr(entry, key) not in (PermissionsSpec(), {}, (), False) and not taken:
            yield (key,), f"the agent CLI {cli.name!r} takes no {key}: remove it"
    if not entry.role.isprintable() or len(entry.role) > ROLE_LABEL_MAX:
        yield ("role",), f"should be one line of up to {ROLE_LABEL_MAX} characters"
    yield from definitions.wrong_variables(entry.env, ("env",))
    yield from ((("restart", key), what) for key, what in _wrong_restart(entry.restart))


def _wrong_restart(policy: RestartPolicy) -> Iterator[tuple[str, str]]:
    for key in ("window", "backoff", "backoff_max"):
        seconds = getattr(policy, key)
        if not math.isfinite(seconds) or seconds < 0:
            yield key, "should be a number of seconds, 0 or more"
    if policy.limit < 0:
        yield "limit", "should be 0 or more"
    if policy.backoff > policy.backoff_max:
        yield "backoff", f"is longer than backoff_max ({policy.backoff_max:g} s): lower it"


def check_program(
    entry: Entry, cli: CliSpec, file: Path, root: str, environ: Mapping[str, str]
) -> None:
    command = cli.launch.command[0]
    if launch.placeholders(command) or command.startswith("/"):
        return
    if "/" in command:
        found = os.access(f"{root}/{command}", os.X_OK)
        remedy = f"it is looked for below {shown(root)}"
    else:
        search = entry.env.get("PATH", environ.get("PATH", os.defpath))
        found = shutil.which(command, path=search) is not None
        remedy = "install it, or put its directory on PATH"
    if not found:
        problem = f"{shown(command)} is not installed: {remedy}"
        raise SpecError(shown(str(file)), dotted(("agents", entry.name, "cli")), problem)


def with_role(
    entry: Entry, cli: CliSpec, file: Path, project: Path | None, files: list[Path]
) -> Entry:
    """`entry` with the text of its role's file, unless its prompt is given inline.

    To a CLI that takes no role prompt, and beside an inline prompt, a role is but a label.
    """
    if not entry.role or "role_prompt" not in launch.taken(cli):
        return entry

    def refuse(problem: str) -> NoReturn:
        raise SpecError(shown(str(file)), dotted(("agents", entry.name, "role")), problem)

    if entry.role_prompt:
        if "/" in entry.role:
            refuse("names a file, and role_prompt gives another prompt: keep one of them")
        return entry
    if not _ROLE_FILE.fullmatch(entry.role):
        refuse(f"{entry.role!r} cannot name a role file: use letters, digits, '_' and '-'")
    directories = definitions.role_directories(project)
    path = definitions.find_file(f"{entry.role}.md", directories)
    if path is None:
        refuse(
            definitions.not_found("role", entry.role, ".md", directories)
            + ": write it, or give role_prompt"
        )
    files.append(path)
    return dataclasses.replace(entry, role_prompt=definitions.read_role(path))


def with_directories(entry: Entry, file: Path, root: str, environ: Mapping[str, str]) -> Entry:
    """`entry` with `add_dirs` as absolute paths of directories that are there."""
    found = []
    for index, directory in enumerate(entry.add_dirs):
        path = Path(root) / from_home(directory, environ)
        if not path.is_dir():
            at = dotted(("agents", entry.name, "add_dirs", index))
            problem = f"{shown(str(path))} is not a directory: make it, or remove it here"
            raise SpecError(shown(str(file)), at, problem)
        found.append(as_text(path.resolve(), file))
    return dataclasses.replace(entry, add_dirs=tuple(found))


def own_settings(
    entry: Entry, cli: CliSpec, file: Path, root: str
) -> list[tuple[Path | None, settings.Json]]:
    """What the agent's own arguments give as settings, each with the file that it stands in."""
    found: list[tuple[Path | None, settings.Json]] = []
    for text in settings.given(cli, entry.arguments):
        try:
            read = settings.read_given(text, entry.name, root)
        except UserError as error:
            at = dotted(("agents", entry.name, "arguments"))
            raise SpecError(shown(str(file)), at, str(error)) from None
        found.append((settings.file_of(text, root), read))
    return found


def agent_of(entry: Entry, name: str) -> AgentSpec:
    given = {field.name: getattr(entry, field.name) for field in dataclasses.fields(AgentSpec)}
    empty = {"model": entry.model or None, "mode": entry.mode or None}
    return AgentSpec(**{**given, **empty, "name": name})
