"""What is taken out of a screen that others may see, and what must stay as it is."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.redaction import redact, secrets_in
from orchestrator.core.screen import plain, read
from orchestrator.core.text import width
from orchestrator.definitions import load_definition

SCREENS = Path(__file__).parents[1] / "screens"
NAMES = {"/home/alice": "/home/dev", "alice": "dev", "box7": "host"}
KEY = "sk-ant-api03-" + "Ab3dEf9hIjKlMn0pQrStUvWxYz" * 3
HASH = "9f86d081884c7d659a2feaa0c55ad015"
RANDOM = "Tm90IGEgc2VjcmV0LCBidXQgbG9va3Mg/bGlrZSBvbmUgMTIz"


def shown(*lines: str, columns: int = 80, secrets: tuple[str, ...] = ()) -> tuple[str, ...]:
    return redact(lines, columns, names=NAMES, secrets=secrets).lines


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"ANTHROPIC_API_KEY: {KEY}", KEY),
        ("  ANTHROPIC_API_KEY: sk-ant-...a-Bcdefg0123456789", "sk-ant-...a-Bcdefg0123456789"),
        ("stripe sk_live_0123456789abcdef", "sk_live_0123456789abcdef"),
        ("ghp_0123456789abcdefghij0123456789abcdef", "ghp_0123456789abcdefghij0123456789abcdef"),
        ("key AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("Authorization: Bearer abc.def-123456", "abc.def-123456"),
        ("curl -H 'authorization: Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz"),
        ("bearer 0123abcd4567", "0123abcd4567"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", None),
        ("export DB_PASSWORD=hunter2", "hunter2"),
        ("export TOKEN=word; echo", "word"),
        ('"password": "correct horse 1"', None),
        ("the secret is " + HASH, HASH),
        (f"token {HASH}", HASH),
        ("postgres://app:pa55word@db/shop", "pa55word"),
        (f"saved {RANDOM}", RANDOM),
        ("mail alice.b@example.com now", "alice.b@example.com"),
    ],
)
def test_what_looks_like_a_secret_is_masked_in_its_place(line: str, secret: str | None) -> None:
    (masked,) = shown(line, columns=200)
    if secret is not None:
        assert masked == line.replace(secret, "x" * len(secret))
    assert "xxxx" in masked
    assert len(masked) == len(line)


@pytest.mark.parametrize(
    "line",
    [
        "  ⏸ manual mode on · ? for shortcuts · ← for agents",
        "✻ Thinking… (12s · ↓ 13808 tokens · esc to interrupt)",
        "Press any key to continue; tokens: none",
        "Enter your password:",
        "export TOKEN=$TOKEN PASSWORD='$PASSWORD'",
        "ctrl+g to edit in Vim · ~/.claude/plans/hello-say-hi-delightful-bubble.md",
        "claude --resume dcdbf3d3-1520-487a-b915-2c2ac702f22d",
        "npm install @anthropic-ai/claude-code@2.1.329",
        "https://code.claude.com/docs/en/permission-modes#server-side-classifier-review",
        "the disk-usage of task-12345678, and the bearer of good news",
        "key /etc/ssl/private/server2.example.pem",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert shown(line, columns=200) == (line,)


@pytest.mark.parametrize("cli", ["claude", "demo"])
def test_recorded_screens_are_read_the_same(cli: str) -> None:
    """What a CLI draws itself is no secret, but for the key in a dialog about it."""
    screen = load_definition(cli, None).screen
    for file in sorted((SCREENS / cli).rglob("*.txt")):
        lines = file.read_text("utf-8").split("\n")
        masked = redact(lines, 200, names={}).lines
        changed = [old for old, new in zip(lines, masked, strict=True) if old != new]
        assert all("sk-ant-" in line for line in changed), file
        assert read(masked, screen).status == read(lines, screen).status, file


# -- colours, and other sequences ------------------------------------------------------------------


def test_only_colours_stay_of_what_a_terminal_acts_on() -> None:
    line = (
        "\x1b]0;title\x07\x1b[1mbold\x1b[0m \x1b]8;;https://alice.example/\x1b\\link\x1b]8;;\x1b\\"
        "\x1b[2J\x1b[>4;1m\x1b(0\x0eqq\x0f\x07\x9b31mred\x1bP1$r\x1b\\\u202eend"
    )
    assert shown(line) == ("\x1b[1mbold\x1b[0m linkqqredend",)


def test_a_secret_is_found_across_colours_which_stay() -> None:
    line = f"\x1b[31msk-ant-\x1b[1m{KEY[7:]}\x1b[0m end"
    hidden = "x" * len(KEY[7:])
    assert shown(line, columns=200) == (f"\x1b[31mxxxxxxx\x1b[1m{hidden}\x1b[0m end",)
    assert shown("\x1b[2m/home/\x1b[1malice\x1b[0m/p") == ("\x1b[2m/home/dev\x1b[1m\x1b[0m/p",)


@given(st.lists(st.text(max_size=30) | st.just(KEY) | st.just("\x1b[31m"), max_size=8))
def test_every_column_stays_where_it_is(parts: list[str]) -> None:
    line = " ".join(parts)
    (clean,) = redact([line], 4000, names={}, secrets=()).lines
    (again,) = redact([clean], 4000, names={}, secrets=()).lines
    assert KEY not in plain(clean)
    assert width(plain(again)) == width(plain(clean))
    assert re.findall(r"\x1b\[31m", clean) == re.findall(r"\x1b\[31m", line)


# -- folded ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "between", "after"), [("", "", ""), ("  ", "  ", ""), ("│ ", "│ ", " │")]
)
def test_a_secret_that_is_folded_is_masked_on_each_row(
    before: str, between: str, after: str
) -> None:
    room = 40 - len(before) - len(after)
    text = f"the key: {KEY} and more"
    rows = [text[start : start + room] for start in range(0, len(text), room)]
    lines = [f"{before if not n else between}{row}{after}" for n, row in enumerate(rows)]
    masked = shown(*lines, columns=40)
    left = "".join(masked)
    for start in range(len(KEY) - 4):
        assert KEY[start : start + 4] not in left
    assert masked[0].startswith(f"{before}the key: xxx")
    inner = [line[len(before) : len(line) - len(after)] for line in masked]
    assert "".join(inner).endswith("x and more")
    assert [len(line) for line in masked] == [len(line) for line in lines]


def test_the_row_below_a_short_one_is_no_part_of_it() -> None:
    lines = ("  token=abcdef123456", "  Yes, I trust this folder")
    assert shown(*lines)[1] == lines[1]


def test_a_secret_that_begins_below_a_full_row_is_masked() -> None:
    above = "say " * 9 + "this"
    assert shown(above, KEY[:20], columns=40) == (above, "x" * 20)


def test_a_private_key_is_masked_whole() -> None:
    body = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "AmEwggJdAgEAAoGBAKj34GkxFhD90vcN", "LYLInFEX6Ppy"]
    lines = ["-----BEGIN RSA PRIVATE KEY-----", *body, "-----END RSA PRIVATE KEY-----", "Esc"]
    assert shown(*lines) == (lines[0], "x" * 32, "x" * 32, "x" * 12, lines[4], "Esc")


def test_what_is_given_is_masked_whatever_it_looks_like() -> None:
    assert shown("say open sesame twice", secrets=("open sesame",)) == ("say xxxx xxxxxx twice",)
    assert shown("short: abc", secrets=("abc",)) == ("short: abc",)


def test_wide_characters_are_masked_in_their_columns() -> None:
    assert shown("PASSWORD=日本語1 next") == ("PASSWORD=xxxxxxx next",)


def test_variables_that_hold_secrets() -> None:
    environ = {"MY_API_KEY": "0123456789", "TOKEN": "short", "KEYMAP": "something", "A": "b" * 9}
    assert secrets_in(environ) == {"0123456789"}


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("cd /home/alice/project", "cd /home/dev/project"),
        ("│ /home/alice/p   │", "│ /home/dev/p     │"),
        ("│ /home/alice/p │", "│ /home/dev/p   │"),
        ("alice@box7:~$ ls", "dev@host:~$ ls"),
        ("malice, alice2 and box70", "malice, alice2 and box70"),
        ("/home/alice   right", "/home/dev     right"),
    ],
)
def test_names_are_replaced_and_columns_kept(line: str, masked: str) -> None:
    assert shown(line) == (masked,)


def test_a_longer_name_takes_blanks_or_the_end_of_the_row() -> None:
    names = {"/root": "/home/dev"}

    def renamed(line: str) -> str:
        return redact([line], 20, names=names).lines[0]

    assert renamed("│ /root/p        │") == "│ /home/dev/p    │"
    assert renamed("in /root/project/abc") == "in /home/dev/project"
    assert renamed("in /root  right") == "in /home/dev right"


def test_a_name_that_is_folded_is_masked() -> None:
    assert shown("look at /home/al", "ice/project", columns=16) == (
        "look at xxxxxxxx",
        "xxx/project",
    )


def test_places_are_counted() -> None:
    lines = [f"{KEY} in /home/alice", "and alice, or nobody"]
    assert redact(lines, 200, names=NAMES).masked == 3
    assert redact(["nothing"], 200, names=NAMES).masked == 0
