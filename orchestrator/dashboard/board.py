"""The board: what is known of the session, which agent is in hand, and painting both.

What comes from the link arrives as messages; handlers own every change, and paint. What the keys
do is in `app.py`.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.worker import Worker

from orchestrator.core.numbers import age
from orchestrator.core.wording import View
from orchestrator.dashboard import layout, model
from orchestrator.dashboard.feeds import TABS, Feed
from orchestrator.dashboard.lines import DOT, Line, Run, fit, joined, line_width, one_line, spread
from orchestrator.dashboard.link import Changed, Connected, Link, Lost, Recorded, Regained, Told
from orchestrator.dashboard.needs import Need, binding, needs
from orchestrator.dashboard.pace import Pace
from orchestrator.dashboard.team import chosen_agents
from orchestrator.dashboard.theme import Themed
from orchestrator.dashboard.widgets.panel import Panel
from orchestrator.dashboard.widgets.panels import NeedsPanel, TeamPanel
from orchestrator.dashboard.words import Words
from orchestrator.errors import CrewError

# Seconds between two paintings: of the board, of the live screen; and between two looks at the
# clock, for what says how long ago something was.
BOARD, SCREEN, CLOCK = 0.5, 0.25, 5.0
# Seconds for which an agent is in hand before it is asked for more: keys may just pass over it.
DWELL = 0.12
# Seconds after the first painting by which it is seen, and nothing else is to be done.
SEEN = 0.3


class Heard(Message):
    """The link has told of something, which waits to be taken; `urgent`: and to be seen at once."""

    def __init__(self, urgent: bool) -> None:
        super().__init__()
        self.urgent = urgent


class Fed(Message):
    """There is more of the agent in hand."""


class Board(Themed[None]):
    """The panels and what is in them. `clock` gives seconds since the epoch."""

    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (layout.WIDE, "-wide")]  # noqa: RUF012 - as Textual has it

    def __init__(self, link: Link, words: Words, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.link = link
        self.words = words
        self.clock = clock
        # As it is, and as it was last painted: a person answers what is painted.
        self.view: View | None = None
        self.painted: View | None = None
        # What the link has told and is not taken yet, in its order.
        self._told: list[Told] = []
        self._ages: list[str] = []
        self.trouble: str | None = None
        self.found: list[Need] = []
        # The agent in hand, and the need in hand, which may be about a message to it.
        self.chosen: str | None = None
        self.need: str | None = None
        # When what it asks was last painted over by something else that it asks; monotonic.
        self.swapped_at = float("-inf")
        self.tab = TABS[0]
        self.wanted = ""
        self.sort = "team"
        self.feed: Feed | None = None
        # Messages that were begun and left, by agent.
        self.drafts: dict[str, str] = {}
        self._pace = Pace(self, BOARD, self._paint)
        self._screen_pace = Pace(self, SCREEN, self._paint_detail)

    def compose(self) -> ComposeResult:
        yield Panel("header")
        yield Panel("remarks")
        with Container(id="main"):
            with Container(id="left"):
                yield NeedsPanel("needs")
                yield TeamPanel("team")
            with Container(id="right"):
                yield Panel("tabs")
                yield Panel("detail", focus=True)
        yield Panel("footer")
        yield Panel("said")

    def on_mount(self) -> None:
        self.panels = {panel.id: panel for panel in self.query(Panel)}
        self.team = self.query_one("#team", TeamPanel)
        self.needy = self.query_one("#needs", NeedsPanel)
        self.team.focus()
        self.set_interval(CLOCK, self._grow_older)
        self._start(partial(self.link.run, self._hear), group="link")
        self._paint()

    def on_resize(self, _: events.Resize) -> None:
        self.call_after_refresh(self._pace.now)

    def _start(self, work: Callable[[], Coroutine[None, None, None]], group: str) -> None:
        """Run `work` in the place of what else runs in that group."""
        _: Worker[None] = self.run_worker(work, group=group, exclusive=True)

    def _hear(self, told: Told) -> None:
        """Keep it until it is taken. Of changes in a row the newest holds all."""
        if self._told and isinstance(told, Changed) and isinstance(self._told[-1], Changed):
            self._told[-1] = told
            return
        self._told.append(told)
        self.post_message(Heard(not isinstance(told, Changed)))

    # -- what is told -----------------------------------------------------------------------------

    def on_heard(self, heard: Heard) -> None:
        """What was told is taken when it is painted: there may be hundreds of changes a second."""
        if heard.urgent:
            self._pace.now()
        else:
            self._pace.soon()

    async def on_event(self, event: events.Event) -> None:
        """A person who does something does it with what is known by then."""
        if isinstance(event, events.InputEvent):
            self.catch_up()
        await super().on_event(event)

    def catch_up(self) -> None:
        """Take all that the link has told."""
        waiting, self._told = self._told, []
        for told in waiting:
            self._take(told)

    def _take(self, told: Told) -> None:
        before = model.agent_of(self.view, self.chosen)
        match told:
            case Lost():
                self.trouble = told.reason
                return
            case Regained():
                self.trouble = None
            case Recorded():
                self.view, self.trouble = told.view, told.reason
            case _:
                self.view, self.trouble = told.view, None
        self._settle()
        if isinstance(told, Connected):
            self.refollow()  # what the streams were about may have ended meanwhile
        self._reconsider(before)

    def _settle(self) -> None:
        """Have an agent in hand if there is one: who needs a person, else the first."""
        self.found = needs(self.view, self.clock())
        names = [agent["name"] for agent in self.view["agents"]] if self.view else []
        if self.chosen not in names:
            first = next((need.agent for need in self.found if need.agent in names), None)
            self.choose(first or (names[0] if names else None))
        keys = [need.key for need in self.found]
        if self.need not in keys:
            mine = (need.key for need in self.found if need.agent == self.chosen)
            self.need = next(mine, None)

    def choose(self, name: str | None, need: str | None = None) -> None:
        """Take an agent in hand, and with it what it needs."""
        mine = [one.key for one in self.found if one.agent == name]
        self.need = need if need in mine else next(iter(mine), None)
        if name != self.chosen:
            self.chosen = name
            self.refollow()

    def _reconsider(self, before: View | None) -> None:
        """The reasons for a status are asked for again when it is another one."""
        agent, feed = model.agent_of(self.view, self.chosen), self.feed
        if feed is None or feed.tab != "events" or agent is None or before is None:
            return
        if (before["status"], before["since"]) != (agent["status"], agent["since"]):
            self._start(partial(self._quietly, feed), group="why")

    async def _quietly(self, feed: Feed) -> None:
        with contextlib.suppress(CrewError):
            await feed.reconsider(self._fed)

    # -- the agent in hand ------------------------------------------------------------------------

    def refollow(self) -> None:
        """Follow the agent in hand on the tab in hand, from the start."""
        if self.chosen is None:
            self.feed = None
            return
        self.feed = Feed(self.link, self.words, self.chosen, self.tab)
        self._start(partial(self._follow, self.feed), group="feed")
        self.panels["detail"].to_end()

    async def _follow(self, feed: Feed) -> None:
        await asyncio.sleep(DWELL)
        await feed.run(self._fed)

    def _fed(self) -> None:
        self.post_message(Fed())

    def on_fed(self) -> None:
        self._screen_pace.soon()

    # -- painting ---------------------------------------------------------------------------------

    def paint_now(self) -> None:
        """A key was pressed: its effect is seen at once."""
        self._pace.now()

    def _grow_older(self) -> None:
        """Paint if an age is told otherwise by now."""
        # An agent's events are told with their ages as well.
        if self.tab != "screen" or self._ages != self._told_ages():
            self._pace.soon()

    def _told_ages(self) -> list[str]:
        return model.ages(self.view, self.clock()) if self.view else []

    def _paint(self) -> None:
        self.catch_up()
        if self.painted is None and self.view is not None and not self.is_headless:
            self.set_timer(SEEN, _set_aside)
        self._note_swap()
        self.painted = self.view
        self._ages = self._told_ages()
        self.panels["header"].show(lambda columns: [self._header(columns)])
        self._arrange()
        if self.view is not None:
            self.team.show_team(self.view, self.clock(), self.wanted, self.sort, self.chosen)
        self.panels["tabs"].show(lambda columns: [self._tabs(columns)])
        self.panels["footer"].show(lambda columns: [self.footer(columns)])
        self._screen_pace.now()

    def _note_swap(self) -> None:
        """Remember when another question took the place of the one that a person was reading."""
        before = model.agent_of(self.painted, self.chosen)
        agent = model.agent_of(self.view, self.chosen)
        old, new = (one.get("ask") if one else None for one in (before, agent))
        if old and new and binding(old) != binding(new):
            self.swapped_at = time.monotonic()

    def _header(self, columns: int) -> Line:
        return ((" ", ""), *model.header(self.view, self.trouble, columns - 2), (" ", ""))

    def footer(self, columns: int) -> Line:
        """The keys; `app.py` knows them."""
        return ()

    def _arrange(self) -> None:
        """Give the panels their heights, and show those whose lines decide on these."""
        size = self.size
        self.found = needs(self.view, self.clock())
        told = model.remarks(self.view, self.trouble, max(1, size.width - 2), self.words.typed)
        told += self._narrowed(max(1, size.width - 2))
        self._remark(told)
        self.panels["remarks"].show(lambda columns: [((" ", ""), *line) for line in told])
        wanted = self.needy.show_needs(self.found, self.need, self.team.columns or size.width)
        agents = len(chosen_agents(self.view, self.wanted)) if self.view else 0
        rows = layout.share(size.height - 2 - len(told), size.width, wanted, agents)
        heights: tuple[tuple[Any, int], ...] = (
            (self.panels["remarks"], len(told)),
            (self.needy, rows.needs),
            (self.team, rows.team),
        )
        for panel, height in heights:
            if panel.styles.height is None or panel.styles.height.value != height:
                panel.styles.height = height
        self.needy.can_focus = bool(rows.needs)

    def _narrowed(self, columns: int) -> list[Line]:
        """Says that not everybody is shown."""
        if self.view is None or not self.wanted.strip():
            return []
        shown, of = len(chosen_agents(self.view, self.wanted)), len(self.view["agents"])
        told = f"/ {one_line(self.wanted)}: {shown} of {of} agents are shown; / and esc shows all"
        return [fit(((told, "warn"),), columns)]

    def _remark(self, told: list[Line]) -> None:
        """A remark is red where something is wrong, and not where it is only news."""
        wrong = any(look == "bad" for line in told for _, look in line)
        self.panels["remarks"].set_class(wrong, "wrong")

    def _tabs(self, columns: int) -> Line:
        agent = model.agent_of(self.view, self.chosen)
        if self.view is None or agent is None:
            return ()
        glyph, look = model.LOOKS.get(agent["status"], model.UNKNOWN)
        left: list[Any] = [(f" {one_line(agent['name'])} ", "strong")]
        for tab in TABS:
            shown = f"[{tab.title()}]" if tab == self.tab else f" {tab.title()} "
            left += [(shown, "key" if tab == self.tab else "dim")]
        told = f"{glyph} {one_line(agent['status'])} {age(self.clock() - agent['since'])} "
        status: Run = (told, look)
        room = columns - line_width((*left, status, (DOT, ""))) - 1
        uses = model.uses(model.sample_of(self.view, agent["name"]), room)
        return spread(tuple(left), joined([(uses, "dim"), status]), columns)

    def _paint_detail(self) -> None:
        detail, feed, view = self.panels["detail"], self.feed, self.view
        agent = model.agent_of(view, self.chosen)
        if feed is None or view is None or agent is None:
            what = self.words.typed("there is no agent: `crew up` launches a team")
            empty: Line = ((f" {what}", ""),)
            detail.show(lambda columns: [fit(empty, columns)] if view is not None else [])
            return
        detail.show(lambda columns: feed.lines(view, agent, columns, self.clock()), follow=True)


def _set_aside() -> None:
    """Have garbage be looked for among what comes from now on.

    What is there by now stays for good, and to look through all of it takes longer than a person
    is to wait for the effect of a key.
    """
    gc.collect()
    gc.freeze()
