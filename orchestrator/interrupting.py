"""Ending an agent's turn with keys, and what its CLI leaves in the input line."""

import asyncio
import time
from collections.abc import Callable

from orchestrator.core.effects import SendInterrupt
from orchestrator.core.receipts import is_draft_of
from orchestrator.core.screen import Look, is_interruptible, read
from orchestrator.core.state import IN_TURN, Agent
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control

# Seconds between two looks; how many of them a turn is given to end, and where something else may
# have taken the keys; times that those are pressed then.
PAUSE = 0.05
LOOKS, DOUBTFUL = 60, 20
PRESSES = 3
# Pauses in which the prompt is told that a text in the input line may be: its hook can be late.
TOLD = 40
# Looks at a screen without a turn that are enough: what is put back may be drawn a moment later.
CALM = 8
# Times that the clearing keys are pressed: they may take a row at a time. Looks after each.
CLEARS, CLEARED = 12, 6
WORK = ("working", "blocked", "limited")


async def interrupt(
    control: Control, effect: SendInterrupt, now: Callable[[], Agent | None]
) -> tuple[str | None, str]:
    """Press the interrupting keys; why not, or None, and what is to be said of the input line.

    A CLI puts a prompt that it had not begun to answer back into its input line, where the next
    message would be added to it: that one is cleared. A draft that stood there before is a
    person's, and stays. `now` is the agent as the world has it. Raises TmuxError.
    """
    return await _Interrupt(control, effect, now).send()


class _Interrupt:
    """One on its way."""

    def __init__(
        self, control: Control, effect: SendInterrupt, now: Callable[[], Agent | None]
    ) -> None:
        self._control = control
        self._effect = effect
        self._cli = effect.cli
        self._now = now
        agent = now()
        self._began = agent.turn_began if agent else 0.0

    async def send(self) -> tuple[str | None, str]:
        name = self._effect.agent
        if await panes.in_mode(self._control, self._effect.pane):
            return f"the pane of {name} is in copy mode, which would take the key: leave it", ""
        before, reaches = await self._look()
        for _ in range(PRESSES):
            pressed = time.time()
            await self._press(self._cli.keys.interrupt)
            over, after = await self._over(LOOKS if reaches else DOUBTFUL)
            if over or (reaches and not self._goes_on(pressed)):
                return None, await self._tidy(before, after)
            look, reaches = await self._look()
            # In one that was seen to be empty nothing stood before.
            if before is None or before.draft != "":
                before = look
        if reaches:
            return f"{name} goes on with its turn: look at its pane", ""
        return f"something on the screen of {name} takes the key: look at its pane", ""

    async def _look(self) -> tuple[Look | None, bool]:
        """The screen, and whether it shows that the keys reach the turn."""
        lines = await self._control.snapshot(self._effect.pane)
        if lines is None:
            return None, True
        screen = self._cli.screen
        return read(lines, screen), is_interruptible(lines, screen)

    async def _press(self, keys: tuple[str, ...]) -> None:
        await self._control.run(("send-keys", "-t", self._effect.pane, *keys))

    async def _over(self, looks: int) -> tuple[bool, Look | None]:
        """Whether the turn is over, as the agent itself tells it and on the screen; the screen."""
        look, calm = None, 0
        for _ in range(looks):
            await asyncio.sleep(PAUSE)
            look, _ = await self._look()
            if look is not None and self._is_told() and self._is_calm(look):
                calm += 1
                if look.draft or calm == CALM:
                    return True, look
        return False, look

    def _is_told(self) -> bool:
        """Whether the agent has said that its turn is over, if it can say so."""
        agent = self._now()
        if agent is None or agent.run != self._effect.run or self._cli.status_file is None:
            return True
        return agent.status not in IN_TURN or agent.turn_began != self._began

    def _goes_on(self, pressed: float) -> bool:
        """Whether it is known to be still in the turn for which the keys were pressed.

        What was queued may go on at once, which is no reason to press again: its transcript tells
        of the prompt then.
        """
        agent = self._now()
        if agent is None or self._cli.transcript is None or self._cli.status_file is None:
            return False
        return not self._is_told() and agent.prompted < pressed

    def _is_calm(self, look: Look) -> bool:
        """Whether there is no turn on the screen, nor anything that covers the input line."""
        return look.status not in WORK and (
            look.draft is not None or self._cli.screen.composer is None
        )

    # -- the input line ----------------------------------------------------------------------------

    async def _tidy(self, before: Look | None, after: Look | None) -> str:
        """Clear a prompt that was put back; what is to be said of it, or of a person's draft."""
        if after is None or not after.draft:
            return ""
        stands = f"in its input line stands: {after.draft}"
        if before is None or before.draft != "" or not await self._was_put_back(after):
            return stands
        if not self._cli.keys.clear:
            return f"{stands} (`keys.clear` in {self._cli.name}.toml would let it be cleared)"
        if not await self._clear():
            return f"{stands} (it could not be cleared)"
        return "it had not begun to answer: the prompt was taken back"

    async def _was_put_back(self, look: Look) -> bool:
        """Whether what stands there is the prompt; it may be told after the end of its turn."""
        for _ in range(TOLD):
            if self._is_put_back(look):
                return True
            await asyncio.sleep(PAUSE)
        return self._is_put_back(look)

    def _is_put_back(self, look: Look) -> bool:
        agent = self._now()
        newest = agent.prompt if agent is not None and agent.run == self._effect.run else ""
        return any(is_draft_of(look.draft, p, cut=True) for p in (self._effect.prompt, newest))

    async def _clear(self) -> bool:
        """Empty the input line of the prompt that stands there; whether it is empty now."""
        for _ in range(CLEARS):
            await self._press(self._cli.keys.clear)
            look = None
            for _ in range(CLEARED):
                await asyncio.sleep(PAUSE)
                look, _ = await self._look()
                if look is not None and look.draft == "":
                    return True
            if look is None or not self._is_put_back(look):
                return False
        return False
