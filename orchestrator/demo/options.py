"""The command line, checked: who cannot start says why in one line."""

import argparse
import os
import uuid
from pathlib import Path
from typing import NamedTuple, NoReturn

from .files import agent_home, transcript_path
from .hooks import Hook, SettingsError, load
from .session import MODES

DESCRIPTION = "The demo agent: behaves like an agent CLI, without a model or a network."


class UsageError(Exception):
    """The agent cannot start; `str(error)` is the line that says why."""


class Options(NamedTuple):
    """What the agent was started with."""

    home: Path
    cwd: str
    conversation: str
    resume: bool
    hooks: dict[str, list[Hook]]
    mode: str
    model: str
    pace: float
    ignore_hangup: bool
    exit_at_start: int | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"Error: {message}")


def parse(arguments: list[str]) -> Options:
    """Read the command line; raises UsageError."""
    given = _parser().parse_args(arguments)
    home, cwd = agent_home(), str(Path.cwd())
    conversation = given.resume or given.session_id or str(uuid.uuid4())
    try:
        uuid.UUID(conversation)
    except ValueError:
        raise UsageError("Error: Invalid session ID. Must be a valid UUID.") from None
    there = transcript_path(home, cwd, conversation).is_file()
    if given.session_id and not given.resume and there:
        raise UsageError(f"Error: Session ID {conversation} is already in use.")
    if given.resume and not there:
        raise UsageError(f"No conversation found with session ID: {conversation}")
    try:
        hooks = load(Path(given.settings)) if given.settings else {}
    except SettingsError as error:
        raise UsageError(f"Error: {error}") from error
    return Options(
        home=home,
        cwd=cwd,
        conversation=conversation,
        resume=given.resume is not None,
        hooks=hooks,
        mode=given.permission_mode,
        model=given.model,
        pace=_pace(),
        ignore_hangup=given.ignore_hup,
        exit_at_start=given.exit_at_start,
    )


def _pace() -> float:
    text = os.environ.get("DEMO_AGENT_PACE") or "1"
    try:
        pace = float(text)
    except ValueError:
        pace = -1.0
    if not 0 <= pace <= 1000:
        raise UsageError(
            f"Error: DEMO_AGENT_PACE is {text!r}: it should be a number from 0 to 1000."
        )
    return pace


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="demo-agent", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--session-id", metavar="UUID", help="begin this conversation")
    parser.add_argument("--resume", metavar="UUID", help="take up this conversation")
    parser.add_argument("--settings", metavar="FILE", help="JSON with hooks")
    parser.add_argument("--append-system-prompt", metavar="TEXT", help="the role; it is not read")
    parser.add_argument("--model", default="demo", help="only shown")
    parser.add_argument("--permission-mode", choices=list(MODES), default="default")
    parser.add_argument("--ignore-hup", action="store_true", help="outlive the terminal")
    parser.add_argument("--exit-at-start", type=int, metavar="CODE", help="end at once")
    return parser
