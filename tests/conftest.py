"""Fixtures for every test: an own, empty home with short paths."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest_plugins = ["tests.counts"]

# A shell has what it runs in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes to be made says how busy the machine is. A small run draws the same
# examples each time: what another draw would find is for a full one, not for the next commit.
SLOW = [HealthCheck.too_slow]
settings.register_profile(
    "small", max_examples=60, deadline=None, suppress_health_check=SLOW, derandomize=True
)
settings.register_profile("full", max_examples=2000, deadline=None, suppress_health_check=SLOW)
PROFILE = "full" if os.environ.get("CREW_TEST_FULL") else "small"
settings.load_profile(PROFILE)
# For who wants to know only that a test fails, not by what little.
settings.register_profile(
    "unshrunk", settings.get_profile(PROFILE), phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty HOME in a short, private directory (a socket path holds 107 bytes)."""
    directory = Path(tempfile.mkdtemp(prefix="crew-"))
    for name in list(os.environ):
        if name.startswith(("XDG_", "CREW_", "TMUX", "CLAUDE")) and name != "CREW_TEST_FULL":
            monkeypatch.delenv(name)
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> float:
    """The clock of this process stands still, at noon: "5s ago" stays that on a slow machine, and
    no midnight comes in between. Time-outs go on: they are measured by another clock."""
    moment = time.mktime((2026, 6, 15, 12, 0, 0, 0, 0, -1))
    monkeypatch.setattr(time, "time", lambda: moment)
    return moment
