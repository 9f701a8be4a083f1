"""What every verb prints with, and how wide that may be."""

import json
import os
import sys

import click


def say(text: str = "", *, end: str = "\n") -> None:
    """Print one line, or several."""
    click.echo(f"{text}{end}", nl=False)


def say_json(value: object, *, indent: int | None = 2) -> None:
    """Print JSON, in ASCII: nothing in it can act on a terminal."""
    say(json.dumps(value, indent=indent))


def is_terminal() -> bool:
    """Whether a person sits on both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def columns() -> int:
    """How wide a line may be: the terminal; without one as wide as it comes, but for $COLUMNS."""
    wished = os.environ.get("COLUMNS", "")
    if wished.isdecimal() and int(wished) > 0:
        return int(wished)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 10_000
