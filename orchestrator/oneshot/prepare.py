"""What is to be known of a CLI before it can be asked: its program, its version, its `[ask]` table.

To read a definition takes longer than a whole answer from the cache, and so does starting a CLI
for its version. Both are facts that the cache keeps, each by the identity of the file that it was
taken from, so most asks look at that file only. A project's own definitions are not looked at:
they could run commands that nobody has trusted.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.core.asks import AskSpec
from orchestrator.core.launch import fill
from orchestrator.core.values import value
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import PACKAGE, builtin, check_name, config_root
from orchestrator.sinks.cached import Cache

# Seconds. A CLI says its version in less than one.
VERSION_TIMEOUT: Final = 30.0
# The keys of an [ask] table that are lists.
LISTS: Final = ("command", "model", "system", "files", "variables")


@value
class Cli:
    """A CLI that can be asked. `program` is its file; `version` what it says of itself;
    `surroundings` what else its answers depend on, each with a digest."""

    name: str
    program: str
    version: str
    spec: AskSpec
    surroundings: tuple[tuple[str, str], ...]

    def arguments(self, model: str, system: str) -> tuple[str, ...]:
        """The command line of one question, as it is defined; what is empty leaves its part out."""
        words = [*self.spec.command]
        for part, text in ((self.spec.model, model), (self.spec.system, system)):
            if text:
                words += (fill(word, {"model": model, "system": system}) for word in part)
        return tuple(words)


def prepare(name: str, cache: Cache, environ: Mapping[str, str]) -> Cli:
    """The CLI of the definition `name`.

    Raises UserError if there is none, if it cannot be asked, or if its program is missing, and
    CrewError if that does not say its version.
    """
    check_name(name, "agent CLI")
    file = _definition(name)
    spec, version_words, config = _table(name, file, cache)
    known = {"python": sys.executable, "package": str(PACKAGE)}
    spec = dataclasses.replace(spec, command=tuple(fill(word, known) for word in spec.command))
    command = spec.command[0]
    program = shutil.which(command, path=environ.get("PATH", os.defpath))
    if program is None:
        raise UserError(
            f"{command} is not installed: install it, or put its directory on PATH "
            f"({file} names it)"
        )
    version = _version(program, version_words, cache, environ)
    return Cli(
        name=name,
        program=program,
        version=version,
        spec=spec,
        surroundings=tuple(_surroundings(spec, config, environ)),
    )


def identity(file: Path) -> str:
    """What changes when the contents of a file may have."""
    found = file.stat()
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return json.dumps([os.path.realpath(file), *numbers])


def _definition(name: str) -> Path:
    """The nearest definition; what is wrong with it is said by whoever reads it."""
    own = config_root() / "agents" / f"{name}.toml"
    shipped = builtin() / "agents" / f"{name}.toml"
    if not os.path.lexists(own) and shipped.is_file():
        return shipped
    from orchestrator.definitions import find_definition

    return find_definition(name, None)


# The variable that names the directory of the CLI's own files, and where it is without that.
Config = tuple[str | None, str | None]


def _table(name: str, file: Path, cache: Cache) -> tuple[AskSpec, tuple[str, ...], Config]:
    """The definition's `[ask]`, the words that make the CLI say its version, and its own files."""
    fact = f"definition {name}"
    known = cache.fact(fact, identity(file))
    if known is not None:
        ask, version, config_env, config_dir = json.loads(known)
        return _spec(ask), tuple(version), (config_env, config_dir)
    from orchestrator.definitions import read_definition

    cli = read_definition(name, file)
    if cli.ask is None:
        raise UserError(f"{name} cannot be asked: {file} has no [ask] table; name another CLI")
    kept = (dataclasses.asdict(cli.ask), cli.launch.version, cli.config_env, cli.config_dir)
    cache.learn(fact, identity(file), json.dumps(kept))
    return cli.ask, cli.launch.version, (cli.config_env, cli.config_dir)


def _surroundings(
    spec: AskSpec, config: Config, environ: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What an answer depends on besides the question: each by its name, with a digest."""
    variable, default = config
    directory = (variable and environ.get(variable)) or str(Path(default or "").expanduser())
    for each in spec.files:
        try:
            content = Path(fill(each, {"config": directory})).read_bytes()
        except OSError:
            continue
        yield f"file {each}", hashlib.sha256(content).hexdigest()
    for each in spec.variables:
        if each in environ:
            yield f"variable {each}", hashlib.sha256(os.fsencode(environ[each])).hexdigest()


def _spec(table: dict[str, Any]) -> AskSpec:
    """What `dataclasses.asdict` and JSON made a table of."""
    lists: dict[str, Any] = {part: tuple(table[part]) for part in LISTS}
    return AskSpec(**{**table, **lists})


def _version(program: str, words: tuple[str, ...], cache: Cache, environ: Mapping[str, str]) -> str:
    """What the CLI says of its version; where it says none, what its file is."""
    file = identity(Path(program))
    if not words:
        return file
    fact = f"version {program}"
    known = cache.fact(fact, file)
    if known is not None:
        return known
    import subprocess

    try:
        done = subprocess.run(
            [program, *words],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_TIMEOUT,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise CrewError(
            f"{program} does not say its version within {VERSION_TIMEOUT:g} s"
        ) from None
    except OSError as error:
        raise CrewError(f"{program} cannot be run: {error.strerror}") from error
    version = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0 or not version:
        raise CrewError(f"{program} does not say its version (exit status {done.returncode})")
    cache.learn(fact, file, version)
    return version
