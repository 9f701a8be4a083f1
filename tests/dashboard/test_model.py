"""The dashboard's pure parts: a view and the time go in, lines come out."""

import itertools
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.text import width
from orchestrator.core.views import GLYPHS
from orchestrator.dashboard import layout, model, needs, team
from orchestrator.dashboard.lines import Line, drawn, fit, line_width, plain, spread, wrap
from tests.fake_supervisor import NOTHING_USED, agent, ask, message, session

NOW = time.time()


def used(tokens: int, cost: float | None, **more: Any) -> dict[str, Any]:
    return {**NOTHING_USED, "output": tokens, "cost_usd": cost, "context": None, **more}


TEAM = session(
    "demo",
    agent("boss", "working", role="boss", doing="thinking", detail="on it", since=NOW - 190,
          usage=used(12_345, 0.42, context={"used": 150_000, "size": 200_000})),
    agent("ana", "blocked", since=NOW - 7, detail="Bash: rm -r build",
          ask=ask("Bash: rm -r build", k1="Yes", k2="No"), usage=used(10, None)),
    agent("bob", "failed", detail="ended 5 times", since=NOW - 7200),
    agent("cid", "limited", limited_until=NOW + 600, queued=2, held="text stands in its line"),
    messages=[message(7, "boss", "unconfirmed", "no receipt"), message(8, "ana", "queued")],
    samples={"boss": {"cpu": 0.123, "rss": 190 << 20}, "ana": {"cpu": None, "rss": 1 << 20}},
)  # fmt: skip


def rows(columns: int, **more: Any) -> list[str]:
    table = team.table(TEAM, columns, NOW, **more)
    return [plain(line) for line in (table.head, *table.rows)]


def words(line: str) -> str:
    return " ".join(line.split())


# -- the team -------------------------------------------------------------------------------------


def test_a_wide_table_shows_everything() -> None:
    head, boss, ana, bob, cid = rows(150)
    assert words(head) == "NAME ROLE STATUS SINCE DOING CTX TOKENS COST CPU MEM"
    assert words(boss) == "boss boss ● working 3m thinking: on it 75% 12.3k $0.42 12% 190M"
    assert "? blocked" in ana
    assert "asks to run Bash: rm -r build" in ana
    assert "$?" in ana
    assert "2h" in bob
    assert "its limit ends in 10m · 2 queued: text stands in its line" in cid


def test_columns_drop_out_where_it_is_narrow() -> None:
    assert words(rows(80)[0]) == "NAME ROLE STATUS SINCE DOING CTX TOKENS COST"
    assert words(rows(60)[0]) == "NAME STATUS SINCE DOING COST"
    assert words(rows(20)[0]) == "NAME STATUS"


def test_what_nobody_has_takes_no_room() -> None:
    view = session("demo", agent("a"), agent("b", "starting"))
    assert words(plain(team.table(view, 200, NOW).head)) == "NAME STATUS SINCE DOING"


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("team", "boss ana bob cid"),
        ("urgency", "ana bob cid boss"),
        ("name", "ana bob boss cid"),
        ("tokens", "boss ana bob cid"),
        ("cost", "boss ana bob cid"),
        ("cpu", "boss ana bob cid"),
        ("memory", "boss ana bob cid"),
        ("since", "ana cid boss bob"),
    ],
)
def test_orders(sort: str, names: str) -> None:
    assert " ".join(team.table(TEAM, 100, NOW, sort=sort).names) == names


@pytest.mark.parametrize(
    ("wanted", "names"),
    [("", "boss ana bob cid"), ("BO", "boss bob"), ("rm build", "ana"), ("work boss", "boss"),
     ("nobody", "")],
)  # fmt: skip
def test_a_filter_finds_all_of_its_words(wanted: str, names: str) -> None:
    assert " ".join(team.table(TEAM, 100, NOW, wanted=wanted).names) == names


def test_every_status_has_its_glyph() -> None:
    assert {status.value: glyph for status, glyph in GLYPHS.items()} == {
        status: glyph for status, (glyph, _) in model.LOOKS.items()
    }
    assert set(team.URGENCY) == set(model.LOOKS)


# -- who needs a person ---------------------------------------------------------------------------


def test_who_needs_a_person() -> None:
    found = needs.needs(TEAM, NOW)
    assert [(need.key, need.headline) for need in found] == [
        ("ana", "asks to run Bash: rm -r build"),
        ("bob", "failed: ended 5 times"),
        ("message:7", "message 7 is unconfirmed: no receipt"),
        ("cid", "is limited; its limit ends in 10m"),
    ]
    assert needs.needs({**TEAM, "state": "down"}, NOW) == []
    assert needs.needs(None, NOW) == []


def test_the_need_in_hand_shows_its_answers() -> None:
    found = needs.needs(TEAM, NOW)
    lines = needs.need_lines(found, "ana", 60)
    shown = [plain(one.line).strip() for one in lines]
    assert shown[:4] == ["? ana asks to run Bash: rm -r build", "1  Yes", "2  No",
                         "✗ bob failed: ended 5 times"]  # fmt: skip
    assert [one.choice.send for one in lines if one.choice] == ["1", "2"]


def test_a_long_command_is_shown_whole_before_it_is_allowed() -> None:
    command = "Bash: " + " ".join(f"--option-{n} /a/path" for n in range(12))
    view = session("demo", agent("ana", "blocked", ask=ask(command, k1="Yes")))
    found = needs.needs(view, NOW)
    shown = " ".join(plain(one.line).strip() for one in needs.need_lines(found, "ana", 60))
    assert "--option-11 /a/path" in shown


@pytest.mark.parametrize(
    ("asked", "pressed", "sent"),
    [
        (ask("?", k1="Yes", k2="No"), "2", "2"),
        (ask("?", k1="Yes", k2="No"), "3", None),
        (ask("?", k1="Yes", k2="No"), "y", "yes"),
        (ask("?", ky="Yes", kn="No"), "y", "y"),
        (ask("?", kEsc="Back", kTab="On"), "2", "Tab"),
        ({"kind": "question", "text": "?", "options": [{"key": "", "label": "Red"}]}, "1", "Red"),
        (ask("?"), "n", "no"),
        (ask("?"), "1", None),
        (None, "y", None),
    ],
)
def test_what_a_key_answers(asked: dict[str, Any] | None, pressed: str, sent: str | None) -> None:
    assert needs.choice_of(asked, pressed) == sent


# -- the session ----------------------------------------------------------------------------------


def test_the_header() -> None:
    view = {**TEAM, "usage": used(12_355, None), "health": {"loop": {"queue": 0, "latency_ms": 3}}}
    assert plain(model.header(view, None, 100)).split("  ")[0] == (
        "demo · up · 2 need you · $? · 4 agents · 1 working · 12.3k tokens"
    )
    narrow = plain(model.header(view, None, 60))
    assert narrow.startswith("demo · up · 2 need you · $? · 4 agents ✓")
    assert plain(model.header(view, None, 100)).endswith("✓ supervisor · ≤10 ms")
    assert plain(model.header(view, "it hangs", 100)).endswith("✗ not watched")
    assert plain(model.header(None, None, 100)) == "connecting …"
    assert plain(model.header({**view, "supervisor": None}, None, 100)).startswith(
        "demo · unwatched"
    )


@pytest.mark.parametrize(
    ("sample", "columns", "told"),
    [
        ({}, 80, ""),
        ({"cpu": 0.126, "rss": 412 << 20, "children": 3, "pss": 240 << 20}, 80,
         "CPU 13% · PSS 240M · RSS 412M · 3 children"),
        ({"cpu": 0.126, "rss": 412 << 20, "children": 3, "pss": 240 << 20}, 41,
         "CPU 13% · PSS 240M · RSS 412M"),
        ({"cpu": 0.126, "rss": 412 << 20, "children": 3, "pss": 240 << 20}, 28,
         "CPU 13% · PSS 240M"),
        ({"cpu": 0.126, "rss": 412 << 20, "children": 3, "pss": 240 << 20}, 6, ""),
        ({"cpu": None, "rss": 412 << 20, "children": 1, "pss": None}, 80, "RSS 412M · 1 child"),
        ({"cpu": 0.0, "rss": 412 << 20}, 80, "CPU 0% · RSS 412M"),
    ],
)  # fmt: skip
def test_what_a_tree_uses_is_told_as_far_as_there_is_room(
    sample: dict[str, Any], columns: int, told: str
) -> None:
    assert model.uses(sample, columns) == told


def test_remarks_say_what_is_wrong() -> None:
    health = {
        "storage": "the disk is full",
        "tmux": None,
        "loop": {"queue": 500, "latency_ms": 300.0},
        "sources": {"files": None, "screens": "no more watches"},
    }
    view = {**TEAM, "health": health, "state": "paused", "edited": ["crew.toml"],
            "missed_events": 2}  # fmt: skip
    shown = [plain(line) for line in model.remarks(view, "it hangs", 200)]
    assert shown == [
        "✗ it hangs",
        "✗ the disk is full",
        "✗ the supervisor is slow: 500 events wait, 300 ms each",
        "✗ screens: no more watches",
        "! too many restarts: nothing is started again; `crew up` goes on",
        "! edited since `crew up`: crew.toml; `crew up` applies it",
        "! 2 change(s) were noticed late, by the audit",
    ]
    assert plain(model.header(view, None, 100)).endswith("✗ supervisor · 500 events wait · 300 ms")
    assert model.remarks(TEAM, None, 80) == []
    assert model.remarks({**view, "state": "down"}, None, 80) == []


def test_the_footer_shows_the_keys_that_fit() -> None:
    line, places = model.footer([("q", "quit"), ("enter", "attach"), ("x", "much too long")], 24)
    assert plain(line) == "q quit  enter attach"
    assert places == [(0, 6), (8, 20)]


def test_heights() -> None:
    assert layout.share(22, 80, 3, 3) == layout.Rows(3, 4)
    assert layout.share(22, 80, 30, 100) == layout.Rows(11, 3)
    assert layout.share(48, 200, 4, 100) == layout.Rows(4, 44)
    for rows_, needed, agents in ((1, 9, 9), (5, 0, 0), (10, 50, 50)):
        shared = layout.share(rows_, 80, needed, agents)
        assert shared.needs >= 0
        assert shared.team >= 2


# -- whatever agents write ------------------------------------------------------------------------

TEXT = st.text(max_size=60) | st.sampled_from(
    [
        "\x1b[31mred\x1b]52;c;eA==\x07",
        "日本語の長い名前です",
        "e\u0301\u200b\u202e",
        "[bold]no[/]",
        "\ud800",
    ]
)
STATUS = st.sampled_from([*model.LOOKS, "novel"])
COLUMNS = st.integers(1, 220)


@st.composite
def views(draw: st.DrawFn) -> dict[str, Any]:
    agents = []
    for name in draw(st.lists(TEXT, max_size=4, unique=True)):
        asked = draw(st.none() | st.builds(lambda a, b: ask(a, k1=b), TEXT, TEXT))
        more = {"role": draw(TEXT), "detail": draw(TEXT), "held": draw(TEXT), "ask": asked}
        agents.append(agent(name, draw(STATUS), queued=draw(st.integers(0, 3)), **more))
    told = message(1, draw(TEXT), "unconfirmed", draw(TEXT))
    return session(draw(TEXT), *agents, messages=[told], edited=[draw(TEXT)])


@given(views(), COLUMNS, st.sampled_from([*team.SORTS]), TEXT)
def test_every_line_fits_and_is_harmless(
    view: dict[str, Any], columns: int, sort: str, trouble: str
) -> None:
    table = team.table(view, columns, NOW, sort=sort)
    found = needs.needs(view, NOW)
    wide = [*table.rows, table.head] if columns >= 60 else []
    lines = [
        *wide,
        model.header(view, None, columns),
        *model.remarks(view, trouble, columns),
        *(
            one.line
            for need in found
            for one in needs.need_lines(found, need.key, max(20, columns))
        ),
    ]
    for line in lines:
        shown = plain(line)
        assert line_width(line) <= max(20, columns)
        assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs")]


@given(TEXT, COLUMNS, st.integers(1, 5))
def test_wrapped_text_fits(text: str, columns: int, limit: int) -> None:
    lines = wrap(text, columns, limit)
    assert len(lines) <= limit
    if columns > 1:
        assert all(width(line) <= columns for line in lines)


def test_lines_are_cut_by_columns_not_characters() -> None:
    line = fit((("日本語", "strong"), ("の名前", "")), 9)
    assert plain(line) == "日本語の…"
    both = spread((("left side", ""),), (("right", ""),), 12)
    assert plain(both) == "left s… right"[:12] or line_width(both) == 12
    assert wrap("one two three", 8, 3) == ["one two", "three"]


@given(
    st.lists(
        st.tuples(st.text(" ab", min_size=1, max_size=3), st.sampled_from(["", "dim", "bad"]))
    ).map(tuple)
)
def test_a_line_is_drawn_in_few_runs_that_look_as_it_does(line: Line) -> None:
    def looks(line: Line) -> list[tuple[str, str]]:
        return [(char, "" if char == " " else look) for text, look in line for char in text]

    shown = drawn(line)
    assert looks(shown) == looks(line)
    assert all(
        one != other and text.strip() for (_, one), (text, other) in itertools.pairwise(shown)
    )
