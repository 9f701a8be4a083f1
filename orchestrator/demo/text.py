"""Text as rows of a terminal: counted in its cells, with nothing that it would act on. Pure."""

import unicodedata

TAB = 4

# What a terminal acts on becomes a visible stand-in; what has no width and no look is left out.
_SHOWN: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    # Marks that turn the direction of what follows, line separators, halves of surrogate pairs.
    **dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    **dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10))),
    ord("\n"): "\n",
    ord("\t"): " " * TAB,
}


def printable(text: str) -> str:
    """`text` for the screen: line ends stay, no other control or format character does."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_SHOWN)


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    """How many columns a terminal needs for one line of printable text."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _fit(line: str, start: int, columns: int) -> int:
    """Where a row of `columns` that begins at `start` ends."""
    used = 0
    for place in range(start, len(line)):
        used += _cells(line[place])
        if used > columns:
            return place
    return len(line)


def clip(text: str, columns: int) -> str:
    """The first line of `text` in at most `columns`, with an ellipsis if that is not all."""
    line, _, more = text.partition("\n")
    end = _fit(line, 0, columns)
    if end == len(line) and not more:
        return line
    return line[: _fit(line, 0, columns - 1)] + "…" if columns > 1 else "…"[:columns]


def wrap(text: str, columns: int) -> list[str]:
    """The rows of `text`, folded at blanks where there are any."""
    rows: list[str] = []
    for line in text.split("\n"):
        start = 0
        # A row takes one character at least, also where not even that fits.
        while (end := max(start + 1, _fit(line, start, columns))) < len(line):
            blank = line.rfind(" ", start, end + 1)
            cut = blank if line[start : max(blank, start)].strip() else end
            rows.append(line[start:cut].rstrip(" "))
            start = cut
            while start < len(line) and line[start] == " ":
                start += 1
        if start < len(line) or not line:
            rows.append(line[start:].rstrip(" "))
    return rows
