"""Real teams for benchmarks: the command, the supervisor, tmux and the agents."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.kernel import Team, cpu_seconds
from tests.claude import home as claude_home
from tests.claude.api import MessagesApi
from tests.claude.cli import available
from tests.end_to_end.conftest import Crew

# Seconds for a team of any size to be launched, and to be ready.
LAUNCH = 240.0
# Seconds between two looks of the polling way at each pane; so many of them are measured.
LOOKS, ROUNDS = 0.5, 2


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


@contextlib.contextmanager
def claude_team(home: Path, agents: str, api: MessagesApi) -> Iterator[Crew]:
    """The same; agents of it may be real Claude CLIs, that speak with the stand-in."""
    why_not = available()
    assert why_not is None, why_not
    with real_team(home, agents) as crew:
        crew.env.update(claude_home.environment(api, home, os.environ["PATH"]))
        claude_home.prepare(home, crew.cwd)
        yield crew


def all_ready(crew: Crew) -> None:
    """Wait until every agent is."""
    crew.wait(lambda view: all(a["status"] == "ready" for a in view["agents"]), "all ready", LAUNCH)


def team_of(crew: Crew) -> Team:
    """The processes that watch it."""
    view = crew.view()
    return Team(view["supervisor"]["pid"], view["server"])


def polling(crew: Crew, *servers: int) -> float:
    """Of a core, what a fork of `tmux capture-pane` for each pane and half second takes: of the
    forks, of whoever makes them, and of the `servers` that answer."""
    base = ["tmux", "-S", str(crew.state / "tmux.sock")]
    panes = crew.tmux("list-panes", "-a", "-F", "#{pane_id}").split()
    before = _spent(servers)
    for pane in panes * ROUNDS:
        subprocess.run([*base, "capture-pane", "-p", "-t", pane], capture_output=True, check=True)
    return (_spent(servers) - before) / ROUNDS / LOOKS


def _spent(servers: Sequence[int]) -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used) + sum(map(cpu_seconds, servers))
