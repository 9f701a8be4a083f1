"""What the dashboard asks of the supervisor: the lines that the command line would send.

An answer is bound to what was on the screen when the key was pressed: if something else is asked
by now, the supervisor refuses it.
"""

import asyncio
import contextlib
import signal
import time
import uuid

from textual import work
from textual.timer import Timer

from orchestrator.client import Json
from orchestrator.core.receipts import PENDING, RECEIPT, SETTLED, SOON, is_blank, is_for_shell
from orchestrator.core.wording import View
from orchestrator.dashboard import model, needs
from orchestrator.dashboard.board import Board
from orchestrator.dashboard.lines import Run, wrap
from orchestrator.dashboard.widgets.prompts import Compose, Confirm, Entry, Prompt
from orchestrator.errors import CrewError

# Seconds for which a sentence stands there, and lines that it may take.
SAYS, SAID = 8.0, 4
_STEP = 0.05
# Seconds in which nobody reads a question: a key that comes sooner was meant for the one before.
REACTION = 0.4


class Orders(Board):
    """The board, and the actions that change something in the session."""

    # What the person was told last.
    said = ""
    _silence: Timer | None = None

    def tell(self, sentence: str, *, bad: bool = False) -> None:
        """A sentence for the person, above the keys, until the next one or for some seconds."""
        self.said = sentence
        columns = max(1, self.size.width - 4)
        lines = wrap(self.words.typed(sentence), columns, SAID)
        mark: Run = ("✗ ", "bad") if bad else ("✓ ", "good")
        panel = self.panels["said"]
        panel.styles.height = len(lines)
        panel.show(lambda _: [((" ", ""), ("  ", "") if n else mark, (line, "strong"))
                              for n, line in enumerate(lines)])  # fmt: skip
        if self._silence is not None:
            self._silence.stop()
        self._silence = self.set_timer(SAYS, self.hush)

    def hush(self) -> None:
        """Take away what was said."""
        self.said, self._silence = "", None
        self.panels["said"].styles.height = 0

    def in_hand(self) -> View | None:
        """The agent in hand as it is painted; the person is told if there is none."""
        agent = model.agent_of(self.painted, self.chosen)
        if agent is None:
            self.tell("there is no agent in hand", bad=True)
        return agent

    async def prompt(self, prompt: Prompt) -> None:
        """Put something to type into at the bottom, in the place of what was there.

        Awaited, so that the next key is typed into it, and is no command any more.
        """
        self.action_leave()
        await self.mount(prompt)
        self.screen.set_focus(prompt.field)

    def action_leave(self) -> None:
        """Leave what is typed into, wherever the keyboard is; a message stays as a draft."""
        for prompt in self.query(Prompt):
            if not prompt.is_over:
                prompt.action_leave()

    @work(group="orders")
    async def order(self, done: str, verb: str, agent: str, **args: object) -> None:
        """Ask for `verb`; tell what was done, or the supervisor's own sentence why not."""
        try:
            answer = await self.link.request(verb, agent=agent, **args)
        except CrewError as error:
            self.tell(str(error), bad=True)
            return
        self.tell(f"{done}: {answer['note']}" if answer.get("note") else done)

    # -- answering --------------------------------------------------------------------------------

    def action_answer(self, pressed: str) -> None:
        if (agent := self._asking()) is None:
            return
        choice = needs.choice_of(agent["ask"], pressed)
        if choice is None:
            self.tell(f"what {agent['name']} asks has no answer {pressed}", bad=True)
            return
        self._answer(agent["name"], agent["ask"], choice)

    def _asking(self) -> View | None:
        agent = self.in_hand()
        if agent is not None and not agent.get("ask"):
            other = ": space goes to the next who needs you" if self.found else ""
            self.tell(f"{agent['name']} asks nothing now{other}", bad=True)
            return None
        if time.monotonic() - self.swapped_at < REACTION:
            self.tell("this was just asked in the place of something else: press again", bad=True)
            return None
        return agent

    def answer(self, choice: str) -> None:
        """Answer what is painted of the agent in hand."""
        if (agent := self._asking()) is not None:
            self._answer(agent["name"], agent["ask"], choice)

    def _answer(self, name: str, ask: View, choice: str, reason: str | None = None) -> None:
        options = needs.choices(ask)
        label = next((one.label for one in options if one.send == choice), choice)
        bound = needs.binding(ask) | {"reason": reason}
        self.order(f"answered {name}: {label}", "answer", agent=name, choice=choice, **bound)

    async def action_deny(self) -> None:
        """No; and why, where the agent's own hook takes the reason."""
        if (agent := self._asking()) is None:
            return
        name, ask = agent["name"], agent["ask"]
        if not ask.get("hook"):
            self.action_answer("n")
            return

        def said(reason: str) -> None:
            self._answer(name, ask, "no", reason.strip() or None)

        await self.prompt(Entry(f"no to {name}, because (may be left empty)", keep=said))

    async def action_own_answer(self) -> None:
        """An answer in the person's own words, to a question that takes one."""
        if (agent := self._asking()) is None:
            return
        name, ask = agent["name"], agent["ask"]

        def said(words: str) -> None:
            if words.strip():
                self._answer(name, ask, words.strip())

        await self.prompt(Entry(f"answer to {name}", keep=said))

    # -- talking ----------------------------------------------------------------------------------

    async def action_send(self) -> None:
        """Write a message. One that is left stays as a draft."""
        if (agent := self.in_hand()) is None:
            return
        name = agent["name"]
        await self.prompt(Compose(name, self.drafts.get(name, ""), self._sends, self._leaves))

    def _leaves(self, name: str, text: str) -> None:
        self.drafts[name] = text

    def _sends(self, name: str, text: str) -> bool:
        """Whether it was sent; if not, it stays to be mended."""
        if is_blank(text):
            self.tell("there is nothing to send: the text is empty", bad=True)
            return False
        if is_for_shell(text):
            self.tell(
                "agents run a text that starts with `!` as a shell command: "
                "`crew send --shell` does that",
                bad=True,
            )
            return False
        self.drafts.pop(name, None)
        self._send(name, text)
        return True

    @work(group="orders")
    async def _send(self, agent: str, text: str) -> None:
        """Send, and tell what became of it within a moment."""
        asked = {"id": uuid.uuid4().hex, "agent": agent, "text": text}
        try:
            message = (await self.link.request("send", **asked))["message"]
        except CrewError as error:
            self.drafts[agent] = self.drafts.get(agent) or text  # to be sent later, or mended
            self.tell(str(error), bad=True)
            return
        try:
            if message["state"] in PENDING:
                ended = await self._while_pending(message["number"])
                message = {**message, **await self._outcome(asked, SETTLED if ended else 0.0)}
        except CrewError as error:
            self.tell(str(error), bad=True)
            return
        number, state, detail = message["number"], message["state"], message.get("detail")
        match state:
            case "delivered":
                self.tell(f"message {number} delivered to {agent}")
            case "typing":
                self.tell(f"message {number} typed; {agent} has not confirmed it yet")
            case _:
                why = f": {detail}" if detail else ""
                bad = state in ("unconfirmed", "abandoned")
                self.tell(f"message {number} to {agent} is {state}{why}", bad=bad)

    async def _outcome(self, asked: Json, seconds: float) -> Json:
        """The message as it is on disk; its end, if that is there within so many seconds."""
        end = time.monotonic() + seconds
        while True:
            found: Json = (await self.link.request("send", **asked))["message"]
            if found["state"] not in PENDING or time.monotonic() >= end:
                return found
            if self._is_pending(found["number"]):
                return found  # It was new to the view, and not over.
            await asyncio.sleep(_STEP)
            self.catch_up()

    async def _while_pending(self, number: int) -> bool:
        """Return when the message is not on its way any more, or after a moment; whether it has
        come to its end."""
        began = time.monotonic()
        state = "queued"
        while time.monotonic() - began < (SOON if state == "queued" else RECEIPT):
            await asyncio.sleep(_STEP)
            self.catch_up()
            agents = {agent["name"]: agent for agent in (self.view or {}).get("agents") or ()}
            found = self._rows(number)
            if not self._is_pending(number):
                return True
            if any(agents.get(m["to"], {}).get("status") != "ready" for m in found):
                break  # it cannot take it now: nothing is to be expected soon
            state = found[0]["state"]
        return False

    def _is_pending(self, number: int) -> bool:
        return any(message["state"] in PENDING for message in self._rows(number))

    def _rows(self, number: int) -> list[Json]:
        """The message as the view has it, if it has it."""
        messages: list[Json] = (self.view or {}).get("messages") or []
        return [message for message in messages if message["number"] == number]

    def action_interrupt(self) -> None:
        if agent := self.in_hand():
            name = agent["name"]
            self.order(f"{name} was interrupted", "interrupt", agent=name)

    # -- starting and ending ----------------------------------------------------------------------

    async def action_restart(self) -> None:
        await self._confirmed("restart", "is started again")

    async def action_stop(self) -> None:
        await self._confirmed("stop", "is being ended")

    async def _confirmed(self, verb: str, done: str) -> None:
        if (agent := self.in_hand()) is None:
            return
        name = agent["name"]

        def told(yes: bool | None) -> None:
            if yes:
                self.order(f"{name} {done}", verb, agent=name)

        now = f"It is {agent['status']}."
        await self.push_screen(Confirm(f"{verb.capitalize()} {name}? {now}"), told)

    def action_attach(self) -> None:
        """Be at the agent's window, in this terminal, until it is left."""
        if (agent := self.in_hand()) is None:
            return
        if self.is_headless:
            self.tell("there is no terminal to attach in", bad=True)
            return
        # The loop stands still meanwhile, and would take Ctrl-C for the end of the dashboard.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with self.suspend(), contextlib.suppress(KeyboardInterrupt):
                self.words.attach(agent["name"])
        except CrewError as error:
            self.tell(str(error), bad=True)
        finally:
            signal.signal(signal.SIGINT, handler)
