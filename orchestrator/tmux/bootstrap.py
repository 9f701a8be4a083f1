"""Starting and ending a session's tmux server. Blocking: the loop calls these in a thread.

The home of libtmux. Every wait is bounded: libtmux waits for tmux without one, so what a server
that hangs could keep is called through `_bounded`. The server's life is told by its socket and
its process, which answer even while it hangs.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from libtmux import Server
from libtmux.exc import LibTmuxException

from orchestrator.errors import TmuxError
from orchestrator.locations import SessionPaths, ensure_private
from orchestrator.tmux import conf
from orchestrator.tmux.version import check_tmux

T = TypeVar("T")

# Keeps the server and our control client alive whatever happens to the team's own session. A
# leading underscore: no session of ours can have this name.
HOLDING = "_crew"
# Two words, so that tmux executes it without a shell.
_HOLDING_COMMAND = ("cat", "-")

# Seconds. A start takes 0.05; a server that was told to end and has many panes needs longer.
START_TIMEOUT = 10.0
_CALL_TIMEOUT = 5.0
# From the polite signal to the other one, and from that one to giving up.
_END_TIMEOUT = 3.0
_KILL_TIMEOUT = 2.0
_RETRY = 0.02

_KEPT = ("PATH", "HOME", "LANG", "TERM", "SHELL", "USER")


def minimal_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What tmux itself gets: panes get theirs from the launcher, so no secret is in here."""
    return {k: v for k, v in environ.items() if k in _KEPT or k.startswith("LC_")}


def start_server(paths: SessionPaths, environ: Mapping[str, str]) -> int:
    """Make sure that the session's server runs, and return its pid.

    A server that lives is returned as it is. Raises TmuxError if none comes up within
    `START_TIMEOUT` seconds.
    """
    ensure_private(paths.root)
    _write_conf(paths.tmux_conf, environ)
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        pid = server_pid(paths)
        failure = hold(paths) if pid else _launch(paths, environ)
        pid = server_pid(paths)
        if pid and not failure:
            # tmux makes it so since 3.2; the directory is private anyway.
            paths.tmux_socket.chmod(0o600)
            return pid
        # Right after kill-server the old one still answers, or takes the socket with it.
        if time.monotonic() > deadline:
            raise TmuxError("new-session", failure or "the server ended at once")
        time.sleep(_RETRY)


def server_pid(paths: SessionPaths) -> int | None:
    """The pid of the server that listens on the session's socket, also while it hangs."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CALL_TIMEOUT)
        try:
            probe.connect(str(paths.tmux_socket))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return None  # no socket, or a stale one
    pid, _, _ = struct.unpack("3i", credentials)
    return int(pid)


def kill_server(paths: SessionPaths) -> None:
    """End the server and return when its process is gone; raises TmuxError if it will not go."""
    pid = server_pid(paths)
    if pid is not None:
        _end_process(pid)
    paths.tmux_socket.unlink(missing_ok=True)


def _end_process(pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        gone = select.poll()
        gone.register(process, select.POLLIN)
        # To tmux this signal is the same as kill-server, and does not wait for an answer.
        for number, seconds in ((signal.SIGTERM, _END_TIMEOUT), (signal.SIGKILL, _KILL_TIMEOUT)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if gone.poll(seconds * 1000):
                return
    finally:
        os.close(process)
    raise TmuxError("kill-server", f"process {pid} does not end")


def _write_conf(file: Path, environ: Mapping[str, str]) -> None:
    text = conf.render(_terminal(environ))
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8") as out:  # noqa: PTH123 - made with its mode
        os.fchmod(fd, 0o600)
        out.write(text)


def _terminal(environ: Mapping[str, str]) -> str:
    """The terminfo entry for programs in panes: tmux's own one, where it is installed."""
    try:
        found = subprocess.run(
            ["infocmp", "tmux-256color"],
            env=minimal_environment(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CALL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "screen-256color"
    return "tmux-256color" if found.returncode == 0 else "screen-256color"


def _launch(paths: SessionPaths, environ: Mapping[str, str]) -> str | None:
    """Start a server with the holding session; return what went wrong.

    Not through libtmux: it hands its own environment to the server, and that must be minimal.
    """
    argv = ["tmux", "-u", "-S", str(paths.tmux_socket), "-f", str(paths.tmux_conf)]
    try:
        done = subprocess.run(
            [*argv, *_holding_session()],
            env=minimal_environment(environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CALL_TIMEOUT,
            check=False,
            # Outlives the terminal that it was started from.
            start_new_session=True,
        )
    except FileNotFoundError:
        check_tmux()
        return "tmux is not on the PATH of the session"
    except subprocess.TimeoutExpired:
        return f"no answer within {_CALL_TIMEOUT:g} s"
    if done.returncode != 0:
        return done.stderr.strip() or f"exit status {done.returncode}"
    return hold(paths)


def hold(paths: SessionPaths) -> str | None:
    """See that a live server has its holding session; return what went wrong."""
    server = Server(socket_path=paths.tmux_socket, config_file=str(paths.tmux_conf))

    def ask() -> str | None:
        for command in conf.TRIED:
            server.cmd(*command)
        if server.has_session(HOLDING):
            return None
        # -N: were the server gone by now, this would start one, with our whole environment.
        return " ".join(server.cmd("-N", *_holding_session()).stderr) or None

    try:
        return _bounded(ask, _CALL_TIMEOUT)
    except TimeoutError:
        return f"the server does not answer within {_CALL_TIMEOUT:g} s"
    except (OSError, LibTmuxException) as error:  # no descriptor is left, say
        return f"tmux could not be run: {error}"


def _holding_session() -> list[str]:
    size = ["-x", str(conf.COLUMNS), "-y", str(conf.ROWS)]
    return ["new-session", "-d", "-s", HOLDING, "-n", "hold", "-c", "/", *size, *_HOLDING_COMMAND]


def _bounded(call: Callable[[], T], seconds: float) -> T:
    """Run `call`, which cannot be given a time limit, and wait no longer than `seconds`."""
    results: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:  # handed over to the caller below
            errors.append(error)

    # A daemon: if it never returns it must not keep this process from ending.
    thread = threading.Thread(target=work, name="tmux-bounded", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
