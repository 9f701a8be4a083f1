"""What is said to real CLIs, and what they say: to a person who waits, and to each other."""

import json
import shlex
import subprocess
import time
import tomllib
from typing import Any

import pytest

from orchestrator.locations import PACKAGE
from tests.counts import measured
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude

pytestmark = pytest.mark.timeout(240)

ONE = """
[[agents]]
name = "boss"
"""


def shipped() -> list[str]:
    """What the agents of the shipped team may do unasked."""
    file = PACKAGE.parent / "sessions/boss-and-workers.toml"
    allowed: list[str] = tomllib.loads(file.read_text())["defaults"]["permissions"]["allow"]
    return allowed


def team(**allowed: list[str]) -> str:
    """Agents, and what each may do unasked; underscores stand for hyphens in names."""
    agent = '\n[[agents]]\nname = "{}"\npermissions = {{ allow = {} }}\n'
    named = ((name.replace("_", "-"), json.dumps(rules)) for name, rules in allowed.items())
    return "".join(agent.format(*each) for each in named)


def run(command: str) -> str:
    """The marker that makes an agent run `command` with its own tool."""
    return f"[[tool Bash: {command}]]"


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit status, and the rest of both outputs."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def results(claude: Claude, agent: str) -> tuple[str, ...]:
    """What its tools gave back to an agent, as the model saw it."""
    conversation = claude.conversation(agent)
    return next(r.results for r in reversed(claude.api.requests) if r.conversation == conversation)


def asks(claude: Claude) -> None:
    """Wait until all is known of what the first agent asks: its hook, and its choices."""

    def known(view: dict[str, Any]) -> bool:
        ask = view["agents"][0]["ask"]
        return bool(ask and ask["hook"] and ask["options"])

    claude.crew.wait(known, "it asks", 30)


def test_a_person_waits_for_the_answer(claude: Claude) -> None:
    """Printed as the turn goes; what else a turn can come to is said, and told by the status."""
    claude.blueprint(ONE)
    claude.crew("up", "--trust", "--wait")
    # The second words come after the first have been read.
    prompt = f"[[say: the\tfirst\nwords]] {run('echo x')} [[hold second]] [[say: the second]]"
    waiting = faults.popen(claude.crew, "send", "boss", prompt, "--wait")
    assert waiting.stdout is not None
    assert [waiting.stdout.readline() for _ in range(2)] == ["the    first\n", "words\n"]
    claude.api.wait_held("second")
    claude.crew.wait_status(boss="working")
    claude.api.release("second")
    assert ended(waiting) == (0, "\nthe second\n", "")
    # It asks for something meanwhile: said once, and waited on.
    prompt = f"[[say: may I?]] {run('touch made')} [[say: I did]]"
    waiting = faults.popen(claude.crew, "send", "boss", prompt, "--wait")
    asks(claude)
    assert waiting.stderr is not None
    said = waiting.stderr.readline()
    assert "boss asks permission: Bash: touch made; answer with" in said
    assert waiting.poll() is None
    claude.crew("answer", "boss", "yes")
    assert ended(waiting) == (0, "may I?\n\nI did\n", "")
    assert (claude.root / "made").exists()
    # All of a long answer.
    long = claude.crew("send", "boss", "[[text 20000 words]]", "--wait", timeout=90).stdout
    assert long.split() == [f"word{n}" for n in range(20_000)]
    told = json.loads(claude.crew("send", "boss", "[[say: as JSON]]", "--wait", "--json").stdout)
    assert (told["answer"], told["message"]["state"]) == ("as JSON", "delivered")
    # It fails; it is interrupted.
    failed = claude.crew("send", "boss", "[[error 400]]", "--wait", check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "boss ended its turn with an error: API Error: 400 scripted error 400" in failed.stderr
    prompt = f"[[say: I begin]] {run('echo y')} [[hold never]]"
    waiting = faults.popen(claude.crew, "send", "boss", prompt, "--wait")
    claude.api.wait_held("never")
    claude.crew.wait_status(boss="working")
    claude.crew("interrupt", "boss")
    assert ended(waiting) == (
        1,
        "I begin\n",
        "crew: boss had not finished: it was interrupted\n",
    )


def test_short_turns_one_after_the_other(claude: Claude) -> None:
    """Each answer is that of its own prompt, also in the conversation after `/clear`."""
    claude.blueprint(ONE)
    claude.crew("up", "--trust", "--wait")
    for number in range(4):
        began = time.perf_counter()
        if number == 2:
            assert "delivered" in claude.crew("send", "boss", "/clear", "--wait").stdout
        # The same words each time: what is printed is none of the turns before.
        said = claude.crew("send", "boss", "again", "--wait").stdout
        assert said == "ok: again\n", number
        measured("a short turn of a real CLI, waited for", time.perf_counter() - began, "s")
    assert claude.api.prompts(claude.conversation("boss")) == ("again",) * 2


def test_agents_talk_and_rule_nobody(claude: Claude) -> None:
    """No key is pressed. From inside an agent all may be looked at, and nobody be ruled."""
    claude.blueprint(team(boss=shipped(), worker_1=[*shipped(), "Bash(crew:*)"]))
    claude.crew("up", "--trust", "--wait")
    reply = f"{run(shlex.join(['crew', 'send', 'boss', 'it is $42']))} [[say: told]]"
    ask = run(shlex.join(["crew", "send", "worker-1", f"how much? {reply}"]))
    claude.crew("send", "boss", f"find out {ask} [[say: asked]]")
    answer = claude.api.wait_for(lambda r: "it is $42" in r.newest.splitlines(), "the answer")
    claude.crew.wait(lambda view: not view["messages"], "every message is delivered")
    claude.crew.wait_status(boss="ready", worker_1="ready")
    assert answer.newest == "[crew message 3 from worker-1]\nit is $42"
    assert answer.conversation == claude.conversation("boss")
    question = claude.api.prompts(claude.conversation("worker-1"))
    assert question == (f"[crew message 2 from boss]\nhow much? {reply}",)
    # It may wait for the answer as well, which its own tool then gives it.
    wait = run(shlex.join(["crew", "send", "worker-1", "[[say: at once]]", "--wait"]))
    assert claude.crew("send", "boss", wait, "--wait").stdout == "ok\n"
    assert results(claude, "boss")[-1] == "at once"
    alone = run("crew send boss [[say: to myself]] --wait")
    claude.crew("send", "boss", alone, "--wait")
    assert "you are boss: its turn cannot wait for its own end" in results(claude, "boss")[-1]
    assert "answer_requested" not in [event["kind"] for event in claude.crew.events()]
    # The boss asks for something: the worker sees it, and that is all.
    claude.crew("send", "boss", run("touch made"))
    asks(claude)
    asked = claude.crew.agent("boss")["ask"]
    forbidden = ("answer boss 1", "interrupt boss", "stop boss", "restart boss", "down")
    verbs = " ".join(run(f"crew {verb}") for verb in ("status", *forbidden))
    claude.crew("send", "worker-1", verbs, "--wait", timeout=120)
    status, *refused = results(claude, "worker-1")[-6:]
    assert "crew answer boss 4    No" in status
    for verb, result in zip(forbidden, refused, strict=True):
        name = verb.split()[0]
        assert f"worker-1 is an agent: it may send and look, not {name}" in result
    assert claude.crew.agent("boss")["ask"] == asked
    assert not (claude.root / "made").exists()
