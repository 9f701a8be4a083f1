"""What makes two questions the same, and what the CLI is given."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.questions import (
    Question,
    coarse,
    composed,
    key,
    leads_out,
    mentions,
    normalised,
)


def asked(prompt: str = "why?", **fields: Any) -> Question:
    given: dict[str, Any] = {
        "cli": "claude",
        "version": "2.1.329",
        "arguments": ("claude", "-p"),
        "model": "",
        "system": "",
        "inputs": (),
        "context": (),
    }
    return Question(prompt=prompt, **{**given, **fields})


# -- the form in which prompts are compared --------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "form"),
    [
        ("  two  words \n", "two words"),
        ("one\ttab and   more", "one tab and more"),
        ("a  \n\n \n\t\nb\r\nc", "a\n\nb\nc"),
        ("Case Stays", "Case Stays"),
        ("e\u0301", "\u00e9"),
        # Code.
        ("say `a  b`  now", "say `a  b` now"),
        ("say ``a ` b  c``  now", "say ``a ` b  c`` now"),
        ("over `two\nlines  of`  code", "over `two\nlines  of` code"),
        ("so:\n    x  =  1  \nand  on", "so:\n    x  =  1  \nand on"),
        ("so:\n\tx\n\n\n\ty\n\n\nand", "so:\n\tx\n\n\n\ty\n\nand"),
        ("a\n\n\n```py \nx  = 1\n\n\ny\n```\n\n\nb  c", "a\n\n```py \nx  = 1\n\n\ny\n```\n\nb c"),
        ("~~~\na  b\n```\nc  d\n~~~~\ne  f", "~~~\na  b\n```\nc  d\n~~~~\ne f"),
        ("```\nnever  closed\n\n\nx", "```\nnever  closed\n\n\nx"),
        ("- ```\n  a  b\n  ```\nc  d", "- ```\n  a  b\n  ```\nc d"),
        ("> ```\n> a  b\n> ```\nc  d", "> ```\n> a  b\n> ```\nc d"),
        ("> if x:\n>     y  z\n> so  on", "> if x:\n>     y  z\n> so on"),
        ("+    x  = 1\nand  on", "+    x  = 1\nand on"),
        # On one line it opens nothing.
        ("```a  b```  c\nd  e", "```a  b``` c\nd e"),
        # It cannot be told where the code is.
        ("it`s  odd\nand  here\n\nnot  here", "it`s  odd\nand  here\n\nnot here"),
        ("\\`  `c  d`  \\`", "\\`  `c  d`  \\`"),
        ("    `\nuse `a  b` now", "`\nuse `a  b` now"),
    ],
)
def test_the_form(typed: str, form: str) -> None:
    assert normalised(typed) == form


# Rich in what means something to the form.
TEXTS = st.lists(
    st.sampled_from(
        [
            *" \t\n`~>-+\\\r",
            "  ",
            "\n\n",
            "```",
            "\n```",
            "~~~",
            "\n    ",
            "1. ",
            "a",
            "B",
            "e\u0301",
        ]
    ),
    max_size=40,
).map("".join)
WORDS = st.lists(st.from_regex(r"[\w.,?!]+", fullmatch=True), min_size=1, max_size=8)
BLANKS = st.text(" \t", min_size=1, max_size=3)


@given(TEXTS)
def test_a_form_is_its_own(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@given(TEXTS)
def test_nothing_but_white_space_goes(text: str) -> None:
    def bare(any_form: str) -> str:
        return re.sub(r"\s", "", any_form).replace("e\u0301", "\u00e9")

    assert bare(normalised(text)) == bare(text)


@given(TEXTS, TEXTS)
def test_fenced_code_is_never_touched(before: str, code: str) -> None:
    code = code.replace("`", "").replace("~", "").replace("\r", "").replace("e\u0301", "e")
    before = before.replace("`", "").replace("~", "")
    assert f"\n```\n{code}\n```" in "\n" + normalised(f"{before}\n```\n{code}\n```\n")


@given(WORDS, st.data())
def test_spacing_of_prose_says_nothing(words: list[str], data: st.DataObject) -> None:
    spaced = "".join(word + data.draw(BLANKS) for word in words)
    around = data.draw(st.text(" \t\n", max_size=3))
    assert normalised(around + spaced + around) == normalised(" ".join(words))


@pytest.mark.parametrize(
    "text", ["`" * 20_000, " " * 100_000 + "x", "\r" * 100_000 + "x", "> " * 50_000]
)
def test_a_hostile_text_takes_no_time(text: str) -> None:
    normalised(text + "\n" + text)  # the test's own time-out is what it would run into


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_is_64_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{64}", key(asked()))


def test_spacing_is_the_same_question() -> None:
    assert key(asked("a  b ")) == key(asked("a b"))
    assert key(asked("a b")) != key(asked("A b"))


def test_the_system_prompts_spacing_too_though_it_stands_in_the_arguments() -> None:
    one, two = (
        asked(system=text, arguments=("claude", "--system", text))
        for text in ("be  brief", "be brief ")
    )
    assert key(one) == key(two)
    assert key(one) != key(asked(system="be brief", arguments=("claude", "--other", "be brief")))
    assert key(one) != key(
        replace(one, system="be long", arguments=("claude", "--system", "be long"))
    )


@pytest.mark.parametrize(
    "other",
    [
        asked("why not?"),
        asked(cli="other"),
        asked(version="2.1.330"),
        asked(arguments=("claude",)),
        asked(arguments=("claude", "-p", "")),
        asked(arguments=("claude-p",)),
        asked(model="opus"),
        asked(system="opus"),
        asked(inputs=(("a", "0"),)),
        asked(inputs=(("a", "1"),)),
        asked(inputs=(("b", "0"),)),
        asked(inputs=(("a", "0"), ("b", "0"))),
        asked(inputs=(("b", "0"), ("a", "0"))),
        asked(context=(("a", "0"),)),
    ],
    ids=repr,
)
def test_everything_counts(other: Question) -> None:
    assert key(other) != key(asked())
    assert key(other) == key(replace(other))


SMALL = st.text("ab:0\n", max_size=3)
PAIRS = st.lists(st.tuples(SMALL, SMALL), max_size=2).map(tuple)
QUESTIONS = st.builds(
    Question,
    cli=SMALL,
    version=SMALL,
    arguments=st.lists(SMALL, max_size=3).map(tuple),
    model=SMALL,
    system=SMALL,
    prompt=SMALL,
    inputs=PAIRS,
    context=PAIRS,
)


def _same(one: Question) -> Question:
    """`one` in the form in which it counts."""
    return replace(one, system=normalised(one.system), prompt=normalised(one.prompt))


@given(QUESTIONS, QUESTIONS)
def test_two_questions_never_share_a_key(one: Question, two: Question) -> None:
    one, two = _same(one), _same(two)
    assert (key(one) == key(two)) == (one == two)


def test_file_names_of_any_bytes_have_keys() -> None:
    assert key(asked(inputs=(("\udcff", "0"),))) != key(asked(inputs=(("\udcfe", "0"),)))


def test_the_coarse_key_is_of_the_cli_and_the_prompt() -> None:
    finer = asked("why? ", version="3", model="m", inputs=(("a", "0"),), context=(("git", "1"),))
    assert coarse(finer) == coarse(asked())
    assert coarse(asked("why not?")) != coarse(asked())
    assert coarse(asked(cli="other")) != coarse(asked())


# -- what cannot be told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("see @a/b.py, and so on", "a/b.py"),
        ("@a.py#L10-20: why?", "a.py"),
        ('what is in @"my notes/one.txt"?', "my notes/one.txt"),
        ("(@notes.md)", "notes.md"),
        ("two: @a @b", "b"),
        ("@node_modules/@types/x.ts", "node_modules/@types/x.ts"),
        ("line\n@a\n", "a"),
        ("。@a", "a"),
        ("@dir/", "dir"),
    ],
)
def test_what_a_text_names(text: str, named: str) -> None:
    assert named in mentions(text)


@pytest.mark.parametrize("text", ["", "plain/path ../x /etc", "me@example.org", "a @ b", "@"])
def test_what_names_nothing(text: str) -> None:
    assert mentions(text) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "what is in @/etc/hosts?",
        "@~/notes",
        "@~",
        "@..",
        "(@../x)",
        "@a/../../b",
        '@"my notes/../../x"',
        '@"/etc/my hosts"',
        "@/etc/hosts#L3",
        "me@example.org,@/etc/hosts",
        "。@/etc/hosts",
        "@server:thing://one",
    ],
)
def test_what_leads_out_of_the_directory(text: str) -> None:
    assert any(map(leads_out, mentions(text)))


@pytest.mark.parametrize(
    "text",
    [
        "see @a/b.py",
        "@property",
        "git@host.org:a/b",
        "me@example.org",
        "@a..b",
        "@bob: hi",
        "@a/.b",
    ],
)
def test_what_stays_in_the_directory(text: str) -> None:
    assert not any(map(leads_out, mentions(text)))


@pytest.mark.parametrize("text", ["@" * 200_000, '@"' * 100_000, "@a" * 100_000, "@../" * 50_000])
def test_many_mentions_take_no_time(text: str) -> None:
    any(map(leads_out, mentions(text)))  # the test's own time-out is what it would run into


# -- what the CLI is given -------------------------------------------------------------------------


def test_a_prompt_alone_goes_as_it_is() -> None:
    assert composed("  what\n", ()) == "  what\n"


def test_files_follow_as_blocks() -> None:
    assert composed("what?", [("a.py", "x\n"), ('b"<&>\n', "y")]) == (
        'what?\n<file path="a.py">\nx\n</file>\n\n'
        '<file path="b&quot;&lt;&amp;&gt;&#10;">\ny\n</file>\n'
    )


@given(
    st.lists(
        st.tuples(SMALL, st.lists(st.sampled_from(["<file", "</file", "-2", "-3", ">", "\n"])))
    )
)
def test_no_file_ends_its_block_or_begins_another(parts: list[tuple[str, list[str]]]) -> None:
    inputs = [(name, "".join(pieces)) for name, pieces in parts]
    text = composed("p", inputs)
    if not inputs:
        return
    found = re.match(r"p\n<(file(?:-\d+)?) path=", text)
    assert found is not None
    assert text.count(f"<{found[1]} ") == text.count(f"</{found[1]}>") == len(inputs)
    assert sum(f"<{found[1]}" in body or f"</{found[1]}" in body for _, body in inputs) == 0
