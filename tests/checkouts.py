"""Clones of the checkout, and systems that lack something, for the tests of the scripts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.counts import cannot

ROOT = Path(__file__).resolve().parent.parent
# How the network is reached belongs to the machine, not to the person whose home is empty.
NETWORK = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT", "REQUESTS_CA")
# Seconds; a first set-up downloads a dozen wheels.
SET_UP = 240.0


def clone(target: Path) -> Path:
    """Clone the checkout, then lay over it what is changed and not committed yet."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        cannot("the tests do not run in a git checkout")
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, target], check=True)
    shown = ["git", "-C", str(ROOT), "ls-files", "-z", "--exclude-standard"]
    for names, gone in ((["--cached", "--others"], False), (["--deleted"], True)):
        listed = subprocess.run([*shown, *names], check=True, capture_output=True).stdout
        for name in filter(None, os.fsdecode(listed).split("\0")):
            source, copy = ROOT / name, target / name
            if gone:
                copy.unlink(missing_ok=True)
            elif source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy)
    return target


def environment(home: Path, path: str = os.defpath) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k.upper().startswith(NETWORK)}
    return {**kept, "HOME": str(home), "PATH": path, "LANG": "C.UTF-8"}


def run(
    *argv: str | Path, env: Mapping[str, str], cwd: str | Path = "/"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SET_UP,
        check=False,
    )


class System:
    """A PATH of its own: this machine's programs, less some, plus stand-ins."""

    def __init__(self, directory: Path, lacks: set[str]) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.asked = directory / "asked"
        for folder in ("/usr/bin", "/bin"):
            for program in Path(folder).iterdir():
                link = self.bin / program.name
                if program.name not in lacks | {"apt-get", "id"} and not (
                    program.name.startswith("python") or link.is_symlink()
                ):
                    link.symlink_to(program)

    def add(self, name: str, script: str) -> None:
        program = self.bin / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def add_python(self, *, venv: bool) -> None:
        """A Python that works, with or without what makes virtual environments."""
        base = getattr(sys, "_base_executable", sys.executable)
        hide = "" if venv else 'sys.modules["ensurepip"] = None\n'
        other = f'exec "{base}" "$@"' if venv else "exit 1"
        self.add(
            "python3",
            f'[ "$2" = -c ] || {other}\n'
            f'exec "{base}" -I -c \'import sys\n{hide}exec(sys.argv[1])\' "$3"',
        )

    def is_root(self, yes: bool) -> None:
        self.add("id", f"echo {0 if yes else 1000}")

    def has_apt(self, installs: str = "") -> None:
        self.add("apt-get", f'echo "$DEBIAN_FRONTEND: $*" >>"{self.asked}"\n{installs}')
