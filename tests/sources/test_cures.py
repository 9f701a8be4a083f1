"""What was cut is named as long as it lasts, and taken up again by itself."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.core.events import StatusFileGone, StatusFileSeen
from orchestrator.sources import watches
from orchestrator.sources.files import Files
from orchestrator.sources.ptys import Screens, Terminals
from tests.sources.test_files import HOOK, PAYLOADS, Seen, make_spool, put, run_hook, until
from tests.sources.test_files_follow import follow, write_status
from tests.sources.test_ptys import Heard, Pty

LIMIT = OSError(errno.EMFILE, "no inotify instances")


@asynccontextmanager
async def told(spool: Path) -> AsyncIterator[tuple[Files, Seen, list[str | None]]]:
    """The source, what it told, and what it told to be wrong."""
    seen, wrong = Seen(), list[str | None]()
    files = Files(
        spool,
        post=seen.post,
        already=lambda _: set(),
        report=pytest.fail,
        doubt=lambda source, reason: seen.doubts.append(f"{source}: {reason}"),
        wrong=wrong.append,
    )
    await files.start()
    try:
        yield files, seen, wrong
    finally:
        await files.stop()


# -- directories ----------------------------------------------------------------------------------


async def test_what_cannot_be_watched_is_named_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LIMIT

    spool, path = make_spool(tmp_path / "spool"), tmp_path / "1.json"
    async with told(spool) as (files, seen, wrong):
        await files.rescan()
        for lost in range(1, 3):
            with monkeypatch.context() as patched:
                patched.setattr(watches.Watches, "_watch", refuse)
                shutil.rmtree(spool)
                make_spool(spool)
                await files.rescan()
                await until(lambda n=lost: len(wrong) == 2 * n - 1, "it is named")  # type: ignore[misc] # early binding
                # By the clock, meanwhile.
                put(spool, f"w.1.Stop.{lost}", PAYLOADS["Stop"])
                await until(lambda n=lost: len(seen.hooks()) == n, "the hook")  # type: ignore[misc] # early binding
            await until(lambda n=lost: len(wrong) == 2 * n, "it is watched again")  # type: ignore[misc] # early binding
        follow(files, path)
        write_status(path, "busy")
        await until(lambda: len(seen.events) == 3, "the status")
    assert wrong[1] is wrong[3] is None
    assert wrong[0] == wrong[2]
    assert "max_user_instances" in str(wrong[0])


# -- the spool ------------------------------------------------------------------------------------


async def test_a_spool_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    async with told(spool) as (_, seen, wrong):
        shutil.rmtree(spool)
        await until((spool / "bad").is_dir, "it is there again")
        assert (spool / "new").stat().st_mode & 0o777 == 0o700
        await asyncio.to_thread(run_hook, spool, "Stop", PAYLOADS["Stop"])
        await until(lambda: len(seen.hooks()) == 1, "the hook")
    assert wrong == []


@pytest.mark.parametrize("part", ["tmp", "new"])
def test_the_hook_makes_a_part_of_the_spool_anew(tmp_path: Path, part: str) -> None:
    spool = make_spool(tmp_path)
    (spool / part).rmdir()
    done = run_hook(spool, "Stop", PAYLOADS["Stop"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [file] = (spool / "new").iterdir()
    assert file.read_bytes() == PAYLOADS["Stop"]
    assert (spool / part).stat().st_mode & 0o777 == 0o700
    assert os.access(HOOK, os.X_OK)


async def test_a_full_look_makes_parts_anew(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    async with told(spool) as (files, _, wrong):
        (spool / "tmp").rmdir()
        await files.rescan()
        assert (spool / "tmp").is_dir()
    assert wrong == []


async def test_a_spool_that_hooks_cannot_write_is_named_until_they_can(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    async with told(spool) as (files, _, wrong):
        (spool / "tmp").rmdir()
        (spool / "tmp").touch()
        await files.rescan()
        assert wrong == [f"{spool / 'tmp'} cannot be written: what the agents' hooks tell is lost"]
        await files.rescan()
        (spool / "tmp").unlink()
        (spool / "tmp").mkdir()
        # By itself: no look is asked for.
        await until(lambda: wrong[1:] == [None], "nothing is wrong")


# -- status files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
async def test_a_status_file_that_goes_is_told_and_the_next_is_news(
    tmp_path: Path, whole: bool
) -> None:
    """`whole`: its directory goes, and no other can be made there for a while."""
    path = tmp_path / "sessions" / "1.json"
    path.parent.mkdir()
    async with told(make_spool(tmp_path / "spool")) as (files, seen, _):
        follow(files, path)
        await files.rescan()
        assert seen.events == [], "before the first there is nothing to miss"
        for number in range(1, 3):
            write_status(path, "idle")
            await until(lambda n=number: len(seen.events) == 2 * n - 1, "idle")  # type: ignore[misc] # early binding
            path.unlink()
            if whole:
                path.parent.rmdir()
                path.parent.touch()
            await until(lambda n=number: len(seen.events) == 2 * n, "gone")  # type: ignore[misc] # early binding
            await files.rescan()
            if whole:
                path.parent.unlink()
                path.parent.mkdir()
        kinds = [type(event) for event in seen.events]
    assert kinds == [StatusFileSeen, StatusFileGone] * 2


# -- terminals ------------------------------------------------------------------------------------


class Limited(Terminals):
    """Terminals of a system that may have no watch left."""

    left = False

    def _open(self):  # type: ignore[no-untyped-def] # as in the base
        if not self.left:
            raise LIMIT
        return super()._open()


async def test_terminals_that_are_watched_again_are_told() -> None:
    reports, restored, ptys = list[str](), list[str](), [Pty(), Pty()]

    def on_write(agent: str) -> None:
        terminals.arm(agent, ptys[int(agent)].path)

    loop = asyncio.get_running_loop()
    terminals = Limited(loop, on_write, reports.append, lambda: restored.append("restored"))
    for agent in "01":
        terminals.arm(agent, ptys[int(agent)].path)
    assert (len(reports), restored) == (1, [])
    # One is not of interest any more; for the other there is a watch.
    terminals.disarm("0")
    assert restored == []
    terminals.left = True
    await until(lambda: restored, "the last one is watched")
    terminals.left = False
    terminals.disarm("1")
    terminals.arm("1", ptys[1].path)
    assert len(reports) == 2, "another time is told again"
    terminals.disarm("1")
    assert restored == ["restored"] * 2
    terminals.close()
    for pty in ptys:
        pty.close()


async def test_a_snapshot_that_failed_is_taken_again_without_a_write() -> None:
    published, pty, fails = Heard(), Pty(), asyncio.Event()
    there = False

    async def snapshot(name: str) -> list[str] | None:
        if there:
            return pty.read()
        fails.set()
        return None

    loop = asyncio.get_running_loop()

    def written(name: str) -> None:
        screens.written(name)

    terminals = Terminals(loop, written, pytest.fail)
    screens = Screens(loop, terminals, snapshot, lambda name, lines: published(str(lines)))
    pty.write("one")
    screens.follow("a", pty.path)
    await asyncio.wait_for(fails.wait(), 20)
    there = True
    await published.count(1)
    assert published.names == ["['one']"]
    screens.close()
    terminals.close()
    pty.close()
