"""How this program is typed: a command that it prints must work as it stands.

`crew`, where that is this very program on the PATH; else as the person has just called it.
"""

import os
import re
import shlex
import shutil
from collections.abc import MutableMapping

NAME = "crew"
# How `bin/crew` of a checkout was called, which this process cannot see for itself.
INVOKED = "CREW_INVOKED"

# A command in a sentence: in back quotes, as all of them are written.
_COMMAND = re.compile(r"`crew(?=[ `])")

_typed = NAME


def learn(argv0: str, environ: MutableMapping[str, str]) -> None:
    """Find out how this program was called. The variable goes: no agent is to inherit it."""
    global _typed
    _typed = _found(argv0, environ.pop(INVOKED, ""), environ.get("PATH", os.defpath))


def _found(argv0: str, invoked: str, path: str) -> str:
    called = invoked or argv0
    name = os.path.basename(called)  # noqa: PTH119 - as typed: no Path takes `./` away
    if not (invoked or name == NAME) or not called.isprintable() or not os.access(called, os.X_OK):
        return NAME  # `python -m orchestrator`, or nothing that could be typed again
    on_path = shutil.which(name, path=path)
    if on_path and os.path.realpath(on_path) in map(os.path.realpath, (called, argv0)):
        return name
    return shlex.quote(called)


def program() -> str:
    """The word to type for this program, quoted for a shell."""
    return _typed


def command(*words: str) -> str:
    """A command to type, quoted for a shell."""
    return f"{_typed} {shlex.join(words)}"


def as_typed(text: str) -> str:
    """`text` with the commands in its back quotes as they are to be typed here."""
    return _COMMAND.sub(lambda _: f"`{_typed}", text)
