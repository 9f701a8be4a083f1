"""`crew ask` as a whole: real processes that ask a stand-in for a CLI, through one cache."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator import locations
from orchestrator.core.launch import IDENTITY
from orchestrator.core.oneshots import Answer
from orchestrator.errors import UserError
from orchestrator.oneshot import lead
from orchestrator.oneshot.inputs import beyond_git
from orchestrator.oneshot.prepare import prepare
from orchestrator.oneshot.settings import AskSettings
from orchestrator.sinks.cache import open_cache
from orchestrator.sinks.cache_schema import NAME
from orchestrator.sinks.history import Asked
from tests import faketime
from tests.counts import cannot
from tests.sinks.test_store_full import namespace
from tests.support import alive, end, wait_until

CREW = str(Path(sys.executable).with_name("crew"))
SOURCE = Path(__file__).with_name("standin.py")
DEFINITION = """
name = "standin"
config_env = "STANDIN"
config_dir = "~/.standin"
[launch]
command = ["standin"]
version = ["--version"]
[ask]
command = ["standin", "-p"]
model = ["--model", "{model}"]
system = ["--system", "{system}"]
dialect = "claude"
files = ["{config}/rules.md"]
variables = ["STANDIN_MODEL"]
"""
DAY = 86_400
# Seconds after which something hangs.
DEADLINE = 60.0


class Asking:
    """A `crew ask` that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path, errors: Path) -> None:
        self.process = process
        self._output = output
        self._errors = errors

    @property
    def said(self) -> str:
        return self._output.read_text()

    @property
    def complained(self) -> str:
        return self._errors.read_text()

    def ends(self) -> int:
        """Wait for its end; its exit status."""
        status = self.process.wait(DEADLINE)
        assert "Traceback" not in self.complained
        return status


class Asker:
    """A person with a cache of their own, and a CLI called `standin` (standin.py)."""

    def __init__(self, home: Path, known: Path) -> None:
        self.home = home
        self.config = home / ".config/crewmux"
        self.cache = home / ".cache/crewmux"
        self.place = home / "standin"
        for directory in (self.config / "agents", self.place, self.cache):
            directory.mkdir(parents=True)
        (self.config / "agents/standin.toml").symlink_to(known / "crewmux/agents/standin.toml")
        shutil.copy(known / "cache" / NAME, self.cache)
        self.env = {
            "HOME": str(home),
            "PATH": f"{known / 'bin'}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "STANDIN": str(self.place),
        }
        for name in ("CREW_TEST_RUN", "COVERAGE_PROCESS_START"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self._started: list[Asking] = []

    def define(self, name: str, definition: str) -> None:
        file = self.config / "agents" / f"{name}.toml"
        file.unlink(missing_ok=True)
        file.write_text(definition)

    def ask(
        self,
        *arguments: str,
        cli: str = "standin",
        status: int = 0,
        stdin: str | None = None,
        env: Sequence[tuple[str, str]] = (),
        cwd: Path | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `crew ask`, which ends with `status`."""
        done = subprocess.run(
            [CREW, "ask", "--agent", cli, *arguments],
            env={**self.env, **dict(env)},
            cwd=cwd or self.home,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def told(self, *arguments: str, **how: Any) -> dict[str, Any]:
        """What `crew ask --json` prints."""
        found: dict[str, Any] = json.loads(self.ask("--json", *arguments, **how).stdout)
        return found

    def outcome(self, *arguments: str, **how: Any) -> str:
        outcome: str = self.told(*arguments, **how)["outcome"]
        return outcome

    def start(self, *arguments: str) -> Asking:
        """Begin to ask."""
        files = [self.home / f"{kind}-{len(self._started)}" for kind in ("output", "errors")]
        with files[0].open("wb") as output, files[1].open("wb") as errors:
            process = subprocess.Popen(
                [CREW, "ask", "--agent", "standin", *arguments],
                env=self.env,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        self._started.append(Asking(process, *files))
        return self._started[-1]

    def waiting(self, number: int, prompt: str) -> list[Asking]:
        """Ask the same that often, until each shows the beginning of the answer."""
        asking = [self.start(prompt) for _ in range(number)]
        for each in asking:
            wait_until(lambda each=each: each.said, "an answer begins", DEADLINE)  # type: ignore[misc]
        return asking

    @property
    def runs(self) -> list[dict[str, Any]]:
        file = self.place / "runs"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def release(self, name: str = "go") -> None:
        """Let go what `[hold NAME]` holds."""
        (self.place / name).touch()

    def from_now_on(self, script: str) -> None:
        """What the CLI does, whatever the prompt says; "": what it says."""
        file = self.place / "now"
        file.write_text(script) if script else file.unlink()

    @property
    def records(self) -> list[Asked]:
        cache = open_cache(self.cache, AskSettings(), 0)
        with contextlib.closing(cache):
            return cache.records()

    def close(self) -> None:
        for each in self._started:
            if each.process.poll() is None:
                end(each.process.pid)
                each.process.wait()
        for run in self.runs:
            for pid in (run["pid"], *run["children"]):
                end(pid)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CLI, its definition, and a cache that knows both: to read them takes longer than to ask
    several times."""
    directory = tmp_path_factory.mktemp("known")
    program = directory / "bin/standin"
    definition = directory / "crewmux/agents/standin.toml"
    for file, text in (
        (program, f"#!{sys.executable} -IS\n{SOURCE.read_text()}"),
        (definition, DEFINITION),
    ):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    program.chmod(0o755)
    cache = open_cache(directory / "cache", AskSettings(), 0)
    with pytest.MonkeyPatch.context() as patched, contextlib.closing(cache):
        patched.setenv("XDG_CONFIG_HOME", str(directory))
        prepare("standin", cache, {"PATH": f"{program.parent}:{os.environ['PATH']}"})
    assert not cache.warnings
    return directory


@pytest.fixture
def asker(home: Path, known: Path) -> Iterator[Asker]:
    asker = Asker(home, known)
    yield asker
    asker.close()


def later(seconds: int) -> list[tuple[str, str]]:
    """The environment of a process for which it is that much later.

    The library makes `time.sleep` fail at times, by which Python waits for a process that must end
    in time: the CLI's version must be known already.
    """
    return [
        ("LD_PRELOAD", faketime.library()),
        ("FAKETIME", f"{seconds:+d}"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]


# -- from disk -------------------------------------------------------------------------------------


def test_asked_again_it_comes_from_disk(asker: Asker) -> None:
    first = asker.told("what  is it?")
    assert (first["outcome"], first["text"], first["reason"]) == ("ran", "answer 1", "new")
    assert (first["cached"], first["age"], first["tries"]) == (False, None, 1)
    assert first["usage"] == {"input": 10, "output": 5, "cache_write": 0, "cache_read": 3}
    assert (first["cost_usd"], first["conversation"]) == (0.25, "conversation-1")
    again = asker.told("what is it? \n")
    assert (again["outcome"], again["text"], again["cached"]) == ("hit", "answer 1", True)
    assert again["key"] == first["key"]
    assert again["age"] >= 0
    assert asker.ask("what", "is", "it?").stdout == "answer 1\n"
    assert len(asker.runs) == 1
    assert asker.runs[0]["directory"] == str(asker.cache / "empty")
    ran, *hits = asker.records
    assert (ran.outcome, ran.saved, ran.tokens, ran.cost_usd) == ("ran", 0, 18, 0.25)
    assert [each.outcome for each in hits] == ["hit", "hit"]
    assert all((each.tokens, each.cost_usd) == (18, 0.25) for each in hits)
    assert all(0 <= each.saved < ran.took for each in hits)


def test_what_makes_another_question(asker: Asker) -> None:
    file = asker.home / "notes.txt"
    file.write_text("one")
    base = ("why?", "--input", "notes.txt")
    ways: list[Sequence[str]] = [
        base,
        ("Why?", "--input", "notes.txt"),
        ("why?",),
        ("why?", "--input", str(file)),
        (*base, "--model", "other"),
        (*base, "--system", "be brief"),
    ]
    assert [asker.outcome(*way) for way in ways] == ["ran"] * len(ways)
    file.write_text("two")
    assert asker.told(*base)["reason"] == "finer"
    assert [run["prompt"] for run in asker.runs[::6]] == [
        f'why?\n<file path="notes.txt">\n{text}\n</file>\n' for text in ("one", "two")
    ]
    assert asker.runs[4]["arguments"] == ["-p", "--model", "other"]
    file.write_text("one")
    assert asker.outcome(*base) == "hit"
    assert asker.outcome(*base, "--system", " be  brief") == "hit"


def test_what_the_cli_takes_in_by_itself_makes_another_question(asker: Asker) -> None:
    assert asker.outcome("why?") == "ran"
    rules = asker.place / "rules.md"
    rules.write_text("be brief")
    assert asker.outcome("why?") == "ran"
    asker.env["STANDIN_MODEL"] = "other"
    assert asker.outcome("why?") == "ran"
    assert asker.outcome("why?") == "hit"
    rules.unlink()
    del asker.env["STANDIN_MODEL"]
    assert asker.outcome("why?") == "hit"


def test_the_state_of_a_repository_is_part_of_the_question(asker: Asker) -> None:
    project = asker.home / "project"
    (project / "sub").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=project, env=asker.env, check=True)
    (project / "file").write_text("one")
    (project / ".gitignore").write_text("secret\n")
    (project / "secret").write_text("one")

    def outcome(*arguments: str, cwd: Path = project) -> str:
        return asker.outcome("--context", "git", *arguments, cwd=cwd)

    assert [outcome("what is here?") for _ in range(2)] == ["ran", "hit"]
    assert asker.runs[0]["directory"] == str(project)
    # The same state, seen from elsewhere.
    assert outcome("what is here?", cwd=project / "sub") == "ran"
    (project / "file").write_text("two")
    assert outcome("what is here?") == "ran"
    assert asker.outcome("what is here?") == "ran"
    # What the CLI attaches is part of that state, or the answer is not kept.
    assert [outcome("what is in @file?") for _ in range(2)] == ["ran", "hit"]
    assert [outcome("what is in @secret?") for _ in range(2)] == ["ran", "ran"]


def test_what_an_agent_is_known_by_is_not_handed_on(asker: Asker) -> None:
    """It may be an agent's own tool that asks."""
    names = set(IDENTITY) - {"CREW_FAILPOINT"}
    asker.ask("who are you?", env=[(name, "mine") for name in (*names, "OTHER")])
    given = set(asker.runs[0]["environment"])
    assert "OTHER" in given
    assert not names & given


def test_files_of_which_git_says_nothing(home: Path) -> None:
    root = home / "project"
    (root / "sub").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for name in ("seen", "sub/seen", "hidden.o", "sub/hidden.o"):
        (root / name).write_text("x")
    (root / ".gitignore").write_text("*.o\n")
    (root / "to-hidden").symlink_to("hidden.o")
    (root / "to-seen").symlink_to("sub/seen")
    (root / "out").symlink_to(home)
    seen = ("seen", "sub/seen", "to-seen", "none", "none.o", ".gitignore", "x" * 5000, "a\0b")
    assert not beyond_git(root, seen)
    for name in ("hidden.o", "sub/hidden.o", "to-hidden", "out", "sub", ".git/config"):
        assert beyond_git(root, [*seen, name]), name
    assert beyond_git(root / "sub", ["hidden.o"])
    assert not beyond_git(root / "sub", ["seen"])
    (home / "elsewhere").write_text("x")
    assert beyond_git(root, ["out/elsewhere"])


@pytest.mark.parametrize("where", ["prompt", "input"])
def test_files_elsewhere_that_the_cli_attaches(asker: Asker, where: str) -> None:
    """Nobody sees when these change: such an answer is nobody else's."""
    (asker.home / "notes").write_text("as in @~/notes.txt")
    question = ["what is in @/etc/hosts?"] if where == "prompt" else ["and?", "--input", "notes"]
    for options in ([], ["--refresh"]):
        told = asker.told(*options, *question)
        assert (told["outcome"], told["reason"]) == ("ran", "uncached")
    assert asker.told(*question, "--cached-only", status=3)["outcome"] == "absent"
    assert len(asker.runs) == 2


def test_age_and_what_it_may_be(asker: Asker) -> None:
    assert asker.outcome("why?") == "ran"
    in_two_days = later(2 * DAY)
    assert asker.outcome("why?", "--ttl", "3d", env=in_two_days) == "hit"
    told = asker.told("why?", "--cached-only", env=in_two_days, status=3)
    assert (told["outcome"], told["reason"], told["text"]) == ("absent", "expired", None)
    told = asker.told("why?", env=in_two_days)
    assert (told["outcome"], told["reason"], told["text"]) == ("ran", "expired", "answer 2")
    assert asker.outcome("why?", env=in_two_days) == "hit"


def test_anew_and_not_at_all(asker: Asker) -> None:
    done = asker.ask("why?", "--cached-only", status=3)
    assert done.stdout == ""
    assert done.stderr == "crew: there is no fresh answer to this on disk\n"
    assert [asker.outcome("why?", "--no-cache") for _ in range(2)] == ["ran", "ran"]
    assert asker.told("why?")["text"] == "answer 3"
    assert asker.told("why?", "--refresh")["text"] == "answer 4"
    told = asker.told("why?", "--cached-only")
    assert (told["outcome"], told["text"]) == ("hit", "answer 4")


def test_an_answer_for_which_a_tool_was_used_is_not_kept(asker: Asker) -> None:
    for number in (1, 2):
        told = asker.told("[tool]")
        assert (told["outcome"], told["text"], told["tools"]) == ("ran", f"answer {number}", True)


def test_no_escape_sequence_reaches_the_terminal(asker: Asker) -> None:
    prompt = "[say \x1bPtitle\x07\x1b[31mred\x9b2J\r\nand\u202e on.]"
    for _ in ("ran", "hit"):
        done = asker.ask(prompt)
        assert not set("\x1b\x07\x9b\r\u202e") & set(done.stdout + done.stderr)
        assert "red" in done.stdout
    raw = subprocess.run(
        [CREW, "ask", "--agent", "standin", "--json", prompt],
        env=asker.env, capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert b"\x1b" not in raw
    assert json.loads(raw)["text"] == prompt[5:-1]
    asker.from_now_on("[status 400] \x1b[31m")
    assert "\x1b" not in asker.ask(f"{prompt} again", status=1).stderr


# -- what is asked ---------------------------------------------------------------------------------


def test_from_standard_input(asker: Asker) -> None:
    assert asker.ask(stdin="why?\n").stdout == "answer 1\n"
    assert asker.ask("-", stdin="why?").stdout == "answer 1\n"
    assert asker.runs[0]["prompt"] == "why?\n"


def test_what_the_definition_leaves_open_is_filled_in(asker: Asker) -> None:
    asker.define("standin", DEFINITION.replace('"-p"', '"{package}"'))
    asker.ask("a", "--model", "{package}")
    (run,) = asker.runs
    assert run["arguments"] == [str(locations.PACKAGE), "--model", "{package}"]


def test_mistakes_are_told(asker: Asker) -> None:
    (asker.home / "bytes").write_bytes(b"\xff")
    told = {
        ("",): "there is nothing to ask: the text is empty",
        ("-",): "there is nothing to ask: the text is empty",
        ("a", "--input", "none"): "none: cannot be read: No such file or directory",
        ("a", "--input", "bytes"): "bytes: is not UTF-8 text (byte 0)",
        ("a", "--context", "git"): "--context git: not a git repository",
        ("a", "--refresh", "--cached-only"): "--refresh and --cached-only contradict each other",
        ("a", "--no-cache", "--refresh"): "--no-cache goes with none of --refresh",
    }
    for arguments, sentence in told.items():
        done = asker.ask(*arguments, status=2)
        assert done.stderr.startswith(f"crew: {sentence}"), done.stderr
        assert done.stdout == ""
    assert asker.runs == []


def test_clis_that_cannot_be_asked(asker: Asker) -> None:
    assert "nobody" in asker.ask("a", cli="nobody", status=2).stderr
    said = asker.ask("a", cli="demo", status=2).stderr
    assert "demo cannot be asked: " in said
    assert "has no [ask] table" in said
    asker.define("broken", DEFINITION.replace("standin", "broken").replace("{model}", "{modle}"))
    said = asker.ask("a", cli="broken", status=2).stderr
    assert "broken.toml" in said
    assert "modle" in said
    # Known from before, and gone since.
    path = [("PATH", os.environ["PATH"])]
    said = asker.ask("a", env=path, status=2).stderr
    assert said.startswith("crew: standin is not installed: install it, or put its directory")
    assert str(asker.config / "agents/standin.toml") in said


def test_what_is_wrong_in_the_settings(asker: Asker) -> None:
    file = asker.config / "ask.toml"
    for text, key, remedy in (
        ("parallel = 0", "parallel", "should be 1 to 256"),
        ("queue = ", "is not TOML", "at the end of the file"),
    ):
        file.write_text(text)
        said = asker.ask("a", status=2).stderr
        assert str(file) in said
        assert key in said
        assert remedy in said
    file.write_text("ttl = 100\n")
    assert asker.outcome("a") == "ran"
    assert asker.outcome("a", env=later(110)) == "ran"


# -- waiting ---------------------------------------------------------------------------------------


def test_it_streams_as_it_comes(asker: Asker) -> None:
    (asking,) = asker.waiting(1, "[hold go]")
    assert asking.said == "answer "
    asker.release()
    assert asking.ends() == 0
    assert asking.said == "answer 1\n"


def test_a_time_out_ends_the_whole_tree(asker: Asker) -> None:
    told = asker.told("[child] [hold go]", "--timeout", "6", status=124)
    assert (told["outcome"], told["text"]) == ("timeout", None)
    assert told["error"]["sentence"] == "there is no answer after 6 s"
    (run,) = asker.runs
    assert not any(map(alive, (run["pid"], *run["children"])))
    asker.release()
    assert asker.outcome("[child] [hold go]") == "ran", "nothing of it was kept"


def test_a_full_queue_refuses(asker: Asker) -> None:
    (asker.config / "ask.toml").write_text("parallel = 1\nqueue = 0\n")
    (first,) = asker.waiting(1, "[hold go]")
    done = asker.ask("another", status=4)
    assert done.stderr.startswith("crew: 1 questions are being answered and 0 wait, which is as")
    told = asker.told("another", status=4)
    assert (told["outcome"], told["text"], told["tries"]) == ("refused", None, 0)
    asker.release()
    assert first.ends() == 0
    assert asker.outcome("another") == "ran"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_ones_own_wait(asker: Asker, number: signal.Signals) -> None:
    """In one that follows, and in the one that leads: the others have their answer."""
    status = 128 + number
    leader, *others = [*asker.waiting(1, "[hold go]"), *asker.waiting(3, "[hold go]")]
    (run,) = asker.runs
    assert run["asker"] == leader.process.pid
    for runs, leaves in ((1, others.pop()), (2, leader)):
        leaves.process.send_signal(number)
        assert leaves.ends() == status
        wait_until(lambda runs=runs: len(asker.runs) == runs, "who leads", DEADLINE)  # type: ignore[misc]
    assert not alive(run["pid"])
    asker.release()
    assert [each.ends() for each in others] == [0, 0]
    assert [each.said for each in others] == ["answer 2\n"] * 2
    assert [each.complained for each in others] == ["", ""]


def test_many_ask_the_same_at_once(asker: Asker, count: Callable[[str, int, int], int]) -> None:
    asking = asker.waiting(count("identical questions at once", 12, 50), "[hold go]")
    asking += asker.waiting(1, "[hold go]")
    names = {each.name for each in (asker.cache / "flights").iterdir()}
    (key,) = {record.partition("-")[0] for record in names}
    assert names == {f"{key}-{lead._format()}.{kind}" for kind in ("lock", "sock")}
    asker.release()
    assert {each.ends() for each in asking} == {0}
    assert {each.said for each in asking} == {"answer 1\n"}
    assert len(asker.runs) == 1
    records = asker.records
    (ran,) = (each for each in records if each.outcome == "ran")
    joined = [each for each in records if each.outcome == "joined"]
    assert len(joined) == len(asking) - 1
    assert all((each.tokens, each.cost_usd) == (18, 0.25) for each in joined)
    # The last one has waited for a part of the run only.
    assert all(0 <= each.saved <= ran.took for each in joined)
    assert max(each.saved for each in joined) > 0


def test_the_leader_is_killed_in_mid_answer(
    asker: Asker, count: Callable[[str, int, int], int]
) -> None:
    asking = asker.waiting(count("askers whose leader is killed", 6, 50), "[hold go]")
    (run,) = asker.runs
    (leader,) = (each for each in asking if each.process.pid == run["asker"])
    asking.remove(leader)
    end(leader.process.pid)
    assert leader.ends() == -signal.SIGKILL
    wait_until(lambda: len(asker.runs) == 2, "another one leads", DEADLINE)
    asker.release()
    assert {each.ends() for each in asking} == {0}
    assert {each.said for each in asking} == {"answer 2\n"}
    assert len(asker.runs) == 2
    wait_until(lambda: not alive(run["pid"]), "the first run is gone")


def test_processes_of_two_versions_never_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    here = lead._format()
    assert here == lead._format()
    monkeypatch.setattr(lead, "FRAMES", "another")
    assert lead._format() != here
    monkeypatch.undo()
    monkeypatch.setattr(lead, "Outcome", Answer)
    assert lead._format() != here


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["status 529", "status 500", "cut"])
def test_tried_again(asker: Asker, marker: str) -> None:
    told = asker.told(f"[{marker} x1]")
    assert (told["outcome"], told["text"], told["tries"]) == ("ran", "answer 2", 2)
    assert told["error"] is None


def test_a_try_that_broke_off_is_not_shown_twice(asker: Asker) -> None:
    done = asker.ask("[say the same] [cut x1]")
    assert (done.stdout, done.stderr) == ("the same\n", "")


@pytest.mark.parametrize(
    ("marker", "kind", "http", "sentence"),
    [
        ("status 400", "api", 400, "API Error: 400 refused"),
        ("exit 3", "cli", None, "it ended with exit status 3: broken"),
    ],
)
def test_what_stays_is_not_tried_again(
    asker: Asker, marker: str, kind: str, http: int | None, sentence: str
) -> None:
    told = asker.told(f"[{marker}]", status=1)
    assert (told["outcome"], told["text"], told["tries"]) == ("failed", None, 1)
    assert told["error"] == {"kind": kind, "status": http, "sentence": sentence, "retry": False}
    done = asker.ask(f"[{marker}]", status=1)
    assert (done.stdout, done.stderr) == ("", f"crew: standin: {sentence}\n")
    assert len(asker.runs) == 2, "a failure is not kept"


def test_an_old_answer_is_better_than_none(asker: Asker) -> None:
    assert asker.outcome("why?") == "ran"
    in_two_days = later(2 * DAY)
    asker.from_now_on("[exit 3]")
    assert asker.outcome("why?", "--stale-if-error", "1d", env=in_two_days, status=1) == "failed"
    told = asker.told("why?", "--stale-if-error", "7d", env=in_two_days)
    assert (told["outcome"], told["text"], told["cached"]) == ("stale", "answer 1", True)
    assert told["age"] == pytest.approx(2 * DAY, abs=DEADLINE)
    assert told["error"]["kind"] == "cli"
    done = asker.ask("why?", "--stale-if-error", "7d", env=in_two_days)
    assert done.stdout == "answer 1\n"
    assert done.stderr.startswith("crew: this answer is 2d")
    assert "it ended with exit status 3: broken" in done.stderr


def test_one_that_keeps_failing_is_left_alone(asker: Asker) -> None:
    asker.from_now_on("[exit 3]")
    for number in range(5):
        assert asker.outcome(f"question {number}", status=1) == "failed"
    asker.from_now_on("")
    told = asker.told("another", status=4)
    assert (told["outcome"], told["tries"]) == ("refused", 0)
    assert re.fullmatch(
        r"standin has failed again and again: it is asked again at \d\d:\d\d:\d\d, in \d+ s",
        told["refused"],
    )
    assert len(asker.runs) == 5
    # Half open: it is tried once, and closes.
    asker.from_now_on("[exit 3]")
    assert asker.outcome("another", env=later(40), status=1) == "failed"
    done = asker.ask("another", env=later(45), status=4)
    assert re.match("crew: standin has failed again and again.* in [45]\\d s", done.stderr)
    asker.from_now_on("")
    assert asker.outcome("another", env=later(120)) == "ran"
    assert asker.outcome("question 1") == "ran"


# -- faults of the machine -------------------------------------------------------------------------


def on_small_disk(asker: Asker, script: str) -> list[str]:
    """Run a script where the cache is a small file system of its own; what it prints, by lines."""
    if shutil.which("unshare") is None:
        cannot("there is no `unshare`")
    mount = f"mount -t tmpfs -o size=2m,mode=0700 tmpfs {asker.cache}"
    probe = subprocess.run(
        [*namespace(), *mount.split()], capture_output=True, text=True, timeout=30, check=False
    )
    if probe.returncode:
        cannot(probe.stderr.strip())
    whole = f'set -e; {mount}; ask() {{ {CREW} ask --agent standin "$@" 2>&1; }}; {script}'
    done = subprocess.run(
        [*namespace(), "sh", "-c", whole],
        env=asker.env, cwd=asker.home, capture_output=True, text=True, timeout=DEADLINE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_full_disk(asker: Asker) -> None:
    fill = "dd if=/dev/zero of=.cache/crewmux/ballast bs=4k 2>/dev/null || :"
    lines = on_small_disk(
        asker, f"{fill}; ask a; ask a; rm .cache/crewmux/ballast; ask a; ask a; {fill}; ask b"
    )
    answers = [line for line in lines if not line.startswith("crew: ")]
    assert answers == ["answer 1", "answer 2", "answer 3", "answer 3", "answer 4"]
    warnings = [line for line in lines if line.startswith("crew: ")]
    assert len(warnings) == 3
    assert all(line.startswith("crew: answers are not kept: ") for line in warnings)


def test_a_cache_that_cannot_be_written(asker: Asker) -> None:
    lines = on_small_disk(asker, f"ask a; ask a; mount -o remount,ro {asker.cache}; ask a; ask b")
    assert lines[:2] == ["answer 1", "answer 1"]
    assert lines[2::2] == ["answer 2", "answer 3"]
    assert [line.startswith("crew: answers are not kept: ") for line in lines[3::2]] == [True] * 2


def test_a_flipped_byte(asker: Asker) -> None:
    """In the answer itself: it is noticed, forgotten, and asked anew."""
    prompt = "[say fourty-two]"
    assert asker.ask(prompt).stdout == "fourty-two\n"
    (file,) = asker.cache.glob("answers-*.db")
    content = file.read_bytes()
    place = content.index(b'"fourty-two"')
    file.write_bytes(content[: place + 5] + b"X" + content[place + 6 :])
    done = asker.ask(prompt)
    assert done.stdout == "fourty-two\n"
    assert done.stderr == f"crew: {file}: an answer was damaged and is forgotten\n"
    assert len(asker.runs) == 2
    done = asker.ask(prompt)
    assert (done.stdout, done.stderr) == ("fourty-two\n", "")
    assert len(asker.runs) == 2


def test_a_clock_that_was_set_back(asker: Asker) -> None:
    assert asker.told("why?", env=later(DAY))["text"] == "answer 1"
    done = asker.ask("why?")
    assert done.stdout == "answer 2\n"
    (said,) = done.stderr.splitlines()
    assert said.endswith("from the future, and not used: was the clock set back?")
    done = asker.ask("why?")
    assert (done.stdout, done.stderr) == ("answer 2\n", "")


def test_a_cache_of_somebody_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    for root, variable in (
        (locations.cache_root(), "XDG_CACHE_HOME"),
        (locations.state_root(), "XDG_STATE_HOME"),
    ):
        with pytest.raises(UserError, match=f"set {variable} to a directory of your own"):
            locations.ensure_private(root)
