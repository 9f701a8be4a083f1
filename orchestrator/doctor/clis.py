"""The agent CLIs whose definitions are known: defined well, installed, and which version.

A project's own definition runs nothing here before a person has trusted the project's blueprint.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import blueprints, definitions, trust
from orchestrator.core.launch import fill
from orchestrator.core.spec import CliSpec
from orchestrator.core.text import clip
from orchestrator.core.versions import for_version
from orchestrator.doctor.findings import Finding, bad, note, ok, warn
from orchestrator.errors import CrewError
from orchestrator.launching import DENIED
from orchestrator.locations import NAME, PACKAGE, check_name, login_shell
from orchestrator.tables import read_toml

# Seconds: a CLI may have to start a large runtime for it.
VERSION_TIMEOUT = 15.0
# Columns of what a CLI says its version is.
_VERSION_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Project:
    """The blueprint of a directory, `crew.toml`, if there is one.

    `needs`: the CLIs that it names. `trusted`: its own definitions may be run. `problem`: what is
    wrong with it, as a sentence.
    """

    directory: Path
    file: Path | None = None
    needs: frozenset[str] = frozenset()
    trusted: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A CLI that is installed. `runs`: it may be run here."""

    spec: CliSpec
    argv: tuple[str, ...]
    runs: bool


def project_of(directory: Path, environ: Mapping[str, str]) -> Project:
    file = directory / "crew.toml"
    if not definitions.present(file):
        return Project(directory)
    needs: frozenset[str] = frozenset()
    try:
        needs = frozenset(_named(read_toml(file)))
        team = blueprints.load_team(file, cwd=directory, environ=environ, session=None)
        return Project(directory, file, needs, trust.is_trusted(team))
    except CrewError as error:
        return Project(directory, file, needs, problem=str(error))


def _named(table: Mapping[str, Any]) -> Iterator[str]:
    """The CLIs that a blueprint names, also one in which something is wrong."""
    agents = table.get("agents")
    tables = [table.get("defaults"), *(agents if isinstance(agents, list) else [])]
    for each in tables:
        cli = each.get("cli") if isinstance(each, dict) else None
        if isinstance(cli, str):
            yield cli


def blueprint(project: Project, missing: Collection[str]) -> Iterator[Finding]:
    """`missing`: CLIs that are needed and not there, which is said of them already."""
    if project.file is None:
        return
    if not project.problem:
        trusted = "" if project.trusted else "; not trusted yet: `crew up` shows it and asks"
        yield ok("blueprint", f"{project.file} names {', '.join(sorted(project.needs))}{trusted}")
    elif not missing:
        yield bad("blueprint", project.problem, f"correct it: {project.file}")


def names(project: Project, wanted: Sequence[str]) -> list[str]:
    """The CLIs to look at: those that are `wanted`, else all that have a definition."""
    if wanted:
        return list(dict.fromkeys(wanted))
    places = definitions.layers("agents", _layer(project))
    files = (file.stem for place in places for file in place.glob("*.toml"))
    return sorted({*(name for name in files if NAME.fullmatch(name)), *project.needs})


def _layer(project: Project) -> Path | None:
    return project.directory / ".crew" / "agents" if project.file else None


def require(name: str, project: Project) -> None:
    """Raise UserError if there is no definition of the agent CLI `name`."""
    check_name(name, "agent CLI")
    definitions.find_definition(name, project.directory if project.file else None)


def find(
    name: str, project: Project, environ: Mapping[str, str], *, needed: bool
) -> Found | Finding:
    """The CLI, or why it cannot be had: bad if it is `needed`."""
    try:
        file = definitions.find_definition(name, project.directory if project.file else None)
        spec = definitions.read_definition(name, file)
    except CrewError as error:
        level = bad if needed else warn
        return level(name, str(error), "correct its definition, or what names it")
    known = {
        "python": sys.executable,
        "package": str(PACKAGE),
        "shell": login_shell(environ),
        "root": str(project.directory),
    }
    command = tuple(fill(word, known) for word in spec.launch.command)
    program = _program(command[0], project.directory, environ)
    if program is None:
        if not needed:
            return note(name, f"{command[0]} is not installed, and nothing here needs it")
        text = f"{command[0]} is not installed, and it is needed here"
        return bad(name, text, f"install it, or put its directory on PATH ({file} names it)")
    runs = definitions.layer_of(file) != "project" or project.trusted
    return Found(spec, (program, *command[1:]), runs)


def _program(command: str, root: Path, environ: Mapping[str, str]) -> str | None:
    if "/" not in command:
        return shutil.which(command, path=environ.get("PATH", os.defpath))
    path = root / command
    return str(path) if path.is_file() and os.access(path, os.X_OK) else None


def version(found: Found, environ: Mapping[str, str]) -> Finding:
    """What an installed CLI says of its version."""
    name, program = found.spec.name, found.argv[0]
    if not found.runs:
        return note(name, f"{program}; not started: its definition is the project's, not trusted")
    if not found.spec.launch.version:
        return ok(name, shlex.join(found.argv))
    argv = [*found.argv, *found.spec.launch.version]
    remedy = f"see what `{shlex.join(argv)}` says, and install it anew"
    try:
        done = subprocess.run(
            argv,
            env={key: item for key, item in environ.items() if key not in DENIED},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_TIMEOUT,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        text = f"{program} does not say its version within {VERSION_TIMEOUT:g} s"
        return warn(name, text, remedy)
    except OSError as error:
        return bad(name, f"{program} cannot be run: {error.strerror}", remedy)
    said = clip(done.stdout.decode(errors="replace").strip().partition("\n")[0], _VERSION_WIDTH)
    if done.returncode != 0:
        text = f"{program} does not say its version (exit status {done.returncode}): {said}"
        return bad(name, text, remedy)
    _, guess = for_version(found.spec.screen, said)
    return note(name, f"{said}, {program}; {guess}") if guess else ok(name, f"{said}, {program}")
