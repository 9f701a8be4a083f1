"""Each key, in the real app without a terminal, with a link that does as the test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual import events
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from orchestrator.client import Json
from orchestrator.dashboard import team
from orchestrator.dashboard.app import Dashboard
from orchestrator.dashboard.link import Lost, Recorded, Regained
from orchestrator.errors import CrewError, UserError
from tests.dashboard.fake_link import FakeLink, words
from tests.fake_supervisor import agent, ask, message, session

HOOKED = {**ask("Bash: rm -r build", k1="Yes", k2="No"), "hook": "h-1"}
SCREEN = {"agent": "boss", "run": 1, "columns": 80, "rows": 3, "cursor": None,
          "lines": ["\x1b[31mred\x1b[m \x1b]52;c;eA==\x07words", "", ""]}  # fmt: skip


def view(**more: Any) -> Json:
    team = (
        agent("boss", "working", detail="Bash: make"),
        agent("ana", "blocked", ask=HOOKED),
        agent("bob", "ready", detail="last words"),
        agent("cid", "failed", detail="ended 5 times"),
    )
    return session("demo", *team, **more)


@asynccontextmanager
async def shown(
    link: FakeLink | None = None,
    size: tuple[int, int] = (100, 30),
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[Dashboard, FakeLink, Pilot[None]]]:
    link = link or FakeLink(view())
    app = Dashboard(link, words(), clock)
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.view is not None and app.painted is app.view, pilot)
        yield app, link, pilot


async def until(seen: Callable[[], object], pilot: Pilot[None], seconds: float = 20.0) -> None:
    """Wait until `seen`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"not seen: {text(pilot.app)}"
        await asyncio.sleep(0.01)
    await pilot.pause()


def text(app: Any) -> str:
    """What is on the screen; nothing while it is not laid out yet."""
    width, height = app.size
    if app.screen._compositor.size != app.size:
        return ""
    strips = app.screen._compositor.render_strips()
    lines = [strip.text.rstrip() for strip in strips]
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    return "\n".join(lines)


# -- what is seen ---------------------------------------------------------------------------------


async def test_who_needs_a_person_is_in_hand_first() -> None:
    async with shown() as (app, _, pilot):
        assert app.chosen == "ana"
        await until(lambda: "NEEDS YOU" in text(app), pilot)
        seen = text(app)
        assert "demo · up · 2 need you · 4 agents · 1 working" in seen
        assert "? ana asks to run Bash: rm -r build" in seen
        assert "    1  Yes\n    2  No\n" in seen
        assert "✗ cid failed: ended 5 times" in seen
        assert "● working" in seen
        assert "enter attach  s send" in seen


async def test_moving_takes_another_agent_in_hand() -> None:
    link = FakeLink(view())
    link.streams["screen"] = [{"screen": SCREEN}]
    async with shown(link) as (app, _, pilot):
        await pilot.press("home")
        assert app.chosen == "boss"
        await until(lambda: "red words" in text(app), pilot)
        assert ("screen", {"agent": "boss"}) in link.opened
        await pilot.press("j", "down")
        assert app.chosen == "bob"
        await pilot.press("k")
        assert app.chosen == "ana"
        await pilot.press("end")
        assert app.chosen == "cid"
        await pilot.press("space")
        assert app.chosen == "ana"
        await pilot.press("tab", "tab")
        assert app.focused is app.needy
        await pilot.press("down")
        assert (app.chosen, app.need) == ("cid", "cid")


async def test_tabs_show_events_with_the_reasons_and_messages() -> None:
    link = FakeLink(view(messages=[message(7, "ana", "unconfirmed", "no receipt")]))
    link.answers["why"] = {"why": {"detail": "its hook says so"}}
    link.streams["events"] = [{"event": {"seq": 1}}, {"event": {"seq": 2, "dull": True}}]
    async with shown(link) as (app, _, pilot):
        await pilot.press("right")
        await until(lambda: "event 1" in text(app), pilot)
        assert "because its hook says so" in text(app)
        assert "event 2" not in text(app)
        link.answers["why"] = {"why": {"detail": "its turn is over"}}
        link.publish(agents=[agent("ana", "ready", since=time.time())])
        await until(lambda: "because its turn is over" in text(app), pilot)
        await pilot.press("right")
        await until(lambda: "7 from person: unconfirmed, no receipt" in text(app), pilot)
        await until(lambda: "send_requested" in link.opened[-1][1]["kinds"], pilot)
        assert link.opened[-1][1]["follow"] is True
        await pilot.press("left", "left", "left")
        assert app.tab == "messages"


async def test_an_agent_without_a_pane_shows_its_last_lines() -> None:
    link = FakeLink(view())
    link.streams["screen"] = [{"screen": None}]
    link.answers["logs"] = {"text": "the last\nwords of it\n"}
    async with shown(link) as (app, _, pilot):
        await until(lambda: "words of it" in text(app), pilot)


async def test_filter_and_order() -> None:
    async with shown() as (app, _, pilot):
        await pilot.press("slash", *"bo")
        assert " ".join(app.team.names) == "boss bob"
        await pilot.press("enter", "down")
        assert app.chosen in ("boss", "bob")
        await pilot.press("slash", "escape")
        assert len(app.team.names) == 4
        await pilot.press("slash", *"xx")
        await until(lambda: "nobody is found" in text(app), pilot)
        await pilot.press("escape")
        assert len(app.team.names) == 4
        for order in list(team.SORTS)[1:]:
            await pilot.press("o")
            assert app.sort == order
            assert f"ordered by {order}" in app.said
        await pilot.press("o")
        assert app.sort == "team"


async def test_what_is_wrong_is_said_in_words_and_taken_back() -> None:
    async with shown() as (app, link, pilot):
        link.tell(Lost("the supervisor has not answered for 3 s"))
        await until(lambda: "✗ the supervisor has not answered for 3 s" in text(app), pilot)
        assert "✗ not watched" in text(app)
        link.tell(Regained())
        await until(lambda: "✓ supervisor" in text(app), pilot)
        assert "has not answered" not in text(app)
        down = {**view(), "state": "down", "supervisor": None}
        link.tell(Recorded(down, "session demo is down: `crew restore demo` brings it back"))
        await until(lambda: "`bin/crew restore demo` brings it back" in text(app), pilot)
        assert "NEEDS YOU" not in text(app)


async def test_agents_come_and_go() -> None:
    async with shown() as (app, link, pilot):
        link.publish(gone=["ana", "cid"])
        await until(lambda: app.team.names == ("boss", "bob"), pilot)
        assert app.chosen == "boss"
        link.publish(gone=["boss", "bob"])
        await until(lambda: "there is no agent" in text(app), pilot)
        await pilot.press("s", "y", "n", "i", "R", "enter", "down", "right")
        assert link.orders() == []
        link.publish(agents=[agent("new")])
        await until(lambda: app.chosen == "new", pilot)


# -- what is asked of the supervisor --------------------------------------------------------------


@pytest.mark.parametrize(("key", "choice"), [("1", "1"), ("2", "2"), ("y", "yes")])
async def test_answering(key: str, choice: str) -> None:
    async with shown() as (app, link, pilot):
        await pilot.press(key)
        await until(link.orders, pilot)
        bound = {"asked": "Bash: rm -r build", "hook": "h-1", "reason": None}
        assert link.orders() == [("answer", {"agent": "ana", "choice": choice, **bound})]
        await until(lambda: app.said.startswith("answered ana: "), pilot)


async def test_a_no_with_its_reason_is_bound_to_what_was_asked() -> None:
    async with shown() as (app, link, pilot):
        await pilot.press("n")
        await until(lambda: app.query(Input), pilot)
        # Something else is asked while the reason is typed: the supervisor is to refuse this one.
        link.publish(agents=[agent("ana", "blocked", ask=ask("Bash: ls", k1="Yes"))])
        await pilot.press(*"use", "space", *"mv", "enter")
        await until(link.orders, pilot)
        bound = {"asked": "Bash: rm -r build", "hook": "h-1", "reason": "use mv"}
        assert link.orders() == [("answer", {"agent": "ana", "choice": "no", **bound})]
        await until(lambda: "Bash: ls" in text(app), pilot)
        app.swapped_at = 0.0  # long ago
        await pilot.press("n")
        await until(lambda: len(link.orders()) == 2, pilot)
        assert link.orders()[1][1] | {"reason": None} == {
            "agent": "ana", "choice": "no", "asked": "Bash: ls", "hook": None, "reason": None
        }  # fmt: skip


async def test_a_key_that_was_meant_for_the_question_before_is_not_taken() -> None:
    async with shown() as (app, link, pilot):
        link.publish(agents=[agent("ana", "blocked", ask=ask("Bash: rm -rf /", k1="Yes"))])
        await until(lambda: "rm -rf /" in text(app), pilot)
        app.swapped_at = time.monotonic() + 60  # this very moment, on a slow machine as well
        await pilot.press("1")
        assert "just asked in the place of something else" in app.said
        assert link.orders() == []
        app.swapped_at = 0.0
        await pilot.press("1")
        await until(link.orders, pilot)
        assert link.orders()[0][1]["asked"] == "Bash: rm -rf /"


async def test_what_cannot_be_answered_is_said() -> None:
    async with shown() as (app, link, pilot):
        await pilot.press("9")
        assert "has no answer 9" in app.said
        await pilot.press("home", "y")
        assert "boss asks nothing now" in app.said
        assert link.orders() == []
        link.answers["answer"] = CrewError("ana asks something else now: [red]ls\x1b[2J")
        await pilot.press("space", "1")
        await until(lambda: "something else" in app.said, pilot)
        assert "✗ ana asks something else now: [red]ls" in text(app)


async def test_an_answer_in_own_words() -> None:
    question = {"kind": "question", "text": "Which colour?", "options": []}
    link = FakeLink(session("demo", agent("ana", "blocked", ask=question)))
    async with shown(link) as (_, _, pilot):
        await pilot.press("t")
        await until(lambda: pilot.app.query(Input), pilot)
        await pilot.press(*"red", "enter")
        await until(link.orders, pilot)
        assert link.orders()[0][1]["choice"] == "red"


async def test_an_end_that_is_on_disk_a_moment_later_is_waited_for() -> None:
    """The view is told before the commit: the outbox may still say `typing` when it is asked."""
    link = FakeLink(view())
    states = iter(["typing", "typing", "typing", "delivered"])

    async def request(verb: str, **args: Any) -> Json:
        return {"message": {"number": 9, "state": next(states), "detail": ""}}

    link.request = request  # type: ignore[method-assign]
    async with shown(link) as (app, _, pilot):
        await pilot.press("end", "s", "x", "ctrl+s")
        await until(lambda: app.said == "message 9 delivered to cid", pilot)


async def test_sending_and_its_draft() -> None:
    link = FakeLink(view(messages=[message(9, "boss", "queued", "it works")]))
    link.answers["send"] = {"message": {"number": 9, "state": "queued", "detail": "it works"}}
    async with shown(link) as (app, _, pilot):
        await pilot.press("home", "s")
        await until(lambda: app.query(TextArea), pilot)
        await pilot.press(*"one", "enter", *"q", "escape")
        await until(lambda: not app.query(TextArea), pilot)
        assert app.is_running
        await pilot.press("down", "s")
        assert app.query_one(TextArea).text == ""
        await pilot.press("escape", "up", "s")
        assert app.query_one(TextArea).text == "one\nq"
        await pilot.press("ctrl+s")
        await until(lambda: "message 9 to boss is queued: it works" in app.said, pilot)
        sent = [args for verb, args in link.orders() if verb == "send"]
        # The second time the same one is asked about.
        assert {(args["id"], args["agent"], args["text"]) for args in sent} == {
            (sent[0]["id"], "boss", "one\nq")
        }
        await pilot.press("s", "ctrl+s")
        assert "the text is empty" in app.said
        await pilot.press(*"!ls", "ctrl+s")
        assert "shell command" in app.said
        assert len([verb for verb, _ in link.orders() if verb == "send"]) == len(sent)


@pytest.mark.parametrize("key", ["s", "slash"])
async def test_a_field_that_is_gone_may_be_drawn_once_more(key: str) -> None:
    async with shown() as (app, _, pilot):
        await pilot.press(key)
        field = app.query_one("Prompt").query_one("Area, TextLine")
        await pilot.press("escape")
        await until(lambda: not field.is_attached, pilot)
        field.notify_style_update()  # as it is when the keyboard went elsewhere
        assert [strip.text for strip in field.render_lines(Region(0, 0, 5, 2))] == [" " * 5] * 2


async def test_keys_that_come_in_one_go_go_where_they_belong() -> None:
    def hit(app: Dashboard, *keys: str) -> None:
        for key in keys:
            app.post_message(events.Key(key, key if len(key) == 1 else None))

    link = FakeLink(view())
    link.answers["send"] = {"message": {"number": 9, "state": "delivered", "detail": ""}}
    async with shown(link) as (app, _, pilot):
        # What follows the s is text: none of it may answer, restart or quit.
        words = "yes1nXRq" * 8
        hit(app, "s", *words, "ctrl+s")
        await until(link.orders, pilot)
        assert [(verb, args["text"]) for verb, args in link.orders()] == [("send", words)]
        hit(app, "R", "y")
        await until(lambda: len(link.orders()) == 2, pilot)
        await until(lambda: len(app.screen_stack) == 1, pilot)
        hit(app, "n", "y", "1", "enter")
        await until(lambda: len(link.orders()) == 3, pilot)
        assert [verb for verb, _ in link.orders()] == ["send", "restart", "answer"]
        assert link.orders()[2][1]["reason"] == "y1"


@pytest.mark.parametrize(("key", "verb"), [("R", "restart"), ("X", "stop")])
async def test_what_is_asked_once(key: str, verb: str) -> None:
    async with shown() as (app, link, pilot):
        await pilot.press(key)
        await until(lambda: f"{verb.capitalize()} ana? It is blocked." in text(app), pilot)
        await pilot.press("n")
        assert link.orders() == []
        await pilot.press(key, "y")
        await until(lambda: link.orders() == [(verb, {"agent": "ana"})], pilot)


async def test_interrupt_and_refusals_in_the_supervisors_own_words() -> None:
    link = FakeLink(view())
    link.answers["interrupt"] = {"note": "its prompt was cleared"}
    async with shown(link) as (app, _, pilot):
        await pilot.press("i")
        await until(lambda: app.said == "ana was interrupted: its prompt was cleared", pilot)
        link.answers["interrupt"] = UserError("ana is ready: nothing to interrupt")
        await pilot.press("i")
        await until(lambda: app.said == "ana is ready: nothing to interrupt", pilot)


async def test_help_palette_dark_and_quit() -> None:
    async with shown() as (app, _, pilot):
        await pilot.press("question_mark")
        await until(lambda: "only agents with these words" in text(app), pilot)
        await pilot.press("escape", "d")
        assert app.theme == "textual-light"
        await pilot.press("d", "ctrl+p")
        await until(lambda: len(app.screen_stack) == 2, pilot)
        await pilot.press("escape", "enter")
        assert "no terminal" in app.said
        await pilot.press("q")
        assert app.return_code == 0


async def test_the_mouse() -> None:
    async with shown() as (app, link, pilot):
        await pilot.click("#team", offset=(5, 3))
        assert app.chosen == "bob"
        await pilot.click("#needs", offset=(5, 1))
        assert app.chosen == "ana"
        assert link.orders() == []
        await pilot.click("#needs", offset=(5, 3))
        await until(link.orders, pilot)
        assert link.orders()[0][1]["choice"] == "2"
        await pilot.click("#footer", offset=(17, 0))
        await until(lambda: app.query(TextArea), pilot)
        # Again, and elsewhere, while it is open: what was typed is kept.
        await pilot.press(*"half")
        await pilot.click("#team", offset=(5, 1))
        await pilot.press("s")
        await until(lambda: [area.text for area in app.query(TextArea)] == [""], pilot)
        await pilot.click("#team", offset=(5, 1))
        await pilot.press("escape")
        assert app.drafts == {"ana": "half", "boss": ""}
        assert not app.query(TextArea)


# -- how much is painted --------------------------------------------------------------------------


async def test_nothing_is_painted_while_nothing_changes() -> None:
    moment = [time.time()]
    link = FakeLink(session("demo", agent("a", since=moment[0] - 120), agent("b", since=moment[0])))
    app = Dashboard(link, words(), lambda: moment[0])
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: app.painted is not None, pilot)
        await pilot.pause()
        before = app.team.repainted
        for _ in range(3):
            app.paint_now()
        assert app.team.repainted == before
        moment[0] += 5  # "now" becomes 5s for one of them; the other says 2m still
        app.paint_now()
        assert app.team.repainted == before + 1


async def test_changes_are_painted_at_most_twice_a_second() -> None:
    moment = time.time()  # or the others would be repainted as well, when they are 15 s old
    async with shown(clock=lambda: moment) as (app, link, pilot):
        before, began = app.team.repainted, time.monotonic()
        for number in range(50):
            link.publish(agents=[agent("bob", "working", detail=f"step {number}")])
            await pilot.pause()
        # At once, then twice a second for as long as a busy machine takes.
        assert app.team.repainted - before <= 2 + 2 * (time.monotonic() - began)
        await until(lambda: "step 49" in text(app), pilot)


@pytest.mark.parametrize("size", [(20, 8), (80, 24), (139, 24), (140, 40), (200, 60)])
async def test_sizes(size: tuple[int, int]) -> None:
    link = FakeLink(view(edited=["crew.toml"]))
    async with shown(link, size) as (app, _, pilot):
        await until(lambda: "ana" in text(app), pilot)
        lines = text(app).split("\n")
        assert "demo" in lines[0]
        assert app.panels["detail"].size.height >= (1 if size[1] < 24 else 6)
        columns, rows = size[1] * 2, size[0] // 2 + 8
        await pilot.resize_terminal(columns, rows)
        await until(lambda: app.size == (columns, rows) and "ana" in text(app), pilot)
