"""Real teams for benchmarks: the command, the supervisor, tmux and the agents."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.conftest import Crew


@contextlib.contextmanager
def real_team(home: Path, agents: str) -> Iterator[Crew]:
    """A crew in `home` with a blueprint of `agents`, not launched yet; killed at the end."""
    project = home / "project"
    project.mkdir()
    crew = Crew(home, project)
    crew.blueprint(agents)
    try:
        yield crew
    finally:
        crew.kill_all()


def all_ready(crew: Crew) -> None:
    """Wait until every agent is."""
    crew.wait(lambda view: all(a["status"] == "ready" for a in view["agents"]), "all ready", 60)
