"""A real terminal for a `crew` process."""

import os
import pty
import select
import subprocess
import sys

from tests.cli_support import CREW, environment
from tests.support import wait_until

# The leader of a process session that opens a terminal gets it for its own. In a new process, as
# this one has threads: a fork of it could hang.
_TAKE_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A `crew` with a terminal of its own, which this test holds the other end of."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *CREW, *arguments],
            env=environment(TERM="xterm", **environ),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)
        self._process.kill()
        self._process.wait()

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def read(self) -> bool:
        if not select.select([self._master], [], [], 0.05)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def until(self, text: str) -> None:
        wait_until(lambda: (self.read(), text in self.shown)[1], f"{text!r} is shown")

    def wait(self) -> int:
        """Its exit status; what it shows meanwhile is read."""

        def ended() -> bool:
            self.read()
            return self._process.poll() is not None

        wait_until(ended, "it has ended")
        while self.read():
            pass
        return int(self._process.returncode)
