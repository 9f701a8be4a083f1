"""The end of each test looks for what its supervisor has missed, and would find it."""

import os
import signal
import time

import pytest

from orchestrator.core.events import EventsMissed
from orchestrator.locations import SessionPaths
from orchestrator.sinks.store import Store
from tests.end_to_end import audited, faults
from tests.end_to_end.conftest import Crew
from tests.support import alive, wait_until

ONE = '[[agents]]\nname = "a"\n'


@pytest.mark.misses("makes up what was missed")
def test_what_the_audit_has_counted_is_read_when_its_supervisor_is_gone(crew: Crew) -> None:
    crew.blueprint(ONE)
    crew.up("--wait")
    (paths,) = audited.sessions(crew.home)
    assert audited.missed(paths) == 0
    supervisor = crew.supervisor()
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: not alive(supervisor), "it has left")
    store, _ = Store.open(paths.database, now=time.time())
    store.take_over()
    store.commit([EventsMissed(at=time.time(), mono=0.0, source="audit", count=3)], [])
    store.close()
    assert audited.missed(paths) == 3


def test_what_is_not_as_the_supervisor_thinks_is_told(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.blueprint(ONE)
    crew.up("--wait")
    paths = SessionPaths(crew.state)
    assert audited.difference(paths, crew.env) is None
    monkeypatch.setattr(audited, "SETTLES", 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(audited, "_panes", lambda *_: set())
        told = wait_until(lambda: audited.difference(paths, crew.env), "a difference") or ""
    assert told.startswith("a is ready (pid ")
    with faults.hanging(crew.supervisor()):
        assert audited.difference(paths, crew.env) is None, "who does not answer is not judged"
