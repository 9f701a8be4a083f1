"""`crew record`: a screen of an agent, kept for the corpus of screens that patterns are held to.

It is for others to see: what is known as a person's own is taken out of it. Nothing of it is shown
here, and nothing that is there is replaced.
"""

import contextlib
import os
import pwd
import re
import socket
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from click.shell_completion import CompletionItem

from orchestrator.client import ANSWER, Client
from orchestrator.core.text import safe_text
from orchestrator.errors import CrewError, SupervisorError, UserError
from orchestrator.locations import check_name
from orchestrator.verbs.common import View, agent_of, choose_session, dial
from orchestrator.verbs.options import agent_argument, session_option
from orchestrator.verbs.output import say

if TYPE_CHECKING:  # cost more than click to import, and only a few verbs need them
    from orchestrator.core.spec import CliSpec

# What is expected of a screen that no pattern is to match, and where a version is not known.
UNKNOWN = "unknown"
EXPECTED = "expected.toml"
# What a person's own words become, as in the screens that are there.
HOME, USER, HOST = "/home/dev", "dev", "host"
# Names that are nobody's, and stand in the texts of CLIs.
_COMMON = frozenset({"root", "admin", "user", "users", "localhost", USER, HOST})


def _statuses() -> list[str]:
    from typing import get_args

    from orchestrator.core.spec import Reported

    return [*get_args(Reported), UNKNOWN]


def _complete_status(_: click.Context, __: click.Parameter, start: str) -> list[CompletionItem]:
    return [CompletionItem(each) for each in _statuses() if each.startswith(start)]


@click.command(epilog="Example: crew record worker-1 blocked --name permission-mcp")
@agent_argument
@click.argument("status", shell_complete=_complete_status)
@click.option("--name", metavar="NAME", help="What the screen shows; else as STATUS.")
@click.option(
    "--to",
    "directory",
    default="screens",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The corpus that it is added to.",
)
@session_option
def record(agent: str, status: str, name: str | None, directory: Path, session: str | None) -> None:
    """Keep an agent's screen, to have it read right.

    STATUS is what the agent does, as you see it: starting, ready, working, blocked, limited, or
    unknown where nothing on the screen tells. Keys, tokens, mail addresses and your own names are
    masked. No rule finds everything: look at the file before you share it.
    """
    from orchestrator.core.redaction import redact
    from orchestrator.core.styles import as_taken

    if status not in (known := _statuses()):
        raise UserError(f"a screen does not say {status!r}: it says {', '.join(known)}")
    name = check_name(name or status, "screen")
    with dial(choose_session(session)) as client:
        view: View = client.request("status")["view"]
        told = agent_of(view, agent)
        ran = client.request("why", agent=agent).get("why", {}).get("version")
        frame = _frame(client, agent)
    cli = _definition(told["cli"], view)
    # Where it has not told its version: what is installed is likely to be what runs.
    version = _number(ran or _installed(cli, view))
    taken, columns = as_taken(frame["lines"]), int(frame["columns"])
    kept = redact(taken, columns, names=_own_names(cli), secrets=_secrets(told["pid"]))
    where = directory / cli.name / (version or UNKNOWN)
    file = where / f"{name}-{columns}x{frame['rows']}.txt"
    keep(file, kept.lines, status)
    say(f"wrote {safe_text(str(file))}, and into {EXPECTED} beside it that it is {status}")
    for line in _judged(status, taken, kept.lines, cli, version):
        say(line)
    say(f"{_places(kept.masked)} masked; look at it before you share it")


def _judged(
    status: str,
    taken: Sequence[str],
    kept: Sequence[str],
    cli: "CliSpec",
    version: str | None,
) -> Iterator[str]:
    """How the screen is read now, by the definition as it is on disk."""
    from orchestrator.core.screen import read
    from orchestrator.core.versions import for_version

    spec, guess = for_version(cli.screen, version)
    now, masked = (read(lines, spec).status or UNKNOWN for lines in (taken, kept))
    yield f"it is read as {now}, " + ("as you say" if now == status else f"you say {status}")
    if masked != now:
        yield f"with what is masked it is read as {masked}: that is a part of how it is read"
    if guess is not None:
        yield safe_text(guess)


def _places(count: int) -> str:
    return "1 place is" if count == 1 else f"{count or 'no'} places are"


# -- what is there ---------------------------------------------------------------------------------


def _frame(client: Client, agent: str) -> View:
    """What the agent's pane shows now."""
    try:
        for answer in client.stream("screen", timeout=ANSWER, agent=agent):
            if answer["screen"] is None:
                break
            found: View = answer["screen"]
            return found
    except TimeoutError as error:
        raise SupervisorError(
            f"the screen of {agent} could not be looked at within {ANSWER:g} s: "
            f"see {client.paths.log}"
        ) from error
    raise CrewError(f"{agent} has no pane now: there is no screen to record")


def _project(view: View) -> Path | None:
    """Where the team's own definitions are, if its blueprint is a project's."""
    from orchestrator.definitions import layer_of

    file = Path(view["blueprint"] or "")
    return file.parent if view["blueprint"] and layer_of(file) == "project" else None


def _definition(name: str, view: View) -> "CliSpec":
    from orchestrator.definitions import load_definition

    return load_definition(name, _project(view))


def _installed(cli: "CliSpec", view: View) -> str:
    """What the CLI that is installed says of its version; "" if it says none."""
    from orchestrator.doctor import clis

    project = clis.Project(Path(view["root"] or "/"))
    if (directory := _project(view)) is not None:
        project = clis.Project(directory, Path(view["blueprint"]))
    found = clis.find(cli.name, project, os.environ, needed=True)
    if not isinstance(found, clis.Found) or not found.spec.launch.version:
        return ""
    said = clis.version(found, os.environ)
    # A version whose screens nobody has seen is a remark there.
    return said.text.partition(", ")[0] if said.level in ("ok", "note") else ""


def _number(version: str) -> str | None:
    """The number in what a CLI says of its version: the name of a directory."""
    found = re.search(r"[0-9]{1,9}(?:\.[0-9]{1,9})+", version)
    return found[0] if found else None


# -- whose it is -----------------------------------------------------------------------------------


def _own_names(cli: "CliSpec") -> dict[str, str]:
    """The person's names, and what stands for them."""
    homes = {os.environ.get("HOME", "")}
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME")}
    with contextlib.suppress(KeyError):  # a container may run as a user whom nobody knows
        entry = pwd.getpwuid(os.getuid())
        homes.add(entry.pw_dir)
        users.add(entry.pw_name)
    host = socket.gethostname()
    names = {
        **dict.fromkeys((host, host.partition(".")[0]), HOST),
        **dict.fromkeys(users, USER),
        **dict.fromkeys(homes, HOME),
        **dict.fromkeys(map(os.path.realpath, filter(None, homes)), HOME),
    }
    # What the CLI itself is called stands in its own texts, and so may what is very short.
    common = {*_COMMON, cli.name}
    return {
        name: new for name, new in names.items() if len(name) > 2 and name.lower() not in common
    }


def _secrets(pid: int | None) -> set[str]:
    """Values of the person's environment and of the agent's own that are secret."""
    from orchestrator.core.redaction import secrets_in

    return secrets_in(os.environ) | (secrets_in(_environ(pid)) if pid else set())


def _environ(pid: int) -> dict[str, str]:
    """The environment that a process was started with, as far as it can be read."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(item).partition("=") for item in content.split(b"\0"))
    return {name: text for name, _, text in pairs}


# -- the files -------------------------------------------------------------------------------------


def keep(file: Path, lines: Sequence[str], status: str) -> None:
    """Write a screen, for its owner alone, and beside it what it is expected to be."""
    expected, shown = file.with_name(EXPECTED), safe_text(str(file))
    before, names = _expected(expected)
    if os.path.lexists(file) or file.stem in names:
        raise UserError(f"{shown} is there already, or expected: say another --name")
    line = f'"{file.stem}" = "{status}"\n'
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _open(file, os.O_EXCL) as out:
            try:
                out.write("\n".join(lines) + "\n")
                out.flush()
                with _open(expected, os.O_APPEND) as table:
                    table.write(line if before.endswith("\n") or not before else f"\n{line}")
            except OSError:
                file.unlink()
                raise
    except OSError as error:
        raise CrewError(f"{shown}: cannot be written: {error.strerror}") from error


def _expected(file: Path) -> tuple[str, Collection[str]]:
    """What is said of the screens that are there, and their names. Only a whole one is added to."""
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return "", ()
    except (OSError, ValueError) as error:
        what = safe_text(str(error))
        raise UserError(f"{safe_text(str(file))}: cannot be read: {what}") from error


def _open(file: Path, flags: int) -> TextIO:
    """A file for its owner alone, never by way of a link."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)
    return open(descriptor, "w", encoding="utf-8")  # noqa: PTH123 - by descriptor: its mode is set
