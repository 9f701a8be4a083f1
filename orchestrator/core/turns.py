"""One turn as its transcript tells it: what the agent says from a prompt of ours on. Pure.

its prompt        a line of its own; or, where the agent was busy, one queued, and then a line,
                  a line with others, or one that joins the turn that is going on
its words         every text of the main conversation from there on
its end           the CLI's own mark, an interruption, an error, or the next prompt
"""

from typing import Literal

from orchestrator.core.receipts import comparable, is_receipt
from orchestrator.core.values import value

# Seconds that a line's time may be behind ours: it has milliseconds, or seconds alone.
FINE, COARSE = 0.002, 1.0


@value
class TurnLine:
    """What one line of a transcript tells of a turn: every text is whole.

    `queued` is a prompt that was taken while a turn ran; one that `joins` it starts no other.
    `error` is what the CLI says in the agent's place when it gives up.
    """

    uuid: str | None = None
    at: float | None = None
    prompt: str | None = None
    joins: bool = False
    queued: str | None = None
    # The model answered, with or without words: it may use a tool.
    works: bool = False
    words: str | None = None
    error: str | None = None
    ends: Literal["over", "interrupted"] | None = None


def is_older(at: float, since: float) -> bool:
    """Whether a line of that time was there before `since`; both wall clock."""
    return at < since - (COARSE if at == int(at) else FINE)


class Turn:
    """The turn of `sent`, a text that was typed at wall clock `since` or later."""

    def __init__(self, sent: str, since: float) -> None:
        self.sent = sent
        self.since = since
        # Our prompt is waiting for its turn; its turn began, at this time.
        self.queued = False
        self.began = False
        self.at: float | None = None
        self.words: list[str] = []
        self.error: str | None = None
        self.ended: Literal["over", "interrupted"] | None = None
        # The conversation has gone on to another prompt.
        self.left = False
        self._worked = False
        self._waiting: list[str] = []
        self._known: set[str] = set()

    def take(self, line: TurnLine) -> str | None:
        """Take in the next line; the agent's words, if it holds any of this turn."""
        if self.left or (line.uuid is not None and line.uuid in self._known):
            return None
        if line.uuid is not None:
            self._known.add(line.uuid)
        if self.began and self.at is not None and line.at is not None and line.at < self.at:
            return None  # History: the file was made anew, and is read again.
        if line.prompt is not None:
            self._prompt(line, line.prompt)
        elif line.queued is not None:
            self._waiting.append(line.queued)
            self.queued = self.queued or (not self._is_before(line) and self._is_ours(line.queued))
        elif self.began:
            return self._go_on(line)
        return None

    def _prompt(self, line: TurnLine, prompt: str) -> None:
        if not self.began:
            ours = self._is_ours(prompt) or (self.queued and self._is_in(prompt))
            self.began = ours and not self._is_before(line)
            self.at = line.at if self.began else None
        elif not line.joins:
            # What had waited together with ours is answered together with it.
            together = not self._worked and any(is_receipt(w, prompt) for w in self._waiting)
            self.left = not (self.queued and together)

    def _go_on(self, line: TurnLine) -> str | None:
        if line.works:
            # An end, or an error, after which the turn went on was none.
            self._worked, self.ended, self.error = True, line.ends, None
        elif line.error is not None:
            self.ended, self.error = "over", line.error
        elif line.ends is not None and self.ended != "interrupted":
            self.ended = line.ends
        if line.words is not None:
            self.words.append(line.words)
        return line.words

    def _is_ours(self, prompt: str) -> bool:
        return is_receipt(self.sent, prompt)

    def _is_in(self, prompt: str) -> bool:
        """Whether several prompts, of which ours is one, were made into this one."""
        return comparable(self.sent) in comparable(prompt)

    def _is_before(self, line: TurnLine) -> bool:
        """Whether the line is older than what we sent: the same words may have been said before."""
        return line.at is not None and is_older(line.at, self.since)
