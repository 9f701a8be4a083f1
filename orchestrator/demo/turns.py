"""One turn after the other: what starts one, what ends it, and what waits for its end."""

import time
import uuid

from . import history, script
from .children import Steps
from .session import Interrupted, Session
from .view import THINKING

# Exchanges that are shown of a conversation that is taken up, and characters of each text.
SHOWN_EXCHANGES, SHOWN_TEXT = 5, 2000


class Turns:
    """What runs in a session. `due` is when it has to be looked at again, monotonic seconds."""

    def __init__(self, session: Session, model: str) -> None:
        self.session = session
        self.view = session.view
        self.due: float | None = None
        self._model = model
        # The turn, or what else takes time: the start, a new conversation.
        self._running: Steps[None] | None = None

    @property
    def running(self) -> bool:
        return self._running is not None

    def start(self, source: str) -> None:
        """Be told of the start of a conversation; a turn can follow."""
        self._running = self._started(source)

    def clear(self) -> None:
        """Begin a new conversation in the same process."""
        self._running = self._cleared()

    def submit(self, text: str) -> None:
        """Take a prompt: now, or once the turn that runs is over."""
        if self._running is not None:
            self._enqueue(text)
        else:
            self._running = self._turn([text], announced=False)
            self.advance()

    def interrupt(self) -> bool:
        """End the turn, if one runs."""
        if self._running is None or self.view.doing is None:
            return False
        self._running.close()
        if self._is_unanswered():
            self._put_back()
        else:
            self._interrupted()
        return True

    def close(self) -> None:
        """Leave off in the middle: children of the turn end with it."""
        if self._running is not None:
            self._running.close()
        self.view.doing = self.view.dialog = None

    def advance(self) -> None:
        """Let what runs go on as far as it can; then the next turn, if prompts wait."""
        while self._running is not None:
            try:
                self.due = next(self._running)
                return
            except StopIteration:
                self._rest()
            except Interrupted:
                self._interrupted()

    # -- what runs ---------------------------------------------------------------------------------

    def _started(self, source: str) -> Steps[None]:
        yield from self.session.hook("SessionStart", source=source, model=self._model)

    def _cleared(self) -> Steps[None]:
        yield from self.session.hook("SessionEnd", reason="clear")
        self.session.begin(str(uuid.uuid4()))
        self.view.print("")
        self.view.print("(a new conversation)", style="2")
        yield from self._started("clear")

    def _turn(self, prompts: list[str], *, announced: bool) -> Steps[None]:
        """One turn, from its prompt to the Stop hook. `announced`: hooks were told already."""
        session, view = self.session, self.view
        text, begun = history.merged(prompts), time.monotonic()
        cut = history.cut_turn(session.transcript.records)
        session.prompt, session.place = text, len(session.transcript.records)
        session.last_words = ""
        view.doing, view.begun, view.dirty = THINKING, begun, True
        session.status.set("busy")
        # On disk before anybody is told that it was taken.
        session.transcript.append("user", message={"role": "user", "content": text})
        self.print_prompt(text)
        if announced:
            session.transcript.append("queue-operation", operation="dequeue")
        else:
            session.prompt_id = str(uuid.uuid4())
            yield from session.hook("UserPromptSubmit", prompt=text)
        if history.is_continue(text):
            yield from script.go_on(session, cut)
        else:
            yield from script.perform(session, text)
        seconds = time.monotonic() - begun
        session.transcript.append("system", subtype="turn_duration", durationMs=int(seconds * 1000))
        view.print("")
        view.print(f"✻ Worked for {seconds:.0f}s", style="2")
        yield from session.hook(
            "Stop",
            stop_hook_active=False,
            last_assistant_message=session.last_words,
            background_tasks=[],
            session_crons=[],
        )

    def _rest(self) -> None:
        """Nothing runs any more: the prompts that waited are the next turn."""
        self._running, self.due = None, None
        self.view.dirty = self.view.ready = True
        if self.view.queued:
            prompts, self.view.queued = self.view.queued, []
            self._running = self._turn(prompts, announced=True)
            return
        self.view.doing = None
        self.session.status.set("idle")

    def _interrupted(self) -> None:
        """The turn was ended by the person: no hook tells of it."""
        block = {"type": "text", "text": history.INTERRUPTED}
        self.session.transcript.append("user", message={"role": "user", "content": [block]})
        self.view.print("Interrupted · What should I do instead?", first="  ⎿  ", rest="     ")
        self._rest()

    def _is_unanswered(self) -> bool:
        """Whether nothing of an answer is there yet, and nothing stands in the prompt's way."""
        begun = self.session.transcript.records[self.session.place :]
        answered = any(record.get("type") == "assistant" for record in begun)
        return not (answered or self.view.queued or self.view.draft)

    def _put_back(self) -> None:
        """Give the prompt back to the person, to be changed. Nothing tells of that either."""
        self.session.transcript.append("system", subtype=history.PUT_BACK)
        self.view.print("(back in the input line)", first="  ⎿  ", rest="     ", style="2")
        self.view.draft = self.session.prompt
        self._rest()

    def _enqueue(self, text: str) -> None:
        """Take a prompt while a turn runs. Hooks are told now, as it has been taken."""
        session = self.session
        session.transcript.append("queue-operation", operation="enqueue", content=text)
        self.view.queued.append(text)
        session.prompt_id = str(uuid.uuid4())
        session.fire("UserPromptSubmit", prompt=text)
        if self.view.doing is None:
            # It came while the agent was starting: a turn follows.
            self.view.doing, self.view.begun = THINKING, time.monotonic()

    # -- what was ----------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up the conversation and show its end. It does not go on by itself, and what was
        queued when its process was killed is lost, as with the Claude CLI."""
        self.session.transcript.load()
        records = self.session.transcript.records
        for prompt, answers in history.exchanges(records, SHOWN_EXCHANGES):
            self.print_prompt(prompt)
            for answer in answers:
                self.view.print("")
                self.view.print(answer[:SHOWN_TEXT], first="● ", rest="  ")

    def print_prompt(self, text: str) -> None:
        more = len(text) - SHOWN_TEXT
        shown = text[:SHOWN_TEXT] + (f"… and {more} more characters" if more > 0 else "")
        self.view.print("")
        # Not the sign of the input line: what was said is not a draft.
        self.view.print(shown, first="> ", rest="  ", style="1")
