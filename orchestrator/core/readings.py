"""What one report says of an agent's status: each source's own way of saying it. Pure.

A reading is what the report alone says, and what it means after what the agent did before. What
becomes of the agent, with all that others have said, is decided in `reports.py`.
"""

import re
from collections.abc import Mapping

from orchestrator.core.events import HookReceived, ScreenSeen, StatusFileSeen
from orchestrator.core.spec import AskKind, CliSpec
from orchestrator.core.state import IN_TURN, Agent, Ask, Doing, Flag, Status
from orchestrator.core.values import value

# What is remembered of a transcript that told of a prompt alone.
A_PROMPT = "a prompt"
DETAIL = 200  # characters of `detail`: a line of a wide terminal
STATUS_OF = {
    "starting": Status.STARTING,
    "ready": Status.READY,
    "working": Status.WORKING,
    "blocked": Status.BLOCKED,
    "limited": Status.LIMITED,
}
# Hooks after which a tool runs no more.
TOOL_OVER = ("PostToolUse", "PostToolBatch", "PostToolUseFailure", "PermissionDenied")
# At work without a Stop hook at the end, or after the one that there was.
NO_STOP = frozenset({Doing.BACKGROUND, Doing.COMPACTING})
# Seconds in which a CLI has drawn what its hook told of.
DRAWN = 1.0
# The first line of a message that came through us.
FRAME = re.compile(r"\[crew message (\d+) from ([\w-]+)\]")
WAITING_FOR: Mapping[str, AskKind] = {
    "permission prompt": "permission",
    "input needed": "question",
}


@value
class Reading:
    """What one report says of the status. `detail` None: nothing new about it."""

    status: Status
    doing: Doing | None = None
    detail: str | None = None
    ask: Ask | None = None
    flags: frozenset[Flag] = frozenset()
    limited_until: float | None = None


# Of a turn that was ended by a person.
CUT = Reading(status=Status.READY, flags=frozenset({Flag.INTERRUPTED}), detail="interrupted")


# -- hooks -----------------------------------------------------------------------------------------


def hook_said(event: HookReceived) -> str:
    what = event.tool or event.reason or ""
    return f"{event.hook} {what}".strip()


def of_hook(agent: Agent, event: HookReceived, cli: CliSpec) -> Reading | None:
    """A sub-agent's hooks say nothing of the session's own turn."""
    if event.subagent:
        return None
    match event.hook:
        case "SessionStart":
            # A CLI with a status file tells there when its prompt is ready: later than this.
            if event.reason == "clear":
                return Reading(status=Status.READY, detail="a fresh conversation, after /clear")
            ready = cli.status_file is None and event.reason != "compact"
            return Reading(status=Status.READY) if ready else None
        case "UserPromptSubmit" if is_in_turn(agent) and agent.status is not Status.BLOCKED:
            # It waits for what goes on, which is as it was.
            return Reading(status=Status.WORKING) if agent.status is Status.WORKING else None
        case "UserPromptSubmit":
            return Reading(
                status=Status.WORKING, doing=Doing.THINKING, detail=_of_prompt(event.text or "")
            )
        case "PreToolUse" if event.tool != "AskUserQuestion":
            return Reading(status=Status.WORKING, doing=Doing.TOOL, detail=_tool(event))
        case "PermissionRequest":
            ask = _hook_ask(event)
            return Reading(status=Status.BLOCKED, ask=ask, detail=asks(ask))
        case hook if hook in TOOL_OVER:
            return Reading(status=Status.WORKING, doing=Doing.THINKING, detail="")
        case "MessageDisplay":
            return Reading(status=Status.WORKING, doing=Doing.STREAMING, detail=event.text)
        case "PreCompact":
            return Reading(status=Status.WORKING, doing=Doing.COMPACTING, detail="")
        case "PostCompact" if event.reason == "manual":
            # A turn of its own, without a Stop hook. What was queued may go on at once: a status
            # file tells.
            over = cli.status_file is None or "status" in agent.doubts
            return Reading(status=Status.READY, detail="") if over else None
        case "PostCompact":
            return Reading(status=Status.WORKING, doing=Doing.THINKING, detail="")
        case "Stop" if event.background:
            return Reading(
                status=Status.WORKING,
                doing=Doing.BACKGROUND,
                detail=f"{event.background} in the background",
            )
        case "Stop" if agent.queued and not _filed_end(agent, cli):
            # What was queued may go on at once, and the file then says nothing: or else, its end.
            return Reading(status=Status.WORKING, doing=Doing.THINKING, detail=event.text or "")
        case "Stop":
            return Reading(status=Status.READY, detail=event.text or "")
        case "StopFailure":
            text = event.text or event.reason or "unknown"
            return Reading(status=Status.READY, detail=f"error: {text}")
        case _:
            return None


def _of_prompt(text: str) -> str:
    if framed := FRAME.match(text):
        return f"on message {framed[1]} from {framed[2]}"
    return f"on: {text}"


def _tool(event: HookReceived) -> str:
    return f"{event.tool}: {event.argument}" if event.argument else str(event.tool)


def _hook_ask(event: HookReceived) -> Ask:
    if event.question is not None:
        options = tuple((str(n), label) for n, label in enumerate(event.options, 1))
        return Ask(
            kind="question",
            text=event.question,
            tool=event.tool,
            hook=event.key,
            options=options,
        )
    return Ask(kind="permission", text=_tool(event), tool=event.tool, hook=event.key)


# -- status file, screen ---------------------------------------------------------------------------


def of_status_file(agent: Agent, event: StatusFileSeen) -> Reading:
    status = STATUS_OF[event.status]
    if status is Status.BLOCKED:
        why = event.waiting_for or "input"
        ask = Ask(kind=WAITING_FOR.get(why, "dialog"), text=why)
        return Reading(status=status, ask=ask, detail=asks(ask))
    if status is Status.LIMITED:
        return Reading(status=status, limited_until=event.until, detail="rate limit")
    # Since the turn before was over: that of its beginning may be older than the file's word of it.
    hooks_work = agent.heard > agent.turn_after
    if status is Status.READY and (agent.status is Status.STARTING or in_first_run(agent)):
        return Reading(status=status, detail=_last_words(agent))
    ended = agent.doing in NO_STOP or _stopped(agent)
    if status is Status.READY and agent.status in IN_TURN and ended:
        return Reading(status=status, detail=_stop_words(agent))
    if status is Status.READY and agent.status in IN_TURN and (failed := failure(agent)):
        return failed
    if status is Status.READY and agent.status in IN_TURN and hooks_work:
        # A turn that ends by itself says so with a Stop hook, just before or after this; an
        # interrupted one says nothing else. But where no hook told of the turn at all, none can
        # tell of its end.
        return CUT
    if status is Status.WORKING and agent.status is Status.BLOCKED:
        return _after_answer(agent)
    if status is Status.WORKING and agent.status is not Status.WORKING:
        return Reading(status=status, doing=Doing.THINKING)
    return Reading(status=status)


def _after_answer(agent: Agent) -> Reading:
    """No hook tells that a dialog was answered: what was asked for is what goes on now.

    Unless the hook of its end was read first; or it was a sub-agent's, and the turn was over.
    """
    ask, hook = agent.ask, agent.own_hook
    if _stopped(agent):
        return Reading(status=Status.WORKING, doing=Doing.BACKGROUND, detail="")
    over = hook is not None and hook.text in TOOL_OVER and hook.at > agent.evidence.at
    if ask is not None and ask.kind == "permission" and ask.tool and not ask.denied and not over:
        return Reading(status=Status.WORKING, doing=Doing.TOOL, detail=ask.text)
    return Reading(status=Status.WORKING, doing=Doing.THINKING, detail="")


def _stopped(agent: Agent) -> bool:
    """Whether its own turn is over, as its hooks tell: what goes on is not that."""
    hook = agent.own_hook
    return hook is not None and hook.text == "Stop" and hook.at >= agent.turn_began


def failure(agent: Agent) -> Reading | None:
    """The end of a turn by an error, as its transcript tells before its hook does."""
    if not agent.erred >= agent.turn_began > 0:
        return None
    return Reading(status=Status.READY, detail=f"error: {_last_words(agent)}")


def _stop_words(agent: Agent) -> str:
    """What a turn said last that is over by its Stop hook, or without one."""
    if not _stopped(agent):
        return ""
    told = agent.own_hook is not None and agent.own_hook.at == agent.evidence.at
    return agent.detail if told and agent.doing is Doing.THINKING else _last_words(agent)


def is_in_turn(agent: Agent) -> bool:
    """Whether a turn goes on that its hooks have told of: a prompt waits for its end.

    Its status file alone may have told of the turn that this prompt begins.
    """
    if agent.status not in IN_TURN or agent.doing is Doing.BACKGROUND:
        return False
    return agent.heard > agent.turn_after


def _filed_end(agent: Agent, cli: CliSpec) -> bool:
    """Whether no status file will tell of the turn's end: it has, or there is none."""
    said, file = agent.said.get("status"), cli.status_file
    if file is None or said is None or "status" in agent.doubts:
        return True
    return file.states.get(said.text) != "working"


def _last_words(agent: Agent) -> str:
    """What the conversation said last, for who comes back with it."""
    said = agent.said.get("transcript") if agent.begun else None
    return said.text if said is not None and said.text != A_PROMPT else ""


def of_screen(agent: Agent, event: ScreenSeen, cli: CliSpec) -> Reading | None:
    """The screen decides for a CLI that has nothing better; elsewhere it only fills gaps."""
    informed = is_informed(cli) and "status" not in agent.doubts
    # A dialog before the first report of a CLI: first-run questions have no hook.
    unheard = agent.status is Status.STARTING or in_first_run(agent)
    if informed and not unheard:
        return _beside(agent, event)
    if informed and event.status != "blocked":
        # A dialog that is gone, and no report yet: it goes on with its start.
        return Reading(status=Status.STARTING) if in_first_run(agent) else None
    if event.status is None:
        return None
    status = STATUS_OF[event.status]
    if status is Status.WORKING and _has_just_stopped(agent, event):
        return None
    ask = None
    if status is Status.BLOCKED:
        ask = Ask(
            kind=event.ask or "dialog",
            text=event.text,
            name=event.name,
            options=event.options,
            shown=event.text,
        )
    until = event.at + event.seconds if event.seconds is not None else None
    return Reading(
        status=status,
        doing=Doing(event.doing) if event.doing else None,
        ask=ask,
        detail=asks(ask) if ask else None,
        limited_until=until if status is Status.LIMITED else None,
    )


def _has_just_stopped(agent: Agent, event: ScreenSeen) -> bool:
    """Whether a CLI that tells by hooks may only not have drawn the end of its turn yet."""
    stopped = agent.status is Status.READY and agent.evidence.kind == "hook_received"
    return stopped and event.mono < agent.evidence.mono + DRAWN


def _beside(agent: Agent, event: ScreenSeen) -> Reading | None:
    """What a CLI reports nowhere: that a request of a turn is made again, and a limit."""
    if agent.status not in (Status.WORKING, Status.LIMITED):
        return None
    if agent.status is Status.LIMITED and agent.evidence.source == "status":
        return None  # Of that its file knows more, also its end.
    if event.status == "limited":
        until = event.at + event.seconds if event.seconds is not None else None
        return Reading(status=Status.LIMITED, detail="rate limit", limited_until=until)
    if event.status != "working":
        return None
    if event.doing is not None:
        return Reading(status=Status.WORKING, doing=Doing(event.doing))
    # Of what else goes on, its own reports know more.
    tries = agent.status is Status.LIMITED or agent.doing is Doing.RETRYING
    return Reading(status=Status.WORKING, doing=Doing.THINKING, detail="") if tries else None


def is_informed(cli: CliSpec) -> bool:
    """Whether it has something better than its screen to report by."""
    return cli.status_file is not None or cli.hooks is not None


def in_first_run(agent: Agent) -> bool:
    """Whether it stands in a dialog that comes before everything that a CLI reports of itself."""
    by_screen = agent.status is Status.BLOCKED and agent.evidence.source == "screen"
    return by_screen and not agent.reported


# -- dialogs ---------------------------------------------------------------------------------------


def asks(ask: Ask) -> str:
    if ask.name is not None:
        return f"asks: {ask.name}: {' '.join(ask.text.split())}"
    return f"asks {ask.kind}: {ask.text}" if ask.text else f"asks {ask.kind}"


def may_be_one(ask: Ask, other: Ask) -> bool:
    """Whether two reports may be of one dialog: each dialog has a hook of its own."""
    return not ask.options and (ask.hook is None or other.hook in (None, ask.hook))


def is_vague(ask: Ask) -> bool:
    """Known only to be open: from the status file, which does not say what is asked."""
    return ask.tool is None and not ask.options


def one_line(text: str) -> str:
    """One line of `text`: its first that has a word in it, so no rule of a table."""
    found = next((line for line in text.splitlines() if any(map(str.isalnum, line))), text)
    line = " ".join(found.split())
    return line if len(line) <= DETAIL else line[: DETAIL - 1] + "…"
