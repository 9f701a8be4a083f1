"""Starting and ending the server: real ones, hung ones, stale sockets, missing tmux."""

import os
import signal
import stat
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from orchestrator.errors import TmuxError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.tmux import bootstrap, conf
from tests.support import alive, end, wait_until


def tmux(paths: SessionPaths, *arguments: str) -> str:
    argv = ["tmux", "-N", "-S", str(paths.tmux_socket), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.rstrip("\n")


def ended(pid: int) -> bool:
    return not alive(pid)


def program(directory: Path, name: str, text: str) -> None:
    file = directory / name
    file.write_text(text)
    file.chmod(0o755)


def test_a_server_comes_up_holds_itself_and_is_private(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    pid = bootstrap.start_server(paths, os.environ)
    assert int(tmux(paths, "display-message", "-p", "#{pid}")) == pid
    assert tmux(paths, "list-sessions", "-F", "#{session_name}") == bootstrap.HOLDING
    assert tmux(paths, "list-panes", "-a", "-F", "#{pane_start_command}") == "cat -"
    for file in (paths.tmux_socket, paths.tmux_conf):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
    kept = set(bootstrap.minimal_environment(os.environ))
    server = Path(f"/proc/{pid}/environ").read_bytes()
    assert {pair.partition(b"=")[0].decode() for pair in server.split(b"\0") if pair} <= kept
    assert b"hunter2" not in server
    assert "A_SECRET" not in tmux(paths, "show-environment", "-g")


def test_the_server_is_left_alone_when_it_lives(server: int, paths: SessionPaths) -> None:
    tmux(paths, "new-session", "-d", "-s", "team-1", "cat", "-")
    assert bootstrap.start_server(paths, os.environ) == server
    assert tmux(paths, "has-session", "-t", "=team-1") == ""


def test_a_holding_session_that_somebody_closed_is_made_again(
    server: int, paths: SessionPaths
) -> None:
    tmux(paths, "kill-session", "-t", f"={bootstrap.HOLDING}")
    assert bootstrap.server_pid(paths) == server
    assert bootstrap.start_server(paths, os.environ) == server
    assert tmux(paths, "list-sessions", "-F", "#{session_name}") == bootstrap.HOLDING


def test_after_kill_server_the_next_one_starts_at_once(paths: SessionPaths) -> None:
    for _ in range(5):
        first = bootstrap.start_server(paths, os.environ)
        tmux(paths, "kill-server")  # returns before the server is gone
        second = bootstrap.start_server(paths, os.environ)
        if second == first:  # it still answered: it has to be gone now, and come up again
            wait_until(partial(ended, first), "the first server's end")
            second = bootstrap.start_server(paths, os.environ)
        assert second != first
        assert alive(second)


def test_a_stale_socket_is_no_obstacle(server: int, paths: SessionPaths) -> None:
    end(server)
    wait_until(lambda: not alive(server), "the server's end")
    assert paths.tmux_socket.exists()
    assert bootstrap.server_pid(paths) is None
    assert bootstrap.start_server(paths, os.environ) != server


def test_kill_server_waits_for_its_end(server: int, paths: SessionPaths) -> None:
    bootstrap.kill_server(paths)
    assert not alive(server)
    assert not paths.tmux_socket.exists()
    bootstrap.kill_server(paths)


def test_a_server_that_hangs_is_killed_within_its_bound(
    server: int, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bootstrap._END_TIMEOUT + bootstrap._KILL_TIMEOUT < 6
    monkeypatch.setattr(bootstrap, "_END_TIMEOUT", 0.2)
    os.kill(server, signal.SIGSTOP)
    assert bootstrap.server_pid(paths) == server
    begin = time.monotonic()
    bootstrap.kill_server(paths)
    assert not alive(server)
    assert time.monotonic() - begin < 6


def test_a_server_that_hangs_does_not_hold_its_caller(
    server: int, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "_CALL_TIMEOUT", 0.2)
    monkeypatch.setattr(bootstrap, "START_TIMEOUT", 0.1)
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(TmuxError, match="does not answer"):
            bootstrap.start_server(paths, os.environ)
    finally:
        os.kill(server, signal.SIGKILL)
    # The call that was given up goes on now, and must not start a server in its stead.
    for thread in threading.enumerate():
        if thread.name == "tmux-bounded":
            thread.join(10)
            assert not thread.is_alive()
    assert bootstrap.server_pid(paths) is None


def test_a_server_that_cannot_start_says_why(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "START_TIMEOUT", 0.1)
    paths.tmux_socket.mkdir()
    with pytest.raises(TmuxError, match=r"new-session: .+"):
        bootstrap.start_server(paths, os.environ)
    paths.tmux_socket.rmdir()


def test_the_users_own_configuration_is_not_read(home: Path, paths: SessionPaths) -> None:
    canary = home / "canary"
    for file in (home / ".tmux.conf", home / ".config/tmux/tmux.conf"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"run-shell 'touch {canary}'\nset -g prefix C-a\n")
    bootstrap.start_server(paths, os.environ)
    assert tmux(paths, "show-options", "-gv", "prefix") == "C-b"
    assert not canary.exists()


def test_without_tmux_it_says_what_to_install(
    home: Path, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(UserError, match="install"):
        bootstrap.start_server(paths, os.environ)


def test_the_terminal_of_panes_is_one_that_this_system_knows(
    home: Path, paths: SessionPaths
) -> None:
    program(home, "infocmp", "#!/bin/sh\nexit 1\n")
    bootstrap.start_server(paths, {**os.environ, "PATH": f"{home}:{os.environ['PATH']}"})
    assert 'default-terminal "screen-256color"' in paths.tmux_conf.read_text()
    assert tmux(paths, "show-options", "-sv", "default-terminal") == "screen-256color"


def test_what_is_tried_was_accepted(server: int, paths: SessionPaths) -> None:
    for *_, option, value in conf.TRIED:
        assert tmux(paths, "show-options", "-gwv", option) == value
