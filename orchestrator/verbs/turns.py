"""The answer to a message: what the agent says in the turn that it starts, as it says it.

The supervisor's stream says that something has changed, and when the turn is over; the words are
read from the agent's transcript, which it appends to line by line. Neither is enough: a turn may
be over before anybody saw it begin, and its prompt be told before, or after, its status.
"""

import time
from collections.abc import Callable
from typing import Literal, cast

from orchestrator.client import Client
from orchestrator.core.dialects import Dialect, read_turn_line
from orchestrator.core.paste import clean_text
from orchestrator.core.receipts import PERSON, framed, is_command
from orchestrator.core.text import safe_text
from orchestrator.core.turns import Turn
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from orchestrator.verbs.common import View, agent_of, hint
from orchestrator.verbs.lines import Lines
from orchestrator.verbs.recorded import follow_while_up

# Seconds. What is told in two ways is told within so much of each other: the end of a turn and
# its last words, an interruption and the Stop hook by which it was none, a death and its status.
SETTLED = 2.0
# An agent that is ready, and of whose turn nothing was heard for so long, is in none.
QUIET = 30.0
# Statuses of an agent that is in its conversation, and may be in our turn; what the others mean.
PRESENT = ("ready", "working", "blocked", "limited")
ABSENT = {"backoff": "died", "failed": "died", "exited": "ended", "lost": "was lost"}
SHOWN = 200  # characters of what is asked, or went wrong: one line


class Answer:
    """What an agent answers to `text`. Made before that is sent: what is there is history.

    `show` is given each text as it comes; `note`, what else a person should know meanwhile.
    """

    def __init__(
        self,
        client: Client,
        paths: SessionPaths,
        agent: str,
        text: str,
        *,
        show: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._client = client
        self._paths = paths
        self._name = agent
        self._text = text
        self._show = show
        self._note = note
        self._lines = Lines(self._agent().get("transcript"))
        self._sent_at = time.time()
        self._dialect: Dialect = "claude"
        self._number = 0
        self._run: int | None = None
        self._last: View | None = None
        # When it is over if nothing changes; when a question is told as it is.
        self._due: float | None = None
        self._ask_due: float | None = None
        self._asked: tuple[float, str] | None = None
        self.turn = Turn("", 0.0)

    def is_told(self) -> bool:
        """Whether the agent has a transcript, and anything to tell when a turn is over."""
        agent = self._agent()
        dialect, path = agent.get("dialect"), agent.get("transcript")
        if dialect is None or path is None or is_command(self._text):
            return False
        self._dialect = cast(Dialect, dialect)
        return True

    def _agent(self) -> View:
        return agent_of(self._client.request("status")["view"], self._name)

    def follow(self, message: View, timeout: float | None) -> None:
        """Show the turn that `message`, which was delivered, has started, until it is over.

        Raises CrewError that says how, if that is not by itself, and TimeoutError.
        """
        self._number, self._run = message["number"], message.get("run")
        sender = message.get("sender") or PERSON
        sent = framed(self._number, sender, clean_text(self._text))
        self.turn = Turn(sent, message.get("typed_at") or self._sent_at)
        end = None if timeout is None else time.monotonic() + timeout
        while not self._watch(end):
            pass

    def _watch(self, end: float | None) -> bool:
        """Follow the changes until the turn is over, or until what was due has been looked at."""
        left = None if end is None else end - time.monotonic()
        try:
            for view in self._client.views(
                timeout=left, until=lambda: self._due, revive=follow_while_up(self._paths)
            ):
                agent = next((a for a in view["agents"] if a["name"] == self._name), None)
                if self._is_over(agent):
                    return True
        except TimeoutError:
            if end is not None and time.monotonic() >= end:
                raise
            self._due = self._ask_due = None
            return self._is_over(self._last, settled=True)
        raise CrewError(f"{self._name} had not finished: session {self._paths.name} went down")

    # -- what it says and asks ---------------------------------------------------------------------

    def _read(self, agent: View | None) -> bool:
        """Show what is new in the transcript; whether anything is."""
        news = self._take()
        path = agent.get("transcript") if agent else None
        if path is not None and path != self._lines.path and self._lines.move(path):
            # Another conversation. Ours is in it, unless it was seen to begin in the one before.
            self.turn.left = self.turn.began
            news = self._take() or news
        return news

    def _take(self) -> bool:
        lines = self._lines.read()
        for raw in lines:
            line = read_turn_line(self._dialect, raw)
            words = self.turn.take(line) if line is not None else None
            if words is not None:
                self._show(words)
        return bool(lines)

    def look(self, agent: View, *, settled: bool = False) -> None:
        """Say what the agent asks, once. That it asks may be told a moment before what."""
        ask = agent["ask"]
        key = (agent["since"], ask["text"]) if ask else None
        vague = ask is not None and not (ask["tool"] or ask.get("name") or settled)
        due, self._ask_due = self._ask_due, None
        if ask is None or key == self._asked:
            return
        if vague:
            self._ask_due = due or time.monotonic() + SETTLED
            return
        self._asked = key
        name = safe_text(ask.get("name") or ask["kind"])
        choose = hint(self._paths, "answer", self._name, "CHOICE")
        self._note(f"{self._name} asks {name}: {_line(ask['text'])}; answer with {choose}")

    # -- when it is over ---------------------------------------------------------------------------

    def _is_over(self, agent: View | None, *, settled: bool = False) -> bool:
        """`settled`: nothing has changed for as long as was given to it. Raises CrewError."""
        changed = self._read(agent) or agent != self._last
        self._last = agent
        turn = self.turn
        if turn.left or turn.ended == "interrupted":
            return self._end(interrupted=turn.ended is None and not turn.words)
        if agent is None:
            return self._gone("is no longer in the team")
        if self._run is None:
            self._run = agent["run"]
        if agent["run"] != self._run:
            return self._gone("was started again")
        if agent["status"] not in PRESENT:
            awaited = agent["status"] == "exited" and agent["exit"] is None
            if awaited and not settled and turn.ended is None:
                if changed or self._due is None:
                    self._due = time.monotonic() + SETTLED
                return False
            what = ABSENT.get(agent["status"], "was stopped")
            detail = "" if awaited else _line(agent["exit"] or agent["detail"] or "")
            return self._gone(f"{what} ({detail})" if detail and what != "was stopped" else what)
        self.look(agent, settled=settled)
        if agent["status"] != "ready":
            self._due = self._ask_due
            return False
        fresh = turn.at is not None and agent["since"] >= turn.at
        if fresh and self._is_complete(agent):
            return self._end(agent)
        if settled:
            return self._conclude(agent, fresh=fresh)
        if changed or self._due is None:
            soon = fresh or turn.ended is not None or not (turn.began or turn.queued)
            self._due = time.monotonic() + (SETTLED if soon else QUIET)
        return False

    def _is_complete(self, agent: View) -> bool:
        """Whether the last words of a turn that is over are here."""
        if self.turn.ended == "over" or _error_in(agent, self.turn.words):
            return True
        return "interrupted" not in agent["flags"] and _says(self.turn.words, agent["detail"])

    def _conclude(self, agent: View, *, fresh: bool) -> Literal[True]:
        """Nothing more comes from an agent that is ready: say what is to be made of it."""
        turn = self.turn
        interrupted = "interrupted" in agent["flags"] and turn.ended is None
        if turn.began and (fresh or turn.ended is not None):
            return self._end(agent, interrupted=interrupted)
        if turn.words:
            return True
        if interrupted and agent["since"] >= turn.since:
            return self._end(interrupted=True)
        look = hint(self._paths, "logs", self._name)
        raise CrewError(
            f"{self._name} took message {self._number}, but nothing of its turn is in "
            f"{self._lines.path}: look with {look}"
        )

    def _gone(self, how: str) -> Literal[True]:
        if self.turn.ended is not None:
            return self._end()
        raise CrewError(f"{self._name} had not finished: it {how}")

    def _end(self, agent: View | None = None, *, interrupted: bool = False) -> Literal[True]:
        if interrupted or self.turn.ended == "interrupted":
            raise CrewError(f"{self._name} had not finished: it was interrupted")
        error = self.turn.error or (_error_in(agent, self.turn.words) if agent else None)
        if error is not None:
            raise CrewError(f"{self._name} ended its turn with an error: {_line(error)}")
        return True


def _line(text: str) -> str:
    line = " ".join(safe_text(text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _says(words: list[str], detail: str) -> bool:
    """Whether the detail of a status, a line that may be cut, is of the last words."""
    head = " ".join(detail.removesuffix("…").split())
    lines = words[-1].splitlines() if words and head else []
    return any(" ".join(line.split()).startswith(head) for line in lines)


def _error_in(agent: View, words: list[str]) -> str | None:
    """The error that ended a turn, as its status tells it."""
    detail = str(agent["detail"])
    told = detail.startswith("error: ") and not _says(words, detail)
    return detail.removeprefix("error: ") if told else None
