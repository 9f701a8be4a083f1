"""How an agent's command line and environment are put together from its definition. Pure.

A placeholder is a name in braces, `{conversation}`. Anything else in braces stays as it is, so
JSON can be an argument. Values are put in once: braces inside a value are not looked at again.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.core.spec import AgentSpec, CliSpec

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

KNOWN = frozenset(
    {
        "conversation",
        "role_prompt",
        "model",
        "mode",
        "settings",
        "mcp",
        "python",
        "package",
        "state",
        "root",
        "root_slug",
        "name",
        "config",
        "shell",
    }
)
# The process must be there before its status file can be named.
KNOWN_OF_STATUS_FILE = KNOWN | {"pid"}
# Known before the agent: what names the CLI's own directory cannot be inside that directory.
KNOWN_OF_CONFIG_DIR = KNOWN - {"config"}
# What says to a process whose it is: another CLI that is started there is somebody else.
IDENTITY = (
    "CREW_AGENT",
    "CREW_RUN",
    "CREW_SESSION",
    "CREW_SPOOL",
    "CREW_FAILPOINT",
    "CLAUDECODE",
    "CLAUDE_PID",
    "CLAUDE_PROJECT_DIR",
    "CLAUDE_EFFORT",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    "CLAUDE_CODE_CHILD_SESSION",
)

Values = Mapping[str, str | None]


def placeholders(text: str) -> list[str]:
    """The names in braces in `text`, in order."""
    return _PLACEHOLDER.findall(text)


def fill(text: str, values: Values) -> str:
    """`text` with each placeholder's value; one that has no value becomes nothing."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1]) or "", text)


def root_slug(root: str) -> str:
    """`root` with every character but ASCII letters and digits as '-'."""
    return re.sub(r"[^A-Za-z0-9]", "-", root)


def build_argv(cli: "CliSpec", agent: "AgentSpec", *, values: Values, resume: bool) -> list[str]:
    """The command line of `agent`.

    A part with a placeholder that has no value is left out whole. What a blueprint gives
    (`name`, `role_prompt`, `model`, `mode`) is taken from `agent` unless `values` has the key.
    The agent's own arguments come last, as they stand. `resume` takes the part that resumes; a
    CLI without one starts fresh.
    """
    known = _with_agent(cli, agent, values)
    launch = cli.launch
    lacking = _lacking(launch.command, known)
    if lacking:
        raise UserError(
            f"agent {agent.name}: the command of the agent CLI {cli.name!r} "
            f"needs {{{lacking[0]}}}, which has no value here"
        )
    begin = launch.resume if resume and launch.resume else launch.fresh
    parts = (
        launch.command,
        begin,
        launch.role,
        launch.model,
        launch.mode,
        launch.settings,
        launch.mcp,
    )
    filled = (_fill_part(part, known) for part in parts)
    return [argument for part in filled for argument in part] + list(agent.arguments)


def build_environment(cli: "CliSpec", agent: "AgentSpec", *, values: Values) -> dict[str, str]:
    """What is added to an agent's environment: its definition's, and over it its own.

    A variable of the definition with a placeholder that has no value is left out.
    """
    known = _with_agent(cli, agent, values)
    of_cli = {
        name: fill(text, known)
        for name, text in cli.launch.env.items()
        if not _lacking((text,), known)
    }
    return {**of_cli, **agent.env}


def taken(cli: "CliSpec") -> frozenset[str]:
    """The placeholders that the launch of `cli` uses: what else is given to it has no effect."""
    launch = cli.launch
    texts = (
        *launch.command,
        *launch.fresh,
        *launch.resume,
        *launch.role,
        *launch.model,
        *launch.mode,
        *launch.settings,
        *launch.mcp,
        *launch.env.values(),
    )
    return frozenset(name for text in texts for name in placeholders(text))


def templates(cli: "CliSpec") -> Iterator[tuple[tuple[str | int, ...], str, frozenset[str]]]:
    """Each text of a definition that is filled: where it is, itself, the names it may use."""
    launch = cli.launch
    for key in ("command", "fresh", "resume", "role", "model", "mode", "settings", "mcp"):
        for index, text in enumerate(getattr(launch, key)):
            yield ("launch", key, index), text, KNOWN
    for variable, text in launch.env.items():
        yield ("launch", "env", variable), text, KNOWN
    if cli.config_dir is not None:
        yield ("config_dir",), cli.config_dir, KNOWN_OF_CONFIG_DIR
    if cli.status_file is not None:
        yield ("status_file", "path"), cli.status_file.path, KNOWN_OF_STATUS_FILE
    if cli.transcript is not None:
        yield ("transcript", "path"), cli.transcript.path, KNOWN


def _with_agent(cli: "CliSpec", agent: "AgentSpec", values: Values) -> Values:
    known: dict[str, str | None] = {
        "name": agent.name,
        "role_prompt": agent.role_prompt,
        "model": agent.model,
        "mode": agent.mode or cli.mode,
    }
    if root := values.get("root"):
        known["root_slug"] = root_slug(root)
    return {**known, **values}


def _lacking(part: tuple[str, ...], values: Values) -> list[str]:
    """The placeholders of `part` that have no value."""
    return [name for text in part for name in placeholders(text) if not values.get(name)]


def _fill_part(part: tuple[str, ...], values: Values) -> list[str]:
    return [] if _lacking(part, values) else [fill(text, values) for text in part]
