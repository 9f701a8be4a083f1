"""The judgements of `crew doctor` by themselves, where a machine cannot be made so."""

from collections.abc import Callable
from pathlib import Path

import click

from orchestrator.doctor import places, system, watches
from orchestrator.doctor.findings import Finding
from orchestrator.locations import PACKAGE
from orchestrator.verbs.doctor import lines


def test_an_agent_sees_no_escapes_and_no_command_is_folded() -> None:
    shown = lines(Finding("c", "bad", "it said \x1b[35m" + "x " * 60, f"`{watches.RAISE}`"), 80)
    assert not any("\x1b[35m" in line for line in shown)
    assert max(len(click.unstyle(line)) for line in shown[:-1]) <= 80
    assert shown[-1].strip() == f"`{watches.RAISE}`"


def _raises(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_what_this_machine_has_not() -> None:
    said = {"package": str(PACKAGE), "refused": [], "unnoticed": ["a terminal"]}
    judged = [
        (system.python((3, 10)), "bad", "too old"),
        (system.kernel(lambda: "", lambda: 1, lambda: None), "bad", "/proc"),
        (system.kernel(lambda: "b", lambda: 1, _raises(OSError(1, "no"))), "bad", "for: no"),
        (system.locale({}), "warn", "neither"),
        (system.locale({"LC_ALL": "de_DE.utf8@euro", "LANG": "C"}), "ok", "LC_ALL"),
        (places.judged(9_000_000, PACKAGE), "bad", "9 MB"),
        (places.judged(99_000_000, PACKAGE), "warn", "99 MB"),
        (places.sockets(Path("/" + "x" * 80)), "warn", "15 characters"),
        (places.private("state", Path("/nowhere/else"), 0o077), "ok", "will be made"),
        (watches.package(said, "", {"orchestrator": ["crewmux", "q"]}), "bad", "q has files"),
        (watches.package(said, "", {"agents": ["openai-agents"]}), "ok", "no harm"),
        (watches.package(None, "No module", {}), "bad", "No module"),
        (watches.inotify(said, ""), "warn", "a write to a terminal wakes nobody"),
    ]
    for finding, level, words in judged:
        assert finding.level == level, finding
        assert words in finding.text
        assert bool(finding.remedy) == (level != "ok")
