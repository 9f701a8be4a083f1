"""Small worlds and events for tests of the core, and strategies that draw any of them."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from orchestrator.core import events as ev
from orchestrator.core.effects import AnyEffect
from orchestrator.core.reducer import reduce
from orchestrator.core.spec import (
    AgentSpec,
    CliSpec,
    HooksSpec,
    KeysSpec,
    LaunchSpec,
    RestartPolicy,
    ScreenSpec,
    StatusFileSpec,
    TeamSpec,
)
from orchestrator.core.state import Process, empty_world
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import Mark

BOOT = "boot-1"
CLI = CliSpec(
    name="demo",
    launch=LaunchSpec(command=("demo",), env={}),
    hooks=HooksSpec(dialect="claude", events=("Stop",)),
    status_file=StatusFileSpec(path="{pid}", states={"busy": "working", "idle": "ready"}),
    screen=ScreenSpec(),
    keys=KeysSpec(answers={}),
)
# What is said of each status in its file.
RAW = {"ready": "idle", "working": "busy"}
SHELL = CliSpec(
    name="shell",
    launch=LaunchSpec(command=("sh",), env={}),
    screen=ScreenSpec(),
    keys=KeysSpec(answers={}),
)


def agent_spec(name: str, **fields: Any) -> AgentSpec:
    given = {"cli": "demo", "env": {}, "restart": RestartPolicy(), **fields}
    return AgentSpec(name=name, **given)


def team(*specs: AgentSpec) -> TeamSpec:
    return TeamSpec(
        name="t",
        root="/r",
        blueprint="/b.toml",
        digest="d",
        agents=specs,
        clis={"demo": CLI, "shell": SHELL},
    )


def process(pid: int) -> Process:
    return Process(pid=pid, start=pid * 10, boot=BOOT)


class Play:
    """Plays events into a world, one second apart unless told otherwise."""

    def __init__(self) -> None:
        self.world = empty_world("t")
        self.now = 100.0
        self.effects: list[AnyEffect] = []
        self.journal: list[ev.AnyEvent] = []

    def status(self, name: str) -> str:
        return self.world.agents[name].status.value

    def stamp(self, source: str = "crew", at: float | None = None) -> dict[str, Any]:
        mono = self.now if at is None else at
        return {"at": 1_000_000.0 + mono, "mono": mono, "source": source}

    def give(self, event: ev.AnyEvent) -> Sequence[AnyEffect]:
        self.world, effects = reduce(self.world, event)
        self.effects = list(effects)
        self.journal.append(event)
        self.now += 1.0
        return self.effects

    def up(self, *specs: AgentSpec) -> Sequence[AnyEffect]:
        return self.give(
            ev.UpRequested(
                team=team(*specs),
                conversations={s.name: f"c-{s.name}" for s in specs},
                request="r-up",
                **self.stamp("person"),
            )
        )

    def recovered(
        self,
        server: Process | None = None,
        panes: Sequence[ev.PaneFact] = (),
        boot: str = BOOT,
        jitter: float = 0.5,
    ) -> Sequence[AnyEffect]:
        return self.give(
            ev.Recovered(
                boot=boot,
                epoch=1,
                supervisor=1,
                server=server,
                panes=tuple(panes),
                jitter=jitter,
                **self.stamp("crew"),
            )
        )

    def server_started(self, pid: int = 50) -> Sequence[AnyEffect]:
        return self.give(ev.ServerStarted(server=process(pid), **self.stamp("tmux")))

    def spawned(self, name: str, pid: int, resumed: bool = False) -> Sequence[AnyEffect]:
        return self.give(
            ev.AgentSpawned(
                agent=name,
                run=self.world.agents[name].run,
                pane=f"%{pid}",
                tty=f"/dev/pts/{pid}",
                process=process(pid),
                resumed=resumed,
                **self.stamp("tmux"),
            )
        )

    def hook(self, name: str, hook: str, at: float | None = None, **fields: Any) -> None:
        self.give(
            ev.HookReceived(
                agent=name,
                run=self.world.agents[name].run,
                hook=hook,
                **fields,
                **self.stamp("hook", at),
            )
        )

    def status_file(self, name: str, status: Any, at: float | None = None, **f: Any) -> None:
        self.give(
            ev.StatusFileSeen(
                agent=name,
                run=self.world.agents[name].run,
                status=status,
                raw=RAW.get(status, status),
                **f,
                **self.stamp("status", at),
            )
        )

    def settle(self, name: str) -> None:
        """The time passes in which an error that ended a turn is told by its hook."""
        if f"cut:{name}" in self.world.deadlines:
            self.due(f"cut:{name}")

    def exited(self, name: str, **fields: Any) -> Sequence[AnyEffect]:
        return self.give(
            ev.ProcessExited(
                agent=name,
                run=self.world.agents[name].run,
                jitter=fields.pop("jitter", 0.5),
                **fields,
                **self.stamp("process"),
            )
        )

    def due(self, name: str) -> Sequence[AnyEffect]:
        """The deadline `name` passes, when it is due."""
        due = self.world.deadlines[name]
        self.now = max(self.now, due)
        return self.give(ev.DeadlinePassed(name=name, due=due, jitter=0.5, **self.stamp("clock")))

    def pane(self, name: str, **fields: Any) -> ev.PaneFact:
        agent = self.world.agents[name]
        given: dict[str, Any] = {
            "agent": name,
            "run": agent.run,
            "pane": agent.pane or f"%{name}",
            "tty": agent.tty or "/dev/pts/9",
            "dead": False,
            "process": agent.process,
            **fields,
        }
        return ev.PaneFact(**given)


def running(*specs: AgentSpec) -> Play:
    """A team that is up, every agent ready."""
    play = Play()
    play.recovered()
    play.up(*specs)
    play.server_started()
    for number, spec in enumerate(specs, 100):
        play.spawned(spec.name, number)
        play.status_file(spec.name, "ready")
    return play


def of(play: Play, kind: type[Any]) -> list[Any]:
    """The effects of one kind that the last event caused."""
    return [e for e in play.effects if isinstance(e, kind)]


# -- any event at all, about a team of a and b ---------------------------------------------------

NAMES = st.sampled_from(["a", "b", "nobody"])
RUNS = st.integers(0, 3)
PIDS = st.integers(100, 104).map(process)
TEXT = st.sampled_from(["", "hello", "one two", "x" * 900])
JITTER = st.floats(0, 0.999)
COMMON: dict[str, Any] = {
    "at": st.floats(1_000_000, 1_000_100),
    "mono": st.floats(0, 100),
    "source": st.sampled_from(["hook", "status", "screen", "process", "tmux", "crew", "person"]),
    "key": st.none(),
}
PANES = st.lists(
    st.builds(
        ev.PaneFact,
        agent=NAMES,
        run=RUNS,
        pane=st.sampled_from(["%1", "%2"]),
        tty=st.just("/dev/pts/1"),
        dead=st.booleans(),
        code=st.none() | st.integers(0, 2),
        signal=st.none(),
        process=st.none() | PIDS,
    ),
    max_size=3,
).map(tuple)
TEAMS = st.sampled_from(
    [
        team(agent_spec("a"), agent_spec("b", depends_on=("a",))),
        team(agent_spec("a", prompt="go", resume_prompt="on")),
        team(agent_spec("b", cli="shell", restart=RestartPolicy(limit=1))),
    ]
)
FIELDS: dict[str, Any] = {
    "agent": NAMES,
    "run": RUNS,
    "team": TEAMS,
    "conversations": st.just({"a": "c-a", "b": "c-b"}),
    "request": st.just("r"),
    "text": TEXT,
    "sender": st.sampled_from(["person", "a", "b"]),
    "choice": st.just("1"),
    "asked": st.none() | TEXT,
    "boot": st.sampled_from([BOOT, "boot-2"]),
    "epoch": st.integers(1, 3),
    "supervisor": st.just(1),
    "server": st.none() | PIDS,
    "panes": PANES,
    "jitter": JITTER,
    "reason": TEXT,
    "pane": st.sampled_from(["%1", "%2"]),
    "tty": st.just("/dev/pts/1"),
    "process": PIDS,
    "number": st.integers(1, 4),
    "hook": st.sampled_from(
        [
            "SessionStart",
            "UserPromptSubmit",
            "PreToolUse",
            "PermissionRequest",
            "PostToolUse",
            "Stop",
            "StopFailure",
            "SessionEnd",
        ]
    ),
    "name": st.sampled_from(
        ["restart:a", "receipt:1", "held:a", "limit:a", "server", "finish", "?"]
    ),
    "count": st.integers(1, 3),
    "due": st.floats(0, 100),
    "files": st.just(("f",)),
    "effect": st.just("spawn"),
    "seconds": st.none() | st.floats(0, 10),
    "until": st.none() | st.floats(1_000_000, 1_000_100),
    "transcript": st.none() | st.sampled_from(["/t", "/u"]),
    "file": st.sampled_from(["/t", "/t/subagents/x"]),
    "mark": st.just(Mark(offset=9)),
    "tokens": st.sampled_from([{}, {"m": Tokens(output=3)}, {"other": Tokens(input=5)}]),
    "cost_usd": st.floats(0, 10),
}
KINDS: tuple[type[Any], ...] = ev.AnyEvent.__args__


def any_event() -> st.SearchStrategy[ev.AnyEvent]:
    """Any event with any fields: plausible, contradictory and absurd ones alike."""
    return st.one_of([_built(kind) for kind in KINDS])


def _built(kind: type[Any]) -> st.SearchStrategy[Any]:
    names = kind.__dataclass_fields__
    known = {n: s for n, s in {**FIELDS, **COMMON}.items() if n in names}
    if kind in (ev.ServerStarted,):
        known["server"] = PIDS
    if kind in (ev.StatusFileSeen,):
        known["status"] = st.sampled_from(["ready", "working", "blocked", "limited"])
        known["raw"] = st.just("raw")
    if kind in (ev.DeadlinePassed, ev.FilesEdited, ev.SourceDoubted):
        known.pop("agent", None)
    if kind in (ev.HookReceived, ev.ScreenSeen):
        known["reason"] = st.none() | TEXT
        known["options"] = st.just(())
        known["text"] = TEXT
        known["tool"] = st.none() | st.just("Bash")
    known.pop("kind", None)
    return st.builds(kind, **{n: s for n, s in known.items() if n in names})
