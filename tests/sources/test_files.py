"""Hooks through real files: the script, the spool, one drain; and what the other tests share."""

import asyncio
import errno
import os
import shutil
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.core.events import AnyEvent, HookReceived
from orchestrator.core.spec import (
    CliSpec,
    HooksSpec,
    KeysSpec,
    LaunchSpec,
    ScreenSpec,
    StatusFileSpec,
    TranscriptSpec,
)
from orchestrator.core.state import Process
from orchestrator.locations import PACKAGE
from orchestrator.sources import spool as spool_module
from orchestrator.sources.files import Files
from orchestrator.sources.reading import stamp_of
from orchestrator.sources.spool import BAD, HOOK_MAX, PENDING, ROUND, Spool
from tests.counts import cannot

HOOK = PACKAGE / "hooks" / "crew-hook"
PAYLOADS = {
    p.stem: p.read_bytes() for p in (Path(__file__).parents[1] / "payloads/claude").glob("*.json")
}
STATES = {"busy": "working", "idle": "ready", "waiting": "blocked", "shell": "ready"}
CLI = CliSpec(
    name="claude",
    launch=LaunchSpec(command=("claude",), env={}),
    hooks=HooksSpec(dialect="claude", events=()),
    status_file=StatusFileSpec(path="", states=STATES),  # type: ignore[arg-type] # literals
    transcript=TranscriptSpec(path=""),
    screen=ScreenSpec(),
    keys=KeysSpec(answers={}),
)
T = TypeVar("T")


async def until(predicate: Callable[[], T], what: str, deadline: float = 20.0) -> T:
    """`wait_until` of tests.support, while the loop goes on."""
    end = time.monotonic() + deadline
    while not (got := predicate()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        await asyncio.sleep(0.005)
    return got


def me() -> Process:
    """This process: an agent's, for all that files know."""
    text = Path("/proc/self/stat").read_text(encoding="ascii")
    return Process(pid=os.getpid(), start=int(text.rpartition(")")[2].split()[19]), boot="b")


def make_spool(root: Path) -> Path:
    for name in ("new", "tmp", "bad"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return root


@dataclass
class Seen:
    """What the source told the rest of the program."""

    events: list[AnyEvent] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    posts: int = 0

    def post(self, events: Sequence[AnyEvent]) -> None:
        self.posts += 1
        self.events.extend(events)

    def hooks(self) -> list[HookReceived]:
        return [event for event in self.events if isinstance(event, HookReceived)]


@asynccontextmanager
async def running(
    spool: Path, known: Callable[[Sequence[str]], set[str]] = lambda _: set()
) -> AsyncIterator[tuple[Files, Seen]]:
    seen = Seen()
    files = Files(
        spool,
        post=seen.post,
        already=known,
        report=seen.reports.append,
        doubt=lambda source, reason: seen.doubts.append(f"{source}: {reason}"),
    )
    await files.start()
    try:
        yield files, seen
    finally:
        await files.stop()


def run_hook(
    spool: Path, event: str, payload: bytes, **env: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [HOOK, event],
        input=payload,
        capture_output=True,
        check=False,
        timeout=30,
        env={
            "PATH": os.environ["PATH"],
            "CREW_SPOOL": str(spool),
            "CREW_AGENT": "worker-1",
            "CREW_RUN": "3",
            **env,
        },
    )


def put(spool: Path, name: str, payload: bytes, mtime_ns: int | None = None) -> None:
    """What the script does, without its processes."""
    half = spool / "tmp" / name
    half.write_bytes(payload)
    if mtime_ns is not None:
        os.utime(half, ns=(mtime_ns, mtime_ns))
    half.rename(spool / "new" / name)


# -- the script -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PAYLOADS))
async def test_each_real_payload_goes_through_the_script(tmp_path: Path, name: str) -> None:
    spool, before = make_spool(tmp_path), time.time()
    async with running(spool) as (files, seen):
        done = await asyncio.to_thread(run_hook, spool, name, PAYLOADS[name])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        await until(seen.hooks, "the hook")
        [hook] = seen.hooks()
        assert (hook.agent, hook.run, hook.hook, hook.source) == ("worker-1", 3, name, "hook")
        [file] = (spool / "new").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert hook.key == f"hook:{file.name}:{file.stat().st_mtime_ns}"
        assert before - 1 < hook.at < time.time() + 1
        files.consumed([hook.key])
        await until(lambda: not any((spool / "new").iterdir()), "the file unlinked")
    assert seen.reports == []


def test_the_script_is_silent_without_a_spool(tmp_path: Path) -> None:
    # More than a pipe holds: it has to be read, or the CLI would get a SIGPIPE.
    done = run_hook(tmp_path / "missing", "Stop", b"x" * 300_000)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for gone in ("CREW_SPOOL", "CREW_AGENT", "CREW_RUN"):
        done = run_hook(make_spool(tmp_path), "Stop", b"x" * 300_000, **{gone: ""})
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list(tmp_path.rglob("*.Stop.*")) == []


def test_the_script_leaves_nothing_half_on_a_full_disk(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    limited = ["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$0" Stop', str(HOOK)]
    env = {"PATH": os.environ["PATH"], "CREW_SPOOL": str(spool), "CREW_AGENT": "a", "CREW_RUN": "1"}
    done = subprocess.run(
        limited, input=b"x" * 300_000, capture_output=True, env=env, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_the_script_cannot_leave_the_spool(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    assert run_hook(spool, "Stop", b"{}", CREW_AGENT="../../x").returncode == 0
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_pid_that_comes_round_again_overwrites_nothing(tmp_path: Path) -> None:
    """In a pid namespace of its own each script is process 2."""
    if shutil.which("unshare") is None:
        cannot("there is no `unshare`")
    spool = make_spool(tmp_path)
    script = 'PATH=/usr/bin:/bin; printf {} | "$0" Stop; true'
    env = {"PATH": os.environ["PATH"], "CREW_SPOOL": str(spool), "CREW_AGENT": "a", "CREW_RUN": "1"}
    for _ in range(3):
        done = subprocess.run(
            ["unshare", "-Urpf", "sh", "-c", script, str(HOOK)],
            capture_output=True,
            check=False,
            env=env,
            timeout=30,
        )
        if done.returncode:
            cannot(f"no namespaces: {done.stderr.decode().strip()}")
    names = sorted(p.name for p in (spool / "new").iterdir())
    assert len(names) == 3
    assert names[1:] == [f"{names[0]}-1", f"{names[0]}-2"]
    assert [Spool(spool, print).keys()[0].startswith("hook:a.1.Stop.")] == [True]


# -- the spool ------------------------------------------------------------------------------------


async def test_a_thousand_hooks_that_nobody_read_come_in_order_and_once(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    now = time.time_ns() - 10_000_000_000
    # The same instant for groups of ten: then the process id decides.
    for n in range(1000):
        payload = PAYLOADS["UserPromptSubmit"].replace(b"one [[", b"n%04d [[" % n)
        put(spool, f"w.1.UserPromptSubmit.{100 + n}", payload, now + n // 10 * 4_000_000)
    known: set[str] = set()

    async with running(spool) as (files, seen):
        told = 0
        while told < 1000:
            await until(lambda told=told: len(seen.events) > told, "hooks")  # type: ignore[misc] # early binding
            assert len(seen.events) - told <= PENDING
            fresh, told = seen.events[told:], len(seen.events)
            keys = {event.key for event in fresh if event.key}
            assert not keys & known
            known |= keys
            files.consumed(keys)
        assert [(h.text or "")[:5] for h in seen.hooks()] == [f"n{n:04d}" for n in range(1000)]
        monos = [event.mono for event in seen.events]
        assert monos == sorted(monos)
        await until(lambda: not any((spool / "new").iterdir()), "all unlinked")
        assert await files.rescan() == 0
    assert len(seen.events) == 1000


async def test_a_spool_whose_commits_do_not_come_is_left_on_disk(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    for n in range(PENDING + 500):
        put(spool, f"w.1.Stop.{n}", PAYLOADS["Stop"])
    async with running(spool) as (files, seen):
        await until(lambda: len(seen.events) == PENDING, "as many as may be pending")
        await files.rescan()
        assert len(seen.events) == PENDING
        files.consumed(event.key for event in seen.events[:ROUND])
        await until(lambda: len(seen.events) == PENDING + ROUND, "room for more")
        assert len({event.key for event in seen.events}) == len(seen.events)


async def test_what_the_journal_has_is_only_unlinked(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    for n in range(3):
        put(spool, f"w.1.Stop.{n}", PAYLOADS["Stop"])
    asked: list[Sequence[str]] = []

    def known(keys: Sequence[str]) -> set[str]:
        asked.append(keys)
        return {key for key in keys if ".Stop.1:" in key}

    async with running(spool, known) as (_, seen):
        await until(lambda: len(seen.events) == 2, "the others")
        assert len(asked) == 1
        assert sorted(p.name for p in (spool / "new").iterdir()) == ["w.1.Stop.0", "w.1.Stop.2"]


async def test_what_is_no_hook_is_set_aside_and_told_once(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    stop = PAYLOADS["Stop"]
    async with running(spool) as (files, seen):
        put(spool, "w.1.Stop.1", stop[:100])
        put(spool, "w.1.Start.2", stop)
        put(spool, "nonsense", stop)
        with (spool / "tmp" / "big").open("wb") as big:
            big.truncate(100 * HOOK_MAX)
        (spool / "tmp" / "big").rename(spool / "new" / "w.1.Stop.3")
        os.mkfifo(spool / "new" / "w.1.Stop.4")
        (spool / "new" / "w.1.Stop.5").symlink_to("/etc/passwd")
        (spool / "new" / "w.1.Stop.6").mkdir()
        put(spool, "w.1.Stop.7", stop)
        await until(seen.hooks, "the good one")
        await until(lambda: len(seen.reports) == 7, f"reports of {seen.reports}")
        assert [hook.key for hook in seen.hooks() if ".Stop.7:" in str(hook.key)]
        assert len(seen.hooks()) == 1
        assert sorted(p.name for p in (spool / "new").iterdir()) == ["w.1.Stop.7"]
        assert len(list((spool / "bad").iterdir())) == 7
        assert await files.rescan() == 0
        assert len(seen.reports) == 7


def test_without_a_descriptor_a_hook_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool(tmp_path)
    for number in (1, 2):
        put(spool, f"a.1.Stop.{number}", PAYLOADS["Stop"], number)
    reader = Spool(spool, pytest.fail)

    def none_left(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "read_plain", none_left)
        assert reader.read() == ([], True)
    events, more = reader.read()
    assert [event.key for event in events] == [f"hook:a.1.Stop.{n}:{n}" for n in (1, 2)]
    assert not more


def test_a_hook_that_one_look_passed_over_still_comes_before_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped while it reads a directory sees of what comes meanwhile only what
    is put where it has not read yet."""
    spool = make_spool(tmp_path)
    names = [f"a.1.Stop.{number}" for number in range(1, 7)]
    for number, name in enumerate(names, 1):
        put(spool, name, PAYLOADS["Stop"], number)
    passed_over = [{names[0], names[2], names[4], names[5]}, {names[4]}]
    real = os.scandir

    @contextmanager
    def stopped(path: Path) -> Iterator[list[os.DirEntry[str]]]:
        hidden = passed_over.pop(0) if passed_over else set()
        with real(path) as found:
            yield [entry for entry in found if entry.name not in hidden]

    monkeypatch.setattr(os, "scandir", stopped)
    reader, told = Spool(spool, pytest.fail), list[str | None]()
    while len(told) < len(names):
        told += [event.key for event in reader.read()[0]]
    assert told == [f"hook:{name}:{number}" for number, name in enumerate(names, 1)]


async def test_of_what_is_set_aside_the_newest_hundred_are_kept(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    for n in range(BAD + 20):
        put(spool, f"w.1.Stop.{n}", b"{")
    async with running(spool) as (_, seen):
        await until(lambda: len(seen.reports) == BAD + 20, "all reports")
        assert len(list((spool / "bad").iterdir())) == BAD


async def test_halves_of_killed_hooks_are_swept_at_the_start(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    (spool / "tmp" / "old").touch()
    os.utime(spool / "tmp" / "old", (1, 1))
    (spool / "tmp" / "young").touch()
    async with running(spool):
        assert [p.name for p in (spool / "tmp").iterdir()] == ["young"]


def test_stamps_keep_their_order_and_are_never_in_the_future() -> None:
    now, boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    stamps = [stamp_of(now - 1 + n / 1e6) for n in range(1000)]
    assert [mono for _, mono in stamps] == sorted(mono for _, mono in stamps)
    assert stamps[0][1] == pytest.approx(boot - 1, abs=0.5)
    assert stamp_of(now + 86_400)[1] <= time.clock_gettime(time.CLOCK_BOOTTIME)
