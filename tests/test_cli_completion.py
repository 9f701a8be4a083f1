"""Shell completion, and what every verb imports."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.state import Status
from orchestrator.core.views import GLYPHS
from orchestrator.locations import session_paths
from orchestrator.verbs import render
from tests.cli_support import CREW, crew, environment
from tests.fake_supervisor import FakeSupervisor, agent, ask


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(session_paths("demo"), agent("boss"), agent("worker-1")) as fake:
        yield fake


# -- completion ------------------------------------------------------------------------------------


# With time for a supervisor to answer on a busy machine.
PATIENT = """
import sys
from orchestrator.cli import main
from orchestrator.verbs import options
options.COMPLETION = 20.0
sys.exit(main())
"""


def complete(cwd: Path, line: str, *program: str) -> list[str]:
    """What a shell is told for `line`, the last word of which is to be completed."""
    done = subprocess.run(
        program or [sys.executable, "-c", PATIENT],
        cwd=cwd,
        env=environment(
            _CREW_COMPLETE="bash_complete",
            COMP_WORDS=line,
            COMP_CWORD=str(len(line.split()) - (not line.endswith(" "))),
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return [answer.partition(",")[2] for answer in done.stdout.splitlines() if answer]


def test_completion_knows_verbs_agents_choices_and_sessions(
    fake: FakeSupervisor, cwd: Path
) -> None:
    fake.publish(agents=[agent("boss", "blocked", ask=ask("Run it?", k1="Yes", k2="No"))])
    assert complete(cwd, "crew s") == ["send", "status", "stop"]
    assert complete(cwd, "crew logs ") == ["boss", "worker-1"]
    assert complete(cwd, "crew send wor") == ["worker-1"]
    assert complete(cwd, "crew answer boss ") == ["1", "2"]
    assert complete(cwd, "crew status -s d") == ["demo"]
    assert complete(cwd, "crew attach -s demo b") == ["boss"]


def test_completion_is_silent_without_a_supervisor(cwd: Path) -> None:
    assert complete(cwd, "crew logs ") == []
    assert complete(cwd, "crew answer boss ") == []


def test_completion_is_silent_and_quick_with_a_supervisor_that_hangs(
    fake: FakeSupervisor, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.serve = lambda *_: True  # reads, and never answers
    assert complete(cwd, "crew logs ", *CREW) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cwd: Path, shell: str) -> None:
    ran = crew("completion", shell)
    assert ran.status == 0
    assert f"_CREW_COMPLETE={shell}_complete" in ran.out


def test_completion_of_another_shell(cwd: Path) -> None:
    ran = crew("completion", "tcsh")
    assert ran.status == 2
    assert "tcsh" in ran.err


# -- what is imported ------------------------------------------------------------------------------


def imported(cwd: Path, *arguments: str) -> set[str]:
    """The modules that a verb imports, from its start to its end."""
    script = (
        f"import sys; from orchestrator.cli import main; status = main({list(arguments)}); "
        "print(status, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        cwd=cwd,
        capture_output=True,
        check=True,
        timeout=60,
    )
    status, *modules = done.stderr.decode().split()
    assert status == "0"
    return {*modules}


def test_status_imports_nothing_heavy(fake: FakeSupervisor, cwd: Path) -> None:
    """Every verb pays at its start for what is imported: `crew status` is typed often."""
    modules = imported(cwd, "status", "-s", "demo")
    packages = {module.partition(".")[0] for module in modules}
    heavy = {"pydantic", "libtmux", "watchdog", "textual", "asyncio", "psutil", "aiofiles"}
    assert not packages & heavy
    assert not {"orchestrator.core.spec", "orchestrator.tables"} & modules


def test_a_verb_imports_no_other(cwd: Path) -> None:
    """`crew ask` is called by scripts and hooks, and answers from disk in no time."""
    modules = imported(cwd, "ask", "--help")
    ours = {module for module in modules if module.startswith("orchestrator.verbs.")}
    verbs = {"ask", "options", "output", "program", "telling", "types"}
    assert {module.rpartition(".")[2] for module in ours} == verbs
    assert not {"orchestrator.client", "subprocess", "secrets"} & modules


def test_every_status_has_the_look_that_views_give_it() -> None:
    assert {Status(name): look[0] for name, look in render.LOOKS.items()} == GLYPHS
