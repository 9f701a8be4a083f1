"""SIGKILL of the supervisor anywhere: nothing committed is gone, nothing is done twice.

After each kill the database is whole, the stored world is the replay of the journal, the panes
agree with the world, every agent is there once, and each message arrived exactly once.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from orchestrator.core.reducer import reduce_safely
from orchestrator.core.state import empty_world
from orchestrator.failpoints import DB, FILE, TMUX
from orchestrator.sinks.store import Reader, load_event
from tests.counts import FULL, measured
from tests.end_to_end.conftest import CREW, Crew
from tests.support import alive, wait_until

TEAM = """
[[agents]]
name = "a"

[[agents]]
name = "b"
"""


def check_everything(crew: Crew, sent: list[str]) -> None:
    """The invariants of a session that has come to rest."""

    def quiet(view: dict[str, Any]) -> bool:
        return all(a["status"] == "ready" for a in view["agents"]) and not view["messages"]

    crew.wait(quiet, "everybody is ready and every message delivered", deadline=60)
    # That a message was taken may be known before that its turn runs: the agents know better.
    wait_until(lambda: all(_idle(crew, a["pid"]) for a in crew.view()["agents"]), "idle", 30)
    view = crew.wait(quiet, "everybody is ready again")
    list_panes = ("list-panes", "-s", "-t", f"={crew.session}:", "-F", "#{pane_id} #{pane_pid}")
    # One live process for each wanted agent, and it is the pane's.
    panes = dict(line.split() for line in crew.tmux(*list_panes).splitlines())
    assert {a["pane"]: str(a["pid"]) for a in view["agents"]} == panes
    agents = [pid for pid in crew.processes() if b"demo/agent.py" in _cmdline(pid)]
    assert sorted(agents) == sorted(a["pid"] for a in view["agents"])
    # What was said arrived, once: counted in the conversations themselves.
    heard: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for path in crew.state.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            content = entry.get("message", {}).get("content")
            if entry["type"] == "user" and isinstance(content, str):
                heard[content] += 1
            if entry["type"] == "assistant":
                used.update(entry["message"]["usage"])
    assert {text: heard[text] for text in sent} == dict.fromkeys(sent, 1)
    # And every answer counts, once.
    tokens = {"input": used["input_tokens"], "output": used["output_tokens"]}
    crew.wait(lambda v: tokens.items() <= v["usage"].items(), f"the usage {tokens}")
    check_database(crew)


def _idle(crew: Crew, pid: int) -> bool:
    """Whether the agent itself says that it does nothing; its file is rewritten in place."""
    with contextlib.suppress(OSError, ValueError):
        file = crew.state / f"demo-agent/sessions/{pid}.json"
        return bool(json.loads(file.read_text())["status"] == "idle")
    return False


def _dead(pid: int) -> bool:
    return not alive(pid)


def _cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        return file.read()
    return b""


def check_database(crew: Crew) -> None:
    with contextlib.closing(sqlite3.connect(crew.state / "crew.db")) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        rows = db.execute("select seq, body from journal order by seq").fetchall()
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    world = empty_world(crew.session)
    for _, body in rows:
        world, _effects = reduce_safely(world, load_event(body))
    with Reader.look(crew.state / "crew.db") as reader:
        loaded = reader.load(crew.session, reduce_safely)
    if loaded.seq == rows[-1][0]:
        assert loaded.world == world, "the replay of the journal is the stored world"


def scenario(crew: Crew) -> list[str]:
    """A short life: up, a few messages, a death, a restart. Returns what was sent."""
    sent = []

    def send(agent: str, text: str) -> None:
        crew.run("send", agent, text)
        sent.append(text)

    crew.up("--wait")
    send("a", "[[say: one]]")
    send("a", "[[say: two]]")
    send("b", "[[say: three]]")
    crew.run("restart", "b")
    send("b", "[[say: four]]")
    with contextlib.suppress(ProcessLookupError):
        if (pid := crew.agent("a")["pid"]) is not None:
            os.kill(pid, signal.SIGKILL)
    send("a", "[[say: five]]")
    return sent


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("site", [DB, FILE, TMUX])
def test_the_kill_loop(crew: Crew, site: str, count: Callable[[str, int, int], int]) -> None:
    """The supervisor ends itself at its n-th operation, n = 1, 2, ... until none is left."""
    most = count(f"kill loop: tries at {site}", 2, 1000)
    full = most > 100
    step = 1 if full else 7
    n = 1
    tried = killed = 0
    while tried < most:
        crew.blueprint(TEAM, f"k{n}")
        marker = crew.home / f"killed-{site}-{n}"
        crew.env |= {"CREW_FAILPOINT": f"{site}:{n}", "CREW_FAILPOINT_ONCE": str(marker)}
        try:
            check_everything(crew, scenario(crew))
        except AssertionError as error:
            raise AssertionError(f"killed at {site}:{n}: {error}") from error
        crew.run("down")
        assert crew.processes() == []
        tried += 1
        n += step
        if not marker.exists():
            break
        killed += 1
    measured(f"kill loop: kills at {site}", killed, "")


@pytest.mark.timeout(3000)
def test_kills_at_random_instants_under_load(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    """The supervisor is killed again and again while messages go out and agents work."""
    kills = count("SIGKILLs of the supervisor at random instants", 5, 200)
    rng = random.Random(20)
    crew.blueprint(TEAM)
    crew.up("--wait")
    pids = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    sent: list[str] = []
    senders: list[subprocess.Popen[bytes]] = []
    times: list[float] = []

    def sends(one: "subprocess.Popen[bytes]") -> None:
        _, err = one.communicate(timeout=60)
        assert one.returncode == 0, err

    for n in range(kills):
        # A client gives up after some breaks in a row: each one lives through two kills.
        if n >= 2:
            sends(senders[n - 2])
        text = f"[[say: number {n}]]"
        sent.append(text)
        senders.append(
            subprocess.Popen(
                [str(CREW), "send", "ab"[n % 2], text],
                env=crew.env,
                cwd=crew.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        )
        supervisor = crew.supervisor()
        end = time.monotonic() + rng.random() * 0.25
        # Not a wait for something: the instant of the kill is what is drawn here.
        while time.monotonic() < end:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGKILL)
        wait_until(partial(_dead, supervisor), "killed")
        started = time.monotonic()
        crew.view()
        times.append(time.monotonic() - started)
    for one in senders[-2:]:
        sends(one)
    check_everything(crew, sent)
    assert {a["name"]: a["pid"] for a in crew.view()["agents"]} == pids, "no agent was restarted"
    times.sort()
    measured("supervisor killed under load: back, p50", times[len(times) // 2], "s")
    measured("supervisor killed under load: back, worst", times[-1], "s")


@pytest.mark.timeout(600)
def test_many_supervisors_at_once_leave_one(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    """Many verbs find no supervisor, and each starts one: the lock lets one of them be it."""
    many = 20 if FULL else 8
    rounds = count("many supervisors started at once", 1, 20)
    crew.blueprint(TEAM)
    crew.up("--wait")
    for _ in range(rounds):
        os.kill(crew.supervisor(), signal.SIGKILL)
        verbs = [
            subprocess.Popen(
                [str(CREW), "status", "--json"],
                env=crew.env,
                cwd=crew.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(many)
        ]
        owners = set()
        for one in verbs:
            out, err = one.communicate(timeout=60)
            assert one.returncode == 0, err
            owners.add(json.loads(out)["supervisor"]["pid"])
        assert len(owners) == 1
        running = [p for p in crew.processes() if b"orchestrator.supervisor" in _cmdline(p)]
        wait_until(
            lambda: (
                len([p for p in crew.processes() if b"orchestrator.supervisor" in _cmdline(p)]) == 1
            ),
            f"one of {running} is left",
            30,
        )
