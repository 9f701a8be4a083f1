"""A project's own files run nothing before a person has trusted them, by their hash.

What a person has trusted is a file of digests (`TeamSpec.digest`): any change of what would run
is another digest, and asks again. The user's own and the shipped files need no trust. Nothing
here asks anybody anything.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import itertools
import json
import logging
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator import locations, settings
from orchestrator.core import launch
from orchestrator.core.spec import AgentSpec, CliSpec, TeamSpec, WarmSpec
from orchestrator.core.values import value
from orchestrator.definitions import Layer, layer_of
from orchestrator.errors import StorageError
from orchestrator.tables import shown

log = logging.getLogger(__name__)

# Characters of a prompt that are shown: enough to see what it is about.
PROMPT_SHOWN = 300


@value
class Planned:
    """What one agent, or several that differ in their names alone, would run.

    `command` and `resume` are argvs in which what is not known before the launch, and `{name}`,
    stand as placeholders. `environment` is what is set beside the person's own.
    """

    names: tuple[str, ...]
    cli: str
    command: tuple[str, ...]
    resume: tuple[str, ...]
    mode: str | None
    environment: tuple[tuple[str, str], ...]
    # What it may do and where, each a line for a person: "may unasked: Bash(ls:*)".
    powers: tuple[str, ...]
    role: str
    role_prompt: str
    prompt: str | None
    resume_prompt: str | None


@value
class Plan:
    """What a team would run, where, what it would ask ahead, and the files that say so, each with
    its layer."""

    blueprint: str
    root: str
    agents: tuple[Planned, ...]
    warm: tuple[WarmSpec, ...] = ()
    files: tuple[tuple[Layer, str], ...]

    def lines(self) -> Iterator[str]:
        """The plan for a person to read: no control characters, whatever the files hold."""
        yield from map(shown, self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.blueprint} would run, in {self.root}:"
        for agent in self.agents:
            yield f"  {_together(agent.names)} ({agent.cli}): {shlex.join(agent.command)}"
            if agent.resume != agent.command:
                yield f"    to resume: {shlex.join(agent.resume)}"
            if agent.mode:
                yield f"    mode: {agent.mode}"
            for power in agent.powers:
                yield f"    {power}"
            for name, setting in agent.environment:
                yield f"    environment: {name}={shlex.quote(setting)}"
            prompts: tuple[tuple[str, str | None], ...] = (
                ("role" if not agent.role else f"role {agent.role}", agent.role_prompt),
                ("first message", agent.prompt),
                ("message after a crash", agent.resume_prompt),
            )
            for what, text in prompts:
                if text:
                    yield f"    {what}: {_shortened(text)}"
        for each in self.warm:
            yield f"  asks {each.cli} ahead: {_shortened(each.prompt)}"
            if each.model:
                yield f"    model: {each.model}"
            if each.system:
                yield f"    system prompt: {_shortened(each.system)}"
            if each.input:
                yield f"    with the files: {', '.join(each.input)}"
            if each.context:
                yield f"    it runs in {self.root}, and may read what is there"
        yield "by these files:"
        for layer, file in self.files:
            link = f" -> {os.path.realpath(file)}" if Path(file).is_symlink() else ""
            yield f"  {layer:8} {file}{link}"


def _together(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)} agents)"


def _shortened(text: str) -> str:
    if len(text) <= PROMPT_SHOWN:
        return text
    return f"{text[:PROMPT_SHOWN]}… ({len(text)} characters)"


def would_run(team: TeamSpec, environ: Mapping[str, str]) -> Plan:
    """Everything that starting `team` in the environment `environ` would run."""
    agents = []
    planned = (_planned(agent, team, environ) for agent in team.agents)
    for _, group in itertools.groupby(planned, key=lambda one: dataclasses.replace(one, names=())):
        alike = list(group)
        names = tuple(name for one in alike for name in one.names)
        agents.append(dataclasses.replace(alike[0], names=names))
    return Plan(
        blueprint=team.blueprint,
        root=team.root,
        agents=tuple(agents),
        warm=team.warm,
        files=tuple((layer_of(Path(file)), file) for file in team.files),
    )


def _planned(agent: AgentSpec, team: TeamSpec, environ: Mapping[str, str]) -> Planned:
    cli = team.clis[agent.cli]
    values = _values(cli, agent, team.root, environ)
    fresh, again = (
        tuple(_located(launch.build_argv(cli, agent, values=values, resume=resume), agent, environ))
        for resume in (False, True)
    )
    return Planned(
        names=(agent.name,),
        cli=agent.cli,
        command=fresh,
        resume=again,
        mode=agent.mode or cli.mode,
        powers=tuple(_powers(agent)),
        environment=tuple(launch.build_environment(cli, agent, values=values).items()),
        role=agent.role,
        role_prompt=agent.role_prompt,
        prompt=agent.prompt,
        resume_prompt=agent.resume_prompt,
    )


def _powers(agent: AgentSpec) -> Iterator[str]:
    """What the blueprint gives an agent beyond its CLI's own settings, or takes from it."""
    rules = agent.permissions
    for what, listed in (
        ("may unasked", rules.allow),
        ("must ask for", rules.ask),
        ("may not", rules.deny),
        ("may also work in", agent.add_dirs),
    ):
        if listed:
            yield f"{what}: {', '.join(listed)}"
    for name, server in agent.mcp_servers.items():
        yield f"MCP server {name}: {json.dumps(server, ensure_ascii=False)}"
    if agent.trust_folder:
        yield "says yes to the question whether the folder is trusted"


def _values(
    cli: CliSpec, agent: AgentSpec, root: str, environ: Mapping[str, str]
) -> dict[str, str | None]:
    """Values for showing: a placeholder stands for itself where its value is long or not known."""
    itself: dict[str, str | None] = {name: f"{{{name}}}" for name in launch.KNOWN}
    return itself | {
        "root": root,
        "root_slug": launch.root_slug(root),
        "shell": locations.login_shell(environ),
        "role_prompt": "{role_prompt}" if agent.role_prompt else None,
        "model": agent.model,
        "mode": agent.mode or cli.mode,
        "settings": "{settings}" if settings.needs_file(cli) else None,
        "mcp": "{mcp}" if agent.mcp_servers else None,
    }


def _located(argv: list[str], agent: AgentSpec, environ: Mapping[str, str]) -> list[str]:
    """`argv` with the program's path, so that a person sees which of that name it would be."""
    search = agent.env.get("PATH", environ.get("PATH", os.defpath))
    found = None if "/" in argv[0] else shutil.which(argv[0], path=search)
    return [found or argv[0], *argv[1:]]


# -- what is trusted -----------------------------------------------------------------------------


@value
class _Trusted:
    """One entry of the trust file. `at`: ISO 8601, UTC."""

    blueprint: str
    at: str


_FILE = TypeAdapter(dict[str, _Trusted])


def needs_trust(team: TeamSpec) -> bool:
    """Whether any file that decides what runs is a project's own."""
    return any(layer_of(Path(file)) == "project" for file in team.files)


def is_trusted(team: TeamSpec) -> bool:
    """Whether `team` may run: it needs no trust, or a person has trusted exactly this."""
    return not needs_trust(team) or team.digest in _read()


def was_trusted(blueprint: str) -> bool:
    """Whether this file was trusted once, as it is now or as it was."""
    return any(entry.blueprint == blueprint for entry in _read().values())


def trust(team: TeamSpec) -> None:
    """Remember that a person has seen what `team` would run, and wants it."""
    file = locations.trust_file()
    locations.ensure_private(file.parent)
    try:
        with _alone(file):
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            entry = _Trusted(blueprint=team.blueprint, at=now)
            _write(file, _FILE.dump_json({**_read(), team.digest: entry}, indent=1))
    except OSError as error:
        raise StorageError(f"{file}: cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the lock: of two that trust at once, neither may write over the other's entry."""
    fd = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read() -> dict[str, _Trusted]:
    """What is trusted. A file that is not what it should be counts as empty and is set aside."""
    file = locations.trust_file()
    try:
        with file.open("rb") as opened:
            info = os.fstat(opened.fileno())
            content = opened.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from error
    if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o022:
        return _set_aside(file, "others than you could have written it")
    try:
        return _FILE.validate_json(content, strict=True)
    except ValidationError:
        return _set_aside(file, "it is damaged")


def _set_aside(file: Path, reason: str) -> dict[str, _Trusted]:
    aside = file.with_name(f"{file.name}.{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S%f}")
    try:
        file.rename(aside)
        log.warning("%s: %s: it is kept as %s, and nothing is trusted", file, reason, aside.name)
    except OSError as error:
        log.warning("%s: %s, and nothing is trusted: %s", file, reason, error.strerror)
    return {}


def _write(file: Path, content: bytes) -> None:
    """Replace `file` whole: after a power cut it is the old one or the new one. Mode 0600."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f"{file.name}.", delete=False) as half:
        try:
            half.write(content)
            half.flush()
            os.fsync(half.fileno())
            os.replace(half.name, file)  # noqa: PTH105 - a name, not a Path
        except BaseException:
            os.unlink(half.name)  # noqa: PTH108
            raise
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
