"""status against a supervisor: one table, and what to do next."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.text import safe_text, width
from orchestrator.locations import session_paths
from orchestrator.verbs import render
from tests.cli_support import crew, known
from tests.fake_supervisor import FakeSupervisor, agent, ask, message

NOW = 1_700_000_000.0
LONG = "reads a very long file and thinks about it for a while " * 5


@pytest.fixture
def cwd(home: Path, noon: float, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    team = (
        agent("boss", "working", doing="tool", role="boss", detail=LONG, queued=2),
        agent("worker-1", "blocked", detail="asks", ask=ask("Run rm?", k1="Yes", k2="No")),
        agent("worker-2", "failed", detail="exit status 1; gave up", pid=None),
        agent("日本", "ready", role="翻訳者", detail="訳した" * 60),
    )
    with FakeSupervisor(session_paths("demo"), *team) as fake:
        yield fake


# -- status ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 200])
def test_status_is_aligned_and_fits(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ran = crew("status")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert max(map(width, lines)) <= columns
    assert lines[0] == "demo is up · 4 agents · 2 need you · in /srv/project"
    rows = lines[2:6]
    assert rows[0].startswith("●  boss      boss    working (tool)  12s")
    assert rows[1].startswith("?  worker-1          blocked         12s  asks")
    assert rows[3].startswith("○  日本      翻訳者  ready           12s  訳した")
    assert rows[0].endswith("…"), "cut to the width"
    assert rows[3].endswith("…")
    ages = {width(row.partition("12s")[0]) for row in rows}
    assert len(ages) == 1, "columns are aligned, wide characters too"


@pytest.mark.parametrize("columns", [80, 99, 100, 200])
def test_what_each_agent_has_used_is_shown_where_there_is_room(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    plain = crew("status").out
    for one, tokens, cost in zip(
        fake.view["agents"], (12_345, 999, 1_250_000, 0), (0.4237, None, 0.001, 0.0), strict=True
    ):
        used = {"input": 0, "output": tokens, "cache_write": 0, "cache_read": 0}
        one["usage"] = {**used, "models": {}, "cost_usd": cost}
    rows = crew("status").out.splitlines()[2:6]
    if columns < render.WIDE:
        assert crew("status").out == plain
        return
    assert max(map(width, rows)) <= columns
    begins = (
        "●  boss      boss    working (tool)  12s  12.3k tok $0.42  reads a very",
        "?  worker-1          blocked         12s  999 tok $?       asks (perm",
        "✗  worker-2          failed          12s  1.2M tok <$0.01  exit status",
        "○  日本      翻訳者  ready           12s                   訳した",
    )
    for row, begin in zip(rows, begins, strict=True):
        assert row.startswith(begin)


def test_of_who_has_used_nothing_nothing_is_shown(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with_nothing = crew("status").out
    for one in fake.view["agents"]:
        del one["usage"]  # as an older supervisor's view is
    assert crew("status").out == with_nothing


def test_status_says_who_needs_a_person_and_what_to_type(fake: FakeSupervisor) -> None:
    fake.publish(messages=[message(7, "boss", "unconfirmed")])
    needs = crew("status").out.split("\n\n")[2].splitlines()
    assert needs == [
        "worker-1 asks (permission): Run rm?",
        "    crew answer worker-1 1    Yes",
        "    crew answer worker-1 2    No",
        "worker-2 failed: exit status 1; gave up",
        "    crew restart worker-2    tries again",
        "message 7 to boss is unconfirmed",
        "    crew attach boss    shows whether it was taken",
    ]


@pytest.mark.parametrize(
    ("tool", "text", "said"),
    [
        ("Read", "Read: /tmp/x", "asks to Read /tmp/x"),
        ("Bash", "Bash: ls -l", "asks to run Bash: ls -l"),
        ("WebFetch", "WebFetch: http://x", "asks to use WebFetch: http://x"),
        ("WebFetch", "WebFetch", "asks to use WebFetch"),
        (None, "Read: /tmp/x", "asks (permission): Read: /tmp/x"),
        ("Read", "May I?", "asks (permission): May I?"),
    ],
)
def test_a_permission_is_told_as_what_is_to_be_done(
    fake: FakeSupervisor, tool: str | None, text: str, said: str
) -> None:
    asked = {**ask(text, k1="Yes"), "tool": tool}
    fake.publish(agents=[agent("worker-1", "blocked", ask=asked, detail="asks permission: x")])
    out = crew("status").out
    assert f"12s  {said}\n" in out, "in the table"
    assert f"\nworker-1 {said}\n    crew answer worker-1 1    Yes\n" in out
    fake.publish(agents=[agent("worker-1", "blocked", ask={**asked, "kind": "question"})])
    assert f"worker-1 asks (question): {text}\n" in crew("status").out


def test_a_dialog_is_told_by_its_name(fake: FakeSupervisor) -> None:
    asked = {**ask("Is it one you trust?", k1="No, exit"), "kind": "dialog", "name": "trust"}
    fake.publish(agents=[agent("worker-1", "blocked", ask=asked, detail="asks: trust: Is it")])
    out = crew("status").out
    assert "12s  asks (trust): Is it one you trust?\n" in out, "in the table"
    assert "\nworker-1 asks (trust): Is it one you trust?\n    crew answer worker-1 1" in out


def test_one_needs_you(fake: FakeSupervisor) -> None:
    fake.publish(agents=[agent("worker-2")])
    assert crew("status").out.startswith("demo is up · 4 agents · 1 needs you · in /srv/project\n")
    fake.publish(agents=[agent("worker-1")])
    assert crew("status").out.startswith("demo is up · 4 agents · in /srv/project\n")


def test_what_comes_next_and_why_a_message_waits(fake: FakeSupervisor) -> None:
    now = time.time()
    fake.publish(
        agents=[
            agent("worker-1", "backoff", detail="exit status 3", restart_at=now + 3.9),
            agent("worker-2", "limited", detail="rate limit", limited_until=now + 130),
            agent("boss", queued=2, held="somebody is typing there"),
        ]
    )
    out = crew("status").out
    assert "12s  exit status 3 · starts again in 3s\n" in out
    assert "12s  rate limit · its limit ends in 2m\n" in out
    assert "12s  2 queued: somebody is typing there\n" in out


def test_a_supervisor_that_came_back_is_news_for_a_minute(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    def first(since: float) -> str:
        fake.publish(supervisor={"pid": 1, "since": time.time() - since})
        return crew("status").out.splitlines()[0]

    assert first(3).endswith(" · supervisor restarted 3s ago")
    assert "restarted" not in first(70)
    assert "restarted" not in first(14), "it was there before the agents' last changes"


def test_a_session_that_is_down_ends_with_what_to_type(fake: FakeSupervisor) -> None:
    team = [
        agent("boss", "stopped", detail="exit status 143", flags=["interrupted"]),
        agent("worker-1", "failed", detail="gave up"),
        agent("worker-2", "stopped"),
        agent("日本", "stopped"),
    ]
    fake.publish(state="down", agents=team, messages=[message(7, "boss", "unconfirmed")])
    lines = crew("status").out.splitlines()
    assert lines[0] == "demo is down · 4 agents · in /srv/project"
    assert [line.split()[-2:] for line in lines[2:6]] == [
        ["stopped", "12s"],
        ["failed", "12s"],
        ["stopped", "12s"],
        ["stopped", "12s"],
    ]
    assert lines[6:] == [
        "",
        "    crew restore                              with their conversations",
        "    crew up /srv/project/crew.toml -s demo    afresh",
    ]
    known("other", "down")
    assert "    crew restore demo " in crew("status", "-s", "demo").out


def test_a_dialog_without_known_options_is_looked_at(fake: FakeSupervisor) -> None:
    fake.publish(agents=[agent("worker-1", "blocked", ask=ask("What now?"))])
    assert "worker-1 asks (permission): What now?\n    crew attach worker-1" in crew("status").out


def test_an_option_cannot_smuggle_a_command(fake: FakeSupervisor) -> None:
    options = [{"key": "1; rm -rf ~", "label": "\x1b]0;x\x07No"}]
    fake.publish(agents=[agent("worker-1", "blocked", ask={**ask("?"), "options": options})])
    assert "crew answer worker-1 '1; rm -rf ~'    No" in crew("status").out


def test_status_says_what_is_wrong_with_the_session(fake: FakeSupervisor) -> None:
    fake.publish(
        state="paused",
        edited=["/srv/project/crew.toml"],
        missed_events=3,
        health={"storage": "the disk is full"},
    )
    assert crew("status").out.splitlines()[1:5] == [
        "! the disk is full",
        "! too many restarts: nothing is started again; `crew up` goes on",
        "! edited since `crew up`: /srv/project/crew.toml; `crew up` applies it",
        "! 3 change(s) were noticed late, by the audit",
    ]


def test_json_is_the_view_in_ascii(fake: FakeSupervisor) -> None:
    fake.publish(agents=[agent("boss", detail="\u202e\x9b31m")])
    ran = crew("status", "--json")
    assert json.loads(ran.out) == fake.view
    assert ran.out.isascii()


def test_colour_is_for_terminals_alone(fake: FakeSupervisor) -> None:
    assert "\x1b" not in crew("status").out
    assert "\x1b[31m" in "\n".join(render.agent_lines(fake.view, 80, time.time()))


def test_agent_text_reaches_no_terminal(fake: FakeSupervisor) -> None:
    evil = "\x1b]52;c;x\x07\x1b[2J\u202e\x9b\u200bevil\nline"
    fake.publish(
        root=evil,
        health={"storage": evil},
        agents=[
            agent("boss", "blocked", role=evil, detail=evil, ask=ask(evil, k1=evil)),
            agent("worker-2", "failed", detail=evil),
        ],
    )
    fake.handlers["logs"] = lambda _: {"text": evil}
    fake.handlers["why"] = lambda _: {"why": {evil: evil, "said": {evil: {"text": evil}}}}
    fake.streams["events"] = lambda _: iter(
        [{"event": {"seq": 1, "kind": evil, "agent": evil, "source": evil, "x": evil}}]
    )
    for arguments in (["status"], ["logs", "boss"], ["why", "boss"], ["ls"]):
        ran = crew(*arguments)
        assert ran.status == 0
        assert ran.out.replace("\n", "").isprintable(), arguments


AGENT = st.builds(
    agent,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", fullmatch=True),
    st.sampled_from([*render.LOOKS, "unheard-of"]),
    role=st.text(max_size=70),
    detail=st.text(max_size=200),
    doing=st.sampled_from([None, "tool", "background"]),
    flags=st.lists(st.sampled_from(["stalled", "disagreement"]), unique=True),
    queued=st.integers(0, 3),
)


@given(st.lists(AGENT, max_size=4), st.sampled_from([80, 100, 200]))
def test_any_team_fits_and_is_one_line_each(agents: list[dict[str, Any]], columns: int) -> None:
    lines = render.agent_lines({"agents": agents}, columns, time.time())
    assert len(lines) == len(agents)
    for line, one in zip(lines, agents, strict=True):
        assert one["name"] in line, "a name is what is typed: never cut"
        plain = line.removesuffix("\x1b[0m").partition("m")[2] if "\x1b" in line else line
        assert width(plain) <= columns
        assert safe_text(plain) == plain
