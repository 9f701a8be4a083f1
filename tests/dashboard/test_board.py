"""What the link tells, and when it is taken and painted."""

import asyncio
from typing import Any

import pytest

from orchestrator.dashboard import board
from orchestrator.dashboard.link import Lost
from orchestrator.dashboard.needs import Need, needs
from tests.dashboard.fake_link import FakeLink
from tests.dashboard.test_keys import shown, text, until
from tests.fake_supervisor import agent, session

# Longer than any of these tests takes: what is painted at its own time is not painted here.
NEVER = 600.0


def link() -> FakeLink:
    return FakeLink(session("t", agent("a"), agent("b")))


async def test_changes_cost_no_more_than_their_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "BOARD", NEVER)
    looked = 0

    def counted(*found: Any) -> list[Need]:
        nonlocal looked
        looked += 1
        return needs(*found)

    monkeypatch.setattr(board, "needs", counted)
    source = link()
    async with shown(source) as (app, _, pilot):
        for number in range(100):
            source.publish(agents=[agent("a", "working", detail=f"step {number}")])
            await pilot.pause()
        assert len(app._told) <= 1, "of changes in a row the newest is kept"
        assert looked < 20
        await pilot.press("d")
        assert (app.view or {})["agents"][0]["detail"] == "step 99", "a key knows all of it"
        app.paint_now()
        await until(lambda: "step 99" in text(app), pilot)


async def test_what_is_wrong_is_seen_at_once_and_after_what_came_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(board, "BOARD", NEVER)
    source = link()
    async with shown(source) as (app, _, pilot):
        source.publish(agents=[agent("a", "working", detail="the last step")])
        source.tell(Lost("the supervisor is gone"))
        await until(lambda: "the supervisor is gone" in text(app), pilot)
        assert "the last step" in text(app)
        source.publish(agents=[agent("a", "working", detail="it goes on")])
        app.paint_now()
        await until(lambda: "it goes on" in text(app), pilot)
        assert app.trouble is None


async def test_a_change_is_painted_though_no_other_one_follows() -> None:
    source = link()
    async with shown(source) as (app, _, pilot):
        for detail in ("one", "two", "three"):
            source.publish(agents=[agent("a", "working", detail=detail)])
            await asyncio.sleep(0)
        await until(lambda: "three" in text(app), pilot)
