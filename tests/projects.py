"""A project directory with what a blueprint needs, for tests of what is read from files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import locations
from orchestrator.blueprints import load_team
from orchestrator.core.spec import TeamSpec
from orchestrator.errors import SpecError

TOOL = """
[launch]
command = ["tool"]
role = ["--role", "{role_prompt}"]
model = ["--model", "{model}"]
mode = ["--mode", "{mode}"]
"""
PLAIN = '[launch]\ncommand = ["/bin/cat"]\n'
ONE = 'name = "t"\n[[agents]]\nname = "boss"\ncli = "tool"\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(path: Path) -> Path:
    write(path, "#!/bin/sh\n").chmod(0o755)
    return path


class Project:
    """A project directory, a PATH with `tool` on it, and its definition in the user's layer."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "p"
        self.path.mkdir()
        self.user = locations.config_root()
        self.environ = {"PATH": str(home / "bin"), "HOME": str(home)}
        program(home / "bin" / "tool")
        write(self.user / "agents" / "tool.toml", TOOL)
        write(self.user / "agents" / "plain.toml", PLAIN)

    @property
    def file(self) -> Path:
        return self.path / "crew.toml"

    def load(self, text: str, session: str | None = None) -> TeamSpec:
        write(self.file, text)
        return load_team(self.file, cwd=self.home, environ=self.environ, session=session)

    def refusal(self, text: str) -> str:
        with pytest.raises(SpecError) as caught:
            self.load(text)
        return str(caught.value).replace(str(self.path), "P").replace(str(self.user), "U")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's power to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def load_error(project: Project) -> str:
    with pytest.raises(SpecError) as caught:
        load_team(project.file, cwd=project.home, environ=project.environ, session=None)
    return str(caught.value).replace(str(project.path), "P")
