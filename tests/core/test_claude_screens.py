"""How the shipped definition of Claude Code reads each screen that the real CLI drew.

`tests/screens/claude/VERSION/` holds them. Those with a size in their name were taken with
colours, as the supervisor takes them, and the others without.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.screen import Look, choose, is_interruptible, plain, read
from orchestrator.core.versions import for_version
from orchestrator.definitions import load_definition
from tests.core.claude_looks import LOOKS, READY

SCREENS = Path(__file__).parents[1] / "screens" / "claude"
CLAUDE = load_definition("claude", None)

FILES = sorted(SCREENS.glob("*/*.txt"))


def expected(file: Path) -> str | None:
    """The key in LOOKS for a file: that of its version first, and of its size first."""
    version, name = file.parent.name, file.stem
    names = (name, name.rpartition("-")[0])
    keys = (*(f"{version}/{each}" for each in names), *names)
    return next((key for key in keys if key in LOOKS), None)


def look(file: Path) -> Look:
    seen = read(
        file.read_text("utf-8").split("\n"), for_version(CLAUDE.screen, file.parent.name)[0]
    )
    return replace(seen, text=" ".join(seen.text.split()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_recorded_screen_is_read_as_what_it_shows(file: Path) -> None:
    key = expected(file)
    assert key is not None, "this recorded screen has no expected look"
    assert look(file) == LOOKS[key]


def test_every_expected_look_has_a_screen() -> None:
    assert {expected(file) for file in FILES} == set(LOOKS)


@pytest.mark.parametrize(
    ("name", "word", "label"),
    [
        ("trust-80x24", "yes", "Yes, I trust this folder"),
        ("trust-80x24", "no", "No, exit"),
        ("api-key-80x24", "yes", "Yes"),
        ("api-key-80x24", "no", "No (recommended)"),
        ("bypass-80x24", "yes", "Yes, I accept"),
        ("add-directory-80x24", "yes", "Yes, add it"),
        ("mcp-server-80x24", "yes", "Use this MCP server"),
        ("mcp-server-80x24", "no", "Continue without using this MCP server"),
        ("imports-80x24", "yes", "Yes, allow external imports"),
        ("permission-bash-80x24", "yes", "Yes"),
        ("permission-bash-80x24", "no", "No"),
        (
            "permission-bash-80x24",
            "always",
            "Yes, and always allow access to /home/dev/project from this project",
        ),
        ("permission-bash-again-80x24", "always", "Yes, and don’t ask again for: npm test *"),
        ("permission-read-80x24", "always", "Yes, allow reading from /etc during this session"),
        ("permission-webfetch-80x24", "always", "Yes, and don't ask again for example.com"),
        ("permission-webfetch-80x24", "no", "No, and tell Claude what to do differently (esc)"),
        ("permission-write-80x24", "yes", "Yes"),
        # What changes the mode is not what a plain word chooses.
        ("permission-write-80x24", "always", None),
        ("plan-approval-80x24", "always", None),
        ("plan-approval-80x24", "yes", "Yes, manually approve edits"),
        ("permission-menu-80x24", "yes", "Yes"),
        ("question-several-review-80x24", "yes", "Submit answers"),
        ("question-several-review-80x24", "no", "Cancel"),
        ("question-80x24", "blue", "Blue"),
        ("question-80x24", "yes", None),
        ("2.1.197/trust-80x24", "yes", "Yes, I trust this folder"),
        ("2.1.197/trust-80x24", "no", "No, exit"),
        ("2.1.197/permission-bash-80x24", "yes", "Yes"),
    ],
)
def test_a_word_chooses_the_label_that_it_means(name: str, word: str, label: str | None) -> None:
    path = name if "/" in name else f"2.1.329/{name}"
    options = look(SCREENS / f"{path}.txt").options
    assert dict(options).get(choose(options, CLAUDE.keys.answers, word) or "") == label


@pytest.mark.parametrize(
    ("name", "reaches"),
    [
        ("2.1.197/streaming-80x24", True),
        ("2.1.197/background-agent-80x24", True),
        ("2.1.329/streaming-60x40", True),
        ("2.1.329/status-line-working-80x24", True),
        ("2.1.329/menu-model-working-80x24", False),
        ("2.1.329/transcript-80x24", False),
        ("2.1.329/permission-bash-80x24", False),
    ],
)
def test_whether_escape_would_end_the_turn_is_seen(name: str, reaches: bool) -> None:
    lines = (SCREENS / f"{name}.txt").read_text("utf-8").split("\n")
    assert is_interruptible(lines, CLAUDE.screen) == reaches


@pytest.mark.parametrize("size", ["80x24", "200x50"])
def test_what_an_agent_says_is_no_dialog(size: str) -> None:
    """Its text is indented by two columns, also where it quotes the CLI."""

    def lines(name: str) -> list[str]:
        text = (SCREENS / "2.1.329" / f"{name}-{size}.txt").read_text("utf-8")
        return [plain(line) for line in text.split("\n")]

    around = lines("after-a-turn")
    place = 1 + next(place for place, line in enumerate(around) if line == "● good day")
    quoted = [
        f"  {line}"
        for name in ("permission-bash", "question", "plan-approval", "trust", "limit", "streaming")
        for line in lines(name)
    ]
    for start in range(0, len(quoted), 6):
        said = quoted[start : start + 6]
        assert read([*around[:place], *said, *around[place:]], CLAUDE.screen) == READY, said
