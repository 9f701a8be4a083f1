"""Watching itself: edits, what it costs, what it misses, and the limits of the system."""

import asyncio
import contextlib
import json
import logging
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

from orchestrator import procfs
from orchestrator.core.events import FilesEdited
from orchestrator.sources import files as sources
from orchestrator.sources import status_files, watches
from tests.counts import cannot
from tests.sources.test_files import PAYLOADS, Seen, make_spool, put, running, until
from tests.sources.test_files_follow import append, follow, prompts, statuses, user, write_status
from tests.support import end

ROOT = Path(__file__).parents[2]
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")

# A program that takes in hooks until it has as many as it was told, or its input ends.
CHILD = """
import asyncio, json, sys
from pathlib import Path
from orchestrator.sources.files import Files
from tests.support import wait_until

async def main(spool, wanted):
    keys, doubts, reports, done = [], [], [], asyncio.Event()
    def post(events):
        keys.extend(event.key for event in events)
        files.consumed([event.key for event in events])
        if len(keys) >= wanted:
            done.set()
    files = Files(spool, post=post, already=lambda _: set(), report=reports.append,
                  doubt=lambda source, reason: doubts.append(reason))
    await files.start()
    await files.rescan()
    print("ready", flush=True)
    await done.wait()
    if sys.argv[3:]:
        Path(sys.argv[3]).write_text("16")
        await asyncio.to_thread(wait_until, lambda: files._watches._armed, "a watch", 20)
    missed = await files.rescan()
    await files.stop()
    found = {"keys": len(keys), "once": len(set(keys)), "doubts": doubts,
             "reports": reports, "missed": missed}
    print(json.dumps(found), flush=True)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@contextlib.asynccontextmanager
async def child(*argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        yield process
    finally:
        end(process.pid)
        await process.wait()


def _is_stopped(pid: int) -> bool:
    found = procfs.stat(pid)
    return found is not None and found.state == b"T"


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(120):
        return (await process.stdout.readline()).decode().strip()


def edited(seen: Seen) -> list[tuple[str, ...]]:
    return [event.files for event in seen.events if isinstance(event, FilesEdited)]


# -- edits ----------------------------------------------------------------------------------------


async def test_an_edit_is_told_when_the_content_is_another(tmp_path: Path) -> None:
    team, role = tmp_path / "crew.toml", tmp_path / "role.md"
    for path in (team, role):
        path.write_text("one", encoding="utf-8")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        files.watch_edits([str(team), role])
        await files.rescan()
        # As editors do: another file, renamed over it.
        new = tmp_path / "crew.toml~"
        new.write_text("two", encoding="utf-8")
        new.rename(team)
        await until(lambda: edited(seen) == [(str(team),)], "the rename")
        role.write_text("one", encoding="utf-8")
        os.utime(role)
        team.unlink()
        assert await files.rescan() == 0
        team.write_text("two", encoding="utf-8")
        role.write_text("two", encoding="utf-8")
        await until(lambda: edited(seen)[1:] == [(str(role),)], "the real edit")
        files.watch_edits([])
        await files.rescan()
        role.write_text("three", encoding="utf-8")
        await files.rescan()
        assert len(edited(seen)) == 2


async def test_an_edit_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    real, link = tmp_path / "shared" / "crew.toml", tmp_path / "crew.toml"
    real.write_text("one", encoding="utf-8")
    link.symlink_to(real)
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        files.watch_edits([link])
        await files.rescan()
        real.write_text("two", encoding="utf-8")
        await until(lambda: edited(seen) == [(str(link),)], "the edit")


# -- cost -----------------------------------------------------------------------------------------


def switches(threads: list[int]) -> list[int]:
    """How often each of these threads has gone to sleep: it woke up as often."""
    found = []
    for thread in threads:
        text = Path(f"/proc/self/task/{thread}/status").read_text(encoding="ascii")
        found.append(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]))
    return found


async def nobody_wakes(before: set[int | None], meanwhile: Callable[[], None]) -> None:
    """Return after a second in which none of the threads that are newer than `before` wakes up: the
    last of the start is still on its way to sleep, and a timer would come round again in each."""
    threads = [t.native_id for t in threading.enumerate() if t.native_id not in before]
    ours = [thread for thread in threads if thread is not None]
    assert len(ours) > 3
    seen, since = switches(ours), time.monotonic()

    def calm() -> bool:
        nonlocal seen, since
        meanwhile()
        if (now := switches(ours)) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= 1.0

    await until(calm, "a second in which no thread wakes up")


def native_threads() -> set[int | None]:
    return {thread.native_id for thread in threading.enumerate()}


async def test_nothing_runs_while_nothing_happens(tmp_path: Path) -> None:
    before = native_threads()
    async with running(make_spool(tmp_path / "spool")) as (files, _):
        for n in range(5):
            (tmp_path / str(n)).mkdir()
            follow(files, tmp_path / "0" / "1.json", tmp_path / str(n) / "c.jsonl")
        files.watch_edits([tmp_path / "crew.toml"])
        await files.rescan()
        await nobody_wakes(before, lambda: None)


async def test_a_log_that_grows_beside_the_blueprint_wakes_nobody(tmp_path: Path) -> None:
    project, before = tmp_path / "project", native_threads()
    project.mkdir()
    team = project / "crew.toml"
    team.write_text("one")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        files.watch_edits([team])
        await files.rescan()
        with (project / "log").open("a") as log:

            def write() -> None:
                log.write("more\n")
                log.flush()

            await nobody_wakes(before, write)
        with team.open("r+") as editor:
            editor.write("two")
        await until(lambda: edited(seen) == [(str(team),)], "what was written in place, and closed")
        assert await files.rescan() == 0


async def test_files_of_others_do_not_wake_the_loop(tmp_path: Path) -> None:
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, tmp_path / "1.json")
        await files.rescan()
        with patch.object(files, "_take", wraps=files._take) as taken:
            for n in range(100):
                (tmp_path / f"{n + 2}.json").write_text("{}", encoding="utf-8")
            write_status(tmp_path / "1.json", "busy")
            await until(lambda: statuses(seen), "our own file")
            # A file is made, written and closed: three wake-ups at most.
            assert taken.call_count <= 3


# -- what is missed -------------------------------------------------------------------------------


async def test_the_full_look_finds_and_counts_what_was_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not every file system gives what was written in this way another time: it is read anew.
    monkeypatch.setattr(status_files, "SETTLED", 3600.0)
    path = tmp_path / "1.json"
    write_status(path, "busy")
    async with running(make_spool(tmp_path / "spool")) as (files, seen):
        follow(files, path)
        await until(lambda: statuses(seen), "busy")
        # A write through a mapping is one that the kernel tells nobody of.
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            at = data.find(b"busy")
            data[at : at + 4] = b"idle"
            assert await files.rescan() == 1
        assert [event.raw for event in statuses(seen)] == ["busy", "idle"]
        assert await files.rescan() == 0


async def test_a_spool_that_was_made_anew_is_found_by_the_full_look(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    async with running(spool) as (files, seen):
        await files.rescan()
        for n in range(3):
            shutil.rmtree(spool)
            make_spool(spool)
            await files.rescan()
            put(spool, f"w.1.Stop.{n}", PAYLOADS["Stop"])
            await until(lambda n=n: len(seen.hooks()) == n + 1, "a wake-up")  # type: ignore[misc] # early binding


async def test_a_spool_whose_end_is_told_after_the_look_at_the_new_one_is_watched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new directory has the inode of the old one, and watchdog's thread is late."""
    hold = threading.Event()
    hold.set()
    read = InotifyFD.read_events

    def late(self: InotifyFD) -> list[InotifyEvent]:
        found = read(self)
        hold.wait()
        return found

    monkeypatch.setattr(InotifyFD, "read_events", late)
    monkeypatch.setattr(watches, "_identity", lambda path: (1, 1))
    spool = make_spool(tmp_path / "spool")
    async with running(spool) as (files, seen):
        await files.rescan()
        hold.clear()
        shutil.rmtree(spool)
        make_spool(spool)
        await files.rescan()
        hold.set()
        await until(lambda: _marked(spool / "new"), "the new directory is watched")
        put(spool, "w.1.Stop.1", PAYLOADS["Stop"])
        await until(lambda: len(seen.hooks()) == 1, "a wake-up")


def _marked(directory: Path) -> bool:
    """Whether this process watches it, as the kernel says."""
    inode = f"ino:{directory.stat().st_ino:x} "
    for path in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if inode in path.read_text(encoding="ascii"):
                return True
    return False


async def test_what_is_told_while_the_full_look_is_under_way_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How late a busy machine may wake the thread that is told: it is the count that matters here.
    monkeypatch.setattr(sources, "LATE", 5.0)
    spool, path = make_spool(tmp_path / "spool"), tmp_path / "c.jsonl"
    async with running(spool) as (files, seen):
        follow(files, None, path)
        for n in range(20):
            put(spool, f"w.1.Stop.{n}", PAYLOADS["Stop"])
            append(path, user(f"p{n}"))
            assert await files.rescan() == 0
        assert len(seen.hooks()) == 20
        assert len(prompts(seen)) == 20


async def test_an_overflow_is_doubted_and_nothing_is_lost(tmp_path: Path) -> None:
    """More files than the kernel's queue holds, while the reader stands still."""
    count = int(QUEUE.read_text(encoding="ascii")) + 500
    if count > 50_000:
        cannot("the kernel's queue is too long to be filled")
    spool = make_spool(tmp_path / "spool")
    payload = spool / "tmp" / "payload"
    payload.write_bytes(PAYLOADS["Stop"])
    async with child(sys.executable, "-c", CHILD, str(spool), str(count)) as process:
        assert await line_of(process) == "ready"
        os.kill(process.pid, signal.SIGSTOP)
        await until(lambda: _is_stopped(process.pid), "it stands still")
        for n in range(count):
            os.link(payload, spool / "new" / f"w.1.Stop.{n}")
        os.kill(process.pid, signal.SIGCONT)
        found = json.loads(await line_of(process))
    assert found["keys"] == found["once"] == count
    assert found["missed"] == 0
    assert found["doubts"] == ["the kernel's queue of file notifications overflowed"]
    assert list((spool / "new").iterdir()) == []


async def test_the_overflow_handler_is_gone_with_the_source(tmp_path: Path) -> None:
    logger = logging.getLogger("watchdog.observers.inotify_c")
    before, threads = list(logger.handlers), threading.active_count()
    async with running(make_spool(tmp_path)):
        assert len(logger.handlers) == len(before) + 1
    assert logger.handlers == before
    # What is left are the loop's own workers.
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names[threads:] if not name.startswith("asyncio_")]


# -- the limits of the system ---------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
async def test_used_up_limits_are_told_with_their_remedy(tmp_path: Path, limit: str) -> None:
    """In a user namespace of its own, whose limits are ours to set."""
    if shutil.which("unshare") is None:
        cannot("there is no `unshare`")
    spool, file = make_spool(tmp_path / "spool"), f"/proc/sys/user/{limit}"
    script = f'echo 0 >{file} && exec "$@"'
    wrapped = ["unshare", "-Ur", "sh", "-c", script, "sh", sys.executable, "-c", CHILD]
    async with child(*wrapped, str(spool), "2", file) as process:
        if await line_of(process) != "ready":
            cannot("no user namespaces")
        put(spool, "w.1.Stop.1", PAYLOADS["Stop"])
        put(spool, "w.1.Stop.2", PAYLOADS["Stop"])
        found = json.loads(await line_of(process))
    assert (found["once"], found["missed"]) == (2, 0)
    [report] = found["reports"]
    assert f"sysctl fs.inotify.{limit.replace('inotify_', 'user_')}" in report
