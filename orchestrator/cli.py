"""`crew`: the verbs, their help, and the one place where an error becomes a sentence."""

import atexit
import contextlib
import copy
import datetime
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click
from click.shell_completion import get_completion_class

from orchestrator.core.text import safe_text
from orchestrator.errors import CrewError, SpecError
from orchestrator.locations import ensure_private, state_root
from orchestrator.verbs import program
from orchestrator.verbs.options import session_option
from orchestrator.verbs.output import say

GROUPS = {
    "team": ("init", "up", "down", "restore", "attach", "ls"),
    "talk": ("send", "answer", "interrupt", "ask", "cache"),
    "look": ("status", "watch", "logs", "events", "why", "record", "diff", "report"),
    "fix": ("restart", "stop", "doctor"),
}
VERBS = frozenset(name for verbs in GROUPS.values() for name in verbs)
# The module of `orchestrator.verbs` that holds a verb, where that is not called like it.
MODULES = {
    **dict.fromkeys(("down", "restore"), "team"),
    **dict.fromkeys(("send", "answer", "interrupt"), "talk"),
    **dict.fromkeys(("ls", "status", "logs", "events", "why"), "look"),
    **dict.fromkeys(("restart", "stop"), "fix"),
}
# Verbs that share a line of the help, and what it says of them: the first one and the next.
TOGETHER = {
    "down": ("restore", "End every agent; bring them back, and what they said."),
    "ask": ("cache", "Ask a CLI one question; see the answers that are kept."),
    "why": ("record", "Show why a status is so; keep a screen read wrongly."),
    "restart": ("stop", "Start an agent again, with its conversation; end it."),
}
COMPLETE = "_CREW_COMPLETE"
STDERR = 2
INTERRUPTED = 130  # as a shell has it for a process that Ctrl-C ended
# A leading dot: no session can have this name.
FAULTS = ".faults.log"


class Crew(click.Group):
    """The group, with a help that shows every verb on one small screen."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        crew = program.program()
        # Not a line more: with the next prompt it is all that 24 lines hold.
        formatter.write(f"Usage: {crew} [-s SESSION] VERB ...\n")
        formatter.write("A team of CLI agents in tmux, kept running.\n\n")
        for heading, verbs in GROUPS.items():
            second = {name for name, _ in TOGETHER.values()}
            lines = [name for name in verbs if name not in second]
            for number, name in enumerate(lines):
                verb = self.require(ctx, name)
                formatter.write(_help_line("" if number else heading, verb))
        formatter.write(
            f"\n`{crew} help VERB` has an example. Also: completion, version, -V, -h.\n"
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *VERBS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, whose module is imported when it is asked for; the commands in its help are as
        they are to be typed here."""
        found = super().get_command(ctx, cmd_name) or _imported(cmd_name)
        if found is None or program.program() == program.NAME:
            return found
        return _as_typed(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and args:
            self.require(ctx, args[0])
        return super().resolve_command(ctx, args)

    def require(self, ctx: click.Context, name: str) -> click.Command:
        """The verb `name`. Raises click.UsageError that says which is meant, if one is near."""
        found = self.get_command(ctx, name)
        if found is None:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise click.UsageError(f"there is no verb {name!r}{meant}", ctx)
        return found


def _as_typed(verb: click.Command) -> click.Command:
    shown = copy.copy(verb)
    shown.help = program.as_typed(verb.help or "")
    shown.epilog = (verb.epilog or "").replace("crew ", f"{program.program()} ")
    if isinstance(shown, click.Group):
        shown.commands = {name: _as_typed(each) for name, each in shown.commands.items()}
    return shown


def _imported(name: str) -> click.Command | None:
    """The verb `name`, where it has a module. An answer from disk takes as long as its imports."""
    if name not in VERBS:
        return None
    module = importlib.import_module(f"orchestrator.verbs.{MODULES.get(name, name)}")
    found = getattr(module, name)
    assert isinstance(found, click.Command)
    return found


def _help_line(heading: str, verb: click.Command) -> str:
    name = verb.name or ""
    short = program.as_typed(verb.get_short_help_str(55))
    if name in TOGETHER:
        second, short = TOGETHER[name]
        name = f"{name}, {second}"
    return f"  {heading:<7}{name:<15}{short}\n"


def _show_version() -> None:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        say(f"crew {version_of('crewmux')}")
    except PackageNotFoundError:
        say("crew (run from a checkout)")


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        _show_version()
        ctx.exit()


@click.group(
    cls=Crew,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@session_option
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show it.",
)
@click.pass_context
def cli(ctx: click.Context, session: str | None) -> None:
    """A team of CLI agents in tmux, kept running."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())
        ctx.exit(2)
    verb = cli.require(ctx, ctx.invoked_subcommand)
    if session and not any(param.name == "session" for param in verb.params):
        raise click.UsageError(f"-s says nothing to `crew {verb.name}`", ctx)


@click.command(epilog='Example: eval "$(crew completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script."""
    made = get_completion_class(shell)
    if made is None:
        raise CrewError(f"there is no completion for {shell}")
    say(made(cli, {}, program.NAME, COMPLETE).source())


@click.command("help", epilog="Example: crew help send")
@click.argument("verb", required=False, shell_complete=lambda ctx, *_: cli.list_commands(ctx))
@click.pass_context
def help_(ctx: click.Context, verb: str | None) -> None:
    """Show the verbs, or the help of one."""
    above = ctx.parent
    assert above is not None, "it is a verb of the group"
    if verb is None:
        say(above.get_help())
        return
    found = cli.require(above, verb)
    with click.Context(found, info_name=verb, parent=above) as inner:
        say(inner.get_help())


@click.command(epilog="Example: crew version")
def version() -> None:
    """Show which version this is."""
    _show_version()


for _verb in (completion, help_, version):
    cli.add_command(_verb)


def run() -> NoReturn:
    """The program `crew`: run one verb, and leave."""
    _open_streams()
    try:
        status = main()
    except SystemExit as left:  # click's own ways out: completion, a reader that has left
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    # What libraries want done at the end; coverage is one.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # Python would take all that was loaded apart first, for as long as a short verb takes. So no
    # verb may leave work in a thread, or a file unwritten; the rest the kernel closes quicker.
    os._exit(status)


def _open_streams() -> None:
    """Whoever starts us may have closed one of the three: the next file to be opened would take its
    place, and be written to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for good
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    program.learn(sys.argv[0], os.environ)
    try:
        # A terminal or a pipe that is not UTF-8 gets `?` for a glyph, not an error.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")
        result = cli.main(
            arguments,
            prog_name=program.program(),
            complete_var=COMPLETE,
            standalone_mode=False,
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except SpecError as error:
        return _fail(*str(error).split("\n"), status=error.exit_status)
    except CrewError as error:
        return _fail(str(error), status=error.exit_status)
    except click.UsageError as error:
        helped = error.ctx.command_path if error.ctx else program.program()
        return _fail(f"{_in_our_words(error)}: see `{helped} --help`", status=2)
    except click.ClickException as error:
        return _fail(error.format_message(), status=error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _unheard()
    except Exception as error:
        if isinstance(error, OSError) and _in_echo(error):
            return _fail(f"the output cannot be written: {error.strerror}", status=1)
        return _fail(_fault(error), status=1)


def _in_our_words(error: click.UsageError) -> str:
    """What is wrong with the command as typed. What click says in its own way stays as it is."""
    name = ""
    if isinstance(error, click.BadParameter) and error.param is not None:
        argument = isinstance(error.param, click.Argument)
        name = (error.param.name or "").upper() if argument else max(error.param.opts, key=len)
    match error:
        case click.MissingParameter() if name:
            return f"{name} is missing"
        case click.NoSuchOption():
            near = f" (did you mean {error.possibilities[0]}?)" if error.possibilities else ""
            return f"there is no option {error.option_name}{near}"
        case click.BadOptionUsage():
            return f"{error.option_name} needs a value"
        case click.BadParameter() if name:
            return f"{name}: {error.message.rstrip('.')}"
    if found := re.match(r"Got unexpected extra arguments? \((.*)\)", error.message, re.DOTALL):
        return f"too many arguments: {found[1]}"
    # click's own sentences end in a full stop, most of the time.
    return error.format_message().rstrip(".")


def _fail(*sentences: str, status: int) -> int:
    """Say what is wrong, each sentence on a line of its own."""
    with contextlib.suppress(OSError):
        for sentence in sentences:
            click.echo(f"crew: {safe_text(program.as_typed(sentence))}", err=True)
    return status


def _unheard() -> int:
    """Whoever read our output has left. What is still buffered must not be said at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _in_echo(error: OSError) -> bool:
    """Whether it is about what was being printed, by a verb or by click itself: a full disk."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is click.echo.__code__ for frame, _ in frames)


def _fault(error: Exception) -> str:
    """Keep the traceback of a defect for whoever mends it; return the sentence about it."""
    what = f"this is a defect of crew, {type(error).__name__}: {error}"
    file = state_root() / FAULTS
    try:
        ensure_private(file.parent)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "a", encoding="utf-8", errors="replace") as log:  # noqa: PTH123 - by descriptor: its mode is set
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            log.write(f"{now} {sys.argv[1:2]}\n")
            traceback.print_exception(error, file=log)
    except (OSError, CrewError):
        return f"{what} (and its traceback could not be written to {file})"
    return f"{what} (its traceback is in {file})"
