"""What is shown of the real CLI is what is true of it, step by step: no step missed, none made up.

How late it is shown is for `bin/bench truth`, on a quiet machine.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.counts import FULL, measured
from tests.truth.runner import play_all
from tests.truth.scenarios import SCENARIOS

# Seconds for which each state is looked at once it is shown.
DWELL = 0.2


@pytest.mark.timeout(1200)
def test_what_is_shown_is_true(
    home: Path, claude_cli: None, count: Callable[[str, int, int], int]
) -> None:
    quick = [scenario for scenario in SCENARIOS if scenario.quick]
    chosen = SCENARIOS if FULL else quick
    assert len(chosen) == count("scenarios of the truth", len(quick), len(SCENARIOS))
    played = list(play_all(home, chosen, DWELL))
    wrong = [each.complaints() for each in played if not each.is_true]
    late = [seconds for each in played for seconds in each.verdict.late]
    measured("truth: until it is shown, at most", 1000 * max(late), "ms")
    assert not wrong, "\n".join(wrong)
    assert len(played) == len(chosen)
