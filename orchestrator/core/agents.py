"""The life of an agent's process: launch, death, restart by policy, stop, loss of the server.

Statuses change here and in `reports.py`, through `lifecycle.become` alone.
"""

from dataclasses import replace

from orchestrator.core import doubts, outbox, receipts
from orchestrator.core.effects import ClosePane, EndProcess, Notify, Spawn, StartServer
from orchestrator.core.events import AgentSpawned, Event, PaneFact, ProcessExited, SpawnFailed
from orchestrator.core.lifecycle import AT_WORK, REPORTING, become, evidence_of
from orchestrator.core.spec import AgentSpec
from orchestrator.core.state import (
    ALIVE,
    IN_TURN,
    Agent,
    Process,
    SessionState,
    Status,
)
from orchestrator.core.step import Step
from orchestrator.core.usage import Usage

# Restarts in ten minutes, over all agents, after which the session is paused: something that
# they share is broken, and starting them again only costs.
SESSION_RESTARTS = 10
SESSION_WINDOW = 600.0
# A death seen up to this long (s) before the server's own is the server's doing: its panes'
# processes get SIGHUP as it dies, and their pidfds may be read first.
WITH_SERVER = 3.0
TMUX = "the tmux server"

# -- launch ---------------------------------------------------------------------------------------


def new_agent(step: Step, spec: AgentSpec, conversation: str, event: Event) -> Agent:
    """An agent that was never launched: STOPPED until `start`."""
    former = step.world.runs.get(spec.name, 0)
    return Agent(
        name=spec.name,
        spec=spec,
        run=former,
        status=Status.STOPPED,
        since=event.at,
        evidence=evidence_of(event),
        conversation=conversation,
        said={},
        usage=Usage(since=event.at, former=former),
    )


def start(step: Step, event: Event, name: str) -> None:
    """-> STARTING: launch when the server is there and everything it depends on is at work."""
    agent = step.world.agents[name]
    step.deadline(f"restart:{name}", None)
    agent = become(agent, Status.STARTING, event)
    # Not ordered yet; `launch_waiting` decides.
    step.put(replace(agent, waiting_for=(TMUX,), wanted=True, exit=None))
    launch_waiting(step)


def launch_waiting(step: Step) -> None:
    """Launch every agent that has waited for something which is there now."""
    world = step.world
    waiting = [a for a in world.agents.values() if a.status is Status.STARTING and a.waiting_for]
    if not waiting or world.state is not SessionState.UP:
        return
    if world.server is None:
        if not world.server_starting:
            step.set(server_starting=True)
            step.do(StartServer())
        return
    for agent in waiting:
        missing = tuple(
            d
            for d in agent.spec.depends_on
            if (dep := world.agents.get(d)) is not None and dep.status not in AT_WORK
        )
        # What it was brought back from is no first start: it does not wait for the others again.
        if missing and not agent.begun:
            if missing != agent.waiting_for:
                detail = "waits for " + ", ".join(missing)
                step.put(replace(agent, waiting_for=missing, detail=detail))
            continue
        order(step, agent)


def order(step: Step, agent: Agent) -> None:
    """Order the launch of a new run."""
    team = step.world.team
    assert team is not None, "an agent belongs to a team"
    names = [spec.name for spec in team.agents]
    previous = agent.process or agent.previous
    run = agent.run + 1
    step.count_run(agent.name, run)
    step.put(
        replace(
            agent,
            run=run,
            waiting_for=(),
            process=None,
            previous=previous,
            tty=None,
            detail="",
            first_asked=None,
        )
    )
    step.do(
        Spawn(
            agent=agent.name,
            run=run,
            spec=agent.spec,
            cli=team.clis[agent.spec.cli],
            conversation=agent.conversation,
            transcript=agent.transcript,
            resume=agent.begun,
            pane=agent.pane,
            end_first=previous,
            place=names.index(agent.name) + 1 if agent.name in names else len(names) + 1,
        )
    )


def spawned(step: Step, event: AgentSpawned) -> None:
    agent = step.world.agents.get(event.agent)
    if agent is None or agent.run != event.run or agent.process is not None:
        # Ordered by a world that has moved on: nobody waits for this process.
        if agent is None or agent.process != event.process:
            step.do(EndProcess(agent=event.agent, run=event.run, process=event.process))
            step.do(ClosePane(agent=event.agent, pane=event.pane))
        return
    if agent.status is Status.STOPPING or step.world.state is SessionState.DOWN:
        adopt(step, agent, event.pane, event.tty, event.process, event.transcript)
        step.do(EndProcess(agent=agent.name, run=agent.run, process=event.process))
        return
    agent = adopt(step, agent, event.pane, event.tty, event.process, event.transcript)
    first_words(step, event, agent, resumed=event.resumed)


def adopt(
    step: Step,
    agent: Agent,
    pane: str,
    tty: str,
    process: Process,
    transcript: str | None = None,
) -> Agent:
    """Take the process in `pane` for this agent's."""
    if agent.process != process:
        agent = doubts.forgotten(agent)
    return step.put(
        replace(
            agent,
            pane=pane,
            tty=tty,
            process=process,
            previous=None,
            transcript=transcript or agent.transcript,
            waiting_for=(),
        )
    )


def first_words(step: Step, event: Event, agent: Agent, *, resumed: bool) -> Agent:
    """What is said to an agent at its start: its prompt once, or how to go on."""

    def say(sender: str, text: str, what: str) -> None:
        key = f"{what}:{agent.conversation}:{agent.run}"
        outbox.enqueue(step, event, to=agent.name, sender=sender, text=text, key=key, first=True)

    outbox.doubt(step, agent.name)
    if not agent.begun and agent.spec.prompt:
        say(receipts.BLUEPRINT, agent.spec.prompt, "prompt")
    elif agent.begun and resumed and agent.cut and agent.spec.resume_prompt:
        say(receipts.BLUEPRINT, agent.spec.resume_prompt, "resume")
    elif agent.begun and not resumed and agent.turns > len(agent.unwritten):
        say(
            receipts.CREW,
            "Your earlier conversation could not be resumed: its transcript is gone or damaged. "
            "You start afresh; ask for what you need to go on.",
            "handover",
        )
        step.do(
            Notify(
                level="warning",
                agent=agent.name,
                text=f"{agent.name} was started with a fresh conversation: "
                "the transcript of its earlier one is gone or damaged",
            )
        )
    turns = agent.turns if resumed else 0
    return step.put(replace(step.world.agents[agent.name], begun=True, cut=False, turns=turns))


def spawn_failed(step: Step, event: SpawnFailed) -> None:
    agent = step.world.agents.get(event.agent)
    if agent is None or agent.run != event.run:
        return
    if agent.status is Status.STOPPING:
        _after_stopping(step, event, agent, event.reason)
    elif agent.status not in REPORTING:
        return
    elif event.permanent:
        agent = step.put(become(agent, Status.FAILED, event, detail=event.reason))
        step.do(Notify(level="error", agent=agent.name, text=f"{agent.name}: {event.reason}"))
    else:
        _back_off(step, event, agent, event.reason, event.jitter)


# -- death ----------------------------------------------------------------------------------------


def exit_text(code: int | None, signal: int | None) -> str:
    """How a process ended, for people."""
    if signal is not None:
        return f"killed by signal {signal}"
    if code is not None:
        return f"exit status {code}"
    return "ended with an unknown exit status"


# What the CLI says of the end of its conversation, where it is more than its exit status says.
PARTINGS = {"prompt_input_exit": "left at its prompt", "logout": "logged out"}


def parting(agent: Agent, how: str) -> str:
    """How it ended, with the agent's own word for it."""
    if agent.first_asked is not None:
        return f"left at its {agent.first_asked} dialog ({how})"
    heard = agent.said.get("hook")
    why = PARTINGS.get(heard.text.removeprefix("SessionEnd ")) if heard is not None else None
    return how if why is None else f"{why} ({how})"


def exited(step: Step, event: ProcessExited) -> None:
    agent = step.world.agents.get(event.agent)
    if agent is None or agent.run != event.run:
        return
    if agent.status is Status.STARTING and agent.waiting_for:
        # It was lost with the tmux server, and is not launched again yet: no death of its own.
        step.put(replace(agent, process=None, previous=agent.process or agent.previous))
        return
    awaiting = agent.status is Status.EXITED and agent.exit is None
    if agent.status not in ALIVE and not awaiting:
        return
    died(
        step,
        event,
        agent,
        code=event.code,
        signal=event.signal,
        known=event.known,
        pane_gone=event.pane_gone,
        jitter=event.jitter,
    )


def died(
    step: Step,
    event: Event,
    agent: Agent,
    *,
    code: int | None,
    signal: int | None,
    known: bool,
    pane_gone: bool,
    jitter: float,
) -> None:
    """The process is gone: what follows is decided by who wanted it and by policy."""
    how = exit_text(code, signal)
    if agent.process is not None:
        # Also when it is gone: what it left in its process session ends with it.
        step.do(EndProcess(agent=agent.name, run=agent.run, process=agent.process))
    cut = agent.cut or agent.status in IN_TURN
    agent = replace(
        agent,
        process=None,
        previous=agent.process or agent.previous,
        tty=None,
        cut=cut,
        pane=None if pane_gone else agent.pane,
        exit=how if known or pane_gone else None,
    )
    if agent.status is Status.STOPPING or step.world.state is SessionState.DOWN:
        _after_stopping(step, event, agent, how)
    elif pane_gone:
        # Somebody closed the pane: that is taken for their will.
        agent = replace(agent, wanted=False)
        step.put(become(agent, Status.STOPPED, event, detail="its pane was closed by hand"))
    elif not known:
        step.put(become(agent, Status.EXITED, event, detail="ended; exit status awaited"))
    elif agent.spec.restart.when == "never" or (
        # Out of a dialog of its first run it goes by a person's will, whatever its status says.
        agent.spec.restart.when == "on-failure"
        and (code == 0 or (agent.first_asked is not None and code is not None))
    ):
        step.put(become(agent, Status.EXITED, event, detail=parting(agent, how)))
    else:
        _back_off(step, event, step.put(agent), how, jitter)


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _after_stopping(step: Step, event: Event, agent: Agent, how: str) -> None:
    """It was to end and has: STOPPED, or STARTING if a person asked for a restart."""
    if agent.wanted and step.world.state is not SessionState.DOWN:
        step.put(agent)
        start(step, event, agent.name)
    else:
        step.put(become(agent, Status.STOPPED, event, detail=how))


def ended(step: Step, event: Event, agent: Agent) -> None:
    """It was to end, and there is nothing of it."""
    _after_stopping(step, event, replace(agent, process=None, tty=None), "")


def _back_off(step: Step, event: Event, agent: Agent, how: str, jitter: float) -> None:
    """-> BACKOFF, or FAILED when policy allows no more. Full jitter over a doubling bound."""
    policy = agent.spec.restart
    recent = tuple(t for t in agent.restarts if t > event.mono - policy.window)
    if len(recent) >= policy.limit:
        step.put(
            become(
                replace(agent, restarts=recent),
                Status.FAILED,
                event,
                detail=f"{how}; gave up after {len(recent)} restarts in {_time(policy.window)}",
            )
        )
        step.do(
            Notify(
                level="error",
                agent=agent.name,
                text=f"{agent.name} failed: {how}, {len(recent)} restarts in "
                f"{_time(policy.window)}; `crew restart {agent.name}` tries again",
            )
        )
        return
    bound = min(policy.backoff_max, policy.backoff * 2.0 ** len(recent))
    pause = jitter * bound
    step.put(
        become(
            replace(agent, restarts=(*recent, event.mono)),
            Status.BACKOFF,
            event,
            detail=how,
        )
    )
    session = tuple(t for t in step.world.restarts if t > event.mono - SESSION_WINDOW)
    step.set(restarts=(*session, event.mono))
    if len(session) + 1 >= SESSION_RESTARTS and step.world.state is SessionState.UP:
        step.set(state=SessionState.PAUSED)
        step.do(
            Notify(
                level="error",
                agent=None,
                text=f"the session is paused: {len(session) + 1} restarts in "
                f"{_time(SESSION_WINDOW)}; `crew up` goes on",
            )
        )
        return
    step.deadline(f"restart:{agent.name}", event.mono + pause)


# -- by a person's will ---------------------------------------------------------------------------


def stop(step: Step, event: Event, agent: Agent, *, wanted: bool) -> None:
    """End an agent; `wanted` says whether it is to be started again afterwards."""
    step.deadline(f"restart:{agent.name}", None)
    agent = replace(agent, wanted=wanted)
    if agent.status in ALIVE and agent.process is not None:
        if agent.status is not Status.STOPPING:
            cut = agent.cut or agent.status in IN_TURN
            agent = become(replace(agent, cut=cut), Status.STOPPING, event)
        step.put(agent)
        assert agent.process is not None
        step.do(EndProcess(agent=agent.name, run=agent.run, process=agent.process))
    elif agent.status is Status.STARTING and not agent.waiting_for:
        # The launch is under way; its process is ended as soon as it is known.
        step.put(become(agent, Status.STOPPING, event, detail="was just being launched"))
    elif agent.status is not Status.STOPPED and agent.status is not Status.STOPPING:
        outlived = agent.process or agent.previous
        if outlived is not None:
            step.do(EndProcess(agent=agent.name, run=agent.run, process=outlived))
        agent = replace(agent, waiting_for=(), process=None, previous=outlived)
        step.put(become(agent, Status.STOPPED, event))
        if wanted and step.world.state is not SessionState.DOWN:
            start(step, event, agent.name)
    else:
        step.put(agent)


# -- loss of the tmux server ----------------------------------------------------------------------


def server_lost(step: Step, event: Event, reason: str) -> None:
    """Every pane is gone with the server: bring back what is wanted."""
    step.set(server=None, server_starting=False)
    for agent in list(step.world.agents.values()):
        lose(step, event, agent, reason)
    world = step.world
    if world.state is SessionState.PAUSED and len(world.restarts) < SESSION_RESTARTS:
        # The deaths that paused it were the server's, as is known only now.
        step.set(state=SessionState.UP)
    if step.world.state is SessionState.UP:
        bring_back(step, event)


def lose(step: Step, event: Event, agent: Agent, reason: str) -> None:
    """-> LOST (STOPPED if it was to end anyway). Its process is kept: it may outlive its pane."""
    recent = agent.evidence.mono >= event.mono - WITH_SERVER
    by_server = recent and agent.evidence.kind in ("process_exited", "spawn_failed")
    cut = agent.cut or agent.status in IN_TURN
    gone = replace(agent, pane=None, tty=None, cut=cut, waiting_for=())
    if agent.status is Status.STOPPING and (
        not agent.wanted or step.world.state is SessionState.DOWN
    ):
        outlived = agent.process or agent.previous
        gone = replace(gone, process=None, previous=outlived)
        step.put(become(gone, Status.STOPPED, event, detail=reason))
        if outlived is not None:
            step.do(EndProcess(agent=agent.name, run=agent.run, process=outlived))
    elif agent.status in ALIVE:
        step.put(become(gone, Status.LOST, event, detail=reason))
    elif agent.status in (Status.BACKOFF, Status.EXITED, Status.FAILED) and by_server:
        # Its death was the server's: it does not count against the agent.
        if agent.status is Status.BACKOFF:
            gone = replace(gone, restarts=agent.restarts[:-1])
            step.set(restarts=step.world.restarts[:-1])
            step.deadline(f"restart:{agent.name}", None)
        step.put(become(gone, Status.LOST, event, detail=reason))
    else:
        step.put(replace(gone, cut=agent.cut))


def bring_back(step: Step, event: Event) -> None:
    """Start again everything that was lost."""
    for agent in list(step.world.agents.values()):
        if agent.status is Status.LOST and agent.wanted:
            start(step, event, agent.name)
    launch_waiting(step)


# -- a look at the panes --------------------------------------------------------------------------


def compare(step: Step, event: Event, agent: Agent, pane: PaneFact | None, jitter: float) -> bool:
    """Bring the agent in line with what tmux shows; True if it was not."""
    if agent.status not in ALIVE or agent.process is None:
        return False
    if pane is None:
        died(step, event, agent, code=None, signal=None, known=True, pane_gone=True, jitter=jitter)
        step.do(EndProcess(agent=agent.name, run=agent.run, process=agent.process))
        return True
    if pane.process is None and not pane.dead:
        return False  # Dying just now: its pidfd and tmux will say how.
    if pane.dead or pane.process != agent.process:
        died(
            step,
            event,
            agent,
            code=pane.code,
            signal=pane.signal,
            known=True,
            pane_gone=False,
            jitter=jitter,
        )
        return True
    return False
