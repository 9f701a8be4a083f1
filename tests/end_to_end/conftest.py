"""A whole crew for a test: the real command line, supervisor, tmux and agents, in an own HOME."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.client import Client
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from tests.claude.fixtures import api as api
from tests.claude.fixtures import claude_cli as claude_cli
from tests.end_to_end import aftermath, audited
from tests.end_to_end.claude_team import claude as claude
from tests.support import alive, wait_until

CREW = Path(sys.executable).with_name("crew")

QUICK = """
name = "{name}"
root = "."

[defaults]
cli = "demo"
env = {{ DEMO_AGENT_PACE = "0" }}

"""


class Crew:
    """One person's crew. Everything is asked of the command line, as a person would."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd
        self.session = "demo"
        # Supervisors cannot notice all that happens; and by session, what they had not at the end.
        self.blind = False
        self.unnoticed: dict[str, str | None] = {}
        self.env: dict[str, str] = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "SHELL": "/bin/sh",
        }
        for name in ("CREW_TEST_RUN", "COVERAGE_PROCESS_START"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    @property
    def state(self) -> Path:
        return self.home / ".local/state/crewmux" / self.session

    def run(
        self,
        *arguments: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 50,
        stdin: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `crew ARGUMENTS`; with `check`, its exit status must be 0."""
        done = subprocess.run(
            [str(CREW), *arguments],
            env={**self.env, **(env or {})},
            cwd=cwd or self.cwd,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, (
                f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        assert "Traceback" not in done.stderr
        return done

    __call__ = run

    def blueprint(self, text: str, name: str = "t") -> None:
        """Write `crew.toml` and trust it; later verbs are about session `name`."""
        self.session = name
        (self.cwd / "crew.toml").write_text(QUICK.format(name=name) + text)

    def up(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("up", "--trust", *arguments)

    def view(self) -> dict[str, Any]:
        """What `crew status --json` prints: asked of the supervisor itself, and of the verb where
        none answers at once."""
        found: dict[str, Any]
        with contextlib.suppress(CrewError), self._client() as client:
            found = client.request("status", timeout=1)["view"]
            return found
        found = json.loads(self.run("status", "--json", "-s", self.session).stdout)
        return found

    def _client(self) -> Client:
        return Client.connect(SessionPaths(self.state), start=False, environ=self.env)

    def _views(self, end: float) -> Iterator[dict[str, Any]]:
        """The view now and after each change, until the monotonic time `end`."""
        while time.monotonic() < end:
            yield self.view()
            with contextlib.suppress(CrewError, TimeoutError), self._client() as client:
                left = max(0.0, end - time.monotonic())
                yield from client.views(timeout=left, revive=lambda: False)
            time.sleep(0.02)

    def agent(self, name: str) -> dict[str, Any]:
        return next(a for a in self.view()["agents"] if a["name"] == name)

    def statuses(self) -> dict[str, str]:
        return {a["name"]: a["status"] for a in self.view()["agents"]}

    def wait(
        self, look: Callable[[dict[str, Any]], object], what: str, deadline: float = 30
    ) -> dict[str, Any]:
        """Wait until `look(view)` is true; returns that view."""
        view: dict[str, Any] = {}
        for view in self._views(time.monotonic() + deadline):
            if look(view):
                return view
        brief = [(a["name"], a["status"], a["detail"]) for a in view["agents"]]
        raise AssertionError(f"not within {deadline} s: {what}: {brief} {view['messages']}")

    def wait_status(self, deadline: float = 30, /, **statuses: str) -> dict[str, Any]:
        """Wait until agents have these statuses; underscores stand for hyphens in names."""
        wanted = {name.replace("_", "-"): status for name, status in statuses.items()}

        def look(view: dict[str, Any]) -> bool:
            now = {a["name"]: a["status"] for a in view["agents"]}
            return all(now.get(name) == status for name, status in wanted.items())

        return self.wait(look, f"{wanted}", deadline)

    def events(self, *arguments: str) -> list[dict[str, Any]]:
        options = ("--json", "--since", "0", "-s", self.session)
        out = self.run("events", *options, *arguments).stdout
        return [json.loads(line) for line in out.splitlines()]

    def supervisor(self) -> int:
        pid: int = self.view()["supervisor"]["pid"]
        return pid

    def tmux(self, *arguments: str) -> str:
        """Ask the session's own tmux server."""
        return subprocess.run(
            ["tmux", "-S", str(self.state / "tmux.sock"), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def processes(self) -> list[int]:
        """Every live process that has this HOME: supervisors, tmux, agents, their tools."""
        mark = f"HOME={self.home}\0".encode()
        found = []
        for directory in Path("/proc").iterdir():
            if not directory.name.isdigit() or int(directory.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                environ = (directory / "environ").read_bytes()
                if (environ.startswith(mark) or b"\0" + mark in environ) and alive(
                    int(directory.name)
                ):
                    found.append(int(directory.name))
        return found

    def kill_all(self) -> list[int]:
        """A power cut: every process at once."""
        killed: list[int] = []
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed += pids
            wait_until(partial(_all_dead, pids), "killed")
        return killed

    def end(self) -> None:
        """Take down what is not as its supervisor thinks, then end every process."""
        try:
            for paths in [] if self.blind else audited.sessions(self.home):
                found = audited.difference(paths, self.env)
                self.unnoticed[paths.name] = self.unnoticed.get(paths.name) or found
        finally:
            self.kill_all()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "misses(why): the supervisor cannot notice all that happens")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A whole crew takes its time where others use the machine as well."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(180))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed tells more: its agents, and what became of them, end with it."""
    report = yield
    made = getattr(item, "funcargs", {}).get("crew")
    if report.when == "call" and report.failed and isinstance(made, Crew):
        report.sections.append(("sessions", aftermath.told(made.home, made.env)))
    return report


def _all_dead(pids: list[int]) -> bool:
    return not any(alive(pid) for pid in pids)


@pytest.fixture
def crew(
    home: Path, request: pytest.FixtureRequest, count: Callable[[str, int, int], int]
) -> Iterator[Crew]:
    """A crew in an empty HOME and an empty project; every process of it ends with the test.

    Nothing has happened meanwhile that its supervisors have not noticed by themselves, except
    where a test says with `misses` that it makes them blind.
    """
    project = home / "project"
    project.mkdir()
    made = Crew(home, project)
    made.blind = request.node.get_closest_marker("misses") is not None
    try:
        yield made
    finally:
        made.end()
    sessions = [] if made.blind else audited.sessions(home)
    missed = {s.name: audited.missed(s) for s in sessions}
    clean = sum(not n for n in missed.values())
    count("sessions of which nothing was missed", clean, clean)
    assert not any(made.unnoticed.values()), f"not as the supervisor thinks: {made.unnoticed}"
    assert not any(missed.values()), f"found by the audit, and by nothing else: {missed}"
