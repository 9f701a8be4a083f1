"""What an agent reports of itself, from each source, fused into its status.

The newest report wins, told by when it happened (`mono`), not by when it was read: a late or
repeated one changes nothing that is newer. Two things stand above that: a run's reports die with
its process, and detail of the same state (which tool, which options) is always welcome.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core import agents, outbox
from orchestrator.core.answers import shows
from orchestrator.core.effects import GiveAnswer, LookAtScreen
from orchestrator.core.events import (
    AnyEvent,
    HookReceived,
    ScreenSeen,
    StatusFileSeen,
    TranscriptSeen,
)
from orchestrator.core.lifecycle import AT_WORK, REPORTING, become
from orchestrator.core.spec import AskKind, CliSpec
from orchestrator.core.state import Agent, Ask, Doing, Flag, Said, Source, Status
from orchestrator.core.step import Step
from orchestrator.core.values import value

Report = HookReceived | StatusFileSeen | TranscriptSeen | ScreenSeen

A_PROMPT = "a prompt"
DETAIL = 200  # characters of `detail`: a line of a wide terminal
PROMPT = 200  # characters of a prompt: as much as an input line shows of it
STATUS_OF = {
    "starting": Status.STARTING,
    "ready": Status.READY,
    "working": Status.WORKING,
    "blocked": Status.BLOCKED,
    "limited": Status.LIMITED,
}
IN_TURN = frozenset({Status.WORKING, Status.BLOCKED, Status.LIMITED})
# Seconds by which the hook of a turn's beginning may be older than the status file's word of it.
HOOK_BEFORE = 0.1
# And by which that of a request may be, on a busy machine.
ASKED_BEFORE = 1.0
# The request of an answer that nobody but the blueprint asked for.
TRUST = "trust:"
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


def received(step: Step, event: Report) -> None:
    """Take in one report of a running agent."""
    agent = step.world.agents.get(event.agent)
    team = step.world.team
    if agent is None or team is None or agent.run != event.run:
        return
    cli = team.clis[agent.spec.cli]
    match event:
        case HookReceived():
            agent = _identity(agent, event)
            reading, said = _of_hook(agent, event, cli), _hook_said(event)
        case StatusFileSeen():
            reading, said = _of_status_file(agent, event), event.raw
            if event.conversation and event.conversation != agent.conversation:
                agent = replace(agent, conversation=event.conversation)
        case ScreenSeen():
            reading, said = _of_screen(agent, event, cli), event.status or "nothing known"
            agent = _fill_in(agent, event)
        case TranscriptSeen():
            reading, said = None, event.last_words or A_PROMPT
    before = agent.status
    agent = step.put(_parting(_note(agent, event, said), event))
    if reading is not None:
        _apply(step, event, agent, reading)
        _trust(step, event.agent)
    for prompt in _prompts(event):
        written = isinstance(event, TranscriptSeen)
        outbox.prompt_taken(step, event.agent, prompt, written=written)
    agent = step.world.agents[event.agent]
    if agent.status is Status.READY:
        outbox.turn_over(step, event.agent)
    if before is Status.STARTING and agent.status in AT_WORK:
        agents.launch_waiting(step, event)
    # The transcript may tell of a prompt before the status tells of its turn.
    if agent.status is Status.READY and not isinstance(event, TranscriptSeen):
        outbox.pump(step, event, agent.name)


def _apply(step: Step, event: AnyEvent, agent: Agent, reading: Reading) -> None:
    if agent.status not in REPORTING:
        return
    if reading.status is Status.STARTING and not in_first_run(agent):
        return
    if event.mono < agent.evidence.mono and not _is_first(agent, event):
        _late_end(step, event, agent, reading)
        _late_ask(step, event, agent, reading)
        return
    goes_on = reading.status is Status.WORKING and event.source == "hook"
    if goes_on and _stands_open(step, agent, event):
        return
    before = agent.status
    same = reading.status is before
    detail = reading.detail
    if detail is None:
        detail = agent.detail if same else ""
    doing = reading.doing if reading.doing or not same else agent.doing
    ask = reading.ask
    if same and ask is not None and agent.ask is not None and _may_be_one(ask, agent.ask):
        # The same dialog told by another source: what is known of it stays.
        better = agent.ask
        if not _vague(ask):
            better = replace(ask, options=agent.ask.options, shown=agent.ask.shown)
        ask, detail = better, _asks(better)
    elif same and ask is not None and agent.ask is not None and agent.ask.hook and ask.hook:
        # Tools that run side by side ask at once; their dialogs come one after the other.
        agent = replace(agent, behind=(agent.ask, *agent.behind))
    agent = step.put(
        become(
            agent,
            reading.status,
            event,
            detail=_cut(detail),
            doing=doing if reading.status is Status.WORKING else None,
            ask=ask,
            flags=reading.flags,
            limited_until=reading.limited_until,
        )
    )
    asked = _first_asked(step, agent, event)
    if asked != agent.first_asked:
        agent = step.put(replace(agent, first_asked=asked))
    if agent.status in IN_TURN:
        began = agent.turn_began if before in IN_TURN else event.at
        agent = step.put(replace(agent, worked=event.mono, turn_began=began))
    until = reading.limited_until
    wait = None if until is None else event.mono + max(0.0, until - event.at)
    step.deadline(f"limit:{agent.name}", wait)
    if event.source != "screen":
        _look_for_options(step, agent)


def _first_asked(step: Step, agent: Agent, event: AnyEvent) -> str | None:
    """The newest dialog of its first run, as long as nothing but the screen tells of it."""
    team = step.world.team
    if event.source != "screen" or team is None or not _informed(team.clis[agent.spec.cli]):
        return None
    return agent.first_asked if agent.ask is None else agent.ask.name or agent.ask.kind


def _is_first(agent: Agent, event: AnyEvent) -> bool:
    """Whether it has reported nothing of itself before this, and only its screen was known.

    What it reports may be dated before the look at the screen where a dialog had gone.
    """
    return (
        agent.status in (Status.STARTING, Status.BLOCKED)
        and agent.evidence.source == "screen"
        and event.source != "screen"
    )


def _stands_open(step: Step, agent: Agent, event: AnyEvent) -> bool:
    """Whether its dialog is open, as the status file says, or is just about to.

    Beside that of a sub-agent, or of one tool of several, everything else goes on, and its hooks
    tell so.
    """
    said, team = agent.said.get("status"), step.world.team
    file = team.clis[agent.spec.cli].status_file if team is not None else None
    if agent.status is not Status.BLOCKED or said is None or file is None:
        return False
    just_asked = event.mono < agent.evidence.mono + ASKED_BEFORE
    return just_asked or file.states.get(said.text) == "blocked"


def _look_for_options(step: Step, agent: Agent) -> None:
    """Only the screen shows which options a dialog has."""
    team = step.world.team
    if agent.ask is not None and agent.ask.shown is None and agent.pane is not None and team:
        cli = team.clis[agent.spec.cli]
        step.do(LookAtScreen(agent=agent.name, run=agent.run, pane=agent.pane, cli=cli))


def answered(step: Step, agent: Agent, hook: str) -> None:
    """The request that `hook` told of is answered: where more than one was made, the next is asked.

    No report tells of that, as its status is the same; so the evidence stays as it is, and a report
    that it asks nothing any more is not too late.
    """
    if agent.ask is None or not agent.behind:
        return
    ask, *behind = (one for one in (agent.ask, *agent.behind) if one.hook != hook)
    moved = ask is not agent.ask
    detail = _cut(_asks(ask)) if moved else agent.detail
    agent = step.put(replace(agent, ask=ask, behind=tuple(behind), detail=detail))
    if moved:
        _look_for_options(step, agent)


def _trust(step: Step, name: str) -> None:
    """Say yes to the CLI's question whether the folder is trusted, if the blueprint says so.

    Only where the dialog names the session's own root: blanks aside, which a narrow screen puts
    in where it folds a path.
    """
    agent, team = step.world.agents[name], step.world.team
    if (
        team is None
        or agent.ask is None
        or agent.ask.name != "trust"
        or agent.answering is not None
        or agent.pane is None
        or not agent.spec.trust_folder
        or "".join(team.root.split()) not in "".join(agent.ask.text.split())
    ):
        return
    request = f"{TRUST}{name}:{agent.run}"
    step.put(replace(agent, answering=request))
    step.do(
        GiveAnswer(
            agent=name,
            run=agent.run,
            pane=agent.pane,
            cli=team.clis[agent.spec.cli],
            ask=agent.ask,
            choice="yes",
            request=request,
        )
    )


def _late_end(step: Step, event: AnyEvent, agent: Agent, reading: Reading) -> None:
    """The Stop hook of a turn whose end the status file told first: it was no interrupt."""
    if (
        event.source == "hook"
        and reading.status is Status.READY
        and agent.status is Status.READY
        and Flag.INTERRUPTED in agent.flags
        and event.mono >= agent.worked
    ):
        step.put(replace(agent, flags=reading.flags, detail=_cut(reading.detail or "")))


def _late_ask(step: Step, event: AnyEvent, agent: Agent, reading: Reading) -> None:
    """The hook of a request that was read behind what came after it.

    The status file told of the same dialog, and this says what is asked. Or another tool asked at
    the same time, and this one waits behind it.
    """
    ask, known = reading.ask, agent.ask
    if ask is None or ask.hook is None or known is None:
        return
    if event.mono < agent.evidence.mono - ASKED_BEFORE:
        return
    if known.hook is not None:
        step.put(replace(agent, behind=(*agent.behind, ask)))
    elif known.tool is None and agent.evidence.source == "status":
        ask = replace(ask, options=known.options or ask.options, shown=known.shown)
        step.put(replace(agent, ask=ask, detail=_cut(_asks(ask))))


def _cut(text: str) -> str:
    """One line of `text`: its first that has a word in it, so no rule of a table."""
    found = next((line for line in text.splitlines() if any(map(str.isalnum, line))), text)
    line = " ".join(found.split())
    return line if len(line) <= DETAIL else line[: DETAIL - 1] + "…"


def _note(agent: Agent, event: Report, said: str) -> Agent:
    """Remember what this source last said."""
    source: Source = event.source
    last = agent.said.get(source)
    if last is not None and last.at > event.at:
        return agent
    return replace(agent, said={**agent.said, source: Said(text=_cut(said), at=event.at)})


def _parting(agent: Agent, event: Report) -> Agent:
    """The hook of a conversation's end may be read after the death that it told of."""
    if not isinstance(event, HookReceived) or event.hook != "SessionEnd":
        return agent
    if agent.status is not Status.EXITED or agent.exit is None:
        return agent
    return replace(agent, detail=agents.parting(agent, agent.exit))


def _prompts(event: Report) -> tuple[str, ...]:
    """The prompts that the agent says it took."""
    if isinstance(event, TranscriptSeen):
        return event.prompts
    if isinstance(event, HookReceived) and event.hook == "UserPromptSubmit" and not event.subagent:
        return (event.text or "",)
    return ()


# -- hooks ----------------------------------------------------------------------------------------


def _identity(agent: Agent, event: HookReceived) -> Agent:
    """The conversation and transcript as the CLI names them: `/clear` changes both."""
    if event.subagent:
        return agent
    if event.hook == "UserPromptSubmit":
        prompt = (event.text or "")[:PROMPT]
        agent = replace(agent, turns=agent.turns + 1, prompt=prompt)
    # The end of the old conversation may be read after the start of the new one.
    if event.hook == "SessionEnd":
        return agent
    return replace(
        agent,
        conversation=event.conversation or agent.conversation,
        transcript=event.transcript or agent.transcript,
    )


def _hook_said(event: HookReceived) -> str:
    what = event.tool or event.reason or ""
    return f"{event.hook} {what}".strip()


def _of_hook(agent: Agent, event: HookReceived, cli: CliSpec) -> Reading | None:
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
        case "UserPromptSubmit":
            return Reading(
                status=Status.WORKING, doing=Doing.THINKING, detail=_of_prompt(event.text or "")
            )
        case "PreToolUse" if event.tool != "AskUserQuestion":
            return Reading(status=Status.WORKING, doing=Doing.TOOL, detail=_tool(event))
        case "PermissionRequest":
            ask = _hook_ask(event)
            return Reading(status=Status.BLOCKED, ask=ask, detail=_asks(ask))
        case "PostToolUse" | "PostToolBatch" | "PostToolUseFailure" | "PermissionDenied":
            return Reading(status=Status.WORKING, doing=Doing.THINKING, detail="")
        case "MessageDisplay":
            return Reading(status=Status.WORKING, doing=Doing.STREAMING, detail=event.text)
        case "PreCompact":
            return Reading(status=Status.WORKING, doing=Doing.COMPACTING, detail="")
        case "Stop" if event.background:
            return Reading(
                status=Status.WORKING,
                doing=Doing.BACKGROUND,
                detail=f"{event.background} in the background",
            )
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


def _asks(ask: Ask) -> str:
    if ask.name is not None:
        return f"asks: {ask.name}: {' '.join(ask.text.split())}"
    return f"asks {ask.kind}: {ask.text}" if ask.text else f"asks {ask.kind}"


def _may_be_one(ask: Ask, other: Ask) -> bool:
    """Whether two reports may be of one dialog: each dialog has a hook of its own."""
    return not ask.options and (ask.hook is None or other.hook in (None, ask.hook))


def _vague(ask: Ask) -> bool:
    """Known only to be open: from the status file, which does not say what is asked."""
    return ask.tool is None and not ask.options


# -- status file, screen --------------------------------------------------------------------------


def _of_status_file(agent: Agent, event: StatusFileSeen) -> Reading:
    status = STATUS_OF[event.status]
    if status is Status.BLOCKED:
        why = event.waiting_for or "input"
        ask = Ask(kind=WAITING_FOR.get(why, "dialog"), text=why)
        return Reading(status=status, ask=ask, detail=_asks(ask))
    if status is Status.LIMITED:
        return Reading(status=status, limited_until=event.until, detail="rate limit")
    heard = agent.said.get("hook")
    hooks_work = heard is not None and heard.at >= agent.turn_began - HOOK_BEFORE
    if status is Status.READY and (agent.status is Status.STARTING or in_first_run(agent)):
        return Reading(status=status, detail=_last_words(agent))
    if status is Status.READY and agent.status in (Status.WORKING, Status.BLOCKED) and hooks_work:
        # A turn that ends by itself says so with a Stop hook, just before or after this; an
        # interrupted one says nothing else. But where no hook told of the turn at all, none can
        # tell of its end.
        return Reading(status=status, flags=frozenset({Flag.INTERRUPTED}), detail="interrupted")
    if status is Status.WORKING and agent.status is Status.BLOCKED:
        return _after_answer(agent)
    if status is Status.WORKING and agent.status is not Status.WORKING:
        return Reading(status=status, doing=Doing.THINKING)
    return Reading(status=status)


def _after_answer(agent: Agent) -> Reading:
    """No hook tells that a dialog was answered: what was asked for is what goes on now."""
    ask = agent.ask
    if ask is not None and ask.kind == "permission" and ask.tool and not ask.denied:
        return Reading(status=Status.WORKING, doing=Doing.TOOL, detail=ask.text)
    return Reading(status=Status.WORKING, doing=Doing.THINKING, detail="")


def _last_words(agent: Agent) -> str:
    """What the conversation said last, for who comes back with it."""
    said = agent.said.get("transcript") if agent.begun else None
    return said.text if said is not None and said.text != A_PROMPT else ""


def _of_screen(agent: Agent, event: ScreenSeen, cli: CliSpec) -> Reading | None:
    """The screen decides for a CLI that has nothing better; elsewhere it only fills gaps."""
    informed = _informed(cli)
    # A dialog before the first report of a CLI: first-run questions have no hook.
    unheard = agent.status is Status.STARTING or in_first_run(agent)
    if informed and event.status != "blocked":
        # A dialog that is gone, and no report yet: it goes on with its start.
        return Reading(status=Status.STARTING) if in_first_run(agent) else None
    if event.status is None or (informed and not unheard):
        return None
    status = STATUS_OF[event.status]
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
        ask=ask,
        detail=_asks(ask) if ask else None,
        limited_until=until if status is Status.LIMITED else None,
    )


def _informed(cli: CliSpec) -> bool:
    """Whether it has something better than its screen to report by."""
    return cli.status_file is not None or cli.hooks is not None


def in_first_run(agent: Agent) -> bool:
    """Whether it stands in a dialog that comes before everything that a CLI reports of itself."""
    return agent.status is Status.BLOCKED and agent.evidence.source == "screen"


def _fill_in(agent: Agent, event: ScreenSeen) -> Agent:
    """Options, and what is asked, as the person would see them."""
    if agent.status is not Status.BLOCKED or event.status != "blocked" or agent.ask is None:
        return agent
    options = event.options or agent.ask.options
    ask = replace(agent.ask, options=options, shown=event.text or agent.ask.shown)
    moved = agent.ask.shown not in (None, ask.shown)
    # The hook of a tool that asks several questions told of the first alone.
    next_one = moved and (ask.kind == "question" or ask.tool is None)
    if event.text and (_vague(agent.ask) or next_one):
        ask = replace(ask, text=event.text, kind=event.ask or ask.kind, name=event.name)
    elif moved and not agent.behind and not shows(event.text, ask):
        # Another dialog than the one that its hook told of, whose own hook is not known.
        ask = replace(
            ask,
            text=event.text,
            kind=event.ask or ask.kind,
            name=event.name,
            tool=None,
            hook=None,
        )
    return replace(agent, ask=ask, detail=_cut(_asks(ask)))
