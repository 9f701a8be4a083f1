"""The pure parts: text in cells, keys from bytes, markers, history, messages, hooks' settings."""

import json
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.demo import history, hooks, messages
from orchestrator.demo.counting import Count
from orchestrator.demo.dialog import PERMISSION_OPTIONS, Dialog
from orchestrator.demo.files import Record
from orchestrator.demo.keys import PASTE_END, PASTE_START, Key, KeyParser
from orchestrator.demo.script import Step, parse
from orchestrator.demo.text import clip, printable, width, wrap
from orchestrator.demo.view import View

anything = st.text(st.characters(exclude_categories=()))


# -- text ------------------------------------------------------------------------------------------


@given(anything)
def test_nothing_printable_acts_on_a_terminal(text: str) -> None:
    for character in printable(text):
        assert character == "\n" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "PDF",
            "RLI",
        )
    printable(text).encode()


@given(anything, st.integers(1, 30))
def test_no_row_is_wider_than_allowed(text: str, columns: int) -> None:
    text = printable(text)
    rows = wrap(text, columns)
    assert all(width(row) <= max(columns, 2) for row in rows)
    assert width(clip(text, columns)) <= columns
    # Folding drops blanks, and nothing else.
    assert "".join(rows).replace(" ", "") == text.replace(" ", "").replace("\n", "")


def test_rows_are_folded_at_blanks_and_counted_in_cells() -> None:
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("  indented\n\nx", 20) == ["  indented", "", "x"]
    assert wrap("日本語日本語", 5) == ["日本", "語日", "本語"]
    assert clip("日本語", 5) == "日本…"
    assert clip("one\ntwo", 10) == "one…"
    assert clip("exact", 5) == "exact"


# -- keys ------------------------------------------------------------------------------------------

pieces = st.one_of(
    st.text(st.characters(exclude_categories=("Cc", "Cs"))).map(str.encode),
    st.sampled_from([b"\r", b"\n", b"\x03", b"\x15", b"\x7f", b"\x1b[A", b"\x1bOB", b"\x1b[1;5C"]),
    st.text(st.characters(exclude_categories=["Cs"])).map(
        lambda text: PASTE_START + text.encode().replace(b"\x1b", b"") + PASTE_END
    ),
    st.binary(max_size=6),
)


def joined(keys: list[Key]) -> list[Key]:
    """Neighbouring runs of text as one: where a read ends means nothing."""
    found: list[Key] = []
    for key in keys:
        if found and key.name == found[-1].name == "text":
            found[-1] = Key("text", found[-1].text + key.text)
        else:
            found.append(key)
    return found


@given(st.lists(pieces), st.lists(st.integers(1, 9)))
def test_where_a_read_ends_means_nothing(data: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(data)
    whole = KeyParser()
    keys = whole.feed(stream) + whole.flush()
    cut, found, place = KeyParser(), [], 0
    for size in sizes:
        found += cut.feed(stream[place : place + size])
        place += size
    found += cut.feed(stream[place:]) + cut.flush()
    assert joined(found) == joined(keys)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1b\r")))
def test_a_paste_arrives_whole(text: str) -> None:
    keys = KeyParser().feed(PASTE_START + text.encode() + PASTE_END + b"\r")
    assert keys == [Key("paste", text), Key("enter")]


def test_escape_alone_needs_silence_or_a_next_key() -> None:
    parser = KeyParser()
    assert parser.feed(b"\x1b") == []
    assert parser.waiting
    assert parser.flush() == [Key("escape")]
    assert parser.feed(b"\x1bx") == [Key("escape"), Key("text", "x")]
    assert parser.feed(b"\x1b\x1b[B") == [Key("escape"), Key("down")]
    assert parser.feed(b"\x1b[9") == []
    assert parser.flush() == []
    assert not parser.waiting


# -- markers and prompts ---------------------------------------------------------------------------


def test_markers_in_their_order() -> None:
    text = (
        "do [[say: a b]] [[tool Bash: test a = a && ls]][[ask: x?|y|z]] [[sleep 0.5]][[crash KILL]]"
    )
    assert parse(text) == [
        Step("say", "a b"),
        Step("tool", "test a = a && ls", "Bash"),
        Step("ask", "x?|y|z"),
        Step("sleep", "0.5"),
        Step("crash", "KILL"),
    ]
    for odd in (
        "[[sleep x]]",
        "[[crash NOTHING]]",
        "[[crash 99]]",
        "[[tool Hammer: x]]",
        "[[nap 1]]",
    ):
        assert parse(odd) == []


@given(anything)
def test_any_prompt_can_be_read(text: str) -> None:
    parse(text)
    for part in history.parts(text):
        messages.task_of(part)
        messages.is_report(part)
        messages.helpers(part.text)


def test_merged_messages_come_apart_again() -> None:
    assert history.parts("hello\nyou") == [(None, "hello\nyou")]
    assert history.parts("") == [(None, "")]
    merged = "do it\n[crew message 1 from a]\nx\ny\n[crew message 22 from b-2]\nz"
    assert history.parts(merged) == [(None, "do it"), ("a", "x\ny"), ("b-2", "z")]
    assert history.parts("say [crew message 1 from a]")[0].sender is None
    assert history.is_continue("Continue\n")
    assert history.is_continue("[crew message 3 from crew]\ncontinue")
    assert not history.is_continue("continue\n[crew message 3 from a]\ncontinue")


def user(text: str) -> Record:
    return {"type": "user", "message": {"role": "user", "content": text}}


ENDED: Record = {"type": "system", "subtype": "turn_duration"}
STOPPED: Record = {
    "type": "user",
    "message": {"content": [{"type": "text", "text": history.INTERRUPTED}]},
}


def enqueue(text: str) -> Record:
    return {"type": "queue-operation", "operation": "enqueue", "content": text}


def test_the_turn_that_was_cut() -> None:
    step: Record = {"type": "system", "subtype": "step", "step": 2}
    assert history.cut_turn([]) is None
    assert history.cut_turn([user("a"), ENDED]) is None
    assert history.cut_turn([user("a"), STOPPED]) is None
    assert history.cut_turn([user("a"), ENDED, user("b"), step]) == (2, "b", 2)
    assert history.cut_turn([user("a"), step, user("continue")]) == (0, "a", 2)
    assert history.cut_turn([user("continue")]) is None


def test_prompts_that_wait() -> None:
    done: Record = {"type": "queue-operation", "operation": "dequeue"}
    waiting = [user("x"), enqueue("a"), enqueue("b")]
    assert history.queued(waiting) == ["a", "b"]
    assert list(history.heard(waiting)) == ["x", "a", "b"]
    assert history.queued([*waiting, user("a\nb")]) == []
    assert history.queued([*waiting, user("a\nb"), done, enqueue("c")]) == ["c"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
records = st.fixed_dictionaries(
    {"type": st.sampled_from(["user", "assistant", "system", "queue-operation"])},
    optional={
        "message": json_values | st.fixed_dictionaries({"content": json_values}),
        "subtype": json_values,
        "operation": st.sampled_from(["enqueue", "dequeue"]),
        "content": json_values,
        "step": json_values,
    },
)


@given(st.lists(records, max_size=6))
def test_a_transcript_of_others_making_is_read_without_an_error(
    found: list[Record],
) -> None:
    history.cut_turn(found)
    history.queued(found)
    history.exchanges(found, 3)
    tasks = messages.tasks_of(found)
    messages.reports_of(found, tasks)


# -- the job's messages ----------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=6), min_size=1, max_size=4))
def test_a_task_and_its_report_survive_the_way(names: list[str]) -> None:
    text = messages.task_text(names)
    assert text.isascii()
    assert messages.task_of(history.Part("boss", text)) == ("boss", names)
    report = messages.report_text(names, {"Python": Count(2, 30)}, 1)
    order = user("count the lines of code")
    heard = [order, user(f"[crew message 9 from w]\n{report}")]
    tasks = {"w": messages.Task(names, sent=True)}
    assert messages.reports_of(heard, tasks) == {"w": ({"Python": (2, 30)}, 1)}
    assert messages.reports_of(heard, {"w": messages.Task([*names, "more"], sent=True)}) == {}
    assert messages.reports_of([*heard, order], tasks) == {}, "a new order, a new count"


@pytest.mark.parametrize("name", ["/etc", "..", "a/../../b", ""])
def test_no_message_leads_out_of_the_directory(name: str) -> None:
    assert not messages.is_below(name)


def test_who_helps() -> None:
    assert messages.helpers("count it") == ["worker-1", "worker-2"]
    assert messages.helpers("… together with ann, bob and cid. Thanks.") == ["ann", "bob", "cid"]


# -- settings, dialogs, the view -------------------------------------------------------------------


@given(json_values)
def test_settings_of_any_shape_are_read(value: object) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        json.dump({"hooks": value}, file)
        file.flush()
        hooks.load(Path(file.name))


def test_a_hook_is_for_the_tools_that_its_matcher_names() -> None:
    assert hooks.Hook("true", matcher="Bash|Read").wants("Read")
    assert not hooks.Hook("true", matcher="Bash").wants("BashOutput")
    assert not hooks.Hook("true", matcher="(").wants("Bash")
    assert hooks.Hook("true", matcher="Bash").wants(None)


@given(anything, st.integers(11, 90), st.integers(4, 50))
def test_the_live_rows_fit_into_any_terminal(text: str, columns: int, height: int) -> None:
    view = View()
    view.draft, view.queued, view.doing = text, [text] * 6, text
    for dialog in (None, Dialog("permission", "Bash command", text, PERMISSION_OPTIONS)):
        view.dialog = dialog
        rows, (row, column) = view.picture(columns, height)
        assert len(rows) <= height
        assert all(width(r.text) <= columns and "\n" not in r.text for r in rows)
        assert 0 <= row < len(rows)
        assert 0 <= column <= columns
