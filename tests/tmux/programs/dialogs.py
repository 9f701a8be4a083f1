"""Shows dialogs as an agent CLI does, one after the other, and writes down what was chosen.

dialogs.py PLAN RESULT: PLAN is a JSON list of dialogs, {"text", "options", "footer", ...}:

    "keys"    its options have digits, which answer at once; without, it is a menu
    "cursor"  the option that is marked first
    "own"     the option where a text is typed
    "deaf"    seconds after it was drawn in which keys are lost
    "guarded" the first key is let fall, and there is no mark for so many seconds
    "stuck"   the mark does not move
    "jumps"   the next dialog comes at the first key, whatever it is
    "plain"   the marked option is not marked
    "mute"    no text can be typed

Each answer is a line of RESULT: the place of the option, and the text that was typed there.
"""

import json
import os
import select
import sys
import time
import tty
from pathlib import Path
from typing import Any

KEYS = {b"\x1b[A": -1, b"\x1b[B": 1, b"\x1bOA": -1, b"\x1bOB": 1}


class Dialog:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.cursor = plan.get("cursor", 0)
        self.typed = ""
        self.drawn = time.monotonic()
        self.guard = plan.get("guarded", 0.0)
        self.emptied = 0.0
        # (place of the option, what was typed there), once it is answered
        self.answer: tuple[object, str] | None = None

    def draw(self) -> None:
        rows = ["─" * 40, *(f" {line}" for line in self.plan["text"].split("\n")), ""]
        for place, label in enumerate(self.plan["options"]):
            plain = self.plan.get("plain") or time.monotonic() < self.emptied
            mark = "❯" if place == self.cursor and not plain else " "
            key = f"{place + 1}. " if self.plan.get("keys") else ""
            own = place == self.plan.get("own") and self.typed
            rows.append(f" {mark} {key}{self.typed if own else label}")
        rows += ["", self.plan["footer"]]
        os.write(1, ("\x1b[2J\x1b[H" + "\r\n".join(rows)).encode())

    def press(self, data: bytes) -> None:
        if time.monotonic() - self.drawn < self.plan.get("deaf", 0):
            return
        if self.guard or time.monotonic() < self.emptied:
            self.emptied, self.guard = time.monotonic() + self.guard, 0
        elif self.plan.get("jumps"):
            self.answer = ("nothing", "")
        elif data in KEYS and not self.plan.get("stuck"):
            last = len(self.plan["options"]) - 1
            self.cursor = min(last, max(0, self.cursor + KEYS[data]))
        elif data == b"\r":
            self.answer = (self.cursor, self.typed)
        elif data.startswith(b"\x1b[200~") and self.cursor == self.plan.get("own"):
            if self.plan.get("mute"):
                return
            self.typed += data[6:].removesuffix(b"\x1b[201~").decode()
        elif data.isdigit() and self.plan.get("keys"):
            self.cursor = int(data) - 1
            if self.cursor != self.plan.get("own"):
                self.answer = (self.cursor, "")


tty.setraw(0)
os.write(1, b"\x1b[?2004h")
with Path(sys.argv[2]).open("w", buffering=1) as result:
    for plan in json.loads(Path(sys.argv[1]).read_text()):
        dialog = Dialog(plan)
        while dialog.answer is None:
            dialog.draw()
            if time.monotonic() < dialog.emptied:
                select.select([0], [], [], dialog.emptied - time.monotonic())
                if not select.select([0], [], [], 0)[0]:
                    continue
            data = os.read(0, 65536)
            # A key of several bytes, or one after the other: tmux writes each whole.
            dialog.press(data)
        result.write(json.dumps(dialog.answer) + "\n")
    os.write(1, b"\x1b[2J\x1b[Hthe end")
    select.select([], [], [])
