"""Blueprints: found, read, checked, and put together with what they name.

What comes out (`TeamSpec`) is whole: nobody reads these files again.
"""

import dataclasses
import graphlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import definitions, locations, settings
from orchestrator.core.spec import (
    AgentSpec,
    CliSpec,
    Layout,
    TeamSpec,
    WarmSpec,
)
from orchestrator.core.values import value
from orchestrator.entries import (
    Entry,
    agent_of,
    check_program,
    from_home,
    own_settings,
    with_directories,
    with_role,
    wrong_in_entry,
)
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


@value
class _Ask:
    """What is asked of CLIs beside the agents: each a text or a table."""

    warm: tuple[Any, ...] = ()


@value
class _Blueprint:
    """The top level of a blueprint file."""

    name: str
    root: str = "."
    layout: Layout = "windows"
    defaults: Mapping[str, Any]
    agents: tuple[Mapping[str, Any], ...]
    ask: _Ask = _Ask()


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
        raise SpecError(shown(str(path)), None, "there is no such file: `crew init` writes one")
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
        raise_problems(file, wrong_in_entry(entry, cli), ("agents", entry.name))
        check_program(entry, cli, file, root, environ)
        whole = with_role(entry, cli, file, project, files)
        whole = with_directories(whole, file, root, environ)
        own = own_settings(whole, cli, file, root)
        files += [named for named, _ in own if named is not None]
        given |= {entry.name: [found for _, found in own]} if own else {}
        agents += [agent_of(whole, name) for name in _names(entry)]
    agents = _linked(agents, entries, file)
    warm = _warm(blueprint.ask.warm, file)
    return TeamSpec(
        name=session or blueprint.name,
        root=root,
        blueprint=as_text(file, file),
        digest=_digest(root, agents, clis, given, warm),
        layout=blueprint.layout,
        agents=tuple(agents),
        clis=clis,
        files=tuple(as_text(each, file) for each in dict.fromkeys(files)),
        warm=warm,
    )


def _root(given: str, file: Path, base: Path, environ: Mapping[str, str]) -> str:
    path = base / from_home(given, environ)
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


def _entries(table: Mapping[str, Any], file: Path) -> list[Entry]:
    """Every `[[agents]]` table with the defaults filled in, types and names checked."""
    defaults: Mapping[str, Any] = table.get("defaults", {})
    if "name" in defaults:
        problem = "each agent has a name of its own: move it there"
        raise SpecError(shown(str(file)), "defaults.name", problem)
    # By themselves first, so that what is wrong in them is not put down to an agent.
    checked(Entry, {"name": "-", "cli": "-", **defaults}, file, ("defaults",))
    entries = []
    for index, own in enumerate(table["agents"]):
        name = own.get("name")
        named = isinstance(name, str) and locations.NAME.fullmatch(name) is not None
        at: Location = ("agents", name if named else index)
        entry = checked(Entry, _merged(defaults, own), file, at)
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


def _names(entry: Entry) -> list[str]:
    """A count, even of one, numbers the names: one more leaves the others what they were."""
    if entry.count is None:
        return [entry.name]
    return [f"{entry.name}-{number}" for number in range(1, entry.count + 1)]


def _wrong_names(entries: Sequence[Entry]) -> Iterator[Problem]:
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
    entries: Sequence[Entry], file: Path, project: Path | None, files: list[Path]
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


def _warm(items: Sequence[Any], file: Path) -> tuple[WarmSpec, ...]:
    """The questions that are answered ahead, each once."""
    found: dict[WarmSpec, None] = {}
    for index, item in enumerate(items):
        at: Location = ("ask", "warm", index)
        if not isinstance(item, str | dict):
            raise_problems(file, [(at, "should be the prompt as text, or a table")])
        warm = checked(WarmSpec, {"prompt": item} if isinstance(item, str) else item, file, at)
        raise_problems(file, _wrong_in_warm(warm, file, at), at)
        found[warm] = None
    return tuple(found)


def _wrong_in_warm(warm: WarmSpec, file: Path, at: Location) -> Iterator[Problem]:
    if not warm.prompt.strip():
        yield ("prompt",), "is empty: say what is to be asked"
    for index, name in enumerate(warm.input):
        if not name:
            yield ("input", index), "is empty: name a file"
    check_name(warm.cli, file, (*at, "cli"), "agent CLI")
    try:
        # As `crew ask` finds it: a project's own definition is not looked at.
        path = definitions.find_definition(warm.cli, None)
    except SpecError:
        raise
    except UserError as error:
        yield ("cli",), str(error)
        return
    ask = definitions.read_definition(warm.cli, path).ask
    if ask is None:
        yield ("cli",), f"{warm.cli!r} cannot be asked: {shown(str(path))} has no [ask] table"
        return
    for key, given, part in (("model", warm.model, ask.model), ("system", warm.system, ask.system)):
        if given and not part:
            yield (key,), f"the agent CLI {warm.cli!r} takes no {key} when it is asked: remove it"


def _linked(agents: Sequence[AgentSpec], entries: Sequence[Entry], file: Path) -> list[AgentSpec]:
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
    warm: Sequence[WarmSpec],
) -> str:
    """sha-256 of all that decides what runs, and where; not of what the session is called."""
    deciding = {
        "root": root,
        "agents": [dataclasses.asdict(agent) for agent in agents],
        "clis": {name: dataclasses.asdict(cli) for name, cli in clis.items()},
        "settings": given,
        "warm": [dataclasses.asdict(each) for each in warm],
    }
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
