"""The client starts the supervisor: detached, once, and each way to fail is one sentence."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator import client as client_module
from orchestrator import start
from orchestrator.client import Client, NotRunning
from orchestrator.errors import SupervisorError
from orchestrator.locations import SessionPaths
from tests import fake_supervisor
from tests.clients import fake as fake
from tests.clients import paths as paths
from tests.clients import starting as starting
from tests.fake_supervisor import FakeSupervisor
from tests.support import end

# -- starting --------------------------------------------------------------------------------------


def test_nothing_listens(paths: SessionPaths) -> None:
    with pytest.raises(NotRunning):
        Client.connect(paths, start=False)
    assert not paths.root.exists(), "looking makes nothing"


def test_a_socket_file_without_a_listener_counts_as_nothing(paths: SessionPaths) -> None:
    with FakeSupervisor(paths):
        os.link(paths.socket, paths.root / "kept")
    (paths.root / "kept").rename(paths.socket)
    with pytest.raises(NotRunning):
        Client.connect(paths, start=False)


def test_the_supervisor_is_started_detached_with_a_small_environment(
    paths: SessionPaths, starting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    monkeypatch.setenv("CREW_FAILPOINT", "db:7")
    environ = {**os.environ, "BIG": "x" * 300_000}
    with Client.connect(paths, start=True, environ=environ) as client:
        heard = client.request("ping")
    assert heard["cwd"] == "/"
    assert heard["sid"] == heard["pid"], "a process session of its own"
    assert heard["env"] == environ, "the person's environment, whole, over the pipe"
    assert "SECRET_TOKEN" not in heard["own"]
    assert heard["own"]["MALLOC_ARENA_MAX"] == "2", "what was freed goes back to the system"
    assert heard["own"]["CREW_FAILPOINT"] == "db:7"
    assert heard["own"]["HOME"] == os.environ["HOME"]


def test_everything_made_for_it_is_private(paths: SessionPaths, starting: None) -> None:
    with Client.connect(paths, start=True):
        pass
    assert paths.log.stat().st_mode & 0o777 == 0o600
    for directory in (paths.root.parent, *paths.directories()):
        assert directory.stat().st_mode & 0o777 == 0o700, directory


def test_two_at_once_reach_one_supervisor(paths: SessionPaths, starting: None) -> None:
    pids: list[int] = []

    def ask() -> None:
        with Client.connect(paths, start=True) as client:
            pids.append(client.request("ping")["pid"])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 3
    assert len(set(pids)) == 1


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("error", "^the disk is full$"),
        ("die", r"the supervisor of demo ended at its start: see /.*supervisor\.log"),
        ("hang", r"the supervisor of demo was not ready in time and was ended: see /.*\.log"),
        ("deaf", r"the supervisor of demo was not ready in time and was ended: see /.*\.log"),
    ],
)
def test_a_start_that_fails_is_one_sentence(
    paths: SessionPaths,
    starting: None,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("CREW_TEST_START", how)
    if how in ("hang", "deaf"):
        monkeypatch.setattr(client_module, "START", 1.0)
    environ = {**os.environ, "BIG": "x" * 300_000}
    with pytest.raises(SupervisorError, match=sentence):
        Client.connect(paths, start=True, environ=environ)
    assert start._started[-1].poll() is not None, "nothing half started is left"
    if how == "die":
        assert "something went wrong" in paths.log.read_text()


def test_a_lock_that_is_held_without_a_listener_is_said_so(
    paths: SessionPaths, starting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeSupervisor(paths):
        pass  # makes the directories
    said: list[str] = []

    def patient(paths: SessionPaths, environ: Mapping[str, str], _: float) -> str:
        """Time for one to start and to say that it is not the first, on a busy machine too."""
        said.append(start.start_supervisor(paths, environ, 60.0))
        return said[-1]

    monkeypatch.setattr(client_module, "start_supervisor", patient)
    monkeypatch.setattr(client_module, "START", 1.0)
    with paths.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SupervisorError, match=r"could not be reached within 1 s: see /"):
            Client.connect(paths, start=True)
    assert {*said} == {"taken"}


def test_a_program_that_cannot_be_run(paths: SessionPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "supervisor_argv", lambda name: ["/no/such/program", name])
    with pytest.raises(SupervisorError, match="the supervisor of demo cannot be started: No such"):
        Client.connect(paths, start=True)


def test_a_log_that_is_a_link_is_refused(paths: SessionPaths, starting: None) -> None:
    with FakeSupervisor(paths):
        pass
    paths.log.symlink_to("/dev/null")
    with pytest.raises(SupervisorError, match=r"supervisor\.log: cannot be written"):
        Client.connect(paths, start=True)


# -- loaded ahead ----------------------------------------------------------------------------------


def loaded_ahead(name: str = "demo") -> "subprocess.Popen[bytes]":
    return start._loaded[name]


def test_one_that_was_loaded_ahead_is_the_one_that_starts(
    paths: SessionPaths, starting: None
) -> None:
    environ = {**os.environ, "A_SECRET": "hunter2"}
    with start.ahead("demo", environ):
        process = loaded_ahead()
        assert not paths.root.exists(), "it makes nothing yet"
        with Client.connect(paths, start=True, environ=environ) as client:
            told = client.request("ping")
    assert (told["pid"], told["env"]["A_SECRET"]) == (process.pid, "hunter2")
    assert process.poll() is None, "it is not ended with who loaded it"
    assert start._loaded == {}


def test_one_that_is_not_wanted_leaves_no_trace(home: Path, paths: SessionPaths) -> None:
    with start.ahead("demo", os.environ):
        process = loaded_ahead()
    assert process.returncode == -signal.SIGKILL
    assert start._loaded == {}
    assert list(home.iterdir()) == []


def test_the_real_one_ends_by_itself_where_nobody_starts_it(home: Path) -> None:
    """Whoever loaded it was killed: its standard input ends."""
    done = subprocess.run(
        start.supervisor_argv("demo"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list(home.iterdir()) == []


def test_none_is_loaded_where_one_runs(paths: SessionPaths, fake: FakeSupervisor) -> None:
    with start.ahead("demo", os.environ):
        assert start._loaded == {}


@pytest.mark.parametrize("name", [None, "no/name", "x" * 200])
def test_none_is_loaded_for_no_name(home: Path, name: str | None) -> None:
    with start.ahead(name, os.environ):
        assert start._loaded == {}


def test_one_that_has_ended_meanwhile_is_replaced(paths: SessionPaths, starting: None) -> None:
    with start.ahead("demo", os.environ):
        first = loaded_ahead()
        first.kill()
        first.wait()
        with Client.connect(paths, start=True) as client:
            assert client.request("ping")["pid"] != first.pid


def test_one_that_dies_as_it_is_told_is_replaced_by_one_that_has_a_log(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the installation stands in the log, whichever found it out."""
    code = "import sys; sys.stdin.readline(); sys.exit('nothing can be imported')"
    monkeypatch.setattr(start, "supervisor_argv", lambda _: [sys.executable, "-I", "-c", code])
    with (
        start.ahead("demo", os.environ),
        pytest.raises(SupervisorError, match="ended at its start: see "),
    ):
        Client.connect(paths, start=True)
    assert paths.log.read_text() == "nothing can be imported\n"


def test_one_that_cannot_be_loaded_is_nobodys_worry_yet(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "supervisor_argv", lambda name: ["/no/such/program", name])
    with start.ahead("demo", os.environ):
        assert start._loaded == {}


# -- what it is ------------------------------------------------------------------------------------


def test_the_command_is_isolated_from_the_current_directory() -> None:
    assert start.supervisor_argv("demo") == [
        sys.executable,
        "-I",
        "-m",
        "orchestrator.supervisor",
        "demo",
    ]


def test_wait_closed_waits_for_the_process_too(paths: SessionPaths) -> None:
    with fake_supervisor.process("demo") as pid, Client.connect(paths, start=False) as client:
        client.request("ping")
        assert not client.wait_closed(0.05)
        end(pid)
        assert client.wait_closed(10)


def test_a_supervisor_that_hung_up_and_lives_is_not_gone(
    paths: SessionPaths, fake: FakeSupervisor
) -> None:
    with Client.connect(paths, start=False) as client:
        client.request("ping")
        fake.leave()
        assert not client.wait_closed(0.2)
