"""Which tmux will do."""

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.tmux import version as versions
from orchestrator.tmux.version import check_tmux


def tmux_says(home: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A tmux of our own, which is this script."""
    file = home / "tmux"
    file.write_text(script)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("tmux 3.2a", "3.2a"),
        ("tmux 3.3a", "3.3a"),
        ("tmux 3.10", "3.10"),
        ("tmux 4.0", "4.0"),
        ("tmux next-3.7", "next-3.7"),
        ("tmux master", "master"),
    ],
)
def test_versions_that_are_new_enough(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, version: str
) -> None:
    tmux_says(home, monkeypatch, f"#!/bin/sh\necho '{answer}'\n")
    assert check_tmux() == version


@pytest.mark.parametrize("answer", ["tmux 3.2", "tmux 3.1c", "tmux 2.9", "tmux 1.8"])
def test_versions_that_are_too_old(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    tmux_says(home, monkeypatch, f"#!/bin/sh\necho '{answer}'\n")
    with pytest.raises(UserError, match=r"too old.*3\.2a"):
        check_tmux()


def test_none_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(UserError, match="install"):
        check_tmux()


def test_one_that_cannot_be_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmux_says(home, monkeypatch, "\x7fELF but not really")
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(UserError, match=r"cannot be run \(Exec format error\).*PATH"):
        check_tmux()


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo 'no libevent.so' >&2; exit 127", "no libevent.so"), ("true", "exit status 0")],
)
def test_one_that_fails(home: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str) -> None:
    tmux_says(home, monkeypatch, f"#!/bin/sh\n{script}\n")
    with pytest.raises(UserError, match=rf"fails \({why}\).*PATH"):
        check_tmux()


def test_one_that_hangs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_TIMEOUT", 0.2)
    tmux_says(home, monkeypatch, "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(UserError, match=r"does not answer within 0.2 s.*PATH"):
        check_tmux()
