"""Text of agents is data: what a terminal would act on is taken out before it is shown.

Also how wide a text is on a terminal, in columns. Pure.
"""

import re
import unicodedata

# Whole escape sequences go, not just their first byte: what would stay is litter. Linear: no part
# can be matched in two ways, and none goes on over the beginning of another sequence.
_SEQUENCES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, with its end
    r"|(?:\x1b[P_^X]|[\x90\x9f\x9e\x98])[^\x1b\x80-\x9f]*(?:\x1b\\|\x9c)"  # DCS, APC, PM, SOS
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[ -/]+[0-~]"  # character sets and the like
)
_BLANKS = frozenset("\t\n\v\f\r\x85\u2028\u2029")


def safe_text(text: str, *, lines: bool = False, tabs: bool = False) -> str:
    """`text` without escape sequences and C0, C1, bidi and zero-width controls.

    Line breaks and tabs become blanks; with `lines`, newlines stay, and with `tabs`, tabs. Half
    of a surrogate pair, which no terminal can be sent, becomes the replacement character.
    """
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    kept = ("\n" if lines else "") + ("\t" if tabs else "")
    return "".join(_safe(char, kept) for char in _SEQUENCES.sub("", text))


def _safe(char: str, kept: str) -> str:
    if char.isprintable() or char in kept:
        return char
    if char in _BLANKS:
        return " "
    match unicodedata.category(char):
        case "Cc" | "Cf":
            return ""
        case "Cs":
            return "\ufffd"
        case _:  # other blanks, private use, not assigned yet: shown, never acted on
            return char


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def width(text: str) -> int:
    """How many columns `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(_columns(char) for char in text)


def clip(text: str, columns: int) -> str:
    """`text` in at most `columns` columns; what was cut off is shown as an ellipsis."""
    if width(text) <= columns:
        return text
    if columns < 1:
        return ""
    left = columns - 1  # the ellipsis
    kept = []
    for char in text:
        left -= _columns(char)
        if left < 0:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def pad(text: str, columns: int) -> str:
    """`text` with blanks up to `columns` columns."""
    return text + " " * (columns - width(text))


def span(seconds: float) -> str:
    """A length of time in its largest unit: 12s, 3m, 5h, 2d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
