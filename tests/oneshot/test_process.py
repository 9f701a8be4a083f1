"""One run of a CLI: what it is given, what is read of it, and that nothing of it is left."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.oneshots import Answer, Failure, Piece, Retry
from orchestrator.definitions import read_definition
from orchestrator.oneshot import process
from orchestrator.oneshot.process import run
from orchestrator.oneshot.tree import MARK, tied
from tests.checkouts import ROOT
from tests.claude.api import MessagesApi
from tests.claude.home import environment, prepare
from tests.counts import cannot
from tests.support import alive, end, wait_until

ENV = {"PATH": os.defpath, "HOME": "/", "ONE": "two"}


def delta(text: str) -> dict[str, Any]:
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    return {"type": "stream_event", "event": event}


def result(text: str) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": text}


class Heard:
    """Hears a run, and notices a word."""

    def __init__(self) -> None:
        self.all: list[Piece | Retry] = []
        self.something = asyncio.Event()

    def __call__(self, said: Piece | Retry) -> None:
        self.all.append(said)
        self.something.set()

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.all if isinstance(each, Piece))


class StandIn:
    """A shell script in the place of a CLI."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.heard = Heard()

    def says(self, *lines: Mapping[str, Any] | bytes) -> str:
        """The command that prints these lines."""
        file = self.directory / f"{len(list(self.directory.iterdir()))}.jsonl"
        whole = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines]
        file.write_bytes(b"".join(each + b"\n" for each in whole))
        return f"cat {shlex.quote(str(file))}"

    async def run(
        self,
        script: str,
        prompt: str = "",
        timeout: float | None = 90,
        heard: Callable[[Piece | Retry], None] | None = None,
    ) -> Answer | Failure:
        argv = ["sh", "-c", script]
        heard = heard or self.heard
        return await run(argv, prompt, ENV, self.directory, "claude", timeout, heard)

    @property
    def pids(self) -> list[int]:
        """Of all processes that noted themselves in `pids`."""
        file = self.directory / "pids"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path)
    yield stand_in
    for pid in stand_in.pids:
        end(pid)


# A CLI with children that have left it in one way and another.
FAMILY = """
note() { echo "echo \\$\\$ >>pids; exec sleep 1000"; }
echo $$ >>pids
sh -c "$(note)" &
setsid sh -c "$(note)" &
setsid sh -c "setsid sh -c '$(note)' & exit" &
env -i /bin/sh -c "/bin/sh -c '$(note)' & exit"
while [ "$(wc -l <pids)" -lt 5 ]; do :; done
"""
# One that keeps nothing of it but its parent.
STRANGER = """
env -i setsid /bin/sh -c "$(note)" &
while [ "$(wc -l <pids)" -lt 6 ]; do :; done
"""


# -- what it is given -----------------------------------------------------------------------------


async def test_prompt_environment_and_directory(stand_in: StandIn) -> None:
    prompt = "Grüße\n" * 100_000
    answer = stand_in.says(delta("fine "), delta("one"), result("fine one"))
    got = await stand_in.run(f"cat >prompt; env >environment; {answer}", prompt)
    assert isinstance(got, Answer)
    assert (got.text, stand_in.heard.text) == ("fine one", "fine one")
    assert (stand_in.directory / "prompt").read_text() == prompt
    lines = (stand_in.directory / "environment").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines} - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert names == {*ENV, MARK}


async def test_a_prompt_that_nobody_reads(stand_in: StandIn) -> None:
    got = await stand_in.run(stand_in.says(result("yes")), "x" * 1_000_000)
    assert isinstance(got, Answer)


async def test_it_has_a_session_of_its_own(stand_in: StandIn) -> None:
    await stand_in.run("cut -d ' ' -f 1,5,6 /proc/$$/stat >session")
    pid, group, session = (stand_in.directory / "session").read_text().split()
    assert pid == group == session


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    got = await run(["no-such-cli"], "", ENV, tmp_path, "claude", 10, Heard())
    assert got == Failure(
        kind="missing",
        sentence="no-such-cli is not there: install it, or put its directory on the PATH",
        retry=False,
    )


@pytest.mark.parametrize(
    ("argument", "directory", "why"),
    [
        ("x", "missing", "No such file or directory"),
        ("nul \0", "", "embedded null byte"),
        ("x" * 3_000_000, "", "Argument list too long"),
    ],
)
async def test_what_cannot_be_started(
    tmp_path: Path, argument: str, directory: str, why: str
) -> None:
    got = await run(["true", argument], "", ENV, tmp_path / directory, "claude", 10, Heard())
    assert isinstance(got, Failure)
    assert (got.kind, got.retry) == ("cli", False)
    assert got.sentence.startswith("true cannot be started: ")
    assert why in got.sentence


# -- what is read ---------------------------------------------------------------------------------


async def test_each_piece_as_it_comes(stand_in: StandIn) -> None:
    first, rest = stand_in.says(delta("one ")), stand_in.says(delta("two"), result("one two"))
    wait = "while [ ! -e go ]; do sleep 0.01; done"
    running = asyncio.create_task(stand_in.run(f"{first}; {wait}; {rest}"))
    async with asyncio.timeout(30):
        await stand_in.heard.something.wait()
    assert stand_in.heard.text == "one "
    (stand_in.directory / "go").touch()
    assert isinstance(await running, Answer)
    assert stand_in.heard.text == "one two"


async def test_lines_of_any_length_and_of_any_bytes(stand_in: StandIn) -> None:
    text = "ü" * 1_000_000
    other = b"\xff\xfe no JSON \0"
    script = stand_in.says(other, b"", delta(text), result(text), other)
    got = await stand_in.run(script)
    assert isinstance(got, Answer)
    assert got.text == text
    assert stand_in.heard.text == text


async def test_the_last_line_may_have_no_end(stand_in: StandIn) -> None:
    got = await stand_in.run(f"printf %s {shlex.quote(json.dumps(result('x')))}")
    assert isinstance(got, Answer)


async def test_of_its_errors_the_end_is_kept(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STDERR_MOST", 12)
    got = await stand_in.run("head -c 1000000 /dev/zero >&2; echo Not logged in >&2; exit 3")
    assert isinstance(got, Failure)
    assert got.kind == "cli"
    assert "exit status 3: t logged in" in got.sentence


async def test_killed_in_the_middle(stand_in: StandIn) -> None:
    got = await stand_in.run(f"{stand_in.says(delta('one'))}; kill -9 $$")
    assert isinstance(got, Failure)
    assert (got.kind, got.retry) == ("cut", True)


# -- that nothing is left -------------------------------------------------------------------------


def forbidden(pid: int, flags: int = 0) -> int:
    raise PermissionError


def are_gone(pids: list[int]) -> None:
    assert len(pids) >= 5
    assert not any(map(alive, pids))


async def test_a_time_out_ends_it(stand_in: StandIn) -> None:
    got = await stand_in.run("sleep 1000 & echo $! >pids; wait", timeout=2)
    assert got == Failure(
        kind="timeout", sentence="sh has not answered within 2 s, and was ended", retry=False
    )
    assert not any(map(alive, stand_in.pids))


@pytest.mark.parametrize("pidfd", [True, False])
async def test_when_nobody_wants_it_any_more_all_of_it_is_ended(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.setattr(os, "pidfd_open", forbidden)
    script = f"{FAMILY}{STRANGER}{stand_in.says(delta('x'))}; sleep 1000"
    running = asyncio.create_task(stand_in.run(script))
    async with asyncio.timeout(60):
        await stand_in.heard.something.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    are_gone(stand_in.pids)


async def test_what_it_says_cannot_be_shown(stand_in: StandIn) -> None:
    def broken(said: Piece | Retry) -> None:
        raise BrokenPipeError

    script = f"{FAMILY}{STRANGER}{stand_in.says(delta('x'))}; sleep 1000"
    with pytest.raises(BrokenPipeError):
        await stand_in.run(script, heard=broken)
    are_gone(stand_in.pids)


@pytest.mark.parametrize("pidfd", [True, False])
async def test_one_that_it_left_behind_holds_nobody_up(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    """It still has the CLI's output, and could go on with it."""

    if not pidfd:
        monkeypatch.setattr(os, "pidfd_open", forbidden)
    got = await stand_in.run(f"{FAMILY}{stand_in.says(delta('x'), result('x'))}")
    assert isinstance(got, Answer)
    are_gone(stand_in.pids)


def test_when_we_are_killed_so_is_the_cli(stand_in: StandIn) -> None:
    if not tied("KILL"):
        cannot("there is no setpriv of util-linux")
    script = f"echo $$ >{shlex.quote(str(stand_in.directory))}/pids; exec sleep 1000"
    argv = [sys.executable, "-m", "tests.oneshot.running", "sh", "-c", script]
    asking = subprocess.Popen(argv, cwd=ROOT)
    try:
        (cli,) = wait_until(lambda: stand_in.pids, "the CLI runs", 30)
    finally:
        end(asking.pid)
        asking.wait()
    wait_until(lambda: not alive(cli), "the CLI is gone")


async def test_without_setpriv(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    busybox = stand_in.directory / "busybox"
    busybox.touch(mode=0o755)
    for found in (None, stand_in.directory / "setpriv"):
        if found is not None:
            found.symlink_to(busybox)
        which = {"sh": shutil.which("sh"), "setpriv": found and str(found)}
        monkeypatch.setattr(shutil, "which", lambda name, path=None, which=which: which[name])
        assert isinstance(await stand_in.run(stand_in.says(result("x"))), Answer)


# -- with the real CLI ----------------------------------------------------------------------------


class Claude:
    """The pinned CLI as `crew ask` runs it, and the stand-in for what it talks to."""

    def __init__(self, home: Path, api: MessagesApi) -> None:
        prepare(home, home)
        self.home = home
        self.api = api
        self.heard = Heard()
        ask = read_definition("claude", ROOT / "agents/claude.toml").ask
        assert ask is not None
        self._argv = [*ask.command]
        self._env = {**environment(api, home), **ask.env}

    async def ask(self, prompt: str) -> Answer | Failure:
        return await run(self._argv, prompt, self._env, self.home, "claude", 30, self.heard)


@pytest.fixture
def claude(claude_cli: None, home: Path, api: MessagesApi) -> Claude:
    return Claude(home, api)


async def test_claude_answers(claude: Claude) -> None:
    got = await claude.ask("[[say: Two and two]][[say: is four.]][[usage 100 20]]")
    assert isinstance(got, Answer)
    assert got.text == claude.heard.text == "Two and two\nis four."
    assert len(claude.heard.all) > 1
    assert (got.tokens.output, got.tools) == (20, False)
    (request,) = (each for each in claude.api.requests if each.newest)
    assert request.newest.startswith("[[say: Two and two]]")


async def test_claude_is_refused_for_a_while(claude: Claude) -> None:
    got = await claude.ask("[[error 529]]")
    assert isinstance(got, Failure)
    assert (got.kind, got.status, got.retry) == ("overloaded", 529, True)
    retries = [each for each in claude.heard.all if isinstance(each, Retry)]
    assert [each.attempt for each in retries] == [1, 2]


async def test_claude_is_not_wanted_any_more(claude: Claude) -> None:
    asking = asyncio.create_task(claude.ask("[[hold there]]"))
    await asyncio.to_thread(claude.api.wait_held, "there")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.to_thread(claude.api.wait_let_go, "there")
