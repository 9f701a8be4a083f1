"""An agent CLI that keeps every byte that is typed into it: `recorder.py BASE [--swallow N]`.

A line editor with bracketed paste: what is typed stands behind `> ` until Enter. `BASE.raw` gets
the bytes as they came, `BASE.jsonl` is the transcript. The first N Enters are not taken.
"""

import json
import os
import sys
import time
import tty
import uuid
from datetime import UTC, datetime
from pathlib import Path

START, END = b"\x1b[200~", b"\x1b[201~"


class Recorder:
    def __init__(self, base: str, swallow: int) -> None:
        self._raw = Path(f"{base}.raw")
        self._transcript = Path(f"{base}.jsonl")
        self._swallow = swallow
        self._buffer = b""
        self._pasting = False
        self._draft = b""

    def run(self) -> None:
        tty.setraw(0)
        os.write(1, b"\x1b[?2004h")
        self._draw()
        while data := os.read(0, 65536):
            with self._raw.open("ab") as file:
                file.write(data)
            self._buffer += data
            while self._buffer and self._take():
                pass
            self._draw()

    def _take(self) -> bool:
        """Take one thing off the buffer; False: a mark may be cut in two."""
        mark = END if self._pasting else START
        if self._buffer.startswith(mark):
            self._pasting = not self._pasting
            self._buffer = self._buffer[len(mark) :]
            return True
        if mark.startswith(self._buffer):
            return False
        byte, self._buffer = self._buffer[:1], self._buffer[1:]
        if byte == b"\r" and not self._pasting:
            self._enter()
        elif byte == b"\x15" and not self._pasting:
            self._draft = b""
        else:
            self._draft += b"\n" if byte == b"\r" else byte
        return True

    def _enter(self) -> None:
        if self._swallow > 0:
            self._swallow -= 1
            return
        stamp = datetime.fromtimestamp(time.time(), UTC).isoformat()
        line = {
            "type": "user",
            "uuid": str(uuid.uuid4()),
            "timestamp": stamp,
            "message": {"content": self._draft.decode("utf-8", "replace")},
        }
        with self._transcript.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._draft = b""
        os.write(1, b"\r\x1b[2Ktaken\r\n")

    def _draw(self) -> None:
        first = self._draft.split(b"\n", 1)[0]
        shown = bytes(byte for byte in first if byte >= 0x20)[:70]
        os.write(1, b"\r\x1b[2K> " + shown)


if __name__ == "__main__":
    Recorder(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 0).run()
