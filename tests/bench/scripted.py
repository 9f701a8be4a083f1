"""A scripted supervisor of many agents, so that its clients alone are measured.

`python -m tests.bench.scripted SESSION AGENTS` serves that session of this HOME until its stdin
ends. A line `busy` there starts the changes, `quiet` ends them; each is answered with itself.
"""

import itertools
import sys
import threading
import time
from collections.abc import Iterator

from orchestrator.client import Json
from orchestrator.core.frames import Teller
from orchestrator.locations import session_paths
from tests.fake_supervisor import FakeSupervisor, agent, ask

# Each agent changes this often in a second, and so many are told of at once: hooks of different
# agents come one by one, and a supervisor under load tells of some at a time.
CHANGES, TOGETHER = 10, 10
# Its live screen: how often in a second at most, its rows and their width.
FRAMES, ROWS, COLUMNS = 4, 45, 80
# Long enough ago that no age on the screen changes while it is looked at.
LONG_AGO = 3.5 * 86400


def team(count: int) -> list[Json]:
    """`count` agents, as a large team at work has them: three of them ask something."""
    return [_agent(number, 0) for number in range(1, count + 1)]


def _agent(number: int, step: int) -> Json:
    """Agent `number` after `step` changes; 0: it has been as it is for days."""
    states = ("working", "working", "ready") if number > 3 else ("blocked",)
    status = states[(number + step) % len(states)]
    used = 1000 * number + 37 * step
    usage = {"input": used, "output": used // 9, "cache_write": 0, "cache_read": 0}
    return agent(
        f"agent-{number:03d}",
        status,
        role=f"role-{number % 7}",
        doing="tool" if status == "working" else None,
        detail=f"Edit: src/module_{number}/file_{step}.py",
        since=time.time() - (0 if step else LONG_AGO),
        ask=ask(f"Bash: rm -r build/{number}", k1="Yes", k2="No") if status == "blocked" else None,
        usage={
            **usage,
            "cost_usd": used / 1e5,
            "models": {},
            "cost_source": "reported",
            "context": {"used": used % 200_000, "size": 200_000},
        },
    )


class Scripted(FakeSupervisor):
    """Serves the team. While `busy` is set, all of it changes."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(session_paths(name), *team(count))
        self.busy = threading.Event()
        self.streams["screen"] = self._screens
        self._count = count
        threading.Thread(target=self._change, daemon=True).start()

    def _change(self) -> None:
        """Tell of a part of the team at a time, evenly spread over each second."""
        gap = TOGETHER / (self._count * CHANGES)
        due = time.monotonic()
        for step in itertools.count(1):
            for first in range(1, self._count + 1, TOGETHER):
                if not self.busy.is_set():
                    self.busy.wait()
                    due = time.monotonic()
                due += gap
                time.sleep(max(0.0, due - time.monotonic()))
                numbers = range(first, min(first + TOGETHER, self._count + 1))
                self.publish(agents=[_agent(number, step) for number in numbers])

    def _answer(self, request: Json) -> Json:
        """Nothing is kept of what was asked, as that grows by megabytes a second while a polling
        client asks, and so would the time that this process takes to look for garbage."""
        self.lines.clear()
        if request["verb"] == "status":
            return {"exit": 0, "view": self.view}
        return super()._answer(request)

    def _screens(self, _: Json) -> Iterator[Json]:
        """The live screen of any agent: a log that scrolls while it is busy."""
        teller = Teller()
        for step in itertools.count():
            rows = range(step, step + ROWS)
            lines = [f"\x1b[3{n % 7 + 1}m{n:6d}\x1b[m {'compiled ' * 9}"[:COLUMNS] for n in rows]
            yield teller.line({"lines": lines})
            time.sleep(1 / FRAMES)
            self.busy.wait()


def main(name: str, count: int) -> None:
    """Serve until stdin ends."""
    fake = Scripted(name, count)
    with fake:
        print("ready", flush=True)
        for line in sys.stdin:
            match line.strip():
                case "busy":
                    fake.busy.set()
                case "quiet":
                    fake.busy.clear()
            print(line, end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
