"""Fixtures of the client's tests: a supervisor that is none, and what starts it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import start
from orchestrator.locations import SessionPaths, session_paths
from tests import fake_supervisor
from tests.fake_supervisor import FakeSupervisor, agent

FAKE = str(Path(fake_supervisor.__file__))


@pytest.fixture
def paths(home: Path) -> SessionPaths:
    return session_paths("demo")


@pytest.fixture
def fake(paths: SessionPaths) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(paths, agent("boss")) as fake:
        yield fake


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start the fake where the supervisor is started; end what was started."""
    monkeypatch.setattr(start, "supervisor_argv", lambda name: [sys.executable, "-I", FAKE, name])
    before = len(start._started)
    yield
    for process in start._started[before:]:
        process.kill()
        process.wait()
