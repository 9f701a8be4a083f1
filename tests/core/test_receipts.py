"""What is typed is known again in what comes back: every change that a CLI is known to make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.paste import clean_text
from orchestrator.core.receipts import (
    ends_in_images,
    framed,
    is_blank,
    is_command,
    is_draft_of,
    is_for_shell,
    is_receipt,
    typed,
)
from tests.core.worlds import CLI, SHELL

LONG = "word " * 300
SIX = "six\nb\nc\nd\ne\nf"
# What was pasted into the Claude CLI 2.1.329, and the prompt that its hook was given. Its
# transcript has the same, in user lines and in queue operations.
SEEN = {
    "tabs, and blanks behind": ("tab\there  x   \n\n", "tab    here  x"),
    "more than 800 characters": (
        LONG,
        f'\n\n<pasted_content id="0de4">\n{LONG}\n</pasted_content id="0de4">\n',
    ),
    "4 lines and more": (
        SIX,
        f'\n\n<pasted_content id="0de4">\n{SIX}\n</pasted_content id="0de4">\n',
    ),
    "the same, queued while it works": (
        SIX,
        f'<pasted_content id="2638">\n{SIX}\n</pasted_content id="2638">',
    ),
    "its own mark in a text": (
        '<pasted_content id="1">own tag</pasted_content> x',
        '<\\pasted_content id="1">own tag<\\/pasted_content> x',
    ),
    "a backslash and a blank at the end": ("the end\\ ", "the end\\"),
    "a blank in front": (" !echo led", " !echo led"),
    "a path": ("/tmp/path x", "/tmp/path x"),
    "a letter and its accent": ("e\u0301 nfd", "\u00e9 nfd"),
    "parts of a syllable": ("\u1112\u1161\u11ab", "\ud55c"),
    "signs with a twin": ("\u212b\u2000\ufb1d", "\u00c5\u2002\u05d9\u05b4"),
    "signs alike": ("\ufb01 x\u00b2", "\ufb01 x\u00b2"),
    "an emoji of several": (
        "\U0001f468\u200d\U0001f469 \U0001f44d\U0001f3fd",
        "\U0001f468\u200d\U0001f469 \U0001f44d\U0001f3fd",
    ),
    "a joiner without an emoji": ("x\u200dy", "xy"),
    "invisible characters": ("\ufeffa\u200bb\u00adc\u3164d\U000e0041e", "abcde"),
    "marks of direction": ("\u202eabc\u202c\u200e", "abc"),
    "separators of lines": ("a\u2028b\u2029c", "a\nb\nc"),
    "the path of an image": ("/tmp/a/shot.png", "[Image #1]"),
    "two of them, quoted": ("'/tmp/a.jpg' \"/tmp/b.WebP\"\n", "[Image #1] [Image #2]"),
    "one behind a text": ("look at\n/tmp/a/shot.png", "look at\n/tmp/a/shot.png"),
    "other blanks": ("a\u00a0b\u2002c\u3000d", "a\u00a0b\u2002c\u3000d"),
}


@pytest.mark.parametrize(("sent", "prompt"), SEEN.values(), ids=SEEN.keys())
def test_what_came_back_from_the_claude_cli_is_a_receipt(sent: str, prompt: str) -> None:
    assert is_receipt(sent, prompt)
    assert is_receipt(framed(7, "boss", sent), framed(7, "boss", prompt))
    others = [p for other, (s, p) in SEEN.items() if s != sent and "4 lines" not in other]
    assert sum(is_receipt(sent, p) for p in others) <= (sent == SIX)


def test_a_prompt_that_its_source_has_cut() -> None:
    long = LONG + "x" * 5000
    assert is_receipt(long, long[:2000])
    wrapped = f'\n\n<pasted_content id="0de4">\n{long}\n</pasted_content id="0de4">\n'
    assert is_receipt(long, wrapped[:2000])
    for end in range(30):
        text = "y" * 1990
        whole = f'<pasted_content id="0de4">\n{text}\n</pasted_content id="0de4">\n'
        assert is_receipt(text, whole[: len(whole) - end]), "cut in its last mark"
    assert not is_receipt("a" * 3000, "a" * 1999), "shorter than any source cuts it"
    assert not is_receipt("a" * 3000, "a" * 1999 + "b")
    assert not is_receipt("a" * 3000, " " * 2000)


def test_a_framed_message_is_told_by_its_first_line() -> None:
    sent = framed(7, "boss", "one\ntwo")
    assert sent == "[crew message 7 from boss]\none\ntwo"
    assert is_receipt(sent, "before\n" + sent + "\n[crew message 8 from boss]\nmore")
    assert not is_receipt(sent, "[crew message 8 from boss]\none\ntwo")
    assert not is_receipt(sent, "[crew message 17 from boss]\none\ntwo")
    assert not is_receipt(sent, "look at [crew message 7 from boss] again"), "quoted"


def test_who_is_framed() -> None:
    assert framed(1, "person", "/clear") == framed(1, "blueprint", "/clear") == "/clear"
    assert framed(1, "crew", "/clear") == "[crew message 1 from crew]\n/clear"


@given(st.text(max_size=80))
def test_what_is_typed_is_a_receipt_of_itself_and_submits(text: str) -> None:
    text = clean_text(text)
    out = typed(text, CLI)
    assert is_receipt(text, out)
    assert is_receipt(text, out.strip())
    assert not out.endswith("\\")
    assert not set(out) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_a_shell_is_typed_what_was_said() -> None:
    assert typed("echo a\\", SHELL) == "echo a\\"
    assert typed("echo a\\", CLI) == "echo a\\ "
    assert typed("plain", CLI) == "plain"


@pytest.mark.parametrize(
    "text",
    [
        "/clear",
        " /help",
        "\n/compact now",
        "/nosuch thing",
        "!ls",
        "\u200b!ls",
        "\ufeff/x",
        "exit",
        " :q!\n",
    ],
)
def test_an_order_to_the_cli_itself(text: str) -> None:
    assert is_command(text)


@pytest.mark.parametrize(
    "text", ["/tmp/path is full", "/a/b", " !ls", "a /clear", "a!", "", "Exit", "exit now"]
)
def test_no_order_to_the_cli(text: str) -> None:
    assert not is_command(text)


def test_a_line_for_the_shell() -> None:
    assert is_for_shell("!ls")
    assert is_for_shell("\u200b!ls"), "the CLI takes away what cannot be seen"
    assert not is_for_shell(" !ls")


def test_what_would_not_arrive() -> None:
    assert is_blank("")
    assert is_blank(" \n\t\u00a0")
    assert is_blank("\ufeff\u200b\u202e")
    assert not is_blank("\u200bx")
    assert not is_blank("<pasted_content>")


# -- the input line --------------------------------------------------------------------------------


def test_a_draft_is_the_first_line_of_a_text() -> None:
    assert is_draft_of("one two", "one two")
    assert is_draft_of("one two", "one  two three\nfour")
    assert is_draft_of("ab", "a\u202eb\nc")
    assert not is_draft_of("one two", "one")
    assert not is_draft_of("one", "two")
    assert not is_draft_of("", "one")
    assert not is_draft_of(None, "one")


def test_images_stand_in_the_input_line_for_their_paths() -> None:
    assert is_draft_of("[Image #1]", "/tmp/a.png")
    assert is_draft_of("[Image #3] [Image #4] ", "/tmp/a.png /tmp/b.gif")
    assert not is_draft_of("[Image #1]", "/tmp/a.png /tmp/b.gif")
    assert not is_draft_of("[Image #1]", "look at /tmp/a.png")
    assert not is_draft_of("[Image #1] mine", "/tmp/a.png")
    assert not is_receipt("/tmp/a.png", "[Image #1] of mine")
    assert not is_receipt("a text", "[Image #1]")
    assert is_receipt("/none/there.png", "/none/there.png"), "no such file: it stays a text"


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("/tmp/a.png", True),
        ("look\n/tmp/a.png \n", True),
        ("look at /tmp/a.png", False),
        ("/tmp/a.png\nlook", False),
        ("/tmp/a.png.", False),
        ("", False),
    ],
)
def test_texts_that_end_in_images(text: str, *, ends: bool) -> None:
    assert ends_in_images(text) is ends


def test_a_draft_of_a_text_of_which_only_the_beginning_is_known() -> None:
    assert is_draft_of("x" * 250, "x" * 200, cut=True)
    assert is_draft_of("x" * 100, "x" * 200, cut=True)
    assert not is_draft_of("mine", "", cut=True)
    assert not is_draft_of("my own", "their own", cut=True)


def test_a_long_paste_is_shown_as_a_placeholder() -> None:
    assert is_draft_of("[Pasted text #2 +5 lines]", SIX)
    assert is_draft_of("[Pasted text #1 +3 lines]", "1\n2\n3\n4")
    assert not is_draft_of("[Pasted text #1 +2 lines]", "1\n2\n3"), "shown as it is"
    assert is_draft_of("[Pasted text #3]", LONG)
    assert not is_draft_of("[Pasted text #2 +6 lines]", SIX)
    assert not is_draft_of("[Pasted text #3]", "short")
    assert not is_draft_of("[Pasted text #2 +5 lines] and more", SIX)
    prompt = '\n\n<pasted_content id="1eb0">\nsix'
    assert is_draft_of("[Pasted text #2 +5 lines]", prompt, cut=True)
    assert not is_draft_of("[Pasted text #2 +5 lines]", "six", cut=True)
