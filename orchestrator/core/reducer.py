"""`reduce(world, event) -> (world, effects)`: the only place where the world changes.

Pure: the same journal gives the same world. This file takes requests and the session's own life,
and hands the rest to

    recovery.py  what a new supervisor, or a look at the panes, has found
    agents.py    the life of its process
    reports.py   what it says it is doing
    doubts.py    what does not fit together in that
    accounts.py  what it has used
    outbox.py    what is said to it
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from orchestrator.core import accounts, agents, doubts, outbox, receipts, recovery, reports
from orchestrator.core.answers import decision
from orchestrator.core.effects import (
    AnyEffect,
    ClosePane,
    Finish,
    GiveAnswer,
    KillServer,
    ListPanes,
    Notify,
    Reply,
    SendInterrupt,
)
from orchestrator.core.events import (
    AgentSpawned,
    AnswerGiven,
    AnswerRequested,
    AnyEvent,
    DeadlinePassed,
    DownRequested,
    EffectFailed,
    EventsMissed,
    FilesEdited,
    HookReceived,
    InterruptRequested,
    InterruptSent,
    MessageHeld,
    MessageJudged,
    MessageTyped,
    PanesSeen,
    ProcessExited,
    Recovered,
    RestartRequested,
    RestoreRequested,
    ScreenSeen,
    SendRequested,
    ServerFailed,
    ServerLost,
    ServerStarted,
    SourceDoubted,
    SpawnFailed,
    StatusFileGone,
    StatusFileSeen,
    StatusLineSeen,
    StopRequested,
    TerminalSeen,
    TranscriptSeen,
    UpRequested,
    agent_of,
)
from orchestrator.core.paste import clean_text
from orchestrator.core.spec import TeamSpec
from orchestrator.core.state import (
    ALIVE,
    IN_TURN,
    RESTARTABLE,
    Agent,
    SessionState,
    Status,
    World,
)
from orchestrator.core.step import Step

# Seconds until a tmux server that did not start is tried again.
SERVER_RETRY = 5.0
# Seconds that the supervisor of a session that is down waits for a request.
IDLE = 5.0


def reduce(world: World, event: AnyEvent) -> tuple[World, Sequence[AnyEffect]]:
    """The new world, and what is to be done, in order."""
    step = Step(world)
    match event:
        case UpRequested():
            _up(step, event)
        case DownRequested():
            _down(step, event)
        case RestoreRequested():
            _restore(step, event)
        case SendRequested():
            _send(step, event)
        case AnswerRequested():
            _answer(step, event)
        case InterruptRequested():
            _interrupt(step, event)
        case RestartRequested():
            _restart(step, event)
        case StopRequested():
            _stop(step, event)
        case Recovered():
            recovery.recovered(step, event)
        case ServerStarted():
            step.set(server=event.server, server_starting=False)
            step.deadline("server", None)
            agents.bring_back(step, event)
        case ServerFailed():
            step.set(server_starting=False)
            step.deadline("server", event.mono + SERVER_RETRY)
            step.do(Notify(level="error", agent=None, text=event.reason))
        case ServerLost():
            agents.server_lost(step, event, event.reason)
        case PanesSeen():
            recovery.panes_seen(step, event)
        case AgentSpawned():
            agents.spawned(step, event)
        case SpawnFailed():
            agents.spawn_failed(step, event)
        case ProcessExited():
            agents.exited(step, event)
        case HookReceived():
            accounts.hook_received(step, event)
            reports.received(step, event)
        case TranscriptSeen():
            accounts.transcript_seen(step, event)
            if event.prompts or event.queued or event.last_words:
                reports.received(step, event)
        case StatusLineSeen():
            accounts.status_line_seen(step, event)
        case StatusFileSeen() | ScreenSeen():
            reports.received(step, event)
        case StatusFileGone():
            doubts.file_gone(step, event)
        case TerminalSeen():
            doubts.terminal_seen(step, event)
        case MessageHeld():
            outbox.held(step, event)
        case MessageJudged():
            outbox.judged(step, event)
            outbox.pump(step, event, event.agent)
        case AnswerGiven() | InterruptSent():
            _done(step, event)
        case DeadlinePassed():
            _deadline(step, event)
        case FilesEdited():
            step.set(edited=tuple(sorted({*step.world.edited, *event.files})))
        case SourceDoubted():
            step.do(ListPanes())
            if event.doubted == "tmux":
                reports.look_again(step)
        case EventsMissed():
            step.set(missed_events=step.world.missed_events + event.count)
        case MessageTyped() | EffectFailed():
            pass  # Facts for the journal: the receipt and the log tell the rest.
        case _:
            assert_never(event)
    _settle(step, event)
    return step.world, step.effects


def reduce_safely(world: World, event: AnyEvent) -> tuple[World, Sequence[AnyEffect]]:
    """`reduce`, but an event that it fails on changes nothing and is said aloud.

    The loop and every replay use this one: a defect must not keep a session from coming back.
    """
    try:
        return reduce(world, event)
    except Exception as error:  # whatever the defect is, the world before it is whole
        text = f"{event.kind} could not be taken in: {type(error).__name__}: {error}"
        notice = Notify(level="error", agent=agent_of(event), text=text)
        request = getattr(event, "request", None)
        if request is None:
            return world, (notice,)
        return world, (notice, Reply(request=request, exit=1, body={"error": text}))


# -- requests -------------------------------------------------------------------------------------


def _up(step: Step, event: UpRequested) -> None:
    """Start what is missing, adopt what runs, apply what was edited, end what is gone."""
    team = event.team
    if step.world.state is SessionState.DOWN:
        if any(a.status in ALIVE for a in step.world.agents.values()):
            step.refuse(event.request, "the session is just going down: try again in a moment")
            return
        outbox.abandon(step, "its conversation was over before it was delivered")
        for name in list(step.world.agents):
            step.drop_agent(name)
    before = step.world.team
    step.set(team=_with_clis(step, team), state=SessionState.UP, edited=(), restarts=())
    step.deadline("finish", None)
    started: list[str] = []
    adopted: list[str] = []
    changed: list[str] = []
    for spec in team.agents:
        old = step.world.agents.get(spec.name)
        if old is None:
            conversation = event.conversations[spec.name]
            step.put(agents.new_agent(step, spec, conversation, event))
            agents.start(step, event, spec.name)
            started.append(spec.name)
        elif old.status in RESTARTABLE:
            step.put(replace(old, spec=spec, restarts=()))
            agents.start(step, event, spec.name)
            started.append(spec.name)
        elif old.spec != spec or (before and before.clis.get(spec.cli) != team.clis[spec.cli]):
            agents.stop(step, event, replace(old, spec=spec, restarts=()), wanted=True)
            changed.append(spec.name)
        else:
            step.put(replace(old, wanted=True))
            adopted.append(spec.name)
    names = {spec.name for spec in team.agents}
    removed = [name for name in step.world.agents if name not in names]
    for name in removed:
        agents.stop(step, event, step.world.agents[name], wanted=False)
    agents.launch_waiting(step)
    step.reply(event.request, started=started, adopted=adopted, changed=changed, removed=removed)


def _with_clis(step: Step, team: TeamSpec) -> TeamSpec:
    """The new team, with the definitions of those that are still to end."""
    before = step.world.team
    if before is None:
        return team
    used = {a.spec.cli for a in step.world.agents.values()}
    kept = {name: cli for name, cli in before.clis.items() if name in used}
    return replace(team, clis={**kept, **team.clis})


def _down(step: Step, event: DownRequested) -> None:
    """End every agent. Who was wanted stays wanted: `restore` brings just those back."""
    step.set(state=SessionState.DOWN)
    over = (Status.STOPPED, Status.EXITED)
    running = [a for a in step.world.agents.values() if a.status not in over]
    for agent in running:
        agents.stop(step, event, agent, wanted=agent.wanted)
    step.reply(event.request, ending=[a.name for a in running])


def _restore(step: Step, event: RestoreRequested) -> None:
    if step.world.team is None:
        step.refuse(event.request, "there is nothing to restore: `crew up` starts a team")
        return
    step.set(state=SessionState.UP, restarts=())
    step.deadline("finish", None)
    restored = []
    for agent in list(step.world.agents.values()):
        if agent.wanted and agent.status in RESTARTABLE and agent.status is not Status.EXITED:
            step.put(replace(agent, restarts=()))
            agents.start(step, event, agent.name)
        if agent.wanted and agent.status is not Status.EXITED:
            restored.append(agent.name)
    agents.launch_waiting(step)
    step.reply(event.request, restored=restored)


def _known(step: Step, name: str, request: str) -> Agent | None:
    agent = step.world.agents.get(name)
    if agent is None:
        names = ", ".join(step.world.agents) or "none"
        step.refuse(request, f"there is no agent {name!r} here: there is {names}", mistake=True)
    return agent


def _send(step: Step, event: SendRequested) -> None:
    agent = _known(step, event.agent, event.request)
    if agent is None:
        return
    if receipts.is_blank(clean_text(event.text)):
        step.refuse(event.request, "the message is empty", mistake=True)
        return
    message = outbox.enqueue(
        step,
        event,
        to=agent.name,
        sender=event.sender,
        text=event.text,
        key=f"request:{event.request}",
    )
    waiting = outbox.why_waiting(agent)
    outbox.pump(step, event, agent.name)
    message = step.world.messages[message.number]
    step.reply(
        event.request,
        message={"number": message.number, "state": message.state, "detail": waiting},
    )


def _answer(step: Step, event: AnswerRequested) -> None:
    agent = _known(step, event.agent, event.request)
    team = step.world.team
    if agent is None or team is None:
        return
    if agent.ask is None or agent.pane is None:
        step.refuse(event.request, f"{agent.name} asks nothing: it is {agent.status}")
        return
    other = event.asked is not None and event.asked != agent.ask.text
    if other or (event.hook is not None and event.hook != agent.ask.hook):
        step.refuse(event.request, f"{agent.name} asks something else now: {agent.ask.text}")
        return
    if agent.answering is not None:
        step.refuse(
            event.request,
            f"{agent.name} is just being answered: `crew status` shows what comes of it",
        )
        return
    cli = team.clis[agent.spec.cli]
    denied = decision(agent.ask, cli.keys.answers, event.choice) == "deny"
    ask = replace(agent.ask, denied=denied)
    step.put(replace(agent, answering=event.request, ask=ask))
    step.do(
        GiveAnswer(
            agent=agent.name,
            run=agent.run,
            pane=agent.pane,
            cli=cli,
            ask=ask,
            choice=event.choice,
            reason=event.reason,
            request=event.request,
        )
    )


def _interrupt(step: Step, event: InterruptRequested) -> None:
    agent = _known(step, event.agent, event.request)
    team = step.world.team
    if agent is None or team is None:
        return
    if agent.pane is None or agent.status not in IN_TURN:
        step.refuse(event.request, f"{agent.name} is {agent.status}: nothing to interrupt")
        return
    step.do(
        SendInterrupt(
            agent=agent.name,
            run=agent.run,
            pane=agent.pane,
            cli=team.clis[agent.spec.cli],
            request=event.request,
            prompt=agent.prompt,
        )
    )


def _done(step: Step, event: AnswerGiven | InterruptSent) -> None:
    agent = step.world.agents.get(event.agent)
    if agent is not None and agent.answering == event.request:
        ask = agent.ask
        if ask is not None and event.refused is not None:
            ask = replace(ask, denied=False)
        agent = step.put(replace(agent, answering=None, ask=ask))
    if agent and isinstance(event, AnswerGiven) and event.hook and event.refused is None:
        reports.answered(step, agent, event.hook)
    if event.refused is not None and event.request.startswith(reports.TRUST):
        text = f"{event.agent} was not told that its folder is trusted: {event.refused}"
        step.do(Notify(level="warning", agent=event.agent, text=text))
    elif event.refused is not None:
        mistake = isinstance(event, AnswerGiven) and event.mistake
        step.refuse(event.request, event.refused, mistake=mistake)
    elif isinstance(event, AnswerGiven):
        step.reply(event.request, choice=event.choice, label=event.label)
    else:
        step.reply(event.request, note=event.note)


def _restart(step: Step, event: RestartRequested) -> None:
    agent = _known(step, event.agent, event.request)
    if agent is None:
        return
    if step.world.state is SessionState.DOWN:
        step.refuse(event.request, "the session is down: `crew up` or `crew restore`")
        return
    if step.world.state is SessionState.PAUSED:
        step.refuse(event.request, "the session is paused after too many restarts: `crew up`")
        return
    agent = replace(agent, restarts=())
    if agent.status in ALIVE:
        agents.stop(step, event, agent, wanted=True)
    else:
        step.put(agent)
        agents.start(step, event, agent.name)
    step.reply(event.request)


def _stop(step: Step, event: StopRequested) -> None:
    agent = _known(step, event.agent, event.request)
    if agent is None:
        return
    agents.stop(step, event, agent, wanted=False)
    step.reply(event.request)


# -- time -----------------------------------------------------------------------------------------


def _deadline(step: Step, event: DeadlinePassed) -> None:
    if step.world.deadlines.get(event.name) != event.due:
        return  # It was moved or cleared meanwhile.
    step.deadline(event.name, None)
    what, _, who = event.name.partition(":")
    agent = step.world.agents.get(who)
    match what:
        case "restart":
            if agent is not None and agent.status is Status.BACKOFF and agent.wanted:
                agents.start(step, event, who)
        case "receipt":
            outbox.receipt_due(step, event, int(who))
        case "held" | "ending":
            outbox.pump(step, event, who)
        case "outvoted":
            reports.outvoted(step, event, who)
        case "cut":
            reports.cut_due(step, event, who)
        case "doubt":
            doubts.due(step, event, who)
        case "server":
            agents.launch_waiting(step)
        case "finish":
            _finish(step)
        case _:
            pass  # "limit": the agent itself says when it goes on; the time is for people.


def _settle(step: Step, event: AnyEvent) -> None:
    """Drop who left the team; end a session that is down and has nothing left alive."""
    world = step.world
    if world.team is not None and len(world.agents) != len(world.team.agents):
        _drop_removed(step)
    if world.state is not SessionState.DOWN or "finish" in world.deadlines:
        return
    if any(a.status in ALIVE for a in step.world.agents.values()):
        return
    if isinstance(event, Recovered):
        # Somebody started a supervisor for a session that is down: to restore it, or by a verb
        # that only asks. It waits a little for what is wanted.
        step.deadline("finish", event.mono + IDLE)
    elif not isinstance(event, DeadlinePassed):
        _finish(step)


def _drop_removed(step: Step) -> None:
    assert step.world.team is not None
    names = {spec.name for spec in step.world.team.agents}
    for agent in list(step.world.agents.values()):
        if agent.name not in names and agent.status is Status.STOPPED:
            if agent.pane is not None:
                step.do(ClosePane(agent=agent.name, pane=agent.pane))
            outbox.abandon(step, f"{agent.name} is no longer in the team", to=agent.name)
            step.drop_agent(agent.name)


def _finish(step: Step) -> None:
    world = step.world
    if world.state is not SessionState.DOWN:
        return
    for agent in list(world.agents.values()):
        if agent.pane is not None:
            step.put(replace(agent, pane=None, tty=None))
    step.set(server=None)
    step.do(KillServer(), Finish())
