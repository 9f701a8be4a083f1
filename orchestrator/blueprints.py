"""Blueprints: found, read, checked, and put together with what they name.

What comes out (`TeamSpec`) is whole: nobody reads these files again.
"""

import dataclasses
import graphlib
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from orchestrator import definitions, locations, settings
from orchestrator.core import launch
from orchestrator.core.spec import (
    AgentSpec,
    CliSpec,
    Layout,
    PermissionsSpec,
    RestartPolicy,
    TeamSpec,
)
from orchestrator.core.values import value
from orchestrator.errors import SpecError, UserError
from orchestrator.tables import (
    Location,
    Problem,
    as_text,
    check_name,
    checked,
    did_you_mean,
    dotted,
    raise_problems,
    read_toml,
    shown,
)

AGENTS_MAX = 1000
ROLE_LABEL_MAX = 64

_ROLE_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")


@value
class _Blueprint:
    """The top level of a blueprint file."""

    name: str
    root: str = "."
    layout: Layout = "windows"
    defaults: Mapping[str, Any]
    agents: tuple[Mapping[str, Any], ...]


@value
class _Entry(AgentSpec):
    """One `[[agents]]` table, its defaults filled in."""

    count: int | None = None


def find_blueprint(argument: str | None, cwd: Path) -> Path:
    """The file that `argument` names: a path, a directory with a `crew.toml`, or a name among
    the layers (which goes before a directory of that name).

    None: `crew.toml` of `cwd` if there is one, else the shipped demo.
    """
    if argument is None:
        own = cwd / "crew.toml"
        return own if definitions.present(own) else locations.builtin() / "sessions" / "demo.toml"
    path = cwd / argument
    if "/" in argument or argument.endswith(".toml"):
        return _at(path)
    directories = definitions.layers("sessions", None)
    found = None
    if locations.NAME.fullmatch(argument):
        found = definitions.find_file(f"{argument}.toml", directories)
    if found is not None:
        return found
    if path.is_dir():
        return _at(path)
    locations.check_name(argument, "blueprint")
    known = sorted({file.stem for each in directories for file in each.glob("*.toml")})
    sentence = definitions.not_found("blueprint", argument, ".toml", directories)
    raise UserError(f"{sentence}: there is {', '.join(map(shown, known)) or 'none'}")


def _at(path: Path) -> Path:
    """The blueprint at `path`: itself, or the `crew.toml` in it."""
    if path.is_dir():
        path = Path(os.path.normpath(path)) / "crew.toml"
    if not definitions.present(path):
        raise SpecError(shown(str(path)), None, "there is no such file")
    if path.is_dir():
        raise SpecError(shown(str(path)), None, "is a directory: name a file in it")
    return path


def load_team(
    path: Path, *, cwd: Path, environ: Mapping[str, str], session: str | None
) -> TeamSpec:
    """The team of the blueprint `path`, everything in it resolved and checked.

    `environ` is the environment that the agents will get: programs are looked for on its PATH.
    `session` replaces the blueprint's own name.
    """
    if session is not None:
        locations.check_name(session, "session")
    file = definitions.real_path((cwd / path).parent) / path.name
    table = read_toml(file)
    blueprint = checked(_Blueprint, table, file)
    check_name(blueprint.name, file, ("name",), "session")
    project = file.parent if definitions.layer_of(file) == "project" else None
    root = _root(blueprint.root, file, project or cwd, environ)
    entries = _entries(table, file)
    files = [file]
    clis = _clis(entries, file, project, files)
    agents: list[AgentSpec] = []
    given: dict[str, list[settings.Json]] = {}
    for entry in entries:
        cli = clis[entry.cli]
        raise_problems(file, _wrong_in_entry(entry, cli), ("agents", entry.name))
        _check_program(entry, cli, file, root, environ)
        whole = _with_role(entry, cli, file, project, files)
        whole = _with_directories(whole, file, root, environ)
        own = _own_settings(whole, cli, file, root)
        files += [named for named, _ in own if named is not None]
        given |= {entry.name: [found for _, found in own]} if own else {}
        agents += [_agent(whole, name) for name in _names(entry)]
    agents = _linked(agents, entries, file)
    return TeamSpec(
        name=session or blueprint.name,
        root=root,
        blueprint=as_text(file, file),
        digest=_digest(root, agents, clis, given),
        layout=blueprint.layout,
        agents=tuple(agents),
        clis=clis,
        files=tuple(as_text(each, file) for each in dict.fromkeys(files)),
    )


def _root(given: str, file: Path, base: Path, environ: Mapping[str, str]) -> str:
    path = base / _from_home(given, environ)
    try:
        path = path.resolve()
        is_directory = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = error.strerror if isinstance(error, OSError) else "links in a circle"
        problem = f"{shown(str(path))} cannot be used: {reason}: make it, or change root"
        raise SpecError(shown(str(file)), "root", problem) from None
    if not is_directory:
        problem = f"{shown(str(path))} is not a directory: change root"
        raise SpecError(shown(str(file)), "root", problem)
    return as_text(path, file)


def _from_home(given: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    return home + given[1:] if home and (given == "~" or given.startswith("~/")) else given


def _entries(table: Mapping[str, Any], file: Path) -> list[_Entry]:
    """Every `[[agents]]` table with the defaults filled in, types and names checked."""
    defaults: Mapping[str, Any] = table.get("defaults", {})
    if "name" in defaults:
        problem = "each agent has a name of its own: move it there"
        raise SpecError(shown(str(file)), "defaults.name", problem)
    # By themselves first, so that what is wrong in them is not put down to an agent.
    checked(_Entry, {"name": "-", "cli": "-", **defaults}, file, ("defaults",))
    entries = []
    for index, own in enumerate(table["agents"]):
        name = own.get("name")
        named = isinstance(name, str) and locations.NAME.fullmatch(name) is not None
        at: Location = ("agents", name if named else index)
        entry = checked(_Entry, _merged(defaults, own), file, at)
        check_name(entry.name, file, (*at, "name"), "agent")
        entries.append(entry)
    if not entries:
        raise SpecError(shown(str(file)), "agents", "is empty: a team has at least one agent")
    raise_problems(file, _wrong_names(entries))
    return entries


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` over `defaults`: `env` and `restart` key by key, `role` and `role_prompt` as one."""
    base = dict(defaults)
    if own.keys() & {"role", "role_prompt"}:
        base.pop("role", None)
        base.pop("role_prompt", None)
    for key, item in own.items():
        below = base.get(key)
        both = isinstance(item, dict) and isinstance(below, dict)
        base[key] = {**below, **item} if both and below else item
    return base


def _names(entry: _Entry) -> list[str]:
    """A count, even of one, numbers the names: one more leaves the others what they were."""
    if entry.count is None:
        return [entry.name]
    return [f"{entry.name}-{number}" for number in range(1, entry.count + 1)]


def _wrong_names(entries: Sequence[_Entry]) -> Iterator[Problem]:
    seen: set[str] = set()
    total = 0
    for entry in entries:
        at = ("agents", entry.name)
        if entry.count is not None and not 1 <= entry.count <= AGENTS_MAX:
            yield (*at, "count"), f"should be from 1 to {AGENTS_MAX}"
            continue
        names = _names(entry)
        total += len(names)
        if not locations.NAME.fullmatch(names[-1]):
            yield (*at, "name"), f"{names[-1]!r} would be longer than 32 characters: shorten it"
        for name in dict.fromkeys((entry.name, *names)):
            if name in seen:
                yield (*at, "name"), f"two agents would be called {name!r}: rename one"
        seen.update((entry.name, *names))
    if total > AGENTS_MAX:
        yield ("agents",), f"are {total} agents, more than {AGENTS_MAX}: lower a count"


def _clis(
    entries: Sequence[_Entry], file: Path, project: Path | None, files: list[Path]
) -> dict[str, CliSpec]:
    found: dict[str, CliSpec] = {}
    for entry in entries:
        if entry.cli in found:
            continue
        at: Location = ("agents", entry.name, "cli")
        check_name(entry.cli, file, at, "agent CLI")
        try:
            path = definitions.find_definition(entry.cli, project)
        except SpecError:
            raise
        except UserError as error:
            raise SpecError(shown(str(file)), dotted(at), str(error)) from None
        found[entry.cli] = definitions.read_definition(entry.cli, path)
        files.append(path)
    return found


def _wrong_in_entry(entry: _Entry, cli: CliSpec) -> Iterator[Problem]:
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


def _check_program(
    entry: _Entry, cli: CliSpec, file: Path, root: str, environ: Mapping[str, str]
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


def _with_role(
    entry: _Entry, cli: CliSpec, file: Path, project: Path | None, files: list[Path]
) -> _Entry:
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


def _with_directories(entry: _Entry, file: Path, root: str, environ: Mapping[str, str]) -> _Entry:
    """`entry` with `add_dirs` as absolute paths of directories that are there."""
    found = []
    for index, directory in enumerate(entry.add_dirs):
        path = Path(root) / _from_home(directory, environ)
        if not path.is_dir():
            at = dotted(("agents", entry.name, "add_dirs", index))
            problem = f"{shown(str(path))} is not a directory: make it, or remove it here"
            raise SpecError(shown(str(file)), at, problem)
        found.append(as_text(path.resolve(), file))
    return dataclasses.replace(entry, add_dirs=tuple(found))


def _own_settings(
    entry: _Entry, cli: CliSpec, file: Path, root: str
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


def _agent(entry: _Entry, name: str) -> AgentSpec:
    given = {field.name: getattr(entry, field.name) for field in dataclasses.fields(AgentSpec)}
    empty = {"model": entry.model or None, "mode": entry.mode or None}
    return AgentSpec(**{**given, **empty, "name": name})


def _linked(agents: Sequence[AgentSpec], entries: Sequence[_Entry], file: Path) -> list[AgentSpec]:
    """The agents with `depends_on` naming agents only: the name of a counted one means them all."""
    means = {agent.name: [agent.name] for agent in agents}
    means |= {entry.name: _names(entry) for entry in entries}
    linked = []
    for agent in agents:
        for name in agent.depends_on:
            if name not in means:
                problem = f"there is no agent {name!r}{did_you_mean(name, means)} in this team"
                raise SpecError(shown(str(file)), f"agents.{agent.name}.depends_on", problem)
        names = dict.fromkeys(each for name in agent.depends_on for each in means[name])
        linked.append(dataclasses.replace(agent, depends_on=tuple(names)))
    _check_circle(linked, file)
    return linked


def _check_circle(agents: Sequence[AgentSpec], file: Path) -> None:
    order = [agent.name for agent in agents]
    try:
        graphlib.TopologicalSorter({a.name: a.depends_on for a in agents}).prepare()
    except graphlib.CycleError as error:
        # Each name in it is one that the next depends on, the first again at the end.
        circle = list(reversed(error.args[1][1:]))
        first = min(range(len(circle)), key=lambda index: order.index(circle[index]))
        turned = [*circle[first:], *circle[: first + 1]]
        problem = f"goes in a circle: {' -> '.join(turned)}: remove one of them"
        raise SpecError(shown(str(file)), f"agents.{turned[0]}.depends_on", problem) from None


def _digest(
    root: str,
    agents: Sequence[AgentSpec],
    clis: Mapping[str, CliSpec],
    given: Mapping[str, Sequence[settings.Json]],
) -> str:
    """sha-256 of all that decides what runs, and where; not of what the session is called."""
    deciding = {
        "root": root,
        "agents": [dataclasses.asdict(agent) for agent in agents],
        "clis": {name: dataclasses.asdict(cli) for name, cli in clis.items()},
        "settings": given,
    }
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
