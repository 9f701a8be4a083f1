"""An agent that redraws its screen ten times a second, as a busy CLI does, and costs little itself.

`redrawing.py [DIRECTORY]` says in a status file there, if one is named, that it is busy.
"""

import itertools
import json
import os
import sys
import time

# Seconds between two redraws.
STEP = 0.1
GLYPHS = "·✢✳✶✻✽"
TEXT = "The answer comes word by word, and each redraw shows one more of them, as it comes."
WORDS = TEXT.split()
# In one go for the eye: tmux draws what is between the two at once.
BEGIN, END = "\x1b[?2026h\x1b[H", "\x1b[?2026l"


def frame(step: int) -> bytes:
    """The rows that change: a line of the answer, a row that counts, and what stands below."""
    words = " ".join(WORDS[: step % len(WORDS) + 1])
    spinner = f"{GLYPHS[step % len(GLYPHS)]} Answering… ({step // 10}s · ↓ {7 * step} tokens)"
    rows = (f"● Line {step // len(WORDS)}: {words}", "", spinner, "", "─" * 80, "❯ ", "─" * 80)
    return (BEGIN + "".join(f"{row}\x1b[K\r\n" for row in rows) + END).encode()


def say_busy(directory: str) -> None:
    """As the CLI's own status file does."""
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - pathlib costs start time
    half = os.path.join(directory, f".{os.getpid()}")  # noqa: PTH118
    with open(half, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump({"pid": os.getpid(), "status": "busy"}, file)
    os.rename(half, os.path.join(directory, f"{os.getpid()}.json"))  # noqa: PTH104, PTH118


if __name__ == "__main__":
    if sys.argv[1:]:
        say_busy(sys.argv[1])
    due = time.monotonic()
    for number in itertools.count():
        os.write(1, frame(number))
        due += STEP
        time.sleep(max(0.0, due - time.monotonic()))
