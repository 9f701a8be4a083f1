"""The whole dashboard as text, at a few sizes, beside what it looked like when last looked at.

`CREW_TEST_LOOKS=1` writes the files of `looks/` anew: read what has changed before keeping it.
"""

import os
from pathlib import Path

import pytest

from orchestrator.dashboard.app import Dashboard
from tests.dashboard.fake_link import FakeLink, words
from tests.dashboard.test_keys import text, until
from tests.fake_supervisor import NOTHING_USED, agent, ask, message, session

LOOKS = Path(__file__).parent / "looks"
NOW = 1_800_000_000.0

COMMAND = "Bash: git push --force origin release && rm -rf build dist && make release TARGET=live"


def used(tokens: int, cost: float | None, context: int) -> dict[str, object]:
    return {**NOTHING_USED, "output": tokens, "cost_usd": cost,
            "context": {"used": context, "size": 200_000}}  # fmt: skip


def view() -> dict[str, object]:
    team = (
        agent("boss", "working", role="lead", doing="thinking", detail="on message 12 from ana",
              since=NOW - 74, usage=used(182_000, 1.42, 88_000)),
        agent("ana", "blocked", role="developer", since=NOW - 12, usage=used(52_000, 0.42, 120_000),
              ask=ask(COMMAND, k1="Yes", k2="Yes, and don't ask again", k3="No")),
        agent("bob", "working", role="tester", doing="tool", detail="Bash: pytest -x tests/",
              since=NOW - 190, usage=used(94_000, 0.77, 171_000)),
        agent("cid", "limited", role="developer", limited_until=NOW + 1800, since=NOW - 600),
        agent("dora", "failed", role="reviewer", detail="ended 5 times", since=NOW - 3000),
        agent("日本語の名前", role="翻訳", detail="翻訳が終わりました。", since=NOW - 90_000),
    )  # fmt: skip
    return session(
        "release",
        *team,
        usage=used(328_000, None, 0),
        samples={"boss": {"cpu": 0.03, "rss": 190 << 20}, "bob": {"cpu": 0.9, "rss": 1 << 31}},
        messages=[message(14, "bob", "unconfirmed", "no receipt")],
        edited=["crew.toml"],
    )


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 30)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_it_looks_as_it_did(size: tuple[int, int]) -> None:
    link = FakeLink(view())
    screen = {"lines": [f"\x1b[32mline {n}\x1b[m of the screen" for n in range(1, 15)]}
    link.streams["screen"] = [{"screen": screen}]
    app = Dashboard(link, words(), lambda: NOW)
    async with app.run_test(size=size) as pilot:
        await until(lambda: "line 14" in text(app), pilot)
        await pilot.pause()
        seen = text(app) + "\n"
    file = LOOKS / f"{size[0]}x{size[1]}.txt"
    if os.environ.get("CREW_TEST_LOOKS"):
        file.write_text(seen, encoding="utf-8")
    assert seen == file.read_text(encoding="utf-8")
