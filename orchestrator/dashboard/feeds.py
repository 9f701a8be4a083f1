"""What is shown of the agent in hand: its live screen, its events with the reasons, its messages.

A feed collects what comes of one agent for one tab, and makes lines of it; it paints nothing.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Literal

from orchestrator.client import Json
from orchestrator.core.frames import follow
from orchestrator.core.wording import View
from orchestrator.dashboard import terminal
from orchestrator.dashboard.lines import Line, Look, fit, one_line, wrap
from orchestrator.dashboard.link import Link
from orchestrator.dashboard.words import Words
from orchestrator.errors import CrewError, UserError

Tab = Literal["screen", "events", "messages"]
TABS: tuple[Tab, ...] = ("screen", "events", "messages")
# Rows of the journal that are fetched at first, and that are kept.
NEWEST, KEPT = 100, 500
# Lines of a pane that is not live.
LOGS = 200
# Seconds until a live screen is asked for anew.
AGAIN = 0.25
# What tells of messages, and of answers, which are said as well.
SPOKEN = ("send_requested", "message_typed", "message_held", "message_judged", "answer_given")


class Feed:
    """What is known of `agent` for `tab`. `run` fills it; `lines` may be asked at any time."""

    def __init__(self, link: Link, words: Words, agent: str, tab: Tab) -> None:
        self.agent = agent
        self.tab = tab
        self._link = link
        self._words = words
        self._frame: Json | None = None
        self._logs: str | None = None
        self._reasons: Json | None = None
        self._events: deque[Json] = deque(maxlen=KEPT)
        self._wrong = ""

    @property
    def is_filled(self) -> bool:
        """Whether something has come."""
        known = (self._frame, self._logs, self._reasons)
        return bool(self._wrong or self._events) or any(one is not None for one in known)

    async def run(self, changed: Callable[[], None]) -> None:
        """Follow the agent until cancelled."""
        try:
            match self.tab:
                case "screen":
                    await self._screen(changed)
                case "events":
                    await self.reconsider(changed)
                    await self._happens(changed, self._words.kinds())
                case "messages":
                    await self._happens(changed, list(SPOKEN))
        except CrewError as error:
            self._wrong = str(error)
            changed()

    async def reconsider(self, changed: Callable[[], None]) -> None:
        """Ask again why it has its status."""
        self._reasons = (await self._link.request("why", agent=self.agent)).get("why")
        changed()

    async def _screen(self, changed: Callable[[], None]) -> None:
        try:
            while await self._breaks(changed):
                await asyncio.sleep(AGAIN)
        except UserError:  # a supervisor that has no live screens
            await self._last_words()
            changed()

    async def _breaks(self, changed: Callable[[], None]) -> bool:
        """Follow the live screen to its end, False, or to a change that does not fit: asked anew,
        the supervisor tells all of it."""
        async with contextlib.aclosing(self._open("screen", agent=self.agent)) as lines:
            async for line in lines:
                try:
                    self._frame = follow(self._frame, line)
                except ValueError:
                    return True
                if self._frame is None:
                    await self._last_words()
                changed()
        return False

    async def _last_words(self) -> None:
        """What is known of a pane that is not live."""
        answer = await self._link.request("logs", agent=self.agent, lines=LOGS)
        self._logs = str(answer.get("text") or "")

    async def _happens(self, changed: Callable[[], None], kinds: list[str]) -> None:
        asked: dict[str, Any] = {"agent": self.agent, "kinds": kinds, "limit": NEWEST}
        async for line in self._open("events", follow=True, **asked):
            if "event" in line:
                self._events.append(line["event"])
                changed()

    def _open(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        return self._link.stream(verb, **args)

    # -- as lines ---------------------------------------------------------------------------------

    def lines(
        self, view: View, agent: View, columns: int, now: float
    ) -> Sequence[Line | terminal.Styled]:
        """What to show. `agent` is as it is in `view`."""
        if self._wrong:
            return [
                _dim(f" {line}") for line in wrap(self._words.typed(self._wrong), columns - 1, 3)
            ]
        match self.tab:
            case "screen":
                return self._screen_lines(columns)
            case "events":
                return self._event_lines(agent, columns, now)
            case "messages":
                return self._message_lines(view, columns, now)

    def _screen_lines(self, columns: int) -> Sequence[Line | terminal.Styled]:
        if self._frame is not None:
            shown = terminal.screen([str(line) for line in self._frame.get("lines") or ()])
            while shown and not any(text.strip() for text, _ in shown[-1]):
                shown.pop()
            return [terminal.cut(line, columns) for line in shown]
        if self._logs is None:
            return [_dim(" …")]
        lines = [text for row in self._logs.rstrip().split("\n") for text in wrap(row, columns, 20)]
        return [_dim(line) for line in lines]

    def _event_lines(self, agent: View, columns: int, now: float) -> list[Line]:
        told = self._told(columns, now)
        if self._reasons is None:
            return told
        said = self._words.why(self._reasons, agent, columns - 1, now)
        why = [fit(((f" {line}", "" if n else "strong"),), columns) for n, line in enumerate(said)]
        return [*told, (), *why]

    def _message_lines(self, view: View, columns: int, now: float) -> list[Line]:
        waiting = [m for m in view.get("messages") or () if m["to"] == self.agent]
        told = self._told(columns, now)
        if not told and not waiting:
            return [_dim(" no message yet: s sends one")]
        rows: list[Line] = []
        for message in waiting:
            look: Look = "warn" if message["state"] == "unconfirmed" else "busy"
            detail = one_line(message.get("detail"))
            head = f" {message['number']} from {one_line(message['sender'])}: {message['state']}"
            rows.append(fit(((head + (f", {detail}" if detail else ""), look),), columns))
            rows += [((f"   {text}", ""),) for text in wrap(str(message["text"]), columns - 4, 4)]
        return [*told, *([()] if told and rows else []), *rows]

    def _told(self, columns: int, now: float) -> list[Line]:
        """The journal's rows in words, those that say nothing left out."""
        lines = (self._words.event(event, columns - 1, now) for event in self._events)
        return [fit(((f" {line}", ""),), columns) for line in lines if line]


def _dim(text: str) -> Line:
    return ((text, "dim"),)
