"""The shipped team of real CLIs comes up by itself, as fast as they can, and leaves no trace."""

import json
import time
from pathlib import Path

from tests.counts import FULL, measured
from tests.end_to_end.claude_team import Claude
from tests.support import wait_until

TEAM = "boss-and-workers"
# How much longer than bare CLIs a team may take. Other tests run at the same time and add to either
# at random: the best of some rounds is compared, and strictly only where there are many.
FACTOR, ROUNDS = (1.3, 6) if FULL else (3.0, 5)


def traces(home: Path) -> list[Path]:
    """The files of the CLI's own that know of us."""
    files = [home / ".claude.json", *(home / ".claude").rglob("*")]
    ours = (b"crew-hook", b"crewmux", b"CREW_")
    return [f for f in files if f.is_file() and any(one in f.read_bytes() for one in ours)]


def test_the_shipped_team_is_ready_by_itself(claude: Claude) -> None:
    claude.crew.session = TEAM
    rounds = []
    for _ in range(ROUNDS):
        bare = claude.bare(4)
        began = time.perf_counter()
        done = claude.crew("up", TEAM, "--wait", "--json", timeout=60)
        took = time.perf_counter() - began
        view = json.loads(done.stdout)
        assert {a["name"]: a["status"] for a in view["agents"]} == {
            "boss": "ready",
            "worker-1": "ready",
            "worker-2": "ready",
            "worker-3": "ready",
        }
        rounds.append((took / bare, took, bare))
        claude.crew("down")
        wait_until(lambda: not claude.crew.processes(), "the session has ended", 30)
        if took <= FACTOR * bare:
            break
    ratio, took, bare = min(rounds)
    measured("4 bare Claude CLIs in parallel: ready after", bare, "s")
    measured("crew up --wait of 4 Claude agents", took, "s")
    assert ratio <= FACTOR, rounds
    assert traces(claude.home) == []
    assert not (claude.home / ".claude/settings.json").exists()
    assert {path.name for path in claude.root.iterdir()} == set(), "nor in their project"
