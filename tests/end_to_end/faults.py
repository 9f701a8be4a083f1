"""What the tests of faults share: processes that hang, hooks, terminals, and what has arrived."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.client import Client
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from orchestrator.settings import HOOK
from orchestrator.start import supervisor_argv
from tests.end_to_end.conftest import CREW, Crew
from tests.support import alive, wait_until

HERE = Path(__file__).parent
# The hook that tells of a prompt.
HEARD = "UserPromptSubmit"

# A recorder tells by its screen that it is ready, and by its transcript what it took.
RECORDER = f"""
name = "recorder"
[launch]
command = ["{{python}}", "-I", "{HERE / "recorder.py"}", "{{root}}/{{name}}"]
[transcript]
path = "{{root}}/{{name}}.jsonl"
[screen]
lines = 2
composer = '^> ?(?P<draft>.*)$'
[[screen.patterns]]
match = '^>'
status = "ready"
"""

WRITER = f"""
name = "writer"
[launch]
command = ["{{python}}", "-I", "{HERE / "writer.py"}", "{{root}}/written"]
[[screen.patterns]]
match = '=='
status = "working"
"""


def define(crew: Crew, name: str, text: str) -> None:
    """Give the crew's project a definition of its own."""
    directory = crew.cwd / ".crew/agents"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.toml").write_text(text)


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[None]:
    """The process stands still for as long as this lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def listed(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), f"{pid} is dead")


class Gate:
    """Holds an agent in the middle of its turn: `marker` is what makes it wait here."""

    def __init__(self, crew: Crew, name: str = "gate") -> None:
        self._file = crew.cwd / name
        self._reached = crew.cwd / f"{name}.reached"
        self.command = f"touch {self._reached}; until [ -e {self._file} ]; do sleep 0.02; done"
        self.marker = f"[[tool Bash: {self.command}]]"

    def reached(self) -> None:
        wait_until(self._reached.exists, "the agent has come to the gate", 30)

    def open(self) -> None:
        self._file.touch()


def popen(crew: Crew, *arguments: str) -> "subprocess.Popen[str]":
    """A `crew` process that is not waited for."""
    return subprocess.Popen(
        [str(CREW), *arguments],
        env=crew.env,
        cwd=crew.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def timed(crew: Crew, *arguments: str) -> tuple[float, int, str]:
    """How long a verb takes (s), but for what others had the CPU; its status; all that it says."""
    started = time.monotonic()
    verb = popen(crew, *arguments)
    os.waitid(os.P_PID, verb.pid, os.WEXITED | os.WNOWAIT)
    took = time.monotonic() - started - waited(verb.pid)
    said = "".join(verb.communicate())
    return took, verb.returncode, said


def waited(pid: int) -> float:
    """Seconds that a process, which may be a zombie, could have run while others did."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            found += int(thread.read_text().split()[1])
    return found / 1e9


def connections(socket: Path) -> int:
    """How many have dialled this socket; those that nobody has accepted yet count."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {socket}") for line in lines) - 1  # the listening one


def prompts(crew: Crew, agent: str) -> list[str]:
    """What the agent's conversation took, oldest first."""
    conversation = crew.agent(agent)["conversation"]
    paths = [*crew.state.rglob(f"{conversation}.jsonl"), crew.cwd / f"{agent}.jsonl"]
    found = []
    text = next((p for p in paths if p.exists()), Path(os.devnull)).read_text()
    for line in text.rpartition("\n")[0].splitlines():  # the last one may be half written
        entry = json.loads(line)
        content = entry.get("message", {}).get("content")
        if entry["type"] == "user" and isinstance(content, str):
            found.append(content)
    return found


def contents(path: Path) -> bytes:
    """What a file holds; nothing, if it has just gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def message_to(crew: Crew, agent: str) -> Mapping[str, str]:
    """The one message that is on its way to `agent`; empty if none is."""
    return next((m for m in crew.view()["messages"] if m["to"] == agent), {})


def hooked(crew: Crew, agent: str, prompt: str) -> None:
    """Wait until the hook of this prompt is taken in: one that comes behind the end of its turn
    would be of another."""

    def told() -> bool:
        hooks = journal(crew, "hook_received")
        return any((e["agent"], e["hook"], e["text"]) == (agent, HEARD, prompt) for e in hooks)

    wait_until(told, f"{agent} is heard to take {prompt[:60]!r}", 30)


def begun(crew: Crew) -> None:
    """Wait until the hooks of everybody's start are taken in: a status may be told before them."""

    def told() -> bool:
        hooks = journal(crew, "hook_received")
        starts = {(e["agent"], e["run"]) for e in hooks if e["hook"] == "SessionStart"}
        return all((a["name"], a["run"]) in starts for a in crew.view()["agents"])

    wait_until(told, "everybody's start", 30)
    wait_until(lambda: not listed(crew.state / "spool/new"), "the spool is empty", 30)


def journal(crew: Crew, *kinds: str, since: int = 0) -> list[dict[str, object]]:
    """What has happened after event `since`, as `crew events --json` prints it: asked of the
    supervisor itself, as a process for each look would slow all else down, and of the verb where
    none runs."""
    try:
        with Client.connect(SessionPaths(crew.state), start=False, environ=crew.env) as client:
            told = client.stream("events", timeout=30, since=since, kinds=list(kinds))
            return [line["event"] for line in told]
    except CrewError:
        found = [e for e in crew.events() if e["seq"] > since]
        return [e for e in found if e["kind"] in kinds] if kinds else found


# -- hooks ----------------------------------------------------------------------------------------


def hook_environment(crew: Crew, agent: str) -> dict[str, str]:
    """What the hook script is told by the agent that runs it."""
    return {
        "PATH": "/usr/bin:/bin",
        "CREW_SPOOL": str(crew.state / "spool"),
        "CREW_AGENT": agent,
        "CREW_RUN": str(crew.agent(agent)["run"]),
    }


def payload(event: str, **fields: object) -> bytes:
    return json.dumps({"hook_event_name": event, **fields}).encode() + b"\n"


def run_hook(environ: Mapping[str, str], event: str, data: bytes) -> None:
    """Run the real hook script once."""
    subprocess.run([str(HOOK), event], env=dict(environ), input=data, check=True, timeout=30)


def spool(crew: Crew, name: str, data: bytes) -> None:
    """Put a file into the spool, whole, as a hook does."""
    half = crew.state / "spool/tmp" / name
    half.write_bytes(data)
    half.rename(crew.state / "spool/new" / name)


# -- terminals ------------------------------------------------------------------------------------

# The leader of a process session that opens a terminal gets it for its own.
_TAKE_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Login:
    """A command with a terminal and a process session of its own; everything shown is read."""

    def __init__(self, crew: Crew, *argv: str, columns: int = 80, rows: int = 24) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *argv],
            env=crew.env,
            cwd=crew.cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self.shown += data

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self._master, (rows, columns))

    def members(self) -> list[int]:
        """The live processes of its process session."""
        found = []
        for name in filter(str.isdigit, listed(Path("/proc"))):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(name)) == self._process.pid and alive(int(name)):
                    found.append(int(name))
        return found

    def hang_up(self) -> None:
        """The connection drops: the whole process session gets SIGHUP."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
        wait_until(lambda: not self.members(), "nothing of the login is left", 30)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        # The last program on the other end has gone, which ends the reader.
        self._reader.join(5)
        os.close(self._master)


def supervise(crew: Crew, **environ: str) -> "subprocess.Popen[str]":
    """Start the session's supervisor with an environment of its own; the caller ends it."""
    process = subprocess.Popen(
        supervisor_argv(crew.session),
        env={**crew.env, **environ},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"env": crew.env}) + "\n")
    process.stdin.close()
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process
