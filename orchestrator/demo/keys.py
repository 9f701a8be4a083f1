"""What a person types, from the bytes that the terminal sends. Pure.

The parser keeps what is not yet whole: a character cut in two, the start of an escape sequence, a
paste whose end has not come. A lone Escape looks like the start of a sequence, so it is one only
once nothing has followed for a while: the caller then calls `flush`.
"""

import codecs
import re
from typing import NamedTuple

# Seconds of silence after which an ESC is the Escape key.
ESCAPE_DELAY = 0.05
# Bytes. Longer than any sequence that a keyboard sends; what is longer is no sequence.
SEQUENCE_MAX = 32

PASTE_START, PASTE_END = b"\x1b[200~", b"\x1b[201~"
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])")
_BEGINNING = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?")
_TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]+")

_SEQUENCES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
_CONTROLS = {
    0x03: "ctrl-c",
    0x04: "ctrl-d",
    0x08: "backspace",
    0x0A: "newline",
    0x0D: "enter",
    0x15: "ctrl-u",
    0x17: "ctrl-w",
    0x7F: "backspace",
}


class Key(NamedTuple):
    """One key, or a run of text. `name` is "text", "paste", "escape" or the key's name."""

    name: str
    text: str = ""


class KeyParser:
    """Bytes in, keys out."""

    def __init__(self) -> None:
        self._buffer = b""
        self._pasted: bytearray | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def waiting(self) -> bool:
        """Whether a lone ESC, or half a sequence, waits for what follows."""
        return self._pasted is None and bool(self._buffer)

    def feed(self, data: bytes) -> list[Key]:
        """The keys that `data` completes."""
        self._buffer += data
        keys: list[Key] = []
        while self._buffer and self._step(keys):
            pass
        return keys

    def flush(self) -> list[Key]:
        """Nothing came for ESCAPE_DELAY: what waits is all there is."""
        if not self.waiting:
            return []
        alone = self._buffer == b"\x1b"
        self._buffer = b""
        return [Key("escape")] if alone else []

    def _step(self, keys: list[Key]) -> bool:
        """Take one thing off the buffer; False: more bytes are needed."""
        if self._pasted is not None:
            return self._paste(self._pasted, keys)
        if text := _TEXT.match(self._buffer):
            self._take(text.end())
            if decoded := self._decoder.decode(text[0]):
                keys.append(Key("text", decoded))
            return True
        if rest := self._decoder.decode(b"", final=True):
            # A character was cut off by a control byte.
            keys.append(Key("text", rest))
        if self._buffer[0] == 0x1B:
            return self._escape(keys)
        name = _CONTROLS.get(self._buffer[0])
        self._take(1)
        if name is not None:
            keys.append(Key(name))
        return True

    def _take(self, count: int) -> None:
        self._buffer = self._buffer[count:]

    def _escape(self, keys: list[Key]) -> bool:
        if whole := _SEQUENCE.match(self._buffer):
            self._take(whole.end())
            if whole[0] == PASTE_START:
                self._pasted = bytearray()
            elif whole[0] in _SEQUENCES:
                keys.append(Key(_SEQUENCES[whole[0]]))
            return True
        if len(self._buffer) < SEQUENCE_MAX and _BEGINNING.fullmatch(self._buffer):
            return False
        self._take(1)
        keys.append(Key("escape"))
        return True

    def _paste(self, pasted: bytearray, keys: list[Key]) -> bool:
        end = self._buffer.find(PASTE_END)
        if end < 0:
            # The end mark may be cut in two: its length less one is kept back.
            keep = min(len(self._buffer), len(PASTE_END) - 1)
            pasted += self._buffer[: len(self._buffer) - keep]
            self._buffer = self._buffer[len(self._buffer) - keep :]
            return False
        pasted += self._buffer[:end]
        self._take(end + len(PASTE_END))
        self._pasted = None
        text = pasted.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        keys.append(Key("paste", text))
        return True
