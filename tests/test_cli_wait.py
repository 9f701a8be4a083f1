"""`crew send --wait` against every order in which a turn can be told."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.locations import session_paths
from orchestrator.verbs import lines, talk, turns
from tests.cli_support import Ran, crew, over_after, refused
from tests.fake_supervisor import FakeSupervisor, agent, ask

BEFORE = 1_000.0  # long before anything was sent


class Conversation:
    """An agent that takes our message at once. `then` is what happens while it is watched."""

    def __init__(self, fake: FakeSupervisor, path: Path) -> None:
        self.fake = fake
        self.path = path
        self.at = time.time() + 1  # the clock stands still: the message is sent before this
        self.then: list[Callable[[], None]] = []
        self.state: dict[str, Any] = {"since": BEFORE, "transcript": str(path), "dialect": "claude"}
        # Whether nothing more is waited for than what `then` has told.
        self.settles = False
        self._delivered = False
        # The stream of the turn: one that the client has left may go on for a moment.
        self._followed = ""
        self._lock = threading.Lock()
        fake.publish(agents=[agent("boss", **self.state)])
        fake.handlers["send"] = self._send
        fake.streams["watch"] = self._watch

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        """Accepted when it is sent, and delivered by the time that it is asked about."""
        state, self._delivered = "delivered" if self._delivered else "typing", True
        row = {"number": 7, "sender": "person", "state": state, "detail": "", "run": 1}
        return {"message": row}

    def _watch(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._told():
            self._followed = request["id"]
        return self._steps(request)

    def _steps(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        stream = self.fake._watch(request)
        yield next(stream)
        while True:
            with self._lock:
                if self._followed != request["id"] or not self.then:
                    break
                self.then.pop(0)()
            yield next(stream)
        if self.settles and self._followed == request["id"]:
            # Behind all that was told, however late that is read.
            self.settles = False
            turns.SETTLED = 0.1
            self.at += 0.01
            self.tell()
        yield from stream

    def _told(self) -> bool:
        """Whether the client has come to the turn: it asks what there is to follow before."""
        return len(self.fake.asked("status")) > 1

    # -- what can happen ---------------------------------------------------------------------------

    def write(self, kind: str, **fields: Any) -> None:
        self.at += 0.01
        stamp = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        entry = {"type": kind, "uuid": f"u{self.at}", "timestamp": stamp, **fields}
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def prompt(self, text: str = "hi") -> None:
        self.write("user", message={"content": text})

    def says(self, text: str, stop: str | None = None) -> None:
        block = {"type": "text", "text": text}
        self.write("assistant", message={"content": [block], "stop_reason": stop})

    def over(self) -> None:
        self.write("system", subtype="turn_duration")

    def status(self, status: str, **more: Any) -> None:
        """Tell of a status; a new one is of now."""
        if status != self.state.get("status", "ready"):
            self.state["since"] = self.at + 0.001
        self.state = {**self.state, "status": status, "flags": [], "detail": "", **more}
        self.tell()

    def tell(self) -> None:
        self.state["doing"] = str(self.at)  # some change or other
        given = {k: v for k, v in self.state.items() if k != "status"}
        self.fake.publish(agents=[agent("boss", self.state.get("status", "ready"), **given)])


@pytest.fixture
def fake(home: Path, noon: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSupervisor]:
    monkeypatch.chdir(home)
    monkeypatch.setattr(turns, "SETTLED", 600.0)
    monkeypatch.setattr(turns, "QUIET", 600.0)
    with FakeSupervisor(session_paths("demo")) as fake:
        yield fake


@pytest.fixture
def boss(fake: FakeSupervisor, home: Path) -> Conversation:
    return Conversation(fake, home / "t.jsonl")


def wait(*options: str) -> Ran:
    return crew("send", "boss", "hi", "--wait", "--timeout", "60", *options)


def both(*steps: Callable[[], None]) -> Callable[[], None]:
    """Several things before anybody is told of the first."""

    def all_of_them() -> None:
        for step in steps:
            step()

    return all_of_them


def test_a_turn_as_it_is_told_mostly(boss: Conversation) -> None:
    boss.prompt("hi")
    boss.says("history")
    boss.at += 1
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(lambda: boss.says("one"), boss.tell),
        both(lambda: boss.says("two", "end_turn"), boss.over, lambda: boss.status("ready")),
    ]
    ran = wait()
    assert (ran.status, ran.out, ran.err) == (0, "one\n\ntwo\n", "")


def test_a_turn_that_nobody_saw_at_work(boss: Conversation) -> None:
    """It was over before anything was told: the time of the status says so."""
    boss.state["status"] = "working"
    boss.then = [
        both(boss.prompt, lambda: boss.says("quick"), boss.over, lambda: boss.status("ready"))
    ]
    assert wait().out == "quick\n"


def test_a_prompt_that_is_told_before_its_turn(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is still as ready as it was before: nothing is over."""
    boss.then = [both(boss.prompt, boss.tell)]
    over_after(monkeypatch, lambda line: "change" in line and boss.path.exists())
    said = "boss has not finished within 60 s: its turn goes on"
    refused(crew("send", "boss", "hi", "--wait", "--timeout", "60"), 1, said)


def test_a_turn_of_which_the_transcript_alone_tells(boss: Conversation) -> None:
    """No hook and no status file: the status never moves."""
    boss.settles = True
    boss.then = [
        both(boss.prompt, boss.tell),
        both(lambda: boss.says("by itself"), boss.tell, boss.over),
    ]
    ran = wait()
    assert (ran.status, ran.out) == (0, "by itself\n")


def test_nothing_is_ever_heard(boss: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "QUIET", 0.1)
    boss.then = [both(boss.prompt, boss.tell)]
    said = f"boss took message 7, but nothing of its turn is in {boss.path}: look with "
    ran = wait()
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"crew: {said}`crew logs boss`\n"


def test_a_prompt_that_is_not_in_the_transcript(boss: Conversation) -> None:
    boss.settles = True
    boss.then = [boss.tell]
    assert "nothing of its turn is in" in wait().err


def test_last_words_that_come_behind_the_status(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are waited for, and read without being told of."""
    is_over = turns.Answer._is_over

    def looked(self: turns.Answer, agent: Any, *, settled: bool = False) -> bool:
        if settled:
            boss.says("late")
        return is_over(self, agent, settled=settled)

    def ready() -> None:
        turns.SETTLED = 0.1
        boss.status("ready", detail="late")

    monkeypatch.setattr(turns.Answer, "_is_over", looked)
    boss.then = [both(boss.prompt, lambda: boss.status("working")), ready]
    assert wait().out == "late\n"


def test_last_words_that_are_known_from_the_status(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the transcript has no mark of the end, nothing is waited for."""
    monkeypatch.setattr(turns, "SETTLED", 600.0)
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(
            lambda: boss.says("---\n  the   last words\nand more"),
            lambda: boss.status("ready", detail="the last wo…"),
        ),
    ]
    assert wait().out == "---\n  the   last words\nand more\n"


def test_the_next_prompt_ends_a_turn_whose_end_nobody_saw(boss: Conversation) -> None:
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(
            lambda: boss.says("ours"),
            lambda: boss.prompt("another"),
            lambda: boss.says("not ours"),
            boss.tell,
        ),
    ]
    assert wait().out == "ours\n"


def test_a_transcript_that_is_made_anew(boss: Conversation) -> None:
    def anew() -> None:
        text = boss.path.read_text()
        half = boss.path.with_suffix(".half")
        half.write_text(text)
        half.replace(boss.path)

    boss.says("history")
    boss.then = [
        both(boss.prompt, lambda: boss.says("one"), lambda: boss.status("working")),
        both(anew, lambda: boss.says("two"), boss.over, lambda: boss.status("ready")),
    ]
    assert wait().out == "one\n\ntwo\n"


def test_a_conversation_that_begins_elsewhere(boss: Conversation, home: Path) -> None:
    """The path is known with the first hook; a link to the same file is no other one."""
    link = home / "link.jsonl"

    def known() -> None:
        boss.path = home / "other.jsonl"
        boss.prompt()
        boss.says("there")
        boss.status("working", transcript=str(boss.path))

    def linked() -> None:
        link.symlink_to(boss.path)
        boss.says("still there")
        boss.over()
        boss.status("ready", transcript=str(link))

    boss.then = [known, linked]
    assert wait().out == "there\n\nstill there\n"


def test_a_turn_that_goes_on_behind_its_end(boss: Conversation) -> None:
    """A Stop hook of the person's own may send the agent on: it is not ready yet."""
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(lambda: boss.says("one", "end_turn"), boss.over, boss.tell),
        both(lambda: boss.says("two", "end_turn"), boss.over, lambda: boss.status("ready")),
    ]
    assert wait().out == "one\n\ntwo\n"


# -- ends that are none ----------------------------------------------------------------------------


def test_a_status_that_was_taken_for_an_interruption(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Stop hook comes behind the status file, and takes the flag away."""
    monkeypatch.setattr(turns, "SETTLED", 600.0)
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        lambda: boss.status("ready", flags=["interrupted"], detail="interrupted"),
        both(lambda: boss.says("whole"), lambda: boss.status("ready", detail="whole")),
    ]
    assert wait().out == "whole\n"


@pytest.mark.parametrize("begun", [True, False])
def test_an_interruption_that_no_line_tells_of(boss: Conversation, begun: bool) -> None:
    first = boss.prompt if begun else lambda: None
    boss.settles = True
    boss.then = [
        both(first, lambda: boss.status("working")),
        lambda: boss.status("ready", flags=["interrupted"], detail="interrupted"),
    ]
    refused(wait(), 1, "boss had not finished: it was interrupted")


def test_an_old_interruption_is_not_ours(boss: Conversation) -> None:
    boss.state["flags"] = ["interrupted"]
    boss.settles = True
    boss.then = [boss.tell]
    assert "nothing of its turn is in" in wait().err


def test_an_error_that_only_the_hook_tells(boss: Conversation) -> None:
    boss.then = [
        both(boss.prompt, lambda: boss.says("half"), lambda: boss.status("working")),
        lambda: boss.status("ready", detail="error: API Error: 529"),
    ]
    ran = wait("--json")
    assert ran.status == 1
    assert ran.err == "crew: boss ended its turn with an error: API Error: 529\n"
    assert json.loads(ran.out)["answer"] == "half"


def test_words_that_look_like_an_error_are_words(boss: Conversation) -> None:
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(
            lambda: boss.says("error: no such file, you said"),
            lambda: boss.status("ready", detail="error: no such file, you said"),
        ),
    ]
    ran = wait()
    assert (ran.status, ran.out) == (0, "error: no such file, you said\n")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"status": "backoff", "exit": "killed by signal 9"}, "died (killed by signal 9)"),
        ({"status": "failed", "detail": "too many restarts"}, "died (too many restarts)"),
        ({"status": "stopping"}, "was stopped"),
        ({"status": "ready", "run": 2}, "was started again"),
        ({"status": "lost", "detail": "its pane is gone"}, "was lost (its pane is gone)"),
    ],
)
def test_an_agent_that_is_gone(boss: Conversation, change: dict[str, Any], sentence: str) -> None:
    status = change.pop("status")
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(lambda: boss.says("one"), lambda: boss.status(status, **change)),
    ]
    ran = wait()
    assert (ran.status, ran.out) == (1, "one\n")
    assert ran.err == f"crew: boss had not finished: it {sentence}\n"


def test_an_agent_that_had_finished_and_is_gone(boss: Conversation) -> None:
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        both(lambda: boss.says("one"), boss.over, lambda: boss.status("exited")),
    ]
    ran = wait()
    assert (ran.status, ran.out) == (0, "one\n")


def test_an_exit_status_that_is_told_later_is_waited_for(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SETTLED", 600.0)
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        lambda: boss.status("exited", detail="ended; exit status awaited"),
        lambda: boss.status("exited", detail="exit status 3", exit="exit status 3"),
    ]
    refused(wait(), 1, "boss had not finished: it ended (exit status 3)")


def test_an_exit_status_that_is_never_told_is_not_waited_for_long(boss: Conversation) -> None:
    boss.settles = True
    boss.then = [
        both(boss.prompt, lambda: boss.status("working")),
        lambda: boss.status("exited", detail="ended; exit status awaited"),
    ]
    refused(wait(), 1, "boss had not finished: it ended")


def test_an_agent_that_left_the_team(boss: Conversation) -> None:
    boss.then = [boss.prompt, lambda: boss.fake.publish(gone=["boss"])]
    boss.then[0] = both(boss.prompt, lambda: boss.status("working"))
    refused(wait(), 1, "boss had not finished: it is no longer in the team")


# -- what it asks ----------------------------------------------------------------------------------


def test_what_it_asks_is_said_once_and_when_it_is_known(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SETTLED", 600.0)
    vague = {**ask("permission prompt"), "tool": None}
    boss.then = [
        both(boss.prompt, lambda: boss.status("blocked", ask=vague)),
        lambda: boss.status("blocked", ask=ask("Bash: ls", k1="Yes")),
        lambda: boss.status("blocked", ask=ask("Bash: ls", k1="Yes", k2="No")),
        lambda: boss.status("working", ask=None),
        both(lambda: boss.says("done"), boss.over, lambda: boss.status("ready")),
    ]
    ran = wait()
    said = "boss asks permission: Bash: ls; answer with `crew answer boss CHOICE`\n"
    assert (ran.status, ran.out, ran.err) == (0, "done\n", said)


def test_what_never_becomes_clear_is_said_as_it_is(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    vague = {**ask("dialog\nopen"), "tool": None, "kind": "dialog"}

    def asks() -> None:
        turns.SETTLED = 0.1
        boss.status("blocked", ask=vague)

    def noted(text: str) -> None:
        note(text)
        skip()

    note, skip = talk._note, over_after(monkeypatch, lambda _: False)
    monkeypatch.setattr(talk, "_note", noted)
    boss.then = [both(boss.prompt, asks)]
    ran = crew("send", "boss", "hi", "--wait", "--timeout", "60")
    first, second = ran.err.splitlines()
    assert first == "boss asks dialog: dialog open; answer with `crew answer boss CHOICE`"
    assert second == "crew: boss has not finished within 60 s: its turn goes on"


# -- where there is no turn to follow --------------------------------------------------------------


@pytest.mark.parametrize("without", ["transcript", "dialect"])
def test_a_cli_that_tells_of_no_turn(boss: Conversation, without: str) -> None:
    boss.state[without] = None
    boss.tell()
    assert wait().out == "message 7 delivered to boss\n"
    found = json.loads(wait("--json").out)
    assert found == {
        "message": {"number": 7, "state": "delivered", "detail": ""},
        "answer": None,
    }


def test_a_command_to_the_cli(boss: Conversation) -> None:
    ran = crew("send", "boss", "/compact now", "--wait")
    assert ran.out == "message 7 delivered to boss\n"


def test_an_agent_cannot_wait_for_itself(
    boss: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREW_SESSION", "demo")
    monkeypatch.setenv("CREW_AGENT", "boss")
    said = "you are boss: its turn cannot wait for its own end; leave out --wait"
    refused(crew("send", "boss", "hi", "--wait"), 2, said)
    assert not boss.fake.asked("send")


def test_an_unknown_agent_is_sent_nothing(boss: Conversation) -> None:
    sentence = "there is no agent 'nobody' here: there is boss"
    refused(crew("send", "nobody", "hi", "--wait"), 2, sentence)
    assert not boss.fake.asked("send")


# -- the file --------------------------------------------------------------------------------------


def test_only_whole_lines_that_are_new(home: Path) -> None:
    path = home / "f"
    path.write_bytes(b"old\nhalf")
    found = lines.Lines(str(path))
    assert found.read() == []
    with path.open("ab") as file:
        file.write(b" of it\none\ntw")
    assert found.read() == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\n")
    assert found.read() == [b"two"]
    path.write_bytes(b"new\n")
    assert found.read() == [b"new"], "it was cut"


def test_a_file_that_comes_later_is_new_as_a_whole(home: Path) -> None:
    found = lines.Lines(str(home / "f"))
    assert found.read() == []
    (home / "f").write_bytes(b"one\n")
    assert found.read() == [b"one"]
    assert lines.Lines(None).read() == []


def test_a_line_of_many_megabytes(home: Path) -> None:
    path = home / "f"
    found = lines.Lines(str(path))
    path.write_bytes(b"x" * (3 * lines.CHUNK + 5) + b"\nnext\n")
    assert [len(line) for line in found.read()] == [3 * lines.CHUNK + 5, 4]


def test_what_is_no_file_is_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "pipe")
    assert lines.Lines(str(home / "pipe")).read() == []
    assert lines.Lines(str(home)).read() == []
