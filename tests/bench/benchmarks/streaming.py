"""What 100 agents cost that redraw ten times a second, and one that floods, while nobody looks.

Once their CLI has hooks and a status file, and once they are known by their screen alone. The
supervisor is counted with all below it. What tmux takes to draw what agents write is no cost of
watching them, and is left out; so it is of the polling way, a fork of `tmux capture-pane` for each
pane and half second.
"""

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from orchestrator.client import Json
from tests.bench import redrawing
from tests.bench.figures import Figure
from tests.bench.kernel import costs
from tests.bench.teams import LAUNCH, polling, real_team, team_of
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew

AGENTS = 100
# Seconds: what follows a launch is over; what is counted.
CALM, PERIOD = 10.0, 20.0

COMMAND = f'["{sys.executable}", "-I", "-S", "{redrawing.__file__}"'
ANSWERS = "match = '^[·✢✳✶✻✽] .+… \\(\\d+s'"
SCREEN = f"""
[screen]
animated = true
[[screen.patterns]]
{ANSWERS}
status = "working"
"""
REPORTS = """
[hooks]
dialect = "claude"
events = ["UserPromptSubmit", "Stop"]
[status_file]
path = "{root}/status/{pid}.json"
states = { busy = "working", idle = "ready" }
"""
CLIS = {
    "reports": f'[launch]\ncommand = {COMMAND}, "{{root}}/status"]\n{REPORTS}{SCREEN}',
    "screen": f"[launch]\ncommand = {COMMAND}]\n{SCREEN}",
    "flood": f'[launch]\ncommand = ["yes", "✻ Flooding… (3s"]\n{SCREEN}',
}


def measure(home: Path) -> Iterator[Figure]:
    """Each kind of agents as a team of its own, one after the other."""
    yield from _stream(home / "reports", "reports", AGENTS, 10, "hooks and status file")
    yield from _stream(home / "screen", "screen", AGENTS, 10, "known by screen alone")
    yield from _stream(home / "flood", "flood", 1, 2, "one that floods")


def _stream(home: Path, cli: str, agents: int, budget: float, told: str) -> Iterator[Figure]:
    home.mkdir()
    with real_team(home, f'[[agents]]\nname = "a"\ncli = "{cli}"\ncount = {agents}\n') as crew:
        faults.define(crew, cli, f'name = "{cli}"\n{CLIS[cli]}')
        crew.run("up", "--trust", "--timeout", f"{LAUNCH:.0f}", timeout=LAUNCH)
        if cli == "reports":
            _prompt_all(crew)
        crew.wait(_all_work, "all work", LAUNCH)
        time.sleep(CALM)
        (cost,) = costs([team_of(crew)], partial(time.sleep, PERIOD))
        crew.wait(_all_work, "all work still")
        looks = 100 * polling(crew)
    what = f"{agents} streaming agents, {told}" if agents > 1 else told
    yield Figure(f"{what}: of a core", 100 * cost.cpu / PERIOD, "%", budget, looks)
    yield Figure(f"{what}: of a core, tmux", 100 * cost.server / PERIOD, "%")
    yield Figure(f"{what}: wake-ups a second", cost.woken / PERIOD, "")
    yield Figure(f"{what}: forks in {PERIOD:.0f} s", cost.forks, "", 0)


def _prompt_all(crew: Crew) -> None:
    """A hook of each tells that it was given a prompt, as in a turn."""
    for agent in crew.view()["agents"]:
        name = f"{agent['name']}.{agent['run']}.UserPromptSubmit.1"
        faults.spool(crew, name, faults.payload("UserPromptSubmit"))


def _all_work(view: Json) -> bool:
    return all(agent["status"] == "working" for agent in view["agents"])
