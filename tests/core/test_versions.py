"""Versions of a CLI: their order, the nearest that is known, and how its screens are then read."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.screen import read
from orchestrator.core.spec import ScreenOverride, ScreenPattern, ScreenSpec
from orchestrator.core.versions import for_version, holds_for, nearest, parse
from orchestrator.definitions import load_definition

OLD, NEW = "2.1.197", "2.1.329"
ALL = ScreenPattern(match="^ask", status="blocked")
FIRST = ScreenPattern(match="^> old", status="ready", until="2.1.299")
SECOND = ScreenPattern(match="^> new", status="ready", since="2.1.300")
SPEC = ScreenSpec(
    versions=(NEW, OLD),
    patterns=(ALL, FIRST, SECOND),
    composer="^> (?P<draft>.*)",
    interruptible="esc",
    overrides=(ScreenOverride(until="2.1.200", composer="^: (?P<draft>.*)", option="o"),),
)

NUMBERS = st.lists(st.integers(0, 12), min_size=2, max_size=4).map(tuple)
VERSIONS = NUMBERS.map(lambda numbers: ".".join(map(str, numbers)))
ENDS = st.none() | VERSIONS
PATTERNS = st.builds(
    lambda match, since, until: ScreenPattern(
        match=match, status="ready", since=since, until=until
    ),
    st.sampled_from("abc"),
    ENDS,
    ENDS,
)
OVERRIDES = st.builds(
    lambda since, until, composer: ScreenOverride(since=since, until=until, composer=composer),
    ENDS,
    ENDS,
    st.none() | st.sampled_from(["(?P<draft>x)", "(?P<draft>y)"]),
)
SPECS = st.builds(
    lambda versions, patterns, overrides: ScreenSpec(
        versions=tuple(versions), patterns=tuple(patterns), overrides=tuple(overrides)
    ),
    st.lists(VERSIONS, max_size=5),
    st.lists(PATTERNS, max_size=5),
    st.lists(OVERRIDES, max_size=3),
)


# -- what a version is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.1.329 (Claude Code)", (2, 1, 329)),
        ("v0.169.0", (0, 169)),
        ("codex-cli 0.169.0\n", (0, 169)),
        ("2.1.329-beta.2+linux", (2, 1, 329)),
        ("demo, version 1.2.", (1, 2)),
        ("3.3a", (3, 3)),
        ("0.0", ()),
        ("", None),
        ("next", None),
        ("7", None),
        ("1.", None),
        ("..1..2..", None),
        ("1.12345678901", None),
        ("1.2.12345678901", None),
        ("٢.٣", None),
    ],
)
def test_parse(text: str, version: tuple[int, ...] | None) -> None:
    assert parse(text) == version


@given(st.text())
def test_any_text_is_a_version_or_none(text: str) -> None:
    found = parse(text)
    assert found is None or all(number >= 0 for number in found)


@given(st.text(alphabet="0123456789. v", max_size=60))
def test_a_version_is_found_wherever_it_is_found_alone(text: str) -> None:
    found = parse(text)
    assert found is None or parse(".".join(map(str, (*found, 0, 0)))) == found


@given(NUMBERS, NUMBERS)
def test_versions_are_ordered_by_their_numbers(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    first, second = (parse(".".join(map(str, numbers))) for numbers in (one, other))
    assert first is not None
    assert second is not None
    padded = [numbers + (0,) * (4 - len(numbers)) for numbers in (one, other)]
    assert (first < second, first == second) == (padded[0] < padded[1], padded[0] == padded[1])


# -- the nearest ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("2.1.329", NEW),
        ("2.1.329 (Claude Code)", NEW),
        ("2.1.328", OLD),
        ("2.1.197", OLD),
        ("2.1.400", NEW),
        ("10.0.0", NEW),
        ("2.1.9", OLD),
        ("1.0.0", OLD),
        ("next", NEW),
        (None, NEW),
    ],
)
def test_nearest(version: str | None, taken: str) -> None:
    assert nearest((NEW, OLD), version) == taken
    assert nearest((OLD, NEW), version) == taken


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert nearest((), "1.0") is None


@given(st.lists(VERSIONS, min_size=1), VERSIONS)
def test_nothing_known_lies_between_a_version_and_its_nearest(
    known: list[str], version: str
) -> None:
    taken = nearest(known, version)
    assert taken in known
    number, wanted = parse(taken), parse(version)
    assert number is not None
    assert wanted is not None
    numbers = [found for each in known if (found := parse(each)) is not None]
    if number <= wanted:
        assert not any(number < each <= wanted for each in numbers)
    else:
        assert number == min(numbers)


# -- the screens of a version ---------------------------------------------------------------------


def test_a_known_version_is_read_as_itself_and_nothing_is_said() -> None:
    old, said = for_version(SPEC, "2.1.197 (Claude Code)")
    assert said is None
    assert (old.patterns, old.composer, old.option) == ((ALL, FIRST), "^: (?P<draft>.*)", "o")
    # What an override does not have stays.
    assert old.interruptible == "esc"
    new, said = for_version(SPEC, NEW)
    assert said is None
    assert (new.patterns, new.composer, new.option) == ((ALL, SECOND), SPEC.composer, None)


@pytest.mark.parametrize(
    ("version", "taken", "shown"),
    [
        ("2.1.400 (Claude Code)", NEW, "2.1.400"),
        # Its pattern would hold for it: the ranges are those of the version that it is read as.
        ("2.1.310", OLD, "2.1.310"),
        ("2.1.196", OLD, "2.1.196"),
        ("next", NEW, "'next'"),
        ("\x1b[31m" + "x" * 90, NEW, "'" + "x" * 39 + "…'"),
    ],
)
def test_another_version_is_read_as_the_nearest_and_that_is_said(
    version: str, taken: str, shown: str
) -> None:
    spec, said = for_version(SPEC, version)
    assert spec == for_version(SPEC, taken)[0]
    assert said == f"its screens are read as those of {taken}: of {shown} there are none"


def test_a_version_that_is_not_told_yet_is_read_as_the_newest() -> None:
    assert for_version(SPEC, None) == for_version(SPEC, NEW)


def test_a_definition_without_versions_is_read_as_it_stands() -> None:
    spec = replace(SPEC, versions=())
    assert for_version(spec, "2.1.400") == (spec, None)
    assert for_version(spec, None) == (spec, None)


@pytest.mark.parametrize(
    ("since", "until", "held"),
    [
        (None, None, "1.9 2.0 2.1"),
        ("2.0", None, "2.0 2.1"),
        (None, "2.0.0", "1.9 2.0"),
        ("2.0", "2.0", "2.0"),
        ("1.10", "1.99", ""),
    ],
)
def test_both_ends_of_a_range_are_within_it(
    since: str | None, until: str | None, held: str
) -> None:
    pattern = ScreenPattern(match="x", status="ready", since=since, until=until)
    assert [v for v in ("1.9", "2.0", "2.1") if holds_for(pattern, v)] == held.split()


def test_a_later_override_goes_over_an_earlier_one() -> None:
    first = ScreenOverride(since=OLD, option="first", interruptible="first")
    second = ScreenOverride(since=OLD, option="second")
    spec, _ = for_version(replace(SPEC, overrides=(first, second)), NEW)
    assert (spec.option, spec.interruptible) == ("second", "first")


def test_the_same_lines_are_read_by_what_holds_for_the_version() -> None:
    lines = ["> old"]
    assert read(lines, for_version(SPEC, OLD)[0]).status == "ready"
    assert read(lines, for_version(SPEC, NEW)[0]).status is None


@given(SPECS, st.none() | VERSIONS | st.text(max_size=9))
def test_the_screens_of_any_version(spec: ScreenSpec, version: str | None) -> None:
    made, said = for_version(spec, version)
    taken = nearest(spec.versions, version)
    if taken is None:
        assert (made, said) == (spec, None)
        return
    assert made.versions == (taken,)
    assert made.patterns == tuple(each for each in spec.patterns if holds_for(each, taken))
    known = version is None or parse(version) in map(parse, spec.versions)
    assert (said is None) == known
    assert said is None or f"as those of {taken}: of " in said
    # It is the same for whoever reads what was made, and for the version that it is read as.
    assert for_version(made, taken) == (made, None)
    assert for_version(spec, taken) == (made, None)


def test_a_screen_is_made_once_for_a_version() -> None:
    made, _ = for_version(SPEC, NEW)
    assert for_version(replace(SPEC), NEW)[0] is made


# -- what is shipped ------------------------------------------------------------------------------


def test_the_shipped_definition_names_the_versions_whose_screens_are_recorded() -> None:
    recorded = Path(__file__).parents[1] / "screens" / "claude"
    versions = load_definition("claude", None).screen.versions
    assert set(versions) == {path.name for path in recorded.iterdir() if path.is_dir()}
