"""Everything the supervisor can do: frozen orders, in the imperative. Run by `runner.py` alone.

An effect runs after the event that caused it is committed. Each is either safe to do again or
checked first (see `recovery.py`): after a crash it may have been done, half done or
not done at all.
"""

from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.core.spec import AgentSpec, CliSpec
from orchestrator.core.state import Ask, Message, Process
from orchestrator.core.values import value


@value
class StartServer:
    kind: Literal["start_server"] = "start_server"


@value
class KillServer:
    """End the tmux server and wait until it is gone, if the session is still to be down."""

    kind: Literal["kill_server"] = "kill_server"


@value
class Spawn:
    """Launch an agent: in `pane` if it still exists (in its place), else in a new one.

    `end_first`: a process of an earlier run that may still live; it is ended, and seen to be
    gone, before the conversation is taken up again. `resume`: take it up if its transcript exists.
    `place` is the agent's position in the team, from 1: its window's index.
    """

    kind: Literal["spawn"] = "spawn"
    agent: str
    run: int
    spec: AgentSpec
    cli: CliSpec
    conversation: str
    transcript: str | None
    resume: bool
    pane: str | None
    end_first: Process | None
    place: int


@value
class EndProcess:
    """Ask the process to end, then make it; sweep what it leaves in its process session."""

    kind: Literal["end_process"] = "end_process"
    agent: str
    run: int
    process: Process


@value
class ClosePane:
    kind: Literal["close_pane"] = "close_pane"
    agent: str
    pane: str


@value
class TypeMessage:
    kind: Literal["type_message"] = "type_message"
    agent: str
    run: int
    pane: str
    cli: CliSpec
    number: int
    text: str


@value
class PressSubmit:
    """Submit the draft that is our own message `number`."""

    kind: Literal["press_submit"] = "press_submit"
    agent: str
    run: int
    pane: str
    cli: CliSpec
    number: int
    text: str


@value
class JudgeMessage:
    """Find out what became of a message whose receipt did not come. `typed_in`: to which run.

    `tty`: the terminal that it was typed at.
    """

    kind: Literal["judge_message"] = "judge_message"
    agent: str
    run: int
    typed_in: int | None
    pane: str
    tty: str | None
    cli: CliSpec
    number: int
    text: str
    transcript: str | None
    since: float


@value
class GiveAnswer:
    """Answer `ask` if it is still open: by the hook that waits for it, else by keys."""

    kind: Literal["give_answer"] = "give_answer"
    agent: str
    run: int
    pane: str
    cli: CliSpec
    ask: Ask
    choice: str
    reason: str | None = None
    request: str


@value
class SendInterrupt:
    """Press the interrupting keys; `prompt`, the beginning of the newest, may come back."""

    kind: Literal["send_interrupt"] = "send_interrupt"
    agent: str
    run: int
    pane: str
    cli: CliSpec
    request: str
    prompt: str = ""


@value
class LookAtScreen:
    """Take and read one snapshot; the result is a `ScreenSeen`."""

    kind: Literal["look_at_screen"] = "look_at_screen"
    agent: str
    run: int
    pane: str
    cli: CliSpec


@value
class ListPanes:
    """Take a full look at the panes; the result is a `PanesSeen`."""

    kind: Literal["list_panes"] = "list_panes"


@value
class Reply:
    """Answer the request that is waiting on the socket; nobody there any more is no error."""

    kind: Literal["reply"] = "reply"
    request: str
    exit: Literal[0, 1, 2]
    body: Mapping[str, Any]


@value
class SaveMessage:
    """Write a row of the outbox: in the same transaction as the events that caused it."""

    kind: Literal["save_message"] = "save_message"
    message: Message


@value
class Notify:
    """Tell the person, once."""

    kind: Literal["notify"] = "notify"
    level: Literal["info", "warning", "error"]
    agent: str | None
    text: str


@value
class Finish:
    """The session is down and nothing is left: end the supervisor, if that is still so."""

    kind: Literal["finish"] = "finish"


AnyEffect = (
    StartServer
    | KillServer
    | Spawn
    | EndProcess
    | ClosePane
    | TypeMessage
    | PressSubmit
    | JudgeMessage
    | GiveAnswer
    | SendInterrupt
    | LookAtScreen
    | ListPanes
    | Reply
    | SaveMessage
    | Notify
    | Finish
)
