"""Real CLIs are killed in every way: the same conversation is back, and has one writer."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.counts import measured
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.conftest import CREW
from tests.end_to_end.looks import of, said, settled, up, view, wait, wait_status
from tests.end_to_end.writers import Writers
from tests.support import alive, wait_until

# Each starts real CLIs several times.
pytestmark = pytest.mark.timeout(240)

GO = "go on with it"
AGENT = """
[[agents]]
name = "{}"
resume_prompt = "go on with it"
restart = {{ backoff = 0.05, backoff_max = 0.1, limit = 100 }}
"""
BOSS, WORKER = AGENT.format("boss"), AGENT.format("worker-1")


@contextmanager
def replaced(claude: Claude, agent: str = "boss") -> Iterator[int]:
    """What happens inside ends the agent's process; waits until another one is ready."""
    pid = of(view(claude.crew), agent)["pid"]
    yield pid

    def look(seen: dict[str, object]) -> bool:
        now = of(seen, agent)
        return now["pid"] not in (None, pid) and now["status"] in ("ready", "working")

    wait(claude.crew, look, f"{agent} is back", 60)
    assert not alive(pid)


def cut(claude: Claude, prompt: str) -> str:
    """Begin a turn of `boss` that stands in the middle of its answer; the whole prompt."""
    text = f"{prompt} [[say: half of it]] [[hold {prompt}]]"
    claude.crew("send", "boss", text)
    claude.api.wait_held(prompt)
    transcript = Path(of(wait_status(claude.crew, boss="working"), "boss")["transcript"])

    def is_written() -> bool:
        lines = transcript.read_bytes().splitlines() if transcript.exists() else []
        return any(b'"type":"user"' in line and text.encode() in line for line in lines)

    # The CLI asks for the answer before it writes the question down, and it may write before that
    # which prompt was the last.
    wait_until(is_written, "the prompt is in the transcript", 30)
    return text


def gone_on(claude: Claude, *history: str) -> None:
    """The turn that was cut is gone on with, by one that knows all of this."""
    whole = (*history, GO)
    claude.api.wait_for(lambda r: r.prompts == whole and r.status, f"{whole}", 60)
    settled(claude.crew)


def test_a_cli_is_killed_at_every_stage_of_its_life(claude: Claude) -> None:
    writers = Writers(claude.crew)
    slow = claude.home / "slow"
    # A hook of the person's own, beside ours: as long as it runs the CLI writes nothing down.
    own = {"type": "command", "command": f"while [ -e {slow} ]; do sleep 0.1; done"}
    (claude.home / ".claude").mkdir()
    settings = json.dumps({"hooks": {"UserPromptSubmit": [{"hooks": [own]}]}})
    (claude.home / ".claude/settings.json").write_text(settings)
    up(claude, BOSS)
    crew = claude.crew
    conversation = claude.conversation("boss")

    with replaced(claude) as pid:  # before its first prompt: there is no conversation yet
        faults.kill(pid)
    settled(crew)
    assert "No conversation" not in claude.pane("boss")
    crew("send", "--wait", "boss", "first")
    settled(crew)
    with replaced(claude) as pid:  # at rest
        faults.kill(pid)
    crew("send", "--wait", "boss", "second")
    settled(crew)
    assert said(claude, "boss") == ("first", "second")
    history = ["first", "second"]
    for number in (signal.SIGKILL, signal.SIGTERM):  # in the middle of an answer
        history.append(cut(claude, number.name))
        with replaced(claude) as pid:
            os.kill(pid, number)
        gone_on(claude, *history)
        history.append(GO)
    assert claude.conversation("boss") == conversation

    slow.touch()  # what its hook told of is not written down yet
    crew("send", "boss", "third")
    wait(crew, lambda seen: not seen["messages"], "it is delivered")
    with replaced(claude) as pid:
        faults.kill(pid)
        slow.unlink()
    claude.api.wait_for(lambda r: "third" in r.prompts and r.status, "it is not lost", 60)
    settled(crew)
    assert Counter(said(claude, "boss"))["third"] == 1
    assert said(claude, "boss")[: len(history)] == tuple(history)
    assert writers.starts()[1][0] == "--session-id"
    assert {option for option, _ in writers.starts()[2:]} == {"--resume"}
    assert {each for _, each in writers.starts()} == {conversation}
    assert writers.others() == []


def test_a_transcript_that_is_lost_is_said_aloud(claude: Claude) -> None:
    """By hand, or by a power cut: who starts afresh is told so, and so is the person."""
    up(claude, BOSS + WORKER)
    crew = claude.crew
    for agent in ("boss", "worker-1"):
        # Until the whole turn is written: the CLI is a moment behind itself.
        crew("send", "--wait", agent, "first")
    before = {a["name"]: a for a in settled(crew)["agents"]}
    with (
        replaced(claude, "boss") as boss,
        replaced(claude, "worker-1") as worker,
        # Their files are lost before they are missed; they cannot be stopped: tmux wakes them.
        faults.hanging(crew.supervisor()),
    ):
        for pid in (boss, worker):
            faults.kill(pid)
        Path(before["boss"]["transcript"]).unlink()
        Path(before["worker-1"]["transcript"]).write_bytes(b"")
    wait(crew, lambda seen: all("resumed" in a["detail"] for a in seen["agents"]), "both told", 60)
    after = {a["name"]: a for a in settled(crew)["agents"]}
    # The CLI takes no id for which there is a file.
    assert after["boss"]["conversation"] == before["boss"]["conversation"]
    assert after["worker-1"]["conversation"] != before["worker-1"]["conversation"]
    log = (crew.state / "supervisor.log").read_text()

    def noted() -> bool:
        lines = [line for line in crew("events").stdout.splitlines() if "resumed" in line]
        return all(any(agent in line for line in lines) for agent in before)

    # A status may be told a moment before it is on disk.
    wait_until(noted, "it is in the journal", 30)
    for agent in ("boss", "worker-1"):
        (told,) = said(claude, agent)
        assert "could not be resumed" in told
        assert f"{agent} was started with a fresh conversation" in log
        assert after[agent]["run"] == 2


def test_everything_around_the_clis_is_lost(claude: Claude) -> None:
    """The supervisor, the tmux server, the machine, by a person's will: each in a turn."""
    writers = Writers(claude.crew)
    up(claude, BOSS + WORKER)
    crew = claude.crew
    crew("send", "worker-1", "remember")
    settled(crew)
    first = {a["name"]: a for a in view(crew)["agents"]}

    history = [cut(claude, "supervisor")]
    crew("send", "boss", "waits")
    faults.kill(crew.supervisor())
    claude.api.release("supervisor")
    claude.api.wait_for(lambda r: r.text == "half of it", "the turn goes on by itself")
    settled(crew)
    history.append("waits")
    assert said(claude, "boss") == tuple(history)
    now = {a["name"]: a for a in view(crew)["agents"]}
    assert [now[name]["pid"] for name in first] == [first[name]["pid"] for name in first]

    def hooks() -> Counter[object]:
        told = [e for e in faults.journal(crew, "hook_received") if e["agent"] == "boss"]
        return Counter(e["hook"] for e in told)

    # The end of a turn may be told by something else first, and before it is on disk.
    wait_until(lambda: hooks()["Stop"] == 2, "both ends are told", 30)
    assert hooks()["UserPromptSubmit"] == 2

    history.append(cut(claude, "tmux"))
    crew("send", "boss", "waits too")
    server, worker = view(crew)["server"], first["worker-1"]["pid"]
    os.kill(worker, signal.SIGSTOP)  # this one outlives its terminal
    started = time.monotonic()
    os.kill(server, signal.SIGKILL)
    wait(crew, lambda seen: seen["server"] not in (None, server), "another server")
    history += [GO, "waits too"]
    claude.api.wait_for(lambda r: r.prompts == tuple(history), "what waited, after it", 60)
    settled(crew)
    measured("tmux killed: 2 real CLIs back, and one goes on", time.monotonic() - started, "s")
    assert not alive(worker)

    history.append(cut(claude, "power"))
    crew.kill_all()
    crew.env["CREW_BOOT_ID"] = "00000000-0000-4000-8000-000000000001"
    crew("restore")
    gone_on(claude, *history)
    history += [GO, cut(claude, "restart")]
    crew("restart", "boss")
    gone_on(claude, *history)
    history += [GO, cut(claude, "down")]
    crew("down")
    wait_until(lambda: crew.processes() == [], "nothing is left")
    crew("restore")
    gone_on(claude, *history)

    # Who was at rest was told nothing.
    crew("send", "--wait", "worker-1", "and now")
    settled(crew)
    assert said(claude, "worker-1") == ("remember", "and now")
    last = {a["name"]: a for a in view(crew)["agents"]}
    assert [last[n]["conversation"] for n in first] == [first[n]["conversation"] for n in first]
    assert [option for option, _ in writers.starts()].count("--session-id") == 2
    assert len(writers.starts()) == 2 + 2 + 2 + 1 + 2
    assert writers.others() == []


@pytest.mark.timeout(400)
def test_kills_at_random_instants_of_a_turn(
    claude: Claude, count: Callable[[str, int, int], int]
) -> None:
    """Whatever was sent is in the conversation once, and nothing of it goes missing."""
    rounds = count("kill -9 of a real CLI at a random instant of a turn", 2, 20)
    rng = random.Random(7)
    writers = Writers(claude.crew)
    allowed = '[agents.permissions]\nallow = ["Bash(echo:*)"]\n'
    up(claude, BOSS + allowed)
    crew = claude.crew
    # Before its first words a conversation has no transcript, and another may take its place.
    sent = ["the first"]
    crew("send", "--wait", "boss", *sent)
    for n in range(rounds):
        sent.append(f"{n} [[tool Bash: echo {n}]] [[say: so]] [[sleep 0.2]] [[say: far]]")
        sender = subprocess.Popen(
            [str(CREW), "send", "boss", sent[-1]],
            env=crew.env,
            cwd=crew.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with replaced(claude) as pid:
            end = time.monotonic() + rng.random() * 1.5
            # Not a wait for something: the instant of the kill is what is drawn here.
            while time.monotonic() < end:
                pass
            faults.kill(pid)
        _, err = sender.communicate(timeout=60)
        assert sender.returncode == 0, err
        # So many deaths in a short time would pause the session: a person says that it is well.
        crew("up", "--trust")
        wait(crew, lambda seen: not seen["messages"], "every message is delivered", 90)
        # The newest request has the whole history: of a turn that was cut there may be none.
        sent.append(f"after {n}")
        crew("send", "--wait", "boss", sent[-1])
        settled(crew)
        history = [prompt for prompt in said(claude, "boss") if prompt != GO]
        assert history == sent, f"after round {n}"
    crew("send", "--wait", "boss", "the last")
    settled(crew)
    assert [prompt for prompt in said(claude, "boss") if prompt != GO] == [*sent, "the last"]
    assert len({conversation for _, conversation in writers.starts()}) == 1
    assert len(writers.starts()) == rounds + 1
    assert writers.others() == []
