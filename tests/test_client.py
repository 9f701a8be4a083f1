"""The client against a real socket: answers, streams, broken connections, and starting."""

import json
import os
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import start
from orchestrator.client import Client, merge
from orchestrator.errors import CrewError, SupervisorError, UserError
from orchestrator.locations import SessionPaths
from tests.clients import fake as fake
from tests.clients import paths as paths
from tests.clients import starting as starting
from tests.fake_supervisor import FakeSupervisor, agent

# -- one request -----------------------------------------------------------------------------------


def test_request_returns_the_final_answer(paths: SessionPaths, fake: FakeSupervisor) -> None:
    with Client.connect(paths, start=False) as client:
        assert client.request("status")["view"]["agents"][0]["name"] == "boss"
        assert client.request("ping")["exit"] == 0
    assert len({line["id"] for line in fake.lines}) == 2
    assert all(len(line["id"]) == 32 for line in fake.lines)


@pytest.mark.parametrize(("exit_status", "kind"), [(1, CrewError), (2, UserError)])
def test_a_refusal_is_raised_with_its_sentence(
    paths: SessionPaths, fake: FakeSupervisor, exit_status: int, kind: type[CrewError]
) -> None:
    fake.handlers["stop"] = lambda _: {"exit": exit_status, "error": "there is no agent 'x' here"}
    with (
        Client.connect(paths, start=False) as client,
        pytest.raises(CrewError, match="there is no agent 'x' here") as caught,
    ):
        client.request("stop", agent="x")
    assert type(caught.value) is kind
    assert caught.value.exit_status == exit_status


def test_a_refusal_without_a_reason_is_still_a_sentence(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    fake.handlers["stop"] = lambda _: {"exit": 1}
    with Client.connect(paths, start=False) as client, pytest.raises(CrewError, match="no reason"):
        client.request("stop", agent="x")


def test_no_answer_in_time_says_that_the_outcome_is_not_known(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    release = threading.Event()

    def never(_: Any) -> dict[str, Any]:
        release.wait(20)
        return {}

    fake.handlers["stop"] = never
    with (
        Client.connect(paths, start=False) as client,
        pytest.raises(SupervisorError, match=r"did not answer `stop` within 0.05 s.*not known"),
    ):
        client.request("stop", agent="x", timeout=0.05)
    release.set()


@pytest.mark.parametrize("said", ["rubbish", "[1]", '"exit"'])
def test_what_cannot_be_read_is_said_so(
    paths: SessionPaths, fake: FakeSupervisor, said: str
) -> None:
    def garble(_: Any, talk: Any) -> bool:
        talk.wfile.write(said.encode() + b"\n")
        return True

    fake.serve = garble
    with (
        Client.connect(paths, start=False) as client,
        pytest.raises(SupervisorError, match="another version"),
    ):
        client.request("ping")


def test_an_answer_without_an_id_is_to_what_could_not_be_read(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    def refuse(_: Any, talk: Any) -> bool:
        talk.wfile.write(b'{"id": "", "exit": 2, "error": "not a request"}\n')
        return True

    fake.serve = refuse
    with (
        Client.connect(paths, start=False) as client,
        pytest.raises(UserError, match="not a request"),
    ):
        client.request("ping")


def test_a_large_request_and_a_large_answer_pass(paths: SessionPaths, fake: FakeSupervisor) -> None:
    text = "ü\x00\udcff" * 400_000
    fake.handlers["send"] = lambda request: {"text": request["text"]}
    with Client.connect(paths, start=False) as client:
        assert client.request("send", text=text)["text"] == text


def test_a_stream_that_was_left_does_not_disturb_the_next_request(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    fake.streams["events"] = lambda _: iter([{"event": {"seq": n}} for n in range(50)])
    with Client.connect(paths, start=False) as client:
        assert next(client.stream("events"))["event"]["seq"] == 0
        assert client.request("ping")["exit"] == 0


# -- broken connections ----------------------------------------------------------------------------


def test_a_broken_connection_is_dialled_again_and_the_same_line_sent(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    done = []
    fake.handlers["send"] = lambda request: done.append(request) or {"message": {"number": 1}}  # type: ignore[func-returns-value] # append, then answer
    fake.breaks = 2
    with Client.connect(paths, start=False) as client:
        assert client.request("send", agent="boss", text="hi")["message"]["number"] == 1
    sent = fake.asked("send")
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]


def test_a_request_that_is_no_message_is_done_once(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    done = []
    fake.handlers["restart"] = lambda request: done.append(request) or {}  # type: ignore[func-returns-value] # append, then answer
    fake.breaks = 3
    with Client.connect(paths, start=False) as client:
        client.request("restart", agent="boss")
    assert len(fake.asked("restart")) == 4
    assert len(done) == 1


def test_a_connection_that_breaks_again_and_again_is_given_up(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    fake.breaks = 100
    with (
        Client.connect(paths, start=False) as client,
        pytest.raises(SupervisorError, match=r"broke the connection 4 times: see .*\.log"),
    ):
        client.request("ping")


def test_a_lost_supervisor_is_started_again_for_the_same_line(
    paths: SessionPaths, starting: None
) -> None:
    with FakeSupervisor(paths, agent("boss")) as first:
        client = Client.connect(paths, start=True)
        client.request("ping")
        first.leave()
    with client:
        assert client.request("ping")["pid"] != os.getpid()


def test_a_lost_supervisor_is_started_again_whatever_start_was(
    paths: SessionPaths, starting: None
) -> None:
    """It ran when the connection was made: that it is gone now is a crash."""
    with FakeSupervisor(paths, agent("boss")) as first:
        client = Client.connect(paths, start=False)
        first.leave()
    with client:
        assert client.request("ping")["pid"] != os.getpid()


# -- streams ---------------------------------------------------------------------------------------


def test_watch_gives_the_view_and_then_changes(paths: SessionPaths, fake: FakeSupervisor) -> None:
    with Client.connect(paths, start=False) as client:
        stream = client.stream("watch", timeout=20)
        view = next(stream)["view"]
        fake.publish(agents=[agent("boss", "working"), agent("helper")])
        view = merge(view, next(stream)["change"])
        fake.publish(gone=["boss"], state="down")
        view = merge(view, next(stream)["change"])
    assert [a["name"] for a in view["agents"]] == ["helper"]
    assert view["state"] == "down"
    assert view == fake.view


def test_a_stream_is_over_in_time(paths: SessionPaths, fake: FakeSupervisor) -> None:
    with Client.connect(paths, start=False) as client, pytest.raises(TimeoutError):
        list(client.stream("watch", timeout=0.05))


def test_when_a_stream_is_over_may_change_meanwhile(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    ends: list[float | None] = [None]
    with Client.connect(paths, start=False) as client:
        stream = client.stream("watch", timeout=60, until=lambda: ends[0])
        next(stream)
        ends[0] = time.monotonic() + 60
        fake.publish(agents=[agent("boss", "working")])
        next(stream)
        ends[0] = time.monotonic()
        fake.publish(agents=[agent("boss", "ready")])
        with pytest.raises(TimeoutError):
            list(stream)


def test_events_go_on_after_the_last_one_that_came(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    """The connection breaks after two events: none is seen twice, none is left out."""
    asked: list[dict[str, Any]] = []

    def serve(request: Any, talk: Any) -> bool:
        asked.append(request)
        first = (request["since"] or 0) + 1
        for seq in range(first, 7):
            line = {"id": request["id"], "event": {"seq": seq}}
            talk.wfile.write(json.dumps(line).encode() + b"\n")
            if seq == 2:
                return False
        talk.wfile.write(f'{{"id": "{request["id"]}", "exit": 0}}\n'.encode())
        return True

    fake.serve = serve
    with Client.connect(paths, start=False) as client:
        seen = [a["event"]["seq"] for a in client.stream("events", since=None, limit=2)]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert asked[0]["id"] != asked[1]["id"]
    assert asked[1]["limit"] is None


@pytest.mark.parametrize("again", [True, False])
def test_revive_decides_whether_a_stream_brings_the_supervisor_back(
    paths: SessionPaths, starting: None, again: bool
) -> None:
    with FakeSupervisor(paths, agent("old")) as first:
        client = Client.connect(paths, start=True)
        stream = client.stream("watch", timeout=20, revive=lambda: again)
        assert next(stream)["view"]["agents"][0]["name"] == "old"
        first.leave()
    with client:
        rest = next(stream, None)
    assert (rest is not None) is again
    assert len(start._started) > 0 or not again


# -- merge -----------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d"])
AGENTS = st.dictionaries(NAMES, st.fixed_dictionaries({"status": st.sampled_from(["x", "y"])}))


def _listed(agents: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, **fields} for name, fields in agents.items()]


@given(old=AGENTS, new=AGENTS, state=st.sampled_from(["up", "down"]))
def test_merging_what_changed_gives_the_new_view(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]], state: str
) -> None:
    view = {"state": "up", "agents": _listed(old)}
    change = {
        "state": state,
        "agents": _listed({n: a for n, a in new.items() if old.get(n) != a}),
        "gone": [n for n in old if n not in new],
    }
    before = repr(view)
    merged = merge(view, change)
    assert {a["name"]: a for a in merged["agents"]} == {a["name"]: a for a in _listed(new)}
    assert merged["state"] == state
    assert "gone" not in merged
    assert repr(view) == before, "a new value: the old one is as it was"


def test_merge_keeps_the_order_and_what_a_change_does_not_name() -> None:
    view = {"agents": [{"name": "a", "x": 1, "y": 1}, {"name": "b", "x": 1}], "edited": []}
    merged = merge(view, {"agents": [{"name": "a", "x": 2}]})
    assert merged == {
        "agents": [{"name": "a", "x": 2, "y": 1}, {"name": "b", "x": 1}],
        "edited": [],
    }
