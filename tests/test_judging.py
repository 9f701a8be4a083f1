"""What became of a message that nothing told of, read from the conversation and the input line."""

import fcntl
import json
import os
import termios
import tty
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator import speaking
from orchestrator.core.effects import JudgeMessage
from orchestrator.definitions import read_definition
from orchestrator.locations import PACKAGE
from orchestrator.speaking import TAIL, judge
from orchestrator.tmux.control import Control
from tests.support import wait_until

CLAUDE = read_definition("claude", PACKAGE.parent / "agents/claude.toml")
RULE = "─" * 40
SINCE = 1_795_340_549.0
TEXT = "do it"
FRAMED = "[crew message 3 from boss]\ndo it"


class Pane:
    """An agent whose input line holds `draft`, or is not drawn."""

    def __init__(self, draft: str | None = "") -> None:
        self._draft = draft

    async def snapshot(self, pane: str) -> Sequence[str]:
        line = [] if self._draft is None else [RULE, f"❯\xa0{self._draft}", RULE]
        return ["● said", "", *line]


def stamped(kind: str, late: float, fields: dict[str, Any]) -> dict[str, Any]:
    time = datetime.fromtimestamp(SINCE + late, UTC).isoformat(timespec="milliseconds")
    return {"type": kind, "timestamp": time.replace("+00:00", "Z"), **fields}


def prompt(text: str, late: float = 1.0) -> dict[str, Any]:
    return stamped("user", late, {"message": {"role": "user", "content": text}})


def queue(operation: str, text: str | None = TEXT, late: float = 0.5) -> dict[str, Any]:
    return stamped("queue-operation", late, {"operation": operation, "content": text})


def joining(text: str) -> dict[str, Any]:
    return stamped("attachment", 1.0, {"attachment": {"type": "queued_command", "prompt": text}})


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "timestamp"}


@pytest.mark.parametrize(
    ("text", "lines", "here", "gone"),
    [
        (TEXT, [], "absent", "absent"),
        (TEXT, [prompt("other")], "absent", "absent"),
        (TEXT, [prompt(TEXT)], "taken", "taken"),
        (TEXT, [prompt(TEXT, -60)], "absent", "absent"),
        # The same words a moment before.
        (TEXT, [prompt(TEXT, -0.5)], "absent", "absent"),
        (TEXT, [timeless(prompt(TEXT))], "unknown", "unknown"),
        # In the queue of the CLI, and no further: it goes with the process.
        (TEXT, [queue("enqueue")], "queued", "absent"),
        (TEXT, [queue("enqueue", late=-60)], "absent", "absent"),
        (TEXT, [queue("enqueue"), queue("dequeue", None)], "queued", "absent"),
        (TEXT, [queue("enqueue"), queue("dequeue", None), prompt(TEXT)], "taken", "taken"),
        (TEXT, [queue("enqueue"), queue("remove"), joining(TEXT)], "taken", "taken"),
        (TEXT, [queue("enqueue"), prompt(f"and this\n{TEXT}")], "taken", "taken"),
        (TEXT, [queue("enqueue"), prompt("by hand")], "queued", "absent"),
        # Of so long a prompt there is only the beginning.
        (TEXT, [queue("enqueue"), prompt("long " * 1000)], "unknown", "unknown"),
        (FRAMED, [queue("enqueue", FRAMED)], "queued", "absent"),
        (FRAMED, [queue("enqueue", FRAMED), prompt(f"mine\n{FRAMED}")], "taken", "taken"),
        # Words that another prompt has in it were not ours before they waited.
        (TEXT, [prompt(f"{TEXT}, and that")], "absent", "absent"),
        (TEXT, [prompt(f"{TEXT}, and that"), queue("enqueue")], "queued", "absent"),
    ],
)
async def test_what_the_conversation_tells(
    text: str, lines: list[dict[str, Any]], here: str, gone: str, tmp_path: Path
) -> None:
    """`here`: its process lives; `gone`: another one has the conversation now."""
    transcript = tmp_path / "c.jsonl"
    transcript.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [await judged(transcript, text, run) for run in (1, 2)] == [here, gone]


async def test_what_the_input_line_tells(tmp_path: Path) -> None:
    transcript = tmp_path / "c.jsonl"
    assert await judged(transcript, TEXT, 2) == "absent", "the first prompt makes the file"
    transcript.write_text(json.dumps(queue("enqueue")) + "\n")
    assert await judged(transcript, TEXT, 2, draft=TEXT) == "draft"
    assert await judged(transcript, "/clear", 2) == "unknown"
    transcript.write_text("")
    # In a process that is another one it cannot be.
    drafts = ("mine", None)
    assert [await judged(transcript, TEXT, 1, draft=each) for each in drafts] == ["unknown"] * 2
    assert [await judged(transcript, TEXT, 2, draft=each) for each in drafts] == ["absent"] * 2


async def test_what_nobody_has_read_is_not_judged(tmp_path: Path) -> None:
    """The CLI stands still: it will find the text in its terminal."""
    ours, its = os.openpty()
    try:
        tty.setraw(its)
        os.write(ours, TEXT.encode())
        terminal = os.ttyname(its)
        # The kernel hands it over a moment later.
        wait_until(lambda: any(fcntl.ioctl(its, termios.FIONREAD, bytes(4))), "it is there")
        assert await judged(tmp_path / "c", TEXT, 1, terminal=terminal) is None
        assert await judged(tmp_path / "c", TEXT, 2, terminal=terminal) == "absent"
        assert os.read(its, len(TEXT)) == TEXT.encode()
        assert await judged(tmp_path / "c", TEXT, 1, terminal=terminal) == "absent"
    finally:
        os.close(ours)
        os.close(its)


@pytest.mark.parametrize(("text", "verdict"), [(TEXT, "taken"), ("not there", "absent")])
async def test_much_was_written_behind_it(text: str, verdict: str, tmp_path: Path) -> None:
    transcript = tmp_path / "c.jsonl"
    lines = [prompt("old", -60), prompt(TEXT), {"type": "user", "toolUseResult": "x" * 3 * TAIL}]
    transcript.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert await judged(transcript, text, 2) == verdict


async def test_more_was_written_behind_it_than_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "TAIL", 100)
    monkeypatch.setattr(speaking, "TAIL_MAX", 1000)
    transcript = tmp_path / "c.jsonl"
    lines = [prompt(TEXT), {"type": "user", "toolUseResult": "x" * 5000}]
    transcript.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert await judged(transcript, TEXT, 2) == "unknown"


async def judged(
    transcript: Path,
    text: str,
    run: int,
    draft: str | None = "",
    terminal: str | None = None,
) -> str | None:
    """The verdict in that run of an agent, of what was typed in its first."""
    effect = JudgeMessage(
        agent="a",
        run=run,
        typed_in=1,
        pane="%1",
        tty=terminal,
        cli=CLAUDE,
        number=3,
        text=text,
        transcript=str(transcript),
        since=SINCE,
    )
    return await judge(cast(Control, Pane(draft)), effect)
