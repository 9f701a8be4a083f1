"""What a pane runs: the environment it makes, what it leaves, and its exit statuses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.launching import launch_order
from orchestrator.tmux.panes import LAUNCHER

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"
OWN = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/own",
    "LANG": "C.UTF-8",
    "TERM": "tmux-256color",
    "TERM_PROGRAM": "tmux",
    "TMUX": "/s,1,2",
    "TMUX_PANE": "%7",
}


@pytest.fixture
def inherit() -> Iterator[str]:
    """A memory file with the environment of a person, as the supervisor holds it."""
    fd = os.memfd_create("environment")
    pairs = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/home/person",
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "TMUX": "/outer,1,2",
        "TERM_PROGRAM": "iTerm.app",
        "COLUMNS": "211",
        "API_KEY": "value=with=equals\nand a line",
        "SECRET": "hunter2",
        "EMPTY": "",
    }
    os.write(
        fd, b"\0".join(f"{k}={v}".encode() for k, v in pairs.items()) + b"\0RAW=\xff\0rubbish\0"
    )
    yield f"/proc/{os.getpid()}/fd/{fd}"
    os.close(fd)


def launch(
    home: Path, order: Mapping[str, Any] | str, own: Mapping[str, str] = OWN
) -> tuple[subprocess.CompletedProcess[str], Path]:
    file = home / "agent.1.order"
    file.write_text(order if isinstance(order, str) else launch_order(**order))
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(file)]
    done = subprocess.run(
        argv,
        env=own,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=20,
        check=False,
    )
    return done, file


def show(*arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", SHOW, *arguments]


def test_the_environment_is_the_persons_with_our_additions(home: Path, inherit: str) -> None:
    done, file = launch(
        home,
        {
            "argv": show("a b", "$HOME", ""),
            "cwd": str(home),
            "environ": {"CREW_AGENT": "agent", "API_KEY": "mine"},
            "inherit": inherit,
            "deny": ["SECRET", "TMUX_PANE"],
            "path": "/state/bin",
        },
    )
    arguments, environ, directory = json.loads(done.stdout)
    assert arguments == ["a b", "$HOME", ""]
    assert directory == str(home)
    assert environ == {
        "PATH": "/state/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/home/person",
        "LANG": "C.UTF-8",
        "TERM": "tmux-256color",
        "TERM_PROGRAM": "tmux",
        "TMUX": "/s,1,2",
        "TMUX_PANE": "%7",
        "API_KEY": "mine",
        "EMPTY": "",
        "RAW": "\udcff",
        "CREW_AGENT": "agent",
    }
    assert not file.exists()


def test_without_a_block_the_own_environment_is_the_base(home: Path) -> None:
    order = {"argv": show(), "cwd": "/", "deny": ["HOME"]}
    done, _ = launch(home, order)
    environ = json.loads(done.stdout)[1]
    assert {k: v for k, v in OWN.items() if k != "HOME"}.items() <= environ.items()
    assert "HOME" not in environ


def test_values_come_from_memory_alone(home: Path, inherit: str) -> None:
    order: dict[str, Any] = {"argv": ["true"], "cwd": "/", "inherit": inherit}
    assert "hunter2" not in launch_order(**order)
    done, _ = launch(home, order)
    assert done.returncode == 0


def test_python_leaves_no_trace_in_the_process(home: Path) -> None:
    # SIGPIPE is bit 12 of the ignored signals: Python sets it, and exec would keep it.
    done, _ = launch(home, {"argv": ["grep", "SigIgn", "/proc/self/status"], "cwd": "/"})
    assert int(done.stdout.split()[1], 16) & (1 << 12 | 1 << 24) == 0
    done, _ = launch(home, {"argv": ["cat", "/proc/self/oom_score_adj"], "cwd": "/"})
    assert int(done.stdout) >= 500
    done, _ = launch(home, {"argv": ["ls", "/proc/self/fd"], "cwd": "/"})
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is what ls reads


def test_the_exit_status_is_the_commands_own(home: Path) -> None:
    done, _ = launch(home, {"argv": ["sh", "-c", "exit 42"], "cwd": "/"})
    assert done.returncode == 42


@pytest.mark.parametrize(
    ("order", "status", "sentence"),
    [
        ({"argv": ["no-such-command"], "cwd": "/"}, 127, "no-such-command: command not found"),
        ({"argv": ["/no/such"], "cwd": "/"}, 127, "/no/such: command not found"),
        ({"argv": ["/etc/passwd"], "cwd": "/"}, 126, "/etc/passwd: cannot be run: Permission"),
        ({"argv": ["/"], "cwd": "/"}, 126, "/: cannot be run"),
        ({"argv": ["true"], "cwd": "/no/such"}, 126, "the directory /no/such cannot be entered"),
        ({"argv": ["true"], "cwd": ""}, 126, "the directory (none) cannot be entered"),
        ({"argv": [], "cwd": "/"}, 126, "holds no command"),
        ("end\0", 126, "holds no command"),
        ("", 126, "is damaged"),
        ("arg true\0cwd /\0", 126, "is damaged"),
        ("arg true\0cwd /\0end", 126, "is damaged"),
        ("arg true\0cwd /\0what is this\0end\0", 126, "is damaged"),
        ({"argv": ["true"], "cwd": "/", "inherit": "/proc/1/fd/999"}, 75, "start the agent again"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    home: Path, order: Mapping[str, Any] | str, status: int, sentence: str
) -> None:
    done, _ = launch(home, order)
    assert done.returncode == status
    assert sentence in done.stderr
    assert done.stderr.startswith("crew: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "order",
    [
        {"argv": ["a\0arg b"], "cwd": "/"},
        {"argv": ["a"], "cwd": "/", "environ": {"A": "b\0env LD_PRELOAD=/tmp/c.so"}},
        {"argv": ["a"], "cwd": "/\0arg b"},
    ],
)
def test_a_text_cannot_begin_a_record(order: Mapping[str, Any]) -> None:
    with pytest.raises(UserError, match="NUL"):
        launch_order(**order)


def test_an_order_that_is_not_there(home: Path) -> None:
    for arguments in ([], [str(home / "none.order")], ["a", "b"]):
        argv = [sys.executable, "-I", "-S", str(LAUNCHER), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 126
        assert done.stderr.count("\n") == 1


def test_it_imports_next_to_nothing() -> None:
    code = (
        f"import os, sys; before = {{*sys.modules}}; sys.path.insert(0, {str(LAUNCHER.parent)!r})\n"
    )
    code += "import launcher; print(*sorted({*sys.modules} - before))"
    argv = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "__future__ launcher\n"
