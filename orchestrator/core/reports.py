"""What an agent reports of itself, from each source, fused into its status.

The newest report wins, told by when it happened (`mono`), not by when it was read: a late or
repeated one changes nothing that is newer. A run's reports die with its process. What stands above
the order of time, each where sources are known to be late or silent:

the first report of a run        wins over its screen, which alone was known before  `_is_first`
the end of a turn                wins over what is a moment newer: nothing tells it again  `_is_end`
a hook that says "at work"       changes nothing while another's dialog stands open  `_stands_open`
the file's end without a Stop    is an interruption, once no error's hook has come  `cut_due`
a turn that only hooks tell of   is none, where the status file keeps silent about it  `outvoted`
detail of the same state         is welcome, however late  `_late_end`, `_late_ask`, `_fill_in`
"""

import math
from dataclasses import replace

from orchestrator.core import agents, doubts, outbox, readings
from orchestrator.core.answers import shows
from orchestrator.core.effects import GiveAnswer, LookAtScreen
from orchestrator.core.events import (
    AnyEvent,
    DeadlinePassed,
    HookReceived,
    ScreenSeen,
    StatusFileSeen,
    TranscriptSeen,
)
from orchestrator.core.lifecycle import AT_WORK, REPORTING, become
from orchestrator.core.readings import CUT, Reading, is_informed, one_line
from orchestrator.core.state import IN_TURN, Agent, Doing, Evidence, Flag, Said, Source, Status
from orchestrator.core.step import Step

Report = HookReceived | StatusFileSeen | TranscriptSeen | ScreenSeen

PROMPT = 200  # characters of a prompt: as much as an input line shows of it
# Seconds by which the hook of a request may be older than what tells of another state, on a busy
# machine.
ASKED_BEFORE = 1.0
# Seconds after which a turn that only hooks tell of is none, where the status file said last that
# there is none: a hook may be written after the end of its turn. Most files follow in 0.1 s.
OUTVOTED = 2.0
# Seconds that the status file's word of an interrupted turn is held back: an error ends a turn in
# the same way, and its hook is written 10 to 30 ms later.
HELD = 0.125
# What a status file may know nothing of.
APART = frozenset({Doing.BACKGROUND, Doing.COMPACTING})
# Seconds in which a dialog that was told of is looked for on the screen again and again: a CLI may
# stand still before it draws it.
UNDRAWN = 10.0
# The request of an answer that nobody but the blueprint asked for.
TRUST = "trust:"


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
            reading, said = readings.of_hook(agent, event, cli), readings.hook_said(event)
            agent = _own(agent, event)
        case StatusFileSeen():
            reading, said = readings.of_status_file(agent, event), event.raw
            agent = _conversation(agent, event.conversation)
            agent = replace(agent, version=event.version or agent.version)
        case ScreenSeen():
            reading, said = readings.of_screen(agent, event, cli), event.status or doubts.NOTHING
            agent = _fill_in(agent, event)
        case TranscriptSeen():
            reading, said = None, event.last_words or readings.A_PROMPT
            if event.failed:
                agent = replace(agent, erred=max(agent.erred, event.at))
    if event.source == "hook" and reading is not None and reading.status in IN_TURN:
        agent = replace(agent, heard=max(agent.heard, event.at))
    before = agent.status
    if not isinstance(event, ScreenSeen) or event.status is not None:
        agent = doubts.heard(agent, event.source)
    agent = step.put(_parting(_prompted(_note(agent, event, said), event), event))
    if reading is not None:
        _apply(step, event, agent, reading)
        _trust(step, event.agent)
    _take_receipts(step, event)
    agent = step.world.agents[event.agent]
    if before is Status.STARTING and agent.status in AT_WORK:
        agents.launch_waiting(step)
    doubts.expect(step, event, event.agent)
    if isinstance(event, ScreenSeen):
        _look_once_more(step, agent, event)
    # The transcript may tell of a prompt before the status tells of its turn.
    if agent.status is Status.READY and not isinstance(event, TranscriptSeen):
        outbox.pump(step, event, agent.name)


def _take_receipts(step: Step, event: Report) -> None:
    """What the report tells of the messages that the agent took."""
    transcript = event if isinstance(event, TranscriptSeen) else None
    for prompt in _prompts(event):
        written = transcript is not None and prompt in transcript.prompts
        waits = transcript is not None and not written
        outbox.prompt_taken(step, event.agent, prompt, written=written, waits=waits)
    is_ready = step.world.agents[event.agent].status is Status.READY
    if is_ready and (transcript is None or transcript.last_words is not None):
        outbox.turn_over(step, event.agent)


def _apply(step: Step, event: AnyEvent, agent: Agent, reading: Reading) -> None:
    if agent.status not in REPORTING:
        return
    if reading.status is Status.STARTING and not readings.in_first_run(agent):
        return
    old = event.mono < agent.evidence.mono and not _is_first(agent, event)
    if old and not _is_end(agent, event, reading):
        _late_end(step, event, agent, reading)
        _late_ask(step, event, agent, reading)
        return
    if reading is CUT and agent.status in IN_TURN:
        key, due = f"cut:{agent.name}", event.mono + HELD
        step.deadline(key, max(due, step.world.deadlines.get(key, due)))
        return
    goes_on = reading.status is Status.WORKING and event.source == "hook"
    if goes_on and _stands_open(step, agent, event):
        return
    if event.source != "screen":
        agent = replace(agent, reported=True)
    former, before = agent, agent.status
    same = reading.status is before
    detail = reading.detail
    if detail is None:
        detail = agent.detail if same else ""
    doing = reading.doing if reading.doing or not same else agent.doing
    ask = reading.ask
    if same and ask is not None and agent.ask is not None and readings.may_be_one(ask, agent.ask):
        # The same dialog told by another source: what is known of it stays.
        better = agent.ask
        if not readings.is_vague(ask):
            better = replace(ask, options=agent.ask.options, shown=agent.ask.shown)
        ask, detail = better, readings.asks(better)
    elif same and ask is not None and agent.ask is not None and agent.ask.hook and ask.hook:
        # Tools that run side by side ask at once; their dialogs come one after the other.
        agent = replace(agent, behind=(agent.ask, *agent.behind))
    agent = step.put(
        become(
            agent,
            reading.status,
            event,
            detail=one_line(detail),
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
        if before not in IN_TURN:
            agent = replace(agent, turn_began=event.at, turn_after=former.since)
        agent = step.put(replace(agent, worked=event.mono))
    _wait_for_file(step, event, former)
    until = reading.limited_until
    wait = None if until is None else event.mono + max(0.0, until - event.at)
    step.deadline(f"limit:{agent.name}", wait)
    if event.source != "screen":
        _look_for_options(step, agent)


def _first_asked(step: Step, agent: Agent, event: AnyEvent) -> str | None:
    """The newest dialog of its first run, as long as nothing but the screen tells of it."""
    team = step.world.team
    if event.source != "screen" or agent.reported or team is None:
        return None
    if not is_informed(team.clis[agent.spec.cli]):
        return None
    return agent.first_asked if agent.ask is None else agent.ask.name or agent.ask.kind


def _is_first(agent: Agent, event: AnyEvent) -> bool:
    """Whether it has reported nothing of itself before this, and only its screen was known.

    What it reports may be dated before the look at the screen where a dialog had gone.
    """
    return (
        not agent.reported
        and agent.status in (Status.STARTING, Status.BLOCKED)
        and agent.evidence.source == "screen"
        and event.source != "screen"
    )


def _is_end(agent: Agent, event: AnyEvent, reading: Reading) -> bool:
    """The end of a turn that is a little older than what is known, and that nothing tells again.

    A look at its screen shows what was drawn last; and the hook of an end behind which a queued
    prompt may go on is written a moment after it.
    """
    just = event.at >= agent.turn_began and event.mono >= agent.evidence.mono - ASKED_BEFORE
    if agent.status not in IN_TURN or reading.status is not Status.READY or not just:
        return False
    if agent.evidence.source == "screen":
        return event.source in ("hook", "status")
    hook = agent.own_hook
    stopped = hook is not None and hook.text == "Stop" and hook.at == agent.evidence.at
    return event.source == "status" and stopped


def _wait_for_file(step: Step, event: AnyEvent, former: Agent) -> None:
    """Give the status file a time in which to tell of the turn that a hook has told of.

    Only if it told of the end of the turn before: one that has missed that is not kept up.
    """
    agent, key = step.world.agents[former.name], f"outvoted:{former.name}"
    by_hook = agent.status is Status.WORKING and event.source == "hook"
    if not by_hook or agent.doing in APART:
        step.deadline(key, None)
    elif key not in step.world.deadlines and _told_end(step, former, event):
        # One that was written while no supervisor ran counts from when there was one.
        late = max(0.0, step.world.supervisor_since - event.at)
        step.deadline(key, event.mono + late + OUTVOTED)


def recovered(step: Step, event: AnyEvent) -> None:
    """What its status file told while no supervisor ran is still to be read."""
    for name, due in list(step.world.deadlines.items()):
        if name.startswith("outvoted:"):
            step.deadline(name, max(due, event.mono + OUTVOTED))


def outvoted(step: Step, event: DeadlinePassed, name: str) -> None:
    """The status file has told of no turn: the hook that did was of one that is over.

    Its end had no Stop hook. What is newer than that late hook is still news; itself it is not.
    """
    agent = step.world.agents.get(name)
    if agent is None or agent.status is not Status.WORKING or agent.evidence.source != "hook":
        return
    if agent.doing in APART or _filed(step, agent) != "ready":
        return
    _cut(step, event, agent, math.nextafter(agent.evidence.mono, math.inf))


def cut_due(step: Step, event: DeadlinePassed, name: str) -> None:
    """The status file has told of the end of a turn, and no hook has: a person ended it."""
    agent = step.world.agents.get(name)
    if agent is None or agent.status not in IN_TURN or _filed(step, agent) != "ready":
        return
    if agent.said["status"].at >= agent.evidence.at:
        _cut(step, event, agent, event.due - HELD)


def _cut(step: Step, event: DeadlinePassed, agent: Agent, mono: float) -> None:
    """Its turn was interrupted, as its status file tells, if it is no error that ended it."""
    at = agent.said["status"].at
    reading = readings.failure(agent) or CUT
    agent = become(agent, Status.READY, event, flags=reading.flags, detail=reading.detail or "")
    evidence = Evidence(kind="status_file_seen", source="status", at=at, mono=mono)
    step.put(replace(agent, since=at, evidence=evidence))
    outbox.turn_over(step, agent.name)
    outbox.pump(step, event, agent.name)


def _told_end(step: Step, agent: Agent, event: AnyEvent) -> bool:
    """Whether its status file has told of the end of its turn, and of none since.

    Just before: a file that has been silent for longer may not be kept up any more.
    """
    if _filed(step, agent) != "ready":
        return False
    at = agent.said["status"].at
    return at >= agent.turn_began and event.at < at + doubts.BEFORE


def _filed(step: Step, agent: Agent) -> str | None:
    """What its status file said last, in our words."""
    said, team = agent.said.get("status"), step.world.team
    file = team.clis[agent.spec.cli].status_file if team is not None else None
    return file.states.get(said.text) if said is not None and file is not None else None


def _stands_open(step: Step, agent: Agent, event: AnyEvent) -> bool:
    """Whether its dialog is open, as the status file says, or is just about to.

    Beside that of a sub-agent, or of one tool of several, everything else goes on, and its hooks
    tell so.
    """
    if agent.status is not Status.BLOCKED or "status" not in agent.said:
        return False
    just_asked = event.mono < agent.evidence.mono + ASKED_BEFORE
    return just_asked or _filed(step, agent) == "blocked"


def _look_for_options(step: Step, agent: Agent) -> None:
    """Only the screen shows which options a dialog has."""
    team = step.world.team
    if agent.ask is not None and agent.ask.shown is None and agent.pane is not None and team:
        cli = team.clis[agent.spec.cli]
        step.do(LookAtScreen(agent=agent.name, run=agent.run, pane=agent.pane, cli=cli))


def _look_once_more(step: Step, agent: Agent, event: ScreenSeen) -> None:
    """The dialog that was told of is not drawn yet."""
    late = event.mono - agent.evidence.mono
    if agent.status is Status.BLOCKED and event.status != "blocked" and late < UNDRAWN:
        _look_for_options(step, agent)


def look_again(step: Step) -> None:
    """tmux was away: a look that was ordered meanwhile has failed."""
    for agent in step.world.agents.values():
        _look_for_options(step, agent)


def answered(step: Step, agent: Agent, hook: str) -> None:
    """The request that `hook` told of is answered: where more than one was made, the next is asked.

    No report tells of that, as its status is the same; so the evidence stays as it is, and a report
    that it asks nothing any more is not too late.
    """
    if agent.ask is None or not agent.behind:
        return
    ask, *behind = (one for one in (agent.ask, *agent.behind) if one.hook != hook)
    moved = ask is not agent.ask
    detail = one_line(readings.asks(ask)) if moved else agent.detail
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
    """The Stop hook of a turn whose end the status file told first: it was no interrupt, and has
    last words."""
    just = event.mono >= agent.evidence.mono - ASKED_BEFORE
    if (
        event.source == "hook"
        and reading.status is Status.READY
        and agent.status is Status.READY
        and (Flag.INTERRUPTED in agent.flags or (just and agent.evidence.source == "status"))
        and event.mono >= agent.worked
    ):
        step.put(replace(agent, flags=reading.flags, detail=one_line(reading.detail or "")))


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
        step.put(replace(agent, ask=ask, detail=one_line(readings.asks(ask))))


def _note(agent: Agent, event: Report, said: str) -> Agent:
    """Remember what this source last said."""
    source: Source = event.source
    last = agent.said.get(source)
    if last is not None and last.at > event.at and last.text != doubts.GONE:
        return agent
    told = {**agent.said, source: Said(text=one_line(said), at=event.at)}
    # A snapshot is taken by us: it is no movement.
    still = source == "screen" or event.at < (agent.quiet_since or 0.0)
    return replace(agent, said=told, quiet_since=agent.quiet_since if still else None)


def _own(agent: Agent, event: HookReceived) -> Agent:
    """Remember the newest hook of the session's own, and whether a prompt waits behind a turn."""
    if event.subagent or (agent.own_hook is not None and agent.own_hook.at > event.at):
        return agent
    queued = agent.queued
    if event.hook == "UserPromptSubmit":
        queued = readings.is_in_turn(agent)
    elif event.hook in ("Stop", "StopFailure", "SessionStart"):
        queued = False
    return replace(agent, own_hook=Said(text=event.hook, at=event.at), queued=queued)


def _prompted(agent: Agent, event: Report) -> Agent:
    """Remember the beginning of the newest prompt: its hook or its transcript tells it first."""
    prompts = _prompts(event)
    if not prompts or event.at < agent.prompted:
        return agent
    return replace(agent, prompt=prompts[-1][:PROMPT], prompted=event.at)


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
        return (*event.queued, *event.prompts)
    if isinstance(event, HookReceived) and event.hook == "UserPromptSubmit" and not event.subagent:
        return (event.text or "",)
    return ()


def _identity(agent: Agent, event: HookReceived) -> Agent:
    """The conversation and transcript as the CLI names them: `/clear` changes both."""
    if event.subagent:
        return agent
    if event.hook == "UserPromptSubmit":
        agent = replace(agent, turns=agent.turns + 1)
    # The end of the old conversation may be read after the start of the new one.
    if event.hook == "SessionEnd":
        return agent
    agent = _conversation(agent, event.conversation)
    return replace(agent, transcript=event.transcript or agent.transcript)


def _conversation(agent: Agent, told: str | None) -> Agent:
    """It goes on in this conversation: what was taken in another one is no part of it."""
    if told in (None, agent.conversation):
        return agent
    return replace(agent, conversation=told, unwritten=())


def _fill_in(agent: Agent, event: ScreenSeen) -> Agent:
    """Options, and what is asked, as the person would see them."""
    if agent.status is not Status.BLOCKED or event.status != "blocked" or agent.ask is None:
        return agent
    options = event.options or agent.ask.options
    ask = replace(agent.ask, options=options, shown=event.text or agent.ask.shown)
    moved = agent.ask.shown not in (None, ask.shown)
    # The hook of a tool that asks several questions told of the first alone.
    next_one = moved and (ask.kind == "question" or ask.tool is None)
    if event.text and (readings.is_vague(agent.ask) or next_one):
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
    return replace(agent, ask=ask, detail=one_line(readings.asks(ask)))
