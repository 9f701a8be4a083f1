"""Plays scenarios: a team of real CLIs, a driver for each of them, and what became of it."""

import contextlib
import json
import os
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.claude.api import MessagesApi
from tests.claude.home import prepare
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.conftest import Crew
from tests.support import alive, wait_until
from tests.truth.observers import (
    ABSENT,
    PATIENCE,
    Death,
    Pane,
    StatusFiles,
    Tool,
    Watcher,
    born,
    monotonic,
)
from tests.truth.timeline import Shown, Step, Verdict, compare

# Before a turn's text, or in it: no hook tells one from the other.
ANSWERS = ("working/thinking", "working/streaming")
READY = ("ready",)
CUT = ("ready+interrupted",)
BY_REPORT = frozenset({"hook", "status", "transcript"})
BY_SCREEN = frozenset({"screen"})
BY_PROCESS = frozenset({"process", "tmux"})

# Seconds for what is true to be shown; then the driver goes on, and it is missed or late.
SHOWN = 10.0
# Seconds for which the last step is looked at: what is written late must not change it.
QUIET = 0.7

ALLOWED = 'permissions = { allow = ["Bash(./work:*)"] }\n'
# What an agent is besides its name. Each of the last four stands in a dialog first.
AGENTS = {
    "a": ALLOWED,
    "b": ALLOWED,
    "planner": 'mode = "plan"\n',
    "mortal": ALLOWED + 'restart = { when = "never" }\n',
    "risen": ALLOWED + "restart = { backoff = 0.5, backoff_max = 0.5 }\n",
    "new": "",
    "trust": "",
    "api-key": "",
    "bypass": 'mode = "bypassPermissions"\n',
    "add-directory": 'arguments = ["--add-dir", "{extra}"]\n',
}
# Launched in a scenario; the others are there when it begins.
LAUNCHED = ("new", "trust", "api-key", "bypass", "add-directory")


@dataclass(frozen=True)
class Scenario:
    """`play` gets a driver for each of `agents`. `quick` ones are played in each run of the
    tests."""

    name: str
    agents: tuple[str, ...]
    play: Callable[..., None]
    quick: bool


@dataclass(frozen=True)
class Played:
    """What became of a scenario; `broken`: it could not be played, and why."""

    name: str
    verdict: Verdict
    broken: str = ""
    # What was true and what was shown, line by line.
    course: str = ""

    @property
    def is_true(self) -> bool:
        return self.verdict.is_true and not self.broken

    def complaints(self) -> str:
        v = self.verdict
        told = (("missed", v.missed), ("extra", v.extra), ("false ready", v.false_ready))
        lines = [f"{self.name}: {what}: {x}" for what, which in told for x in which]
        lines += [f"{self.name}: evidence: {x}" for x in v.unproved]
        lines += [f"{self.name}: could not be played: {self.broken}"] if self.broken else []
        return "\n".join([*lines, self.course])


class Hold:
    """A place in the stand-in's answer where it waits."""

    def __init__(self, api: MessagesApi, name: str) -> None:
        self._api = api
        self._name = name
        self.marker = f"[[hold {name}]]"

    def __str__(self) -> str:
        return self.marker

    def reached(self) -> None:
        self._api.wait_held(self._name, PATIENCE)

    def let_go(self) -> float:
        """Go on; the time before that."""
        self.reached()
        at = time.monotonic()
        self._api.release(self._name)
        return at


class Driver:
    """A person at one agent's pane, who writes down what is true of it."""

    def __init__(self, stage: "Stage", name: str, scenario: str) -> None:
        self.stage = stage
        self.name = name
        self._scenario = scenario
        self._count = 0
        self.start = time.monotonic()
        self.steps: list[Step] = []
        if stage.watcher.label(name) != ABSENT:
            self._meet()

    def _meet(self) -> None:
        """Know the agent's pane, process and conversation from here on."""
        pane = self.stage.watcher.agent(self.name)["pane"]
        self.pane = Pane(self.stage.crew, pane)
        self.pid = self.pane.pid()

    def begin(self, *labels: str) -> None:
        """What is true now, and right as long as it is one of these."""
        self.start = time.monotonic()
        self.steps = [Step(labels, self.start, self.start)]

    # -- what the driver does ----------------------------------------------------------------------

    def hold(self) -> Hold:
        self._count += 1
        return Hold(self.stage.api, f"{self._scenario}-{self.name}-{self._count}")

    def tool(self, program: str = "work") -> Tool:
        """A command that is allowed; one of another program is asked for."""
        self._count += 1
        name = f"{self._scenario}-{self.name}-{self._count}".replace(" ", "-")
        return Tool(self.stage.root, name, program)

    def enter(self, text: str) -> float:
        """Give it a prompt, as a person does."""
        return self.pane.enter(text)

    def choose(self, key: str, label: str) -> float:
        """Move to the choice and take it, as a person does who looks; the time before that."""

        def marked() -> bool:
            if f"❯ {label}" in self.pane.standing():
                return True
            self.pane.keys(key)
            return False

        wait_until(marked, f"{label!r} is marked", PATIENCE)
        at = self.pane.keys("Enter")

        def taken() -> bool:
            if f" {label}" not in self.pane.standing():
                return True
            # It was drawn again, with another mark.
            return marked() and not self.pane.keys("Enter")

        wait_until(taken, f"{label!r} is taken", PATIENCE)
        return at

    def clean(self) -> None:
        """Nothing is left in its input line."""
        self.pane.keys("C-u", "C-u", "C-u", "C-u")

    # -- what is true ------------------------------------------------------------------------------

    def filed(self, status: str, since: float, waiting_for: str = "") -> float:
        """When its status file said so."""
        wanted = (self.pid, status)
        found = self.stage.files.wait(
            lambda f: (f.pid, f.status) == wanted and waiting_for in f.waiting_for,
            since,
            f"{self.name} ({self.pid}) {status} {waiting_for}",
        )
        return found.at

    def conversation(self) -> str:
        filed = self.stage.files.now(self.pid)
        assert filed is not None
        return filed.conversation

    def asked(self, since: float) -> float:
        """When its next request came to the stand-in."""
        return self.asked_again(since, 0)

    def asked_again(self, since: float, times: int) -> float:
        """When a request of it came after so many others."""
        conversation = self.conversation()

        def requests() -> list[float]:
            mine = (r for r in self.stage.api.requests if r.conversation == conversation)
            return [at for r in mine if (at := monotonic(r.at)) >= since]

        wait_until(lambda: len(requests()) > times, f"{times} requests, and one more", PATIENCE)
        return requests()[times]

    def step(
        self,
        *labels: str,
        cause: float,
        at: float,
        says: str = "",
        sources: frozenset[str] = frozenset(),
    ) -> None:
        """This is true now. Go on when it has been shown for a while, or was not at all."""
        self.steps.append(Step(labels, cause, at, says, sources))
        watcher = self.stage.watcher

        def shows(shown: Shown) -> bool:
            return shown.label in labels and says in shown.detail

        def is_proved(shown: Shown) -> bool:
            return shown.evidence is not None or shown.label not in labels

        if watcher.wait(self.name, shows, SHOWN):
            watcher.wait(self.name, is_proved, SHOWN)
            self.stays(self.stage.dwell)

    def passing(self, *labels: str, cause: float, at: float = 0.0) -> None:
        """This is true for too short a time to be sure that it is shown."""
        self.steps.append(Step(labels, cause, at or cause, optional=True))

    def passing_idle(self, cause: float, at: float, labels: tuple[str, ...] = READY) -> bool:
        """Whether it was shown idle between two turns, the second of which begins `at`.

        Its file says so for a few milliseconds, and whoever reads it then shows that. By nothing
        else is it known, and it has gone when the second has begun.
        """
        shown = (s for s in self.stage.watcher.shown(self.name) if s.at >= cause)
        by = [s.evidence for s in shown if s.label in labels]
        told = self.stage.files.has_said(self.pid, "idle", cause)
        was = bool(by) and (told or all(e is None or e.source == "status" for e in by))
        if was:
            self.passing(*labels, cause=cause)
            self.step(*ANSWERS, cause=cause, at=at)
        return was

    def answers(self, cause: float, at: float = 0.0) -> None:
        """It waits for the model, or is told by it: since its file says that it is busy."""
        at = at or self.filed("busy", cause)
        self.step(*ANSWERS, cause=cause, at=at, sources=BY_REPORT)

    def runs(self, tool: Tool, cause: float) -> None:
        self.step(
            "working/tool", cause=cause, at=tool.began(), says=tool.command, sources=BY_REPORT
        )

    def asks(self, cause: float, kind: str, says: str, waiting_for: str = "") -> None:
        """A dialog of a tool is open. It is told before that that the tool is called."""
        self.passing("working/tool", cause=cause)
        at = self.filed("waiting", cause, waiting_for)
        self.step(f"blocked/{kind}", cause=cause, at=at, says=says, sources=BY_REPORT)

    def is_over(self, cause: float, labels: tuple[str, ...] = READY, says: str = "") -> None:
        """The turn has ended. Why it has, may be known a moment later."""
        at = self.filed("idle", cause)
        if labels != READY:
            self.passing(*READY, cause=cause)
        self.step(*labels, cause=cause, at=at, says=says, sources=BY_REPORT)

    def has_spoken(self) -> None:
        """A turn, so that there is a conversation."""
        cause = self.enter("[[say: hello]]")
        self.passing(*ANSWERS, cause=cause)
        self.is_over(cause, says="hello")

    def is_told(self, words: str) -> None:
        """What is true stays, and these words come with it."""
        self.steps[-1] = replace(self.steps[-1], says=words)
        self.stage.watcher.wait(self.name, lambda shown: words in shown.detail, SHOWN)

    def stays(self, seconds: float) -> None:
        """What is true stays so for as long, whatever is shown meanwhile."""
        self.stage.watcher.wait(self.name, lambda _: False, seconds)

    # -- its life ----------------------------------------------------------------------------------

    def launch(self) -> None:
        """It is added to the team, and started."""
        self.begin(ABSENT)
        cause = time.monotonic()
        with self.stage.launch(self.name) as up:
            known = self.stage.watcher.wait(self.name, lambda _: self._has_pane(), PATIENCE)
            assert known, f"{self.name} has no pane"
            self._meet()
            # For as long as it needs, and no longer.
            self.steps.append(Step(("starting",), cause, max(cause, born(self.pid))))
            said = "".join(up.communicate(timeout=PATIENCE))
        assert up.returncode == 0, said

    def _has_pane(self) -> bool:
        shown = self.stage.watcher.peek(self.name)
        return bool(shown and shown["pane"] and shown["pid"])

    def reborn(self, pid: int, since: float) -> None:
        """Another process than `pid` runs in its place."""

        def young() -> bool:
            agent = self.stage.watcher.agent(self.name)
            if not agent["pid"] or agent["pid"] == pid:
                return False
            self.pane = Pane(self.stage.crew, agent["pane"])
            with contextlib.suppress(OSError, ValueError):
                self.pid = self.pane.pid()
            return self.pid != pid and alive(self.pid) and born(self.pid) >= since - 0.02

        wait_until(young, f"{self.name} runs again", PATIENCE)

    def dies(self, kill: Callable[[], float], says: str) -> None:
        """Its process ends, and nobody brings it back."""
        death = Death(self.pid)
        cause = kill()
        self.step("exited", cause=cause, at=death.at(), says=says, sources=BY_PROCESS)

    def kill(self, signal: int) -> float:
        at = time.monotonic()
        os.kill(self.pid, signal)
        return at

    def verdict(self, end: float) -> Verdict:
        shown = self.stage.watcher.shown(self.name)
        return compare(self.steps, [Shown(0.0, ABSENT), *shown], end)

    def course(self) -> list[str]:
        """What was true and what was shown, in the order of time."""
        rows = [(s.cause, f"may be {s.labels[0]}") for s in self.steps]
        rows += [(s.at, f"IS {s.labels[0]}") for s in self.steps if not s.optional]
        for shown in self.stage.watcher.shown(self.name):
            by = f"{shown.evidence.kind} by {shown.evidence.source}" if shown.evidence else "?"
            if shown.at >= self.start:
                rows.append((shown.at, f"    shown {shown.label} ({shown.detail}) {by}"))
        rows.sort(key=lambda row: row[0])
        return [f"  {self.name} {at - self.start:6.3f} {what}" for at, what in rows]


class Stage:
    """A team of real CLIs that speak with the stand-in, and all who watch it."""

    def __init__(self, home: Path, api: MessagesApi, dwell: float) -> None:
        self.root = home / "project"
        self.root.mkdir(exist_ok=True)
        self.crew = Crew(home, self.root)
        self.api = api
        self.dwell = dwell
        self.claude = Claude(self.crew, api)
        self.files = StatusFiles(home / ".claude/sessions")
        self.watcher: Watcher
        self._agents: list[str] = []
        # Those that a scenario left as nobody knows.
        self._spoilt: set[str] = set()

    @contextlib.contextmanager
    def up(self, names: Iterable[str]) -> Iterator[None]:
        """The team is there, and ready."""
        try:
            self._agents = [name for name in names if name not in LAUNCHED]
            self._write()
            self.crew("up", "--trust", *(["--wait"] if self._agents else []), timeout=120)
            with Watcher(self.crew.state / "crew.sock") as self.watcher:
                for name in self._agents:
                    self.is_ready(name)
                yield
        finally:
            self.crew.kill_all()
            self.files.close()

    def launch(self, name: str) -> "subprocess.Popen[str]":
        """Add an agent to the team, and start it."""
        self._agents.append(name)
        self._write()
        return faults.popen(self.crew, "up", "--trust")

    def server(self) -> int:
        """The process of the team's tmux server."""
        return int(self.crew.tmux("display-message", "-p", "#{pid}"))

    def is_ready(self, name: str) -> None:
        """It is ready; first it is started again if it has ended, or was left as nobody knows."""
        run = 0
        if self.watcher.label(name) == "exited" or name in self._spoilt:
            self._spoilt.discard(name)
            run = self.watcher.agent(name)["run"]
            self.crew("restart", name)

        def ready(shown: Shown) -> bool:
            agent = self.watcher.peek(name)
            return shown.label.startswith("ready") and agent is not None and agent["run"] > run

        assert self.watcher.wait(name, ready, PATIENCE), f"{name} is not ready"

    def _write(self) -> None:
        parts = (f'[[agents]]\nname = "{name}"\n{self._part(name)}' for name in self._agents)
        idle = '[[agents]]\nname = "idler"\ncli = "demo"\n'
        self.claude.blueprint("\n".join(parts) or idle)

    def _part(self, name: str) -> str:
        extra = self.claude.home / "extra"
        extra.mkdir(exist_ok=True)
        text = AGENTS[name].replace("{extra}", str(extra))
        if name not in LAUNCHED or name == "new":
            return text
        # In a directory of its own, where the others' answers are not known.
        config = self.claude.home / "configs" / name
        if not config.exists():
            config.mkdir(parents=True)
            approved = name != "api-key"
            prepare(config, self.root, trusted=name != "trust", key_approved=approved)
            self.files.watch(config / "sessions")
        # As root the CLI has no such mode but in a sandbox.
        env = json.dumps(str(config))
        return f'{text}env = {{ CLAUDE_CONFIG_DIR = {env}, IS_SANDBOX = "1" }}\n'

    # -- scenarios ---------------------------------------------------------------------------------

    def play(self, scenario: Scenario) -> Played:
        """Play it to its end, and judge it."""
        drivers: list[Driver] = []
        broken = ""
        self.api.unprompted = ""
        try:
            for name in scenario.agents:
                if name not in LAUNCHED:
                    self.is_ready(name)
                driver = Driver(self, name, scenario.name)
                if name not in LAUNCHED:
                    driver.begin("ready", "ready+interrupted")
                drivers.append(driver)
            scenario.play(*drivers)
            self._quiet(drivers)
        except Exception as error:
            self._spoilt |= {driver.name for driver in drivers}
            broken = "".join(traceback.format_exception(error)[-2:])
            broken += "".join(driver.pane.text() for driver in drivers if driver.steps)
        course = "\n".join(line for driver in drivers for line in driver.course())
        return Played(scenario.name, self._judge(drivers), broken, course)

    def _quiet(self, drivers: Iterable[Driver]) -> None:
        for driver in drivers:
            driver.stays(QUIET)

    def _judge(self, drivers: Iterable[Driver]) -> Verdict:
        end = time.monotonic()
        return sum((d.verdict(end) for d in drivers if d.steps), Verdict())


def needed(scenarios: Iterable[Scenario]) -> list[str]:
    """The agents of these scenarios, each once."""
    return list(dict.fromkeys(name for scenario in scenarios for name in scenario.agents))


def play_all(home: Path, scenarios: list[Scenario], dwell: float) -> Iterator[Played]:
    """Play them one after the other, in one team."""
    with MessagesApi() as api:
        stage = Stage(home, api, dwell)
        with stage.up(needed(scenarios)):
            for scenario in scenarios:
                yield stage.play(scenario)
