"""A day of a team, replayed at speed into a real supervisor: what of its resources it keeps.

The supervisor, its tmux and its panes are real. Most agents do nothing by themselves: what their
CLI would say is written where it would say it, in hooks of the spool, transcripts and status
files. The others are demo agents, which are spoken to. Everything that opens something in the
supervisor happens in each hour: agents die and are started again, come and go with the blueprint,
run into limits; subscribers and questions come and go; messages are delivered.

What is counted at the end, in the same team as at the beginning: what is there then and was not
there before has leaked. The first hours are no part of it: there, tables and buffers fill.
"""

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.client import Client, Json
from orchestrator.locations import SessionPaths
from orchestrator.sinks.store import SIZE
from tests.bench.figures import Figure
from tests.bench.kernel import resident_mib
from tests.bench.subscriber import Subscriber
from tests.bench.teams import all_ready, real_team
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

# Hours of a working day, and those before that are not counted; turns of each agent in an hour,
# tools in each.
HOURS, BEFORE, TURNS, TOOLS = 8, 2, 40, 2
QUIET, DEMOS, WATCHERS = 8, 2, 4
# Seconds for one hour, and for the supervisor to come to rest afterwards.
DEADLINE = 60.0
MODEL = "claude-opus-5-5"
WORDS = "The rows are sorted twice, and the second time by another key: I took that out. " * 5

CLI = """
name = "quiet"
[launch]
command = ["/bin/sleep", "1000000"]
[hooks]
dialect = "claude"
events = ["Stop"]
[status_file]
path = "{root}/{pid}.status"
states = { busy = "working", idle = "ready" }
[transcript]
path = "{root}/{name}.jsonl"
[screen]
"""
TEAM = """
[[agents]]
name = "q"
cli = "quiet"
count = {quiet}
restart = {{ when = "always", backoff = 0.1, limit = 1000 }}
[[agents]]
name = "d"
count = {demos}
restart = {{ when = "always", backoff = 0.1, limit = 1000 }}
"""


def measure(home: Path) -> Iterator[Figure]:
    """The day, and what is left of it."""
    with real_team(home, _team()) as crew:
        faults.define(crew, "quiet", CLI)
        day = Day(crew)
        crew.up()
        day.greet()
        all_ready(crew)
        for hour in range(BEFORE):
            day.hour(hour)
        before, first = day.state(), day.events()
        begun = time.monotonic()
        for hour in range(BEFORE, BEFORE + HOURS):
            day.hour(hour)
        taken, after = time.monotonic() - begun, day.state()
        events = day.events() - first
    yield Figure("a day: taken in", taken, "s")
    yield Figure("a day: events", events, "")
    yield Figure("a day: memory grows by", after["memory"] - before["memory"], "MiB", 10)
    for name in ("descriptors", "threads", "watches"):
        yield Figure(f"a day: {name} that stay open", after[name] - before[name], "", 0)
    yield Figure("a day: hooks that were set aside", after["bad"], "", 0)
    yield Figure("a day: the database", after["database"], "MiB", SIZE / 2**20)
    yield Figure("a day: missed by all but the audit", day.missed(), "", 0)


def _team(quiet: int = QUIET) -> str:
    return TEAM.format(quiet=quiet, demos=DEMOS)


class Day:
    """What happens to a team, hour by hour."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._paths = SessionPaths(crew.state)
        self._pids = count(1000)

    def hour(self, number: int) -> None:
        """One of them; the team is the same as before, and at rest."""
        with Subscriber(self._paths.socket) as watching:
            self._edit(QUIET + 1)
            self._work()
            self._ask(number)
            self._limit()
            watching.until(lambda agent: agent.get("name"))
        self._edit(QUIET)
        self._deaths(number)
        self._speak(number)
        wait_until(self._is_calm, "the team is at rest", DEADLINE)

    def greet(self) -> None:
        """Every agent that only we speak for says that it is there."""
        for agent in self._starting():
            name, run, pid = agent["name"], agent["run"], agent["pid"]
            self._status(pid, "idle")
            self._hook(name, run, "SessionStart", source="startup")

    def state(self) -> dict[str, float]:
        """What the supervisor holds now."""
        pid = self._crew.supervisor()
        wait_until(self._is_calm, "the team is at rest", DEADLINE)
        wait_until(partial(self._listens_alone, pid), "all have hung up", DEADLINE)
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        infos = [_read(file) for file in Path(f"/proc/{pid}/fdinfo").iterdir()]
        database = [self._paths.database, Path(f"{self._paths.database}-wal")]
        return {
            "memory": resident_mib(pid),
            "descriptors": len(descriptors),
            "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
            "watches": sum(info.count("inotify wd:") for info in infos),
            "bad": len(faults.listed(self._paths.spool / "bad")),
            "database": sum(file.stat().st_size for file in database if file.exists()) / 2**20,
        }

    def events(self) -> int:
        """How many there have been."""
        with closing(self._client()) as client:
            asked: dict[str, Any] = {"since": None, "agent": None, "kinds": [], "limit": 1}
            rows = list(client.stream("events", follow=False, **asked))
        return int(rows[-1]["event"]["seq"])

    def missed(self) -> int:
        return int(self._crew.view()["missed_events"])

    # -- what happens -----------------------------------------------------------------------------

    def _work(self) -> None:
        """Everybody's turns, all at once."""
        agents = [a for a in self._crew.view()["agents"] if a["name"].startswith("q")]
        for turn in range(TURNS):
            for agent in agents:
                self._turn(agent["name"], agent["run"], agent["pid"], turn)
        wait_until(lambda: not faults.listed(self._paths.spool / "new"), "all is read", DEADLINE)

    def _turn(self, name: str, run: int, pid: int, turn: int) -> None:
        prompt = f"Look at part {turn} of what the last change does to the order of the rows."
        self._hook(name, run, "UserPromptSubmit", prompt=prompt)
        self._status(pid, "busy")
        self._line(name, "user", {"content": prompt})
        for _ in range(TOOLS):
            self._hook(name, run, "PreToolUse", tool_name="Bash", tool_input={"command": "make"})
            self._hook(name, run, "PostToolUse", tool_name="Bash", tool_response={})
        answer = [{"type": "text", "text": WORDS}]
        usage = {"input_tokens": 900, "output_tokens": 300, "cache_read_input_tokens": 9000}
        message = {"id": uuid.uuid4().hex, "model": MODEL, "content": answer, "usage": usage}
        self._line(name, "assistant", message)
        self._hook(name, run, "Stop", last_assistant_message=WORDS)
        self._status(pid, "idle")

    def _limit(self) -> None:
        """A turn that ends at a limit, and one that the limit does not end any more."""
        agent = self._crew.agent("q-1")
        name, run, pid = agent["name"], agent["run"], agent["pid"]
        self._hook(name, run, "UserPromptSubmit", prompt="On.")
        self._hook(name, run, "StopFailure", error="rate_limit")
        self._turn(name, run, pid, 0)

    def _edit(self, quiet: int) -> None:
        """The blueprint is edited: somebody comes, or goes."""
        self._crew.blueprint(_team(quiet))
        self._crew.up()
        names = {f"q-{number + 1}" for number in range(quiet)}

        def is_so(view: Json) -> bool:
            self.greet()
            there = {a["name"] for a in view["agents"] if a["name"].startswith("q")}
            return there == names and all(a["status"] == "ready" for a in view["agents"])

        self._crew.wait(is_so, f"there are {quiet}, and they are ready", DEADLINE)

    def _deaths(self, number: int) -> None:
        """One of each sort is killed, and comes back."""
        for name in (f"q-{number % QUIET + 1}", f"d-{number % DEMOS + 1}"):
            agent = self._crew.agent(name)
            os.kill(agent["pid"], signal.SIGKILL)
            self._crew.wait(partial(self._is_back, name, agent["run"]), f"{name} is back", DEADLINE)

    def _is_back(self, name: str, run: int, view: Json) -> bool:
        self.greet()
        agent = next(a for a in view["agents"] if a["name"] == name)
        return bool(agent["run"] > run and agent["status"] == "ready")

    def _speak(self, number: int) -> None:
        """A message to each of those who can take one, and its answer."""
        with closing(self._client()) as client:
            for demo in range(DEMOS):
                text = f"[[say: yes]] hour {number}"
                client.request("send", agent=f"d-{demo + 1}", text=text)
        self._crew.wait(lambda view: not view["messages"], "all is delivered", DEADLINE)

    def _ask(self, number: int) -> None:
        """Questions of every sort, each by a client of its own, and some who watch meanwhile."""
        watching = [Subscriber(self._paths.socket) for _ in range(WATCHERS)]
        for verb, asked in (
            ("status", {}),
            ("why", {"agent": f"q-{number % QUIET + 1}"}),
            ("logs", {"agent": "d-1", "lines": 10}),
        ):
            with closing(self._client()) as client:
                client.request(verb, **asked)
        self.events()
        for each in watching:
            each.until(lambda agent: agent.get("name"))
            each.__exit__()

    # -- how it is said ---------------------------------------------------------------------------

    def _hook(self, name: str, run: int, event: str, **fields: object) -> None:
        path = str(self._crew.cwd / f"{name}.jsonl")
        data = faults.payload(event, session_id=name, transcript_path=path, **fields)
        faults.spool(self._crew, f"{name}.{run}.{event}.{next(self._pids)}", data)

    def _status(self, pid: int, status: str) -> None:
        half, file = self._crew.cwd / "half", self._crew.cwd / f"{pid}.status"
        half.write_text(json.dumps({"pid": pid, "status": status}))
        half.replace(file)

    def _line(self, name: str, kind: str, message: Json) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"
        line = {"type": kind, "uuid": uuid.uuid4().hex, "timestamp": now, "message": message}
        with (self._crew.cwd / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    # -- how it is there --------------------------------------------------------------------------

    def _client(self) -> Client:
        return Client.connect(self._paths, start=False, environ=self._crew.env)

    def _starting(self) -> list[Json]:
        agents = self._crew.view()["agents"]
        quiet = [agent for agent in agents if agent["name"].startswith("q")]
        return [agent for agent in quiet if agent["status"] == "starting" and agent["pid"]]

    def _is_calm(self) -> bool:
        view = self._crew.view()
        ready = all(agent["status"] == "ready" for agent in view["agents"])
        return ready and not faults.listed(self._paths.spool / "new")

    def _listens_alone(self, pid: int) -> bool:
        """Whether nobody is connected to it."""
        return self._crew.supervisor() == pid and faults.connections(self._paths.socket) == 0


def _read(file: Path) -> str:
    return faults.contents(file).decode()
