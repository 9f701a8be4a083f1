"""Reading a screen: what its lines say by a definition's patterns. Pure.

A snapshot is a list of lines, with or without the terminal's colour sequences. What an agent
prints stands on the same screen as what its CLI draws, so a reading is evidence, never proof.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from orchestrator.core.spec import AskKind, Reading, ScreenPattern, ScreenSpec
from orchestrator.core.values import value

# Lines of a dialog that are taken as its text, counted upwards from its choices: of a box, and of
# a question that stands below other output with nothing but a blank line between.
BOXED, UNBOXED = 20, 4
# Lines that may stand between two choices: a description, a rule.
GAP = 3

# CSI (colours and the like) and OSC (links and the like), as `capture-pane -e` prints them.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
# What is drawn faint in an input line is a hint of the CLI, nothing that a person has typed. tmux
# prints attributes, which are single digits, apart from colours (a 2 there is green).
_FAINT = re.compile(r"\x1b\[(?:\d;)*2(?:;\d)*m.*?(?=\x1b\[(?:m|0[;m]|22m)|$)")
# Box drawing. A solid horizontal line bounds a box; dashed ones set off a part of its text.
_BOX = re.compile("[\u2500-\u257f]+")
_RULE = re.compile("\\s*(?:[─━═]{8}|[╭┌┏╔╰┗╚][─━═])")

Difference = tuple[tuple[int, int, tuple[str, ...]], ...]


@value
class Look:
    """What a screen says. `status` None: no pattern matched.

    `name`, `text` and `options`, (key, label) pairs, are those of an open dialog. `seconds` is how
    long a limit lasts. `draft` is what stands in the input line, "" if nothing does, and None where no
    input line is to be seen: a dialog is open, or something else covers it.
    """

    status: Reading | None = None
    ask: AskKind | None = None
    name: str | None = None
    text: str = ""
    options: tuple[tuple[str, str], ...] = ()
    seconds: float | None = None
    draft: str | None = None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def plain(line: str) -> str:
    """The line without escape sequences, and without blanks at its end."""
    return (_ESCAPE.sub("", line) if "\x1b" in line else line).rstrip()


def read(lines: Sequence[str], spec: ScreenSpec) -> Look:
    """Read the last `spec.lines` lines of a screen that are not blank."""
    raw = _tail(lines, spec.lines)
    tail = [plain(line) for line in raw]
    found = _first_match(tail, spec.patterns)
    if found is None:
        return Look(draft=_draft(raw, spec))
    pattern, place, match = found
    if pattern.status != "blocked":
        return Look(
            status=pattern.status,
            ask=pattern.ask,
            seconds=_seconds(match),
            draft=_draft(raw, spec),
        )
    options, first = _options(tail, spec)
    return Look(
        status=pattern.status,
        ask=pattern.ask or "dialog",
        name=pattern.name,
        text=_text(tail[:first] if options else tail[: place + 1]),
        options=options,
        seconds=_seconds(match),
    )


def _tail(lines: Sequence[str], count: int) -> Sequence[str]:
    """The end of the screen that holds `count` lines that show something."""
    end = start = len(lines)
    while start > 0 and count > 0:
        start -= 1
        if plain(lines[start]):
            count -= 1
        elif start == end - 1:
            end -= 1
    return lines[start:end]


def _first_match(
    tail: Sequence[str], patterns: Sequence[ScreenPattern]
) -> tuple[ScreenPattern, int, re.Match[str]] | None:
    """The first pattern that matches any line, with the lowest such line's place."""
    for pattern in patterns:
        search = _compiled(pattern.match).search
        for place in range(len(tail) - 1, -1, -1):
            if match := search(tail[place]):
                return pattern, place, match
    return None


def _seconds(match: re.Match[str]) -> float | None:
    text = match.groupdict().get("seconds")
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _draft(raw: Sequence[str], spec: ScreenSpec) -> str | None:
    """What stands in the lowest input line."""
    if spec.composer is None:
        return None
    search = _compiled(spec.composer).search
    for line in reversed(raw):
        if search(plain(line)):
            match = search(plain(_FAINT.sub("", line)))
            return (match.groupdict().get("draft") or "").strip() if match else ""
    return None


# -- dialogs ---------------------------------------------------------------------------------------


def _options(tail: Sequence[str], spec: ScreenSpec) -> tuple[tuple[tuple[str, str], ...], int]:
    """The lowest group of choices, as (key, label) pairs, and the place of its first line.

    Lists that the agent printed look like choices too. So a group ends, upwards, where too many
    other lines stand between, where a key comes again, and where numbers do not count down.
    """
    if spec.option is None:
        return (), 0
    search = _compiled(spec.option).search
    found: list[tuple[str, str]] = []
    first = between = 0
    for place in range(len(tail) - 1, -1, -1):
        if match := search(tail[place]):
            key, label = match["key"] or "", _BOX.sub("", match["label"] or "").strip()
            if found and not _goes_before(key, found):
                break
            found.append((key, label))
            first, between = place, 0
        elif found and tail[place]:
            between += 1
            if between > GAP:
                break
    return tuple(reversed(found)), first


def _goes_before(key: str, found: Sequence[tuple[str, str]]) -> bool:
    """Whether `key` may be of the choice above those found so far (lowest first)."""
    below = found[-1][0]
    if key.isdecimal() and below.isdecimal():
        return int(key) == int(below) - 1
    return all(key != other for other, _ in found)


def _text(above: Sequence[str]) -> str:
    """What a dialog asks, without box drawing: the lines of its box, else the last paragraph."""
    lines = list(above)
    while lines and (not lines[-1] or _RULE.match(lines[-1])):
        lines.pop()
    rule = next((p for p in range(len(lines) - 1, -1, -1) if _RULE.match(lines[p])), None)
    if rule is not None:
        lines = lines[rule + 1 :][-BOXED:]
    else:
        blank = next((p for p in range(len(lines) - 1, -1, -1) if not lines[p]), -1)
        lines = lines[blank + 1 :][-UNBOXED:]
    return "\n".join(text for line in lines if (text := _BOX.sub("", line).strip()))


def choose(
    options: Sequence[tuple[str, str]], answers: Mapping[str, str], choice: str
) -> str | None:
    """The key to press for `choice`: a key, a label, the one beginning of a label, or a word.

    `answers` gives the words: word -> regular expression; it means the first label that matches.
    None: `choice` names none of the options, or more than one.
    """
    wanted = choice.strip()
    if not wanted:
        return None
    for key, _ in options:
        if key == wanted:
            return key
    folded = wanted.casefold()
    labels = [(key, label.casefold()) for key, label in options if key]
    for candidates in (
        [key for key, label in labels if label == folded],
        [key for key, label in labels if label.startswith(folded)],
    ):
        if len(candidates) == 1:
            return candidates[0]
    pattern = answers.get(wanted, answers.get(folded))
    if pattern is None:
        return None
    search = _compiled(pattern).search
    return next((key for key, label in options if key and search(label)), None)


# -- differences -----------------------------------------------------------------------------------


def diff(a: Sequence[str], b: Sequence[str]) -> Difference:
    """What changes the lines `a` to `b`: (start, end, new lines), places counted in `a`."""
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return tuple(
        (start, end, tuple(b[low:high]))
        for tag, start, end, low, high in matcher.get_opcodes()
        if tag != "equal"
    )


def apply(a: Sequence[str], difference: Difference) -> list[str]:
    """The lines that `diff` was made for: `apply(a, diff(a, b)) == b`."""
    lines = list(a)
    for start, end, new in reversed(difference):
        lines[start:end] = new
    return lines
