"""The world: the whole state of a session, as one value. Changed by `reducer.reduce` alone.

`Status` is one enum with named groups of its members; there is no second boolean about life and
death. Which status may follow which is the table in `lifecycle.py`.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Literal

from orchestrator.core.spec import AgentSpec, AskKind, TeamSpec
from orchestrator.core.usage import Usage
from orchestrator.core.values import value

Source = Literal[
    "hook",  # the agent's own hook, through the spool
    "status",  # the CLI's status file
    "transcript",
    "screen",
    "process",  # pidfd, /proc
    "tmux",  # the control client
    "audit",  # the 30 s comparison
    "clock",
    "person",  # the socket, from outside every agent
    "agent",  # the socket, from inside an agent's process tree
    "crew",  # the supervisor itself
]


class Status(StrEnum):
    """What an agent is doing now."""

    STARTING = "starting"  # wanted; launched, or waiting for what it depends on
    READY = "ready"  # at its prompt
    WORKING = "working"  # in a turn
    BLOCKED = "blocked"  # asks a person: permission, question, dialog
    LIMITED = "limited"  # rate or usage limit, until a time
    BACKOFF = "backoff"  # ended; will be started again at a time
    STOPPING = "stopping"  # told to end, still alive
    STOPPED = "stopped"  # ended because a person wanted it
    EXITED = "exited"  # ended by itself, and policy leaves it so
    FAILED = "failed"  # given up: more restarts than policy allows, or cannot be launched
    LOST = "lost"  # its pane went away under it; being brought back


ALIVE = frozenset(
    {
        Status.STARTING,
        Status.READY,
        Status.WORKING,
        Status.BLOCKED,
        Status.LIMITED,
        Status.STOPPING,
    }
)
# A turn goes on: at work on it, or held up in it.
IN_TURN = frozenset({Status.WORKING, Status.BLOCKED, Status.LIMITED})
NEEDS_HUMAN = frozenset({Status.BLOCKED, Status.FAILED})
RESTARTABLE = frozenset({Status.BACKOFF, Status.STOPPED, Status.EXITED, Status.FAILED, Status.LOST})


class Doing(StrEnum):
    """Beside `working`: in what way."""

    THINKING = "thinking"
    STREAMING = "streaming"
    TOOL = "tool"
    RETRYING = "retrying"  # its request failed, and is made again
    COMPACTING = "compacting"
    BACKGROUND = "background"


class Flag(StrEnum):
    """Remarks beside the status."""

    INTERRUPTED = "interrupted"
    # At work, and nothing moves anywhere.
    STALLED = "stalled"
    # Its sources do not fit together: `Agent.doubts` names the one that must be wrong.
    DISAGREEMENT = "disagreement"


class SessionState(StrEnum):
    """What the person wants of the session: `paused` is the supervisor's own brake."""

    UP = "up"
    PAUSED = "paused"
    DOWN = "down"


@value
class Process:
    """A process, told from a later one of the same pid by its start time.

    `start` is field 22 of /proc/<pid>/stat (clock ticks since boot); `boot` the kernel's boot id.
    """

    pid: int
    start: int
    boot: str


@value
class Evidence:
    """The event that made the status what it is."""

    kind: str
    source: Source
    at: float
    mono: float


@value
class Said:
    """What one source last said of an agent."""

    text: str
    at: float


@value
class Ask:
    """What a blocked agent asks. `options` are (key, label) pairs as its screen shows them.

    `shown` is the dialog's text on the screen when it was first read: an answer is bound to it.
    `name` is what people call the dialog ("trust"), where its definition says so. `hook` is the
    key of the hook that told of it: if that one waits, it can be answered. `denied`: an answer that
    refuses it is on its way.
    """

    kind: AskKind
    text: str
    tool: str | None = None
    name: str | None = None
    hook: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    shown: str | None = None
    denied: bool = False


@value
class Agent:
    """One member of the running team.

    `run` counts launches: a hook, a pane or a death of an earlier run is told by it.
    """

    name: str
    spec: AgentSpec
    status: Status
    since: float
    evidence: Evidence
    detail: str = ""
    doing: Doing | None = None
    flags: frozenset[Flag] = frozenset()
    ask: Ask | None = None
    # Requests of the same moment, which come up when that one is answered.
    behind: tuple[Ask, ...] = ()
    # The request whose answer is on its way to the dialog: a second one would hit what follows.
    answering: str | None = None
    # Its CLI has reported something of itself: what its screen shows is not of a first run.
    reported: bool = False
    # The dialog of its first run that it stood in last, until it reports anything of itself.
    first_asked: str | None = None
    wanted: bool = True
    run: int = 0
    process: Process | None = None
    # The process that was its before: it, and what it left behind, is gone before the next starts.
    previous: Process | None = None
    pane: str | None = None
    tty: str | None = None
    conversation: str
    transcript: str | None = None
    # Of its CLI, as that told it last.
    version: str | None = None
    # True from the first launch on: from then a launch tries to resume.
    begun: bool = False
    # Starting, but not launched yet: what it waits for. Empty: the launch is ordered.
    waiting_for: tuple[str, ...] = ()
    # Prompts that the conversation has taken: if any, a fresh start has lost something.
    turns: int = 0
    # The beginning of the newest of them, and the wall clock at which it was told.
    prompt: str = ""
    prompted: float = 0.0
    # Messages that its hook told of, and its transcript has not: they can be lost yet.
    unwritten: tuple["Message", ...] = ()
    # Wall clock at which the turn that is going on, or was last, began to be reported, and since
    # when there had been none; monotonic time of the newest report of it.
    turn_began: float = 0.0
    turn_after: float = 0.0
    worked: float = 0.0
    # Wall clock of the newest hook that told of a turn; the newest that was no sub-agent's.
    heard: float = 0.0
    own_hook: Said | None = None
    # Wall clock of the newest answer that was an error, by its transcript.
    erred: float = 0.0
    # A prompt was submitted in the middle of a turn: another one may begin right after it.
    queued: bool = False
    # A turn was going on when the process ended: `resume_prompt` is due after the resume.
    cut: bool = False
    limited_until: float | None = None
    # Monotonic times of the restarts that count against the policy.
    restarts: tuple[float, ...] = ()
    exit: str | None = None
    said: Mapping[Source, Said]
    # Sources that have fallen silent where others tell that they had something to say.
    doubts: Mapping[Source, Said] = field(default_factory=dict)
    # At work, but its terminal has stood still, and nothing was reported, since (wall clock).
    quiet_since: float | None = None
    usage: Usage = Usage()


class MessageState(StrEnum):
    """What becomes of one from where: `outbox.py` has the table."""

    QUEUED = "queued"
    TYPING = "typing"
    DELIVERED = "delivered"
    UNCONFIRMED = "unconfirmed"
    ABANDONED = "abandoned"


@value
class Message:
    """A row of the outbox. `key` is the sender's own id: the same key is the same message."""

    number: int
    key: str
    to: str
    sender: str
    text: str
    state: MessageState
    at: float
    detail: str = ""
    attempts: int = 0
    # The run it was typed into, and when (wall clock).
    run: int | None = None
    typed_at: float = 0.0
    # How often in a row its pane could not take it.
    held: int = 0
    # Goes before what was queued earlier: how to go on after a crash.
    first: bool = False


@value
class World:
    """The whole state of a session."""

    session: str
    state: SessionState = SessionState.DOWN
    team: TeamSpec | None = None
    agents: Mapping[str, Agent]
    # What is not yet delivered or given up; the rest lives in the outbox table alone.
    messages: Mapping[int, Message]
    next_message: int = 1
    # name -> monotonic time (s) at which `DeadlinePassed(name)` is due.
    deadlines: Mapping[str, float]
    server: Process | None = None
    # A tmux server is being started: the next `ServerStarted` launches what is wanted.
    server_starting: bool = False
    boot: str = ""
    epoch: int = 0
    supervisor: int = 0
    supervisor_since: float = 0.0
    # The newest run of each name that ever was: (name, run) is one launch for ever.
    runs: Mapping[str, int]
    # Monotonic times of restarts in the whole session.
    restarts: tuple[float, ...] = ()
    # Changes that the audit found and no event had told of.
    missed_events: int = 0
    # Files of the blueprint that were edited since the last `up`.
    edited: tuple[str, ...] = ()


def empty_world(session: str) -> World:
    """The world before anything happened."""
    return World(session=session, agents={}, messages={}, deadlines={}, runs={})
