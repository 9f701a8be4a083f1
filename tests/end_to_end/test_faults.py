"""Something hangs, goes away or is done by hand: the agents live on, and what is shown is right."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tmux.client import TIMEOUT
from tests import faketime
from tests.counts import measured
from tests.end_to_end import faults
from tests.end_to_end.conftest import CREW, Crew
from tests.support import alive, wait_until

TWO = """
[[agents]]
name = "a"

[[agents]]
name = "b"
restart = { when = "never" }
"""


# -- the supervisor and tmux hang -----------------------------------------------------------------


def memory(pid: int) -> int:
    """Resident memory, bytes."""
    text = Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Panes that are written to without a pause; each has a file for its account.
WRITERS = ("w1", "w2", "w3")
WRITER = faults.WRITER.replace("{root}/written", "{root}/{name}.written")


def accounts(crew: Crew, name: str) -> list[list[float]]:
    """What a writer wrote: time, bytes so far, longest write of each tenth of a second."""
    file = crew.cwd / f"{name}.written"
    lines = file.read_text().splitlines() if file.exists() else []
    return [[float(part) for part in line.split()] for line in lines if line.count(" ") == 2]


@pytest.mark.timeout(300)
def test_a_supervisor_that_hangs_stalls_nobody(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    """It is stopped while panes write 1 MB a second each; verbs say so; then it catches up."""
    seconds = count("seconds that the supervisor hangs", 4, 60)
    faults.define(crew, "writer", WRITER)
    agents = (f'[[agents]]\nname = "{name}"\ncli = "writer"\nenv = {{}}\n' for name in WRITERS)
    crew.blueprint(TWO + "".join(agents))
    crew.up("--wait")
    view = crew.view()
    wait_until(
        lambda: all(len(accounts(crew, name)) > 5 for name in WRITERS), "the writers write", 30
    )
    begin, size = time.monotonic(), memory(view["server"])
    with faults.hanging(view["supervisor"]["pid"]):
        # A turn, and a death, that nobody sees now.
        pane = crew_pane(view, "a")
        crew.tmux("send-keys", "-t", pane, "-l", "[[sleep 0.5]] [[say: unseen]]")
        crew.tmux("send-keys", "-t", pane, "Enter")
        faults.kill(next(a["pid"] for a in view["agents"] if a["name"] == "b"))
        took, _, said = faults.timed(crew, "ls")
        assert took < 15
        assert "did not answer" in said
        if seconds > 40:
            done = crew.run("status", check=False, timeout=40)
            assert done.returncode == 1
            assert "did not answer" in done.stderr
        wait_until(lambda: time.monotonic() - begin > seconds, "it hung long enough", 70)
        # A pane that waits for us writes no more than what tmux holds for it.
        wait_until(
            lambda: all(written(crew, name, begin) > 400_000 * seconds for name in WRITERS),
            "each writer went on",
            70,
        )
        end, grown = time.monotonic(), memory(view["server"]) - size
    again = [caught_up(crew, "unseen", end)]
    # Others use this machine as well: a slow one is tried again.
    while again[-1] >= 2 and len(again) < 4:
        text = f"unseen {len(again)}"
        with faults.hanging(view["supervisor"]["pid"]):
            crew.tmux("send-keys", "-t", pane, "-l", f"[[say: {text}]]")
            crew.tmux("send-keys", "-t", pane, "Enter")
            wait_until(partial(shows, crew, pane, f"● {text}\n"), "the turn", 30)
            wait_until(partial(shows, crew, pane, "? for shortcuts"), "its end", 30)
            begun = time.monotonic()
        again.append(caught_up(crew, text, begun))
    measured("supervisor hung: right again after", min(again), "s")
    assert min(again) < 2
    told = {name: [a for a in accounts(crew, name) if begin < a[0] < end] for name in WRITERS}
    rates = [(t[-1][1] - t[0][1]) / (t[-1][0] - t[0][0]) for t in told.values()]
    longest = {name: max(account[2] for account in its) for name, its in told.items()}
    # One that waits for us does so as long as we hang; a busy machine may hold up any for a second.
    stalled = [name for name, took in longest.items() if took >= 3]
    measured("supervisor hung: output of the slowest pane meanwhile", min(rates) / 1e6, "MB/s")
    measured("supervisor hung: longest write of any pane", max(longest.values()) * 1000, "ms")
    measured(f"supervisor hung: panes that stalled, of {len(WRITERS)}", len(stalled), "")
    measured("supervisor hung: tmux grew by", grown / 1e6, "MB")
    assert not stalled, longest
    assert grown < 10_000_000, "tmux kept nothing for us"
    hooks = [e["hook"] for e in faults.journal(crew, "hook_received") if e["agent"] == "a"]
    assert hooks.count("UserPromptSubmit") == len(again)
    assert hooks.count("Stop") == len(again)


def written(crew: Crew, name: str, begin: float) -> float:
    """Bytes that a writer has written since `begin`."""
    told = [account[1] for account in accounts(crew, name) if account[0] > begin]
    return told[-1] - told[0] if told else 0


def caught_up(crew: Crew, text: str, since: float) -> float:
    """How long after `since` it is known that b has gone and a has said `text`."""

    def right(view: dict[str, Any]) -> bool:
        a, b, *_ = view["agents"]
        return (a["status"], a["detail"], b["status"]) == ("ready", text, "exited")

    crew.wait(right, "what happened meanwhile is known")
    return time.monotonic() - since


def shows(crew: Crew, pane: str, text: str) -> bool:
    return text in crew.tmux("capture-pane", "-p", "-t", pane)


def crew_pane(view: dict[str, object], name: str) -> str:
    agents = view["agents"]
    assert isinstance(agents, list)
    return str(next(a["pane"] for a in agents if a["name"] == name))


def test_a_tmux_server_that_hangs(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """Whoever asks is answered; when it goes on everything is as it should be, and soon."""
    seconds = count("seconds that the tmux server hangs", 6, 10)
    crew.blueprint(TWO)
    crew.up("--wait")
    before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    begin = time.monotonic()
    with faults.hanging(crew.view()["server"]):
        sending = [faults.popen(crew, "send", name, f"[[say: to {name}]]") for name in before]
        for verb in (["status"], ["why", "a"], ["events"]):
            took, status, _ = faults.timed(crew, *verb)
            assert status == 0
            assert took < TIMEOUT, f"{verb} waited for tmux"
        for one in sending:
            _, err = one.communicate(timeout=40)
            assert one.returncode == 0, err
        wait_until(lambda: time.monotonic() - begin > seconds, "it hung long enough", 20)
        end = time.monotonic()
    crew.wait(lambda v: not v["messages"], "both messages are delivered")
    measured("tmux hung: messages delivered after", time.monotonic() - end, "s")
    view = crew.wait_status(a="ready", b="ready")
    assert {a["name"]: a["pid"] for a in view["agents"]} == before
    for name in before:
        assert faults.prompts(crew, name) == [f"[[say: to {name}]]"]
    assert view["missed_events"] == 0


# One that is killed before it has lasted is followed by the next up to two seconds later.
@pytest.mark.timeout(600)
def test_the_control_client_is_killed_again_and_again(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    kills = count("kills of the control client", 6, 200)
    crew.blueprint(TWO)
    crew.up("--wait")

    def client() -> int:
        clients = crew.tmux("list-clients", "-F", "#{client_pid}").split()
        return int(clients[0]) if clients else 0

    def another(old: int) -> bool:
        return client() not in (0, old)

    sent, times = [], []
    for number in range(kills):
        pid = wait_until(client, "a client", 30)
        killed = time.monotonic()
        faults.kill(pid)
        wait_until(partial(another, pid), "a new client", 30)
        times.append(time.monotonic() - killed)
        sent.append(f"[[say: {number}]]")
        crew.run("send", "a", sent[-1])
    measured("control client killed: a new one after, worst", max(times), "s")
    # Others use this machine as well.
    assert min(times) < 1
    crew.wait(lambda v: not v["messages"], "all are delivered")
    assert faults.prompts(crew, "a") == sent
    # What happens while there is no client is seen by the next one.
    faults.kill(wait_until(client, "a client", 30))
    crew.tmux("kill-pane", "-t", crew.agent("b")["pane"])
    crew.wait_status(a="ready", b="stopped")
    assert crew.view()["missed_events"] == 0


# -- the clock jumps ------------------------------------------------------------------------------


def test_the_clock_jumps_by_a_day(crew: Crew) -> None:
    """No restart, no time-out, no message lost or twice; order is by number."""
    crew.blueprint(TWO)
    crew.up("--wait")
    before = {a["name"]: (a["pid"], a["run"]) for a in crew.view()["agents"]}
    faults.kill(crew.supervisor())
    offset = crew.home / "offset"
    offset.write_text("+0\n")
    supervisor = faults.supervise(
        crew,
        LD_PRELOAD=faketime.library(),
        FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    sent = []
    try:
        for jump in ("+86400", "-86400", "+0"):
            offset.write_text(jump + "\n")
            sent.append(f"[[say: {jump}]]")
            crew.run("send", "a", sent[-1])
            crew.wait(lambda v: not v["messages"], f"delivered after {jump}")
            view = crew.wait_status(a="ready", b="ready")
            assert view["supervisor"]["pid"] == supervisor.pid
        assert {a["name"]: (a["pid"], a["run"]) for a in view["agents"]} == before
        assert faults.prompts(crew, "a") == sent
        told = [e["at"] for e in faults.journal(crew, "send_requested")]
        jumps = [round((float(str(at)) - time.time()) / 86400) for at in told]
        assert jumps == [1, -1, 0], "the clock did jump"
        seqs = [e["seq"] for e in crew.events()]
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
    finally:
        supervisor.kill()
        supervisor.wait()


# -- terminals ------------------------------------------------------------------------------------


def test_the_login_that_started_the_team_goes_away(crew: Crew) -> None:
    crew.blueprint(TWO)
    script = f'"{CREW}" up --trust --wait && echo all "is up" && exec sleep 600'
    login = faults.Login(crew, "/bin/sh", "-c", script)
    try:
        wait_until(lambda: b"all is up" in login.shown, "the team is up", 50)
        before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
        supervisor, server = crew.supervisor(), crew.view()["server"]
        lives = (supervisor, server, *before.values())
        assert not set(lives) & set(login.members())
        login.hang_up()
    finally:
        login.close()
    assert all(alive(pid) for pid in lives)
    view = crew.wait_status(a="ready", b="ready")
    assert (view["supervisor"]["pid"], view["server"]) == (supervisor, server)
    assert {a["name"]: a["pid"] for a in view["agents"]} == before
    crew.run("send", "a", "[[say: still here]]")
    crew.wait(lambda v: not v["messages"], "delivered")
    again = faults.Login(crew, str(CREW), "attach", "a")
    try:
        wait_until(lambda: b"still here" in again.shown, "the agent's window, in another login", 30)
        again.hang_up()
    finally:
        again.close()
    assert all(alive(pid) for pid in lives)


def test_a_storm_of_resizes(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """The last size wins, soon; the supervisor makes no work of it."""
    sizes = count("resizes of an attached terminal", 200, 2000)
    crew.blueprint(TWO)
    crew.up("--wait")
    pane = crew.agent("a")["pane"]
    look = ("display-message", "-p", "-t", pane, "#{pane_width}x#{pane_height}")
    login = faults.Login(crew, str(CREW), "attach", "a")
    try:
        wait_until(lambda: crew.tmux(*look) == "80x23\n", "attached", 30)
        seq = crew.events()[-1]["seq"]
        for number in range(sizes):
            login.resize(20 + number * 7 % 180, 6 + number * 5 % 60)
        login.resize(101, 31)
        resized = time.monotonic()
        wait_until(lambda: crew.tmux(*look) == "101x30\n", "the last size", 30)
        measured("resizes: the last one seen after", (time.monotonic() - resized) * 1000, "ms")

        def as_wide() -> bool:
            rules = [line for line in crew.run("logs", "a").stdout.splitlines() if "────" in line]
            return bool(rules) and len(rules[-1]) == 100

        # In the midst of it its input line would not be found, and a message be held.
        wait_until(as_wide, "the agent draws to the size that it has", 30)
        said = crew.run("send", "--wait", "a", "[[say: the right width]]").stdout
        assert said == "the right width\n"
        wait_until(as_wide, "the agent still does", 30)
        sources = {e["source"] for e in crew.events() if e["seq"] > seq}
        # A report that is late on a busy machine is waited for: by the clock.
        assert sources <= {"person", "crew", "hook", "status", "transcript", "clock"}, sources
        assert crew.statuses() == {"a": "ready", "b": "ready"}
    finally:
        login.close()


# -- by hand --------------------------------------------------------------------------------------


def test_a_window_closed_by_hand_and_a_shell_left_by_hand(crew: Crew) -> None:
    crew.blueprint(TWO + '[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ " }\n')
    crew.up("--wait")

    def seen_after(name: str, status: str, *keys: str) -> float:
        """What `keys` of tmux do to its pane; others use this machine as well: tried again."""
        took: list[float] = []
        while not took or (took[-1] >= 1 and len(took) < 4):
            if took:
                crew.run("restart", name)
                crew.wait_status(**{name: "ready"})
            done = time.time()
            verb, *rest = keys
            crew.tmux(verb, "-t", crew.agent(name)["pane"], *rest)
            crew.wait_status(**{name: status})
            took.append(crew.agent(name)["since"] - done)
        starts[name] += len(took)
        return min(took)

    starts = Counter({"b": 1})
    closed = seen_after("a", "stopped", "kill-window")
    measured("kill-window: seen after", closed * 1000, "ms")
    assert closed < 1
    assert crew.agent("a")["wanted"] is False
    left = seen_after("s", "exited", "send-keys", "C-d")
    measured("Ctrl-D in a shell: seen after", left * 1000, "ms")
    assert left < 1
    # How it ended may be known a moment later.
    crew.wait(lambda v: v["agents"][2]["exit"] == "exit status 0", "how it ended")
    assert crew.statuses() == {"a": "stopped", "b": "ready", "s": "exited"}
    spawned = Counter(str(e["agent"]) for e in faults.journal(crew, "agent_spawned"))
    assert spawned == starts, "nobody was started again"
    with contextlib.suppress(ProcessLookupError):
        os.kill(crew.supervisor(), signal.SIGKILL)
    assert crew.statuses() == {"a": "stopped", "b": "ready", "s": "exited"}
