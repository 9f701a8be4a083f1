"""Whether the status of real CLIs is right: what was shown beside what was true, by scenario.

`CREW_TRUTH=NAME,NAME` plays these alone, `CREW_TRUTH_ROUNDS=N` each of them N times. Who judges,
and how, is told in tests/truth. Times are only as good as the machine is quiet.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure, percentile
from tests.claude.cli import available
from tests.truth.runner import Played, Scenario, play_all
from tests.truth.scenarios import SCENARIOS
from tests.truth.timeline import Verdict

# Seconds for which a state lasts once it is shown, where its nature asks for no more.
DWELL = 1.0
# Of the time, percent; of one step, milliseconds.
SHARE, LATE = 99.5, 100
_NAME = 36
_TITLES = ("steps", "missed", "extra", "false", "right %", "strict %", "p50 ms", "max ms", "why")


def measure(home: Path) -> Iterator[Figure]:
    """A line for each scenario, the sum, and its figures beside their budgets."""
    why_not = available()
    assert why_not is None, why_not
    everything = Verdict()
    broken = 0
    print(f"{'scenario':<{_NAME}}" + "".join(f"{title:>10}" for title in _TITLES), flush=True)
    for played in _rounds(home):
        everything += played.verdict
        broken += bool(played.broken)
        print(_line(played), flush=True)
        if not played.is_true:
            print(played.complaints(), file=sys.stderr, flush=True)
    print(_line(Played("all", everything)), flush=True)
    yield from _figures(everything, broken)


def _chosen() -> list[Scenario]:
    names = [name for name in os.environ.get("CREW_TRUTH", "").split(",") if name]
    unknown = set(names) - {scenario.name for scenario in SCENARIOS}
    assert not unknown, f"no such scenario: {', '.join(sorted(unknown))}"
    chosen = [each for each in SCENARIOS if not names or each.name in names]
    return chosen


def _rounds(home: Path) -> Iterator[Played]:
    """Each with a team of its own: some agents are launched in a scenario."""
    chosen = _chosen()
    for number in range(int(os.environ.get("CREW_TRUTH_ROUNDS", "1"))):
        place = home / str(number)
        place.mkdir()
        yield from play_all(place, chosen, DWELL)


def _line(played: Played) -> str:
    v = played.verdict
    late = [1000 * seconds for seconds in v.late] or [0.0]
    counts = (v.steps, len(v.missed), len(v.extra), len(v.false_ready))
    cells = [f"{count}" for count in counts]
    cells += [f"{share:.2f}" for share in (v.share, v.strict_share)]
    cells += [f"{time:.0f}" for time in (percentile(late, 50), max(late))]
    cells += ["ok" if not v.unproved else f"{len(v.unproved)} wrong"]
    line = f"{played.name:<{_NAME}}" + "".join(f"{cell:>10}" for cell in cells)
    return line + ("  NOT PLAYED" if played.broken else "" if played.is_true else "  WRONG")


def _figures(v: Verdict, broken: int) -> Iterator[Figure]:
    late = [1000 * seconds for seconds in v.late] or [float("nan")]
    yield Figure("truth: scenarios that could not be played", broken, "", 0)
    yield Figure("truth: transitions missed", len(v.missed), "", 0)
    yield Figure("truth: transitions that were none", len(v.extra), "", 0)
    yield Figure("truth: ready shown in a turn", len(v.false_ready), "", 0)
    yield Figure("truth: statuses without evidence of their own", len(v.unproved), "", 0)
    yield Figure("truth: of the time, not right", 100 - v.share, "%", 100 - SHARE)
    yield Figure("truth: until it is shown, p50", percentile(late, 50), "ms", LATE)
    yield Figure("truth: until it is shown, at most", max(late), "ms")
