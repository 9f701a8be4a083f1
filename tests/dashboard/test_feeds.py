"""What is collected of the agent in hand."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from orchestrator.client import Json
from orchestrator.core.frames import Teller
from orchestrator.dashboard import feeds
from orchestrator.dashboard.feeds import Feed
from orchestrator.dashboard.lines import Line
from orchestrator.dashboard.terminal import Styled
from tests.dashboard.fake_link import FakeLink, words
from tests.fake_supervisor import agent, session


class InRounds(FakeLink):
    """Each stream is the next of `rounds`, and ends with it."""

    def __init__(self, *rounds: list[Json]) -> None:
        super().__init__(session("t", agent("a")))
        self.rounds = list(rounds)

    async def stream(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        self.opened.append((verb, args))
        for line in self.rounds.pop(0):
            yield line


def screen(*lines: str) -> Json:
    return {"run": 1, "cursor": None, "lines": list(lines)}


async def seen(link: FakeLink) -> list[list[str]]:
    """The screens that a feed shows, one after the other, until its stream ends."""
    feed = Feed(link, words(), "a", "screen")
    shown: list[list[str]] = []

    def text(line: Line | Styled) -> str:
        return "".join(part for part, _ in line)

    def changed() -> None:
        shown.append([text(line) for line in feed.lines(link.view, agent("a"), 40, 0.0)])

    await feed.run(changed)
    return shown


async def test_a_screen_is_followed_by_what_differs() -> None:
    teller = Teller()
    told = [teller.line(screen("a line that stays", last)) for last in ("one", "two", "three")]
    assert ["change" in line for line in told] == [False, True, True]
    shown = await seen(InRounds(told))
    assert shown == [["a line that stays", last] for last in ("one", "two", "three")]


async def test_a_change_that_does_not_fit_is_not_shown_and_the_whole_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "AGAIN", 0)
    teller = Teller()
    first, lost, last = (
        teller.line(screen("a line that stays", second, last))
        for second, last in (("one", "x"), ("two", "x"), ("two", "y"))
    )
    link = InRounds([first, last], [{"screen": screen("a line that stays", "two", "y")}, lost], [])
    assert await seen(link) == [
        ["a line that stays", "one", "x"],
        ["a line that stays", "two", "y"],
    ]
    assert link.opened == [("screen", {"agent": "a"})] * 3
