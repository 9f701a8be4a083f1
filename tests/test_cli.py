"""The command line as a whole: help, the session that is meant, errors, completion, imports."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator import cli as cli_module
from orchestrator.cli import VERBS, cli
from orchestrator.locations import session_paths, state_root
from tests.cli_support import CONTEXT, CREW, crew, crew_process, environment, known, refused
from tests.fake_supervisor import FakeSupervisor, agent
from tests.support import wait_until


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    directory = home / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def fake(cwd: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(session_paths("demo"), agent("boss"), agent("worker-1")) as fake:
        yield fake


# -- help ------------------------------------------------------------------------------------------


def test_help_fits_a_small_terminal_and_has_every_verb(cwd: Path) -> None:
    ran = crew("--help")
    lines = ran.out.splitlines()
    assert ran.status == 0
    assert len(lines) <= 23, "24 lines, one of them the next prompt"
    assert max(map(len, lines)) <= 80
    assert "..." not in ran.out.replace("VERB ...", ""), "no summary is cut short"
    headings = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert headings == ["team", "talk", "look", "fix"]
    for name in cli.list_commands(CONTEXT):
        assert re.search(rf" {name}\b", ran.out), name


@pytest.mark.parametrize("verb", cli.list_commands(CONTEXT))
def test_help_of_a_verb_fits_and_has_an_example(cwd: Path, verb: str) -> None:
    for wide in ("80", "200"):
        ran = crew_help(verb, wide)
        assert max(map(len, ran.splitlines())) <= 80
        assert f"crew {verb}" in ran.partition("Example:")[2]


def crew_help(verb: str, columns: str) -> str:
    result = CliRunner(env={"COLUMNS": columns}).invoke(cli, [verb, "--help"], prog_name="crew")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"ls", "doctor", "ask", "cache"}))
def test_every_verb_takes_a_session(verb: str) -> None:
    assert any("--session" in p.opts for p in cli.require(CONTEXT, verb).params)


@pytest.mark.parametrize("arguments", ["--version", "-V", "version"])
def test_version(cwd: Path, arguments: str) -> None:
    ran = crew(arguments)
    assert ran.status == 0
    assert re.fullmatch(r"crew \d+\.\d+\S*\n", ran.out)


def test_nothing_at_all_is_answered_with_the_help(cwd: Path) -> None:
    ran = crew()
    assert (ran.status, ran.err) == (2, "")
    assert ran.out == crew("--help").out == crew("help").out
    assert crew("help").status == 0


def test_help_of_a_verb_by_its_name(cwd: Path) -> None:
    ran = crew("help", "send")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == crew("send", "--help").out


def test_help_shows_plain_defaults(cwd: Path) -> None:
    assert "[default: 60]" in " ".join(crew("up", "--help").out.split())
    assert "[default: 40]" in crew("logs", "--help").out


# -- a session that is down ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "boss", "hi"),
        ("answer", "boss", "1"),
        ("interrupt", "boss"),
        ("restart", "boss"),
        ("stop", "boss"),
    ],
)
def test_a_session_that_is_down_is_not_woken_by_talking_to_it(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    known("demo", "down")
    refused(
        crew(*arguments),
        2,
        "session demo is down: `crew restore demo` brings its agents back",
    )


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nonsense",), "there is no verb 'nonsense': see `crew --help`"),
        (("statsu",), "there is no verb 'statsu' (did you mean 'status'?): see `crew --help`"),
        (("ini",), "there is no verb 'ini' (did you mean 'init'?): see `crew --help`"),
        (("status", "--jsno"), "there is no option --jsno (did you mean --json?): see `crew"),
        (("status", "--nope"), "there is no option --nope: see `crew status --help`"),
        (("send",), "AGENT is missing: see `crew send --help`"),
        (("send", "boss"), "TEXT is missing: see `crew send --help`"),
        (("status", "x"), "too many arguments: x: see `crew status --help`"),
        (("events", "-n"), "-n needs a value: see"),
        (
            ("logs", "boss", "-n", "0"),
            "-n: should be a whole number, 1 or more, not '0': see `crew logs --help`",
        ),
        (("events", "--since", "x"), "--since: should be a whole number, 0 or more, not 'x': see"),
        (("up", "--timeout", "0"), "--timeout: should be a number of seconds, more than 0, not"),
        (("up", "--timeout", "inf"), "--timeout: should be a number of seconds, more than 0, not"),
        (
            ("up", "--timeout", "nan"),
            "--timeout: should be a number of seconds, more than 0, not 'nan': see",
        ),
        (("completion", "tcsh"), "SHELL: 'tcsh' is not one of 'bash', 'zsh', 'fish': see"),
        (("restore", "a", "-s", "b"), "SESSION is 'a' and -s 'b': say one of them: see"),
        (("help", "statsu"), "there is no verb 'statsu' (did you mean 'status'?): see"),
        (("-s", "x", "ls"), "-s says nothing to `crew ls`: see `crew --help`"),
    ],
)
def test_a_mistake_in_the_command_is_one_sentence_and_status_2(
    cwd: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    ran = crew(*arguments)
    assert ran.status == 2
    assert ran.err.startswith(f"crew: {sentence}")
    assert ran.err.count("\n") == 1


def test_a_refusal_of_the_supervisor_is_its_sentence_made_safe(fake: FakeSupervisor) -> None:
    fake.handlers["stop"] = lambda _: {"exit": 1, "error": "no\x1b[31m \u202eway"}
    refused(crew("stop", "boss"), 1, "no way")


def test_a_defect_is_one_sentence_and_its_traceback_is_kept(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\x1b[0m zero")

    monkeypatch.setattr(cli, "main", defect)
    ran = crew("status")
    file = state_root() / cli_module.FAULTS
    refused(
        ran,
        1,
        f"this is a defect of crew, ZeroDivisionError: by zero (its traceback is in {file})",
    )
    assert "raise ZeroDivisionError" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_defect_whose_traceback_cannot_be_kept(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")

    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "main", defect)
    ran = crew("status")
    assert ran.status == 1
    assert "could not be written" in ran.err
    assert ran.err.count("\n") == 1


def _follow(fake: FakeSupervisor, request: dict[str, object]) -> Iterator[dict[str, object]]:
    """Events that do not end by themselves."""
    for line in fake._watch(request):
        if "change" in line:
            yield {"event": line["change"]}


def test_ctrl_c_is_quiet(fake: FakeSupervisor, cwd: Path) -> None:
    fake.streams["events"] = lambda request: _follow(fake, request)
    following = subprocess.Popen(
        [*CREW, "events", "--follow"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: fake.asked("events"), "it follows")
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=60)
    assert following.returncode == 130
    assert err.decode().strip() == ""
    assert b"Traceback" not in out


def test_a_reader_that_leaves_is_no_error(fake: FakeSupervisor, cwd: Path) -> None:
    event = {"seq": 1, "at": 0.0, "kind": "x", "source": "crew", "agent": None, "text": "y" * 99}
    fake.streams["events"] = lambda _: iter([{"event": event}] * 5000)
    writer = subprocess.Popen(
        [*CREW, "events"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    err = writer.stderr.read()
    writer.stderr.close()
    writer.wait(timeout=60)
    assert err == b""


def test_a_terminal_that_is_not_utf8_gets_no_error(fake: FakeSupervisor, cwd: Path) -> None:
    ran = crew_process("status", cwd=cwd, PYTHONIOENCODING="ascii", COLUMNS="80")
    assert ran.err == ""
    assert ran.status == 0
    assert "boss" in ran.out


def test_no_state_directory_can_be_made(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/" + "x" * 120)
    ran = crew("status", "-s", "demo")
    assert ran.status == 2
    assert "set XDG_STATE_HOME to a shorter directory" in ran.err
