"""Questions that are answered ahead: `crew ask`, run as a child process, keeps what it finds.

When the session is up each is asked once, and again when a file that it is about is edited: the
new content makes another question. What is on disk already is answered from there, so nothing has
to be remembered here. Nobody waits for it: a failure is a line of the log.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from orchestrator.core.spec import TeamSpec, WarmSpec
from orchestrator.core.state import SessionState, World
from orchestrator.launching import DENIED
from orchestrator.oneshot.tree import tied

log = logging.getLogger(__name__)

# Seconds after the launch: the agents go first.
SOON = 0.5
# Asked at once. How many are answered at once is for the queue of `crew ask` to say.
AT_ONCE = 2
# Seconds that one answer may take, its turn in the queue included.
TIMEOUT = 1800
# Seconds that `crew ask` has to end the CLI that it runs.
GRACE = 2.0
# Seconds for which one that has ended is still known: its last word may be read behind its end.
KNOWN = 5.0


class Watch(Protocol):
    """Calls `edited` when one of `files`, and no others, gets another content."""

    def __call__(
        self, files: Iterable[Path], edited: Callable[[Collection[Path]], None]
    ) -> None: ...


class Warming:
    """What is asked ahead for one session. Made in the running loop.

    `environ()`: the person's environment.
    """

    def __init__(
        self, session: str, *, environ: Callable[[], Mapping[str, str]], watch: Watch
    ) -> None:
        self._session = session
        self._environ = environ
        self._watch = watch
        self._team: TeamSpec | None = None
        # By the file that is watched for them.
        self._about: Mapping[Path, list[WarmSpec]] = {}
        self._due: dict[WarmSpec, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # The processes that ask, and those that just have.
        self.children: set[int] = set()

    def follow(self, world: World) -> None:
        """Ask what the team of this world wants to have been asked, and no other."""
        team = world.team if world.state is not SessionState.DOWN else None
        if team is self._team:
            return
        before, self._team = self._team, team
        known, wanted = before.warm if before else (), team.warm if team else ()
        if not known and not wanted:
            return
        moved = before is None or team is None or before.root != team.root
        if moved or not all(warm in wanted for warm in known):
            # What is being asked may not be wanted any more; the others find their answers.
            self._stop()
            known = ()
        about: dict[Path, list[WarmSpec]] = {}
        for warm in wanted:
            for path in _files(warm, Path(team.root if team else "/")):
                about.setdefault(path, []).append(warm)
        self._about = about
        self._watch(about, self._edited)
        self._ask_soon(warm for warm in wanted if warm not in known)

    async def close(self) -> None:
        """End what is being asked."""
        self._team = None
        ending = list(self._tasks)
        self._stop()
        await asyncio.gather(*ending, return_exceptions=True)

    def _stop(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            # Once: what it does at its end is not to be cut.
            if not task.cancelling():
                task.cancel()

    def _edited(self, files: Collection[Path]) -> None:
        self._due |= {warm: None for path in files for warm in self._about.get(path, ())}
        if self._timer is None:
            self._begin()

    def _ask_soon(self, wanted: Iterable[WarmSpec]) -> None:
        self._due |= dict.fromkeys(wanted)
        if self._due and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON, self._begin)

    def _begin(self) -> None:
        self._timer = None
        team = self._team
        if team is None:
            return
        running = sum(not task.cancelling() for task in self._tasks)
        for _ in range(min(len(self._due), AT_ONCE - running)):
            task = asyncio.get_running_loop().create_task(self._drain(team.root))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drain(self, root: str) -> None:
        while self._due:
            warm = next(iter(self._due))
            del self._due[warm]
            try:
                await self._ask(warm, root)
            except OSError as error:
                log.warning("%s was not asked ahead: %s", warm.cli, error.strerror)

    async def _ask(self, warm: WarmSpec, root: str) -> None:
        child = await asyncio.create_subprocess_exec(
            *tied("INT"),
            *_argv(warm),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=root,
            env={
                **{name: text for name, text in self._environ().items() if name not in DENIED},
                "CREW_SESSION": self._session,
            },
            start_new_session=True,
        )
        self.children.add(child.pid)
        try:
            _, said = await child.communicate(warm.prompt.encode())
        finally:
            asyncio.get_running_loop().call_later(KNOWN, self.children.discard, child.pid)
            if child.returncode is None:
                await _end(child)
        if child.returncode:
            lines = said.decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit status {child.returncode}"
            log.warning("%s was not asked ahead: %s", warm.cli, reason.removeprefix("crew: "))


def _argv(warm: WarmSpec) -> Iterator[str]:
    yield from (sys.executable, "-I", "-m", "orchestrator", "ask")
    yield from ("--priority=low", f"--timeout={TIMEOUT}", f"--agent={warm.cli}")
    if warm.model:
        yield f"--model={warm.model}"
    if warm.system:
        yield f"--system={warm.system}"
    yield from (f"--input={name}" for name in warm.input)
    if warm.context:
        yield f"--context={warm.context}"
    yield "-"


async def _end(child: asyncio.subprocess.Process) -> None:
    """Interrupt it as Ctrl-C would, so that it ends its CLI; kill it if it takes too long."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), GRACE)
            return


def _files(warm: WarmSpec, root: Path) -> Iterator[Path]:
    """The files whose edit makes another question of it."""
    yield from (root / name for name in warm.input)
    if warm.context == "git" and (directory := _git_directory(root)) is not None:
        # Both are written at a commit and a checkout. To follow each file of the working tree
        # would be to ask at each keystroke.
        yield from (directory / "HEAD", directory / "logs" / "HEAD")


def _git_directory(root: Path) -> Path | None:
    """Where git keeps what is about the working tree of `root`, if that is in one."""
    for directory in (root, *root.parents):
        place = directory / ".git"
        if place.is_dir():
            return place
        if place.is_file():
            # A working tree of its own, or a submodule: the file says where it is.
            with contextlib.suppress(OSError, ValueError):
                kind, _, there = place.read_text().strip().partition(": ")
                return directory / there if kind == "gitdir" else None
    return None
