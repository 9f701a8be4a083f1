"""What the supervisor commits is there when it, or anybody else, looks again."""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.events import AnyEvent, Event
from orchestrator.core.state import Agent, Message, MessageState, World, empty_world
from orchestrator.errors import Fenced, StorageError
from orchestrator.sinks.records import crc
from orchestrator.sinks.store import Reader, Store, read_world
from tests.sinks.strategies import EVENTS, WORLDS
from tests.sinks.values import NOW, edited, event, fold, message, names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crew.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened, _ = Store.open(path, now=NOW)
    opened.take_over()
    with opened:
        yield opened


def damage(path: Path, statement: str) -> None:
    """Change a row behind the back of the store that wrote it."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_new_database_is_empty_and_says_so(path: Path) -> None:
    store, opened = Store.open(path, now=NOW)
    with store:
        assert (opened.fresh, opened.set_aside, opened.reason) == (True, None, "")
        loaded = store.load("team", fold)
    assert (loaded.world, loaded.seq, loaded.remarks) == (empty_world("team"), 0, ())
    store, opened = Store.open(path, now=NOW)
    store.close()
    assert not opened.fresh


def test_events_are_numbered_in_order_and_replayed(store: Store, path: Path) -> None:
    assert store.commit([event(1), event(2)], []) == [1, 2]
    assert store.commit([], [message(1)]) == []
    assert store.commit([edited(3)], []) == [3]
    store.close()
    again, _ = Store.open(path, now=NOW)
    with again:
        loaded = again.load("team", fold)
    assert (loaded.seq, loaded.world.edited) == (3, names(1, 3))


@settings(max_examples=25, suppress_health_check=[*HealthCheck])  # each example is three fsyncs
@given(world=WORLDS, events=st.lists(EVENTS, max_size=3))
def test_any_world_and_any_events_come_back(
    tmp_path_factory: pytest.TempPathFactory, world: World, events: list[AnyEvent]
) -> None:
    # A key is in the journal once.
    events = [replace(each, key=f"{n}\udc80") for n, each in enumerate(events)]
    path = tmp_path_factory.mktemp("any") / "crew.db"
    seen: list[AnyEvent] = []

    def note(now: World, happened: AnyEvent) -> tuple[World, Sequence[object]]:
        seen.append(happened)
        return now, ()

    store, _ = Store.open(path, now=NOW)
    with store:
        store.take_over()
        store.save_world(world, 7)
        store.commit(events, list(world.messages.values())[:1])
    loaded = read_world(path, world.session, note)
    assert loaded.world == world
    assert (seen, loaded.seq, loaded.skipped) == (events, 7 + len(events), 0)


def test_the_stored_world_is_the_start_of_the_replay(store: Store) -> None:
    store.commit([event(n) for n in range(1, 6)], [])
    world = replace(empty_world("team"), edited=("stored",))
    store.save_world(world, 3)
    loaded = store.load("team", fold)
    assert (loaded.world.edited, loaded.seq, loaded.remarks) == (("stored", "4", "5"), 5, ())


def test_what_lies_behind_the_stored_world_is_pruned(store: Store) -> None:
    store.commit([event(n) for n in range(1, 11)], [])
    world = replace(empty_world("team"), edited=("stored",))
    store.save_world(world, 9, keep=4)
    assert [each["seq"] for each in store.events()] == [6, 7, 8, 9, 10]
    assert store.load("team", fold).world.edited == ("stored", "10")
    store.save_world(world, 10, keep=0)
    assert store.events() == []
    # A number is never given twice, though nothing is left to count from.
    assert store.commit([event(11)], []) == [11]
    assert store.load("team", fold).seq == 11


def test_a_key_is_seen_once_it_is_in_the_journal(store: Store) -> None:
    assert store.seen(["key-1"]) == set()
    store.commit([event(1), event(2), replace(event(3), key="odd\udc80")], [])
    assert store.seen(["key-1", "key-2", "key-9", "odd\udc80"]) == {"key-1", "key-2", "odd\udc80"}
    many = [f"key-{n}" for n in range(50_000)]
    assert store.seen(many) == {"key-1", "key-2"}


@pytest.mark.parametrize(
    ("events", "messages"),
    [
        ([event(2), event(1)], [message(2)]),
        ([event(2)], [message(2), replace(message(3), key="m-1")]),
        ([replace(event(2), at=float("nan"))], []),
    ],
    ids=["event key twice", "message key twice", "no time"],
)
def test_a_batch_that_cannot_be_is_refused_whole(
    store: Store, events: list[AnyEvent], messages: list[Message]
) -> None:
    store.commit([event(1)], [message(1)])
    with pytest.raises(StorageError):
        store.commit(events, messages)
    assert [each["seq"] for each in store.events()] == [1]
    assert [each["number"] for each in store.messages()] == [1]
    assert store.commit([event(2)], [message(2)]) == [2]


def test_a_store_that_was_taken_over_from_writes_nothing(store: Store, path: Path) -> None:
    store.commit([event(1)], [])
    other, _ = Store.open(path, now=NOW)
    with other:
        with pytest.raises(Fenced):  # it has not taken over yet
            other.commit([event(2)], [])
        assert other.take_over() == 2
        with pytest.raises(Fenced):
            store.commit([event(2)], [message(1)])
        with pytest.raises(Fenced):
            store.save_world(empty_world("team"), 1)
        assert other.commit([event(2)], []) == [2]
        assert [each["seq"] for each in store.events()] == [1, 2]
        assert store.messages() == []


def test_events_are_chosen_by_number_agent_and_kind(store: Store) -> None:
    store.commit([event(1), edited(2), event(3), event(4), edited(5)], [])

    def chosen(since: int = 0, **how: Any) -> list[int]:
        return [each["seq"] for each in store.events(since, **how)]

    assert chosen() == [1, 2, 3, 4, 5]
    assert chosen(3) == [4, 5]
    assert chosen(agent="agent-1") == [1, 4]
    assert chosen(kinds=["files_edited"]) == [2, 5]
    assert chosen(kinds=["files_edited", "send_requested"], limit=2) == [1, 2]
    assert chosen(limit=2, newest=True) == [4, 5]
    assert chosen(limit=0) == []
    first, second = store.events(limit=2)
    assert list(first)[:5] == ["seq", "at", "kind", "agent", "source"]
    assert first["text"] == ""
    assert (second["agent"], second["files"]) == (None, ["2"])


def test_messages_are_written_over_and_chosen(store: Store) -> None:
    store.commit([], [message(1), message(2, to="b"), message(3)])
    store.commit([], [replace(message(1, MessageState.DELIVERED), detail="taken", attempts=1)])
    assert [each["number"] for each in store.messages(agent="a")] == [1, 3]
    assert [each["number"] for each in store.messages(states=["queued"])] == [2, 3]
    assert [each["number"] for each in store.messages(limit=1, newest=True)] == [3]
    row = store.messages(limit=1)[0]
    assert (row["to"], row["state"], row["detail"], row["attempts"]) == (
        "a",
        "delivered",
        "taken",
        1,
    )


def test_what_cannot_be_read_or_applied_is_left_out_and_counted(store: Store, path: Path) -> None:
    store.commit([event(n) for n in range(1, 7)], [])
    damage(path, "UPDATE journal SET body = '{}' WHERE seq = 2")
    damage(path, "UPDATE journal SET crc = crc + 1 WHERE seq = 3")
    damage(path, "DELETE FROM journal WHERE seq = 4")

    def fussy(world: World, happened: AnyEvent) -> tuple[World, Sequence[object]]:
        if isinstance(happened, Event) and happened.mono == 5.0:
            raise KeyError("no such agent")
        return fold(world, happened)

    loaded = store.load("team", fussy)
    assert (loaded.world.edited, loaded.skipped, loaded.seq) == (("1", "6"), 4, 6)
    assert len(loaded.remarks) == 1
    assert [each["seq"] for each in store.events()] == [1, 5, 6]


def test_a_world_of_another_version_is_made_again_from_the_journal(
    store: Store, path: Path
) -> None:
    store.commit([event(n) for n in range(1, 4)], [])
    store.save_world(empty_world("team"), 2)
    damage(path, "UPDATE world SET body = '{}', crc = " + str(crc("{}")))
    loaded = store.load("team", fold)
    assert (loaded.world.edited, loaded.seq, len(loaded.remarks)) == (names(1, 3), 3, 1)


def test_with_the_journal_pruned_too_the_outbox_remains(store: Store, path: Path) -> None:
    open_, done = message(5), message(6, MessageState.DELIVERED)
    store.commit([event(n) for n in range(1, 5)], [open_, done, message(7, to="stranger")])
    store.save_world(empty_world("team"), 3, keep=1)
    damage(path, "UPDATE world SET crc = crc + 1")

    def joins(world: World, happened: AnyEvent) -> tuple[World, Sequence[object]]:
        # Any agent will do: only the name is looked at.
        return replace(fold(world, happened)[0], agents={"a": cast(Agent, None)}), ()

    loaded = store.load("team", joins)
    assert (loaded.world.edited, loaded.seq, len(loaded.remarks)) == (names(3, 4), 4, 2)
    assert loaded.world.messages == {5: open_}
    assert loaded.world.next_message == 8


def test_files_are_the_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        store, _ = Store.open(path, now=NOW)
        store.take_over()
        with store:
            store.commit([event(1)], [])
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        assert modes == dict.fromkeys(["crew.db", "crew.db-wal", "crew.db-shm"], 0o600)
        path.chmod(0o666)
        Store.open(path, now=NOW)[0].close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_the_database_is_set_up_to_last(store: Store) -> None:
    def pragma(name: str) -> object:
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # FULL
    assert pragma("foreign_keys") == 1
    assert pragma("application_id") == int.from_bytes(b"crew")


def test_a_missing_database_reads_as_an_empty_one(path: Path) -> None:
    assert read_world(path, "team", fold).world == empty_world("team")
    with Reader.look(path) as reader:
        assert (reader.events(), reader.messages()) == ([], [])
    assert not path.exists()


def closed(number: int, text: str = "") -> Message:
    return replace(message(number), state=MessageState.DELIVERED, text=text)


def test_messages_that_are_over_go_and_open_ones_stay(store: Store) -> None:
    store.commit([], [message(1), *(closed(number) for number in range(2, 21))])
    store.save_world(empty_world("team"), 0, messages=5)
    assert [row["number"] for row in store.messages()] == [1, 16, 17, 18, 19, 20]


@pytest.mark.parametrize("large", ["events", "messages"])
def test_the_file_is_bounded_whatever_is_said(store: Store, path: Path, large: str) -> None:
    """Far more than the bound is written, in rows that are far from it each."""
    bound, text = 512 * 1024, "x" * 20_000
    sizes = []
    for number in range(20):
        numbers = range(20 * number + 1, 20 * number + 21)
        if large == "events":
            store.commit([event(n, len(text)) for n in numbers], [])
        else:
            store.commit([edited(n) for n in numbers], [closed(n, text) for n in numbers])
        store.save_world(empty_world("team"), numbers[-1], size=bound)
        sizes.append(path.stat().st_size)
    assert max(sizes) < 4 * bound
    assert sizes[-1] == sizes[len(sizes) // 2], "what is free is used again"
    assert store.load("team", fold).seq == 400
