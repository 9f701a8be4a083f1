"""Screens that are in no corpus: read as what they show or as unknown, never as ready in a turn.

They are made of the recorded ones: another glyph, other languages, other widths, and a text that
was typed meanwhile, for which the row with `esc to interrupt` goes away.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from orchestrator.core.screen import Look, plain, read
from orchestrator.core.spec import ScreenPattern, ScreenSpec
from tests.core.claude_looks import LOOKS
from tests.core.test_claude_screens import CLAUDE, FILES, expected
from tests.demo.conftest import screen_spec
from tests.demo.test_screen import LOOKS as DEMO_LOOKS
from tests.demo.test_screen import SCREENS as DEMO_SCREENS

Lines = tuple[str, ...]
Count = Callable[[str, int, int], int]

# What stands for another glyph: signs that a CLI may take one day, and those it has taken already.
OTHERS = "◆?●❯>|-✻·…═"
# The languages' words: those that a CLI is likely to use, then what stands for all others.
WORDS = {
    "German": (
        {
            "esc": "Esc",
            "to": "zum",
            "interrupt": "Unterbrechen",
            "retrying": "erneut",
            "attempt": "Versuch",
            "tokens": "Token",
            "yes": "Ja",
            "no": "Nein",
            "thinking": "überlegt",
            "s": " Sek.",
            "m": " Min.",
            "h": " Std.",
        },
        ("Verarbeitung", "läuft", "für", "das", "Verzeichnis"),
    ),
    "Japanese": (
        {
            "esc": "Escキー",
            "to": "で",
            "interrupt": "中断",
            "retrying": "再試行",
            "attempt": "試行",
            "tokens": "トークン",
            "yes": "はい",
            "no": "いいえ",
            "thinking": "思考中",
            "s": "秒",
            "m": "分",
            "h": "時間",
        },
        ("処理", "しています", "の", "許可", "フォルダ"),
    ),
}
_WORD = re.compile(r"(?<=\d)[smh]\b|[A-Za-z]+(?:['’][a-z]+)?")
WIDTHS = range(60, 251)
_FOOTER = re.compile(r" · esc to interrupt.*")


@cache
def in_turn() -> dict[str, tuple[Lines, Look]]:
    """Every recorded screen of a turn: its lines, without colours, and what it shows."""
    found: dict[str, tuple[Lines, Look]] = {}
    for file in FILES:
        key = expected(file)
        if key is None or LOOKS[key].status not in ("working", "limited", "blocked"):
            continue
        lines = tuple(plain(line) for line in file.read_text("utf-8").split("\n"))
        found[f"{file.parent.name}/{file.stem}"] = lines, LOOKS[key]
        if "❯" in lines:
            found[f"{file.parent.name}/{file.stem}, typing"] = typing(lines), LOOKS[key]
    return found


def typing(lines: Lines) -> Lines:
    """The screen with a text in its input line: the row below it says less then."""
    place = max(n for n, line in enumerate(lines) if line == "❯")
    below = tuple(_FOOTER.sub("", line) for line in lines[place + 1 :])
    return (*lines[:place], "❯\xa0a draft", *below)


def is_wrong(name: str, lines: Lines, look: Look, spec: ScreenSpec) -> bool:
    seen = read(lines, spec)
    if seen.status == look.status:
        return seen.ask not in (look.ask, "dialog")  # Which kind of dialog, is not always known.
    # A turn goes on behind what a person has opened.
    behind = "menu-model-working" in name and seen.status == "working"
    return seen.status is not None and not behind


def glyphs_changed(lines: Lines, others: str) -> Iterator[Lines]:
    """The screen with one glyph of one row changed, wherever it stands there."""
    for place, line in enumerate(lines):
        for glyph in sorted({each for each in line if not each.isalnum() and each not in " \xa0"}):
            for other in others:
                if other != glyph:
                    yield (*lines[:place], line.replace(glyph, other), *lines[place + 1 :])


def translated(line: str, language: str) -> str:
    """The line in another language, word by word."""
    known, rest = WORDS[language]

    def word(match: re.Match[str]) -> str:
        text = match[0].lower()
        return known.get(text) or rest[sum(map(ord, text)) % len(rest)]

    return _WORD.sub(word, line)


def folded(lines: Lines, width: int) -> Lines:
    """The lines as a terminal folds those that are too long for it."""
    return tuple(
        line[start : start + width]
        for line in lines
        for start in range(0, max(1, len(line)), width)
    )


def cut(lines: Lines, width: int) -> Lines:
    return tuple(line[:width] for line in lines)


def shown(lines: Lines, spec: ScreenSpec) -> str:
    return "\n".join([f"read as {read(lines, spec)}", *filter(None, lines)])


def check(made: Iterator[tuple[str, Lines, Look]], spec: ScreenSpec) -> None:
    failed = [(name, lines) for name, lines, look in made if is_wrong(name, lines, look, spec)]
    names = sorted({name for name, _ in failed})
    assert not failed, f"{len(failed)} of {names}, such as {shown(failed[0][1], spec)}"


# -- Claude Code -----------------------------------------------------------------------------------


def test_a_text_typed_in_a_turn_changes_nothing() -> None:
    screens = in_turn().items()
    check(((name, lines, look) for name, (lines, look) in screens), CLAUDE.screen)
    assert sum(name.endswith(", typing") for name, _ in screens) > 10


def test_another_glyph(count: Count) -> None:
    """Each glyph of each row is another one; a small run tries one, another for each screen."""
    each = count("other glyphs, of a screen's each", 1, 4)

    def made() -> Iterator[tuple[str, Lines, Look]]:
        for number, (name, (lines, look)) in enumerate(in_turn().items()):
            turned = OTHERS[number % len(OTHERS) :] + OTHERS
            for changed in glyphs_changed(lines, turned[:each]):
                yield name, changed, look

    check(made(), CLAUDE.screen)


@pytest.mark.parametrize("language", WORDS)
def test_another_language(language: str) -> None:
    screens = in_turn().items()
    check(
        (
            (name, tuple(translated(line, language) for line in lines), look)
            for name, (lines, look) in screens
        ),
        CLAUDE.screen,
    )


@pytest.mark.parametrize("how", [folded, cut])
def test_another_width(how: Callable[[Lines, int], Lines], count: Count) -> None:
    step = len(WIDTHS) // count("widths of a screen", 10, len(WIDTHS))

    def made() -> Iterator[tuple[str, Lines, Look]]:
        for number, (name, (lines, look)) in enumerate(in_turn().items()):
            before = lines
            for width in WIDTHS[number % step :: step]:
                changed = how(lines, width)
                if changed not in (lines, before):
                    yield f"{name} in {width} columns", changed, look
                before = changed

    check(made(), CLAUDE.screen)


def test_what_was_counted_in_a_turn_is_no_clock() -> None:
    (file,) = (each for each in FILES if each.match("2.1.329/compacted-80x24.txt"))
    lines = [plain(line) for line in file.read_text("utf-8").split("\n")]
    place = 1 + next(n for n, line in enumerate(lines) if "Compacted" in line)
    for row, status in (("  ⎿  Read notes.txt (3 lines)", "ready"), ("  still (3s · on)", None)):
        changed = [*lines[:place], row, *lines[place:]]
        assert read(changed, CLAUDE.screen) == Look(status=status, draft=""), row  # type: ignore[arg-type]  # of a list


@pytest.mark.parametrize("size", ["80x24", "200x50"])
def test_an_agent_that_shows_a_screen_between_turns_is_still_in_one(size: str) -> None:
    """What it prints is indented by two columns."""
    lines, look = in_turn()[f"2.1.329/queued-draft-{size}"]
    (file,) = (each for each in FILES if each.match(f"2.1.329/after-a-turn-{size}.txt"))
    said = [f"  {plain(line)}" for line in file.read_text("utf-8").split("\n")]
    place = 1 + next(n for n, line in enumerate(lines) if line.startswith("● word0"))
    for start in range(0, len(said), 4):
        shows = (*lines[:place], *said[start:], *lines[place:])
        assert read(shows, CLAUDE.screen).status == look.status, start


@pytest.mark.parametrize("glyph", "✻✽✢*·◆")
def test_the_end_of_a_turn_is_known_by_its_words(glyph: str) -> None:
    (file,) = (each for each in FILES if each.match("2.1.329/after-a-turn-80x24.txt"))
    lines = [plain(line) for line in file.read_text("utf-8").split("\n")]
    place = next(n for n, line in enumerate(lines) if line.startswith("✻ "))
    for row in ("Baked for 0s · done 12:27 PM", "Cogitated for 1m 3s", "Sautéed for 1h 2m 3s"):
        changed = [*lines[:place], f"{glyph} {row}", *lines[place + 1 :]]
        assert read(changed, CLAUDE.screen) == Look(status="ready", draft=""), row


def test_a_pattern_with_the_flag_m_is_searched_in_all_lines_at_once() -> None:
    spec = ScreenSpec(patterns=(ScreenPattern(match=r"(?m)^one\ntwo\Z", status="ready"),))
    assert read(["one", "\x1b[1mtwo\x1b[0m", ""], spec) == Look(status="ready")
    assert read(["one", "", "two"], spec) == Look()
    assert read(["one", "two", "three"], spec) == Look()


# -- the demo agent --------------------------------------------------------------------------------


def demo_in_turn() -> Iterator[tuple[str, Lines, Look]]:
    for name, look in DEMO_LOOKS.items():
        if look.status in ("working", "limited", "blocked"):
            text = (DEMO_SCREENS / f"{name}.txt").read_text("utf-8")
            yield name, tuple(text.split("\n")), look


def test_the_demo_agent_in_no_corpus() -> None:
    def made() -> Iterator[tuple[str, Lines, Look]]:
        for name, lines, look in demo_in_turn():
            for changed in glyphs_changed(lines, OTHERS):
                yield f"{name}, another glyph", changed, look
            for language in WORDS:
                said = tuple(translated(line, language) for line in lines)
                yield f"{name} in {language}", said, look
            for width in range(30, 89):
                yield f"{name} in {width} columns", cut(lines, width), look
                yield f"{name} folded to {width} columns", folded(lines, width), look

    check(made(), screen_spec())
