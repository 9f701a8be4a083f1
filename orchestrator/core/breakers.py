"""The circuit breaker of a CLI: after failures in a row it is left alone for a while. Pure.

Closed, it lets every run through. It opens after `LIMIT` failures in a row; once its span is over
it lets one run through, whose end closes it, or opens it again for twice as long. One that dies
without a word is replaced after another span. All processes of a user share its state, by the wall
clock: a time from which the clock was set back is over.
"""

from dataclasses import replace

from orchestrator.core.values import value

# Failures in a row.
LIMIT = 5
# Seconds.
FIRST = 30.0
LONGEST = 300.0


@value
class Breaker:
    """Open from `opened` to `until`; both 0: closed. `probe`: when a run was let through since."""

    failures: int = 0
    opened: float = 0.0
    until: float = 0.0
    probe: float = 0.0


def admits(breaker: Breaker, now: float) -> tuple[bool, Breaker]:
    """Whether a run may begin now, and the breaker after that."""
    if not breaker.until:
        return True, breaker
    if wait(breaker, now):
        return False, breaker
    return True, replace(breaker, probe=now)


def wait(breaker: Breaker, now: float) -> float:
    """Seconds until a run is let through; 0: at once."""
    span = breaker.until - breaker.opened
    if breaker.opened <= now < breaker.until:
        return breaker.until - now
    if breaker.probe and breaker.probe <= now < breaker.probe + span:
        return breaker.probe + span - now
    return 0.0


def after(breaker: Breaker, ok: bool, now: float) -> Breaker:
    """A run has ended. One that began before it opened, and fails while it is open, is no news."""
    if ok:
        return Breaker()
    failures = breaker.failures + 1
    if not breaker.until:
        span = FIRST if failures >= LIMIT else 0.0
    elif breaker.opened <= now < breaker.until:
        return replace(breaker, failures=failures, probe=0.0)
    else:
        span = min(2 * (breaker.until - breaker.opened), LONGEST)
    if not span:
        return Breaker(failures=failures)
    return Breaker(failures=failures, opened=now, until=now + span)
