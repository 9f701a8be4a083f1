"""What an agent is launched with: its conversation where there is one to go on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import launching
from orchestrator.core.effects import Spawn
from orchestrator.core.spec import HooksSpec, TranscriptSpec
from orchestrator.launching import Environment
from orchestrator.locations import SessionPaths
from tests.core.worlds import CLI, agent_spec

OLD = "11111111-2222-4333-8444-555555555555"
USER = json.dumps({"type": "user", "message": {"role": "user", "content": "hello"}}) + "\n"
MODE = '{"type":"mode","mode":"normal"}\n'


def launched(home: Path, *, hooks: bool = True) -> tuple[list[str], bool, str | None]:
    """The argv of an agent that has begun, whether it resumes, and its transcript."""
    paths = SessionPaths(home / "state")
    for directory in (paths.launch, paths.settings):
        directory.mkdir(parents=True, exist_ok=True)
    launch = replace(
        CLI.launch, fresh=("--session-id", "{conversation}"), resume=("--resume", "{conversation}")
    )
    cli = replace(
        CLI,
        launch=launch,
        transcript=TranscriptSpec(path=str(home / "{conversation}.jsonl")),
        hooks=HooksSpec(dialect="claude", events=("Stop",)) if hooks else None,
    )
    effect = Spawn(
        agent="a",
        run=2,
        spec=agent_spec("a"),
        cli=cli,
        conversation=OLD,
        resume=True,
        transcript=None,
        pane=None,
        end_first=None,
        place=1,
    )
    environment = Environment({})
    try:
        file, resumed, transcript = launching.prepare(effect, paths, "t", str(home), environment)
    finally:
        environment.close()
    argv = [text for text in file.read_text().split("\0") if text.startswith("arg ")]
    return [text.removeprefix("arg ") for text in argv[-2:]], resumed, transcript


@pytest.mark.parametrize("text", [USER, MODE + USER, "{half\n" + USER, USER + '{"type":"assis'])
def test_a_conversation_is_gone_on_with(home: Path, text: str) -> None:
    file = home / f"{OLD}.jsonl"
    file.write_text(text)
    assert launched(home) == (["--resume", OLD], True, str(file))


def test_without_a_transcript_it_starts_afresh_under_its_id(home: Path) -> None:
    argv, resumed, transcript = launched(home)
    assert (argv, resumed, transcript) == (
        ["--session-id", OLD],
        False,
        str(home / f"{OLD}.jsonl"),
    )


@pytest.mark.parametrize("text", ["", "\n", "\0" * 4096, MODE, MODE + USER[:-20], "{{{\n" * 5])
def test_where_there_is_nothing_to_go_on_with_it_starts_under_another_id(
    home: Path, text: str
) -> None:
    """The CLI would refuse to resume it, and its id as well."""
    file = home / f"{OLD}.jsonl"
    file.write_text(text)
    (flag, conversation), resumed, transcript = launched(home)
    assert (flag, resumed) == ("--session-id", False)
    assert conversation != OLD
    assert transcript == str(home / f"{conversation}.jsonl")
    assert file.read_text() == text


def test_a_transcript_that_cannot_be_read_by_us_is_a_conversation(home: Path) -> None:
    file = home / f"{OLD}.jsonl"
    file.write_text("in words of its own\n")
    assert launched(home, hooks=False) == (["--resume", OLD], True, str(file))
