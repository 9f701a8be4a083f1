"""Keys and text into a pane: typed only where they can be taken, and never twice without proof.

Before anything is typed the pane is looked at: copy mode swallows keys, a dialog takes Enter for
a yes, and a draft is a person's own.
"""

import asyncio
import fcntl
import os
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from orchestrator import failpoints
from orchestrator.core.dialects import (
    Dialect,
    TranscriptLine,
    dialect_of,
    read_transcript_line,
)
from orchestrator.core.effects import (
    JudgeMessage,
    PressSubmit,
    TypeMessage,
)
from orchestrator.core.receipts import CUT_AT, comparable, is_command, is_draft_of, is_receipt
from orchestrator.core.screen import Look, read
from orchestrator.core.spec import CliSpec
from orchestrator.core.turns import is_older
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control

Verdict = Literal["taken", "queued", "absent", "draft", "unknown"]

# How much of a transcript's end is searched for a prompt, in bytes: at first, and at most.
TAIL, TAIL_MAX = 1024 * 1024, 256 * 1024 * 1024
# How often, and how far apart (s), a dialog that was told of is looked for on the screen; and how
# often while it is known to be still to come: a CLI may stand still for seconds before it draws.
LOOKS, LOOK_PAUSE = 20, 0.05
LATE = 10 * LOOKS
# Looks at what is to go, a text or a dialog, and has not yet: a busy machine takes its time.
PATIENCE = 3 * LOOKS
# Looks at a text that stands in the input line, after which the submit key was dropped.
STANDS = 10
# Looks after which a text that was pasted has been drawn, and may have been taken unseen: on a
# screen that has changed, and on one that has not, where the CLI may stand still.
DRAWN, STILL = 5, 2 * LOOKS


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
    # What an agent has said may look like work too; one with a status file tells it better.
    if look.status == "working" and effect.cli.status_file is None:
        return "it is working"
    if look.draft:
        return "somebody is typing there"
    if effect.cli.screen.composer is not None and look.draft is None:
        return "its input line is not there"
    return None


async def type_message(control: Control, effect: TypeMessage) -> None:
    """Type and submit. After an error it may be typed or not."""
    failpoints.hit(failpoints.TMUX)
    await control.paste(effect.pane, effect.text, effect.cli.keys.submit)
    failpoints.hit(failpoints.TMUX)


async def taken_by_screen(control: Control, effect: TypeMessage) -> Look | None:
    """Where no receipt comes: the screen that shows that the text was taken, or None.

    A CLI with an input line has taken it when the line is there and empty again; one without
    hooks also when it works now, or when the text has scrolled up.
    """
    words = " ".join(effect.text.strip().split("\n")[-1].split())
    drawn, first = False, None
    for number in range(PATIENCE):
        lines = await control.snapshot(effect.pane)
        if lines is not None:
            first = first or lines
            look = read(lines, effect.cli.screen)
            shown = [" ".join(line.split()) for line in lines if line.strip()]
            scrolled = any(line.endswith(words) for line in shown[:-1])
            if effect.cli.hooks is None and (look.status == "working" or scrolled):
                return look
            if effect.cli.hooks is not None:
                # What was pasted is drawn a moment later: a line that is empty yet tells nothing.
                # No line at all: a command has opened a dialog, or has ended the CLI.
                if drawn and (look.draft == "" or look.status == "blocked"):
                    return look
                drawn = bool(look.draft) or number >= (STILL if lines == first else DRAWN)
        await asyncio.sleep(LOOK_PAUSE)
    return None


async def press_submit(control: Control, effect: PressSubmit | TypeMessage) -> None:
    """Press the submit key on a draft that is still our own message."""
    if await panes.in_mode(control, effect.pane):
        return
    if _is_ours(await _screen(control, effect.pane, effect.cli), effect.text):
        await control.run(("send-keys", "-t", effect.pane, *effect.cli.keys.submit))


async def submit_images(
    control: Control, effect: TypeMessage, is_under_way: Callable[[], bool]
) -> None:
    """Press the submit key once more where the CLI may have dropped it: on our text if it stands.

    `is_under_way`: whether nothing has told yet that it was taken.
    """
    stood = 0
    for _ in range(PATIENCE):
        await asyncio.sleep(LOOK_PAUSE)
        if not is_under_way():
            return
        ours = _is_ours(await _screen(control, effect.pane, effect.cli), effect.text)
        if stood and not ours:
            return  # It was taken.
        stood += ours
        if stood > STANDS:
            await press_submit(control, effect)
            return


def _is_ours(look: Look | None, text: str) -> bool:
    """Whether the input line holds our text, and would take the submit key."""
    return look is not None and look.status != "blocked" and is_draft_of(look.draft, text)


async def judge(control: Control, effect: JudgeMessage) -> Verdict | None:
    """What became of a message whose receipt did not come; None: it cannot have come yet."""
    lives = effect.typed_in == effect.run
    if lives and effect.tty is not None and _is_unread(effect.tty):
        return None  # The CLI stands still, and will find it when it goes on.
    if effect.transcript is None or is_command(effect.text):
        return "unknown"  # Of a command nothing but the first moment after it could tell.
    dialect, path = dialect_of(effect.cli), Path(effect.transcript)
    found = await asyncio.to_thread(_in_transcript, dialect, path, effect.text, effect.since)
    # What a process kept for the end of its turn is lost with it.
    if found in ("taken", "unknown") or (found == "queued" and lives):
        return found
    look = await _screen(control, effect.pane, effect.cli)
    if _is_ours(look, effect.text):
        return "draft"
    if not lives:
        return "absent"  # Nor is it in any process.
    if look is None or look.draft is None or look.status == "blocked":
        return "unknown"
    # Not in the conversation, and the input line is there and does not hold it.
    return "absent" if look.draft == "" else "unknown"


def _is_unread(tty: str) -> bool:
    """Whether something stands in the input queue of that terminal."""
    try:
        fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return any(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    except OSError:
        return False
    finally:
        os.close(fd)


def _in_transcript(dialect: Dialect, path: Path, text: str, since: float) -> Verdict:
    """Whether the end of the transcript has `text` as a prompt that came after `since`.

    `queued`: as one that waited for the end of a turn, and as nothing behind that. `unknown`: the
    file cannot be read, a line that matches has no time, or is cut where `text` may be in it.
    """
    try:
        lines = _lines_since(dialect, path, since)
    except FileNotFoundError:
        return "absent"  # The first prompt makes it: nothing was taken yet.
    except OSError:
        return "unknown"
    if lines is None:
        return "unknown"
    found: Verdict = "absent"
    for parsed in lines:
        ours, cut = False, False
        if parsed.prompt is not None:
            ours = is_receipt(text, parsed.prompt)
            if found == "queued":
                # Several that had waited may have been made into one.
                ours = ours or comparable(text) in comparable(parsed.prompt)
                cut = len(parsed.prompt) >= CUT_AT
        if ours and parsed.at is not None:
            return "taken"
        if ours or cut:
            found = "unknown"
        elif parsed.queued is not None and is_receipt(text, parsed.queued):
            found = "queued"
    return found


def _lines_since(dialect: Dialect, path: Path, since: float) -> list[TranscriptLine] | None:
    """What the transcript has got since then; None: more than is read. Raises OSError."""
    length = TAIL
    while True:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - length)
            file.seek(start)
            data = file.read().split(b"\n")
        whole = data[1:] if start else data
        parsed = [line for raw in whole if (line := read_transcript_line(dialect, raw))]
        found = [line for line in parsed if line.at is None or not is_older(line.at, since)]
        if start == 0 or len(found) < len(parsed):
            return found
        if length >= TAIL_MAX:
            return None
        length *= 16


async def look_for_dialog(
    control: Control, pane: str, cli: CliSpec, is_due: Callable[[], bool] = bool
) -> Look | None:
    """The screen once a dialog stands on it (hooks tell of one shortly before it is drawn).

    It stands if two looks show the same: tmux may be looked at between two pieces of what was
    written, and then shows a part of the choices. Bounded: the last look is returned, whatever it
    shows. `is_due`: whether one is still to come, which is worth more looks.
    """
    look = before = None
    for number in range(LATE):
        look = await _screen(control, pane, cli)
        if look is None or (look.options and before is not None and look.dialog == before.dialog):
            break
        if number >= LOOKS and (look.status == "blocked" or not is_due()):
            break
        before = look
        await asyncio.sleep(LOOK_PAUSE)
    return look
