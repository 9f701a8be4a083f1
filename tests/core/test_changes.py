"""What is different between two worlds: all of it, and nothing else."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import events as ev
from orchestrator.core.changes import addressed, of_agents
from orchestrator.core.reducer import reduce
from orchestrator.core.views import change
from tests.core.worlds import Play, agent_spec, any_event, running


@given(st.lists(any_event(), max_size=20), st.integers(1, 5))
def test_what_has_changed_and_what_is_gone(events: list[ev.AnyEvent], apart: int) -> None:
    play = running(agent_spec("a"), agent_spec("b"))
    worlds = [play.world]
    for event in events:
        worlds.append(reduce(worlds[-1], event)[0])
    for old, new in zip(worlds, worlds[apart:], strict=False):
        changed, gone = of_agents(old, new)
        assert changed == tuple(a for n, a in new.agents.items() if old.agents.get(n) is not a)
        assert gone == tuple(name for name in old.agents if name not in new.agents)
        numbers = old.messages.keys() | new.messages.keys()
        others = [n for n in numbers if old.messages.get(n) is not new.messages.get(n)]
        told = {w.messages[n].to for w in (old, new) for n in others if n in w.messages}
        assert addressed(old, new) == told


def test_who_came_in_the_place_of_another() -> None:
    """As many as there were, and others: somebody left and somebody came, or came back."""
    old = running(agent_spec("a"), agent_spec("b")).world
    a, b = old.agents["a"], old.agents["b"]
    c = replace(a, name="c")
    assert of_agents(old, replace(old, agents={"b": b, "c": c})) == ((c,), ("a",))
    assert of_agents(old, replace(old, agents={"b": b, "a": a})) == ((), ())
    assert of_agents(old, replace(old, agents={"b": b})) == ((), ("a",))


def _send(play: Play, to: str) -> None:
    stamp = play.stamp("person")
    play.give(ev.SendRequested(agent=to, text="hello", sender="person", request=to, **stamp))


def test_a_message_tells_of_its_agent_and_of_nobody_else() -> None:
    """Each agent of a large team may have a message that waits."""
    play = running(agent_spec("a"), agent_spec("b"), agent_spec("c"))
    for name in ("a", "b", "c"):
        play.status_file(name, "working")
    _send(play, "a")
    _send(play, "b")
    old = play.world
    _send(play, "b")
    part = change(old, play.world)
    assert [(agent["name"], agent["queued"]) for agent in part["agents"]] == [("b", 2)]
