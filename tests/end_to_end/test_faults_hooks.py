"""Hooks that are missing, damaged, many at once, or told to nobody."""

import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.core.spec import HooksSpec
from orchestrator.locations import PACKAGE
from orchestrator.settings import HOOK
from tests.core.worlds import CLI, agent_spec
from tests.counts import measured
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

ONE = '[[agents]]\nname = "a"\n'
TWO = ONE + '[[agents]]\nname = "b"\n'
PAYLOADS = Path(__file__).parents[1] / "payloads/claude"


# -- the script is gone ---------------------------------------------------------------------------


def own_hook(crew: Crew) -> Path:
    """Let the demo agents of this crew run a copy of the hook script; returns the copy."""
    copy = crew.cwd / "own-hook"
    shutil.copy(HOOK, copy)
    events = ("SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "Stop")
    cli = replace(CLI, hooks=HooksSpec(dialect="claude", events=events))
    whole = settings.build(cli, agent_spec("a"), "/", Path("/nowhere"))
    (crew.cwd / "hooks.json").write_text(json.dumps(whole).replace(str(HOOK), str(copy)))
    shipped = (PACKAGE.parent / "agents/demo.toml").read_text()
    changed = shipped.replace('"{settings}"', '"{root}/hooks.json"')
    assert changed != shipped
    faults.define(crew, "demo", changed)
    return copy


@pytest.mark.parametrize("how", ["deleted", "not executable"])
def test_the_hook_script_goes_while_the_agent_runs(crew: Crew, how: str) -> None:
    """The status file tells the status, the transcript that a message was taken."""
    copy = own_hook(crew)
    crew.blueprint(ONE)
    crew.up("--wait")
    gate = faults.Gate(crew)
    crew.run("send", "--wait", "a", "[[say: with hooks]]")
    # Its status file may have told of its end first.
    wait_until(lambda: stopped(crew), "the hook of the turn's end", 30)
    heard = faults.journal(crew, "hook_received")
    assert "UserPromptSubmit" in {e["hook"] for e in heard}
    seq = heard[-1]["seq"]
    assert isinstance(seq, int)
    if how == "deleted":
        copy.unlink()
    else:
        copy.chmod(0o600)
    crew.run("send", "a", f"{gate.marker} [[say: without hooks]]")
    crew.wait_status(a="working")
    gate.open()
    crew.wait_status(a="ready")
    crew.run("send", "a", "[[ask-tool Bash: echo allowed]]")
    crew.wait(lambda v: (v["agents"][0]["ask"] or {}).get("options"), "the dialog's choices")
    crew.run("answer", "a", "1")
    view = crew.wait(lambda v: v["agents"][0]["status"] == "ready" and not v["messages"], "ready")
    assert faults.journal(crew, "hook_received", since=seq) == [], "no hook told of any of it"
    expected = ["[[say: with hooks]]", f"{gate.marker} [[say: without hooks]]"]
    assert faults.prompts(crew, "a") == [*expected, "[[ask-tool Bash: echo allowed]]"]
    assert (view["messages"], view["agents"][0]["run"]) == ([], 1)
    assert view["missed_events"] == 0


def stopped(crew: Crew) -> bool:
    return "Stop" in {e["hook"] for e in faults.journal(crew, "hook_received")}


def test_a_turn_that_ends_without_a_hook_was_not_interrupted(crew: Crew) -> None:
    copy = own_hook(crew)
    crew.blueprint(ONE)
    crew.up("--wait")
    faults.begun(crew)
    copy.unlink()
    gate = faults.Gate(crew)
    crew.run("send", "a", f"{gate.marker} [[say: by itself]]")
    crew.wait_status(a="working")
    gate.open()
    crew.wait_status(a="ready")
    assert "interrupted" not in crew.agent("a")["flags"]


# -- damaged payloads -----------------------------------------------------------------------------


def damaged(run: int, cuts: int) -> dict[str, bytes]:
    """Spool files that are no hooks: name -> content."""
    stop = {"hook_event_name": "Stop", "session_id": "x"}
    wrong = {
        "not-json": b"\x00\xff\xfe{{{",
        "empty": b"",
        "a-list": b"[]",
        "a-word": b'"Stop"',
        "deep": b"[" * 100_000,
        "number": json.dumps({**stop, "session_id": 5}).encode(),
        "no-list": json.dumps({**stop, "background_tasks": "many"}).encode(),
        "other-event": json.dumps({**stop, "hook_event_name": "PermissionRequest"}).encode(),
        "nameless": b"{}",
        "large": json.dumps({**stop, "last_assistant_message": "x" * 11_000_000}).encode(),
    }
    pids = itertools.count(900_000)
    files = {f"a.{run}.Stop.{next(pids)}": data for data in wrong.values()}
    files |= {name: json.dumps(stop).encode() for name in ("no hook", "a.x.Stop.1", "-x.1.Stop.1")}
    rng = random.Random(9)
    real = sorted(PAYLOADS.glob("*.json"))
    for number in range(cuts):
        whole = real[number % len(real)].read_bytes().rstrip()
        cut = whole[: rng.randrange(len(whole))]
        files[f"a.{run}.{real[number % len(real)].stem}.{next(pids)}"] = cut
    return files


def test_damaged_hooks_are_set_aside(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """Each is said once, and none changes anything."""
    cuts = count("cut hook payloads", 40, 900)
    crew.blueprint(TWO)
    crew.up("--wait")
    faults.begun(crew)
    agents = crew.view()["agents"]
    seq = crew.events()[-1]["seq"]
    files = damaged(agents[0]["run"], cuts)
    for name, data in files.items():
        faults.spool(crew, name, data)
    new, bad, log = (crew.state / part for part in ("spool/new", "spool/bad", "supervisor.log"))
    wait_until(lambda: not faults.listed(new), "everything is set aside", 30)

    def said(name: str) -> int:
        whole = log.read_text().rpartition("\n")[0].splitlines()
        texts = [json.loads(line)["said"] for line in whole]
        return len([text for text in texts if text.startswith(f"hook {name!r}: ")])

    for name in files:
        # It is said a moment after it is set aside.
        wait_until(partial(said, name), f"{name} is told of", 30)
        assert said(name) == 1, name
    wait_until(lambda: len(faults.listed(bad)) <= 100, "older ones are gone", 30)
    # The newest hundred are kept for a person, as they came.
    kept = {name: (bad / name).read_bytes() for name in faults.listed(bad)}
    assert len(kept) == min(100, len(files))
    assert all(files[name] == data for name, data in kept.items())
    assert faults.journal(crew, since=seq) == []
    assert crew.view()["agents"] == agents
    # What is whole, behind all that, is taken as ever; of a run that is over it says nothing.
    environ = faults.hook_environment(crew, "a")
    data = faults.payload("Stop", last_assistant_message="a late one")
    faults.run_hook({**environ, "CREW_RUN": "99"}, "Stop", data)
    # One that tells of a turn is outvoted by its status file in two seconds.
    data = faults.payload("Stop", last_assistant_message="a whole one")
    faults.run_hook(environ, "Stop", data)
    view = crew.wait(lambda v: v["agents"][0]["detail"] != agents[0]["detail"], "it is taken in")
    assert view["agents"][0]["detail"] == "a whole one"
    assert crew.statuses() == {"a": "ready", "b": "ready"}


# -- many -----------------------------------------------------------------------------------------

# Runs the hook script so often; prints how long each took, seconds.
_MANY = """
import json, subprocess, sys, time
hook, who, often = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(often):
    command = {"command": f"{who} {number}"}
    data = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": command}
    began = time.monotonic()
    subprocess.run([hook, "PreToolUse"], input=json.dumps(data).encode(), check=True)
    print(time.monotonic() - began)
"""


def in_order(events: list[dict[str, object]]) -> dict[str, list[int]]:
    """What each process told, in the order of the journal."""
    told: dict[str, list[int]] = {}
    for event in events:
        who, number = str(event["argument"]).split()
        told.setdefault(who, []).append(int(number))
    return told


def many(crew: Crew, processes: int, each: int) -> list[float]:
    """Run the hook script in so many processes at once; returns how long each run took."""
    argv = [sys.executable, "-I", "-S", "-c", _MANY, str(HOOK)]
    environ = faults.hook_environment(crew, "a")
    running = [
        subprocess.Popen([*argv, f"p{n}", str(each)], env=environ, stdout=subprocess.PIPE)
        for n in range(processes)
    ]
    times: list[float] = []
    for one in running:
        out, _ = one.communicate(timeout=600)
        assert one.returncode == 0
        times += map(float, out.split())
    return sorted(times)


@pytest.mark.timeout(900)
def test_many_hooks_at_once(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """20 processes at once: all are taken in once, those of each process in its order."""
    total = count("hooks of 20 processes at once", 300, 10_000)
    each = total // 20
    crew.blueprint(TWO)
    crew.up("--wait")
    faults.begun(crew)
    # In a turn, as its status file says too: of one that only hooks tell of, that file is believed
    # to have told of the end.
    gate = faults.Gate(crew)
    crew.run("send", "a", gate.marker)
    gate.reached()
    new = crew.state / "spool/new"
    wait_until(lambda: not faults.listed(new), "the turn's own hooks are taken in", 30)
    seq = crew.events()[-1]["seq"]
    times = many(crew, 20, each)
    done = time.monotonic()
    wait_until(lambda: not faults.listed(new), "all are taken in", 30)
    drained = time.monotonic() - done
    measured("20 hooks at once: one takes, p50", times[len(times) // 2] * 1000, "ms")
    measured("20 hooks at once: one takes, p99", times[len(times) * 99 // 100] * 1000, "ms")
    measured("20 hooks at once: drained after", drained, "s")
    assert drained < 20
    told = in_order(faults.journal(crew, "hook_received", since=seq))
    assert told == {f"p{n}": list(range(each)) for n in range(20)}
    assert crew.agent("a")["status"] == "working"
    assert faults.listed(crew.state / "spool/tmp") == []
    assert faults.listed(crew.state / "spool/bad") == []
    assert crew.view()["missed_events"] == 0


@pytest.mark.timeout(300)
def test_hooks_while_no_supervisor_runs(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """They lie there, cost the agent nothing, and are taken in once, in order, by the next."""
    hooks = count("hooks told to nobody", 100, 1000)
    crew.blueprint(TWO)
    crew.up("--wait")
    faults.begun(crew)
    supervisor, seq = crew.supervisor(), crew.events()[-1]["seq"]
    agents = {a["name"]: a["pid"] for a in crew.view()["agents"]}
    environ = faults.hook_environment(crew, "a")
    faults.kill(supervisor)
    began = time.monotonic()
    for number in range(hooks):
        tool = {"tool_name": "Bash", "tool_input": {"command": f"p0 {number}"}}
        faults.run_hook(environ, "PreToolUse", faults.payload("PreToolUse", **tool))
    faults.run_hook(environ, "Stop", faults.payload("Stop", last_assistant_message="the end"))
    measured("hooks told to nobody: one takes", (time.monotonic() - began) / hooks * 1000, "ms")
    assert len(faults.listed(crew.state / "spool/new")) == hooks + 1
    view = crew.wait(lambda v: v["agents"][0]["detail"] == "the end", "the last is taken in")
    assert view["agents"][0]["status"] == "ready"
    assert {a["name"]: a["pid"] for a in view["agents"]} == agents
    heard = faults.journal(crew, "hook_received", since=seq)
    assert heard.pop()["hook"] == "Stop"
    assert in_order(heard) == {"p0": list(range(hooks))}
    wait_until(lambda: not faults.listed(crew.state / "spool/new"), "the files are gone", 30)
    # And once more: nothing is left that another one could take in again.
    faults.kill(crew.supervisor())
    crew.wait_status(a="ready")
    assert len(faults.journal(crew, "hook_received", since=seq)) == hooks + 1
