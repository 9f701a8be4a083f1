"""From a `Spawn` effect to what the launcher reads: argv, environment, directory, settings file.

Values of the person's environment are never written: they are in a memory file of the supervisor
that the launcher opens through /proc. What is on disk is the blueprint's own, and `CREW_*`.
"""

import json
import os
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from orchestrator import failpoints, settings
from orchestrator.core.dialects import Dialect, is_conversation
from orchestrator.core.effects import Spawn
from orchestrator.core.launch import (
    IDENTITY,
    Values,
    build_argv,
    build_environment,
    fill,
    root_slug,
)
from orchestrator.core.spec import AgentSpec, CliSpec
from orchestrator.core.state import Agent
from orchestrator.errors import UserError
from orchestrator.locations import PACKAGE, SessionPaths, login_shell

# What belongs to the terminal or the agent that `crew up` was typed in, and not to the person.
DENIED = (
    "TMUX",
    "TMUX_PANE",
    "STY",
    "COLUMNS",
    "LINES",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "_",
    *IDENTITY,
)


class Environment:
    """The person's environment, held in a memory file that only processes of this user open."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values = dict(environ)
        self._fd = os.memfd_create("crew-environment", os.MFD_CLOEXEC)
        os.fchmod(self._fd, 0o600)
        block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ.items())
        with os.fdopen(os.dup(self._fd), "wb") as file:
            file.write(block)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        os.close(self._fd)


def values(
    spec: AgentSpec,
    cli: CliSpec,
    paths: SessionPaths,
    root: str,
    environ: Mapping[str, str],
    conversation: str,
) -> dict[str, str | None]:
    """What the placeholders of a definition stand for."""
    found: dict[str, str | None] = {
        "name": spec.name,
        "conversation": conversation,
        "role_prompt": spec.role_prompt or None,
        "model": spec.model,
        "mode": spec.mode or cli.mode,
        "settings": str(paths.settings / f"{spec.name}.json") if settings.needs_file(cli) else None,
        "mcp": str(paths.settings / f"{spec.name}.mcp.json") if spec.mcp_servers else None,
        "python": sys.executable,
        "package": str(PACKAGE),
        "state": str(paths.root),
        "root": root,
        "shell": login_shell(environ),
    }
    found["config"] = _config(cli, {**environ, **spec.env}, found)
    return found


def _config(
    cli: CliSpec, environ: Mapping[str, str], known: Mapping[str, str | None]
) -> str | None:
    """The directory where the CLI keeps its own files."""
    if cli.config_env and environ.get(cli.config_env):
        # As the CLI itself takes it: from where it runs.
        return os.path.join(known["root"] or "/", environ[cli.config_env])  # noqa: PTH118 - a string
    if cli.config_dir is None:
        return None
    directory = _fill(cli.config_dir, known)
    if directory.startswith("~/"):
        return environ.get("HOME", str(Path.home())) + directory[1:]
    return directory


def _fill(text: str, known: Values) -> str:
    root = known.get("root")
    return fill(text, {**known, "root_slug": root_slug(root) if root else None})


def status_path(cli: CliSpec, known: Mapping[str, str | None], pid: int) -> Path | None:
    if cli.status_file is None:
        return None
    return Path(_fill(cli.status_file.path, {**known, "pid": str(pid)}))


def transcript_path(cli: CliSpec, known: Mapping[str, str | None], agent: Agent) -> Path | None:
    """Where the conversation's transcript is: as the CLI said, else as its definition says."""
    if agent.transcript:
        return Path(agent.transcript)
    if cli.transcript is None:
        return None
    return Path(_fill(cli.transcript.path, known))


def prepare(
    effect: Spawn,
    paths: SessionPaths,
    session: str,
    root: str,
    environment: Environment,
) -> tuple[Path, bool, str | None]:
    """Write the launch order; returns its file, whether it resumes, and the transcript's path.

    It waits for the disk. A team's agents are launched at once, so it is called in one thread for
    all of it: a loop that is busy takes its time to go on after each file.
    """
    cli, spec = effect.cli, effect.spec
    known = values(spec, cli, paths, root, environment.values, effect.conversation)
    transcript = effect.transcript
    if transcript is None and cli.transcript is not None:
        transcript = _fill(cli.transcript.path, known)
    # Only a conversation that is seen to exist can be resumed.
    resume = effect.resume and transcript is not None and _can_resume(cli, Path(transcript))
    if not resume and transcript is not None and cli.transcript and Path(transcript).is_file():
        # The CLI would refuse the old id: the file, which stays as it is, has it.
        known = values(spec, cli, paths, root, environment.values, str(uuid.uuid4()))
        transcript = _fill(cli.transcript.path, known)
    _write_settings(spec, cli, paths, root, known)
    ours = replace(spec, arguments=settings.without(cli, spec.arguments))
    order = launch_order(
        argv=build_argv(cli, ours, values=known, resume=resume),
        cwd=root,
        environ={
            **build_environment(cli, spec, values=known),
            "CREW_SESSION": session,
            "CREW_AGENT": spec.name,
            "CREW_RUN": str(effect.run),
            "CREW_SPOOL": str(paths.spool),
        },
        inherit=environment.path,
        deny=DENIED,
        path=str(paths.bin),
    )
    for old in paths.launch.glob(f"{spec.name}.[0-9]*.order"):
        old.unlink(missing_ok=True)  # of a launch that came to nothing
    file = paths.launch / f"{spec.name}.{effect.run}.order"
    _write(file, order)
    return file, resume, transcript


def launch_order(
    *,
    argv: Sequence[str],
    cwd: str,
    environ: Mapping[str, str] = MappingProxyType({}),
    inherit: str = "",
    deny: Iterable[str] = (),
    path: str = "",
) -> str:
    """What the launcher reads; see there. Raises UserError where something holds a NUL, which would
    begin a record of its own; blueprints with one are refused long before."""
    records = [
        *(f"arg {text}" for text in argv),
        f"cwd {cwd}",
        *(f"env {name}={text}" for name, text in environ.items()),
        f"inherit {inherit}",
        *(f"deny {name}" for name in deny),
        f"path {path}",
        "end",
    ]
    if any("\0" in record for record in records):
        raise UserError("what is to be launched holds a NUL character")
    return "".join(f"{record}\0" for record in records)


def _can_resume(cli: CliSpec, transcript: Path) -> bool:
    """Whether there is something to go on with: a power cut may leave an empty file, a process
    that is killed at its first prompt one without the prompt."""
    if not transcript.is_file() or cli.hooks is None:
        return transcript.is_file()
    return _has_conversation(cli.hooks.dialect, transcript)


def _has_conversation(dialect: Dialect, transcript: Path) -> bool:
    try:
        with transcript.open("rb") as file:
            return any(is_conversation(dialect, line) for line in file)
    except OSError:
        return False


def _write_settings(
    spec: AgentSpec, cli: CliSpec, paths: SessionPaths, root: str, known: Values
) -> None:
    """Write what the CLI is given beside its arguments: settings, MCP servers."""
    if known["settings"] is not None:
        line = paths.settings / f"{spec.name}.status-line"
        own = settings.own_status_line(cli, spec, root, known.get("config"))
        _write(line, own or "")
        whole = settings.build(cli, spec, root, line)
        _write(Path(known["settings"]), json.dumps(whole, indent=1))
    if known["mcp"] is not None:
        servers = {"mcpServers": dict(spec.mcp_servers)}
        _write(Path(known["mcp"]), json.dumps(servers, indent=1))


def _write(file: Path, text: str) -> None:
    """Write a private file whole: a reader sees the old one or the new one."""
    half = file.with_name(f".{file.name}.half")
    failpoints.hit(failpoints.FILE)
    with open(half, "w", encoding="utf-8", errors="surrogateescape", opener=private) as out:
        out.write(text)
    failpoints.hit(failpoints.FILE)
    half.replace(file)


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
