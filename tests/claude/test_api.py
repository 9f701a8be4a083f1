"""The stand-in against the real CLI, and what its markers mean on the wire."""

import http.client
import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.claude import cli
from tests.claude.api import MessagesApi
from tests.claude.home import environment, prepare
from tests.claude.markers import BadMarker, Usage, parse

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(claude_cli: None, api: MessagesApi, home: Path) -> Ask:
    """`ask(prompt, argument...)`: what `claude -p` answers, as its result object."""
    root = home / "project"
    root.mkdir()
    prepare(home, root)

    def ask(prompt: str, *arguments: str, **env: str) -> dict[str, Any]:
        done = subprocess.run(
            ["claude", "-p", prompt, "--output-format", "json", *arguments],
            env={**environment(api, home), **env},
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        result: dict[str, Any] = json.loads(done.stdout or "{}")
        assert result, done.stderr
        return result

    return ask


# -- with the real CLI ---------------------------------------------------------------------------


def test_the_cli_is_the_pinned_one(claude_cli: None) -> None:
    said = subprocess.run([cli.CLAUDE, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == cli.PIN


def test_text_usage_and_what_is_remembered(ask: Ask, api: MessagesApi) -> None:
    result = ask("please [[say: one and\ntwo]] [[usage 1000 200 3000 400]]", "--model", "opus")
    assert result["result"] == "one and\ntwo"
    assert (result["is_error"], result["num_turns"]) == (False, 1)
    (usage,) = result["modelUsage"].values()
    told = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    assert [usage[name] for name in told] == [1000, 200, 3000, 400]
    (request,) = api.requests
    assert api.usage() == {request.model: Usage(1000, 200, 3000, 400)}
    assert request.conversation == result["session_id"]
    assert request.stream
    assert request.status == 200
    assert request.text == "one and\ntwo"
    assert "Bash" in request.tools
    assert "Claude Code" in request.system


def test_without_markers(ask: Ask) -> None:
    assert ask("what is  up")["result"] == "ok: what is up"


def test_tools_one_after_the_other(ask: Ask, api: MessagesApi, home: Path) -> None:
    one, two = home / "project/one", home / "project/two"
    one.write_text("first file")
    two.write_text("second file")
    result = ask(f"[[tool Read: {one}]] [[tool Read: {two}]] [[say: both read]]")
    assert result["result"] == "both read"
    assert [len(each.results) for each in api.requests] == [0, 1, 2]
    found = api.requests[-1].results
    assert ("first file" in found[0], "second file" in found[1]) == (True, True)


def test_tools_in_parallel(ask: Ask, api: MessagesApi, home: Path) -> None:
    file = home / "project/one"
    file.write_text("first file")
    call = f'[[tool Read {{"file_path": "{file}"}}]]'
    assert ask(f"[[parallel]] {call} [[say: after]] {call}")["result"] == "after"
    assert [len(each.results) for each in api.requests] == [0, 2]


def test_an_error_then_success(ask: Ask, api: MessagesApi) -> None:
    result = ask("[[error 529 x1]] [[say: at last]]")
    assert (result["result"], result["is_error"]) == ("at last", False)
    assert [each.status for each in api.requests] == [529, 200]
    assert api.prompts() == ("[[error 529 x1]] [[say: at last]]",)


def test_an_error_for_good(ask: Ask) -> None:
    result = ask("[[error 529]]", CLAUDE_CODE_MAX_RETRIES="1")
    assert (result["is_error"], result["api_error_status"]) == (True, 529)


@pytest.mark.parametrize("fault", ["midfail", "sseerror overloaded_error"])
def test_a_stream_that_breaks_once(ask: Ask, api: MessagesApi, fault: str) -> None:
    result = ask(f"[[{fault} x1]] [[text 20 words]]")
    assert result["result"].split()[-1] == "word19"
    first, *_, last = api.requests
    assert (first.status, first.usage, last.status) == (None, None, 200)


def test_hold_and_release(ask: Ask, api: MessagesApi) -> None:
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, "[[hold a]] [[say: part one]] [[hold b]] [[say: part two]]")
        for name in "ab":
            api.wait_held(name)
            assert not asked.done()
            assert api.requests[0].status is None
            api.release(name)
        assert asked.result()["result"] == "part one\npart two"
    assert api.wait_for(lambda request: request.status, "answered").text == "part one\npart two"


def test_nested_markers_reach_another(ask: Ask, api: MessagesApi) -> None:
    result = ask("[[tool Agent: help [[say: helped]]]] [[say: done]]")
    assert result["session_id"] == api.requests[0].conversation
    helped = api.wait_for(lambda request: request.text == "helped", "the sub-agent's answer")
    assert helped.newest == "help [[say: helped]]"
    # The notice of its end begins a turn that runs no prompt's markers again.
    assert [each.text for each in api.requests].count("done") == 1


def test_prompts_over_a_resumed_conversation(ask: Ask, api: MessagesApi) -> None:
    first = ask("go on [[say: 1]]")
    again = ask("go on [[say: 1]]", "--resume", first["session_id"])
    last = ask("and now", "--resume", first["session_id"])
    other = ask("elsewhere")
    assert (again["result"], last["result"]) == ("1", "ok: and now")
    expected = ("go on [[say: 1]]", "go on [[say: 1]]", "and now")
    assert api.prompts(first["session_id"]) == expected
    assert api.prompts() == (*expected, "elsewhere")
    assert other["session_id"] not in (first["session_id"], last["session_id"])


def test_a_killed_cli_lets_its_answer_go(claude_cli: None, api: MessagesApi, home: Path) -> None:
    root = home / "project"
    root.mkdir()
    prepare(home, root)
    process = subprocess.Popen(
        ["claude", "-p", "[[say: half]] [[hold never]]"],
        env=environment(api, home),
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        api.wait_held("never")
    finally:
        process.kill()
        process.wait()
    api.wait_let_go("never")
    assert api.requests[0].status is None


# -- on the wire ---------------------------------------------------------------------------------


@pytest.fixture
def post(api: MessagesApi) -> Iterator[Callable[..., tuple[int, str, str | None]]]:
    address = urlsplit(api.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)

    def post(*texts: str, role: str = "user", **more: object) -> tuple[int, str, str | None]:
        content = [{"type": "text", "text": text} for text in texts]
        body = {"model": "m", "messages": [{"role": role, "content": content}], **more}
        connection.request("POST", "/v1/messages?beta=true", json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("retry-after")

    yield post
    connection.close()


Post = Callable[..., tuple[int, str, str | None]]


def test_refused_and_answered_on_one_connection(post: Post, api: MessagesApi) -> None:
    status, text, retry = post("[[error 429 x1]] [[retry-after 7]]")
    assert (status, json.loads(text)["error"]["type"], retry) == (429, "rate_limit_error", "7")
    status, text, retry = post("[[error 429 x1]] [[retry-after 7]]")
    assert (status, json.loads(text)["content"], retry) == (
        200,
        [{"type": "text", "text": "ok"}],
        None,
    )
    assert [each.status for each in api.requests] == [429, 200]


def test_a_stream_has_the_events_of_the_real_one(post: Post) -> None:
    _, text, _ = post("[[think 2]] [[say: a b]] [[tool Read: /f]]", stream=True)
    names = [line.removeprefix("event: ") for line in text.splitlines() if "event: " in line]
    start, stop = ["content_block_start"], ["content_block_stop"]
    assert names == [
        "message_start",
        *start,
        "content_block_delta",
        "content_block_delta",
        *stop,
        *start,
        "content_block_delta",
        "content_block_delta",
        *stop,
        *start,
        "content_block_delta",
        *stop,
        "message_delta",
        "message_stop",
    ]


def test_the_newest_prompt_among_what_the_cli_adds(post: Post, api: MessagesApi) -> None:
    reminder = "<system-reminder>\n[[say: no]]\n</system-reminder>"
    queued = (
        "The user sent a new message while you were working:\n[[say: queued]]\n\n"
        "This is how Claude Code surfaces messages the user sends mid-turn."
    )
    for texts, answer in (
        ((reminder, "[[say: yes]]"), "yes"),
        ((f"{reminder}\n[[say: yes]]", reminder), "yes"),
        (("[[say: old]]", "[Request interrupted by user]\n", "new"), "ok: new"),
        (("[[say: old]]\n", "[[say: new]]"), "new"),
        (("[[say: old]]", f"<system-reminder>\n{queued}\n</system-reminder>"), "queued"),
        (("[[say: old]]", queued), "queued"),
        (("[[say: old]]", "<task-notification>[[say: no]]</task-notification>"), "ok"),
    ):
        _, text, _ = post(*texts)
        assert json.loads(text)["content"][0]["text"] == answer, texts
    assert api.requests[2].prompts == ("[[say: old]]", "new")
    assert api.requests[4].prompts == ("[[say: old]]", "[[say: queued]]")


def test_a_bad_marker_is_refused_by_name(post: Post) -> None:
    status, text, _ = post("[[no such]]")
    assert (status, json.loads(text)["error"]["message"]) == (400, "[[no such]]: no such marker")
    for text in ("[[usage x]]", "[[tool Read {no}]]", "[[sleep]]", "[[error soon]]"):
        with pytest.raises(BadMarker):
            parse(text)


def test_a_question_with_its_options() -> None:
    (call,) = parse("[[ask: Which way?|left|right]]").answer(0)
    assert call.tool == "AskUserQuestion"  # type: ignore[union-attr]  # it is a call
    (asked,) = call.input["questions"]  # type: ignore[union-attr]
    assert asked["question"] == "Which way?"
    assert [option["label"] for option in asked["options"]] == ["left", "right"]


def test_closing_ends_what_is_held(post: Post, api: MessagesApi) -> None:
    with ThreadPoolExecutor() as pool:
        held = pool.submit(post, "[[hold for ever]]")
        api.wait_held("for ever")
        api.close()
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            held.result()
