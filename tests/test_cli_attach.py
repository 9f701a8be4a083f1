"""attach: a real terminal goes to a real tmux server."""

import dataclasses
import os
import signal
import subprocess
import termios
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.state import SessionState, empty_world
from orchestrator.locations import session_paths
from orchestrator.tmux import conf
from orchestrator.verbs import terminal as lending
from orchestrator.verbs.attach import attach_argv, is_coming, is_nested
from tests.cli_support import CREW, crew, environment, record, refused
from tests.fake_supervisor import FakeSupervisor, agent, session
from tests.support import alive, end, wait_until
from tests.terminal import Terminal
from tests.tmux.screens import Screen, terminal


@pytest.fixture
def fake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSupervisor]:
    monkeypatch.chdir(home)
    with FakeSupervisor(session_paths("demo"), agent("boss"), agent("worker")) as fake:
        yield fake


class Tmux:
    """A real tmux server with the windows that a session has."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.run("-f", "/dev/null", "new-session", "-d", "-s", "_crew", "cat")
        self.run("new-session", "-d", "-s", "demo", "-n", "boss", "cat")
        self.run("new-window", "-t", "=demo:", "-n", "worker", "cat")
        self.run("split-window", "-t", "=demo:worker", "cat")
        self.run("select-window", "-t", "=demo:boss")
        self.pid = int(self.run("display-message", "-p", "#{pid}"))

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments],
            capture_output=True,
            check=True,
            timeout=60,
            text=True,
        )
        return done.stdout.strip()

    def client(self) -> str:
        return self.run("list-clients", "-F", "#{client_session} #{window_name} #{pane_id}")


@pytest.fixture
def tmux(fake: FakeSupervisor) -> Iterator[Tmux]:
    fake.publish(state="up")
    tmux = Tmux(fake.paths.tmux_socket)
    yield tmux
    end(tmux.pid)
    wait_until(lambda: not alive(tmux.pid), "the tmux server is gone")


def attached(fake: FakeSupervisor, target: str | None) -> None:
    socket = str(fake.paths.tmux_socket)
    fake.handlers["attach"] = lambda _: {"socket": socket, "target": target}


@pytest.mark.parametrize(
    ("arguments", "target", "window", "pane"),
    [
        (["attach"], None, "boss", 0),
        (["attach"], "=demo", "boss", 0),
        (["attach", "worker"], "=demo:worker", "worker", 1),
        (["attach", "worker"], "pane 0", "worker", 0),
    ],
)
def test_attach_goes_to_the_agent(
    fake: FakeSupervisor,
    tmux: Tmux,
    arguments: list[str],
    target: str | None,
    window: str,
    pane: int,
) -> None:
    panes = tmux.run("list-panes", "-t", f"=demo:{window}", "-F", "#{pane_id}").split()
    attached(fake, panes[0] if target == "pane 0" else target)
    with Terminal(*arguments) as terminal:
        wait_until(lambda: (terminal.read(), tmux.client())[1], "it is attached")
        wait_until(lambda: tmux.client() == f"demo {window} {panes[pane]}", "it is at the agent")
        tmux.run("detach-client", "-s", "=demo")
        assert terminal.wait() == 0


@pytest.mark.parametrize("nested", [True, False])
def test_tmux_is_told_whether_it_is_in_another_one(
    fake: FakeSupervisor, tmux: Tmux, nested: bool
) -> None:
    attached(fake, None)
    around = {"TMUX": "/tmp/other,1,0" if nested else "", "TMUX_PANE": "%9"}
    with Terminal("attach", **around) as terminal:
        wait_until(lambda: (terminal.read(), tmux.client())[1], "it is attached")
        tty = tmux.run("list-clients", "-F", "#{client_tty}")
        assert tmux.run("show-options", "-gqv", conf.NESTED).split() == [tty] * nested
        tmux.run("detach-client", "-s", "=demo")
        assert terminal.wait() == 0
        assert "crew:" not in terminal.shown


def test_a_tmux_around_us_is_one_that_takes_our_prefix(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.verbs.attach.OUTER", 60.0)
    assert not is_nested({"TERM": "xterm-256color"})
    # Through ssh.
    assert is_nested({"TERM": "tmux-256color"})
    assert is_nested({"TERM": "screen"})
    assert not is_nested({"TERM": "screen", "STY": "1.pts-1"})
    with terminal(home, 80, 24) as screen:
        around = {"PATH": os.environ["PATH"], "TERM": "screen", "TMUX": f"{screen.socket},1,0"}
        assert is_nested(around)
        screen.tmux("set-option", "-g", "prefix", "C-a")
        assert not is_nested(around)
    assert is_nested(around)


def test_up_can_attach(fake: FakeSupervisor, tmux: Tmux) -> None:
    attached(fake, None)
    Path("crew.toml").write_text('name = "demo"\n[[agents]]\nname = "boss"\ncli = "shell"\n')
    fake.publish(root=str(Path.cwd()))
    with Terminal("up", "--attach", "--trust") as terminal:
        wait_until(lambda: (terminal.read(), tmux.client())[1], "it is attached")
        tmux.run("detach-client", "-s", "=demo")
        assert terminal.wait() == 0
    assert len(fake.asked("up")) == 1


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["attach"], "use `crew logs AGENT` without one"),
        (["attach", "boss"], "use `crew logs AGENT` without one"),
        (["up", "--attach"], "leave out --attach without one"),
    ],
)
def test_attach_needs_a_terminal(fake: FakeSupervisor, arguments: list[str], remedy: str) -> None:
    verb = " ".join(a for a in arguments if a != "boss")
    refused(crew(*arguments), 2, f"`crew {verb}` needs a terminal: {remedy}")
    assert not fake.lines


def test_the_tmux_command() -> None:
    def argv(target: str | None, **more: str) -> list[str]:
        return attach_argv({"socket": "/s", "target": target, **more}, "demo", ["first", "x"])

    whole = ["tmux", "-N", "-S", "/s", "first", "x", ";", "attach-session", "-t", "=demo"]
    assert argv(None) == whole
    assert argv("=demo") == whole
    window = [*whole, ";", "select-window", "-t"]
    assert argv("=demo:3") == [*window, "=demo:3"]
    assert argv("%4") == [*window, "%4", ";", "select-pane", "-t", "%4"]
    assert argv(None, root="/a/c#/x") == [*whole, "-c", "/a/c##/x"]


def test_where_there_will_soon_be_a_pane_it_is_waited_for() -> None:
    def view(*agents: dict[str, Any], **more: Any) -> dict[str, Any]:
        return session("demo", *agents, **more)

    there = agent("boss")
    coming = agent("worker", "starting", pane=None)
    stopped = agent("worker", "stopped", pane=None, wanted=False)
    given_up = agent("worker", "failed", pane=None)
    assert not is_coming(view(there, coming), None)
    assert is_coming(view(there, coming), "worker")
    assert is_coming(view(coming), None)
    assert not is_coming(view(coming), "nobody")
    assert not is_coming(view(coming, state="paused"), None)
    assert not is_coming(view(coming, state="down"), None)
    assert not is_coming(view(stopped), None)
    assert not is_coming(view(given_up), "worker")
    # The supervisor has not heard of the loss yet.
    assert is_coming(view(there, server=7), None, lost=7)
    assert is_coming(view(coming, server=None), None, lost=7)
    assert not is_coming(view(given_up, server=None), None, lost=7)
    assert not is_coming(view(there, server=8), None, lost=7)


def test_attach_waits_for_a_pane_that_is_on_its_way(fake: FakeSupervisor, tmux: Tmux) -> None:
    away = [agent(name, "lost", pane=None) for name in ("boss", "worker")]
    fake.publish(agents=away, server=None)
    attached(fake, None)
    with Terminal("attach") as terminal:
        wait_until(lambda: fake.asked("watch"), "it looks")
        assert not fake.asked("attach")
        fake.publish(agents=[agent("worker")])
        wait_until(lambda: (terminal.read(), tmux.client())[1], "it is attached")
        tmux.run("detach-client", "-s", "=demo")
        assert terminal.wait() == 0


# -- the server is lost ---------------------------------------------------------------------------


class Person:
    """A person who is attached, in a shell of their own."""

    def __init__(self, screen: Screen, tmux: Tmux) -> None:
        self.screen = screen
        self.tmux = tmux

    def attach(self, *arguments: str) -> None:
        self.screen.run(*CREW, "attach", *arguments)
        wait_until(self.tmux.client, "attached")
        wait_until(lambda: self.modes()[0] == "1", "tmux has the terminal")

    def modes(self) -> str:
        """The other screen, mouse, application keys and keypad, the cursor."""
        return self.screen.format(
            "#{alternate_on}#{mouse_any_flag}#{keypad_cursor_flag}#{keypad_flag}#{cursor_flag}"
        )

    def terminal(self) -> list[Any]:
        fd = os.open(self.screen.format("#{pane_tty}"), os.O_RDWR | os.O_NOCTTY)
        try:
            return termios.tcgetattr(fd)
        finally:
            os.close(fd)


@pytest.fixture
def person(fake: FakeSupervisor, tmux: Tmux, home: Path) -> Iterator[Person]:
    tmux.run("set-option", "-g", "mouse", "on")
    tmux.run("set-option", "-g", "focus-events", "on")
    attached(fake, None)
    fake.publish(server=tmux.pid)
    record(dataclasses.replace(empty_world("demo"), state=SessionState.UP))
    environ = environment(TERM="xterm-256color", PS1="prompt$ ", ENV="", XDG_STATE_HOME="")
    with terminal(home, 80, 24, "bash", "--norc", "-i", **environ) as screen:
        screen.wait_for("prompt$")
        yield Person(screen, tmux)


def test_a_lost_server_leaves_the_terminal_as_it_was(fake: FakeSupervisor, person: Person) -> None:
    before = person.modes()
    person.attach()
    assert person.modes() != before
    end(person.tmux.pid)
    person.screen.wait_for("crew: tmux was lost: waiting for the team to come back")
    assert person.modes() == before
    # The line editor of the shell has its own: what a program gets is what counts.
    flags = person.terminal()
    assert flags[3] & termios.ICANON
    assert flags[3] & termios.ECHO
    assert flags[0] & termios.ICRNL
    gone = [agent(name, "failed", pane=None) for name in ("boss", "worker")]
    sentence = "nothing runs here to attach to: `crew up` starts the team"
    fake.handlers["attach"] = lambda _: {"exit": 1, "error": sentence}
    fake.publish(server=None, agents=gone)
    person.screen.wait_for("crew: nothing runs here to attach to")
    person.screen.run("echo", "all", "is", "well")
    person.screen.wait_for("\nall is well")
    assert "server exited" not in person.screen.text()


def test_it_comes_back_when_the_team_does(fake: FakeSupervisor, person: Person) -> None:
    person.attach()
    end(person.tmux.pid)
    person.screen.wait_for("crew: tmux was lost")
    wait_until(lambda: not alive(person.tmux.pid), "nobody listens on its socket")
    again = Tmux(fake.paths.tmux_socket)
    try:
        fake.publish(server=again.pid)
        wait_until(again.client, "attached again")
        again.run("detach-client", "-s", "=demo")
        person.screen.wait_for("[detached (from session demo)]")
        person.screen.run("echo", "all", "is", "well")
        person.screen.wait_for("\nall is well")
    finally:
        end(again.pid)


def test_a_server_that_is_gone_between_answer_and_attaching(
    fake: FakeSupervisor, person: Person
) -> None:
    """Once it is waited for; a second time is an error, in tmux's words."""
    end(person.tmux.pid)
    wait_until(lambda: not alive(person.tmux.pid), "the server is gone")
    person.screen.run(*CREW, "attach")
    person.screen.wait_for("crew: tmux was lost")
    fake.publish(server=person.tmux.pid + 1)
    person.screen.wait_for("crew: tmux: no server running on")


def test_the_end_of_the_team_is_told_in_a_sentence(fake: FakeSupervisor, person: Person) -> None:
    person.attach()
    record(dataclasses.replace(empty_world("demo"), state=SessionState.DOWN))
    person.tmux.run("kill-server")
    person.screen.wait_for("crew: session demo is down: `crew restore demo` brings it back")
    person.screen.run("echo", "all", "is", "well")
    person.screen.wait_for("\nall is well")


def test_a_person_may_suspend_it(person: Person) -> None:
    person.attach()
    person.screen.type("C-b", "C-z")
    person.screen.wait_for("Stopped")
    person.screen.run("fg")
    wait_until(lambda: person.modes()[0] == "1", "back in tmux")
    person.screen.type("C-b", "d")
    person.screen.wait_for("[detached (from session demo)]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_it_ends_the_client(person: Person, number: signal.Signals) -> None:
    person.attach()
    client = int(person.tmux.run("list-clients", "-F", "#{client_pid}"))
    parent = int(Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, number)
    wait_until(lambda: not alive(client), "the client has ended")
    person.screen.wait_for("prompt$")
    person.screen.run("echo", "all", "is", "well")
    person.screen.wait_for("\nall is well")
    wait_until(lambda: not person.tmux.client(), "tmux knows of it")


def test_what_ends_it_in_the_moment_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn, started = os.posix_spawnp, []

    def spawned(*given: Any, **how: Any) -> int:
        started.append(spawn(*given, **how))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(os, "posix_spawnp", spawned)
    monkeypatch.setattr(lending.Terminal, "__init__", lambda _: None)
    monkeypatch.setattr(lending.Terminal, "put_in_order", lambda _: None)
    try:
        with pytest.raises(SystemExit) as ended:
            lending.Terminal().lend(["sleep", "1000"], os.environ)
        assert ended.value.code == 128 + signal.SIGTERM
    finally:
        end(started[0])


def test_what_a_person_opens_starts_in_the_root_and_runs_nothing(
    fake: FakeSupervisor, person: Person, home: Path
) -> None:
    canary = home / "canary"
    root = home / f"#(touch {canary.name}) #{{pid}} c# $(touch {canary.name})"
    root.mkdir()
    fake.handlers["attach"] = lambda _: {
        "socket": str(fake.paths.tmux_socket),
        "target": None,
        "root": str(root),
    }
    person.attach()
    path = ["display-message", "-p", "#{pane_current_path}"]

    def count() -> int:
        return len(person.tmux.run("list-panes", "-s").splitlines())

    for keys in ("c", '"', "%"):
        before = count()
        person.screen.type("C-b", keys)
        wait_until(partial(lambda before: count() > before, before), f"a shell of C-b {keys}")
        wait_until(lambda: person.tmux.run(*path) == str(root), f"the root, after C-b {keys}")
    assert not list(home.rglob("canary"))
    assert not (Path.cwd() / "canary").exists()
