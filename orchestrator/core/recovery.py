"""The one path of start, restart and restore: the world brought in line with what is alive.

A look at the panes while the supervisor runs is the same comparison on a smaller scale.
"""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core import agents, outbox, reports
from orchestrator.core.effects import ClosePane, EndProcess
from orchestrator.core.events import PaneFact, PanesSeen, Recovered
from orchestrator.core.state import ALIVE, Agent, SessionState, Status, World
from orchestrator.core.step import Step


def recovered(step: Step, event: Recovered) -> None:
    """Bring the world in line with what is alive; then go on as if nothing had happened."""
    rebooted = step.world.boot not in ("", event.boot)
    step.set(
        boot=event.boot,
        epoch=event.epoch,
        supervisor=event.supervisor,
        supervisor_since=event.at,
        server=event.server,
        server_starting=False,
    )
    if rebooted:
        _rebase(step, event)
    outbox.recovered(step, event)
    reports.recovered(step, event)
    panes = {(p.agent, p.run): p for p in event.panes}
    for agent in list(step.world.agents.values()):
        _recover_agent(step, event, agent, panes.get((agent.name, agent.run)))
    _close_strays(step, event.panes)
    if step.world.state is SessionState.UP:
        agents.bring_back(step, event)


def _rebase(step: Step, event: Recovered) -> None:
    """Another boot counts its seconds from another start: no old time means anything."""
    for name in step.world.deadlines:
        step.deadline(name, event.mono)
    step.set(restarts=())
    for agent in list(step.world.agents.values()):
        evidence = replace(agent.evidence, mono=0.0)
        step.put(replace(agent, restarts=(), evidence=evidence))


def _recover_agent(step: Step, event: Recovered, agent: Agent, pane: PaneFact | None) -> None:
    if agent.answering is not None:
        agent = step.put(replace(agent, answering=None))
    in_flight = agent.status in ALIVE and agent.process is None and not agent.waiting_for
    if in_flight and pane is not None and pane.process is not None and not pane.dead:
        # Launched, and the supervisor died before it knew.
        agent = agents.adopt(step, agent, pane.pane, pane.tty, pane.process)
        agent = agents.first_words(step, event, agent, resumed=agent.turns > 0)
    elif in_flight and agent.status is Status.STOPPING:
        agents.ended(step, event, agent)
        return
    elif in_flight and agent.status is not Status.STARTING:
        # It reported, but of its launch nothing could be read: the journal has a hole.
        agents.lose(step, event, agent, "nothing is known of its process")
        return
    elif in_flight:
        # Ordered, and nothing is there: order it again, under a new run.
        step.put(replace(agent, waiting_for=(agents.TMUX,), pane=pane.pane if pane else None))
        return
    if agent.status is Status.EXITED and agent.exit is None:
        # Its exit status was awaited; what can be known of it is known now.
        code, signal = (pane.code, pane.signal) if pane is not None else (None, None)
        agents.died(
            step,
            event,
            agent,
            code=code,
            signal=signal,
            known=True,
            pane_gone=False,
            jitter=event.jitter,
        )
        agent = step.world.agents[agent.name]
    if event.server is None:
        agents.lose(step, event, agent, "the tmux server was gone")
    elif not agents.compare(step, event, agent, pane, event.jitter):
        _go_on_ending(step, agent)


def _go_on_ending(step: Step, agent: Agent) -> None:
    """What was being ended, or swept after its end, when the supervisor died."""
    ending = agent.process if agent.status is Status.STOPPING else None
    for process in (ending, agent.previous):
        if process is not None:
            step.do(EndProcess(agent=agent.name, run=agent.run, process=process))


def is_stray(world: World, pane: PaneFact) -> bool:
    """Whether the world knows nothing of this pane: a supervisor that died has ordered it."""
    agent = world.agents.get(pane.agent)
    if agent is None:
        return True
    being_launched = agent.run == pane.run and agent.process is None
    return agent.pane != pane.pane and not being_launched


def differs(world: World, panes: Sequence[PaneFact]) -> bool:
    """Whether a look at the panes shows what the world does not know."""
    seen = {(p.agent, p.run): p for p in panes}
    for agent in world.agents.values():
        if agent.status in ALIVE and agent.process is not None:
            pane = seen.get((agent.name, agent.run))
            if pane is None or pane.dead or pane.process not in (None, agent.process):
                return True
    return any(is_stray(world, pane) for pane in panes)


def _close_strays(step: Step, panes: Sequence[PaneFact]) -> None:
    for pane in panes:
        if is_stray(step.world, pane):
            if pane.process is not None:
                step.do(EndProcess(agent=pane.agent, run=pane.run, process=pane.process))
            step.do(ClosePane(agent=pane.agent, pane=pane.pane))


def panes_seen(step: Step, event: PanesSeen) -> None:
    panes = {(p.agent, p.run): p for p in event.panes}
    missed = 0
    for agent in list(step.world.agents.values()):
        found = agents.compare(step, event, agent, panes.get((agent.name, agent.run)), event.jitter)
        missed += found
    if event.audit and missed:
        step.set(missed_events=step.world.missed_events + missed)
    _close_strays(step, event.panes)
