"""An agent that redraws its screen, 1 MB a second, and keeps account: `writer.py FILE`.

FILE gets a line each tenth of a second: CLOCK_MONOTONIC, bytes so far, the longest write of that
tenth; seconds.
"""

import os
import sys
import time
from pathlib import Path

# Seconds between two redraws of 10,000 bytes.
STEP = 0.01
ROW = b"=" * 98 + b"\r\n"
# Drawn in place: nothing scrolls, so tmux has no history to keep.
REDRAW = (b"\x1b[H" + ROW * 20) * 5


def main(file: Path) -> None:
    told = time.monotonic()
    written, longest = 0, 0.0
    with file.open("a") as account:
        while True:
            before = time.monotonic()
            written += os.write(1, REDRAW)
            now = time.monotonic()
            longest = max(longest, now - before)
            if now - told >= 0.1:
                account.write(f"{now} {written} {longest}\n")
                account.flush()
                told, longest = now, 0.0
            time.sleep(STEP)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
