"""Everything that can happen: frozen facts, in the past tense.

Every event that reaches `reduce` is in the journal, in order, and the world is the fold of them.
So a bare wake-up is no event: what it led to is. Three fields are common:

`at`     wall clock, seconds since the epoch, of the thing itself (not of its reading): for people.
`mono`   CLOCK_BOOTTIME seconds of the same instant: for durations and for "which is newer".
`source` who says so.

`key`, where set, is the identity of the fact across repeated deliveries (a spool file's name, a
request's id): the journal holds a key once.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from orchestrator.core.spec import AskKind, Reported, ScreenDoing, TeamSpec
from orchestrator.core.state import Process, Source
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import Mark
from orchestrator.core.values import value


@value
class Event:
    """What every event has."""

    at: float
    mono: float
    source: Source
    key: str | None = None


# -- asked for by a person or an agent, over the socket -----------------------------------------


@value
class UpRequested(Event):
    """`crew up`. `conversations` are ids drawn for agents that may need a fresh one."""

    kind: Literal["up_requested"] = "up_requested"
    team: TeamSpec
    conversations: Mapping[str, str]
    request: str


@value
class DownRequested(Event):
    kind: Literal["down_requested"] = "down_requested"
    request: str


@value
class RestoreRequested(Event):
    kind: Literal["restore_requested"] = "restore_requested"
    request: str


@value
class SendRequested(Event):
    kind: Literal["send_requested"] = "send_requested"
    agent: str
    text: str
    sender: str
    request: str


@value
class AnswerRequested(Event):
    """`asked` is the text of what the person saw, `hook` the key of the hook that told of it; None
    takes whatever is open. `reason` is told to the agent with a no."""

    kind: Literal["answer_requested"] = "answer_requested"
    agent: str
    choice: str
    asked: str | None = None
    hook: str | None = None
    reason: str | None = None
    request: str


@value
class InterruptRequested(Event):
    kind: Literal["interrupt_requested"] = "interrupt_requested"
    agent: str
    request: str


@value
class RestartRequested(Event):
    kind: Literal["restart_requested"] = "restart_requested"
    agent: str
    request: str


@value
class StopRequested(Event):
    kind: Literal["stop_requested"] = "stop_requested"
    agent: str
    request: str


# -- the supervisor and its tmux server ----------------------------------------------------------


@value
class PaneFact:
    """One pane as `list-panes -a` has it. `agent` and `run` come from its start command."""

    agent: str
    run: int
    pane: str
    tty: str
    dead: bool
    code: int | None = None
    signal: int | None = None
    # None: the process is gone.
    process: Process | None = None


@value
class Recovered(Event):
    """A supervisor took over: what it found alive. The one path of start, restart and restore.

    `jitter` in [0, 1) is drawn once for the backoffs that follow from this.
    """

    kind: Literal["recovered"] = "recovered"
    boot: str
    epoch: int
    supervisor: int
    server: Process | None
    panes: tuple[PaneFact, ...]
    jitter: float


@value
class ServerStarted(Event):
    kind: Literal["server_started"] = "server_started"
    server: Process


@value
class ServerFailed(Event):
    """The tmux server could not be started."""

    kind: Literal["server_failed"] = "server_failed"
    reason: str


@value
class ServerLost(Event):
    """The tmux server's process is gone, and every pane with it."""

    kind: Literal["server_lost"] = "server_lost"
    reason: str


@value
class PanesSeen(Event):
    """A full look at the panes. `audit`: nothing had hinted that anything changed."""

    kind: Literal["panes_seen"] = "panes_seen"
    panes: tuple[PaneFact, ...]
    audit: bool
    jitter: float


# -- an agent's process ---------------------------------------------------------------------------


@value
class AgentSpawned(Event):
    """A pane with the agent's process exists. `resumed`: with its earlier conversation."""

    kind: Literal["agent_spawned"] = "agent_spawned"
    agent: str
    run: int
    pane: str
    tty: str
    process: Process
    resumed: bool
    transcript: str | None = None


@value
class SpawnFailed(Event):
    """No process came to be. `permanent`: trying again would fail the same way."""

    kind: Literal["spawn_failed"] = "spawn_failed"
    agent: str
    run: int
    reason: str
    permanent: bool
    jitter: float


@value
class ProcessExited(Event):
    """The agent's process is gone.

    `known` False: the exit status is still awaited and this event will come a second time.
    `known` True with neither code nor signal: tmux never told, an unknown status.
    `pane_gone`: the pane went with it although the server lives: somebody closed it.
    """

    kind: Literal["process_exited"] = "process_exited"
    agent: str
    run: int
    code: int | None = None
    signal: int | None = None
    known: bool = True
    pane_gone: bool = False
    jitter: float


# -- what the agent is doing -----------------------------------------------------------------------


@value
class HookReceived(Event):
    """One hook of the agent CLI, cut down by the source to what the reducer reads."""

    kind: Literal["hook_received"] = "hook_received"
    agent: str
    run: int
    hook: str
    conversation: str | None = None
    transcript: str | None = None
    tool: str | None = None
    argument: str | None = None
    # UserPromptSubmit: the prompt. Stop: the last words. Notification: its message.
    text: str | None = None
    # SessionStart: source. SessionEnd: reason. StopFailure: error. Notification: type.
    reason: str | None = None
    question: str | None = None
    options: tuple[str, ...] = ()
    # Set when the hook belongs to a sub-agent and not to the session.
    subagent: str | None = None
    background: int = 0


@value
class StatusFileSeen(Event):
    kind: Literal["status_file_seen"] = "status_file_seen"
    agent: str
    run: int
    status: Reported
    raw: str
    waiting_for: str | None = None
    conversation: str | None = None
    # Wall clock at which a limit ends.
    until: float | None = None
    # Of the CLI that wrote it.
    version: str | None = None


@value
class StatusFileGone(Event):
    """The status file that there was is not there any more."""

    kind: Literal["status_file_gone"] = "status_file_gone"
    agent: str
    run: int


@value
class TerminalSeen(Event):
    """The terminal of an agent at work has stood still since `quiet_since` (wall clock), and
    nothing was reported meanwhile; or (None) it moves again."""

    kind: Literal["terminal_seen"] = "terminal_seen"
    agent: str
    run: int
    quiet_since: float | None = None


@value
class TranscriptSeen(Event):
    """New whole lines of a transcript, digested: tokens by model, and how far `file` is counted.

    `transcript` is the conversation's main file; `file` is it or a sub-agent's, without links.
    `queued`: prompts that the CLI keeps for the end of its turn; they come again in `prompts`.
    """

    kind: Literal["transcript_seen"] = "transcript_seen"
    agent: str
    run: int
    prompts: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    last_words: str | None = None
    # They are an error that ended a turn.
    failed: bool = False
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    transcript: str | None = None
    file: str | None = None
    mark: Mark | None = None


@value
class StatusLineSeen(Event):
    """What the CLI told its status line. `answered`: the figure has answers of this process in it;
    `context_used` None: it does not know."""

    kind: Literal["status_line_seen"] = "status_line_seen"
    agent: str
    run: int
    conversation: str
    model: str | None = None
    cost_usd: float
    answered: bool = False
    context_used: int | None = None
    context_size: int | None = None
    # Of the CLI that told it.
    version: str | None = None


@value
class ScreenSeen(Event):
    """A snapshot was read and says something else than the one before (or was asked for)."""

    kind: Literal["screen_seen"] = "screen_seen"
    agent: str
    run: int
    # None: no pattern matched.
    status: Reported | None
    ask: AskKind | None = None
    # Of a turn that shows more than that it goes on.
    doing: ScreenDoing | None = None
    # What people call the dialog that is open.
    name: str | None = None
    text: str = ""
    options: tuple[tuple[str, str], ...] = ()
    seconds: float | None = None


# -- results of what we did -----------------------------------------------------------------------


@value
class MessageTyped(Event):
    """Text and submit key were handed to the pane; the receipt is still to come."""

    kind: Literal["message_typed"] = "message_typed"
    number: int
    agent: str
    run: int


@value
class MessageHeld(Event):
    """Nothing was typed: the pane could not take it (copy mode, a draft, a dialog)."""

    kind: Literal["message_held"] = "message_held"
    number: int
    agent: str
    run: int
    reason: str


@value
class MessageJudged(Event):
    """What was found when a receipt did not come.

    taken: the conversation has it; queued: its process keeps it for the end of a turn; absent:
    proven lost, nothing of it is left anywhere; draft: it stands in the input line, not submitted;
    unknown: no proof either way.
    """

    kind: Literal["message_judged"] = "message_judged"
    number: int
    agent: str
    run: int
    verdict: Literal["taken", "queued", "absent", "draft", "unknown"]
    # When what was looked for was typed; None: it was not looked for in its conversation.
    since: float | None = None


@value
class AnswerGiven(Event):
    """`hook` told of what is answered; `by`: the way that it was; `label`: the choice as its dialog
    names it, None for own words. `refused` set: why it was not, or is not known to have arrived;
    `mistake`: the dialog has no such choice."""

    kind: Literal["answer_given"] = "answer_given"
    agent: str
    run: int
    request: str
    choice: str
    hook: str | None = None
    by: Literal["hook", "keys"] | None = None
    label: str | None = None
    refused: str | None = None
    mistake: bool = False


@value
class InterruptSent(Event):
    kind: Literal["interrupt_sent"] = "interrupt_sent"
    agent: str
    run: int
    request: str
    refused: str | None = None
    # What is to be said of the input line.
    note: str = ""


@value
class EffectFailed(Event):
    """An effect ended with an error that has no event of its own."""

    kind: Literal["effect_failed"] = "effect_failed"
    effect: str
    agent: str | None
    reason: str


# -- time and files --------------------------------------------------------------------------------


@value
class DeadlinePassed(Event):
    kind: Literal["deadline_passed"] = "deadline_passed"
    name: str
    due: float
    jitter: float


@value
class FilesEdited(Event):
    """A blueprint, definition or role file of the running session was edited."""

    kind: Literal["files_edited"] = "files_edited"
    files: tuple[str, ...]


@value
class SourceDoubted(Event):
    """A source may have lost something; a full look follows."""

    kind: Literal["source_doubted"] = "source_doubted"
    doubted: Source
    reason: str


@value
class EventsMissed(Event):
    """The audit found changes of files that no notification had told of."""

    kind: Literal["events_missed"] = "events_missed"
    count: int


AnyEvent = (
    UpRequested
    | DownRequested
    | RestoreRequested
    | SendRequested
    | AnswerRequested
    | InterruptRequested
    | RestartRequested
    | StopRequested
    | Recovered
    | ServerStarted
    | ServerFailed
    | ServerLost
    | PanesSeen
    | AgentSpawned
    | SpawnFailed
    | ProcessExited
    | HookReceived
    | StatusFileSeen
    | StatusFileGone
    | TerminalSeen
    | TranscriptSeen
    | StatusLineSeen
    | ScreenSeen
    | MessageTyped
    | MessageHeld
    | MessageJudged
    | AnswerGiven
    | InterruptSent
    | EffectFailed
    | DeadlinePassed
    | FilesEdited
    | SourceDoubted
    | EventsMissed
)


def agent_of(event: AnyEvent) -> str | None:
    """The agent an event is about, if it is about one."""
    return getattr(event, "agent", None)
