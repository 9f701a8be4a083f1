"""What 100 idle agents cost while nobody looks, and what looking at them on a timer would."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.kernel import cpu_seconds, resident_mib, wake_ups
from tests.bench.teams import all_ready, real_team
from tests.end_to_end.conftest import Crew

AGENTS = 100
TEAM = f'[[agents]]\nname = "a"\ncli = "shell"\ncount = {AGENTS}\n'
# Seconds: what follows a launch is over, and what is counted has one audit in it.
CALM, PERIOD = 5.0, 30.0
# Seconds between two looks of the polling way at each pane; so many are measured.
LOOKS, ROUNDS = 0.5, 5


def measure(home: Path) -> Iterator[Figure]:
    """The supervisor with its tmux; then `tmux capture-pane` for each pane, with the same tmux."""
    with real_team(home, TEAM) as crew:
        begun = time.monotonic()
        crew.up()
        launch = time.monotonic() - begun
        all_ready(crew)
        view = crew.view()
        supervisor, tmux = view["supervisor"]["pid"], view["server"]
        time.sleep(CALM)
        before, woken = cpu_seconds(supervisor) + cpu_seconds(tmux), wake_ups(supervisor)
        time.sleep(PERIOD)
        woken = wake_ups(supervisor) - woken
        ours = 100 * (cpu_seconds(supervisor) + cpu_seconds(tmux) - before) / PERIOD
        resident = resident_mib(supervisor)
        polling = 100 * _look(crew, tmux) / LOOKS
    what = f"{AGENTS} idle agents"
    yield Figure(f"crew up, {AGENTS} agents, once", launch, "s")
    yield Figure(f"{what}: of a core, tmux with it", ours, "%", 0.2, polling)
    yield Figure(f"{what}: wake-ups a second", woken / PERIOD, "", 1)
    yield Figure(f"{what}: resident memory of the supervisor", resident, "MiB", 80)


def _look(crew: Crew, tmux: int) -> float:
    """Look at every pane; the seconds of a core that it takes here, in children and in tmux."""
    base = ["tmux", "-S", str(crew.state / "tmux.sock")]
    listing = [*base, "list-panes", "-a", "-F", "#{pane_id}"]
    panes = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    before = _spent() + cpu_seconds(tmux)
    for pane in panes * ROUNDS:
        subprocess.run([*base, "capture-pane", "-p", "-t", pane], capture_output=True, check=True)
    return (_spent() + cpu_seconds(tmux) - before) / ROUNDS


def _spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
