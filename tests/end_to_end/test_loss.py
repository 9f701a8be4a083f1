"""Any part is lost; the team is back, and nothing that was said is gone."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.sinks.records import crc
from tests.counts import measured
from tests.end_to_end import faults
from tests.end_to_end.conftest import CREW, Crew
from tests.support import alive, wait_until

THREE = """
[[agents]]
name = "a"
resume_prompt = "continue"

[[agents]]
name = "b"
arguments = ["--ignore-hup"]

[[agents]]
name = "c"
"""

SHELL = """
[[agents]]
name = "{name}"
cli = "shell"
env = {{ PS1 = "$ " }}
"""


def remembered(crew: Crew, *names: str) -> dict[str, str]:
    """Give each agent something to remember; returns their conversations."""
    for name in names:
        crew.run("send", name, f"[[say: I am {name}]]")

    def said(view: dict[str, Any]) -> bool:
        agents = [a for a in view["agents"] if a["name"] in names]
        return not view["messages"] and all(
            (a["status"], a["detail"]) == ("ready", f"I am {a['name']}") for a in agents
        )

    crew.wait(said, "all have said it")
    return {a["name"]: a["conversation"] for a in crew.view()["agents"]}


def _remembers(crew: Crew, name: str) -> bool:
    return f"I am {name}" in crew.run("logs", name).stdout


# Seconds in which a verb has a supervisor again: a loaded machine takes one or two. What a quiet
# one may take is for `bin/bench`.
BACK = 15.0


def _brought_back(crew: Crew) -> float:
    """How long a verb takes where no supervisor runs (s), but for what others had the CPU."""
    took, status, said = faults.timed(crew, "status")
    assert status == 0, said
    return took - faults.waited(crew.supervisor())


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), f"{pid} is dead")


def test_the_supervisor_is_killed_while_agents_work(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")
    crew.run("send", "a", "[[sleep 1]] [[say: slept well]]")
    before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    seq = crew.events()[-1]["seq"]
    kill(crew.supervisor())
    # In quotes, as it is said: the prompt has the words as well.
    wait_until(
        lambda: any('"slept well"' in path.read_text() for path in crew.state.rglob("*.jsonl")),
        "the turn ended while nobody looked",
        30,
    )
    took = _brought_back(crew)
    measured("supervisor killed: a verb brings it back", took, "s")
    assert took < BACK
    view = crew.view()
    assert {a["name"]: a["pid"] for a in view["agents"]} == before
    crew.wait_status(a="ready")

    def hooks() -> list[str]:
        return [e["hook"] for e in crew.events("--agent", "a") if e["kind"] == "hook_received"]

    # Its status file may have told of its end first.
    wait_until(lambda: "Stop" in hooks(), "the hook of the turn's end", 30)
    assert hooks().count("UserPromptSubmit") == 1
    assert hooks().count("Stop") == 1
    seqs = [e["seq"] for e in crew.events()]
    assert seqs == list(range(seqs[0], seqs[-1] + 1))
    assert seqs[-1] > seq


def test_the_tmux_server_is_killed(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")
    conversations = remembered(crew, "a", "b", "c")
    before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    panes = {a["name"]: a["pane"] for a in crew.view()["agents"]}
    order = crew.tmux("list-windows", "-t", "=t:", "-F", "#{window_index}:#{window_name}")
    server = crew.view()["server"]
    started = time.monotonic()
    kill(server)
    # The supervisor does it by itself; the test only looks.
    crew.wait(
        lambda v: (
            v["server"] not in (None, server)
            and all(a["status"] == "ready" and a["pid"] for a in v["agents"])
        ),
        "everybody is back",
    )
    measured("tmux killed: 3 agents back", time.monotonic() - started, "s")
    after = crew.view()
    assert {a["name"]: a["conversation"] for a in after["agents"]} == conversations
    assert not alive(before["b"]), "who ignored the hang-up was ended before the resume"
    assert all(a["pid"] != before[a["name"]] for a in after["agents"])
    for name in conversations:
        wait_until(partial(_remembers, crew, name), f"the history of {name}", 30)
    assert panes.keys() == {a["name"] for a in after["agents"]}
    assert order == crew.tmux("list-windows", "-t", "=t:", "-F", "#{window_index}:#{window_name}")
    ends = [e for e in crew.events("--agent", "b") if e["kind"] == "agent_spawned"]
    assert [e["resumed"] for e in ends] == [False, True]


def test_one_agent_is_killed(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")
    conversations = remembered(crew, "a")
    crew.run("send", "a", "[[sleep 20]] [[say: never]]")
    crew.wait_status(a="working")
    before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    kill(before["a"])
    crew.wait(lambda v: v["agents"][0]["pid"] not in (None, before["a"]), "a new process")
    after = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    assert (after["b"], after["c"]) == (before["b"], before["c"])
    assert crew.agent("a")["conversation"] == conversations["a"]
    # Its turn was cut, so it is told to go on with it.
    crew.wait_status(a="working")


def test_a_crash_loop_fails_after_exactly_the_starts_that_policy_allows(crew: Crew) -> None:
    crew.blueprint(
        THREE
        + """
[[agents]]
name = "d"
arguments = ["--exit-at-start", "3"]
restart = { limit = 3, backoff = 0.05 }
"""
    )
    crew.up()
    crew.wait_status(d="failed")
    spawned = [e for e in crew.events("--agent", "d") if e["kind"] == "agent_spawned"]
    assert len(spawned) == 4
    assert crew.agent("d")["detail"].startswith("exit status 3; gave up after 3 restarts")
    text = crew.run("status").stdout
    assert "crew restart d" in text


def test_a_power_cut(crew: Crew) -> None:
    """Everything dies at once; pids are others' now; half-written files lie about."""
    crew.blueprint(THREE)
    crew.up("--wait")
    conversations = remembered(crew, "a", "b", "c")
    database = crew.state / "crew.db"
    crew.kill_all()
    (crew.state / "spool/tmp/a.1.Stop.99999").write_text('{"half')
    (crew.state / "spool/new/a.1.Stop.99998").write_text('{"half')
    # Two of the recorded pids are now other processes': two that this test watches over.
    bystanders = [os.posix_spawn("/bin/sleep", ["sleep", "600"], {"OTHER": "1"}) for _ in "12"]
    try:
        _give_pids(database, dict(zip(("a", "b"), bystanders, strict=True)))
        crew.env["CREW_BOOT_ID"] = "00000000-0000-4000-8000-000000000001"
        started = time.monotonic()
        out = crew.run("restore").stdout
        assert "a" in out
        crew.wait_status(a="ready", b="ready", c="ready")
        measured("power cut: restore of 3 agents", time.monotonic() - started, "s")
        assert {a["name"]: a["conversation"] for a in crew.view()["agents"]} == conversations
        for name in conversations:
            wait_until(partial(_remembers, crew, name), f"the history of {name}", 30)
        assert all(alive(pid) for pid in bystanders)
        events = crew.events()
        assert sum(e["kind"] == "recovered" for e in events) == 2
        half = crew.state / "spool/new/a.1.Stop.99998"
        wait_until(lambda: not half.exists(), "the half-written hook is set aside", 30)
    finally:
        for pid in bystanders:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _give_pids(database: Path, pids: dict[str, int]) -> None:
    """Rewrite the pids that the journal has for these agents."""
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        rows = db.execute("select seq, body from journal where kind = 'agent_spawned'").fetchall()
        for seq, body in rows:
            event: dict[str, Any] = json.loads(body)
            if event["agent"] in pids:
                event["process"]["pid"] = pids[event["agent"]]
                new = json.dumps(event)
                row = (new, crc(new), seq)
                db.execute("update journal set body = ?, crc = ? where seq = ?", row)
        world = db.execute("select body from world").fetchall()
        for (body,) in world:
            value = json.loads(body)
            for name, pid in pids.items():
                if value["agents"].get(name, {}).get("process"):
                    value["agents"][name]["process"]["pid"] = pid
            new = json.dumps(value)
            db.execute("update world set body = ?, crc = ?", (new, crc(new)))


def test_messages_survive_everything(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")
    crew.run("send", "a", "[[sleep 30]]")
    crew.wait_status(a="working")
    crew.run("send", "a", "[[say: the queued one]]")
    crew.kill_all()
    crew.run("restore")
    crew.wait_status(a="working")  # it goes on with the turn that was cut
    faults.hooked(crew, "a", "continue")
    crew.run("interrupt", "a")
    crew.wait(lambda v: not v["messages"], "it was delivered")
    assert faults.prompts(crew, "a").count("[[say: the queued one]]") == 1


def test_a_pane_closed_by_hand_is_taken_as_a_wish(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")
    crew.tmux("kill-pane", "-t", crew.agent("c")["pane"])
    view = crew.wait_status(c="stopped")
    assert next(a for a in view["agents"] if a["name"] == "c")["wanted"] is False
    crew.up("--wait")
    crew.wait_status(c="ready")


def test_the_control_client_is_killed(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")

    def clients() -> set[str]:
        return set(crew.tmux("list-clients", "-F", "#{client_pid}").split())

    (client,) = clients()
    kill(int(client))
    # tmux may list the dead one for a while.
    wait_until(lambda: clients() - {client}, "a new client", 30)
    assert crew.run("send", "--wait", "a", "[[say: still here]]").stdout == "still here\n"
    assert crew.view()["missed_events"] == 0


def test_a_damaged_database_is_set_aside_and_the_agents_run_on(crew: Crew) -> None:
    crew.blueprint(THREE)
    crew.up("--wait")
    conversations = remembered(crew, "a")
    before = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    kill(crew.supervisor())
    for path in crew.state.glob("crew.db*"):
        path.write_bytes(b"this is no database" * 1000)
    view = crew.wait(lambda v: len(v["agents"]) == 3, "the team is known again")
    assert {a["name"]: a["pid"] for a in view["agents"]} == before
    crew.wait_status(a="ready", b="ready", c="ready")
    assert crew.agent("a")["conversation"] == conversations["a"]
    assert list(crew.state.glob("crew.db.damaged-*"))
    crew.run("send", "a", "[[say: all well]]")
    crew.wait(lambda v: not v["messages"], "delivered")


def test_deaths_are_seen_at_once(crew: Crew) -> None:
    crew.blueprint('[[agents]]\nname = "a"\nrestart = { when = "never" }\n')
    crew.up("--wait")

    def seen_after() -> float:
        agent = crew.agent("a")
        at: float = time.time()
        os.kill(agent["pid"], signal.SIGKILL)
        crew.wait(lambda v: v["agents"][0]["exit"] == "killed by signal 9", "its death is known")
        assert crew.agent("a")["status"] == "exited"
        deaths = [e for e in crew.events() if e["kind"] == "process_exited"]
        seen: float = next(e["at"] for e in deaths if e["run"] == agent["run"])
        return seen - at

    took = [seen_after()]
    # Others use this machine as well: a slow one is tried again.
    while took[-1] >= 0.05 and len(took) < 8:
        crew.run("restart", "a")
        crew.wait_status(a="ready")
        took.append(seen_after())
    measured("kill -9 of an agent: seen after", min(took) * 1000, "ms")
    assert min(took) < 0.05


def test_what_an_agent_leaves_behind_ends_with_it(crew: Crew) -> None:
    """Also what ignores the polite signals; and after `crew down` nothing is left."""
    crew.blueprint(SHELL.format(name="s"))
    crew.up("--wait")
    crew.run("send", "s", "(trap '' TERM HUP; exec sleep 777) & echo $! > left.pid")
    left = crew.cwd / "left.pid"
    wait_until(lambda: left.exists() and left.read_text().strip(), "the child runs", 30)
    child = int(left.read_text())
    kill(crew.agent("s")["pid"])
    wait_until(lambda: not alive(child), "it was swept", 30)
    crew.wait_status(s="ready")
    left.unlink()
    crew.run("send", "s", "(trap '' TERM HUP; exec sleep 778) & echo $! > left.pid")
    wait_until(lambda: left.exists() and left.read_text().strip(), "the child runs", 30)
    child = int(left.read_text())
    crew.run("down")
    assert not alive(child)
    assert crew.processes() == []


def test_a_child_of_a_dead_agent_is_still_the_agents(crew: Crew) -> None:
    crew.blueprint(
        '[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ " }\n[[agents]]\nname = "a"\n'
    )
    crew.up("--wait")
    order = "crew stop a > refused 2>&1"
    crew.run("send", "s", f"(trap '' TERM HUP; sleep 1; {order}) & exit")
    refused = crew.cwd / "refused"
    wait_until(lambda: not crew.agent("s")["pid"] or refused.exists(), "the shell has gone", 30)
    crew.wait_status(a="ready")


def test_many_agents_lose_their_server_and_nobody_is_paused(crew: Crew) -> None:
    names = [f"s{n}" for n in range(12)]
    text = "".join(
        f'[[agents]]\nname = "{n}"\ncli = "shell"\nenv = {{ PS1 = "$ " }}\n' for n in names
    )
    crew.blueprint(text)
    crew.up("--wait")
    server = crew.view()["server"]
    started = time.monotonic()
    kill(server)
    crew.wait(
        lambda v: (
            v["server"] not in (None, server) and all(a["status"] == "ready" for a in v["agents"])
        ),
        "all twelve are back",
    )
    measured("tmux killed: 12 shells back", time.monotonic() - started, "s")
    assert crew.view()["state"] == "up"


def test_restore_in_the_middle_of_down(crew: Crew) -> None:
    """Whoever asked last is obeyed: nothing is half up and nothing orphaned."""
    crew.blueprint(THREE)
    crew.up("--wait")
    # One that stands still is given some seconds to end: enough to come in the middle.
    os.kill(crew.agent("c")["pid"], signal.SIGSTOP)
    down = subprocess.Popen(
        [str(CREW), "down"],
        env=crew.env,
        cwd=crew.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: crew.view()["state"] == "down", "it goes down", 30)
    crew.run("restore")
    crew.wait_status(a="ready", b="ready", c="ready")
    down.terminate()
    down.wait()
    crew.run("down")
    assert crew.processes() == []
