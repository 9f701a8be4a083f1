"""The one settings file that an agent's CLI is given at launch, and its list of MCP servers.

The CLI takes the last `--settings` only, so everything goes into one: its definition's settings,
the agent's own `--settings` over them, and what ours adds to both: hooks, permissions and the
status line. Nothing is written where the CLI keeps its own: those settings stay in force.
"""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.core.launch import taken
from orchestrator.core.spec import AgentSpec, CliSpec, HooksSpec
from orchestrator.errors import UserError
from orchestrator.locations import PACKAGE
from orchestrator.tables import FILE_MAX, shown

HOOK = PACKAGE / "hooks" / "crew-hook"
ASKING = PACKAGE / "hooks" / "asking.py"
STATUS_LINE = PACKAGE / "hooks" / "crew-status-line"
# Seconds that an agent waits for one of our hooks: it takes milliseconds. The one that may answer
# in the dialog's place waits as long as the dialog stands: a day is for ever.
HOOK_TIMEOUT = 5
ASKING_TIMEOUT = 86_400
# Where the CLI looks for a status line of the project, the one that wins first; and of the person.
PROJECT_SETTINGS = (".claude/settings.local.json", ".claude/settings.json")
USER_SETTINGS = "settings.json"

Json = Mapping[str, Any]


def build(cli: CliSpec, agent: AgentSpec, root: str, status_line: Path) -> dict[str, Any]:
    """The settings of `agent`. `status_line`: the file that holds the person's own status line.

    Raises UserError if a `--settings` of the agent's own cannot be read.
    """
    whole: Json = cli.settings
    for text in given(cli, agent.arguments):
        whole = merged(whole, read_given(text, agent.name, root))
    if cli.hooks is not None:
        whole = merged(whole, _ours(cli.hooks, agent, status_line))
    return dict(whole)


def _ours(hooks: HooksSpec, agent: AgentSpec, status_line: Path) -> dict[str, Any]:
    ours: dict[str, Any] = {"hooks": dict(_hooks(hooks))}
    if hooks.status_line:
        command = _shell(STATUS_LINE, status_line)
        ours["statusLine"] = {"type": "command", "command": command}
    rules = {
        "allow": agent.permissions.allow,
        "deny": agent.permissions.deny,
        "ask": agent.permissions.ask,
        "additionalDirectories": agent.add_dirs,
    }
    permissions = {kind: list(listed) for kind, listed in rules.items() if listed}
    return ours | ({"permissions": permissions} if permissions else {})


def _hooks(hooks: HooksSpec) -> Iterator[tuple[str, list[Json]]]:
    for event in hooks.events:
        command, timeout = _shell(HOOK, event), HOOK_TIMEOUT
        if event == "PermissionRequest" and hooks.answers:
            # Killing what the CLI has started ends it all: no shell stands between.
            command = f"exec {command} {_shell(sys.executable, '-S', '-I', ASKING)}"
            timeout = ASKING_TIMEOUT
        yield event, [{"hooks": [{"type": "command", "command": command, "timeout": timeout}]}]


def _shell(*words: str | Path) -> str:
    """The CLI runs hooks through a shell: each word is quoted for it."""
    return shlex.join(map(str, words))


def merged(below: Json, above: Json) -> dict[str, Any]:
    """`above` over `below`: tables key by key, lists joined, anything else replaced."""
    whole = dict(below)
    for key, item in above.items():
        under = whole.get(key)
        if isinstance(under, Mapping) and isinstance(item, Mapping):
            whole[key] = merged(under, item)
        elif isinstance(under, list) and isinstance(item, list):
            whole[key] = [*under, *(one for one in item if one not in under)]
        else:
            whole[key] = item
    return whole


# -- the agent's own `--settings` ------------------------------------------------------------------


def _flag(cli: CliSpec) -> str | None:
    """The option by which the CLI takes its settings."""
    part = cli.launch.settings
    return part[0] if len(part) == 2 and part[1] == "{settings}" else None


def given(cli: CliSpec, arguments: Sequence[str]) -> list[str]:
    """What the agent's own arguments give as settings: JSON, or the name of a file."""
    return [text for text, _ in _split(cli, arguments) if text is not None]


def without(cli: CliSpec, arguments: Sequence[str]) -> tuple[str, ...]:
    """The agent's own arguments without their settings, which are in our file."""
    return tuple(word for text, word in _split(cli, arguments) if text is None)


def _split(cli: CliSpec, arguments: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Each argument: (settings that it gives or None, itself)."""
    flag, words = _flag(cli), iter(arguments)
    for word in words:
        if word == "--":
            yield None, word
            yield from ((None, rest) for rest in words)
        elif flag and word == flag:
            following = next(words, None)
            yield (None, word) if following is None else (following, word)
        elif flag and word.startswith(f"{flag}="):
            yield word.removeprefix(f"{flag}="), word
        else:
            yield None, word


def file_of(text: str, root: str) -> Path | None:
    """The file that `text` names, seen from the agent's directory; None if it is JSON itself."""
    return None if text.lstrip().startswith("{") else Path(root) / text


def read_given(text: str, agent: str, root: str) -> dict[str, Any]:
    """The settings that an agent's own arguments give. Raises UserError."""
    file = file_of(text, root)
    where = "--settings" if file is None else shown(str(file))
    try:
        content = text if file is None else _read(file)
        found = json.loads(content)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        problem = f"is not JSON: {shown(str(error))}"
    else:
        if isinstance(found, dict):
            return found
        problem = "is not a table of settings: write {...}"
    raise UserError(f"agent {agent}: {where}: {problem}")


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(FILE_MAX + 1)
    if len(content) > FILE_MAX:
        raise ValueError(f"larger than {FILE_MAX // 1024} KiB")
    return content.decode("utf-8-sig")


# -- the person's own status line ----------------------------------------------------------------


def own_status_line(cli: CliSpec, agent: AgentSpec, root: str, config: str | None) -> str | None:
    """The command of the status line that is in force without us: ours runs it as well."""
    tables: list[Json] = [
        read_given(text, agent.name, root) for text in reversed(given(cli, agent.arguments))
    ]
    files = [Path(root) / name for name in PROJECT_SETTINGS]
    files += [Path(config) / USER_SETTINGS] if config else []
    tables += map(_quietly, files)
    for table in tables:
        line = table.get("statusLine")
        if isinstance(line, Mapping) and isinstance(line.get("command"), str):
            return str(line["command"])
    return None


def _quietly(file: Path) -> Json:
    """The CLI's own files are the CLI's to complain of."""
    try:
        found = json.loads(_read(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def needs_file(cli: CliSpec) -> bool:
    """Whether the CLI is given settings at all."""
    return "settings" in taken(cli) and (cli.hooks is not None or bool(cli.settings))
