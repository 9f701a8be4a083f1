"""why: a sentence, what each source said, and what comes next."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator import start
from orchestrator.core.state import Source, World
from orchestrator.core.text import width
from orchestrator.locations import session_paths
from orchestrator.verbs import journal
from orchestrator.verbs import reasons as render_why
from tests.cli_support import crew, ended, launched, record, refused
from tests.fake_supervisor import FakeSupervisor, agent, ask


@pytest.fixture
def cwd(home: Path, noon: float, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(session_paths("demo"), agent("boss"), agent("worker-1")) as fake:
        yield fake


@pytest.fixture
def world(cwd: Path) -> World:
    return launched(cwd)


def reasons(**more: Any) -> dict[str, Any]:
    now = time.time()
    return {
        "agent": "boss",
        "status": "ready",
        "doing": None,
        "detail": "Done.",
        "since": now - 65,
        "flags": ["interrupted"],
        "evidence": {"kind": "status_file_seen", "source": "status", "at": now - 65},
        "said": {
            "screen": {"text": "nothing known", "at": now - 5},
            "hook": {"text": "Stop", "at": now - 66},
        },
        "next": ["working"],
        "deadlines": [],
        **more,
    }


def test_why_is_a_sentence_then_a_table(fake: FakeSupervisor) -> None:
    told = reasons()
    fake.handlers["why"] = lambda _: {"why": told}
    fake.publish(agents=[agent("boss", queued=1, held="somebody is typing there")])
    clock = [
        time.strftime("%H:%M:%S", time.localtime(at))
        for at in (told["since"], told["since"] - 1, told["since"] + 60)
    ]
    assert crew("why", "boss").out.splitlines() == [
        f"boss is ready since {clock[0]} (1m): its status file says so.",
        "  Done.",
        "  its turn was interrupted",
        "",
        "SOURCE      LAST SAID      WHEN",
        f"its hooks   Stop           {clock[1]} (1m ago)",
        f"its screen  nothing known  {clock[2]} (5s ago)",
        "",
        "1 queued: somebody is typing there",
        "what would change it: a prompt, from a message or typed in its pane",
    ]
    assert json.loads(crew("why", "boss", "--json").out) == told


def test_why_says_what_comes_next_and_what_is_asked(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = {"kind": "process_exited", "source": "process", "at": 0.0}
    fake.handlers["why"] = lambda _: {
        "why": reasons(status="backoff", detail="exit status 3", flags=[], said={}, evidence=ended)
    }
    fake.publish(agents=[agent("boss", "backoff", restart_at=time.time() + 3.9)])
    lines = crew("why", "boss").out.splitlines()
    assert lines[0].startswith("boss is backoff since ")
    assert lines[0].endswith("(1m): its process ended.")
    change = "what would change it: the time of its next start, or `restart`"
    assert lines[1:] == ["  exit status 3", "", "starts again in 3s", change]
    permission = ask("Read: /tmp/x", k1="Yes") | {"tool": "Read"}
    fake.publish(agents=[agent("boss", "blocked", ask=permission)])
    fake.handlers["why"] = lambda _: {"why": reasons(detail="asks permission: Read: /tmp/x")}
    assert crew("why", "boss").out.splitlines()[1] == "  asks to Read /tmp/x"
    monkeypatch.setenv("COLUMNS", "50")
    long = {"hook": {"text": "word " * 40, "at": time.time()}}
    fake.handlers["why"] = lambda _: {"why": reasons(said=long)}
    lines = crew("why", "boss").out.splitlines()
    row = next(line for line in lines if line.startswith("its hooks"))
    assert row.endswith("s ago)"), "what it said is cut, not when"
    assert width(row) <= 50


def test_why_of_a_session_that_is_down_starts_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = record(ended(world))
    monkeypatch.setattr(start, "supervisor_argv", lambda _: ["/no/such/program"])
    ran = crew("why", "boss")
    assert ran.err == ""
    assert ran.out.startswith("boss is stopped since ")
    assert "`crew down` ended the session" in ran.out
    assert json.loads(crew("why", "boss", "--json").out)["status"] == "stopped"
    refused(
        crew("why", "nobody"),
        2,
        "there is no agent 'nobody' here: there is boss, worker-1, worker-2",
    )
    assert not paths.socket.exists()


def test_every_kind_of_evidence_has_a_reason() -> None:
    """Those that never are evidence say who says so: no sentence lacks its end."""
    for kind in journal.KINDS:
        for source in get_args(Source):
            evidence = {"kind": kind, "source": source, "at": 0.0}
            said = render_why.sentence({**reasons(), "evidence": evidence}, time.time())
            assert re.fullmatch(r"boss is ready since \S+ \(1m\): [^:]+\.", said), said
