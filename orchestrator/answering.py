"""Answering a dialog: by the hook that waits beside it for a plain yes or no, else by keys.

An answer belongs to what the person saw. A hook is bound to that by its key. Where keys are
pressed the screen is looked at first, for the choices too, and again after each: the key that
moves in one dialog may be a yes in the next.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from orchestrator.asking import Asking, Decision
from orchestrator.core import answers
from orchestrator.core.effects import GiveAnswer
from orchestrator.core.reports import UNDRAWN
from orchestrator.core.screen import Look, choose, is_emptied, read
from orchestrator.core.state import Agent, Ask
from orchestrator.core.values import value
from orchestrator.speaking import LOOK_PAUSE, LOOKS, look_for_dialog
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control

# Seconds that a dialog is left alone once it is seen: keys in the first 0.15 s of it are lost.
SETTLING = 0.3
# Seconds within which a hook that has told of a request comes to wait: it starts a Python.
COMES = 3.0
# Looks at what a key is to do, and at a dialog that was answered and is to go: a CLI may stand
# still for seconds.
MOVES, PATIENCE = 5 * LOOKS, 10 * LOOKS
# How often a menu is gone through again that has let a key fall.
TRIES = 2
NEXT, PREVIOUS, TAKE = "Down", "Up", "Enter"


@value
class Outcome:
    """What became of an answer. `label`: the choice that was given, as its dialog names it; None:
    own words. `refused`: why it was not given, or seems not to have arrived; `mistake`: the dialog
    has no such choice. `after`: the dialog that came next, if one did."""

    by: Literal["hook", "keys"] | None = None
    label: str | None = None
    refused: str | None = None
    mistake: bool = False
    after: Look | None = None


Again = Callable[[Look], Awaitable[Look | None]]


class _RefusedError(Exception):
    """It is not given; the text says why. `look`: the dialog that is there instead."""

    def __init__(self, why: str, *, mistake: bool = False, look: Look | None = None) -> None:
        super().__init__(why)
        self.mistake = mistake
        self.look = look


async def give(
    control: Control, effect: GiveAnswer, asking: Asking, now: Callable[[], Agent | None]
) -> Outcome:
    """Give the answer if its dialog is still the one that was asked, and wait until it has gone.

    `now` is the agent as the world has it. Raises TmuxError.
    """
    try:
        return await _Answer(control, effect, asking, now).give()
    except _RefusedError as refused:
        return Outcome(refused=str(refused), mistake=refused.mistake, after=refused.look)


class _Answer:
    """One answer on its way."""

    def __init__(
        self, control: Control, effect: GiveAnswer, asking: Asking, now: Callable[[], Agent | None]
    ) -> None:
        self._control = control
        self._effect = effect
        self._asking = asking
        self._now = now
        self._words = effect.cli.keys.answers

    async def give(self) -> Outcome:
        name, choice, reason = self._effect.agent, self._effect.choice, self._effect.reason
        before = await self._look()
        ask = self._asked()
        decided = answers.decision(ask, self._words, choice)
        if decided is not None and await self._hook_waits(ask):
            if reason is not None and decided == "allow":
                raise _RefusedError(f"a reason goes with a no: {name} would not be told it")
            told: Decision = {"behavior": decided}
            if decided == "deny":
                told = {**told, "message": reason or answers.REFUSED}
            self._asking.answer(name, ask.hook, told)
            label = answers.label(ask, self._words, choice, decided)
            if self._asks_more():
                # What is shown may be the dialog of another request.
                return Outcome(by="hook", label=label)
            return Outcome(by="hook", label=label, after=await self._gone(before))
        if reason is not None:
            raise _RefusedError(
                f"{name} cannot be told a reason with this answer, which only its terminal takes: "
                f"answer without it, then say it with `crew send {name}`"
            )
        return await self._press(ask)

    async def _hook_waits(self, ask: Ask) -> bool:
        """Whether the hook of what is asked waits for the answer. One that has just told of it may
        be on its way still: first its event is in the spool, then it comes to wait."""
        agent = self._now()
        if ask.hook is None or agent is None:
            return False
        left = max(0.0, COMES - self._age())
        return await self._asking.comes(agent.name, ask.hook, left)

    def _asks_more(self) -> bool:
        agent = self._now()
        return agent is not None and bool(agent.behind)

    def _asked(self) -> Ask:
        """What is asked, with the newest that is known of it."""
        agent, given = self._now(), self._effect.ask
        if agent is None or agent.run != self._effect.run or agent.ask is None:
            raise self._over()
        if given.hook is not None and agent.ask.hook != given.hook:
            raise _RefusedError(self._other(agent.ask.text))
        same = (agent.ask.hook, agent.ask.text) == (given.hook, given.text)
        return agent.ask if same else given

    def _is_due(self) -> bool:
        """Whether its dialog may not be drawn yet."""
        try:
            self._asked()
        except _RefusedError:
            return False
        return self._age() < UNDRAWN

    def _age(self) -> float:
        """Seconds since it was asked. One request may follow another: of `since` only the first
        can be new."""
        agent = self._now()
        return 0.0 if agent is None else max(0.0, time.time() - max(agent.since, agent.evidence.at))

    def _over(self) -> _RefusedError:
        return _RefusedError(f"{self._effect.agent} does not ask any more")

    def _other(self, text: str) -> str:
        return f"{self._effect.agent} asks something else now: {text}"

    # -- keys -------------------------------------------------------------------------------------

    async def _press(self, ask: Ask) -> Outcome:
        effect = self._effect
        if await panes.in_mode(self._control, effect.pane):
            raise _RefusedError(
                f"the pane of {effect.agent} is in copy mode, which would take the key: leave it"
            )
        look = await self._settled()
        if look is None or look.status != "blocked":
            raise self._over()
        ask = self._asked()  # Another may have come while its dialog was waited for.
        if ask.shown is not None and ask.shown != look.text:
            raise _RefusedError(self._other(look.text), look=look)
        if self._asks_more() and not answers.shows(look.text, ask):
            raise _RefusedError(
                f"{effect.agent} asks several things at once and its screen shows another first: "
                f"answer yes or no, or look at it with `crew attach {effect.agent}`"
            )
        key = choose(look.options, self._words, effect.choice)
        if key is not None:
            after = await self._take(look, key)
            return Outcome(by="keys", label=dict(look.options)[key], after=after)
        if (own := answers.own_words(look.options, self._words)) and ask.kind == "question":
            return Outcome(by="keys", after=await self._gone(await self._type(look, own)))
        listed = ", ".join(f"{key} ({label})" for key, label in look.options)
        raise _RefusedError(
            f"{effect.choice!r} is no choice of {effect.agent}'s: {listed or 'none is shown'}",
            mistake=bool(look.options),
        )

    async def _take(self, look: Look, key: str, tries: int = TRIES) -> Look | None:
        if not look.menu:
            await self._keys(key)
            return await self._gone(look)
        place, cursor = _place(look, key), look.cursor
        for _ in (*look.options, "a key that it did not take"):
            if cursor in (None, place):
                break
            await self._keys(NEXT if cursor < place else PREVIOUS)
            cursor = await self._moved(look, cursor)
        if cursor != place:
            raise _RefusedError(
                f"the mark of {self._effect.agent}'s menu is not seen to move to {key}: "
                f"look at it with `crew attach {self._effect.agent}`"
            )
        await self._keys(TAKE)
        return await self._gone(
            look, partial(self._take, key=key, tries=tries - 1) if tries else None
        )

    async def _moved(self, look: Look, cursor: int) -> int | None:
        """Where the mark is after a key: where it was, if the dialog did not take the key."""
        emptied = False
        for _ in range(MOVES):
            await asyncio.sleep(LOOK_PAUSE)
            now = await self._still(look)
            if is_emptied(now, look):
                emptied = True
            elif emptied:
                await asyncio.sleep(SETTLING)
                return now.cursor
            elif now.cursor != cursor:
                return now.cursor
        return None

    async def _type(self, look: Look, key: str) -> Look:
        """Answer a question in own words, at the choice for them; returns what it looked like."""
        text = self._effect.choice.strip()
        if "\n" in text or len(text) > answers.OWN_MAX:
            raise _RefusedError(
                f"an answer in own words is one line of at most {answers.OWN_MAX} characters",
                mistake=True,
            )
        place = _place(look, key)
        if look.cursor is None:
            raise _RefusedError(f"{self._effect.agent} can only be answered with a choice")
        if look.cursor != place:
            await self._keys(key)
            if await self._moved(look, look.cursor) != place:
                raise _RefusedError(f"{self._effect.agent}'s dialog does not take own words")
        await self._control.paste(self._effect.pane, text, ())
        for _ in range(MOVES):
            await asyncio.sleep(LOOK_PAUSE)
            now = await self._look()
            if now is None or (now.text, len(now.options)) != (look.text, len(look.options)):
                continue
            shown = now.options[place][1]
            if shown != look.options[place][1] and answers.begins(text, shown):
                await self._keys(TAKE)
                return now
        raise _RefusedError(f"the text does not show in {self._effect.agent}'s dialog: look at it")

    async def _keys(self, *keys: str) -> None:
        await self._control.run(("send-keys", "-t", self._effect.pane, *keys))

    # -- the screen -------------------------------------------------------------------------------

    async def _look(self) -> Look | None:
        lines = await self._control.snapshot(self._effect.pane)
        return None if lines is None else read(lines, self._effect.cli.screen)

    async def _still(self, look: Look) -> Look:
        """The dialog as it is now, if it is still this one."""
        now = await self._look()
        if now is None:
            raise _RefusedError(f"the screen of {self._effect.agent} could not be read")
        if now.status != "blocked":
            raise self._over()
        if now.dialog != look.dialog and not is_emptied(now, look):
            raise _RefusedError(self._other(now.text), look=now)
        return now

    async def _settled(self) -> Look | None:
        """The dialog once it has stood for a while, or what the screen shows instead."""
        effect = self._effect
        look = await look_for_dialog(self._control, effect.pane, effect.cli, self._is_due)
        for _ in range(LOOKS):
            if look is None or look.status != "blocked":
                break
            await asyncio.sleep(SETTLING)
            before, look = look, await self._look()
            if look is not None and look.dialog == before.dialog:
                break
        return look

    async def _gone(self, before: Look | None, again: Again | None = None) -> Look | None:
        """Wait until the dialog has gone, and the world knows; returns the one that came next.

        `again`: how to go on where it is seen to have let the key fall.
        """
        emptied = False
        last: Look | None = None
        # Where it was not on the screen, what the agent tells of itself is all there is.
        gone = 0 if before is None or before.status != "blocked" else None
        for number in range(PATIENCE):
            if gone is not None and number - gone >= LOOKS:
                return last if last is not None and last.options else None  # One that moves.
            await asyncio.sleep(LOOK_PAUSE)
            now = await self._look()
            if now is not None and before is not None and is_emptied(now, before):
                emptied = True
                continue
            if now is not None and before is not None and now.dialog != before.dialog:
                gone = number if gone is None else gone
                if now.status == "blocked":
                    if now.options and last is not None and now.dialog == last.dialog:
                        return now
                    last = now
                    continue  # All of them are drawn a moment later.
                last = None
            elif now is not None and emptied and again is not None:
                await asyncio.sleep(SETTLING)
                return await again(now)
            try:
                self._asked()
            except _RefusedError:
                return None
        raise _RefusedError(
            f"{self._effect.agent} still shows the dialog: "
            f"look at it with `crew attach {self._effect.agent}`"
        )


def _place(look: Look, key: str) -> int:
    return [key for key, _ in look.options].index(key)
