"""What the doctor says: one finding for each thing that was looked at."""

from dataclasses import dataclass
from typing import Literal

# A note is worth knowing and asks for nothing; a warning is something that works less well.
Level = Literal["ok", "note", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is one or two words; `remedy`, of a warning and worse, what a person does about it.

    Both texts may hold what files and other programs say, as it is: whoever shows them cleans it.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def note(check: str, text: str) -> Finding:
    return Finding(check, "note", text)


def warn(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, "warn", text, remedy)


def bad(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, "bad", text, remedy)
