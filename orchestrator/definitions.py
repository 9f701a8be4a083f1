"""The layers of files, and in them the definitions of agent CLIs and the role prompts.

Layers, nearest first: the project's `.crew/` (only for a project's own blueprint), the user's,
the shipped ones. A directory without a word is skipped; one that cannot be read is an error.
"""

import datetime
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from orchestrator import locations
from orchestrator.core import launch, versions
from orchestrator.core.asks import AskSpec
from orchestrator.core.spec import CliSpec, PricesSpec, ScreenOverride, ScreenSpec
from orchestrator.errors import SpecError, UserError
from orchestrator.tables import (
    TEXT_MAX,
    Location,
    Problem,
    checked,
    did_you_mean,
    raise_problems,
    read_text,
    read_toml,
    shown,
    unreadable,
)

Layer = Literal["shipped", "user", "project"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_NAME = re.compile(r"[!-~]+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9})+", re.ASCII)
# The rows of a screen that may be others in some versions, and the groups that each must have.
_ROWS: Mapping[str, tuple[str, ...]] = {
    "composer": ("draft",),
    "interruptible": (),
    "option": ("key", "label"),
}


# -- where things are ----------------------------------------------------------------------------


def layer_of(path: Path) -> Layer:
    """Whose file this is. A link counts as the layer that it stands in, whatever it points to."""
    parent = real_path(path.parent)
    roots: tuple[tuple[Layer, Path], ...] = (
        ("shipped", locations.builtin()),
        ("user", locations.config_root()),
    )
    for layer, root in roots:
        if any(parent.is_relative_to(real_path(root / kind)) for kind in ("agents", "sessions")):
            return layer
    return "project"


def real_path(directory: Path) -> Path:
    """Without links. Unlike `Path.resolve`, it takes links in a circle as they are."""
    return Path(os.path.realpath(directory))


def layers(below: str, in_project: Path | None) -> list[Path]:
    """The directory `below` each layer, nearest first; `in_project` is the project's, if any."""
    nearest = [in_project] if in_project else []
    return [*nearest, locations.config_root() / below, locations.builtin() / below]


def _definition_directories(project: Path | None) -> list[Path]:
    return layers("agents", project and project / ".crew" / "agents")


def role_directories(project: Path | None) -> list[Path]:
    """Where role prompts are looked for, nearest first."""
    return layers("agents/roles", project and project / ".crew" / "roles")


def present(path: Path) -> bool:
    """Whether something stands there. A broken link does: it must not let the next layer in."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def find_file(file_name: str, directories: Iterable[Path]) -> Path | None:
    """The file in the nearest directory that has one."""
    return next((d / file_name for d in directories if present(d / file_name)), None)


def not_found(what: str, name: str, suffix: str, directories: Sequence[Path]) -> str:
    """The sentence for a name that no directory has a file of."""
    known = {file.stem for d in directories for file in d.glob(f"*{suffix}")}
    places = " and ".join(shown(str(d)) for d in directories)
    hint = did_you_mean(name, known)
    return f"there is no {what} {name!r}{hint}: looked for {shown(name)}{suffix} in {places}"


# -- definitions ---------------------------------------------------------------------------------


def load_definition(name: str, project: Path | None) -> CliSpec:
    """The agent CLI `name`; `project`: the directory of the project's own blueprint, if any."""
    locations.check_name(name, "agent CLI")
    return read_definition(name, find_definition(name, project))


def find_definition(name: str, project: Path | None) -> Path:
    """The nearest definition of the agent CLI `name`. Raises UserError if there is none."""
    directories = _definition_directories(project)
    found = find_file(f"{name}.toml", directories)
    if found is None:
        raise UserError(not_found("agent CLI", name, ".toml", directories))
    return found


def read_definition(name: str, file: Path) -> CliSpec:
    """The agent CLI `name`, as `file` defines it. Raises SpecError."""
    cli = checked(CliSpec, {"name": name, **read_toml(file)}, file)
    raise_problems(file, _wrong_in_definition(cli, name))
    return cli


def _wrong_in_definition(cli: CliSpec, name: str) -> Iterator[Problem]:
    if cli.name != name:
        yield ("name",), f"is {cli.name!r} in a file called {name}.toml: make them the same"
    if not cli.launch.command or not cli.launch.command[0]:
        yield ("launch", "command"), "is empty: its first word is the program to run"
    asked = _ask_templates(cli.ask) if cli.ask is not None else ()
    for at, text, known in (*launch.templates(cli), *asked):
        for used in launch.placeholders(text):
            if used not in known:
                listed = ", ".join(f"{{{each}}}" for each in sorted(known))
                what = did_you_mean(used, known) or f": known here are {listed}"
                yield at, f"there is no placeholder {{{used}}}{what}"
            elif used == "config" and cli.config_dir is None:
                yield ("config_dir",), "is missing: {config} is used and stands for it: add it"
    for at, pattern, groups in _patterns(cli):
        problem = _wrong_pattern(pattern, groups)
        if problem:
            yield at, problem
    if cli.screen.lines < 1:
        yield ("screen", "lines"), "should be 1 or more"
    yield from _wrong_versions(cli.screen)
    for kind in ("submit", "interrupt", "clear"):
        for index, key in enumerate(getattr(cli.keys, kind)):
            if not _KEY_NAME.fullmatch(key):
                yield ("keys", kind, index), 'is not the name of a key, such as "Enter" or "C-c"'
    if cli.config_env is not None and not _VARIABLE.fullmatch(cli.config_env):
        yield ("config_env",), f"{cli.config_env!r} cannot be the name of a variable"
    if cli.prices is not None:
        yield from _wrong_prices(cli.prices)
    if cli.ask is not None:
        yield from _wrong_in_ask(cli.ask)
    yield from wrong_variables(cli.launch.env, ("launch", "env"))


def _wrong_versions(screen: ScreenSpec) -> Iterator[Problem]:
    """What is wrong with the versions that a screen, and parts of it, are meant for."""
    for index, version in enumerate(screen.versions):
        yield from _wrong_version(version, ("screen", "versions", index))
    parts: tuple[tuple[str, Sequence[versions.Ranged]], ...] = (
        ("patterns", screen.patterns),
        ("overrides", screen.overrides),
    )
    for kind, ranged in parts:
        for index, each in enumerate(ranged):
            yield from _wrong_range(each, screen.versions, ("screen", kind, index))
    for index, override in enumerate(screen.overrides):
        if all(getattr(override, row) is None for row in _ROWS):
            what = f"overrides nothing: add one of {', '.join(_ROWS)}, or remove it"
            yield ("screen", "overrides", index), what


def _wrong_version(version: str, at: Location) -> Iterator[Problem]:
    if not _VERSION.fullmatch(version):
        yield at, f"{version!r} is not a version: write its numbers alone, as in 2.1.329"


def _wrong_range(each: versions.Ranged, known: Sequence[str], at: Location) -> Iterator[Problem]:
    ends = [(key, end) for key in ("since", "until") if (end := getattr(each, key)) is not None]
    wrong = [one for key, end in ends for one in _wrong_version(end, (*at, key))]
    yield from wrong
    if wrong or not ends:
        return
    if each.since is not None and not versions.holds_for(each, each.since):
        yield at, f"holds for no version: {each.since} is newer than {each.until}"
    elif not known:
        yield at, "is for some versions only: add screen.versions, those that all this is meant for"
    elif not any(versions.holds_for(each, version) for version in known):
        yield at, f"holds for none of screen.versions, {shown(', '.join(known))}"


def _wrong_prices(prices: PricesSpec) -> Iterator[Problem]:
    if not _DATE.fullmatch(prices.dated) or not _is_date(prices.dated):
        yield ("prices", "dated"), f"{prices.dated!r} is not a date: write it as 2026-11-30"
    for model, price in prices.models.items():
        for kind in ("input", "output", "cache_write", "cache_read"):
            if not 0 <= getattr(price, kind) < math.inf:
                what = "is no price: it should be 0 or more, USD per million tokens"
                yield ("prices", "models", model, kind), what


def _ask_templates(ask: AskSpec) -> Iterator[tuple[Location, str, frozenset[str]]]:
    """Each argument of `[ask]`: where it is, itself, the placeholders that it may use."""
    known = {"command": {"python", "package"}, "model": {"model"}, "system": {"system"}}
    known["files"] = {"config"}
    for key, names in known.items():
        for index, text in enumerate(getattr(ask, key)):
            yield ("ask", key, index), text, frozenset(names)


def _wrong_in_ask(ask: AskSpec) -> Iterator[Problem]:
    if not ask.command or not ask.command[0]:
        yield ("ask", "command"), "is empty: its first word is the program to run"
    for key, part in (("model", ask.model), ("system", ask.system)):
        if part and all(f"{{{key}}}" not in text for text in part):
            yield ("ask", key), f"has no placeholder {{{key}}}: add it"
    if not 0 < ask.ttl < math.inf:
        yield ("ask", "ttl"), "should be more than 0 seconds"
    yield from wrong_variables(ask.env, ("ask", "env"))
    for index, variable in enumerate(ask.variables):
        if not _VARIABLE.fullmatch(variable):
            yield ("ask", "variables", index), f"{variable!r} cannot be the name of a variable"


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _patterns(cli: CliSpec) -> Iterator[tuple[Location, str, tuple[str, ...]]]:
    """Each regular expression, and the groups that it must have."""
    for index, pattern in enumerate(cli.screen.patterns):
        yield ("screen", "patterns", index, "match"), pattern.match, ()
    rows: list[tuple[Location, ScreenSpec | ScreenOverride]] = [(("screen",), cli.screen)]
    rows += [(("screen", "overrides", n), each) for n, each in enumerate(cli.screen.overrides)]
    for at, holder in rows:
        for row, groups in _ROWS.items():
            if (regex := getattr(holder, row)) is not None:
                yield (*at, row), regex, groups
    for word, answer in cli.keys.answers.items():
        yield ("keys", "answers", word), answer, ()


def _wrong_pattern(pattern: str, groups: tuple[str, ...]) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            named = re.compile(pattern).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {shown(str(error))}"
    lacking = [group for group in groups if group not in named]
    return f"has no group (?P<{lacking[0]}>...): add it" if lacking else None


def wrong_variables(env: Mapping[str, str], at: Location) -> Iterator[Problem]:
    """The names in `env` that no variable of an environment should have."""
    for variable in env:
        if not _VARIABLE.fullmatch(variable):
            yield (*at, variable), "cannot be the name of a variable: use letters, digits and '_'"


# -- roles ---------------------------------------------------------------------------------------


def read_role(path: Path) -> str:
    """A role prompt: text that can be one argument of a program. Raises SpecError."""
    text = read_text(path)
    if "\0" in text:
        raise SpecError(shown(str(path)), None, "holds a NUL character: remove it")
    if len(text.encode()) > TEXT_MAX:
        problem = f"is longer than {TEXT_MAX} bytes, more than a program can be given: shorten it"
        raise SpecError(shown(str(path)), None, problem)
    return text
