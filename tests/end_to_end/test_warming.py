"""Questions that are answered ahead, and what a session tells of those that are asked in it."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.claude.api import MessagesApi
from tests.claude.home import environment, prepare
from tests.counts import cannot
from tests.end_to_end.conftest import CREW, Crew
from tests.end_to_end.faults import hanging, timed
from tests.support import alive, end, wait_until

AGENT = '[[agents]]\nname = "a"\n'
RESULT = {"type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 0.25}
# Answers with how many characters it was asked; says so in a file. While `hold` is there it does
# not answer.
STAND_IN = """#!{python}
import json, os, sys, time
here = os.path.dirname(__file__)
said = sys.stdin.read()
with open(here + "/asked", "a") as log:
    log.write(json.dumps([os.getpid(), said, sys.argv[1:], os.getcwd()]) + "\\n")
while os.path.exists(here + "/hold"):
    time.sleep(0.02)
if os.path.exists(here + "/fail"):
    sys.exit("it will not")
print(json.dumps({{"type": "assistant", "message": {{"model": "m", "content": []}}}}))
print(json.dumps({{**{result}, "result": str(len(said))}}))
"""
DEFINITION = """
[launch]
command = ["/bin/cat"]
[ask]
command = [{program}]
dialect = "claude"
model = ["--model", "{{model}}"]
"""


class StandIn:
    """A CLI of the user's own that can be asked."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.directory = crew.home / "standin"
        self.directory.mkdir()
        program = self.directory / "standin"
        program.write_text(STAND_IN.format(python=sys.executable, result=RESULT))
        program.chmod(0o755)
        agents = crew.home / ".config/crewmux/agents"
        agents.mkdir(parents=True)
        text = DEFINITION.format(program=json.dumps(str(program)))
        (agents / "standin.toml").write_text(text)

    @property
    def asked(self) -> list[tuple[int, str, list[str], str]]:
        """Each run: its pid, what it was asked, its arguments, where it ran."""
        try:
            lines = (self.directory / "asked").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]

    def prompts(self) -> list[str]:
        return [said for _, said, _, _ in self.asked]

    def blueprint(self, *warm: str) -> None:
        self.crew.blueprint(f"{AGENT}[ask]\nwarm = [{', '.join(warm)}]\n")

    def ask(self, *words: str, **more: Any) -> dict[str, Any]:
        """`crew ask`, as a person types it in the project."""
        ran = self.crew.run("ask", "--agent", "standin", "--json", *words, check=False, **more)
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    def is_on_disk(self, *words: str) -> bool:
        return bool(self.ask("--cached-only", *words)["outcome"] == "hit")

    def hold(self) -> Callable[[], None]:
        """It answers nobody until what this returns is called."""
        file = self.directory / "hold"
        file.touch()
        return file.unlink


@pytest.fixture
def standin(crew: Crew) -> StandIn:
    return StandIn(crew)


@pytest.fixture
def asking(standin: StandIn) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a `crew ask` in the project, and ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **more: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(CREW), "ask", "--agent", "standin", *words],
            cwd=standin.crew.cwd,
            env={**standin.crew.env, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def item(prompt: str, **more: object) -> str:
    """An entry of `warm`."""
    table = {"cli": "standin", "prompt": prompt, **more}
    return f"{{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in table.items())} }}"


def asks(crew: Crew, **numbers: float) -> Callable[[dict[str, Any]], bool]:
    """Whether a view tells these numbers."""
    return lambda view: {**view["asks"], **numbers} == view["asks"]


def replace_text(file: Path, text: str) -> None:
    """Give a file another content in one step: nobody reads an empty one in between."""
    half = file.with_suffix(".half")
    half.write_text(text)
    half.rename(file)


def counted(crew: Crew, numbers: dict[str, float]) -> None:
    """Wait until the view tells these numbers and no others: who asks has told of its end when it
    ends, but may not have been heard yet."""
    crew.wait(lambda view: view["asks"] == numbers, f"counted: {numbers}")


def test_a_question_is_answered_before_it_is_asked_and_again_after_an_edit(
    standin: StandIn,
) -> None:
    crew = standin.crew
    notes = crew.cwd / "notes.md"
    notes.write_text("one")
    standin.blueprint(item("What is in it?", input=["notes.md"]), item("Hello", model="big"))
    crew.up()
    words = ("--input", "notes.md", "What is in it?")
    wait_until(lambda: standin.is_on_disk(*words), "it is answered ahead")
    wait_until(lambda: standin.is_on_disk("--model", "big", "Hello"), "so is the other")
    first = standin.asked
    assert len(first) == 2
    assert ["--model", "big"] in [arguments for _, _, arguments, _ in first]
    # An edit makes another question of the first, and of no other.
    replace_text(notes, "two, and more")
    wait_until(lambda: standin.is_on_disk(*words), "it is answered anew")
    assert len(standin.prompts()) == 3
    assert "two, and more" in standin.prompts()[2]
    told = standin.ask(*words)
    assert told["outcome"] == "hit"
    assert told["text"] == str(len(standin.prompts()[2]))
    assert len(standin.prompts()) == 3
    # It is no edit of the team.
    assert crew.view()["edited"] == []


def test_a_file_that_is_made_later_and_replaced_is_noticed(standin: StandIn) -> None:
    crew = standin.crew
    standin.blueprint(item("Why?", input=["docs/late.md"]))
    crew.up()
    log = crew.state / "supervisor.log"
    wait_until(lambda: "was not asked ahead" in log.read_text(), "its file is not there")
    assert "docs/late.md" in log.read_text()
    (crew.cwd / "docs").mkdir()
    (crew.cwd / "docs" / "late.md").write_text("here")
    words = ("--input", "docs/late.md", "Why?")
    wait_until(lambda: standin.is_on_disk(*words), "it is asked once the file is there")
    other = crew.cwd / "docs" / "other"
    other.write_text("there")
    other.rename(crew.cwd / "docs" / "late.md")
    wait_until(lambda: standin.is_on_disk(*words), "it is asked again")


def test_a_commit_makes_another_question(standin: StandIn) -> None:
    crew = standin.crew

    def git(*words: str) -> None:
        named = (
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.org",
            "-c",
            "init.defaultBranch=m",
        )
        subprocess.run(
            ["git", *named, *words], cwd=crew.cwd, env=crew.env, check=True, capture_output=True
        )

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    standin.blueprint(item("What changed?", context="git"))
    git("add", "crew.toml")
    git("commit", "-m", "team")
    crew.up()
    words = ("--context", "git", "What changed?")
    wait_until(lambda: standin.is_on_disk(*words), "it is answered ahead")
    assert [cwd for _, _, _, cwd in standin.asked] == [str(crew.cwd)]
    git("commit", "--allow-empty", "-m", "second")
    wait_until(lambda: standin.is_on_disk(*words), "it is answered anew")


def test_what_is_asked_ends_with_the_session(standin: StandIn) -> None:
    crew = standin.crew
    standin.hold()
    standin.blueprint(item("Hm?"))
    crew.up()
    wait_until(lambda: standin.asked, "it is asked")
    crew("down")
    pid = standin.asked[0][0]
    wait_until(lambda: not alive(pid), "the CLI has ended")
    wait_until(lambda: not crew.processes(), "and whoever asked it")


def test_a_killed_supervisor_takes_its_questions_with_it_and_the_next_asks_them(
    standin: StandIn,
) -> None:
    if shutil.which("setpriv") is None:
        cannot("there is no setpriv of util-linux")
    crew = standin.crew
    release = standin.hold()
    standin.blueprint(item("Hm?"))
    crew.up()
    wait_until(lambda: standin.asked, "it is asked")
    end(crew.supervisor())
    pid = standin.asked[0][0]
    wait_until(lambda: not alive(pid), "the CLI has ended")
    release()
    crew.wait_status(a="ready")
    wait_until(lambda: standin.is_on_disk("Hm?"), "it is answered")
    known = len(standin.asked)
    # The next one asks too, and finds it on disk.

    def hits() -> int:
        found = json.loads(crew("cache", "stats", "--json").stdout)
        return int(found["outcomes"].get("hit", 0))

    before = hits()
    end(crew.supervisor())
    crew.wait_status(a="ready")
    wait_until(lambda: hits() > before, "it was asked once more")
    assert len(standin.asked) == known


def test_an_edited_blueprint_asks_what_is_new(standin: StandIn) -> None:
    crew = standin.crew
    standin.blueprint(item("One?"))
    crew.up()
    wait_until(lambda: standin.is_on_disk("One?"), "it is answered")
    standin.blueprint(item("One?"), item("Two?"))
    crew.up()
    wait_until(lambda: standin.is_on_disk("Two?"), "the new one is answered")
    assert len(standin.asked) == 2


def test_a_failure_is_a_line_of_the_log(standin: StandIn) -> None:
    crew = standin.crew
    (standin.directory / "fail").touch()
    standin.blueprint(item("Hm?"))
    crew.up()
    log = crew.state / "supervisor.log"
    wait_until(lambda: "standin was not asked ahead" in log.read_text(), "it is said")
    assert "it will not" in log.read_text()
    crew.wait(asks(crew, running=0, waiting=0, failed=1, done=1), "it is counted")


# -- what the session tells ------------------------------------------------------------------------


def test_a_session_counts_what_is_asked_in_its_directory(
    standin: StandIn, asking: Callable[..., "subprocess.Popen[str]"]
) -> None:
    crew = standin.crew
    crew.blueprint(AGENT)
    crew.up()
    crew.wait_status(a="ready")
    assert set(crew.view()["asks"].values()) == {0}
    release = standin.hold()
    first, second = asking("Long?"), asking("Long?")
    crew.wait(asks(crew, running=1, waiting=1, done=0), "one runs, the other waits for it")
    release()
    first.communicate(timeout=30)
    second.communicate(timeout=30)
    assert (first.returncode, second.returncode) == (0, 0)
    one = {"running": 0, "waiting": 0, "done": 2, "hits": 0, "joined": 1, "failed": 0}
    counted(crew, {**one, "saved_usd": 0.25})
    below = crew.cwd / "below"
    below.mkdir()
    assert standin.ask("Long?", cwd=below)["outcome"] == "hit"
    counted(crew, {**one, "done": 3, "hits": 1, "saved_usd": 0.5})
    # Elsewhere is not here, but where the session is named.
    assert standin.ask("Long?", cwd=crew.home)["outcome"] == "hit"
    assert standin.ask("Long?", cwd=crew.home, env={"CREW_SESSION": "t"})["outcome"] == "hit"
    counted(crew, {**one, "done": 4, "hits": 2, "saved_usd": 0.75})
    (standin.directory / "fail").touch()
    assert standin.ask("Other?")["outcome"] == "failed"
    last = {**one, "done": 5, "hits": 2, "failed": 1, "saved_usd": 0.75}
    counted(crew, last)
    assert json.loads(crew("status", "--json").stdout)["asks"] == last


def test_an_ask_that_is_killed_runs_no_more(
    standin: StandIn, asking: Callable[..., "subprocess.Popen[str]"]
) -> None:
    crew = standin.crew
    crew.blueprint(AGENT)
    crew.up()
    standin.hold()
    process = asking("Long?")
    crew.wait(asks(crew, running=1), "it runs")
    process.kill()
    crew.wait(asks(crew, running=0, waiting=0, done=0), "it is gone")


def test_an_agent_may_tell_what_it_asks(standin: StandIn) -> None:
    crew = standin.crew
    line = shlex.join([str(CREW), "ask", "--agent", "standin", "Who?"])
    crew.blueprint('[[agents]]\nname = "a"\ncli = "shell"\n')
    crew.up()
    crew.wait_status(a="ready")
    crew("send", "a", line)
    crew.wait(asks(crew, done=1, failed=0), "it is counted")


def test_nobody_waits_for_a_session_that_does_not_answer(standin: StandIn) -> None:
    crew = standin.crew
    crew.blueprint(AGENT)
    crew.up()
    standin.ask("Hm?")
    pid = crew.supervisor()
    with hanging(pid):
        took, _, said = timed(crew, "ask", "--agent", "standin", "--json", "Hm?")
        assert json.loads(said)["outcome"] == "hit"
        assert took < 20
    crew("down")
    assert standin.ask("Hm?")["outcome"] == "hit"
    assert not crew.processes(), "and none was started"


def test_what_is_known_ahead_saves_nothing(standin: StandIn) -> None:
    crew = standin.crew
    standin.ask("Hm?")
    standin.blueprint(item("Hm?"), item("New?"))
    crew.up()
    crew.wait(asks(crew, done=1, running=0, waiting=0), "the new one is counted")
    assert crew.view()["asks"]["hits"] == 0
    assert crew.view()["asks"]["saved_usd"] == 0


# -- the real CLI ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("claude_cli")
def test_claude_answers_ahead(crew: Crew, api: MessagesApi) -> None:
    crew.env |= environment(api, crew.home, crew.env["PATH"])
    prepare(crew.home, crew.cwd)
    notes: Path = crew.cwd / "notes.md"
    notes.write_text("one")
    crew.blueprint(f'{AGENT}[ask]\nwarm = [{{ prompt = "What?", input = ["notes.md"] }}]\n')
    crew.up()
    words = ("ask", "--cached-only", "--input", "notes.md", "What?")
    wait_until(lambda: crew(*words, check=False).returncode == 0, "it is answered ahead")
    notes.write_text("two")
    wait_until(lambda: crew(*words, check=False).returncode == 0, "it is answered anew")
