"""Numbers in few columns. Pure."""

from orchestrator.core.text import span

CENT = 0.01
# Seconds below a minute are told in steps, so that a table at rest is seldom repainted.
STEP = 5
_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
_BYTES = ((2**30, "G"), (2**20, "M"), (2**10, "K"))


def age(seconds: float) -> str:
    """How long ago: `now`, `15s`, `3m`, `5h`, `2d`."""
    if seconds < STEP:
        return "now"
    return span(seconds // STEP * STEP if seconds < 60 else seconds)


def count(number: int) -> str:
    """In at most six characters: `999`, `12.3k`, `1.2M`."""
    for size, letter in _UNITS:
        if number >= size:
            return f"{number // (size // 10) / 10:.1f}{letter}"
    return str(number)


def cost(usd: float | None) -> str:
    """In cents; `$?` if it is not known."""
    if usd is None:
        return "$?"
    return f"${usd:.2f}" if usd >= CENT or not usd else f"<${CENT}"


def share(fraction: float | None) -> str:
    """Of one core, or of a context: `12%`; nothing if it is not known."""
    return "" if fraction is None else f"{round(fraction * 100)}%"


def memory(size: int | None) -> str:
    """Bytes: `640K`, `182M`, `1.4G`; nothing if it is not known."""
    if not size:
        return ""
    for unit, letter in _BYTES:
        if size >= unit:
            shown = size / unit
            return (
                f"{shown:.1f}{letter}" if shown < 10 and letter == "G" else f"{shown:.0f}{letter}"
            )
    return f"{size}B"
