"""Answers: by the hook that waits beside a dialog, by keys where none does, to nothing else."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.client import Client
from orchestrator.core.answers import REFUSED
from orchestrator.core.spec import HooksSpec
from orchestrator.errors import CrewError
from orchestrator.locations import PACKAGE, SessionPaths
from tests.core.worlds import CLI, agent_spec
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

TEAM = '[[agents]]\nname = "a"\n[[agents]]\nname = "b"\n'


@pytest.fixture
def team(crew: Crew) -> Crew:
    crew.blueprint(TEAM)
    crew.up("--wait")
    return crew


def waiting(crew: Crew) -> list[int]:
    """The hooks that wait for an answer."""
    found = []
    for pid in crew.processes():
        with contextlib.suppress(OSError):  # it has just ended
            if str(settings.ASKING).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def asked(crew: Crew, prompt: str, hooks: int = 1) -> dict[str, Any]:
    """Send a prompt that makes `a` ask; what it asks, once so many hooks wait and all is known."""
    crew.run("send", "a", prompt)

    def known(view: dict[str, Any]) -> bool:
        ask = view["agents"][0]["ask"] or {}
        return bool(ask.get("options") and ask["hook"])

    crew.wait(known, "it asks")
    wait_until(lambda: len(waiting(crew)) >= hooks, "the hook runs", 30)
    come(crew, hooks)
    found: dict[str, Any] = crew.agent("a")["ask"]
    return found


def come(crew: Crew, hooks: int) -> None:
    """Wait until so many hooks wait for their answers."""
    socket = crew.state / "crew.sock"
    wait_until(lambda: faults.connections(socket) == hooks, f"{hooks} hooks wait", 30)


def copy_mode(crew: Crew) -> None:
    """From here on the pane of `a` takes every key for its own."""
    pane = crew.agent("a")["pane"]
    crew.tmux("copy-mode", "-t", pane)
    assert crew.tmux("display-message", "-p", "-t", pane, "#{pane_in_mode}") == "1\n"


def keys(crew: Crew, *names: str) -> None:
    """Type into the pane of `a`, as a person would."""
    crew.tmux("send-keys", "-t", crew.agent("a")["pane"], *names)


def transcript(crew: Crew) -> list[dict[str, Any]]:
    (path,) = crew.state.rglob(f"{crew.agent('a')['conversation']}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(crew: Crew) -> list[dict[str, Any]]:
    """What the tools of `a` gave it, or what it was told instead."""
    return [
        block
        for entry in transcript(crew)
        if entry["type"] == "user" and isinstance(entry["message"]["content"], list)
        for block in entry["message"]["content"]
        if block["type"] == "tool_result"
    ]


def given(crew: Crew) -> list[tuple[object, object]]:
    """Each answer: the way it was given, and why not."""
    return [(e["by"], e["refused"]) for e in faults.journal(crew, "answer_given")]


def nobody_waits(crew: Crew) -> None:
    wait_until(lambda: not waiting(crew), "no hook is left", 30)
    come(crew, 0)


@pytest.mark.parametrize("choice", ["yes", "1", "y"])
def test_a_yes_goes_through_the_hook_even_in_copy_mode(team: Crew, choice: str) -> None:
    ask = asked(team, "[[ask-tool Bash: touch done]] [[say: went on]]")
    assert len(waiting(team)) == 1
    assert ask["hook"].startswith("hook:a.1.PermissionRequest.")
    copy_mode(team)
    assert team.run("answer", "a", choice).stdout == "answered a: Yes\n"
    team.wait_status(a="ready")
    assert (team.cwd / "done").exists()
    assert given(team) == [("hook", None)]
    nobody_waits(team)


def test_a_no_is_told_with_its_reason_and_the_turn_goes_on(team: Crew) -> None:
    gate = faults.Gate(team)
    asked(team, f"[[ask-tool Bash: touch done]] {gate.marker} [[say: without it]]")
    copy_mode(team)
    reason = 'not before "noon"\n\tüben 😀'
    assert team.run("answer", "a", "no", "--because", reason).stdout == "answered a: No\n"
    # The tool that was asked for does not run, and nothing says that it does.
    view = team.wait_status(a="working")
    assert "touch done" not in view["agents"][0]["detail"]
    gate.reached()
    assert not (team.cwd / "done").exists()
    (result,) = told(team)
    assert (result["content"], result["is_error"]) == (reason, True)
    gate.open()
    team.wait_status(a="ready")
    wait_until(lambda: "● without it" in team.run("logs", "a").stdout, "the turn went on", 30)
    nobody_waits(team)
    keys(team, "-X", "cancel")
    asked(team, "[[ask-tool Bash: touch done]]")
    team.run("answer", "a", "n")
    team.wait_status(a="ready")
    assert told(team)[-1]["content"] == REFUSED
    assert not (team.cwd / "done").exists()
    assert given(team) == [("hook", None), ("hook", None)]


def test_any_other_choice_is_a_key(team: Crew) -> None:
    asked(team, "[[ask-tool Bash: touch one]] [[ask-tool Bash: touch two]]")
    copy_mode(team)
    refused = team.run("answer", "a", "always", check=False)
    assert (refused.returncode, "copy mode" in refused.stderr) == (1, True)
    keys(team, "-X", "cancel")
    team.run("answer", "a", "always")
    team.wait_status(a="ready")
    assert (team.cwd / "two").exists(), "it did not ask again"
    assert [by for by, _ in given(team)] == [None, "keys"]
    nobody_waits(team)


@pytest.mark.parametrize("key", ["1", "3", "Escape"])
def test_what_is_answered_by_hand_lets_the_hook_go(team: Crew, key: str) -> None:
    asked(team, "[[ask-tool Bash: touch done]] [[sleep 1]]")
    (hook,) = waiting(team)
    keys(team, key)
    team.wait(lambda v: v["agents"][0]["status"] != "blocked", "answered")
    wait_until(lambda: hook not in waiting(team), "the hook is let go", 30)
    nobody_waits(team)
    team.wait_status(a="ready")
    assert (team.cwd / "done").exists() == (key == "1")
    late = team.run("answer", "a", "yes", check=False)
    assert (late.returncode, "asks nothing" in late.stderr) == (1, True)


def test_each_request_has_its_own_answer(team: Crew) -> None:
    """The first was answered by hand; the second is of the same words."""
    prompt = "[[ask-tool Bash: echo x >>done]] [[ask-tool Bash: echo x >>done]]"
    first = asked(team, prompt)
    (old,) = waiting(team)
    keys(team, "1")
    wait_until(lambda: waiting(team) not in ([], [old]), "the second hook waits", 30)
    known = (None, first["hook"])
    wait_until(lambda: (team.agent("a")["ask"] or {}).get("hook") not in known, "it is known", 30)
    stale = {"choice": "yes", "asked": first["text"], "hook": first["hook"]}
    with (
        Client.connect(SessionPaths(team.state), start=False) as client,
        pytest.raises(CrewError, match="a asks something else now: Bash: echo x >>done"),
    ):
        client.request("answer", agent="a", **stale)
    assert (team.cwd / "done").read_text() == "x\n"
    team.run("answer", "a", "yes")
    team.wait_status(a="ready")
    assert (team.cwd / "done").read_text() == "x\nx\n"
    nobody_waits(team)


def test_two_agents_ask_at_once(team: Crew) -> None:
    for name in ("a", "b"):
        team.run("send", name, f"[[ask-tool Bash: echo by-{name}; touch {name}]]")
    team.wait(lambda v: all((a["ask"] or {}).get("hook") for a in v["agents"]), "both ask")
    come(team, 2)
    wait_until(lambda: len(waiting(team)) == 2, "both hooks run", 30)
    team.run("answer", "b", "no", "--because", "a is first")
    team.wait_status(a="blocked", b="ready")
    assert len(waiting(team)) == 1
    team.run("answer", "a", "yes")
    team.wait_status(a="ready")
    assert ((team.cwd / "a").exists(), (team.cwd / "b").exists()) == (True, False)
    nobody_waits(team)


def test_a_new_supervisor_leaves_the_dialog_to_keys(team: Crew) -> None:
    """The hook ends with the supervisor that it waited for."""
    asked(team, "[[ask-tool Bash: touch done]]")
    faults.kill(team.supervisor())
    wait_until(lambda: not waiting(team), "the hook has ended", 30)
    team.wait_status(a="blocked")
    refused = team.run("answer", "a", "no", "--because", "no", check=False)
    assert refused.returncode == 1
    assert "answer without it, then say it with " in refused.stderr
    assert team.agent("a")["status"] == "blocked", "nothing was pressed"
    team.run("answer", "a", "yes")
    team.wait_status(a="ready")
    assert (team.cwd / "done").exists()
    assert [by for by, _ in given(team)] == [None, "keys"]


def test_a_hook_that_is_killed_leaves_the_dialog_to_keys(team: Crew) -> None:
    asked(team, "[[ask-tool Bash: touch done]]")
    (hook,) = waiting(team)
    faults.kill(hook)
    nobody_waits(team)
    team.run("answer", "a", "yes")
    team.wait_status(a="ready")
    assert (team.cwd / "done").exists()
    assert given(team) == [("keys", None)]


def test_without_the_script_of_the_hook_the_dialog_is_left_to_keys(crew: Crew) -> None:
    """An agent outlives the package that it was launched by: an update may have moved it."""
    hooks = HooksSpec(dialect="claude", events=("PermissionRequest",), answers=True)
    whole = settings.build(replace(CLI, hooks=hooks), agent_spec("a"), "/", Path("/nowhere"))
    gone = json.dumps(whole).replace(str(settings.ASKING), str(crew.cwd / "gone.py"))
    (crew.cwd / "hooks.json").write_text(gone)
    shipped = (PACKAGE.parent / "agents/demo.toml").read_text()
    faults.define(crew, "demo", shipped.replace('"{settings}"', '"{root}/hooks.json"'))
    crew.blueprint(TEAM)
    crew.up("--wait")
    ask = asked(crew, "[[ask-tool Bash: touch done]]", hooks=0)
    assert ask["hook"], "it was told all the same"
    crew.run("answer", "a", "yes")
    crew.wait_status(a="ready")
    assert (crew.cwd / "done").exists()
    assert given(crew) == [("keys", None)]


def test_an_agent_may_neither_answer_nor_wait_for_another(team: Crew) -> None:
    asked(team, "[[ask-tool Bash: touch done]]")
    spying = (
        "import json, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "r = dict(id='1', verb='asked', agent='a', run=1, key=sys.argv[2]);"
        "s.sendall(json.dumps(r).encode() + b'\\n'); print(s.makefile().readline())"
    )
    (team.cwd / "spying.py").write_text(spying.replace("; ", "\n").replace(";", "\n"))
    key = team.agent("a")["ask"]["hook"]
    socket = team.state / "crew.sock"
    python = shutil.which("python3", path=team.env["PATH"])
    spy = f"{python} spying.py {socket} {key}"
    team.run("send", "--wait", "b", f"[[tool Bash: CREW_AGENT=a {spy}; crew answer a yes]]")
    wait_until(lambda: "b is an agent" in team.run("logs", "b").stdout, "both refusals", 30)
    assert "only an agent's own hook" in team.run("logs", "b").stdout
    assert team.agent("a")["status"] == "blocked"
    keys(team, "Escape")
    team.wait_status(a="ready")


def test_the_session_ends_with_a_dialog_open(team: Crew) -> None:
    asked(team, "[[ask-tool Bash: touch done]]")
    team.run("down")
    assert team.processes() == []
