"""Reading a screen: what its lines say by a definition's patterns. Pure.

A snapshot is a list of lines, with or without the terminal's colour sequences. What an agent
prints stands on the same screen as what its CLI draws, so a reading is evidence, never proof.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from orchestrator.core.choices import BOX, RULE, choices
from orchestrator.core.spec import AskKind, Reported, ScreenDoing, ScreenPattern, ScreenSpec
from orchestrator.core.values import value

# Lines of a dialog that are taken as its text, counted upwards from its choices: of a box, and of
# a question that stands below other output with nothing but a blank line between.
BOXED, UNBOXED = 20, 4
# CSI (colours and the like) and OSC (links and the like), as `capture-pane -e` prints them.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
# What is drawn faint in an input line is a hint of the CLI, nothing that a person has typed: also
# the reversed character before it, the cursor on the hint's first. tmux prints attributes, which
# are single digits, apart from colours (a 2 there is green).
_FAINT = re.compile(
    r"(?:\x1b\[(?:\d;)*7m(?:\x1b\[[\d;]*m)*[^\x1b])?"
    r"\x1b\[(?:\d;)*2(?:;\d)*m.*?(?=\x1b\[(?:m|0[;m]|22m)|$)"
)


@value
class Look:
    """What a screen says. `status` None: no pattern matched; `doing` is what a turn does.

    `name`, `text` and `options`, (key, label) pairs, are those of an open dialog; `cursor` is the
    highlighted one's place among them. Of a `menu` no keys are shown: its options are numbered
    here, and chosen by moving. `seconds` is how long a limit lasts. `draft` is what stands in the
    input line, "" if nothing does, and None where no input line is to be seen: a dialog is open,
    or something else covers it.
    """

    status: Reported | None = None
    ask: AskKind | None = None
    doing: ScreenDoing | None = None
    name: str | None = None
    text: str = ""
    options: tuple[tuple[str, str], ...] = ()
    menu: bool = False
    cursor: int | None = None
    seconds: float | None = None
    draft: str | None = None

    @property
    def dialog(self) -> tuple[object, ...]:
        """What tells one dialog from another, and one that stands from one that is half drawn."""
        return self.status, self.text, self.options


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def plain(line: str) -> str:
    """The line without escape sequences, and without blanks at its end."""
    return (_ESCAPE.sub("", line) if "\x1b" in line else line).rstrip()


def read(lines: Sequence[str], spec: ScreenSpec) -> Look:
    """Read the last `spec.lines` lines of a screen that are not blank."""
    start, end = _bounds(lines, spec.lines)
    raw = lines[start:end]
    tail = [plain(line) for line in raw]
    found = _first_match(tail, spec.patterns, _history(tail, spec))
    if found is None:
        return Look(draft=_draft(raw, spec))
    pattern, place, match = found
    if pattern.status != "blocked":
        return Look(
            status=pattern.status,
            ask=pattern.ask,
            doing=pattern.doing,
            seconds=_seconds(match),
            draft=_draft(raw, spec),
        )
    shown = choices(tail, _compiled(spec.option).search) if spec.option else []
    above = tail[: shown[0].place] if shown else tail[: place + 1]
    return Look(
        status=pattern.status,
        ask=pattern.ask or "dialog",
        name=pattern.name,
        # What a dialog is about may begin above the lines that patterns are looked for in.
        text=_text([*map(plain, lines[:start]), *above]),
        options=tuple((each.key or str(n), each.label) for n, each in enumerate(shown, 1)),
        menu=bool(shown) and not shown[0].key,
        cursor=next((n for n, each in enumerate(shown) if each.cursor), None),
        seconds=_seconds(match),
    )


def is_interruptible(lines: Sequence[str], spec: ScreenSpec) -> bool:
    """Whether nothing that is open takes the interrupting keys for itself, as far as is known."""
    if spec.interruptible is None:
        return True
    start, end = _bounds(lines, spec.lines)
    return any(_compiled(spec.interruptible).search(plain(line)) for line in lines[start:end])


def _bounds(lines: Sequence[str], count: int) -> tuple[int, int]:
    """The start and end of the screen's last lines of which `count` show something."""
    end = start = len(lines)
    while start > 0 and count > 0:
        start -= 1
        if plain(lines[start]):
            count -= 1
        elif start == end - 1:
            end -= 1
    return start, end


def _history(tail: Sequence[str], spec: ScreenSpec) -> int:
    """How many lines were said before, so that they are no dialog whatever they look like.

    A dialog stands in the place of the input line, below it, or right above it.
    """
    place = None if spec.composer is None else _input_line(tail, spec.composer)
    if place is None:
        return 0
    while place > 0 and (not tail[place - 1] or RULE.match(tail[place - 1])):
        place -= 1
    return max(0, place - 1)


def _input_line(lines: Sequence[str], composer: str) -> int | None:
    """The place of the lowest input line."""
    search = _compiled(composer).search
    return next((n for n in range(len(lines) - 1, -1, -1) if search(lines[n])), None)


def _first_match(
    tail: Sequence[str], patterns: Sequence[ScreenPattern], history: int
) -> tuple[ScreenPattern, int, re.Match[str]] | None:
    """The first pattern that matches any line, with the lowest such line's place.

    One with the flag `m` is searched in all lines at once: `(?m)` at its beginning.
    """
    whole = "\n".join(tail)
    for pattern in patterns:
        compiled = _compiled(pattern.match)
        search = compiled.search
        if compiled.flags & re.MULTILINE:
            if match := search(whole):
                return pattern, len(tail) - 1, match
            continue
        end = history if pattern.status == "blocked" else 0
        for place in range(len(tail) - 1, end - 1, -1):
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
    place = _input_line([plain(line) for line in raw], spec.composer)
    if place is None:
        return None
    match = _compiled(spec.composer).search(_typed(raw[place]))
    draft = (match.groupdict().get("draft") or "").strip() if match else ""
    return draft or _next_row(raw, place)


def _typed(line: str) -> str:
    """The line without what is faint in it."""
    return plain(_FAINT.sub("", line))


def _next_row(raw: Sequence[str], place: int) -> str:
    """The first words below an input line's empty first row, where rules enclose its rows."""
    if place == 0 or not RULE.match(plain(raw[place - 1])):
        return ""
    words = ""
    for line in raw[place + 1 :]:
        if RULE.match(text := _typed(line)):
            return words
        words = words or text.strip()
    return ""


# -- dialogs ---------------------------------------------------------------------------------------


def _text(above: Sequence[str]) -> str:
    """What a dialog asks, without box drawing: the lines of its box, else the last paragraph."""
    lines = list(above)
    while lines and (not lines[-1] or RULE.match(lines[-1])):
        lines.pop()
    rule = next((p for p in range(len(lines) - 1, -1, -1) if RULE.match(lines[p])), None)
    if rule is not None:
        lines = lines[rule + 1 :][-BOXED:]
    else:
        blank = next((p for p in range(len(lines) - 1, -1, -1) if not lines[p]), -1)
        lines = lines[blank + 1 :][-UNBOXED:]
    return "\n".join(text for line in lines if (text := BOX.sub("", line).strip()))


def is_emptied(now: Look, before: Look) -> bool:
    """Whether it is the same dialog, which shows no choices just now.

    Some dialogs answer so to a key that may have been meant for what was there before: they let it
    fall, and take one half a second later. What stands there of the choices may be read as text.
    """
    same = now.status == before.status == "blocked" and now.text.startswith(before.text)
    return same and bool(before.options) and not now.options


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
