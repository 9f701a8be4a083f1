"""`crew init`: a commented `crew.toml` for a project, made from a blueprint that is there.

What a person is not asked, or does not say, is as usual, and it is said what that is. The file
appears whole or not at all.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.core.text import clip, safe_text
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import builtin, check_name, config_root
from orchestrator.verbs import program
from orchestrator.verbs.output import columns, is_terminal, say
from orchestrator.verbs.render import commands
from orchestrator.verbs.types import whole

if TYPE_CHECKING:  # cost more than click to import, and only a few verbs need them
    from orchestrator.core.spec import TeamSpec
    from orchestrator.verbs.template import Draft

FILE = "crew.toml"
# The team to start from: where its programs are installed, else the one that needs none.
USUAL, WITHOUT_MODEL = "boss-and-workers", "demo"


@dataclass
class _Answers:
    """What was not said by a flag: asked of a person (`ask`), or as usual, which is kept."""

    ask: bool
    usual: list[str] = field(default_factory=list)

    def take(self, flag: str, value: str | int) -> None:
        self.usual.append(f"{flag} {value}")


def _session(ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
    if name is None and ctx.parent is not None:  # `crew -s NAME init`
        name = ctx.parent.params.get("session")
    return None if name is None else check_name(name, "session")


@click.command(epilog="Example: crew init --from boss-and-workers --workers 2")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
@click.option("--from", "start", metavar="BLUEPRINT", help="The team to start from.")
@click.option(
    "-s",
    "--session",
    "--name",
    "session",
    metavar="NAME",
    callback=_session,
    help="What the session is called; else as the directory.",
)
@click.option("--cli", metavar="CLI", help="Which agent CLI every agent is.")
@click.option("--workers", type=whole(1), metavar="NUMBER", help="How many workers.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: what is not said is as usual.")
@click.option("--force", is_flag=True, help="Replace a crew.toml that is there.")
def init(
    *,
    directory: Path,
    start: str | None,
    session: str | None,
    cli: str | None,
    workers: int | None,
    yes: bool,
    force: bool,
) -> None:
    """Write a project's crew.toml, to start from.

    It goes into DIRECTORY, by default the one that you are in. What is not said is asked for on a
    terminal.
    """
    file = directory / FILE
    _refuse_existing(file, force)
    answers = _Answers(ask=is_terminal() and not yes)
    if start is None:
        start = _start(USUAL if cli or workers else None, answers)
    source, draft = _draft(start)
    left_out = _use_cli(draft, cli) if cli is not None else []
    draft.table["name"] = session or _name(directory, answers)
    _count(draft, workers, answers)
    _write(file, draft.text(), force)
    say(f"wrote {safe_text(str(file))}: session {draft.table['name']}, from {safe_text(start)}")
    if left_out:
        say(f"left out, being in another CLI's words: {', '.join(left_out)}")
    if answers.usual:
        say(f"as usual, for nobody said otherwise: {', '.join(answers.usual)}")
    up = _up(directory)
    _prove(file, source, up)
    say("\n".join(["", *commands([(up, "launches it")], columns())]))


def _up(directory: Path) -> str:
    """What to type next. To `crew up` a word without a slash may be the name of a blueprint."""
    if directory.absolute() == Path.cwd():
        return program.command("up")
    return program.command("up", str(directory) if "/" in str(directory) else f"./{directory}")


# -- which team ------------------------------------------------------------------------------------


def _start(likely: str | None, answers: _Answers) -> str:
    """The blueprint to start from; `likely`: which of them, as far as it is known."""
    likely = likely or (USUAL if _would_load(USUAL) else WITHOUT_MODEL)
    if not answers.ask:
        answers.take("--from", likely)
        return likely
    offered = list(_offered())
    names = [name for name, _ in offered]
    size = max(map(len, names))
    say("A team to start from:")
    for number, (name, file) in enumerate(offered, start=1):
        say(clip(f"  {number}  {name:<{size}}  {safe_text(_summary(file))}", columns()))

    def chosen(said: str) -> str:
        if said.isdecimal() and 1 <= int(said) <= len(names):
            return names[int(said) - 1]
        if said in names:
            return said
        raise click.UsageError(f"say a number from 1 to {len(names)}, or a name")

    answer: str = click.prompt("Team", default=likely, value_proc=chosen)
    return answer


def _offered() -> Iterator[tuple[str, Path]]:
    """The blueprints that have a name, the usual one first."""
    found: dict[str, Path] = {}
    for directory in (config_root() / "sessions", builtin() / "sessions"):
        for file in directory.glob("*.toml"):
            found.setdefault(file.stem, file)
    yield from sorted(found.items(), key=lambda each: (each[0] != USUAL, each[0]))


def _summary(file: Path) -> str:
    """The first sentence of the comment that a blueprint begins with."""
    from orchestrator.tables import read_text

    with contextlib.suppress(CrewError):
        comment = re.match(r"(?:#[^\n]*\n)+", read_text(file))
        words = " ".join(comment[0].replace("#", " ").split()) if comment else ""
        return words.partition(". ")[0].removesuffix(".")
    return ""


def _would_load(name: str) -> bool:
    """Whether `crew up` would take this blueprint: its programs are installed."""
    from orchestrator import blueprints

    here = Path.cwd()
    try:
        file = blueprints.find_blueprint(name, here)
        blueprints.load_team(file, cwd=here, environ=os.environ, session=None)
    except CrewError:
        return False
    return True


def _draft(start: str) -> tuple[Path, "Draft"]:
    """The file of the blueprint that `start` names, and what it says."""
    from orchestrator import blueprints
    from orchestrator.tables import read_toml
    from orchestrator.verbs.template import Draft

    here = Path.cwd()
    file = blueprints.find_blueprint(start, here)
    table = read_toml(file)
    agents, defaults = table.get("agents"), table.get("defaults", {})
    tables = [*agents, defaults] if isinstance(agents, list) and agents else [None]
    if not all(isinstance(each, dict) for each in tables):
        blueprints.load_team(file, cwd=here, environ=os.environ, session=None)  # says what is wrong
    return file, Draft(start, _summary(file), table)


# -- what becomes of it ----------------------------------------------------------------------------


def _use_cli(draft: "Draft", cli: str) -> list[str]:
    """Make every agent this CLI; which keys were left out for it."""
    from orchestrator.core.launch import taken
    from orchestrator.definitions import load_definition

    return draft.use_cli(cli, {"role_prompt"} - taken(load_definition(cli, None)))


def _name(directory: Path, answers: _Answers) -> str:
    """What the session is called: by default as the directory, as far as it can be."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", directory.resolve().name)
    likely = plain.lstrip("-_")[:32].rstrip("-_") or "crew"
    if not answers.ask:
        answers.take("--name", likely)
        return likely

    def checked(said: str) -> str:
        try:
            return check_name(said, "session")
        except UserError as error:
            raise click.UsageError(safe_text(str(error))) from None

    answer: str = click.prompt("Name of the session", default=likely, value_proc=checked)
    return answer


def _count(draft: "Draft", workers: int | None, answers: _Answers) -> None:
    """How many workers there are, in a team that counts them."""
    counted = draft.counted()
    if counted is None:
        if workers is not None:
            raise UserError(
                f"{safe_text(draft.label)} has no workers to be counted: leave out --workers, or "
                f"say --from {USUAL}"
            )
        return
    if workers is None and not answers.ask:
        answers.take("--workers", counted["count"])
    elif workers is None:
        workers = click.prompt("How many workers", default=counted["count"], value_proc=_number)
    counted["count"] = workers or counted["count"]


def _number(said: object) -> int:
    try:
        return whole(1)(str(said))
    except click.BadParameter as error:
        raise click.UsageError(error.message) from None


# -- the file --------------------------------------------------------------------------------------


def _refuse_existing(file: Path, force: bool) -> None:
    if not force and os.path.lexists(file):
        raise UserError(
            f"{safe_text(str(file))} is there already: edit it, or say --force to replace it"
        )


def _write(file: Path, text: str, force: bool) -> None:
    """Put the whole of it there at once, with the rights that a person's own files have."""
    half = file.with_name(f".{FILE}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            half.write_text(text, encoding="utf-8")
            if force:
                half.replace(file)
            else:
                os.link(half, file)  # unlike a rename, it replaces nothing
        finally:
            half.unlink(missing_ok=True)
    except FileExistsError:
        _refuse_existing(file, force)
        raise UserError(f"{safe_text(str(file.parent))} is not a directory") from None
    except OSError as error:
        raise CrewError(f"{safe_text(str(file))}: cannot be written: {error.strerror}") from error


def _prove(file: Path, source: Path, up: str) -> None:
    """Load it as `crew up` will: say what that lacks yet, or remember that a person wants it."""
    from orchestrator import blueprints, trust

    try:
        team = blueprints.load_team(file, cwd=Path.cwd(), environ=os.environ, session=None)
        if _is_ours(team, source):
            trust.trust(team)
    except CrewError as error:
        click.echo(f"crew: `{up}` does not take it yet: {safe_text(str(error))}", err=True)


def _is_ours(team: "TeamSpec", source: Path) -> bool:
    """Whether it runs nothing but what the shipped files and the person's own say.

    Otherwise `crew up` asks: nobody has looked at what lay in the project already, such as a
    definition or a role, nor at what stood in a blueprint of somebody else's.
    """
    from orchestrator.definitions import layer_of

    others = [Path(file) for file in team.files if file != team.blueprint]
    return all(layer_of(file) != "project" for file in (source, *others))
