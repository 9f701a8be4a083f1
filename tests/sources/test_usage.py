"""Where usage is told: the status line through the spool, sub-agents' transcripts, last lines."""

import json
import os
import subprocess
from pathlib import Path

from orchestrator.core.events import AnyEvent, StatusLineSeen, TranscriptSeen
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import Usage, counted, total
from orchestrator.locations import PACKAGE
from orchestrator.sources.files import Files
from tests.sources.test_conversations import answer, append, beside, prompt
from tests.sources.test_files import CLI, Seen, make_spool, me, put, run_hook, running, until

PAYLOAD = json.loads((Path(__file__).parents[1] / "payloads/claude_status_line.json").read_bytes())


def payload(cost: float, **changes: object) -> bytes:
    return json.dumps({**PAYLOAD, "cost": {"total_cost_usd": cost}, **changes}).encode()


def status_lines(seen: Seen) -> list[StatusLineSeen]:
    return [event for event in seen.events if isinstance(event, StatusLineSeen)]


def used(events: list[AnyEvent]) -> Tokens:
    found = (total(e.tokens) for e in events if isinstance(e, TranscriptSeen))
    return sum(found, Tokens())


def follow(files: Files, path: Path, usage: Usage | None = None) -> None:
    files.follow("w", 1, CLI, process=me(), status_path=None, transcript_path=path, usage=usage)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


# -- the status line ------------------------------------------------------------------------------


async def test_the_status_line_comes_through_the_spool(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    async with running(spool) as (files, seen):
        run_hook(spool, "StatusLine", payload(0.25))
        [event] = await until(lambda: status_lines(seen), "the status line")
        assert (event.agent, event.run, event.source) == ("worker-1", 3, "hook")
        assert (event.conversation, event.cost_usd) == (PAYLOAD["session_id"], 0.25)
        assert (event.model, event.answered) == ("claude-opus-5-5", True)
        assert (event.context_used, event.context_size) == (14000, 1_000_000)
        assert event.version == "2.1.329"
        assert seen.reports == []
        # It lies there until it is committed.
        assert len(names(spool / "new")) == 1
        files.consumed([event.key])
        await until(lambda: not names(spool / "new"), "an empty spool")


async def test_a_status_line_that_says_nothing_new_is_no_event(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    first = [
        ("a.1.StatusLine.1", payload(0.1)),
        ("a.1.StatusLine.2", payload(0.1, cwd="/elsewhere")),
        ("a.1.StatusLine.3", payload(0.2)),
        ("b.1.StatusLine.4", payload(0.2)),
        ("a.2.StatusLine.5", payload(0.2)),
        ("a.2.StatusLine.6", payload(0.2, session_id="other")),
        ("a.2.StatusLine.7", payload(0.2, session_id="other")),
    ]
    for n, (name, data) in enumerate(first):
        put(spool, name, data, mtime_ns=10**18 + n)
    async with running(spool) as (files, seen):
        await until(lambda: len(status_lines(seen)) == 5, "what is new")
        told = [(e.agent, e.run, e.cost_usd, e.conversation[:5]) for e in status_lines(seen)]
        assert told == [
            ("a", 1, 0.1, "56705"),
            ("a", 1, 0.2, "56705"),
            ("b", 1, 0.2, "56705"),
            ("a", 2, 0.2, "56705"),
            ("a", 2, 0.2, "other"),
        ]
        files.consumed([event.key for event in seen.events])
        await until(lambda: not names(spool / "new"), "an empty spool")
    assert seen.reports == []


async def test_a_status_line_that_cannot_be_read_is_set_aside_and_said(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    put(spool, "a.1.StatusLine.1", b'{"session_id": "s", "cost": {}}')
    async with running(spool) as (_, seen):
        await until(lambda: seen.reports, "a report")
        assert "total_cost_usd" in seen.reports[0]
        assert names(spool / "bad") == ["a.1.StatusLine.1"]
        assert seen.events == []


def test_the_command_of_the_status_line_tells_and_shows_the_persons_own(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    own = tmp_path / "own"
    own.write_text("grep -o otel-one", encoding="utf-8")
    environ = {"CREW_SPOOL": str(spool), "CREW_AGENT": "w", "CREW_RUN": "1"}
    shown = subprocess.run(
        [PACKAGE / "hooks" / "crew-status-line", own],
        input=payload(0.5),
        capture_output=True,
        check=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], **environ},
    )
    assert shown.stdout == b"otel-one\n"
    [name] = names(spool / "new")
    assert name.startswith("w.1.StatusLine.")
    assert json.loads((spool / "new" / name).read_bytes()) == json.loads(payload(0.5))


# -- sub-agents -----------------------------------------------------------------------------------


async def test_sub_agents_are_counted_when_anything_tells_of_them(tmp_path: Path) -> None:
    spool, path = make_spool(tmp_path / "spool"), tmp_path / "c" / "c.jsonl"
    async with running(spool) as (files, seen):
        follow(files, path)
        append(path, answer("main", 1))
        append(beside(path), answer("sub", 1))
        await until(lambda: used(seen.events) == Tokens(output=2), "both, by the main transcript")
        append(beside(path), answer("sub2", 1))
        put(spool, "w.1.StatusLine.1", payload(0.1))
        await until(lambda: used(seen.events) == Tokens(output=3), "it, by the status line")
        append(beside(path, "agent-2"), answer("other", 1))
        tool = {"hook_event_name": "PreToolUse", "agent_id": "a", "tool_name": "Read"}
        put(spool, "w.1.PreToolUse.2", json.dumps(tool).encode())
        await until(lambda: used(seen.events) == Tokens(output=4), "it, by its hook")
        # Nobody has to tell: the full look finds it, and no notification was missed.
        append(beside(path), answer("sub3", 1))
        assert await files.rescan() == 0
        assert used(seen.events) == Tokens(output=5)


# -- ends -----------------------------------------------------------------------------------------


async def test_the_last_lines_of_an_agent_are_counted_before_it_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        append(path, answer("one", 1))
        follow(files, path)
        await files.settled()
        append(path, answer("two", 1), prompt("last"))
        files.unfollow("w")
        await files.settled()
        assert used(seen.events) == Tokens(output=2)
        # Nobody writes there now, and nobody looks.
        append(path, answer("three", 1))
        await files.rescan()
        assert used(seen.events) == Tokens(output=2)


async def test_an_agent_that_died_unwatched_is_counted_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, answer("one", 1))
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await files.settled()
    usage = Usage()
    for event in seen.events:
        assert isinstance(event, TranscriptSeen)
        assert event.file is not None
        assert event.mark is not None
        usage = counted(usage, event.file, event.mark, event.tokens)
    append(path, answer("two", 1), prompt("late"))
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        files.follow("w", 1, CLI, process=None, status_path=None, transcript_path=path, usage=usage)
        await files.settled()
        assert used(seen.events) == Tokens(output=1)
        assert [e.prompts for e in seen.events if isinstance(e, TranscriptSeen)] == [()]
        assert await files.rescan() == 0
