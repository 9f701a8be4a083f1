"""What `crew doctor` starts it ends, however it is ended itself; and what it does to a real CLI."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.claude.fixtures import api as api
from tests.claude.fixtures import claude_cli as claude_cli
from tests.claude.home import prepare
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.claude_team import claude as claude
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.conftest import crew as crew
from tests.support import wait_until

SILENT = "exec sleep 600"
# It detaches a process of its own, and takes no notice of its terminal's end.
STUBBORN = "trap '' HUP TERM; setsid sleep 600 & while :; do sleep 600; done"
DEFINITION = """
[launch]
command = ["sh", "-c", "{script}"]
settings = ["--settings", "{{settings}}"]
[hooks]
dialect = "claude"
events = ["SessionStart"]
"""


def doctor(crew: Crew, script: str) -> "subprocess.Popen[str]":
    """One that waits for a hook, which will not arrive."""
    definition = crew.home / ".config/crewmux/agents/deaf.toml"
    definition.parent.mkdir(parents=True, exist_ok=True)
    definition.write_text(DEFINITION.format(script=script))
    process = subprocess.Popen(
        [CREW, "doctor", "deaf"],
        env=crew.env,
        cwd=crew.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: b"sleep" in b"".join(map(name, crew.processes())), "it runs")
    return process


def name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return b""


def left(crew: Crew) -> list[Path]:
    return list(crew.state.parent.glob(".doctor-*"))


@pytest.mark.parametrize(
    ("number", "status", "script"),
    [(signal.SIGINT, 130, STUBBORN), (signal.SIGTERM, 128 + signal.SIGTERM, SILENT)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_it_ends_what_it_started(crew: Crew, number: int, status: int, script: str) -> None:
    process = doctor(crew, script)
    process.send_signal(number)
    _, said = process.communicate(timeout=90)
    assert (process.returncode, said.strip()) == (status, "")
    wait_until(lambda: not crew.processes(), "all has ended")
    assert left(crew) == []


def test_the_next_one_ends_what_a_killed_one_left(crew: Crew) -> None:
    process = doctor(crew, SILENT)
    process.kill()
    process.communicate(timeout=60)
    assert crew.processes() != []
    assert left(crew) != []
    done = crew("doctor", "shell", check=False)
    assert done.returncode == 0, done.stdout
    wait_until(lambda: not crew.processes(), "all has ended")
    assert left(crew) == []


# -- a real CLI ------------------------------------------------------------------------------------


def traces(home: Path) -> list[Path]:
    """The files of the CLI's own that know of us."""
    files = [home / ".claude.json", *(home / ".claude").rglob("*")]
    ours = (b"crew-hook", b"crewmux", b"CREW_")
    return [f for f in files if f.is_file() and any(one in f.read_bytes() for one in ours)]


def test_the_hooks_of_claude_arrive_and_nothing_is_asked(claude: Claude) -> None:
    done = claude.crew("doctor", "claude", timeout=60)
    assert "(Claude Code), " in done.stdout
    assert "claude hooks SessionStart arrived after" in done.stdout
    assert "->" not in done.stdout
    assert claude.api.requests == ()
    wait_until(lambda: not claude.crew.processes(), "all has ended")
    assert traces(claude.home) == []
    assert list(claude.root.iterdir()) == []

    prepare(claude.home, claude.root, trusted=False)
    done = claude.crew("doctor", "claude", timeout=60)
    assert "not tried: claude has a question first (trust)" in done.stdout
    assert "crew doctor claude`" in done.stdout
    assert left(claude.crew) == []
