"""A second look at who works. A file stands for the terminal: both tell when they were written."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checks import Checks
from orchestrator.core.events import TerminalSeen
from orchestrator.core.state import Agent, Doing, Evidence, Said, Source, Status
from tests.core.worlds import CLI, agent_spec, running
from tests.sources.test_files import until

MOVING = replace(CLI, screen=replace(CLI.screen, animated=True))
LONG = 1000.0


class Team:
    """One agent, what was posted of it, and how often its screen was glanced at."""

    def __init__(self, tty: Path, **settings: Any) -> None:
        play = running(agent_spec("a"))
        self.agent = replace(play.world.agents["a"], tty=str(tty), said={})
        self.posted: list[TerminalSeen] = []
        self.glances = 0
        self.reports: list[str] = []
        self.checks = Checks(
            asyncio.get_running_loop(),
            agent_of=lambda name: self.agent if name == "a" else None,
            glance=self._glance,
            post=self._took,
            report=self.reports.append,
            **settings,
        )

    def _glance(self, name: str) -> None:
        assert name == "a"
        self.glances += 1

    def _took(self, event: TerminalSeen) -> None:
        self.posted.append(event)
        self.becomes(replace(self.agent, quiet_since=event.quiet_since))

    def becomes(self, agent: Agent) -> None:
        self.agent = agent
        self.checks.follow(agent, MOVING)

    def works(self, ago: float, doing: Doing = Doing.TOOL) -> None:
        """It is at work, and the report of it is `ago` seconds old."""
        at = time.time() - ago
        evidence = Evidence(kind="hook_received", source="hook", at=at, mono=at)
        self.becomes(
            replace(self.agent, status=Status.WORKING, doing=doing, evidence=evidence, since=at)
        )

    def quiet(self) -> list[bool]:
        return [event.quiet_since is not None for event in self.posted]


@asynccontextmanager
async def team(tmp_path: Path, written: float, **settings: Any) -> AsyncIterator[tuple[Team, Path]]:
    tty = tmp_path / "tty"
    tty.touch()
    at = time.time() - written
    os.utime(tty, (at, at))
    made = Team(tty, **{"first": 0.01, "stall": 60.0, "again": 0.01, **settings})
    try:
        yield made, tty
    finally:
        made.checks.close()


async def test_a_terminal_that_stands_still_is_told_and_its_next_write(tmp_path: Path) -> None:
    async with team(tmp_path, LONG) as (made, tty):
        made.works(LONG)
        await until(lambda: made.quiet() == [True], "it is told that it stands still")
        assert time.time() - (made.posted[0].quiet_since or 0) == pytest.approx(LONG, abs=30)
        with tty.open("a") as file:
            file.write(".")
        await until(lambda: made.quiet() == [True, False], "it is told that it moves again")


@pytest.mark.parametrize("moved", ["terminal", "report", "transcript"])
async def test_whoever_moves_is_not_stalled(tmp_path: Path, moved: str) -> None:
    async with team(tmp_path, 0 if moved == "terminal" else LONG) as (made, _):
        if moved == "transcript":
            made.agent = replace(made.agent, said={"transcript": Said(text="", at=time.time())})
        made.works(0 if moved == "report" else LONG, Doing.THINKING)
        await until(lambda: made.glances >= 3, "it was looked at")
        assert made.posted == []


async def test_what_is_heard_of_who_is_stalled_begins_anew(tmp_path: Path) -> None:
    async with team(tmp_path, LONG) as (made, _):
        made.works(LONG, Doing.THINKING)
        await until(lambda: made.quiet() == [True], "it is told that it stands still")
        assert made.glances == 0
        said: dict[Source, Said] = {"transcript": Said(text="", at=time.time())}
        made.becomes(replace(made.agent, quiet_since=None, said=said))
        await until(lambda: made.glances > 0, "it is looked at again")
        assert made.quiet() == [True]


async def test_the_screen_is_looked_at_ever_more_seldom(tmp_path: Path) -> None:
    async with team(tmp_path, 0) as (made, _):
        began = time.monotonic()
        made.works(0, Doing.THINKING)
        await until(lambda: made.glances >= 6, "the sixth look")
        assert time.monotonic() - began >= 0.01 * (1 + 2 + 4 + 8 + 16 + 32)


async def test_a_tool_is_not_looked_at(tmp_path: Path) -> None:
    """Only the first look after it is: by then the second would long have been."""
    async with team(tmp_path, 0) as (made, _):
        made.works(0, Doing.TOOL)
        phase = made.checks._phases["a"]
        await until(lambda: phase.wait > 0.05, "three times were due")
        assert made.glances == 0


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.WORKING])
async def test_who_does_not_work_costs_nothing(tmp_path: Path, status: Status) -> None:
    async with team(tmp_path, LONG) as (made, _):
        made.works(LONG)
        made.becomes(replace(made.agent, status=status, doing=None))
        assert made.checks._phases == {}


async def test_a_terminal_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    async with team(tmp_path, LONG) as (made, tty):
        tty.unlink()
        made.works(LONG)
        phase = made.checks._phases["a"]
        timer = phase.timer
        assert timer is not None
        await until(lambda: timer.when() < asyncio.get_running_loop().time(), "it was due")
        await asyncio.sleep(0)
        assert (made.posted, made.glances, made.reports) == ([], 0, [])


async def test_who_was_stalled_under_another_supervisor_and_moves_is_told(tmp_path: Path) -> None:
    async with team(tmp_path, 0) as (made, _):
        made.agent = replace(made.agent, quiet_since=time.time() - LONG)
        made.works(LONG)
        await until(lambda: made.quiet() == [False], "it is told that it moves")
