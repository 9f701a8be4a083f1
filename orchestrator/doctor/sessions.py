"""The sessions on disk: whether each can be read, and is looked after if it should be up."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator.doctor.findings import Finding, bad, ok, warn
from orchestrator.locations import state_root


class Glance(NamedTuple):
    """A session's view, whether its supervisor lives, and what is wrong, if anything is."""

    name: str
    view: Mapping[str, Any]
    live: bool
    problem: str | None


def examine(glances: Iterable[Glance]) -> Iterator[Finding]:
    judged = [_wrong(one) for one in glances]
    yield from filter(None, judged)
    fine = judged.count(None)
    if fine or not judged:
        yield ok("sessions", f"{fine} on disk can be read" if fine else "none on disk")


def _wrong(one: Glance) -> Finding | None:
    look = f"`crew status -s {one.name}`"
    if one.problem and one.live:
        log = state_root() / one.name / "supervisor.log"
        remedy = f"see {log}; once that process is ended, {look} starts another"
        return bad("session", f"{one.name}: {one.problem}", remedy)
    if one.problem:
        remedy = f"{look} tries again, and sets aside what is damaged"
        return bad("session", f"{one.name}: {one.problem}", remedy)
    if not one.live and one.view["state"] not in ("down", "unknown"):
        text = f"{one.name} is {one.view['state']} and has no supervisor now"
        return warn("session", text, f"{look} brings one back")
    return None
