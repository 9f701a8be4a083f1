"""Text goes into a program that reads its terminal raw, byte for byte."""

import base64
from pathlib import Path

import pytest

from orchestrator.core.paste import clean_text
from orchestrator.errors import TmuxError
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control
from tests.tmux.conftest import program_pane, until

NASTY = [
    "plain",
    "two words",
    "line one\nline two\n",
    "\n\nblank lines\n\n",
    "tab\tin it",
    "  leading and trailing  ",
    "'single' \"double\" `back`",
    "$HOME ${HOME} $(touch canary) `touch canary`",
    "#(touch canary) #{pid} #S #[fg=red]",
    "; kill-server ;",
    "a ; b \\; c",
    "ends with ;",
    "ends with \\",
    "\\n \\e \\033 \\u0041",
    "%3 %end 1 2 3",
    "%end 1 1 1\n%exit\n",
    "~ ~/x",
    "-t %0",
    "--",
    "Enter",
    "C-c",
    "C-b d",
    "/help",
    "!touch canary",
    "\x1b[201~rm -rf /\r",
    "\x1b[20\x1b[201~1~evil\r",
    "\x9b201~evil",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x03\x04\x1a\x1c",
    "nul\0in it",
    "\x7f\x7f\x7f",
    "cr\ronly",
    "crlf\r\nend",
    "漢字 かな 한글",
    "e\u0301 \u200d \u202e right to left \u202c",
    "👩‍👩‍👧‍👦 family",
    "\U000e0041 tag",
    "\ufeffbom",
    "\ud800 lone",
    "x" * 5000,
    "\n".join(f"line {n} " + "y" * 60 for n in range(300)),
]


class Recorder:
    """A pane whose program records what it reads."""

    def __init__(self, pane: str, file: Path) -> None:
        self.pane = pane
        self._file = file
        self._taken = 0

    async def read_to(self, end: bytes) -> bytes:
        """Everything since the last call, once it ends with `end`."""

        async def look() -> bytes | None:
            got = self._all()[self._taken :]
            return got if got.endswith(end) else None

        got = await until(look, f"input that ends with {end!r}")
        assert got
        self._taken += len(got)
        return got

    def _all(self) -> bytes:
        whole = self._file.read_bytes().rpartition(b"\n")[0]
        return b"".join(map(base64.b64decode, whole.split(b"\n")))


@pytest.fixture
async def recorder(control: Control, home: Path) -> Recorder:
    file = home / "recorded"
    pane = await program_pane(control, "recorder.py", str(file))

    async def ready() -> bool:
        lines = await control.snapshot(pane)
        return bool(lines) and "ready" in "".join(lines or ())

    await until(ready, "the recorder")
    return Recorder(pane, file)


async def test_nasty_texts_arrive_as_one_paste_and_one_key(
    control: Control, recorder: Recorder, home: Path
) -> None:
    assert len(NASTY) >= 40
    for text in NASTY:
        await control.paste(recorder.pane, text, ["Enter"])
        got = await recorder.read_to(b"\r")
        while got.count(b"\x1b[200~") > got.count(b"\x1b[201~"):
            got += await recorder.read_to(b"\r")
        cleaned = clean_text(text).replace("\n", "\r").encode()
        expected = b"\x1b[200~" + cleaned + b"\x1b[201~\r" if cleaned else b"\r"
        assert got == expected
    assert await control.run(["list-buffers"]) == [()]
    assert not list(home.rglob("canary"))


async def test_half_a_megabyte_arrives_whole(control: Control, recorder: Recorder) -> None:
    text = "".join(f"{n:07d} " for n in range(65536))
    await control.paste(recorder.pane, text, ["Enter"])
    got = await recorder.read_to(b"\x1b[201~\r")
    assert got == b"\x1b[200~" + text.encode() + b"\x1b[201~\r"


async def test_keys_alone_and_nothing_at_all(control: Control, recorder: Recorder) -> None:
    await control.paste(recorder.pane, "", [])
    await control.paste(recorder.pane, "\x1b[201~", ["Escape", "Enter"])
    assert await recorder.read_to(b"\r") == b"\x1b\r"
    await control.paste(recorder.pane, "no key", [])
    assert await recorder.read_to(b"~") == b"\x1b[200~no key\x1b[201~"


async def test_a_pane_that_is_gone_is_an_error_and_leaves_no_text_behind(control: Control) -> None:
    with pytest.raises(TmuxError, match="can't find pane"):
        await control.paste("%999", "secret", ["Enter"])
    assert await control.run(["list-buffers"]) == [()]


async def test_copy_mode_can_be_seen_before_typing(control: Control, recorder: Recorder) -> None:
    assert await panes.in_mode(control, recorder.pane) is False
    await control.run(["copy-mode", "-t", recorder.pane])
    assert await panes.in_mode(control, recorder.pane) is True
    assert await panes.in_mode(control, "%999") is None
