"""A screen that others may see: text and colours, and nothing in it that is a person's own. Pure.

A secret is known by its form, by the word before it, or because it is given. It may be folded over
several rows. Each of its characters becomes an `x`, and a name that is replaced takes or gives what
blanks follow it: whatever is read by its column stays where it is.

No rule finds everything: whoever shares a screen looks at it first.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from orchestrator.core.text import safe_text, width
from orchestrator.core.values import value

# What stays of a line's escape sequences: colours and attributes.
_SGR = re.compile(r"(\x1b\[[0-9;:]*m)")
_BOX = "\u2500-\u257f|"

# Columns at a row's end that may be left free where a word is folded there: a box and its margin.
_MARGIN = 8
_FOLDED = re.compile(r"(?P<text>.*[\w+/=.-])[ " + _BOX + "]*", re.DOTALL)
_FOLD = re.compile(r"[ " + _BOX + r"]*(?=[\w+/=.-])")

# Blanks that set off what stands in a column of its own, and those before a box's right side.
_SLACK = re.compile(rf" {{2,}}| (?=[{_BOX}]\s*$)")

_WORDS = r"(?:api|access|private)[ _-]?key|secret(?:[_-]?key)?|token|passw(?:or)?d|passphrase"
_RUN = r"[A-Za-z0-9+/_=-]"
_NOTHING = r"(?!)"
# Of a variable's name: its value is a secret.
_SECRET_NAME = re.compile(r"(?:key|token|secret|passw(?:or)?d|passphrase|credentials?)s?$", re.I)
# Shorter values are words that stand on many screens.
_SECRET_LENGTH = 8
_RANDOM_LENGTH = 20

_Place = tuple[int, int]  # which row, and which of its characters
Rule = tuple[re.Pattern[str], Callable[[str], bool]]


def _always(_: str) -> bool:
    return True


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _is_no_variable(text: str) -> bool:
    return not text.startswith("$")


def _is_no_word(text: str) -> bool:
    return not text.isalpha()


def _is_random(text: str) -> bool:
    """Whether nobody would write it by hand: no path whose parts are words."""
    return any(
        len(part) >= _RANDOM_LENGTH
        and any(map(str.isupper, part))
        and any(map(str.islower, part))
        and sum(map(str.isdigit, part)) >= 3
        for part in text.split("/")
    )


# Each with a group `secret`, and what must be true of that.
_RULES: tuple[Rule, ...] = (
    # Also the end of a key, as a dialog shows it: sk-ant-...0123456789.
    (re.compile(r"\b(?P<secret>sk-[\w.…-]{8,})"), _has_digit),
    (re.compile(r"\b(?P<secret>[rps]k_(?:live|test)_\w{8,})"), _always),
    (
        re.compile(
            r"\b(?P<secret>(?:gh[opsur]_|github_pat_|gl[a-z]+-|xox[a-z]-|xapp-|npm_|hf_|pypi-|AIza"
            r"|ya29\.)[\w.-]{16,})"
        ),
        _has_digit,
    ),
    (re.compile(r"\b(?P<secret>A(?:KIA|SIA|ROA|IDA)[A-Z0-9]{12,})\b"), _always),
    (re.compile(r"\b(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"), _always),
    (re.compile(r"\bbearer[^\S\n]+(?P<secret>[\w.~+/=-]{8,})", re.I), _has_digit),
    (
        re.compile(
            r"\bauthorization[\"']?[^\S\n]*[:=][^\S\n]*[\"']?(?:\w+[^\S\n]+)?"
            r"(?P<secret>[^\s\"']{8,})",
            re.I,
        ),
        _always,
    ),
    (re.compile(r"://[^\s/:@]*:(?P<secret>[^\s/@]+)@"), _always),
    # Set without a blank it is a variable, whatever the value looks like: but not `x=$y`.
    (re.compile(rf"(?:{_WORDS})s?[\"']?=(?P<secret>(?!\$)[^\s\"'&;]+)", re.I), _always),
    (
        re.compile(
            rf"(?:{_WORDS})s?[\"']?[^\S\n]*[:=]>?[^\S\n]*"
            r"(?P<quote>[\"'])(?P<secret>[^\"'\n]{4,})(?P=quote)",
            re.I,
        ),
        _is_no_variable,
    ),
    (
        re.compile(
            rf"(?:{_WORDS})s?[\"']?[^\S\n]*[:=]>?[^\S\n]*(?P<secret>(?!\$)[^\s\"',;]{{4,}})", re.I
        ),
        _is_no_word,
    ),
    (
        re.compile(
            r"(?:key|token|secret|passw(?:or)?d|passphrase|credential)s?\b[^\w/\n]{0,4}"
            rf"(?:(?:is|was|for|of)\b[^\w/\n]{{1,3}})?(?P<secret>(?!/){_RUN}{{16,}})",
            re.I,
        ),
        _has_digit,
    ),
    (
        re.compile(
            rf"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<secret>(?:[\s{_BOX}]+[A-Za-z0-9+/=]{{16,}})+"
            rf"(?:[\s{_BOX}]+[A-Za-z0-9+/=]+(?=[\s{_BOX}]+-----END))?)"
        ),
        _always,
    ),
    (re.compile(rf"(?<!{_RUN})(?P<secret>{_RUN}{{32,}})"), _is_random),
    (re.compile(r"(?<![\w.+-])(?P<secret>[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,})\b"), _always),
)


@value
class Redacted:
    """A screen without what is a person's own; `masked`: in how many places there was some."""

    lines: tuple[str, ...]
    masked: int


def redact(
    lines: Sequence[str],
    columns: int,
    *,
    names: Mapping[str, str],
    secrets: Collection[str] = (),
) -> Redacted:
    """The lines of a screen that is `columns` wide, for others to see.

    `names`: words and paths -> what stands in their place. `secrets` are known as such.
    """
    rows = [_Row(line) for line in lines]
    plain, unfolded = _Stream(rows), _Stream(rows, columns)
    hidden: set[_Place] = set()
    for stream in (plain, unfolded):
        for start, end in _secret_spans(stream.text, secrets):
            hidden.update(stream.places(start, end))
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    named = re.compile(rf"(?<![A-Za-z0-9_])(?:{known or _NOTHING})(?![A-Za-z0-9_])")
    for found in named.finditer(unfolded.text):
        places = unfolded.places(*found.span())
        if len({row for row, _ in places}) > 1:  # another length would move two rows
            hidden.update(places)
    masked = _hide(rows, hidden) + sum(row.rename(named, names, columns) for row in rows)
    return Redacted(lines=tuple(map(str, rows)), masked=masked)


def secrets_in(environ: Mapping[str, str]) -> set[str]:
    """The values of variables whose names say that they are secret."""
    return {
        text
        for name, text in environ.items()
        if len(text) >= _SECRET_LENGTH and _SECRET_NAME.search(name)
    }


# -- a row -----------------------------------------------------------------------------------------


class _Row:
    """A line as its characters, each with the styles that begin before it."""

    def __init__(self, line: str) -> None:
        self.text = ""
        self._styles = [""]
        for part in _SGR.split(line):
            if _SGR.fullmatch(part):
                self._styles[-1] += part
            else:
                text = safe_text(part)
                self.text += text
                self._styles += [""] * len(text)

    def __str__(self) -> str:
        cells = zip(self._styles, (*self.text, ""), strict=True)
        return "".join(style + char for style, char in cells)

    def put(self, start: int, end: int, text: str) -> None:
        """Replace characters; the styles among them stay."""
        styles = self._styles[start : end + 1]
        if text:
            between = [styles[0], *[""] * (len(text) - 1), "".join(styles[1:])]
        else:
            between = ["".join(styles)]
        self._styles[start : end + 1] = between
        self.text = self.text[:start] + text + self.text[end:]

    def rename(self, named: re.Pattern[str], names: Mapping[str, str], columns: int) -> int:
        """Replace names; how many there were."""
        before = max(columns, width(self.text))
        count = start = 0
        while found := named.search(self.text, start):
            new = names[found[0]]
            start = found.start() + len(new)
            if new == found[0]:
                continue
            count += 1
            self.put(*found.span(), new)
            self._make_good(start, width(found[0]) - width(new))
        while count and width(self.text) > before:
            self.put(len(self.text) - 1, len(self.text), "")
        return count

    def _make_good(self, start: int, lost: int) -> None:
        """Have what stands further right, behind blanks, stay in its column."""
        slack = _SLACK.search(self.text, start)
        if slack is None:
            return
        place = slack.start() + 1
        if lost > 0:
            self.put(place, place, " " * lost)
        else:
            self.put(place, min(place - lost, slack.end()), "")


def _hide(rows: Sequence[_Row], hidden: Collection[_Place]) -> int:
    """Make each of these characters an `x`; in how many places there are some."""
    count = 0
    for number, row in enumerate(rows):
        # From the right: a character may become two, or none.
        for place in sorted((place for line, place in hidden if line == number), reverse=True):
            count += (number, place - 1) not in hidden
            row.put(place, place + 1, "x" * width(row.text[place]))
    return count


# -- what is looked through ------------------------------------------------------------------------


class _Stream:
    """The rows as one text; with `columns`, what is folded at their ends is put together again."""

    def __init__(self, rows: Sequence[_Row], columns: int | None = None) -> None:
        self.text = ""
        self._places: list[_Place | None] = []
        for number, row in enumerate(rows):
            start = 0
            if number:
                start = self._join(rows[number - 1].text, row.text, columns)
            self.text += row.text[start:]
            self._places += [(number, place) for place in range(start, len(row.text))]

    def _join(self, above: str, text: str, columns: int | None) -> int:
        """End the row above; where the next one is to be read from."""
        if columns is not None:
            fold, rest = _FOLDED.fullmatch(above), _FOLD.match(text)
            if fold and rest and width(fold["text"]) >= columns - _MARGIN:
                cut = len(above) - fold.end("text")
                self.text = self.text[: len(self.text) - cut]
                del self._places[len(self._places) - cut :]
                return rest.end()
        self.text += "\n"
        self._places.append(None)
        return 0

    def places(self, start: int, end: int) -> list[_Place]:
        """Where these characters stand, but for blanks and boxes."""
        return [
            place
            for place, char in zip(self._places[start:end], self.text[start:end], strict=True)
            if place is not None and not char.isspace() and not "\u2500" <= char <= "\u257f"
        ]


def _secret_spans(text: str, secrets: Collection[str]) -> Iterator[tuple[int, int]]:
    for rule, holds in _RULES:
        for found in rule.finditer(text):
            if holds(found["secret"]):
                yield found.span("secret")
    for line in {line for secret in secrets for line in secret.splitlines()}:
        if len(line) >= _SECRET_LENGTH:
            for found in re.finditer(re.escape(line), text):
                yield found.span()
