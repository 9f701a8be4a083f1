"""`crew send --wait` with real agents: the answer as it comes, until its turn is over."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end import faults
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.faults import Gate
from tests.end_to_end.test_faults_hooks import own_hook
from tests.support import wait_until

# A death is seen before the restart that follows it: after a random part of so many seconds.
TWO = """
[[agents]]
name = "a"
restart = { backoff = 1000000, backoff_max = 1000000 }

[[agents]]
name = "b"
"""


def waiting(crew: Crew, agent: str, text: str, *options: str) -> "subprocess.Popen[str]":
    return faults.popen(crew, "send", "--wait", *options, agent, text)


def ended(process: "subprocess.Popen[str]", timeout: float = 30) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in err
    return process.returncode, out, err


def lines(process: "subprocess.Popen[str]", count: int) -> str:
    """What it prints, once that is so many lines."""
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(count))


def note(process: "subprocess.Popen[str]") -> str:
    """The next line of its error output."""
    assert process.stderr is not None
    return process.stderr.readline()


def transcript(crew: Crew, agent: str) -> Path:
    """Where it is, once its first prompt has made it."""
    name = f"{crew.agent(agent)['conversation']}.jsonl"
    return wait_until(lambda: list(crew.state.rglob(name)), "the transcript", 30)[0]


def says(crew: Crew, agent: str, words: str) -> None:
    """Wait until it has said so; its prompt may hold the same words."""
    quoted = json.dumps(words)
    wait_until(lambda: quoted in transcript(crew, agent).read_text(), f"{agent} says {quoted}", 30)


@pytest.fixture
def up(crew: Crew) -> Crew:
    crew.blueprint(TWO)
    crew.up("--wait")
    return crew


# -- what it says ----------------------------------------------------------------------------------


def test_the_answer_is_printed_as_it_comes(up: Crew) -> None:
    gate = Gate(up)
    process = waiting(up, "a", f"[[say: one\n  and a half]] {gate.marker} [[say: two]]")
    assert lines(process, 2) == "one\n  and a half\n"
    gate.reached()
    assert process.poll() is None
    gate.open()
    assert ended(process) == (0, "\ntwo\n", "")
    up.wait_status(a="ready")


@pytest.mark.timeout(600)
def test_turns_that_are_over_at_once(up: Crew, count: Callable[[str, int, int], int]) -> None:
    for number in range(count("turns that are over at once", 10, 300)):
        done = up.run("send", "--wait", "a", f"[[say: {number}]]")
        assert (done.stdout, done.stderr) == (f"{number}\n", "")


def test_the_same_words_from_several_at_once(up: Crew) -> None:
    """Each has the answer to its own, once."""
    several = [waiting(up, "a", "[[say: the same]]") for _ in range(4)]
    for process in several:
        status, out, _ = ended(process)
        assert (status, out) == (0, "the same\n")


def test_a_large_answer_is_whole(up: Crew) -> None:
    text = "\n".join(f"{number:07d} {'x' * 92}" for number in range(1000))
    assert len(text) > 100_000
    done = up.run("send", "--wait", "a", "-", stdin=f"[[say: {text}]]")
    assert done.stdout == f"{text}\n"


def test_nothing_of_an_answer_acts_on_the_terminal(up: Crew) -> None:
    gate = Gate(up)
    process = waiting(up, "a", f"{gate.marker} [[say: plain]]")
    gate.reached()
    block = {"type": "text", "text": "\x1b]0;title\x07red\x1b[31m\u202e\n\tblue"}
    entry = {"type": "assistant", "uuid": "u", "message": {"content": [block]}}
    with transcript(up, "a").open("a") as file:
        file.write(json.dumps(entry) + "\n")
    gate.open()
    assert ended(process) == (0, "red\n\tblue\n\nplain\n", "")


def test_for_scripts(up: Crew) -> None:
    done = up.run("send", "--wait", "--json", "a", "[[say: one]] [[say: two]]")
    found = json.loads(done.stdout)
    assert set(found) == {"message", "answer"}
    assert found["answer"] == "one\n\ntwo"
    assert (found["message"]["number"], found["message"]["state"]) == (1, "delivered")


# -- before its turn, and in the middle of it ------------------------------------------------------


def test_behind_a_busy_agent(up: Crew) -> None:
    gate = Gate(up)
    up.run("send", "a", f"{gate.marker} [[say: not mine]]")
    gate.reached()
    up.wait_status(a="working")
    process = waiting(up, "a", "[[say: mine]]")
    assert note(process) == "message 2 to a is queued: a is working; typed when it is ready\n"
    up.run("send", "a", "[[say: not mine either]]")
    gate.open()
    assert ended(process) == (0, "mine\n", "")
    up.wait(lambda v: not v["messages"], "the third is delivered")


def test_before_a_prompt_that_a_person_types(up: Crew) -> None:
    """The CLI takes it while it works, and goes on with it at once."""
    gate, second, pane = Gate(up), Gate(up, "second"), up.agent("a")["pane"]
    process = waiting(up, "a", f"[[say: one]] {gate.marker} [[say: two]]")
    gate.reached()
    up.tmux("send-keys", "-t", pane, "-l", f"[[say: by hand]] {second.marker}")
    up.tmux("send-keys", "-t", pane, "Enter")
    wait_until(lambda: "enqueue" in transcript(up, "a").read_text(), "it is queued", 30)
    gate.open()
    assert ended(process) == (0, "one\n\ntwo\n", "")
    second.reached()
    up.wait_status(a="working")


def test_a_question_in_the_middle(up: Crew) -> None:
    process = waiting(up, "a", "[[say: one]] [[ask-tool Bash: ls -l]] [[ask: which?|red|blue]]")
    answer = f"answer with `{CREW} answer a CHOICE`"
    assert note(process) == f"a asks permission: Bash: ls -l; {answer}\n"
    assert process.poll() is None
    up.wait(lambda v: (v["agents"][0]["ask"] or {}).get("options"), "the choices")
    up.run("answer", "a", "yes")
    assert note(process) == f"a asks question: which?; {answer}\n"
    up.run("answer", "a", "blue")
    assert ended(process) == (0, "one\n\nblue\n", "")


def test_a_supervisor_that_is_killed_in_the_middle(up: Crew) -> None:
    """Once while the agent works on, once over its end."""
    gate, second = Gate(up), Gate(up, "second")
    text = f"[[say: one]] {gate.marker} [[say: two]] {second.marker} [[say: three]]"
    process = waiting(up, "a", text)
    assert lines(process, 1) == "one\n"
    gate.reached()
    before = up.supervisor()
    faults.kill(before)
    gate.open()
    assert lines(process, 2) == "\ntwo\n"
    second.reached()
    with faults.hanging(process.pid):
        faults.kill(up.supervisor())
        second.open()
        says(up, "a", "three")
    assert ended(process) == (0, "\nthree\n", "")
    assert up.supervisor() != before


def test_turns_of_which_no_hook_tells(crew: Crew) -> None:
    """The status file, and the transcript, tell all that there is to know."""
    script = own_hook(crew)
    crew.blueprint(TWO)
    crew.up("--wait")
    script.unlink()
    for number in range(5):
        assert crew.run("send", "--wait", "a", f"[[say: {number}]]").stdout == f"{number}\n"
    process = waiting(crew, "a", "[[say: one]] [[sleep 600]]")
    assert lines(process, 1) == "one\n"
    crew.wait_status(a="working")
    crew.run("interrupt", "a")
    assert ended(process) == (1, "", "crew: a had not finished: it was interrupted\n")
    told = [event["agent"] for event in faults.journal(crew, "hook_received")]
    assert told.count("a") <= 1, "of its start alone"


# -- ends that are none ----------------------------------------------------------------------------


def test_an_interruption(up: Crew) -> None:
    process = waiting(up, "a", "[[say: one]] [[sleep 600]] [[say: never]]")
    assert lines(process, 1) == "one\n"
    up.wait_status(a="working")
    assert up.run("interrupt", "a").stdout == "a was interrupted\n"
    assert ended(process) == (1, "", "crew: a had not finished: it was interrupted\n")


def test_an_interruption_before_the_first_word(up: Crew) -> None:
    process = waiting(up, "a", "[[sleep 600]] [[say: never]]")
    up.wait_status(a="working")
    faults.hooked(up, "a", "[[sleep 600]] [[say: never]]")
    said = up.run("interrupt", "a").stdout
    assert said == ("a was interrupted: it had not begun to answer: the prompt was taken back\n")
    assert ended(process) == (1, "", "crew: a had not finished: it was interrupted\n")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("[[crash KILL]]", "it died (killed by signal 9)"),
        ("[[exit 0]]", "it ended (exit status 0)"),
    ],
)
def test_a_death(up: Crew, what: str, sentence: str) -> None:
    process = waiting(up, "a", f"[[say: one]] {what}")
    assert ended(process) == (1, "one\n", f"crew: a had not finished: {sentence}\n")


@pytest.mark.parametrize("verb", ["stop", "restart", "down"])
def test_an_end_that_a_person_wants(up: Crew, verb: str) -> None:
    process = waiting(up, "a", "[[say: one]] [[sleep 600]]")
    # It follows the turn by now: else it may hear of what came after the end before that.
    assert lines(process, 1) == "one\n"
    up.run(*([verb] if verb == "down" else [verb, "a"]))
    assert ended(process) == (1, "", "crew: a had not finished: it was stopped\n")


def test_what_there_was_of_an_answer_is_told_to_scripts(up: Crew) -> None:
    process = waiting(up, "a", "[[say: one]] [[sleep 600]]", "--json")
    says(up, "a", "one")
    up.wait(lambda v: not v["messages"], "its message is delivered")
    up.run("stop", "a")
    status, out, err = ended(process)
    assert (status, err) == (1, "crew: a had not finished: it was stopped\n")
    assert json.loads(out)["answer"] == "one"


def test_an_end_in_an_error(up: Crew) -> None:
    """As the CLI writes it down: in its own name, and with its StopFailure hook."""
    gate = Gate(up)
    process = waiting(up, "a", f"[[say: one]] {gate.marker} [[sleep 600]]")
    gate.reached()
    text = "API Error: 529 Overloaded"
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": text}]}
    entry = {"type": "assistant", "isApiErrorMessage": True, "uuid": "u", "message": message}
    with transcript(up, "a").open("a") as file:
        file.write(json.dumps(entry) + "\n")
    hook = {"session_id": up.agent("a")["conversation"], "last_assistant_message": text}
    data = faults.payload("StopFailure", error="server_error", **hook)
    faults.run_hook(faults.hook_environment(up, "a"), "StopFailure", data)
    assert ended(process) == (1, "one\n", f"crew: a ended its turn with an error: {text}\n")


def test_a_bound(up: Crew) -> None:
    process = waiting(up, "a", "[[say: one]] [[sleep 600]]", "--timeout", "10")
    assert ended(process) == (
        1,
        "one\n",
        "crew: a has not finished within 10 s: its turn goes on\n",
    )
    assert up.agent("a")["status"] == "working"


def test_ctrl_c_ends_the_wait_alone(up: Crew) -> None:
    gate = Gate(up)
    process = waiting(up, "a", f"[[say: one]] {gate.marker} [[say: two]]")
    assert lines(process, 1) == "one\n"
    gate.reached()
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == (130, "", "\n")
    gate.open()
    up.wait(lambda v: v["agents"][0]["detail"] == "two", "its turn went on to its end")
    up.wait_status(a="ready")


def test_nobody_reads_the_answer_any_more(up: Crew) -> None:
    gate = Gate(up)
    process = waiting(up, "a", f"[[say: one]] {gate.marker} [[say: two]]")
    assert lines(process, 1) == "one\n"
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    gate.open()
    status, _, err = ended(process)
    assert (status, err) == (1, "")


# -- where there is no answer to read --------------------------------------------------------------


def test_a_command_is_waited_for_until_it_is_taken(up: Crew) -> None:
    done = up.run("send", "--wait", "a", "/clear")
    assert done.stdout == "message 1 delivered to a\n"
    done = up.run("send", "--wait", "--json", "a", "/clear")
    assert json.loads(done.stdout)["answer"] is None


def test_a_shell_has_no_transcript(crew: Crew) -> None:
    crew.blueprint('[[agents]]\nname = "s"\ncli = "shell"\nenv = { PS1 = "$ " }\n')
    crew.up("--wait")
    done = crew.run("send", "--wait", "s", "echo $((20 + 22))")
    assert done.stdout == "message 1 delivered to s\n"


# -- from an agent ---------------------------------------------------------------------------------


def test_an_agent_waits_for_another(up: Crew) -> None:
    ask = "crew send --wait b what is new"
    done = up.run("send", "--wait", "a", f"[[tool Bash: {ask} >answer]] [[say: done]]")
    assert done.stdout == "done\n"
    assert (up.cwd / "answer").read_text() == "heard: what is new\n"


def test_an_agent_does_not_wait_for_itself(up: Crew) -> None:
    ask = "crew send --wait a 'hello' 2>answer"
    up.run("send", "--wait", "a", f"[[tool Bash: {ask}]] [[say: done]]")
    assert "its turn cannot wait for its own end" in (up.cwd / "answer").read_text()
