"""A link that does as a test says: what is told, asked and answered is in its hands."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from orchestrator.client import Json, merge
from orchestrator.dashboard.link import Changed, Connected, Told
from orchestrator.dashboard.words import Words
from orchestrator.errors import CrewError


class FakeLink:
    """`answers[verb]` is the final answer, or the error; `streams[verb]` what comes of it."""

    def __init__(self, view: Json) -> None:
        self.view = view
        self.asked: list[tuple[str, Json]] = []
        self.opened: list[tuple[str, Json]] = []
        self.answers: dict[str, Json | CrewError] = {}
        self.streams: dict[str, list[Json]] = {}
        self._tell: Callable[[Told], None] = lambda told: None

    async def run(self, tell: Callable[[Told], None]) -> None:
        self._tell = tell
        tell(Connected(self.view))
        await asyncio.Event().wait()

    def tell(self, told: Told) -> None:
        self._tell(told)

    def publish(self, **part: Any) -> None:
        """Something has changed."""
        self.view = merge(self.view, part)
        self._tell(Changed(self.view))

    async def request(self, verb: str, **args: Any) -> Json:
        self.asked.append((verb, args))
        answer = self.answers.get(verb, {})
        if isinstance(answer, CrewError):
            raise answer
        return answer

    async def stream(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        self.opened.append((verb, args))
        for line in self.streams.get(verb, ()):
            yield line
        await asyncio.Event().wait()

    def orders(self) -> list[tuple[str, Json]]:
        """What was asked for, but for what only looks."""
        return [(verb, args) for verb, args in self.asked if verb not in ("why", "logs")]


def words(attached: list[str] | None = None) -> Words:
    """Plain words in the place of the command line's."""
    return Words(
        event=lambda row, columns, now: None if row.get("dull") else f"event {row['seq']}",
        why=lambda reasons, agent, columns, now: [f"because {reasons['detail']}"],
        kinds=lambda: ["hook_received"],
        typed=lambda sentence: sentence.replace("`crew ", "`bin/crew "),
        attach=(attached if attached is not None else []).append,
    )
