"""send, answer, interrupt, restart, stop: what is asked for, and what is said of it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.locations import session_paths
from orchestrator.verbs import talk
from tests.cli_support import crew, over_after, refused
from tests.fake_supervisor import FakeSupervisor, agent, ask, message


class Outbox:
    """The fake's one message. `then` is what becomes of it once it was accepted."""

    def __init__(
        self, fake: FakeSupervisor, state: str, detail: str, *then: dict[str, Any]
    ) -> None:
        self.fake = fake
        self.row = message(7, "boss", state, detail)
        self.then = list(then)
        self.accepted: set[str] = set()
        fake.handlers["send"] = self.send
        fake.streams["watch"] = self.watch

    def send(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["id"] not in self.accepted:
            self.accepted.add(request["id"])
            self.fake.publish(messages=[self.row])
        return {"message": {k: self.row[k] for k in ("number", "state", "detail")}}

    def watch(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """As it goes on while somebody watches."""
        stream = self.fake._watch(request)
        yield next(stream)
        for change in self.then:
            self.row = {**self.row, **change}
            over = self.row["state"] in ("delivered", "abandoned")
            self.fake.publish(messages=[] if over else [self.row])
            yield next(stream)
        yield from stream


@pytest.fixture
def fake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSupervisor]:
    monkeypatch.chdir(home)
    monkeypatch.setattr(talk, "RECEIPT", 20.0)
    asking = agent("worker-1", "blocked", ask=ask("Run rm?", k1="Yes", k2="No"))
    with FakeSupervisor(session_paths("demo"), agent("boss"), asking) as fake:
        yield fake


# -- send ------------------------------------------------------------------------------------------


def test_a_receipt_that_comes_soon_is_waited_for(fake: FakeSupervisor) -> None:
    outbox = Outbox(fake, "typing", "being typed", {"state": "delivered", "detail": ""})
    assert crew("send", "boss", "hi").out == "message 7 delivered to boss\n"
    assert len(outbox.accepted) == 1, "asked about under its own id, not sent again"
    assert fake.asked("send")[0]["text"] == "hi"


def test_a_receipt_that_does_not_come_soon(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "RECEIPT", 0.3)
    Outbox(fake, "typing", "being typed")
    ran = crew("send", "boss", "hi")
    said = "message 7 typed; boss has not confirmed it yet"
    assert (ran.status, ran.out) == (0, f"{said}\n")
    refused(crew("send", "boss", "hi", "--wait", "--timeout", "0.2"), 1, said)


def test_a_busy_agent_is_not_waited_for(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "RECEIPT", 600)
    fake.publish(agents=[agent("boss", "working")])
    Outbox(fake, "queued", "boss is working; typed when it is ready")
    ran = crew("send", "boss", "hi")
    assert ran.out == "message 7 to boss is queued: boss is working; typed when it is ready\n"
    assert ran.status == 0


def test_wait_waits_through_everything(fake: FakeSupervisor) -> None:
    fake.publish(agents=[agent("boss", "working")])
    Outbox(
        fake,
        "queued",
        "boss is working",
        {"state": "typing"},
        {"state": "queued", "detail": "a draft stands in the pane"},
        {"state": "typing"},
        {"state": "delivered"},
    )
    assert crew("send", "boss", "hi", "--wait").out == "message 7 delivered to boss\n"


def test_wait_says_once_why_it_waits(fake: FakeSupervisor) -> None:
    fake.publish(agents=[agent("boss", "working")])
    why = "boss is working; typed when it is ready"
    Outbox(fake, "queued", why, {"detail": why}, {"state": "typing"}, {"state": "delivered"})
    ran = crew("send", "boss", "hi", "--wait")
    assert ran.err == f"message 7 to boss is queued: {why}\n"
    assert ran.out == "message 7 delivered to boss\n"


def test_wait_says_what_is_asked_meanwhile(fake: FakeSupervisor) -> None:
    Outbox(fake, "queued", "worker-1 waits for an answer", {"state": "delivered"})
    ran = crew("send", "worker-1", "hi", "--wait")
    assert ran.err.splitlines() == [
        "message 7 to worker-1 is queued: worker-1 waits for an answer",
        "worker-1 asks permission: Run rm?; answer with `crew answer worker-1 CHOICE`",
    ]


def test_wait_has_a_bound(fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    Outbox(fake, "queued", "boss is working", {"detail": "a draft stands in the pane"})
    over_after(monkeypatch, lambda line: "change" in line)
    refused(
        crew("send", "boss", "hi", "--wait", "--timeout", "60"),
        1,
        "message 7 to boss is not delivered yet: a draft stands in the pane",
    )


def test_unconfirmed_is_a_failure(fake: FakeSupervisor) -> None:
    Outbox(fake, "typing", "", {"state": "unconfirmed", "detail": "no receipt came"})
    refused(
        crew("send", "boss", "hi"),
        1,
        "message 7 was typed, but boss has not confirmed it: look at its pane "
        "(`crew attach boss`) before sending it again",
    )


def test_given_up_is_a_failure(fake: FakeSupervisor) -> None:
    Outbox(fake, "queued", "", {"state": "abandoned", "detail": "its agent is gone"})
    refused(crew("send", "boss", "hi"), 1, "message 7 to boss was given up: its agent is gone")


def test_an_end_that_is_on_disk_a_moment_later_is_waited_for(fake: FakeSupervisor) -> None:
    """The view is told before the commit: the outbox may still say `typing` when it is asked."""
    outbox = Outbox(fake, "typing", "being typed", {"state": "delivered"})
    answers = iter(["typing", "typing", "typing", "delivered"])

    def send(request: dict[str, Any]) -> dict[str, Any]:
        return {"message": {**outbox.send(request)["message"], "state": next(answers)}}

    fake.handlers["send"] = send
    assert crew("send", "boss", "hi").out == "message 7 delivered to boss\n"


def test_a_broken_connection_sends_once(fake: FakeSupervisor) -> None:
    outbox = Outbox(fake, "delivered", "")
    fake.breaks = 2
    assert crew("send", "boss", "hi").out == "message 7 delivered to boss\n"
    assert len(fake.asked("send")) == 3
    assert len(outbox.accepted) == 1


def test_text_from_standard_input(fake: FakeSupervisor) -> None:
    Outbox(fake, "delivered", "")
    crew("send", "boss", "-", stdin=b"line one\n\xffline two\n\n")
    assert fake.asked("send")[0]["text"] == "line one\n�line two"


def test_words_are_joined(fake: FakeSupervisor) -> None:
    Outbox(fake, "delivered", "")
    crew("send", "boss", "look", "at", "caf\udce9", "-", "and  this")
    assert fake.asked("send")[0]["text"] == "look at caf� - and  this"


def test_text_that_is_not_unicode(fake: FakeSupervisor) -> None:
    Outbox(fake, "delivered", "")
    crew("send", "boss", "caf\udce9")
    assert fake.asked("send")[0]["text"] == "caf�"


@pytest.mark.parametrize(("text", "stdin"), [("", b""), ("  ", b""), ("-", b""), ("-", b"\n\n")])
def test_nothing_to_send(fake: FakeSupervisor, text: str, stdin: bytes) -> None:
    refused(
        crew("send", "boss", text, stdin=stdin), 2, "there is nothing to send: the text is empty"
    )


def test_a_shell_command_must_be_meant(fake: FakeSupervisor) -> None:
    Outbox(fake, "delivered", "")
    refused(
        crew("send", "boss", "!ls"),
        2,
        "agents run a text that starts with `!` as a shell command: add --shell if you mean it",
    )
    assert crew("send", "boss", "\u200b!ls").status == 2, "what cannot be seen is not typed"
    assert not fake.asked("send")
    assert crew("send", "boss", "!ls", "--shell").status == 0


def test_send_for_scripts(fake: FakeSupervisor) -> None:
    Outbox(fake, "typing", "", {"state": "delivered"})
    ran = crew("send", "boss", "hi", "--json")
    assert json.loads(ran.out) == {"number": 7, "state": "delivered", "detail": ""}
    Outbox(fake, "typing", "", {"state": "unconfirmed"})
    ran = crew("send", "boss", "hi", "--json")
    assert json.loads(ran.out)["state"] == "unconfirmed"
    assert ran.status == 1


def test_an_unknown_agent(fake: FakeSupervisor) -> None:
    sentence = "there is no agent 'nobody' here: there is boss, worker-1"
    fake.handlers["send"] = lambda _: {"exit": 2, "error": sentence}
    refused(crew("send", "nobody", "hi"), 2, sentence)


# -- answer ----------------------------------------------------------------------------------------


def test_an_answer_is_bound_to_what_is_asked(fake: FakeSupervisor) -> None:
    fake.handlers["answer"] = lambda _: {"choice": "1", "label": "Yes"}
    ran = crew("answer", "worker-1", "1")
    assert ran.out == "answered worker-1: Yes\n"
    (asked,) = fake.asked("answer")
    assert (asked["agent"], asked["choice"], asked["asked"]) == ("worker-1", "1", "Run rm?")
    assert (asked["hook"], asked["reason"]) == (None, None)


def test_an_answer_is_bound_to_the_hook_that_told_of_it(fake: FakeSupervisor) -> None:
    asked = {**ask("Run rm?", k1="Yes", k2="No"), "hook": "hook:worker-1.3.PermissionRequest.9:1"}
    fake.publish(agents=[agent("worker-1", "blocked", ask=asked)])
    fake.handlers["answer"] = lambda _: {"choice": "no", "label": "No"}
    ran = crew("answer", "worker-1", "no", "--because", "not now")
    assert ran.out == "answered worker-1: No\n"
    (sent,) = fake.asked("answer")
    assert (sent["hook"], sent["reason"]) == (asked["hook"], "not now")


def test_an_answer_to_nobody(fake: FakeSupervisor) -> None:
    refused(
        crew("answer", "nobody", "1"),
        2,
        "there is no agent 'nobody' here: there is boss, worker-1",
    )
    refused(crew("answer", "boss", "1"), 1, "boss asks nothing now: `crew status` shows who does")
    assert not fake.asked("answer")


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("2", "2"),
        ("no", "no"),
        ("n", "n"),
        ("N", "N"),
        ("y", "yes"),
        ("Y", "yes"),
        ("always", "always"),
    ],
)
def test_an_answer_in_few_letters(fake: FakeSupervisor, typed: str, sent: str) -> None:
    asked = ask("Run rm?", k1="Yes", k3="Yes, and don't ask again", k2="No")
    fake.publish(agents=[agent("worker-1", "blocked", ask=asked)])
    fake.handlers["answer"] = lambda _: {"label": "Whatever it is"}
    assert crew("answer", "worker-1", typed).out == "answered worker-1: Whatever it is\n"
    assert fake.asked("answer")[0]["choice"] == sent


def test_an_answer_in_own_words_is_none_of_the_labels(fake: FakeSupervisor) -> None:
    fake.handlers["answer"] = lambda request: {"choice": request["choice"], "label": None}
    assert crew("answer", "worker-1", "neither").out == "answered worker-1: neither\n"


def test_a_choice_that_is_none_is_the_users_mistake(fake: FakeSupervisor) -> None:
    sentence = "'maybe' is no choice of worker-1's: 1 (Yes), 2 (No)"
    fake.handlers["answer"] = lambda _: {"exit": 2, "error": sentence}
    refused(crew("answer", "worker-1", "maybe"), 2, sentence)


def test_an_answer_that_comes_too_late(fake: FakeSupervisor) -> None:
    sentence = "worker-1 asks something else now: Run ls?"
    fake.handlers["answer"] = lambda _: {"exit": 1, "error": sentence}
    refused(crew("answer", "worker-1", "1"), 1, sentence)


def test_an_interruption_is_over_when_the_status_says_so(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "CALM", 600.0)
    note = "in its input line stands: \x1b[1mmy own"
    fake.publish(agents=[agent("boss", "working")])
    fake.handlers["interrupt"] = lambda _: {"note": note}
    ready = threading.Timer(0.05, lambda: fake.publish(agents=[agent("boss", "ready")]))
    ready.start()
    ran = crew("interrupt", "boss")
    ready.join()
    assert ran.out == "boss was interrupted: in its input line stands: my own\n"


def test_an_interruption_after_which_it_works_again(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_after(monkeypatch, lambda line: "view" in line)
    fake.publish(agents=[agent("boss", "working")])
    assert crew("interrupt", "boss").out == "boss was interrupted, and is working again\n"


# -- interrupt, restart, stop ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("interrupt", "boss was interrupted\n"),
        ("restart", "boss is being restarted\n"),
        ("stop", "boss is being stopped\n"),
    ],
)
def test_one_agent(fake: FakeSupervisor, verb: str, said: str) -> None:
    ran = crew(verb, "boss")
    assert (ran.status, ran.out, ran.err) == (0, said, "")
    assert fake.asked(verb)[0]["agent"] == "boss"
