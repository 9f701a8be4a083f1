"""What the tests of the command line share: running it here, or as a process of its own."""

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest

from orchestrator import blueprints
from orchestrator.cli import cli, main
from orchestrator.client import Client, Json
from orchestrator.core.events import DownRequested, UpRequested
from orchestrator.core.reducer import reduce
from orchestrator.core.spec import TeamSpec
from orchestrator.core.state import SessionState, World, empty_world
from orchestrator.locations import PACKAGE, SessionPaths, ensure_private, session_paths
from orchestrator.sinks.store import Store

# When the recorded worlds begin: seconds since the epoch.
NOW = 1_700_000_000.0
# In which verbs are looked up.
CONTEXT = click.Context(cli)
CREW = [sys.executable, "-m", "orchestrator"]


@dataclass(frozen=True)
class Ran:
    """What a verb did: its exit status and what it printed."""

    status: int
    out: str
    err: str


def crew(*arguments: str, stdin: bytes = b"") -> Ran:
    """Run `crew` in this process, without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin))
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.stdin", given),
    ):
        status = main(arguments)
    return Ran(status, out.getvalue(), err.getvalue())


def environment(**more: str) -> dict[str, str]:
    """For `crew` as a process: this one's, and the package's place."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **more}


def crew_process(*arguments: str, cwd: Path, **more: str) -> Ran:
    """Run `crew` as a process of its own."""
    done = subprocess.run(
        [*CREW, *arguments],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def over_after(patch: pytest.MonkeyPatch, heard: Callable[[Json], object]) -> Callable[[], None]:
    """The time of whatever is waited for is over once a line of a stream that `heard` is true of
    was taken in: by the clock, which a test of a time-out would otherwise race on a busy machine.

    Returns what makes it so at once.
    """
    skipped = [0.0]
    clock, stream = time.monotonic, Client.stream

    def skip() -> None:
        skipped[0] += 3600.0

    def told(self: Client, verb: str, **given: Any) -> Iterator[Json]:
        for line in stream(self, verb, **given):
            yield line
            if heard(line):
                skip()

    patch.setattr(time, "monotonic", lambda: clock() + skipped[0])
    patch.setattr(Client, "stream", told)
    return skip


def refused(ran: Ran, status: int, sentence: str) -> None:
    """The verb failed with `status` and just this one sentence on stderr; stdout is empty."""
    assert ran.err == f"crew: {sentence}\n"
    assert ran.status == status
    assert ran.out == ""


def record(world: World) -> SessionPaths:
    """Put `world` on disk as a supervisor that is gone would have."""
    paths = session_paths(world.session)
    for directory in (paths.root.parent, paths.root):
        ensure_private(directory)
    store, _ = Store.open(paths.database, now=0.0)
    try:
        store.take_over()
        store.save_world(world, 1)
    finally:
        store.close()
    return paths


def known(name: str, state: str, root: Path | None = None) -> SessionPaths:
    """A session without a supervisor and without agents, recorded as `state`."""
    team = None
    if root is not None:
        file = str(root / "crew.toml")
        team = TeamSpec(name=name, root=str(root), blueprint=file, digest="", agents=(), clis={})
    return record(dataclasses.replace(empty_world(name), state=SessionState(state), team=team))


def launched(cwd: Path) -> World:
    """A real world, of a team of three that was just asked for, with its blueprint in `cwd`."""
    file = cwd / "crew.toml"
    file.write_text(
        'name = "demo"\n[[agents]]\nname = "boss"\ncli = "shell"\nrole = "a label"\n'
        '[[agents]]\nname = "worker"\ncli = "shell"\ncount = 2\ndepends_on = ["boss"]\n'
    )
    environ = {"PATH": "/bin", "SHELL": "/bin/sh"}
    team = blueprints.load_team(file, cwd=cwd, environ=environ, session=None)
    asked = UpRequested(
        at=NOW,
        mono=1.0,
        source="person",
        team=team,
        conversations={a.name: f"c-{a.name}" for a in team.agents},
        request="r1",
    )
    return reduce(empty_world("demo"), asked)[0]


def ended(world: World) -> World:
    """The same, after `crew down`."""
    return reduce(world, DownRequested(at=NOW, mono=2.0, source="person", request="r2"))[0]
