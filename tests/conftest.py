"""Fixtures for every test: an own, empty home with short paths."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.counts"]

# A shell has what it runs in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("small", max_examples=60, deadline=None)
settings.register_profile("full", max_examples=2000, deadline=None)
settings.load_profile("full" if os.environ.get("CREW_TEST_FULL") else "small")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty HOME in a short, private directory (a socket path holds 107 bytes)."""
    directory = Path(tempfile.mkdtemp(prefix="crew-"))
    for name in list(os.environ):
        if name.startswith(("XDG_", "CREW_", "TMUX", "CLAUDE")) and name != "CREW_TEST_FULL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
