"""The wheel: what it holds, and that it lives beside a distribution whose package is `agents`."""

import os
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counts import cannot, measured

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# Its import package is called `agents`, as our data directory is.
NEIGHBOUR = "openai-agents"

pytestmark = [pytest.mark.xdist_group("packaging"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="crew-wheel-") as directory:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory]
        done = subprocess.run(
            [*build, ROOT], cwd=directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield next(Path(directory).glob("*.whl"))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_the_wheel_has_one_import_package(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert tops == {"orchestrator", f"crewmux-{VERSION}.dist-info"}


@pytest.mark.parametrize("data", ["agents", "sessions"])
def test_the_wheel_has_the_data(wheel: Path, data: str) -> None:
    shipped = {
        f"orchestrator/_builtin/{file.relative_to(ROOT)}"
        for file in (ROOT / data).rglob("*")
        if file.suffix in {".toml", ".md"}
    }
    assert any(name.endswith(".toml") for name in shipped)
    assert shipped <= names(wheel)


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    ours = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "orchestrator").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert ours <= names(wheel)
    with zipfile.ZipFile(wheel) as file:
        mode = file.getinfo("orchestrator/hooks/crew-hook").external_attr >> 16
    assert mode & 0o111, "the hook script has lost its executable bit"


def test_the_wheel_says_how_it_may_be_used(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        info = f"crewmux-{VERSION}.dist-info"
        metadata = file.read(f"{info}/METADATA").decode()
        assert "MIT License" in file.read(f"{info}/licenses/LICENSE").decode()
        assert "crew = orchestrator.cli:run" in file.read(f"{info}/entry_points.txt").decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata


# -- installed -----------------------------------------------------------------------------------


class Installed:
    """A virtual environment outside the checkout. The tests' own pip fills it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.python = directory / "bin/python"
        # Neither the checkout nor the person's settings may be seen from in there.
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CREW_"))}
        self.env["HOME"] = str(directory)
        venv.create(directory, with_pip=False, symlinks=True)

    def run(self, *argv: str | Path) -> str:
        done = subprocess.run(
            [*argv], cwd=self.directory, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pip(self, *argv: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.python)]
        self.run(*pip, "--disable-pip-version-check", *argv)

    def neighbour(self) -> dict[str, str]:
        """The neighbour's recorded files that are as its RECORD says, with their hashes."""
        listed = self.run(
            self.python,
            "-c",
            "import base64, hashlib, importlib.metadata as m\n"
            f"for f in m.files({NEIGHBOUR!r}):\n"
            "    if f.hash and (path := f.locate()).is_file():\n"
            "        digest = hashlib.new(f.hash.mode, path.read_bytes()).digest()\n"
            "        if base64.urlsafe_b64encode(digest).decode().rstrip('=') == f.hash.value:\n"
            "            print(f, f.hash.value)",
        )
        return dict(line.rsplit(" ", 1) for line in listed.splitlines())

    def agents_is_theirs(self) -> bool:
        """Who answers to `import agents`, found without running it (it needs much else)."""
        code = "import importlib.util as u; print(u.find_spec('agents').origin)"
        origin = Path(self.run(self.python, "-c", code).strip())
        return "agents/__init__.py" in self.neighbour() and origin.parts[-3:] == (
            "site-packages",
            "agents",
            "__init__.py",
        )


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "venv")


def test_it_lives_beside_a_package_called_agents(wheel: Path, installed: Installed) -> None:
    began = time.monotonic()
    try:
        installed.pip("install", "--quiet", "--no-deps", NEIGHBOUR)
    except AssertionError as error:
        if "No matching distribution" not in str(error) and "Connection" not in str(error):
            raise
        cannot(f"{NEIGHBOUR} cannot be fetched", required=True)
    theirs = installed.neighbour()
    assert installed.agents_is_theirs()

    installed.pip("install", "--quiet", wheel)
    measured("wheel and dependencies installed", time.monotonic() - began, "s")
    crew = installed.directory / "bin/crew"
    assert VERSION in installed.run(crew, "--version")
    assert "Usage" in installed.run(crew, "--help")
    where = "import orchestrator.locations as l; print(l.builtin())"
    builtin = Path(installed.run(installed.python, "-c", where).strip())
    assert builtin.is_relative_to(installed.directory)
    assert list((builtin / "agents").glob("*.toml"))
    assert installed.agents_is_theirs()

    installed.pip("uninstall", "--quiet", "--yes", "crewmux")
    assert not crew.exists()
    assert not builtin.exists()
    assert installed.neighbour() == theirs
    assert installed.agents_is_theirs()
