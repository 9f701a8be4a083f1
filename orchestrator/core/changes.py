"""What is different between two worlds. Pure, but that it remembers its last answer.

Asked at each change, in teams of a thousand, of whom one has changed as a rule: so what is the same
is passed over without a step of Python for each.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from typing import TypeVar

from orchestrator.core.state import Agent, World

K = TypeVar("K")
V = TypeVar("V")


Agents = tuple[Sequence[Agent], Sequence[str]]

# The last two worlds that were compared, and what came of it: at each change several ask the same.
_LAST: list[tuple[World, World, Agents]] = []


def of_agents(old: World, new: World) -> Agents:
    """The agents of `new` that are others than in `old`, or were not there; and the names of those
    that are in `old` alone."""
    for one, other, answer in _LAST:
        if one is old and other is new:
            return answer
    before, after = _apart(old.agents, new.agents)
    changed = tuple(agent for agent in after if old.agents.get(agent.name) is not agent)
    gone = tuple(agent.name for agent in before if agent.name not in new.agents)
    _LAST[:] = [(old, new, (changed, gone))]
    return changed, gone


def addressed(old: World, new: World) -> set[str]:
    """To whom the messages are that are others, or in one of the two alone."""
    before, after = _apart(old.messages, new.messages)
    changed = {m.to for m in after if old.messages.get(m.number) is not m}
    return changed | {m.to for m in before if m.number not in new.messages}


def _apart(old: Mapping[K, V], new: Mapping[K, V]) -> tuple[Collection[V], Collection[V]]:
    """Values of each that the other may not have; of a mapping made of the other, just those.

    Two that are not in the same place may be the same all the same.
    """
    if old is new:
        return (), ()
    if len(old) != len(new):
        return old.values(), new.values()
    other = list(map(operator.is_not, old.values(), new.values()))
    return list(compress(old.values(), other)), list(compress(new.values(), other))
