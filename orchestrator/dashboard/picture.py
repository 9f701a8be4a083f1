"""One picture of the dashboard, drawn without a terminal."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from orchestrator.client import Json
from orchestrator.dashboard.app import Dashboard
from orchestrator.dashboard.link import Connected, Link, Told
from orchestrator.dashboard.words import Words
from orchestrator.errors import CrewError

# Seconds until a live session has answered, and, after that, until its screen is there.
ANSWER, SCREEN = 10.0, 2.0
_STEP = 0.02


class Still:
    """A link to a recorded view: nothing changes, and nothing can be asked.

    Beside what `crew status --json` tells, `screens` may hold live screens by the names of agents.
    """

    def __init__(self, view: Json) -> None:
        self._view = view

    async def run(self, tell: Callable[[Told], None]) -> None:
        tell(Connected(self._view))

    async def request(self, verb: str, **args: Any) -> Json:
        raise CrewError("this is a recorded view: nothing can be asked of it")

    async def stream(self, verb: str, **args: Any) -> AsyncGenerator[Json, None]:
        screen = (self._view.get("screens") or {}).get(args.get("agent"))
        if verb != "screen" or screen is None:
            raise CrewError("this is a recorded view: it has no live screen")
        yield {"screen": screen}


def take(
    link: Link, words: Words, size: tuple[int, int], clock: Callable[[], float] | None = None
) -> str:
    """The picture as SVG. `size`: columns and rows. Raises CrewError if nothing is to be seen."""
    return asyncio.run(_take(link, words, size, clock or time.time))


async def _take(link: Link, words: Words, size: tuple[int, int], clock: Callable[[], float]) -> str:
    app = Dashboard(link, words, clock)
    async with app.run_test(size=size) as pilot:
        if not await _until(lambda: app.view is not None, ANSWER):
            raise CrewError(app.trouble or "the session did not answer")
        await _until(lambda: app.feed is None or app.feed.is_filled, SCREEN)
        app.paint_now()
        await pilot.pause()
        return app.export_screenshot(title=f"crew watch · {(app.view or {})['session']}")


async def _until(seen: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_STEP)
    return True
