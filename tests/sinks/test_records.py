"""Whatever an event or a world holds, what is stored reads back as the same value."""

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.events import SendRequested
from orchestrator.core.state import World
from orchestrator.sinks.store import dump_event, dump_world, load_event, load_world
from tests.sinks.strategies import EVENT_KINDS, EVENTS, WORLDS, of


@pytest.mark.parametrize("kind", EVENT_KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_event_reads_back(kind: type[Any]) -> None:
    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(event=of(kind))
    def check(event: Any) -> None:
        back = load_event(dump_event(event))
        assert type(back) is kind
        assert back == event

    check()


@settings(suppress_health_check=list(HealthCheck))
@given(world=WORLDS)
def test_a_world_reads_back(world: World) -> None:
    assert load_world(dump_world(world)) == world


@given(text=st.text(), at=st.floats(allow_nan=False), name=st.text(alphabet=st.characters()))
def test_any_text_and_any_time_read_back(text: str, at: float, name: str) -> None:
    event = SendRequested(
        at=at, mono=at, source="person", key=name, agent=name, text=text, sender="", request=""
    )
    assert load_event(dump_event(event)) == event


@given(event=EVENTS, data=st.data())
def test_a_damaged_event_is_a_value_error_or_an_event(event: Any, data: st.DataObject) -> None:
    text = dump_event(event)
    cut = data.draw(st.integers(0, len(text)))
    with contextlib.suppress(ValueError):
        load_event(text[:cut] + data.draw(st.text(max_size=3)) + text[cut + 1 :])


def test_an_event_of_another_version_is_refused_or_cut_down() -> None:
    with pytest.raises(ValueError, match="no_such_kind"):
        load_event('{"kind": "no_such_kind", "at": 1, "mono": 1, "source": "crew"}')
    known = '{"kind": "files_edited", "at": 1, "mono": 1, "source": "crew", "files": ["a"]'
    assert load_event(known + ', "later": 5}') == load_event(known + "}")
