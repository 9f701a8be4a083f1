"""`crew ask` with the real CLI, whose answers come from a stand-in for the API."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.claude.api import MessagesApi
from tests.claude.home import environment, prepare
from tests.end_to_end.conftest import CREW
from tests.support import end, wait_until

OPUS = "claude-opus-5-5"
# USD per million tokens, as the CLI has them.
PRICES = {"input": 4, "output": 20, "cache_read": 0.2, "cache_write": 5}
DEADLINE = 100.0


class Asker:
    """A person who has used the CLI before, and asks it single questions."""

    def __init__(self, home: Path, api: MessagesApi) -> None:
        prepare(home, home)
        self.home = home
        self.api = api
        # Who tries again is then crew alone.
        self.env = {**environment(api, home), "CLAUDE_CODE_MAX_RETRIES": "0"}
        for name in ("CREW_TEST_RUN", "COVERAGE_PROCESS_START"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def told(
        self, *arguments: str, status: int = 0, env: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What `crew ask --json` prints."""
        done = subprocess.run(
            [CREW, "ask", "--json", *arguments],
            env={**self.env, **(env or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @property
    def asked(self) -> int:
        """How often the API was asked for an answer to a prompt."""
        return sum(bool(request.newest) for request in self.api.requests)


@pytest.fixture
def asker(claude_cli: None, home: Path, api: MessagesApi) -> Asker:
    return Asker(home, api)


def test_the_answer_comes_as_it_is_said(asker: Asker) -> None:
    output = asker.home / "output"
    with output.open("wb") as file:
        asking = subprocess.Popen(
            [CREW, "ask", "[[say: Two and two]][[hold there]][[say: is four.]]"],
            env=asker.env,
            cwd=asker.home,
            stdin=subprocess.DEVNULL,
            stdout=file,
        )
    try:
        asker.api.wait_held("there", DEADLINE)
        wait_until(lambda: "Two and two" in output.read_text(), "the first words", DEADLINE)
        assert "four" not in output.read_text()
        assert asking.poll() is None
        asker.api.release("there")
        assert asking.wait(DEADLINE) == 0
    finally:
        end(asking.pid)
        asking.wait()
    assert output.read_text() == "Two and two\nis four.\n"


def test_what_it_tells_of_a_run_is_what_was_reported(asker: Asker) -> None:
    question = ("What is it?[[usage 1000 200 3000 400]]", "--model", OPUS, "--system", "Be brief.")
    told = asker.told(*question)
    (request,) = (each for each in asker.api.requests if each.newest)
    assert (told["outcome"], told["text"]) == ("ran", request.text)
    assert (told["model"], told["conversation"]) == (OPUS, request.conversation)
    assert "Be brief." in request.system
    used = asker.api.usage()[OPUS]
    assert told["usage"] == {kind: getattr(used, kind) for kind in PRICES}
    assert told["usage"]["cache_read"] == 3000
    cost = sum(told["usage"][kind] * price / 1_000_000 for kind, price in PRICES.items())
    assert told["cost_usd"] == pytest.approx(cost)
    assert (told["tools"], told["cut"], told["tries"]) == (False, False, 1)
    again = asker.told(*question)
    assert (again["outcome"], again["text"]) == ("hit", told["text"])
    assert [again[kind] for kind in ("usage", "cost_usd", "conversation", "model")] == [
        told[kind] for kind in ("usage", "cost_usd", "conversation", "model")
    ]
    assert asker.asked == 1


@pytest.mark.parametrize(
    ("marker", "kind", "http"),
    [
        ("error 529", "overloaded", 529),
        ("error 500", "api", 500),
        ("midfail]][[slow 1", "cut", None),
    ],
)
def test_it_is_tried_again_and_told(asker: Asker, marker: str, kind: str, http: int | None) -> None:
    told = asker.told(
        f"[[{marker}]][[text 20 words]]",
        status=1,
        env={"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1"},
    )
    assert (told["outcome"], told["text"], told["tries"]) == ("failed", None, 3)
    assert (told["error"]["kind"], told["error"]["status"]) == (kind, http)
    assert told["error"]["sentence"]
    assert asker.asked == 3


def test_a_stream_that_was_cut_and_asked_for_again_by_the_cli(asker: Asker) -> None:
    """It asks for the whole answer at once: nothing of it is missing, or there twice."""
    question = "[[midfail]][[text 20 words]]"
    words = " ".join(f"word{number}" for number in range(20))
    done = subprocess.run(
        [CREW, "ask", question], env=asker.env, cwd=asker.home, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=DEADLINE, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{words}\n", "")
    told = asker.told(question)
    assert (told["outcome"], told["text"]) == ("hit", words)


def test_the_clis_own_tries_come_first(asker: Asker) -> None:
    told = asker.told("[[error 529 x1]]", env={"CLAUDE_CODE_MAX_RETRIES": "1"})
    assert (told["outcome"], told["tries"]) == ("ran", 1)
    assert asker.asked == 2


def test_an_answer_for_which_a_tool_was_used_is_not_kept(asker: Asker) -> None:
    """And a file that the CLI attaches by itself is no part of what is kept."""
    (asker.home / "notes.txt").write_text("the content of the notes")
    for question, tools in (("[[tool Bash: true]]", True), ("and @~/notes.txt", False)):
        for _ in range(2):
            told = asker.told(question)
            assert (told["outcome"], told["tools"]) == ("ran", tools)
    (*_, last) = asker.api.requests
    assert "the content of the notes" in json.dumps(last.messages)
