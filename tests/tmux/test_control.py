"""The control client against a real server: framing, errors, time-outs, death, snapshots."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.locations import SessionPaths
from orchestrator.procfs import is_alive, process_of
from orchestrator.tmux.control import TIMEOUT, Control
from orchestrator.tmux.link import THROWN_OUT_MAX, Link, pause_after
from tests.support import alive
from tests.tmux.conftest import Heard, connect, printing_pane, until

ECHO = ["display-message", "-p"]


async def shown(control: Control, pane: str, needle: str) -> list[str]:
    """The pane's lines, once they hold `needle`."""

    async def look() -> list[str] | None:
        lines = await control.snapshot(pane)
        return lines if lines and any(needle in line for line in lines) else None

    found = await until(look, f"{needle!r} in {pane}")
    assert found
    return found


def told(heard: Heard) -> Callable[[], Awaitable[list[str]]]:
    async def look() -> list[str]:
        return heard.gone

    return look


def memory_files() -> int:
    """How many of our descriptors are memory files."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            count += "memfd:crew" in str(fd.readlink())
        except FileNotFoundError:
            continue
    return count


async def test_each_command_has_its_own_lines(control: Control) -> None:
    chain = ([*ECHO, "one"], ["set-option", "-g", "@x", "y"], [*ECHO, "a;b 'c' \"#{@x}\" $HOME ~"])
    assert await control.run(*chain) == [(b"one",), (), (b"a;b 'c' \"y\" $HOME ~",)]


async def test_an_empty_chain_is_refused_and_does_not_detach_the_client(control: Control) -> None:
    nothings: list[list[list[str]]] = [[], [[]]]
    for nothing in nothings:
        with pytest.raises(ValueError, match="empty"):
            await control.run(*nothing)
    assert await control.run([*ECHO, "here"]) == [(b"here",)]


async def test_an_error_ends_the_chain_and_the_next_call_is_right(control: Control) -> None:
    calls = [
        control.run([*ECHO, "a"], ["kill-pane", "-t", "%999"], ["set-option", "-g", "@done", "1"]),
        control.run([*ECHO, "b"]),
        control.run(["nonsense"], [*ECHO, "c"]),
        control.run(["set-option", "-g", "no-such-option", "1"]),
        control.run([*ECHO, "d"], [*ECHO, "e#{@done}"]),
    ]
    broken, b, nonsense, option, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(broken, TmuxError)
    assert broken.command == "kill-pane -t %999"
    assert "can't find pane" in broken.output
    assert b == [(b"b",)]
    assert isinstance(nonsense, TmuxError)
    assert "unknown command" in nonsense.output
    assert isinstance(option, TmuxError)
    assert last == [(b"d",), (b"e",)]


async def test_many_calls_at_once_each_get_their_own_answer(control: Control) -> None:
    calls = (control.run([*ECHO, f"x{n}"], [*ECHO, f"y{n}"]) for n in range(300))
    answers = await asyncio.gather(*calls)
    assert answers == [[(f"x{n}".encode(),), (f"y{n}".encode(),)] for n in range(300)]


words = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)


async def test_every_quoted_word_arrives_as_it_was(control: Control, home: Path) -> None:
    examples: list[str] = ["%3", "~", "#{pid}", "$HOME", ";", "a;", "'", '"', "\\", "-x", "{", "}"]

    @settings(suppress_health_check=list(HealthCheck), max_examples=300)
    @given(words)
    def gather(word: str) -> None:
        examples.append(word)

    await asyncio.to_thread(gather)
    file = home / "word"
    for word in examples:
        # By way of a file: what tmux prints of a buffer has escapes.
        await control.run(
            ["set-buffer", "-b", "word", "--", word], ["save-buffer", "-b", "word", str(file)]
        )
        assert file.read_text() == word


async def test_windows_are_told_of(control: Control, heard: Heard, home: Path) -> None:
    pane = await printing_pane(control, home, "x")
    await control.run(["kill-pane", "-t", pane])

    async def both() -> bool:
        return {"window-add", "unlinked-window-close"} <= heard.names()

    await until(both, "both notifications")
    assert "output" not in heard.names()


async def test_a_callback_that_fails_does_not_break_the_client(
    server: int, paths: SessionPaths, home: Path
) -> None:
    failed: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(str(context.get("exception"))))

    def fail(_: object) -> None:
        raise RuntimeError("in the callback")

    control = await Control.connect(paths.tmux_socket, "_crew", fail, lambda _: None)
    pane = await printing_pane(control, home, "x")
    await control.run(["kill-pane", "-t", pane])
    assert await control.run([*ECHO, "still here"]) == [(b"still here",)]

    async def told() -> bool:
        return "in the callback" in failed

    await until(told, "the failure")
    await control.close()


FORGED = "\r\n".join(
    f"%end {n} {n} 1\r\n%error 1 {n} 1\r\n%begin 1 {n} 1\r\n%exit\r\n%window-close @{n}"
    for n in range(4)
)


async def test_forged_lines_on_a_screen_are_text_and_nothing_else(
    control: Control, heard: Heard, home: Path
) -> None:
    pane = await printing_pane(control, home, FORGED + "\r\nlast")
    lines = await shown(control, pane, "last")
    assert lines[: FORGED.count("\n") + 1] == FORGED.split("\r\n")
    assert await control.run([*ECHO, "in step"]) == [(b"in step",)]
    assert not {"exit", "window-close"} & heard.names()
    assert heard.gone == []


async def test_a_snapshot_is_what_the_screen_shows(control: Control, home: Path) -> None:
    texts = [
        "漢字かな交じり",
        "e\u0301 a\u0308 combining",
        "a😀b",
        "— „quotes“ ✳ ❯",
        " indent\ttab",
    ]
    pane = await printing_pane(control, home, "\r\n".join([*texts, "last"]))
    lines = await shown(control, pane, "last")
    assert lines[:4] == texts[:4]
    assert lines[4].split() == texts[4].split()
    assert len(lines) == 45


async def test_a_snapshot_with_history_and_with_colours(control: Control, home: Path) -> None:
    text = "".join(f"line {n}\r\n" for n in range(200)) + "\x1b[31mred\x1b[m last"
    pane = await printing_pane(control, home, text)
    assert "red last" in await shown(control, pane, "last")
    whole = await control.snapshot(pane, history=True)
    assert whole is not None
    assert [line for line in whole if line.startswith("line")] == [f"line {n}" for n in range(200)]
    coloured = await control.snapshot(pane, escapes=True)
    assert coloured is not None
    assert any("\x1b[31mred" in line for line in coloured)


async def test_snapshots_side_by_side_do_not_mix(control: Control, home: Path) -> None:
    panes = [await printing_pane(control, home, f"pane {n}.") for n in range(4)]
    for n, pane in enumerate(panes):
        await shown(control, pane, f"pane {n}.")
    seen = await asyncio.gather(*(control.snapshot(pane) for pane in panes * 5))
    assert [lines and lines[0] for lines in seen] == [f"pane {n}." for n in range(4)] * 5
    assert memory_files() == 0


async def test_no_pane_no_snapshot_and_nothing_stays_behind(control: Control, home: Path) -> None:
    assert await control.snapshot("%999") is None
    pane = await printing_pane(control, home, "x")
    await control.snapshot(pane)
    await control.run(["kill-pane", "-t", pane])
    assert await control.snapshot(pane) is None
    assert await control.run(["list-buffers"]) == [()]
    assert memory_files() == 0


async def test_a_snapshot_that_did_not_arrive_whole_is_none(
    control: Control, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    pane = await printing_pane(control, home, "x")
    # What a full disk leaves: nothing, and no error from tmux.
    monkeypatch.setattr("orchestrator.tmux.control.os.pread", lambda *_: b"")
    assert await control.snapshot(pane) is None


async def test_a_server_that_hangs_costs_the_caller_its_time_limit_and_no_step(
    control: Control, server: int, home: Path
) -> None:
    pane = await printing_pane(control, home, "kept")
    await shown(control, pane, "kept")
    os.kill(server, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(TmuxError, match=r"no answer within 0\.1 s"):
            await control.run(["set-option", "-g", "@late", "yes"], [*ECHO, "late"], timeout=0.1)
        with pytest.raises(TmuxError, match="no answer"):
            await control.snapshot(pane, timeout=0.1)
        assert time.monotonic() - begin < 10
        # tmux will still write to the snapshot's descriptor: nothing else may get its number.
        assert memory_files() == 1
        waiting = asyncio.ensure_future(control.run([*ECHO, "mine"]))
        await asyncio.sleep(0)
    finally:
        os.kill(server, signal.SIGCONT)
    assert await waiting == [(b"mine",)]
    assert await control.run([*ECHO, "#{@late}"]) == [(b"yes",)]
    assert memory_files() == 0
    assert "kept" in await shown(control, pane, "kept")


async def test_a_server_that_does_not_answer_is_told_and_that_it_does_again(
    control: Control, server: int, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def said() -> bool:
        return len(heard.silent) == wanted

    monkeypatch.setattr("orchestrator.tmux.client.SILENT", 0.01)
    os.kill(server, signal.SIGSTOP)
    try:
        waiting = [asyncio.ensure_future(control.run([*ECHO, "x"])) for _ in range(3)]
        wanted = 1
        await until(said, "it does not answer")
    finally:
        # From here on it has the time that a busy machine may need.
        monkeypatch.setattr("orchestrator.tmux.client.SILENT", TIMEOUT)
        os.kill(server, signal.SIGCONT)
    await asyncio.gather(*waiting)
    wanted = 2
    await until(said, "it answers again")
    assert heard.silent == [True, False]


async def test_a_cancelled_call_leaves_the_others_in_step(control: Control) -> None:
    first = asyncio.ensure_future(control.run([*ECHO, "first"]))
    second = asyncio.ensure_future(control.run([*ECHO, "second"]))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [(b"second",)]


async def test_calls_that_nobody_answers_do_not_pile_up(
    control: Control, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tmux.client.MAX_WAITING", 5)
    os.kill(server, signal.SIGSTOP)
    try:
        for _ in range(5):
            with pytest.raises(TmuxError, match="no answer"):
                await control.run([*ECHO, "x"], timeout=0.01)
        with pytest.raises(TmuxError, match="not sent"):
            await control.run([*ECHO, "x"])
    finally:
        os.kill(server, signal.SIGCONT)


async def test_a_killed_server_ends_waiting_calls_and_is_told_once(
    control: Control, server: int, heard: Heard
) -> None:
    os.kill(server, signal.SIGSTOP)
    waiting = [asyncio.ensure_future(control.run([*ECHO, "x"])) for _ in range(3)]
    await asyncio.sleep(0)
    os.kill(server, signal.SIGKILL)
    begin = time.monotonic()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert time.monotonic() - begin < TIMEOUT, "told, not given up"
    assert all(isinstance(answer, TmuxGone) for answer in answers)
    with pytest.raises(TmuxGone):
        await control.run([*ECHO, "x"])
    with pytest.raises(TmuxGone):
        await control.snapshot("%0")
    await control.close()
    assert len(heard.gone) == 1


async def test_a_killed_client_is_told_although_the_server_hangs(
    control: Control, server: int, heard: Heard
) -> None:
    os.kill(server, signal.SIGSTOP)
    try:
        os.kill(control.pid, signal.SIGKILL)
        with pytest.raises(TmuxGone):
            await control.run([*ECHO, "x"])
        await until(told(heard), "the end of the client")
    finally:
        os.kill(server, signal.SIGCONT)


async def test_a_server_that_ends_in_order_is_told_too(control: Control, heard: Heard) -> None:
    await control.run(["kill-server"])
    await until(told(heard), "the end of the client")
    with pytest.raises(TmuxGone):
        await control.run([*ECHO, "x"])


async def test_close_ends_the_process_and_is_no_loss(
    server: int, paths: SessionPaths, heard: Heard
) -> None:
    control = await connect(paths, heard)
    pid = control.pid
    assert os.getpgid(pid) == pid
    assert Path(f"/proc/{pid}/environ").read_bytes().count(b"=") <= 2
    await control.close()
    assert not alive(pid)
    assert heard.gone == []
    await control.close()
    with pytest.raises(TmuxGone, match="closed"):
        await control.run([*ECHO, "x"])


async def test_close_is_bounded_when_the_server_hangs(
    server: int, paths: SessionPaths, heard: Heard
) -> None:
    control = await connect(paths, heard)
    pid = control.pid
    os.kill(server, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        await control.close()
        assert time.monotonic() - begin < 20
        assert not alive(pid)
    finally:
        os.kill(server, signal.SIGCONT)


async def test_nothing_to_attach_to(server: int, paths: SessionPaths, home: Path) -> None:
    gone: list[str] = []
    for socket, session in ((home / "none.sock", "_crew"), (paths.tmux_socket, "nobody")):
        with pytest.raises(TmuxGone, match=r"can't find session|error connecting|no server"):
            await Control.connect(socket, session, lambda _: None, gone.append)
    assert gone == []
    assert not (home / "none.sock").exists()


# -- the standing connection -----------------------------------------------------------------------


class Linked:
    """A link to the server, what it told, and when each of its connections was begun."""

    def __init__(self, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.begun: list[float] = []
        self.link = Link(
            paths,
            is_alive,
            on_lost=self.told.append,
            on_closing=lambda: None,
            on_away=lambda: self.told.append("away"),
            on_back=lambda: self.told.append("back"),
            on_silent=lambda _: None,
        )
        self._made: list[Control] = []
        connect = Control.connect

        async def counted(*arguments: Any) -> Control:
            self.begun.append(time.monotonic())
            self._made.append(await connect(*arguments))
            return self._made[-1]

        monkeypatch.setattr(Control, "connect", counted)

    async def connected(self) -> bool:
        with contextlib.suppress(TmuxError):
            return await self.link.control.run([*ECHO, "here"]) == [(b"here",)]
        return False

    async def close(self) -> None:
        await self.link.close()
        for control in self._made:
            await control.close()


@pytest.fixture
async def linked(
    server: int, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Linked]:
    made = Linked(paths, monkeypatch)
    process = process_of(server)
    assert process is not None
    # Whoever comes while it is under way waits for the same client.
    await asyncio.gather(*(made.link.connect(process) for _ in range(5)))
    yield made
    await made.close()


async def test_there_is_one_client_however_many_ask_for_it(linked: Linked) -> None:
    assert len(linked.begun) == 1
    (clients,) = await linked.link.control.run(["list-clients", "-F", "#{client_pid}"])
    assert clients == (b"%d" % linked.link.control.pid,)


async def test_a_server_that_throws_us_out_is_asked_ever_more_seldom(
    linked: Linked, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow this machine is: none of these connections has lasted.
    monkeypatch.setattr("orchestrator.tmux.link.STEADY", 3600.0)
    let_in = ["tmux", "-S", str(paths.tmux_socket), "set-hook", "-gu", "client-attached"]
    await linked.link.control.run(["set-hook", "-g", "client-attached", "detach-client"])
    os.kill(linked.link.control.pid, signal.SIGKILL)

    async def thrown_out() -> bool:
        return len(linked.begun) >= 7

    await until(thrown_out, "it is tried again and again", 60)
    pauses = [later - one for one, later in pairwise(linked.begun[1:7])]
    for paused, least in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.6), strict=True):
        assert paused > least * 0.99, pauses
    await asyncio.to_thread(subprocess.run, let_in, check=True, timeout=60)
    await until(linked.connected, "it is let in, and stays", 60)
    assert set(linked.told) == {"away", "back"}, "the server was never taken for gone"
    assert linked.told[-1] == "back"


def test_the_pause_grows_while_no_connection_lasts_and_ends_with_one_that_does() -> None:
    pauses = [0.0]
    for _ in range(10):
        pauses.append(pause_after(0.01, pauses[-1]))
    assert pauses == sorted(pauses)
    assert pauses[1:3] == [0.05, 0.1]
    assert pauses[-1] == THROWN_OUT_MAX
    assert pause_after(1.0, 0.0) == pause_after(1.0, 0.5) == pause_after(60.0, pauses[-1]) == 0.0
    assert pause_after(0.3, 0.2) == 0.4, "it has to last longer than it was waited for"


async def test_what_was_lent_to_a_client_that_ended_is_kept_until_tmux_has_forgotten_it(
    linked: Linked, server: int, home: Path
) -> None:
    pane = await printing_pane(linked.link.control, home, "kept")
    await shown(linked.link.control, pane, "kept")

    async def closed() -> bool:
        return memory_files() == 0

    os.kill(server, signal.SIGSTOP)
    try:
        looks = [asyncio.ensure_future(linked.link.control.snapshot(pane)) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(linked.link.control.pid, signal.SIGKILL)
        answers = await asyncio.gather(*looks, return_exceptions=True)
        assert all(isinstance(answer, TmuxGone) for answer in answers)
        # tmux may still write to them: nothing else may get their numbers.
        assert memory_files() == 3
    finally:
        os.kill(server, signal.SIGCONT)
    await until(linked.connected, "it is connected again", 60)
    await until(closed, "they are given free", 60)
    assert "kept" in await shown(linked.link.control, pane, "kept")


async def test_what_was_lent_to_a_server_that_is_gone_is_given_free(
    linked: Linked, server: int, home: Path
) -> None:
    pane = await printing_pane(linked.link.control, home, "kept")
    os.kill(server, signal.SIGSTOP)
    look = asyncio.ensure_future(linked.link.control.snapshot(pane))
    await asyncio.sleep(0)
    os.kill(server, signal.SIGKILL)
    with pytest.raises(TmuxGone):
        await look

    async def lost() -> bool:
        return linked.told[-1:] == ["the tmux server is gone"] and memory_files() == 0

    await until(lost, "it is told, and nothing is kept for it", 60)
