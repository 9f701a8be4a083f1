"""Runs `crew` in a process of its own, forked from one that has imported it already.

A test runs many verbs, and nine tenths of what one takes is the start of Python. What differs from
the installed command is that start alone: arguments, environment, directory, standard input and
output are the verb's own. A verb whose environment changes how Python starts is run as installed.

    python forkserver.py DESCRIPTOR      serves the socket; ends with the process at its other end
"""

import array
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# What a start of Python, or of a program that is put into it, reads of the environment.
_STARTS = ("PYTHON", "LD_", "LC_", "FAKETIME", "COVERAGE", "CREW_")
_FDS = 4
_MAX = 1 << 20


class ForkServer:
    """The server's end for tests: start with the first verb, end with `close`."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._socket: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def takes(self, env: Mapping[str, str]) -> bool:
        """Whether a verb with this environment is the same when it is forked."""
        return env.get("LANG") == "C.UTF-8" and not any(name.startswith(_STARTS) for name in env)

    def run(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: str,
        timeout: float,
    ) -> "subprocess.CompletedProcess[str]":
        """As `subprocess.run` with texts. Raises TimeoutExpired after `timeout` seconds, when the
        process has been ended."""
        argv = [str(self._program), *arguments]
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        ends, told = os.pipe()
        try:
            os.pwrite(files[0], stdin.encode(), 0)
            order = json.dumps({"argv": argv, "env": dict(env), "cwd": str(cwd)}).encode()
            try:
                socket.send_fds(self._connection(), [order], [*files, told])
            finally:
                os.close(told)
            status = _status(ends, argv, timeout)
            out, err = (_text(file) for file in files[1:])
        finally:
            for file in (*files, ends):
                os.close(file)
        return subprocess.CompletedProcess(argv, status, out, err)

    def _connection(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    # It is nobody's home: what a test starts is known, and ended, by that.
                    env={"LANG": "C.UTF-8", "PATH": os.environ["PATH"]},
                    stdin=subprocess.DEVNULL,
                )
        return self._socket

    def close(self) -> None:
        if self._socket is not None and self._server is not None:
            self._socket.close()
            self._server.wait(10)


def _status(ends: int, argv: Sequence[str], timeout: float) -> int:
    """The exit status that the process told; one that tells none was killed."""
    said = b""
    end = time.monotonic() + timeout
    os.set_blocking(ends, False)
    while True:
        try:
            chunk = os.read(ends, 64)
        except BlockingIOError:
            if time.monotonic() > end:
                os.kill(int(said.split()[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout) from None
            _wait(ends, end - time.monotonic())
            continue
        if not chunk:
            lines = said.split()
            return int(lines[1]) if len(lines) > 1 else -signal.SIGKILL
        said += chunk


def _wait(descriptor: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(max(1, seconds * 1000))


def _text(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode()


# -- the server ------------------------------------------------------------------------------------


def serve(connection: socket.socket) -> None:
    """Fork for each order until the other end is closed."""
    # Nobody waits for the children: each tells its own exit status.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, fds, _, _ = socket.recv_fds(connection, _MAX, _FDS)
        if not order:
            return
        if os.fork() == 0:
            connection.close()
            _become(json.loads(order), array.array("i", fds))
        for fd in fds:
            os.close(fd)


def _become(order: Mapping[str, object], fds: Sequence[int]) -> None:
    """Be the verb, and never return."""
    *files, told = fds
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.write(told, f"{os.getpid()}\n".encode())
        os.set_inheritable(told, False)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.lseek(0, 0, os.SEEK_SET)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8"
        )
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        status = _verb(order)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os.write(told, f"{status}\n".encode())
        os._exit(0)


def _verb(order: Mapping[str, object]) -> int:
    from orchestrator.cli import main

    argv, env, cwd = order["argv"], order["env"], order["cwd"]
    assert isinstance(argv, list)
    assert isinstance(env, dict)
    os.chdir(str(cwd))
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = argv
    return main()


def _preload() -> None:
    """Import what verbs import, so that no child has to."""
    import orchestrator.blueprints
    import orchestrator.cli
    import orchestrator.sinks.reader
    import orchestrator.trust  # noqa: F401 - for the children


if __name__ == "__main__":
    _preload()
    with socket.socket(fileno=int(sys.argv[1])) as served:
        serve(served)
