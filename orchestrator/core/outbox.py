"""Messages: queued, typed once, delivered when the agent itself says so.

QUEUED -> TYPING       the agent is ready: one order to type is given
TYPING -> QUEUED       held before anything was typed, or proven lost
TYPING -> DELIVERED    its hook or its transcript has the prompt
TYPING -> UNCONFIRMED  no receipt and no proof: shown, never typed again
DELIVERED -> TYPING    the process ended before it wrote down what its hook had told of
"""

import math
from dataclasses import replace

from orchestrator.core import receipts
from orchestrator.core.effects import JudgeMessage, Notify, PressSubmit, SaveMessage, TypeMessage
from orchestrator.core.events import DeadlinePassed, Event, MessageHeld, MessageJudged
from orchestrator.core.paste import clean_text
from orchestrator.core.readings import A_PROMPT
from orchestrator.core.state import Agent, Flag, Message, MessageState, Status
from orchestrator.core.step import Step

# Seconds after which a receipt should have come: it normally takes 30 to 90 ms, on a loaded machine
# or behind a 500 kB paste seconds.
OVERDUE = 30.0
# Seconds that a status file may be behind the hook of a turn's end. Until then the turn is not over
# in the CLI: a text goes into its own queue, from which it may come after a later one.
ENDING = 0.5
# How long a held message waits before the pane is looked at again: doubled each time.
HELD, HELD_MAX = 1.0, 30.0
# After a crash of the supervisor the spool is read first, which takes well under a second.
AFTER_CRASH = 10.0
# A message that was proven lost this often is left to a person.
ATTEMPTS = 3
# Messages of which only a hook has told: there is one as a rule.
UNWRITTEN = 8


def framed(message: Message) -> str:
    """What is said: to be compared with what the agent says it took."""
    return receipts.framed(message.number, message.sender, message.text)


def enqueue(
    step: Step,
    event: Event,
    *,
    to: str,
    sender: str,
    text: str,
    key: str,
    first: bool = False,
) -> Message:
    """Accept a message. It is on disk before anything else happens to it."""
    number = step.world.next_message
    step.set(next_message=number + 1)
    message = Message(
        number=number,
        key=key,
        to=to,
        sender=sender,
        # As it will be typed: what is compared later is what was said.
        text=clean_text(text),
        state=MessageState.QUEUED,
        at=event.at,
        first=first,
    )
    step.do(SaveMessage(message=message))
    return step.keep(message)


def pump(step: Step, event: Event, name: str) -> None:
    """Type the next message to an agent that can take it. One is under way at a time."""
    agent = step.world.agents.get(name)
    if agent is None or agent.status is not Status.READY or agent.pane is None:
        return
    under_way = step.messages_to(name, MessageState.TYPING)
    for message in under_way:
        due = step.world.deadlines.get(f"receipt:{message.number}")
        # It was due while the agent was away, or what would confirm it has gone with its process:
        # now it can be asked for.
        if due is None or (message.run != agent.run and due > event.mono + HELD):
            step.deadline(f"receipt:{message.number}", event.mono + HELD)
    if under_way or f"held:{name}" in step.world.deadlines:
        return
    queued = step.messages_to(name, MessageState.QUEUED)
    team = step.world.team
    if not queued or team is None:
        return
    cli = team.clis[agent.spec.cli]
    told, ended = agent.evidence.source, agent.evidence.mono
    if cli.status_file is not None and told == "hook" and event.mono - ended < ENDING:
        step.deadline(f"ending:{name}", ended + ENDING)
        return
    message = _change(
        step,
        queued[0],
        MessageState.TYPING,
        attempts=queued[0].attempts + 1,
        run=agent.run,
        typed_at=event.at,
        detail="",
    )
    step.deadline(f"receipt:{message.number}", event.mono + OVERDUE)
    step.do(
        TypeMessage(
            agent=name,
            run=agent.run,
            pane=agent.pane,
            cli=cli,
            number=message.number,
            text=receipts.typed(framed(message), cli),
        )
    )


def _change(step: Step, message: Message, state: MessageState, **fields: object) -> Message:
    changed: Message = replace(message, state=state, **fields)  # type: ignore[arg-type] # fields of Message, checked at run time by replace
    step.keep(changed)
    step.do(SaveMessage(message=changed))
    return changed


def _close(step: Step, message: Message, state: MessageState, detail: str = "") -> None:
    """The message needs nothing more: it lives on in the outbox table alone."""
    _change(step, message, state, detail=detail)
    step.deadline(f"receipt:{message.number}", None)
    step.forget(message.number)


def prompt_taken(step: Step, name: str, prompt: str, *, written: bool, waits: bool = False) -> None:
    """The agent took `prompt`: the message that it is, if it is one, is delivered.

    `written`: it is in the conversation. A CLI runs its hooks before it writes the prompt down, and
    keeps what comes in the middle of a turn for its end: until then it goes with the process.
    """
    agent = step.world.agents[name]
    if written:
        found = next((m for m in agent.unwritten if _is_of(m, prompt)), None)
        agent = step.put(
            replace(agent, unwritten=tuple(m for m in agent.unwritten if m is not found))
        )
    waiting = step.messages_to(name, MessageState.TYPING, MessageState.UNCONFIRMED)
    message = next((m for m in waiting if _is_of(m, prompt)), None)
    if message is not None:
        _deliver(step, message, written=written)
    if waits:
        _mark_waiting(step, name, prompt)
    if message is None:
        return
    for older in waiting:
        # The conversation has gone past it: it stays unconfirmed, and is no longer waited for.
        if older.state is MessageState.UNCONFIRMED and older.number < message.number:
            _close(step, older, MessageState.UNCONFIRMED, older.detail)


def _deliver(step: Step, message: Message, *, written: bool) -> None:
    _close(step, message, MessageState.DELIVERED)
    agent = step.world.agents.get(message.to)
    if not written and agent is not None:
        step.put(replace(agent, unwritten=(*agent.unwritten, message)[-UNWRITTEN:]))


def _mark_waiting(step: Step, name: str, prompt: str) -> None:
    """It waits in the CLI's own queue: the end of the turn that goes on writes nothing of it.

    Among what is not written yet that is said by its state, QUEUED.
    """
    agent = step.world.agents[name]
    marked = tuple(
        replace(m, state=MessageState.QUEUED) if _is_of(m, prompt) else m for m in agent.unwritten
    )
    if marked != agent.unwritten:
        step.put(replace(agent, unwritten=marked))


def _is_of(message: Message, prompt: str) -> bool:
    return receipts.is_receipt(framed(message), prompt)


def turn_over(step: Step, name: str) -> None:
    """Its turn is over: what it took before its last words is in its conversation by now.

    A transcript is written in order, and may be behind the hook of a turn's end. What a person
    interrupted is theirs.
    """
    agent = step.world.agents[name]
    if agent.transcript is None or not agent.unwritten:
        until = math.inf
    else:
        words = agent.said.get("transcript")
        until = words.at if words is not None and words.text != A_PROMPT else 0.0
        if Flag.INTERRUPTED in agent.flags:
            until = max(until, agent.since)
    # Idle, as its status file tells, it has nothing in its queue.
    idle = agent.evidence.at if agent.evidence.source == "status" else 0.0
    left = tuple(
        message
        for message in agent.unwritten
        if message.typed_at >= until
        or (message.state is MessageState.QUEUED and message.typed_at >= idle)
    )
    if left != agent.unwritten:
        step.put(replace(agent, unwritten=left))


def doubt(step: Step, name: str) -> None:
    """Its process is another one: its transcript tells, once it is ready, what it knows of."""
    for message in step.world.agents[name].unwritten:
        _change(step, message, MessageState.TYPING)
    step.put(replace(step.world.agents[name], unwritten=()))


def held(step: Step, event: MessageHeld) -> None:
    message = step.world.messages.get(event.number)
    if message is None or message.state is not MessageState.TYPING or message.run != event.run:
        return
    pause = min(HELD_MAX, HELD * 2.0**message.held)
    _change(
        step,
        message,
        MessageState.QUEUED,
        attempts=message.attempts - 1,
        held=message.held + 1,
        detail=event.reason,
    )
    step.deadline(f"receipt:{message.number}", None)
    step.deadline(f"held:{message.to}", event.mono + pause)


def receipt_due(step: Step, event: DeadlinePassed, number: int) -> None:
    """No receipt in time: find out what became of it, before anything else is tried."""
    message = step.world.messages.get(number)
    if message is None or message.state is not MessageState.TYPING:
        return
    agent = step.world.agents.get(message.to)
    team = step.world.team
    if agent is None or team is None:
        _close(step, message, MessageState.ABANDONED, "its agent is gone")
        return
    if agent.pane is None or agent.process is None or agent.status is Status.STARTING:
        return  # Not there to be asked: `pump` comes back to it when it is.
    # Should nothing come of the judging, it is asked for again.
    step.deadline(event.name, event.mono + OVERDUE)
    step.do(
        JudgeMessage(
            agent=agent.name,
            run=agent.run,
            typed_in=message.run,
            pane=agent.pane,
            tty=agent.tty,
            cli=team.clis[agent.spec.cli],
            number=number,
            text=framed(message),
            transcript=agent.transcript,
            since=message.typed_at,
        )
    )


def judged(step: Step, event: MessageJudged) -> None:
    message = step.world.messages.get(event.number)
    if message is None or message.state is not MessageState.TYPING:
        return
    if event.since not in (None, message.typed_at):
        return  # It has been typed again since.
    agent = step.world.agents.get(message.to)
    team = step.world.team
    if event.verdict in ("taken", "queued"):
        _deliver(step, message, written=event.verdict == "taken")
    elif event.verdict == "absent" and message.attempts < ATTEMPTS:
        _change(step, message, MessageState.QUEUED, detail="was lost; will be typed again")
        step.deadline(f"receipt:{message.number}", None)
    elif (
        event.verdict == "draft"
        and message.detail == ""
        and agent is not None
        and agent.pane is not None
        and team is not None
    ):
        # The submit key was swallowed: press it once more, do not type again.
        _change(step, message, MessageState.TYPING, detail="submit key pressed again")
        step.deadline(f"receipt:{message.number}", event.mono + OVERDUE)
        step.do(
            PressSubmit(
                agent=agent.name,
                run=agent.run,
                pane=agent.pane,
                cli=team.clis[agent.spec.cli],
                number=message.number,
                text=framed(message),
            )
        )
    else:
        _change(step, message, MessageState.UNCONFIRMED, detail="no receipt came")
        step.deadline(f"receipt:{message.number}", None)
        step.do(
            Notify(
                level="warning",
                agent=message.to,
                text=f"message {message.number} to {message.to} is unconfirmed: "
                "look at its pane before sending it again",
            )
        )


def recovered(step: Step, event: Event) -> None:
    """After a crash: what was being typed may have been typed or not. Hooks may tell yet."""
    for message in list(step.world.messages.values()):
        if message.state is MessageState.TYPING:
            step.deadline(f"receipt:{message.number}", event.mono + AFTER_CRASH)


def abandon(step: Step, reason: str, to: str | None = None) -> None:
    """The conversations these were meant for (all, or one agent's) are over."""
    for message in list(step.world.messages.values()):
        if to is None or message.to == to:
            _close(step, message, MessageState.ABANDONED, reason)


def why_waiting(agent: Agent) -> str:
    """Why a message to this agent is not typed now: one clause."""
    if agent.status is Status.READY:
        return "being typed"
    if agent.status is Status.BLOCKED:
        return f"{agent.name} waits for an answer; typed when it is ready"
    return f"{agent.name} is {agent.status}; typed when it is ready"
