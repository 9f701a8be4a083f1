"""Small events and messages, and a fold that shows which events it was given."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.events import AnyEvent, FilesEdited, SendRequested
from orchestrator.core.state import Message, MessageState, World

# Seconds since the epoch: 2025-11-21T00:00:00Z.
NOW = 1763683200.0


def event(number: int, size: int = 0) -> AnyEvent:
    """An event that `number` tells from others, with `size` bytes of text."""
    return SendRequested(
        at=NOW + number,
        mono=float(number),
        source="person",
        key=f"key-{number}",
        agent=f"agent-{number % 3}",
        text="x" * size,
        sender="somebody",
        request=str(number),
    )


def edited(number: int) -> AnyEvent:
    """An event about no agent, without a key."""
    return FilesEdited(at=NOW + number, mono=float(number), source="crew", files=(str(number),))


def message(number: int, state: MessageState = MessageState.QUEUED, to: str = "a") -> Message:
    return Message(
        number=number,
        key=f"m-{number}",
        to=to,
        sender="somebody",
        text=f"text {number}",
        state=state,
        at=NOW + number,
    )


def fold(world: World, happened: AnyEvent) -> tuple[World, Sequence[object]]:
    """Notes each event in the world, in order."""
    name = happened.files[0] if isinstance(happened, FilesEdited) else str(int(happened.mono))
    return replace(world, edited=(*world.edited, name)), ()


def names(first: int, last: int) -> tuple[str, ...]:
    """What `fold` makes of the events `first` to `last`."""
    return tuple(map(str, range(first, last + 1)))
