"""What a person writes for `crew ask`: the settings file, and a definition's [ask]."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import locations
from orchestrator.core.asks import AskSpec
from orchestrator.core.launch import fill
from orchestrator.core.oneshots import Answer, Failure, Piece, begin, ended, step
from orchestrator.definitions import load_definition
from orchestrator.errors import SpecError
from orchestrator.oneshot.settings import AskSettings, read
from tests.claude.api import MessagesApi
from tests.claude.fixtures import api as api  # fixtures
from tests.claude.fixtures import claude_cli as claude_cli
from tests.claude.home import environment, prepare
from tests.projects import PLAIN, write

# -- the settings file -----------------------------------------------------------------------------


def test_where_things_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locations.cache_root() == home / ".cache" / "crewmux"
    assert locations.ask_file() == home / ".config" / "crewmux" / "ask.toml"
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative is invalid")
    assert locations.cache_root() == Path("/c/crewmux")
    assert locations.ask_file() == home / ".config" / "crewmux" / "ask.toml"


def test_without_a_file_the_defaults_hold(home: Path) -> None:
    assert read(locations.ask_file()) == AskSettings()
    assert AskSettings() == AskSettings(
        parallel=None, queue=1000, entries=10_000, megabytes=256, ttl=None, warn_below=0.2
    )


def test_everything_that_can_be_set(home: Path) -> None:
    text = "parallel = 2\nqueue = 0\nentries = 5\nmegabytes = 1\nttl = 60\nwarn_below = 0\n"
    assert read(write(locations.ask_file(), text)) == AskSettings(
        parallel=2, queue=0, entries=5, megabytes=1, ttl=60.0, warn_below=0.0
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("paralel = 2", "paralel: there is no such key (did you mean 'parallel'?)"),
        ("parallel = true", "parallel: should be a whole number, not true or false"),
        ("parallel = 0", "parallel: should be 1 to 256"),
        ("parallel = 257", "parallel: should be 1 to 256"),
        ("queue = -1", "queue: should be 0 to 100,000"),
        ("entries = 0", "entries: should be 1 to 10,000,000"),
        ("megabytes = 0", "megabytes: should be 1 to 1,000,000"),
        ("ttl = 0", "ttl: should be more than 0 seconds"),
        ("ttl = nan", "ttl: should be more than 0 seconds"),
        ("ttl = inf", "ttl: should be more than 0 seconds"),
        ("ttl = '1h'", "ttl: should be a number, not text"),
        (
            "warn_below = 1.1",
            "warn_below: should be 0 to 1: it is the share of questions that were hits",
        ),
    ],
)
def test_each_mistake_in_the_settings(home: Path, text: str, sentence: str) -> None:
    file = write(locations.ask_file(), text)
    with pytest.raises(SpecError) as caught:
        read(file)
    assert str(caught.value) == f"{file}: {sentence}"


def test_a_file_that_is_there_is_never_passed_over(home: Path) -> None:
    file = locations.ask_file()
    file.parent.mkdir(parents=True)
    file.symlink_to("gone")
    with pytest.raises(SpecError, match="is a link to a file that is not there"):
        read(file)


def test_what_an_answer_from_the_cache_needs_imports_little() -> None:
    modules = ["core.questions", "core.oneshots", "core.breakers", "oneshot.inputs"]
    code = "import sys; from pathlib import Path; from orchestrator.oneshot import settings\n"
    code += "".join(f"import orchestrator.{name}\n" for name in modules)
    code += "settings.read(Path('/nonexistent/ask.toml'))\n"
    code += (
        "print(*sorted({'pydantic', 'asyncio', 'subprocess', 'tomllib', 'click'} & {*sys.modules}))"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_file_that_is_in_order_is_read_without_pydantic(home: Path) -> None:
    file = write(locations.ask_file(), "parallel = 2\nttl = 60\n")
    code = "import sys; from pathlib import Path; from orchestrator.oneshot import settings\n"
    code += f"print(settings.read(Path({str(file)!r})).ttl, 'pydantic' in sys.modules)\n"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "60.0 False\n"


# -- the [ask] table of a definition ---------------------------------------------------------------

ASK = PLAIN + "[ask]\ncommand = ['tool', '-p']\ndialect = 'claude'\n"


def test_what_may_be_left_out_of_it(home: Path) -> None:
    write(locations.config_root() / "agents" / "tool.toml", ASK)
    made = AskSpec(command=("tool", "-p"), dialect="claude", env={})
    assert load_definition("tool", None).ask == made
    assert (made.model, made.system, made.ttl) == ((), (), 86_400.0)
    write(locations.config_root() / "agents" / "plain.toml", PLAIN)
    assert load_definition("plain", None).ask is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            ASK.replace("'tool', '-p'", ""),
            "ask.command: is empty: its first word is the program to run",
        ),
        (ASK.replace("dialect = 'claude'", ""), "ask.dialect: is missing: add it"),
        (
            ASK.replace("-p", "{model}"),
            "ask.command[1]: there is no placeholder {model}: known here are {package}, {python}",
        ),
        (
            ASK + "model = ['-m', '{modle}']",
            "ask.model[1]: there is no placeholder {modle} (did you mean 'model'?)",
        ),
        (ASK + "model = ['-m']", "ask.model: has no placeholder {model}: add it"),
        (ASK + "system = ['-s']", "ask.system: has no placeholder {system}: add it"),
        (ASK + "ttl = 0", "ask.ttl: should be more than 0 seconds"),
        (ASK + "ttl = inf", "ask.ttl: should be more than 0 seconds"),
        (
            ASK + "env = {'A B' = '1'}",
            "ask.env.'A B': cannot be the name of a variable: use letters, digits and '_'",
        ),
    ],
)
def test_each_mistake_in_it(home: Path, text: str, sentence: str) -> None:
    file = write(locations.config_root() / "agents" / "tool.toml", text)
    with pytest.raises(SpecError) as caught:
        load_definition("tool", None)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ask.")


# -- the shipped one, with the real CLI ------------------------------------------------------------


class Claude:
    """The real CLI, as its definition says that it is asked."""

    def __init__(self, api: MessagesApi, home: Path) -> None:
        self.api = api
        self.home = home
        self.root = home / "empty"
        self.root.mkdir()
        prepare(home, self.root, trusted=False)
        spec = load_definition("claude", None).ask
        assert spec is not None
        self.spec = spec

    def ask(self, prompt: str, **values: str) -> tuple[Answer | Failure, list[str], list[Any]]:
        """What it answers, the pieces of it, and all that it printed."""
        parts = [
            part
            for name, part in (("model", self.spec.model), ("system", self.spec.system))
            if name in values
        ]
        argv = [*self.spec.command, *(fill(word, values) for part in parts for word in part)]
        done = subprocess.run(
            argv,
            input=prompt,
            env={**environment(self.api, self.home), **self.spec.env},
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        stream, pieces = begin(self.spec.dialect), []
        for line in done.stdout.splitlines():
            stream, said = step(stream, line)
            pieces += [said.text] if isinstance(said, Piece) else []
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        return ended(stream, done.returncode, done.stderr), pieces, printed


@pytest.fixture
def claude(claude_cli: None, api: MessagesApi, home: Path) -> Claude:
    return Claude(api, home)


def test_claude_answers_in_pieces(claude: Claude) -> None:
    found, pieces, printed = claude.ask(
        "[[say: one two three]] [[usage 1000 200 3000 400]]", model="opus", system="Be brief."
    )
    assert isinstance(found, Answer)
    assert found.text == "".join(pieces) == "one two three"
    assert len(pieces) > 1
    (request,) = claude.api.requests
    assert (found.model, found.conversation) == (request.model, request.conversation)
    assert (found.tokens.input, found.tokens.output) == (1000, 200)
    assert (found.tokens.cache_read, found.tokens.cache_write) == (3000, 400)
    assert found.cost_usd is not None
    assert not found.tools
    assert "opus" in request.model
    assert "Be brief." in request.system
    assert printed[0]["permissionMode"] == "default"
    # The conversation is not kept.
    assert not list(claude.home.rglob("*.jsonl"))


def test_claude_breaks_off_and_begins_again(claude: Claude) -> None:
    found, pieces, _ = claude.ask("[[midfail]] [[text 8 words]]")
    assert isinstance(found, Answer)
    assert "".join(pieces) == found.text == " ".join(f"word{n}" for n in range(8))


def test_claude_uses_a_tool(claude: Claude) -> None:
    found, pieces, _ = claude.ask("[[say: look]] [[tool Bash: touch x]] [[say: done]]")
    assert isinstance(found, Answer)
    assert (found.text, found.tools, pieces) == ("done", True, ["look", "\n\ndone"])
    assert not list(claude.root.iterdir())


def test_claude_fails(claude: Claude) -> None:
    found, pieces, printed = claude.ask("[[error 529]]")
    assert isinstance(found, Failure)
    assert (found.kind, found.status, found.retry, pieces) == ("overloaded", 529, True, [])
    assert [line["max_retries"] for line in printed if line.get("subtype") == "api_retry"] == [2, 2]
    refused, _, _ = claude.ask("[[error 401]]")
    assert isinstance(refused, Failure)
    assert (refused.status, refused.retry) == (401, False)
