"""Keys and text into a pane: typed only where they can be taken, and never twice without proof.

Before anything is typed the pane is looked at: copy mode swallows keys, a dialog takes Enter for
a yes, and a draft is a person's own.
"""

import asyncio
import os
from pathlib import Path
from typing import Literal

from orchestrator import failpoints
from orchestrator.core.dialects import read_transcript_line
from orchestrator.core.effects import (
    GiveAnswer,
    JudgeMessage,
    PressSubmit,
    SendInterrupt,
    TypeMessage,
)
from orchestrator.core.outbox import is_receipt
from orchestrator.core.screen import Look, choose, read
from orchestrator.core.spec import CliSpec
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control

Verdict = Literal["taken", "absent", "draft", "unknown"]

# How far back a transcript is searched for a prompt, in bytes: a receipt is at most a minute late.
TAIL = 1024 * 1024
# Seconds by which the clock of a transcript's line may be behind ours: it cuts off fractions.
CLOCKS = 1.0
# How often, and how far apart (s), a dialog that was told of is looked for on the screen.
LOOKS, LOOK_PAUSE = 20, 0.05


async def _screen(control: Control, pane: str, cli: CliSpec) -> Look | None:
    lines = await control.snapshot(pane)
    return None if lines is None else read(lines, cli.screen)


async def why_held(control: Control, effect: TypeMessage) -> str | None:
    """Why nothing can be typed now, or None. Raises TmuxError."""
    if await panes.in_mode(control, effect.pane):
        return "its pane is in copy mode"
    look = await _screen(control, effect.pane, effect.cli)
    if look is None:
        return "its screen could not be read"
    if look.status == "blocked":
        return "a dialog is open on its screen"
    if look.status == "working":
        return "it is working"
    if look.draft:
        return "somebody is typing there"
    if effect.cli.screen.composer is not None and look.draft is None:
        return "its input line is not there"
    return None


async def type_message(control: Control, effect: TypeMessage) -> None:
    """Type and submit. After an error it may be typed or not."""
    failpoints.hit("tmux")
    await control.paste(effect.pane, effect.text, effect.cli.keys.submit)
    failpoints.hit("tmux")


def is_command(text: str) -> bool:
    """Whether the CLI takes this for an order to itself, of which no hook or transcript tells."""
    return text.lstrip().startswith(("/", "!"))


async def taken_by_screen(control: Control, effect: TypeMessage) -> Look | None:
    """Where no receipt comes: the screen that shows that the text was taken, or None.

    A CLI with an input line has taken it when the line is there and empty again; one without
    hooks also when it works now, or when the text has scrolled up.
    """
    words = " ".join(effect.text.strip().split("\n")[-1].split())
    for _ in range(LOOKS):
        lines = await control.snapshot(effect.pane)
        if lines is not None:
            look = read(lines, effect.cli.screen)
            shown = [" ".join(line.split()) for line in lines if line.strip()]
            scrolled = any(line.endswith(words) for line in shown[:-1])
            if effect.cli.hooks is None and (look.status == "working" or scrolled):
                return look
            if effect.cli.hooks is not None and look.draft == "":
                return look
        await asyncio.sleep(LOOK_PAUSE)
    return None


async def press_submit(control: Control, effect: PressSubmit) -> None:
    """Press the submit key on a draft that is still our own message."""
    if await panes.in_mode(control, effect.pane):
        return
    look = await _screen(control, effect.pane, effect.cli)
    if look is not None and look.status != "blocked" and _stands(look.draft, effect.text):
        await control.run(("send-keys", "-t", effect.pane, *effect.cli.keys.submit))


def _stands(draft: str | None, text: str) -> bool:
    """Whether the draft is the beginning of our text (the screen shows one line of it)."""
    if not draft:
        return False
    head = " ".join(draft.split())
    return " ".join(text.split()).startswith(head)


async def judge(control: Control, effect: JudgeMessage) -> Verdict:
    """What became of a message whose receipt did not come."""
    if effect.transcript is None or is_command(effect.text):
        return "unknown"  # Of a command nothing but the first moment after it could tell.
    found = await asyncio.to_thread(
        _in_transcript, Path(effect.transcript), effect.text, effect.since
    )
    if found:
        return "taken"
    look = await _screen(control, effect.pane, effect.cli)
    if found is None or look is None or look.draft is None or look.status == "blocked":
        return "unknown"
    if _stands(look.draft, effect.text):
        return "draft"
    # Not in the conversation, and the input line is there and does not hold it.
    return "absent" if look.draft == "" else "unknown"


def _in_transcript(path: Path, text: str, since: float) -> bool | None:
    """Whether the end of the transcript has `text` as a prompt that came after `since`.

    None if that cannot be told: the file cannot be read, or a line that matches has no time.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return False  # The first prompt makes it: nothing was taken yet.
    except OSError:
        return None
    found: bool | None = False
    for line in lines:
        parsed = read_transcript_line("claude", line)
        if parsed is None or parsed.prompt is None or not is_receipt(text, parsed.prompt):
            continue
        if parsed.at is None:
            found = None
        elif parsed.at >= since - CLOCKS:
            return True
    return found


async def answer(control: Control, effect: GiveAnswer) -> str | None:
    """Press the key of a choice if the dialog is still the one that was asked; else say why not.

    Returns once the dialog has gone: the answer has arrived.
    """
    if await panes.in_mode(control, effect.pane):
        return f"the pane of {effect.agent} is in copy mode, which would take the key: leave it"
    look = await look_for_dialog(control, effect.pane, effect.cli)
    if look is None or look.status != "blocked":
        return f"{effect.agent} does not ask any more"
    if effect.ask.shown is not None and effect.ask.shown != look.text:
        return f"{effect.agent} asks something else now: {look.text}"
    options = look.options or effect.ask.options
    key = choose(options, effect.cli.keys.answers, effect.choice)
    if key is None:
        choices = ", ".join(f"{key} ({label})" for key, label in options)
        return f"{effect.choice!r} is no choice of {effect.agent}'s: {choices or 'none is shown'}"
    await control.run(("send-keys", "-t", effect.pane, key))
    for _ in range(LOOKS):
        now = await _screen(control, effect.pane, effect.cli)
        if now is not None and (now.status, now.text) != (look.status, look.text):
            return None
        await asyncio.sleep(LOOK_PAUSE)
    return f"{effect.agent} still shows the dialog: look at it with `crew attach {effect.agent}`"


async def look_for_dialog(control: Control, pane: str, cli: CliSpec) -> Look | None:
    """The screen once it shows a dialog (hooks tell of one shortly before it is drawn).

    Bounded: the last look is returned, whatever it shows.
    """
    look = None
    for _ in range(LOOKS):
        look = await _screen(control, pane, cli)
        if look is None or (look.status == "blocked" and look.options):
            break
        await asyncio.sleep(LOOK_PAUSE)
    return look


async def interrupt(control: Control, effect: SendInterrupt) -> str | None:
    """Press the interrupting keys; returns why not, or None."""
    if await panes.in_mode(control, effect.pane):
        return f"the pane of {effect.agent} is in copy mode, which would take the key: leave it"
    await control.run(("send-keys", "-t", effect.pane, *effect.cli.keys.interrupt))
    return None
