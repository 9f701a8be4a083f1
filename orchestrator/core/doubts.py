"""What does not fit together: a source is silent where another tells that it had something to say.

The status goes on with the sources that are left. A doubt names the one that must be wrong, once
it has had the time to be merely late; the next word from that source ends it. Beside it, an agent
that is at work while nothing moves anywhere is stalled.
"""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.events import DeadlinePassed, Event, StatusFileGone, TerminalSeen
from orchestrator.core.lifecycle import REPORTING
from orchestrator.core.readings import is_informed
from orchestrator.core.spec import CliSpec, StatusFileSpec
from orchestrator.core.state import Agent, Flag, Said, Source, Status
from orchestrator.core.step import Step

# Seconds that a source may be later than the others.
LATE = 2.0
# The same of the first word of all: on two cores, twenty CLIs take six seconds to their prompts.
LATE_START = 15.0
# Seconds by which the hook of a turn, or of a request, may be older than the status file's word
# of it.
BEFORE = 5.0
# The last word of a status file that is not there any more, and of a screen that no pattern knows.
GONE = "gone"
NOTHING = "nothing known"

SENTENCES: Mapping[Source, str] = {
    "hook": "its hooks are silent: others told of what they should have",
    "status": "its status file is silent: its hooks tell of a turn, and it does not",
    "screen": "its screen shows nothing that its definition knows",
}
NO_FILE = "its status file is gone: its screen is read instead"


def flags_of(agent: Agent) -> frozenset[Flag]:
    """Every remark beside the status."""
    flags = agent.flags
    if doubts_of(agent):
        flags |= {Flag.DISAGREEMENT}
    if agent.quiet_since is not None and agent.status is Status.WORKING:
        flags |= {Flag.STALLED}
    return flags


def doubts_of(agent: Agent) -> Mapping[Source, Said]:
    """What is doubted of an agent that is there to report anything."""
    return agent.doubts if agent.status in REPORTING else {}


def heard(agent: Agent, source: Source) -> Agent:
    """The source has said something: it is not silent."""
    if source not in agent.doubts:
        return agent
    left = _without(agent.doubts, source)
    # In the place of the status file it was read, and is no more.
    return replace(agent, doubts=_without(left, "screen") if source == "status" else left)


def forgotten(agent: Agent) -> Agent:
    """A new process: what the one before said last was of its own end."""
    gone = agent.said.get("status")
    if gone is not None and gone.text == GONE:
        agent = replace(agent, said=_without(agent.said, "status"))
    return replace(agent, doubts={}, quiet_since=None, own_hook=None, queued=False, reported=False)


def file_gone(step: Step, event: StatusFileGone) -> None:
    agent = step.world.agents.get(event.agent)
    if agent is None or agent.run != event.run or agent.process is None:
        return
    gone = Said(text=GONE, at=event.at)
    step.put(replace(agent, said={**agent.said, "status": gone}))
    expect(step, event, event.agent)


def terminal_seen(step: Step, event: TerminalSeen) -> None:
    agent = step.world.agents.get(event.agent)
    if agent is None or agent.run != event.run or event.mono < agent.evidence.mono:
        return
    quiet = event.quiet_since if agent.status is Status.WORKING else None
    if quiet != agent.quiet_since:
        step.put(replace(agent, quiet_since=quiet))


def expect(step: Step, event: Event, name: str) -> None:
    """Give every source that seems silent the time to be merely late."""
    key, agent = f"doubt:{name}", step.world.agents[name]
    if not set(_silent(step, agent)) - set(agent.doubts):
        step.deadline(key, None)
    elif key not in step.world.deadlines:
        # What was told while no supervisor ran counts from when there was one.
        missed = max(0.0, step.world.supervisor_since - event.at)
        late = LATE_START if agent.status is Status.STARTING else LATE
        step.deadline(key, event.mono + missed + late)


def due(step: Step, event: DeadlinePassed, name: str) -> None:
    """Who is still silent is doubted."""
    agent = step.world.agents.get(name)
    if agent is None:
        return
    new = {s: Said(text=_sentence(agent, s), at=event.at) for s in _silent(step, agent)}
    if set(new) - set(agent.doubts):
        step.put(replace(agent, doubts={**new, **agent.doubts}))


def _silent(step: Step, agent: Agent) -> tuple[Source, ...]:
    team = step.world.team
    cli = team.clis.get(agent.spec.cli) if team is not None else None
    if cli is None or agent.process is None or agent.status not in REPORTING:
        return ()
    found: list[Source] = []
    if cli.hooks is not None and _told_no_hook(agent):
        found.append("hook")
    file = cli.status_file
    if file is not None and (_said(agent, "status") == GONE or _told_no_turn(file, agent)):
        found.append("status")
    if _reads_nothing(cli, agent):
        found.append("screen")
    return tuple(found)


def _told_no_hook(agent: Agent) -> bool:
    """Whether the status file has told of a turn or of a request that a hook goes with.

    A turn: only one whose prompt is in the transcript. A command of the CLI itself has no hook.
    """
    if agent.evidence.source != "status":
        return False
    last = agent.said["hook"].at if "hook" in agent.said else 0.0
    if agent.status is Status.BLOCKED:
        asks = agent.ask is not None and agent.ask.kind != "dialog"
        return asks and last < agent.since - BEFORE
    began = agent.turn_began
    typed = 0.0 < began <= agent.prompted + 1.0
    return agent.status is Status.READY and typed and last < began - BEFORE


def _told_no_turn(file: StatusFileSpec, agent: Agent) -> bool:
    """Whether only hooks tell of the turn that goes on: the status file last told of an end.

    Or of the start: the file has told of nothing at all.
    """
    if agent.status is Status.STARTING:
        return agent.own_hook is not None and not agent.reported
    if agent.status is not Status.WORKING or agent.evidence.source != "hook":
        return False
    said = agent.said.get("status")
    ended = said is not None and file.states.get(said.text) == "ready"
    return ended and said is not None and said.at < agent.turn_began - BEFORE


def _sentence(agent: Agent, source: Source) -> str:
    return NO_FILE if source == "status" and _said(agent, "status") == GONE else SENTENCES[source]


def _reads_nothing(cli: CliSpec, agent: Agent) -> bool:
    """Whether the screen is what tells its status, and tells none."""
    depends = not is_informed(cli) or "status" in agent.doubts
    return depends and _said(agent, "screen") == NOTHING


def _without(said: Mapping[Source, Said], source: Source) -> Mapping[Source, Said]:
    left = dict(said)
    left.pop(source, None)
    return left


def _said(agent: Agent, source: Source) -> str | None:
    said = agent.said.get(source)
    return None if said is None else said.text
