"""The hook that may answer: it waits beside the dialog, says nothing unasked, holds nobody up."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.core.spec import HooksSpec
from orchestrator.locations import SessionPaths, session_paths
from orchestrator.sources.spool import Entry, Spool
from tests.core.worlds import CLI, agent_spec
from tests.counts import measured
from tests.support import alive, wait_until

PAYLOAD = json.dumps({"hook_event_name": "PermissionRequest", "tool_name": "Bash"}).encode()
DENY = {"behavior": "deny", "message": 'not "this"\n'}
# What starting a Python may take here, beside what is measured; tries of which the best counts.
PYTHON, TRIES = 5.0, 5


def command(hook: Path = settings.HOOK, script: Path = settings.ASKING) -> str:
    """What the CLI's settings have it run."""
    hooks = HooksSpec(dialect="claude", events=("PermissionRequest",), answers=True)
    cli = {**{f: getattr(CLI, f) for f in CLI.__dataclass_fields__}, "hooks": hooks}
    whole = settings.build(type(CLI)(**cli), agent_spec("a"), "/", Path("/nowhere"))
    text: str = whole["hooks"]["PermissionRequest"][0]["hooks"][0]["command"]
    return text.replace(str(settings.HOOK), str(hook)).replace(str(settings.ASKING), str(script))


class Running:
    """The hook as the CLI runs it."""

    def __init__(self, paths: SessionPaths, text: str) -> None:
        environ = {"PATH": "/usr/bin:/bin", "CREW_SPOOL": str(paths.spool)}
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", text],
            env={**environ, "CREW_AGENT": "a", "CREW_RUN": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(PAYLOAD)
        self.process.stdin.close()
        self.process.stdin = None

    def ended(self) -> tuple[int, bytes, bytes]:
        """Its status, what it printed, what it complained of."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


SILENT = (0, b"", b"")


class Line:
    """The connection of a hook, with the request that came over it."""

    def __init__(self, server: socket.socket) -> None:
        self.socket, _ = server.accept()
        self.socket.settimeout(20)
        with self.socket.makefile("rb") as file:
            self.request: dict[str, Any] = json.loads(file.readline())

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def decide(self, decision: object, exit: int = 0) -> None:
        answer = {"id": self.request["id"], "exit": exit, "decision": decision}
        self.say(json.dumps(answer).encode() + b"\n")

    def closed(self) -> bool:
        return self.socket.recv(1) == b""

    def peer(self) -> int:
        """The process at its other end."""
        found = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(found[:4], sys.byteorder)


class Rig:
    """A session's directory; hooks that are run there, and a socket where they find somebody."""

    def __init__(self, paths: SessionPaths) -> None:
        self.paths = paths
        self.stack = contextlib.ExitStack()
        self.server: socket.socket | None = None
        for directory in paths.directories():
            directory.mkdir(parents=True, exist_ok=True)

    def run(self, text: str | None = None) -> Running:
        running = Running(self.paths, text or command())
        self.stack.callback(running.close)
        return running

    def quickest(self) -> float:
        """Seconds that a hook takes which finds nobody: the best of a few on a busy machine."""
        took = []
        for _ in range(TRIES):
            began = time.monotonic()
            assert self.run().ended() == SILENT
            took.append(time.monotonic() - began)
        return min(took)

    def listen(self) -> None:
        self.server = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        self.server.bind(str(self.paths.socket))
        self.server.listen(5)
        self.server.settimeout(20)

    def asked(self) -> Line:
        """The next hook that asks."""
        assert self.server is not None
        line = Line(self.server)
        self.stack.callback(line.socket.close)
        return line

    def told(self) -> list[str]:
        """What lies in the spool."""
        return [path.name for path in (self.paths.spool / "new").iterdir()]


@pytest.fixture
def rig(home: Path) -> Iterator[Rig]:
    del home
    rig = Rig(session_paths("demo"))
    with rig.stack:
        yield rig


@pytest.fixture
def heard(rig: Rig) -> Rig:
    """With a supervisor that listens."""
    rig.listen()
    return rig


def test_it_tells_who_asks_and_prints_what_was_decided(heard: Rig) -> None:
    hook = heard.run()
    line = heard.asked()
    (name,) = heard.told()
    assert (heard.paths.spool / "new" / name).read_bytes() == PAYLOAD
    (key,) = Spool(heard.paths.spool, print).keys()
    assert line.request == {"id": name, "verb": "asked", "agent": "a", "run": 3, "key": key}
    assert hook.process.poll() is None, "it waits"
    line.decide(DENY)
    status, out, err = hook.ended()
    assert json.loads(out) == {
        "hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": DENY}
    }
    assert (status, err) == (0, b"")


def test_the_key_is_right_although_the_file_is_gone_at_once(heard: Rig) -> None:
    """The supervisor reads and unlinks it while Python starts."""
    new = heard.paths.spool / "new"
    taken: list[str] = []
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            for path in new.iterdir():
                taken.append(Entry(path.stat().st_mtime_ns, 0, path.name).key)
                path.unlink()

    consumer = threading.Thread(target=take)
    consumer.start()
    try:
        for n in range(5):
            hook = heard.run()
            line = heard.asked()
            wait_until(lambda n=n: len(taken) > n, "it is taken")  # type: ignore[misc] # early binding
            assert line.request["key"] == taken[-1]
            line.decide({"behavior": "allow"})
            assert b'"allow"' in hook.ended()[1]
    finally:
        over.set()
        consumer.join()
    assert len(taken) == 5


def test_no_supervisor(rig: Rig) -> None:
    took = rig.quickest()
    measured("asking hook without a supervisor", took * 1000, "ms")
    assert took < PYTHON
    assert len(rig.told()) == TRIES


def test_a_supervisor_that_hangs_is_not_waited_for(heard: Rig) -> None:
    """Its queue of connections is full: connecting itself would wait."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(BlockingIOError):
            while True:
                one = stack.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(str(heard.paths.socket))
        took = heard.quickest()
    measured("asking hook before a supervisor that hangs", took * 1000, "ms")
    assert took < 0.1 + PYTHON
    assert len(heard.told()) == TRIES


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"no JSON\n",
        b"[]\n",
        b'{"exit": 0}\n',
        b'{"exit": 0, "decision": null}\n',
        b'{"exit": 0, "decision": "allow"}\n',
        b'{"exit": 1, "decision": {"behavior": "allow"}}\n',
        b'{"exit": 0, "decision": {"behavior": "allow"}}',
        b'{"id": "\xff"}\n',
    ],
)
def test_what_is_no_decision_says_nothing(heard: Rig, said: bytes) -> None:
    hook = heard.run()
    line = heard.asked()
    line.say(said)
    line.socket.close()
    assert hook.ended() == SILENT


def test_an_endless_line_is_not_read_for_ever(heard: Rig) -> None:
    hook = heard.run()
    line = heard.asked()
    with contextlib.suppress(ConnectionError):
        while True:
            line.say(b"x" * 65536)
    assert hook.ended() == SILENT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_it_can_be_ended(heard: Rig, number: signal.Signals) -> None:
    """crew-hook itself takes no notice of a terminal that goes away; who waits does."""
    hook = heard.run()
    line = heard.asked()
    hook.process.send_signal(number)
    assert line.closed(), "nothing is left that waits"
    _, *said = hook.ended()
    assert said == [b"", b""]


def test_it_ends_when_nobody_reads_its_answer(heard: Rig) -> None:
    hook = heard.run()
    line = heard.asked()
    assert hook.process.stdout is not None
    hook.process.stdout.close()
    assert line.closed()
    assert hook.process.wait(20) == 0


def test_it_is_one_process(heard: Rig) -> None:
    """Whoever kills the hook that it started has killed it all."""
    hook = heard.run()
    line = heard.asked()
    peer = line.peer()
    children = Path(f"/proc/{hook.process.pid}/task/{hook.process.pid}/children").read_text()
    assert (peer, children) == (hook.process.pid, "")
    line.decide(None)
    assert hook.ended() == SILENT
    wait_until(lambda: not alive(peer), "it is gone")


@pytest.mark.parametrize("gone", ["the script", "its right to be read", "python"])
def test_what_is_missing_answers_nothing(heard: Rig, gone: str) -> None:
    """A Python without its script ends with status 2, which may refuse the tool."""
    script = heard.paths.root / "asking.py"
    text = command(script=script)
    if gone == "python":
        shutil.copy(settings.ASKING, script)
        text = text.replace(sys.executable, f"{sys.executable}-gone")
    elif gone == "its right to be read":
        script.mkdir()  # read as a program it fails, whoever runs this
    assert heard.run(text).ended() == SILENT
    assert len(heard.told()) == 1


@pytest.mark.parametrize("missing", ["CREW_SPOOL", "CREW_AGENT", "CREW_RUN"])
def test_outside_of_a_crew_it_does_nothing(rig: Rig, missing: str) -> None:
    environ = {"CREW_SPOOL": str(rig.paths.spool), "CREW_AGENT": "a", "CREW_RUN": "1"}
    del environ[missing]
    done = subprocess.run(
        ["/bin/sh", "-c", command()],
        env={"PATH": os.environ["PATH"], **environ},
        input=PAYLOAD,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert (done.stdout, done.stderr, rig.told()) == (b"", b"", [])
