"""Which tmux there is. By itself: `crew up` asks it before it needs anything else of tmux."""

import re
import subprocess
from typing import Final

from orchestrator.errors import UserError

# What libtmux needs, and the first with everything that is used here.
OLDEST: Final = (3, 2, "a")

# Seconds.
_TIMEOUT: Final = 5.0
_VERSION: Final = re.compile(r"tmux (?:next-|openbsd-)?(\d+)\.(\d+)([a-z]?)")


def check_tmux() -> str:
    """Return tmux's version, such as "3.3a"; raises UserError if it is missing or too old."""
    answer = _answer()
    found = _VERSION.match(answer)
    # A build from source may name itself otherwise ("tmux master"): it is newer, not older.
    if found and (int(found[1]), int(found[2]), found[3]) < OLDEST:
        raise UserError(f"{answer} is too old: crew needs tmux 3.2a or newer, please update it")
    return answer.removeprefix("tmux ")


def _answer() -> str:
    try:
        done = subprocess.run(
            ["tmux", "-V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise UserError(
            "tmux is not installed: install it with your package manager, for example "
            "`apt install tmux` or `brew install tmux`"
        ) from None
    except OSError as error:
        raise UserError(
            f"`tmux -V` cannot be run ({error.strerror}): see what is the tmux on your PATH"
        ) from None
    except subprocess.TimeoutExpired:
        text = f"`tmux -V` does not answer within {_TIMEOUT:g} s"
        raise UserError(f"{text}: see what is the tmux on your PATH") from None
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0 or not said:
        why = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise UserError(f"`tmux -V` fails ({why}): see what is the tmux on your PATH")
    return said
