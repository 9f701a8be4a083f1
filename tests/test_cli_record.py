"""record: what is kept of a screen, what is taken out of it, and what is never replaced."""

import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.styles import standalone
from orchestrator.errors import CrewError
from orchestrator.locations import config_root, session_paths
from orchestrator.verbs import record as record_verb
from orchestrator.verbs.record import keep
from tests.cli_support import Ran, crew, known, refused
from tests.end_to_end.conftest import Crew
from tests.end_to_end.conftest import crew as whole_crew  # noqa: F401 - a fixture
from tests.fake_supervisor import FakeSupervisor, agent
from tests.projects import unprivileged, write
from tests.support import wait_until

KEY = "sk-ant-api03-Ab3dEf9hIjKlMn0pQrStUvWxYz"
SGR = re.compile(r"\x1b\[[0-9;:]*m")
MINE = """
[launch]
command = ["/bin/cat"]

[[screen.patterns]]
match = "for shortcuts$"
status = "ready"
"""
RECORDED = Path(__file__).parent / "screens" / "claude" / "2.1.329"


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, on a machine whose name no screen has."""
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(socket, "gethostname", lambda: "box7.example")
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    write(config_root() / "agents" / "mine.toml", MINE)
    team = (agent("a", cli="mine", pid=None), agent("c", cli="claude", pid=None))
    with FakeSupervisor(session_paths("demo"), *team) as fake:
        shows(fake, "❯", "  ? for shortcuts")
        yield fake


def shows(fake: FakeSupervisor, *lines: str, columns: int = 80, rows: int = 24) -> None:
    """Have every agent's pane show these lines, as tmux tells them."""
    frame = {"columns": columns, "rows": rows, "lines": standalone(lines), "cursor": None}
    fake.streams["screen"] = lambda _: iter([{"screen": frame}])


def says(fake: FakeSupervisor, *answers: dict[str, Any]) -> None:
    fake.streams["screen"] = lambda _: iter(answers)


def made(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*.*"))


def told(ran: Ran) -> list[str]:
    assert (ran.status, ran.err) == (0, "")
    return ran.out.splitlines()


# -- a real screen ---------------------------------------------------------------------------------

TEAM = """
[[agents]]
name = "a"
env = { DEMO_AGENT_PACE = "0", SHOP_PASSWORD = "open sesame" }
"""


def test_a_screen_of_a_real_agent_is_kept_without_secrets(whole_crew: Crew) -> None:  # noqa: F811
    crew = whole_crew
    crew.blueprint(TEAM)
    crew.up()
    crew.wait_status(a="ready")
    crew("send", "--wait", "a", f"[[say: {KEY}, open sesame, {crew.home}/x and done]]")

    def shown() -> bool:
        text = crew("logs", "a").stdout
        return "● " in text and text.rstrip().endswith("? for shortcuts")

    wait_until(shown, "the answer, and below it the prompt")
    size = crew.tmux("display-message", "-p", "-t", "t:a", "#{pane_width}x#{pane_height}").strip()
    ran = crew("record", "a", "ready", "--name", "answered", "--to", "kept")
    (file,) = (crew.cwd / "kept" / "demo").rglob("*.txt")
    expected = file.with_name("expected.toml")
    assert ran.stdout.splitlines()[:2] == [
        f"wrote {file.relative_to(crew.cwd)}, and into expected.toml beside it that it is ready",
        "it is read as ready, as you say",
    ]
    assert re.search(r"^\d+ places are masked; look at it before you share it$", ran.stdout, re.M)
    assert file.name == f"answered-{size}.txt"
    assert [each.stat().st_mode & 0o777 for each in (file, expected)] == [0o600, 0o600]
    assert tomllib.loads(expected.read_text()) == {file.stem: "ready"}

    text = file.read_text()
    assert len(text.splitlines()) == int(size.partition("x")[2]), "every row of the pane"
    assert "● xxxx" in SGR.sub("", text)
    for secret in (KEY, KEY[-12:], "sesame", str(crew.home)):
        assert secret not in text
        assert secret not in ran.stdout
    assert "/home/dev/project" in text, "where it works"
    assert "\x1b" not in SGR.sub("", text)

    again = crew("record", "a", "blocked", "--to", "kept")
    assert "it is read as ready, you say blocked" in again.stdout.splitlines()
    assert tomllib.loads(expected.read_text()) == {
        file.stem: "ready",
        file.stem.replace("answered", "blocked"): "blocked",
    }
    crew("down")
    down = crew("record", "a", "ready", "--to", "kept", check=False)
    assert (down.returncode, down.stdout) == (2, "")
    assert "is down: `" in down.stderr


# -- what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["idle-80x24", "permission-bash-80x24", "queued-200x50"])
def test_a_screen_of_the_corpus_is_recorded_as_it_is(fake: FakeSupervisor, name: str) -> None:
    text = (RECORDED / f"{name}.txt").read_text("utf-8")
    columns, rows = map(int, name.rpartition("-")[2].split("x"))
    lines = text.removesuffix("\n").split("\n")
    status = tomllib.loads((RECORDED / "expected.toml").read_text())[name]
    shows(fake, *lines, columns=columns, rows=rows)
    ran = crew("record", "c", status, "--name", name.rpartition("-")[0])
    assert told(ran)[1:] == [
        f"it is read as {status}, as you say",
        "no places are masked; look at it before you share it",
    ]
    file = Path("screens/claude/unknown") / f"{name}.txt"
    assert file.read_text("utf-8") == text
    assert file.stat().st_mode & 0o777 == 0o600


def test_only_colours_are_kept_and_nothing_is_shown(fake: FakeSupervisor) -> None:
    link = "\x1b]8;;https://x.example/\x1b\\link\x1b]8;;\x1b\\"
    shows(fake, f"\x1b[1mbold {link}\x1b]0;title\x07", f"more\x1b[0m {KEY}", "\x1b[2J\x1b[5;5H❯")
    lines = told(crew("record", "a", "ready"))
    assert Path("screens/mine/unknown/ready-80x24.txt").read_text("utf-8") == (
        f"\x1b[1mbold link\nmore\x1b[0m {'x' * len(KEY)}\n❯\n"
    )
    assert lines == [
        "wrote screens/mine/unknown/ready-80x24.txt, and into expected.toml beside it that it is "
        "ready",
        "it is read as unknown, you say ready",
        "1 place is masked; look at it before you share it",
    ]


def test_own_names_and_secrets_of_the_environment_are_masked(
    fake: FakeSupervisor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("SHOP_TOKEN", "very-plain-words")
    shows(fake, f"alice@box7:{home}/p$ very-plain-words", "box7.example has no palice")
    assert told(crew("record", "a", "ready"))[-1].startswith("5 places are masked")
    assert Path("screens/mine/unknown/ready-80x24.txt").read_text() == (
        "dev@host:/home/dev/p$ xxxxxxxxxxxxxxxx\nhost has no palice\n"
    )


def test_a_mask_that_changes_how_a_screen_is_read_is_said(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "shortcuts")
    lines = told(crew("record", "a", "ready"))
    assert lines[1:3] == [
        "it is read as ready, as you say",
        "with what is masked it is read as unknown: that is a part of how it is read",
    ]


def test_the_version_that_runs_else_the_installed_one_is_the_directory(
    fake: FakeSupervisor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claude = write(home / "bin" / "claude", "#!/bin/sh\necho '2.1.400 (Claude Code)'\n")
    claude.chmod(0o755)
    monkeypatch.setenv("PATH", str(claude.parent))
    lines = told(crew("record", "c", "ready"))
    assert made(Path("screens")) == [
        "claude/2.1.400",
        "claude/2.1.400/expected.toml",
        "claude/2.1.400/ready-80x24.txt",
    ]
    assert "its screens are read as those of 2.1.329: of 2.1.400 there are none" in lines
    fake.handlers["why"] = lambda _: {"why": {"version": "2.1.197"}}
    told(crew("record", "c", "ready"))
    assert made(Path("screens/claude/2.1.197")) == ["expected.toml", "ready-80x24.txt"]


def test_expected_screens_are_added_to(fake: FakeSupervisor) -> None:
    file = write(Path("s/mine/unknown/expected.toml"), '# mine\n"other" = "limited"')
    told(crew("record", "a", "working", "--name", "one", "--to", "s"))
    told(crew("record", "a", "unknown", "--name", "two", "--to", "s"))
    assert file.read_text() == (
        '# mine\n"other" = "limited"\n"one-80x24" = "working"\n"two-80x24" = "unknown"\n'
    )


# -- what is refused -------------------------------------------------------------------------------


def test_what_is_there_is_never_replaced(fake: FakeSupervisor) -> None:
    told(crew("record", "a", "ready"))
    file = Path("screens/mine/unknown/ready-80x24.txt")
    before = file.read_text(), file.with_name("expected.toml").read_text()
    shows(fake, "another")
    sentence = f"{file} is there already, or expected: say another --name"
    refused(crew("record", "a", "ready"), 2, sentence)
    assert (file.read_text(), file.with_name("expected.toml").read_text()) == before
    file.unlink()
    refused(crew("record", "a", "ready"), 2, sentence)
    file.with_name("expected.toml").unlink()
    file.symlink_to("elsewhere")
    refused(crew("record", "a", "ready"), 2, sentence)
    assert not file.with_name("elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (
            ("a", "redy"),
            2,
            "a screen does not say 'redy': it says starting, ready, working, blocked, limited, "
            "unknown",
        ),
        (("x", "ready"), 2, "there is no agent 'x' here: there is a, c"),
        (
            ("a", "ready", "--name", "../up"),
            2,
            "screen name '../up' is not allowed: use 1 to 32 letters, digits, '_' and '-', the "
            "first a letter or digit",
        ),
        (
            ("a", "ready", "--to", "file"),
            1,
            "file/mine/unknown/ready-80x24.txt: cannot be written: Not a directory",
        ),
    ],
)
def test_mistakes(
    fake: FakeSupervisor, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    Path("file").touch()
    refused(crew("record", *arguments), status, sentence)
    assert made(Path.cwd()) == []


def test_expectations_that_cannot_be_read_are_left_alone(fake: FakeSupervisor) -> None:
    file = write(Path("screens/mine/unknown/expected.toml"), "this is no TOML")
    ran = crew("record", "a", "ready")
    assert ran.status == 2
    assert ran.err.startswith(f"crew: {file}: cannot be read: ")
    assert made(Path("screens")) == ["mine/unknown/expected.toml"]
    assert file.read_text() == "this is no TOML"


def test_a_directory_that_cannot_be_written(home: Path) -> None:
    home.chmod(0o755)
    directory = home / "s"
    directory.mkdir()
    directory.chmod(0o555)
    told = directory / "expected.toml"
    with unprivileged():
        with pytest.raises(CrewError, match=r"a-1x1\.txt: cannot be written: Permission denied$"):
            keep(directory / "a-1x1.txt", ["a"], "ready")
        with pytest.raises(CrewError, match=r"a-1x1\.txt: cannot be written: Permission denied$"):
            keep(directory / "new" / "a-1x1.txt", ["a"], "ready")
    directory.chmod(0o777)
    told.touch()
    told.chmod(0o444)
    with unprivileged(), pytest.raises(CrewError, match=r"Permission denied$"):
        keep(directory / "a-1x1.txt", ["a"], "ready")
    assert list(directory.iterdir()) == [told], "no screen without a line about it"


def test_an_agent_without_a_pane(fake: FakeSupervisor) -> None:
    says(fake, {"screen": None})
    refused(crew("record", "a", "ready"), 1, "a has no pane now: there is no screen to record")
    says(fake, {"exit": 0})
    refused(crew("record", "a", "ready"), 1, "a has no pane now: there is no screen to record")
    assert made(Path.cwd()) == []


def test_a_supervisor_that_shows_nothing(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_verb, "ANSWER", 0.1)
    says(fake)
    log = session_paths("demo").log
    refused(
        crew("record", "a", "ready"),
        1,
        f"the screen of a could not be looked at within 0.1 s: see {log}",
    )


def test_a_session_that_is_down(cwd: Path) -> None:
    known("demo", "down")
    refused(
        crew("record", "a", "ready"),
        2,
        "session demo is down: `crew restore demo` brings its agents back",
    )
