"""A status file that is as it was is not read again; one that may not be, is."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.events import StatusFileGone, StatusFileSeen
from orchestrator.core.spec import StatusFileSpec
from orchestrator.sources import status_files
from orchestrator.sources.reading import read_plain
from orchestrator.sources.status_files import StatusFile
from tests.sources.test_files import STATES, me


class Reader:
    """A status file, and how often it was opened."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = directory / "1.json"
        self.opened = 0
        spec = StatusFileSpec(path="", states=STATES)  # type: ignore[arg-type] # literals
        self._file = StatusFile("a", 1, me(), spec=spec, path=self.path, report=print)
        monkeypatch.setattr(status_files, "read_plain", self._open)

    def _open(self, *arguments: Any) -> Any:
        self.opened += 1
        return read_plain(*arguments)

    def write(self, status: str) -> None:
        """In place, as the CLI does."""
        self.path.write_text(json.dumps({"status": status}))

    def says(self) -> str | None:
        match self._file.read():
            case StatusFileSeen(raw=raw):
                return raw
            case StatusFileGone():
                return "gone"
            case None:
                return None


def test_a_file_that_is_as_it_was_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_files, "SETTLED", -3600.0)
    reader = Reader(tmp_path, monkeypatch)
    reader.write("busy")
    assert [reader.says() for _ in range(3)] == ["busy", None, None]
    assert reader.opened == 1
    reader.write("waiting")
    assert [reader.says() for _ in range(3)] == ["waiting", None, None]
    assert reader.opened == 2

    # It is another file then, and what it says is told whatever was told before.
    kept = reader.path.rename(tmp_path / "kept")
    assert [reader.says() for _ in range(2)] == ["gone", None]
    kept.rename(reader.path)
    assert reader.says() == "waiting"


def test_one_that_was_written_a_moment_ago_is_opened_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been written twice within a tick of the clock: its times do not tell."""
    monkeypatch.setattr(status_files, "SETTLED", 3600.0)
    monkeypatch.setattr(status_files, "_state", lambda _: (0, 0, 0, 0, 0))
    reader = Reader(tmp_path, monkeypatch)
    for status in ("busy", "idle", "busy"):
        reader.write(status)
        assert reader.says() == status


def test_half_a_file_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_files, "SETTLED", -3600.0)
    reader = Reader(tmp_path, monkeypatch)
    reader.path.write_text('{"status": "bu')
    for _ in range(2):
        with pytest.raises(status_files.Unfinished):
            reader.says()
    reader.write("busy")
    assert reader.says() == "busy"
