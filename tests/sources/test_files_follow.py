"""Status files and transcripts of agents: real files, rewritten, cut, replaced and rotated."""

import asyncio
import datetime
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.core.events import StatusFileSeen, TranscriptSeen
from orchestrator.core.state import Process
from orchestrator.core.tokens import Tokens
from orchestrator.core.usage import Usage, total
from orchestrator.sources.files import Files
from orchestrator.sources.transcripts import CHUNK, FIRST, KNOWN, Transcript
from tests.sources.test_files import CLI, Seen, make_spool, me, running, until
from tests.support import end

WRITER = """
import json, sys
path, pid, start = sys.argv[1:]
with open(path, "w+") as file:
    n = 0
    while True:
        # In place, in steps, as the CLI does.
        n += 1
        status = ("busy", "idle")[n % 2]
        entry = {"pid": int(pid), "procStart": start, "status": status, "name": "x" * (n % 700)}
        text = json.dumps(entry)
        file.seek(0); file.truncate(); file.flush()
        file.write(text[:9]); file.flush()
        file.write(text[9:]); file.flush()
"""


def follow(
    files: Files, status: Path | None, transcript: Path | None = None, **more: object
) -> None:
    run = more.get("run", 1)
    process = more.get("process") or me()
    assert isinstance(run, int)
    assert isinstance(process, Process)
    usage = more.get("usage")
    assert isinstance(usage, Usage | None)
    files.follow(
        "w",
        run,
        CLI,
        process=process,
        status_path=status,
        transcript_path=transcript,
        usage=usage,
    )


def write_status(path: Path, status: str, **more: object) -> None:
    ours = me()
    entry = {"pid": ours.pid, "procStart": str(ours.start), "sessionId": "s", "status": status}
    path.write_text(json.dumps({**entry, **more}), encoding="utf-8")


def statuses(seen: Seen) -> list[StatusFileSeen]:
    return [event for event in seen.events if isinstance(event, StatusFileSeen)]


def lines(seen: Seen) -> list[TranscriptSeen]:
    return [event for event in seen.events if isinstance(event, TranscriptSeen)]


def tokens(seen: Seen) -> Tokens:
    return sum((total(event.tokens) for event in lines(seen)), Tokens())


def prompts(seen: Seen) -> list[str]:
    return [prompt for event in lines(seen) for prompt in event.prompts]


def stamp(offset: float = 0.0) -> str:
    return datetime.datetime.fromtimestamp(time.time() + offset, datetime.UTC).isoformat()


def user(text: str, *, age: float = 0.0) -> bytes:
    entry = {"type": "user", "uuid": f"u-{text}", "timestamp": stamp(-age)}
    return json.dumps({**entry, "message": {"role": "user", "content": text}}).encode() + b"\n"


def answer(text: str, given: int, taken: int, *, message: str = "m", age: float = 0.0) -> bytes:
    usage = {"input_tokens": given, "output_tokens": taken}
    content = [{"type": "text", "text": text}]
    inner = {"id": message, "usage": usage, "content": content}
    entry = {"type": "assistant", "uuid": f"a-{text}", "timestamp": stamp(-age), "message": inner}
    return json.dumps(entry).encode() + b"\n"


def append(path: Path, *new: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(new))


# -- status files ---------------------------------------------------------------------------------


async def test_each_change_of_a_status_file_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await files.rescan()
        changed, boot = round(time.time() * 1000) - 2000, time.clock_gettime(time.CLOCK_BOOTTIME)
        write_status(path, "busy", statusUpdatedAt=changed)
        await until(lambda: len(statuses(seen)) == 1, "busy")
        write_status(path, "busy", updatedAt=changed + 5)
        write_status(path, "waiting", waitingFor="permission prompt")
        await until(lambda: len(statuses(seen)) == 2, "waiting")
        assert await files.rescan() == 0
        busy, waiting = statuses(seen)
        assert (busy.status, busy.raw, busy.conversation, busy.run) == ("working", "busy", "s", 1)
        assert busy.at == changed / 1000
        assert boot - busy.mono == pytest.approx(2, abs=1)
        assert (waiting.status, waiting.waiting_for) == ("blocked", "permission prompt")
        assert waiting.at == path.stat().st_mtime


@pytest.mark.parametrize(
    ("written", "version"), [("2.1.329", "2.1.329"), (None, None), ("", None), (2.1, None)]
)
async def test_a_status_file_tells_the_version(
    tmp_path: Path, written: object, version: str | None
) -> None:
    path = tmp_path / "1.json"
    write_status(path, "idle", version=written)
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        [event] = await until(lambda: statuses(seen), "idle")
        assert (event.status, event.version) == ("ready", version)
        # Nothing else is new, and this is.
        write_status(path, "idle", version="2.1.330")
        await until(lambda: [e.version for e in statuses(seen)] == [version, "2.1.330"], "another")


async def test_a_status_file_tells_no_option_for_an_id(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    write_status(path, "idle", sessionId="--dangerously-skip-permissions")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        [event] = await until(lambda: statuses(seen), "idle")
        assert (event.status, event.conversation) == ("ready", None)


async def test_a_status_file_of_another_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        write_status(path, "busy", procStart="1")
        write_status(path, "busy", pid=1)
        await files.rescan()
        assert seen.events == []
        write_status(path, "idle")
        await until(lambda: statuses(seen), "our own")


async def test_an_unknown_status_is_reported_once_and_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    write_status(path, "dreaming")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await until(lambda: seen.reports, "a report")
        await files.rescan()
        assert (len(seen.reports), seen.events) == (1, [])
        assert "'dreaming'" in seen.reports[0]


async def test_a_file_that_does_not_parse_is_never_evidence(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    path.write_text('{"status": "bu', encoding="utf-8")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await files.rescan()
        assert seen.events == []
        write_status(path, "busy")
        await until(lambda: statuses(seen), "the whole file")
        path.write_bytes(b"")
        assert await files.rescan() == 0
        assert len(seen.events) == 1


async def test_a_file_rewritten_in_place_all_the_time_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    ours = me()
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, path, str(ours.pid), str(ours.start)
        )
        try:
            await until(lambda: len(statuses(seen)) > 20, "changes", 30)
        finally:
            end(writer.pid)
            await writer.wait()
        assert {event.raw for event in statuses(seen)} == {"busy", "idle"}
        raws = [event.raw for event in statuses(seen)]
        assert all(one != other for one, other in itertools.pairwise(raws))
        write_status(path, "waiting")
        await until(lambda: statuses(seen)[-1].raw == "waiting", "the last word")
    assert seen.reports == []


async def test_directories_that_come_later_and_go_and_come_again(tmp_path: Path) -> None:
    path = tmp_path / "config" / "a" / "sessions" / "1.json"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await files.rescan()
        assert not (tmp_path / "config").exists()
        for n, status in enumerate(["busy", "idle"]):
            path.parent.mkdir(parents=True)
            write_status(path, status)
            await until(lambda n=n: len(statuses(seen)) == n + 1, status)  # type: ignore[misc] # early binding
            path.unlink()
            path.parent.rmdir()
            path.parent.parent.rmdir()
            (tmp_path / "config").rmdir()
        assert await files.rescan() == 0


async def test_a_configuration_directory_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = tmp_path / "link" / "1.json"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await files.rescan()
        write_status(path, "busy")
        await until(lambda: statuses(seen), "through the link")


async def test_a_directory_that_was_renamed_is_found_by_the_full_look(tmp_path: Path) -> None:
    path = tmp_path / "sessions" / "1.json"
    path.parent.mkdir()
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await files.rescan()
        path.parent.rename(tmp_path / "away")
        path.parent.mkdir()
        write_status(path, "busy")
        assert await files.rescan() == 1
        write_status(path, "idle")
        await until(lambda: len(statuses(seen)) == 2, "a wake-up from the new directory")


async def test_a_new_run_starts_anew_and_an_agent_can_be_left(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    write_status(path, "busy")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await until(lambda: len(statuses(seen)) == 1, "the first run")
        follow(files, path, run=2)
        await until(lambda: len(statuses(seen)) == 2, "the second run")
        assert [event.run for event in statuses(seen)] == [1, 2]
        files.unfollow("w")
        await files.rescan()
        write_status(path, "idle")
        await files.rescan()
        assert len(seen.events) == 2


# -- transcripts ----------------------------------------------------------------------------------


async def test_new_lines_of_a_transcript(tmp_path: Path) -> None:
    path = tmp_path / "projects" / "c.jsonl"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, None, path)
        await files.rescan()
        path.parent.mkdir()
        append(path, user("do it"), answer("well", 100, 5), answer("done", 100, 25))
        await until(lambda: prompts(seen) == ["do it"], "the prompt")
        await until(lambda: lines(seen)[-1].last_words == "done", "last words")
        half, whole = user("x" * 5000)[:40], user("x" * 5000)[40:]
        append(path, answer("more", 10, 1, message="n"), half)
        await until(lambda: lines(seen)[-1].last_words == "more", "more words")
        append(path, whole)
        await until(lambda: prompts(seen) == ["do it", "x" * 2000], "the long prompt")
        assert tokens(seen) == Tokens(input=110, output=26)
        assert await files.rescan() == 0


async def test_history_is_not_news(tmp_path: Path) -> None:
    """A prompt of before must not be taken for the receipt of one that is under way."""
    path = tmp_path / "c.jsonl"
    append(path, user("again", age=1e6), answer("old words", 10, 10, age=1e6))
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, None, path, usage=Usage(since=time.time() - 60))
        await until(lambda: lines(seen), "last words")
        [event] = lines(seen)
        assert (event.prompts, event.last_words, event.tokens) == ((), "old words", {})
        append(path, user("new"))
        await until(lambda: prompts(seen) == ["new"], "news")
        await files.rescan()  # no look of the first run is under way
        follow(files, None, path, run=2)
        append(path, user("newer"))
        await until(lambda: prompts(seen) == ["new", "newer"], "news of the next run")
        assert lines(seen)[-1].run == 2


def test_what_an_earlier_supervisor_digested_is_not_news(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    append(path, user("first", age=60), user("second", age=20))
    event, _ = Transcript("w", "claude", path, time.time() - 40).read(1)
    assert event is not None
    assert event.prompts == ("second",)


async def test_the_transcript_of_an_agent_may_change(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, None, old)
        append(old, user("one"))
        await until(lambda: prompts(seen) == ["one"], "the old one")
        append(new, user("two"))
        follow(files, None, new)
        await until(lambda: prompts(seen) == ["one", "two"], "the new one")
        append(old, user("late"))
        await files.rescan()
        assert prompts(seen) == ["one", "two"]


def test_ten_gigabytes_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)
    append(path, b"\n", answer("last words", 10, 10, age=1e6))
    before, started = psutil.Process().memory_info().rss, time.thread_time()
    transcript = Transcript("w", "claude", path, time.time() - 60)
    more, steps = True, 0
    while more:
        event, more = transcript.read(1)
        steps += 1
    assert event is not None
    assert event.last_words == "last words"
    assert steps <= FIRST / CHUNK + 1
    assert time.thread_time() - started < 1
    assert psutil.Process().memory_info().rss - before < 20 * 1024**2
    append(path, user("go on"))
    event, _ = transcript.read(1)
    assert event is not None
    assert event.prompts == ("go on",)


def test_a_line_without_an_end_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    transcript = Transcript("w", "claude", path, 0.0)
    transcript.read(1)
    append(path, b"x" * (CHUNK + 1000), b"\n", user("next"))
    found, more = [], True
    while more:
        event, more = transcript.read(1)
        found += [event.prompts] if event else []
    assert found == [("next",)]


def cut(path: Path, data: bytes, at: int) -> None:
    """Truncated in place; the lines behind are written again."""
    os.truncate(path, at)
    append(path, data[at:])


def replace(path: Path, data: bytes, at: int) -> None:
    """Another file of the same name, as an editor or a sync tool does it."""
    other = path.with_suffix(".tmp")
    other.write_bytes(data)
    other.rename(path)


def rotate(path: Path, data: bytes, at: int) -> None:
    """Moved away; what follows goes to a new file, with some of the old lines."""
    path.rename(path.with_suffix(".1"))
    path.write_bytes(data[data.rfind(b"\n", 0, at) + 1 :])


@pytest.mark.parametrize("way", [cut, replace, rotate])
async def test_nothing_is_lost_or_twice(
    tmp_path: Path, way: Callable[[Path, bytes, int], None]
) -> None:
    path = tmp_path / "c.jsonl"
    chance = random.Random(7)
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, None, path)
        data = b""
        for n in range(30):
            old = len(data)
            data += user(f"p{n}") + answer(f"w{n}", 1, 1, message=f"m{n}")
            way(path, data, chance.randrange(old)) if n else append(path, data)
            await until(lambda n=n: len(prompts(seen)) > n, f"prompt {n}")  # type: ignore[misc] # early binding
        await files.rescan()
        assert prompts(seen) == [f"p{n}" for n in range(30)]
        assert tokens(seen) == Tokens(input=30, output=30)


def test_a_record_written_on_behind_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    transcript = Transcript("w", "claude", path, 0.0)
    transcript.read(1)
    append(path, user("one"), user("two"))
    transcript.read(1)
    os.truncate(path, path.stat().st_size - 10)
    append(path, user("three"))
    event, _ = transcript.read(1)
    assert event is not None
    assert event.prompts == ("three",)


def test_a_long_transcript_that_is_replaced_tells_nothing_twice(tmp_path: Path) -> None:
    """More lines than are known by identity: their times tell."""
    path = tmp_path / "c.jsonl"
    data = b"".join(user(f"p{n}", age=5000 - n) for n in range(3 * KNOWN))
    transcript = Transcript("w", "claude", path, 0.0)
    transcript.read(1)
    path.write_bytes(data)
    event, _ = transcript.read(1)
    assert event is not None
    assert len(event.prompts) == 3 * KNOWN
    replace(path, data + user("new"), 0)
    event, _ = transcript.read(1)
    assert event is not None
    assert event.prompts == ("new",)


async def test_wake_ups_are_taken_together(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, None, path)
        await files.rescan()
        # The loop is held while the lines are written: one look finds them all.
        for n in range(300):
            append(path, user(f"p{n}"))
        await until(lambda: len(prompts(seen)) == 300, "all lines")
        assert seen.posts <= 3
