"""Live screens through the real supervisor: at once, with colours, and only what differs."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.frames import follow
from orchestrator.core.styles import standalone
from tests.counts import measured
from tests.end_to_end.conftest import Crew
from tests.end_to_end.conftest import crew as crew
from tests.support import wait_until

Json = dict[str, Any]

SHELL = '[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ ", TERM = "xterm-256color" }\n'
DEMO = '[[agents]]\nname = "a"\n'
BLOCK = "printf '\\033[44mone\\ntwo\\033[0m\\n'"
RED = "printf '\\033[1;31mred\\033[0m %s\\n' words"


class Stream:
    """One request on the session's socket, and its answers as they come."""

    def __init__(self, path: Path, verb: str, **arguments: str) -> None:
        self.verb = verb
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.buffer = b""
        # What an answer of `screen` makes of the one before it, and how many bytes each one took.
        self.screen: Json | None = None
        self.sizes: list[int] = []
        request = {"id": "r", "verb": verb, **arguments}
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def next(self, deadline: float = 20.0) -> Json | None:
        """The next line, that of a screen made whole; None when the connection was closed.

        TimeoutError after `deadline` s.
        """
        end = time.monotonic() + deadline
        while b"\n" not in self.buffer:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            chunk = self.socket.recv(65536)
            if not chunk:
                return None
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.sizes.append(len(line))
        found: Json = json.loads(line)
        assert found.pop("id") == "r"
        if self.verb != "screen" or "exit" in found:
            return found
        self.screen = follow(self.screen, found)
        return {"screen": self.screen}

    def until(self, look: Callable[[Json], object], what: str, deadline: float = 20.0) -> Json:
        """The first line that `look` is true of."""
        end = time.monotonic() + deadline
        seen: list[Json | None] = []
        try:
            while (line := self.next(end - time.monotonic())) is not None:
                seen.append(line)
                if look(line):
                    return line
        except TimeoutError:
            pass
        raise AssertionError(f"not within {deadline} s: {what}: {seen[-2:]}")

    def frame(self, look: Callable[[Json], object], what: str, deadline: float = 20.0) -> Json:
        """The first screen that `look` is true of."""
        line = self.until(lambda line: line["screen"] and look(line["screen"]), what, deadline)
        screen: Json = line["screen"]
        return screen

    def within(self, seconds: float) -> list[Json]:
        """All lines that come in so many seconds."""
        end, lines = time.monotonic() + seconds, []
        try:
            while (line := self.next(end - time.monotonic())) is not None:
                lines.append(line)
        except TimeoutError:
            pass
        return lines

    def close(self) -> None:
        self.socket.close()


Ask = Callable[..., Stream]


@pytest.fixture
def ask(crew: Crew) -> Iterator[Ask]:
    """`ask(verb, ...)`: a stream of the session's supervisor, closed with the test."""
    made: list[Stream] = []

    def ask(verb: str, **arguments: str) -> Stream:
        made.append(Stream(crew.state / "crew.sock", verb, **arguments))
        return made[-1]

    yield ask
    for stream in made:
        stream.close()


def shows(text: str) -> Callable[[Json], bool]:
    return lambda screen: any(text in line for line in screen["lines"])


def stands_at(row: int) -> Callable[[Json], bool]:
    """At a new prompt there. The cursor is asked for behind the lines: it may be newer."""
    return lambda s: s["cursor"] == [2, row] and s["lines"][row].rstrip().endswith("$")


def types(crew: Crew, pane: str, line: str) -> None:
    crew.tmux("send-keys", "-t", pane, "-l", line)
    crew.tmux("send-keys", "-t", pane, "Enter")


def watches(pid: int) -> int:
    """How many files the process has inotify watch, over all its descriptors."""
    found = 0
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += entry.read_text().count("\ninotify ")
    return found


def steady_watches(pid: int) -> int:
    """The number, once it has stood for a second: one that fires is set again a moment later."""
    seen, since = -1, 0.0

    def stands() -> bool:
        nonlocal seen, since
        now = watches(pid)
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    wait_until(stands, "nothing is watched anew")
    return seen


def test_each_line_has_all_of_its_colours() -> None:
    lines = [
        "\x1b[1m\x1b[31ma",
        "",
        "\x1b[38;2;1;2;3m\x1b[44mb",
        "c\x1b[0m",
        "d\x1b[0;4m\x1b[32m",
        "e\x1b[39m",
        "f\x1b[m",
        "g",
    ]
    assert standalone(lines) == [
        lines[0],
        "",
        "\x1b[1m\x1b[31m" + lines[2],
        "\x1b[1m\x1b[38;2;1;2;3m\x1b[44m" + lines[3],
        lines[4],
        "\x1b[0;4m\x1b[32m" + lines[5],
        "\x1b[0;4m" + lines[6],
        "g",
    ]


def test_a_screen_is_shown_at_once_and_again_when_it_differs(crew: Crew, ask: Ask) -> None:
    crew.blueprint(SHELL)
    crew.up()
    pane = str(crew.wait_status(s="ready")["agents"][0]["pane"])
    pid = crew.supervisor()
    before = steady_watches(pid)

    asked = time.monotonic()
    one = ask("screen", agent="s")
    first = one.next()
    measured("crew screen: first frame", (time.monotonic() - asked) * 1000, "ms")
    assert first is not None
    screen = first["screen"]
    columns, rows = crew.tmux(
        "display-message", "-p", "-t", pane, "#{pane_width} #{pane_height}"
    ).split()
    assert (screen["agent"], screen["run"]) == ("s", 1)
    assert (screen["columns"], screen["rows"]) == (int(columns), int(rows))
    assert (screen["lines"][0].rstrip(), screen["cursor"]) == ("$", [2, 0])
    wait_until(lambda: watches(pid) == before + 1, "it is followed")

    types(crew, pane, RED)
    screen = one.frame(stands_at(2), "the command's output and a new prompt")
    assert screen["lines"][1].startswith("\x1b[1m\x1b[31mred"), "the colours are kept"
    assert screen["lines"][1].rstrip().endswith("words")
    types(crew, pane, BLOCK)
    screen = one.frame(stands_at(5), "a block of two lines")
    assert screen["lines"][4].startswith("\x1b[44mtwo"), "its second line has its colour as well"
    wait_until(lambda: not one.within(1.0), "nothing while nothing changes", 20)

    two = ask("screen", agent="s")
    present = {"screen": one.screen}
    assert two.next() == present, "a second viewer has the present screen at once"
    wait_until(lambda: watches(pid) == before + 1, "one watch, however many look")
    two.close()
    types(crew, pane, "printf '\\033[?25l'")
    one.frame(lambda s: s["cursor"] is None, "the cursor is hidden; the other viewer is still told")

    types(crew, pane, "while :; do date +%N; done")
    one.frame(lambda s: s["lines"][0].strip().isdigit(), "a busy screen")
    # Some two seconds: what comes late on a busy machine comes on top of what is in time.
    wait_until(lambda: 2 <= len(one.within(2.0)) <= 9, "at most four a second", 20)
    crew.tmux("send-keys", "-t", pane, "C-c")
    one.close()
    wait_until(lambda: watches(pid) == before, "nothing is followed for nobody")


def test_of_a_screen_on_which_one_line_is_redrawn_that_line_is_told(crew: Crew, ask: Ask) -> None:
    crew.blueprint(SHELL)
    crew.up()
    pane = str(crew.wait_status(s="ready")["agents"][0]["pane"])
    one = ask("screen", agent="s")
    types(crew, pane, "clear; seq -f 'line %g of a screen that is full of such lines' 20")
    one.frame(stands_at(20), "a full screen, and a prompt")
    two = ask("screen", agent="s")
    assert two.next() == {"screen": one.screen}
    whole = two.sizes[0]
    crew.tmux("send-keys", "-t", pane, "-l", "x")
    frame = one.frame(lambda s: s["lines"][20].rstrip() == "$ x", "what is typed")
    assert two.frame(shows("$ x"), "for the other viewer as well") == frame
    assert max(one.sizes[-1], two.sizes[-1]) < whole / 5
    measured("crew screen: one line of 20 redrawn, the whole is told in", whole, "bytes")
    measured("crew screen: one line of 20 redrawn, what differs in", one.sizes[-1], "bytes")


def test_the_screen_is_that_of_the_pane_that_the_agent_has_now(crew: Crew, ask: Ask) -> None:
    crew.blueprint(SHELL + DEMO)
    crew.up()
    view = crew.wait_status(s="ready", a="ready")
    panes = {agent["name"]: str(agent["pane"]) for agent in view["agents"]}
    shell, demo = ask("screen", agent="s"), ask("screen", agent="a")
    shell.frame(shows("$"), "the first run")
    width = demo.frame(lambda s: s["run"] == 1, "the demo agent")["columns"] - 10
    window = crew.tmux("display-message", "-p", "-t", panes["a"], "#{window_id}").strip()
    crew.tmux("resize-window", "-t", window, "-x", str(width))
    demo.frame(lambda s: s["columns"] == width, "a resize brings a frame")

    crew.run("restart", "s")
    shell.frame(lambda s: s["run"] == 2 and shows("$")(s), "the second run")
    types(crew, str(crew.agent("s")["pane"]), RED)
    shell.frame(shows("\x1b[31mred"), "its own terminal is followed")

    os.kill(crew.view()["server"], signal.SIGKILL)
    shell.until(lambda line: line["screen"] is None, "no pane, no screen")
    # One more run than that, where its own end was seen well before the server's.
    shell.frame(lambda s: s["run"] > 2 and shows("$")(s), "restored on another server")
    types(crew, str(crew.agent("s")["pane"]), RED)
    shell.frame(shows("\x1b[31mred"), "and followed there")

    log = crew.state / "supervisor.log"
    assert "not followed any more" not in log.read_text()


def test_who_may_look_and_at_whom(crew: Crew, ask: Ask) -> None:
    crew.blueprint(SHELL)
    crew.up()
    pane = str(crew.wait_status(s="ready")["agents"][0]["pane"])
    refused = ask("screen", agent="nobody").next()
    assert refused == {"exit": 2, "error": "there is no agent 'nobody' here: there is s"}
    script, answer = crew.home / "look.py", crew.home / "answer"
    script.write_text(
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        """s.sendall(b'{"id":"r","verb":"screen","agent":"s"}\\n')\n"""
        "line = s.makefile().readline()\n"
        "open(sys.argv[2] + '.new', 'w').write(line)\n"
        "os.rename(sys.argv[2] + '.new', sys.argv[2])\n"
    )
    words = (sys.executable, script, crew.state / "crew.sock", answer)
    types(crew, pane, " ".join(map(str, words)))
    wait_until(answer.exists, "an agent may look")
    assert json.loads(answer.read_text())["screen"]["agent"] == "s"


def test_streams_end_with_the_session_and_break_with_the_supervisor(crew: Crew, ask: Ask) -> None:
    crew.blueprint(DEMO)
    crew.up()
    crew.wait_status(a="ready")
    streams = [ask("watch"), ask("screen", agent="a"), ask("screen", agent="a")]
    for stream in streams:
        stream.next()
    os.kill(crew.supervisor(), signal.SIGTERM)
    for stream in streams:
        assert all("exit" not in line for line in iter(stream.next, None)), "it may come back"
    crew.wait_status(a="ready")
    watch, screen = ask("watch"), ask("screen", agent="a")
    crew.run("down")
    told = list(iter(watch.next, None))
    assert told[-1] == {"exit": 0}
    assert any(line.get("change", {}).get("state") == "down" for line in told)
    assert list(iter(screen.next, None))[-2:] == [{"screen": None}, {"exit": 0}]
    log = (crew.state / "supervisor.log").read_text()
    assert "Traceback" not in log
    assert " ERROR " not in log
