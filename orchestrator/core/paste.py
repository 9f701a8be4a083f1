"""What of a text may be typed into a terminal. Pure."""

import re
import unicodedata

_PASTE_MARKS = re.compile("(?:\x1b\\[|\x9b)20[01]~")
_KEPT_CONTROLS = frozenset("\n\t")


def clean_text(text: str) -> str:
    """Return `text` as it may be pasted into a terminal.

    Without the marks that end a bracketed paste (what follows one would be typed as keys), and
    without every control character but newline and tab. Line ends become newlines.
    """
    text = _PASTE_MARKS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(filter(_may_be_pasted, text)).encode("utf-8", "replace").decode("utf-8")


def _may_be_pasted(character: str) -> bool:
    return character in _KEPT_CONTROLS or unicodedata.category(character) != "Cc"
