"""The directories of crew: whose they are, who may look in, and whether there is room."""

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.findings import Finding, bad, ok, warn
from orchestrator.locations import (
    SOCKET_PATH_MAX,
    SessionPaths,
    cache_root,
    config_root,
    state_root,
)

# Bytes. A busy session's database and spool grow by a few MB a day.
LITTLE, NOTHING = 100_000_000, 10_000_000
# As many characters as a session's name may have.
NAME_MAX = 32


def examine() -> Iterator[Finding]:
    yield private("state", state_root(), 0o077)
    # Who may write there decides what runs; reading tells no secret. It may well be a link.
    yield private("config", Path(os.path.realpath(config_root())), 0o022)
    yield private("cache", cache_root(), 0o077)
    yield room(state_root())
    yield sockets(state_root())


def private(check: str, directory: Path, denied: int) -> Finding:
    """Whether `directory` is ours, and others lack the `denied` permission bits."""
    variable = f"XDG_{check.upper()}_HOME"
    try:
        info = directory.lstat()
    except FileNotFoundError:
        return ok(check, f"{directory} (will be made)")
    except OSError as error:
        text = f"{directory} cannot be looked at: {error.strerror}"
        return bad(check, text, f"set {variable} to a directory of your own")
    if not stat.S_ISDIR(info.st_mode):
        return bad(check, f"{directory} is not a directory", f"move it away, or set {variable}")
    if info.st_uid != os.getuid():
        text = f"{directory} belongs to uid {info.st_uid}, not to you ({os.getuid()})"
        return bad(check, text, f"set {variable} to a directory of your own")
    mode = stat.S_IMODE(info.st_mode)
    if mode & denied:
        what = "write to" if mode & denied & 0o022 else "look into"
        text = f"others may {what} {directory} (mode {mode:04o})"
        return warn(check, text, f"chmod {'700' if denied == 0o077 else 'go-w'} {_word(directory)}")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return bad(check, f"{directory} cannot be written", f"chmod u+rwx {_word(directory)}")
    return ok(check, f"{directory} (mode {mode:04o})")


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def existing(path: Path) -> Path:
    """`path`, or the nearest directory above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def room(directory: Path) -> Finding:
    """How much the disk below `directory` can still take, for this user."""
    try:
        free = shutil.disk_usage(existing(directory)).free
    except OSError as error:
        text = f"{directory}: its free space is not known: {error.strerror}"
        return warn("disk", text, "look with `df`")
    return judged(free, directory)


def judged(free: int, directory: Path) -> Finding:
    """`free`: bytes."""
    text = f"{free // 1_000_000} MB free for {directory}"
    remedy = "make room there, or set XDG_STATE_HOME to a directory on another disk"
    if free < NOTHING:
        return bad("disk", text, remedy)
    return warn("disk", text, remedy) if free < LITTLE else ok("disk", text)


def sockets(directory: Path) -> Finding:
    """Whether the sockets of a session with a long name still have a path that can be bound."""
    paths = SessionPaths(directory / "x")
    longest = max(len(os.fsencode(path)) for path in (paths.socket, paths.tmux_socket))
    left = SOCKET_PATH_MAX - longest + 1
    if left >= NAME_MAX:
        most = longest + NAME_MAX - 1
        return ok("sockets", f"paths of at most {most} bytes, and {SOCKET_PATH_MAX} are allowed")
    remedy = "set XDG_STATE_HOME to a shorter directory"
    if left < 1:
        return bad("sockets", f"{paths.tmux_socket} is too long a path for a socket", remedy)
    text = f"a session's name may have {left} characters at most: {directory} is a long path"
    return warn("sockets", text, remedy)
