"""The demo agent as a supervisor sees it: hooks, status file, transcript, screen, input."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.core.dialects import HookFields, parse_hook
from tests.demo.conftest import Demo
from tests.support import alive, end, wait_until


def test_a_turn_is_told_by_every_source(demo: Demo) -> None:
    demo.start("--model", "small")
    demo.looks("ready")
    assert demo.transcript() == [], "no transcript before the first prompt"
    demo.send("[[tool Bash: echo one; echo two >&2]] and then [[say: done it]]")
    demo.sees("Worked for")
    demo.wait_status("idle")
    demo.wait_events("SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop")
    start, submit, before, after, stop = demo.hooks()
    assert start["source"] == "startup"
    assert submit["prompt"].startswith("[[tool Bash")
    assert (before["tool_name"], before["tool_input"]["command"]) == (
        "Bash",
        "echo one; echo two >&2",
    )
    assert after["tool_use_id"] == before["tool_use_id"]
    assert after["tool_response"]["stdout"] == "one\ntwo\n"
    assert (stop["last_assistant_message"], stop["background_tasks"]) == ("done it", [])
    for hook in demo.hooks():
        assert hook["session_id"] == demo.conversation
        assert hook["transcript_path"] == str(demo.transcript_file)
        assert hook["cwd"] == str(demo.cwd)
    lines = demo.transcript()
    assert [line["type"] for line in lines if line.get("subtype") != "step"] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "system",
    ]
    assert lines[-1]["subtype"] == "turn_duration"
    assert demo.look().draft == ""


def test_hooks_are_read_as_those_of_the_agent_cli_that_it_is_modelled_on(demo: Demo) -> None:
    demo.start()
    demo.send("[[ask-tool Bash: true]] [[ask: which?|a|b]] [[say: bye]]")
    demo.wait_status("waiting", "permission prompt")
    demo.keys("1")
    demo.wait_status("waiting", "input needed")
    demo.keys("2")
    demo.wait_status("idle")
    demo.keys("C-d")
    demo.gone()
    read: list[HookFields] = []
    for hook in demo.hooks():
        found = parse_hook("claude", hook["hook_event_name"], json.dumps(hook).encode())
        assert isinstance(found, HookFields), found
        read.append(found)
    asked = [f for f, e in zip(read, demo.events(), strict=True) if e == "PermissionRequest"]
    assert (asked[0].tool, asked[0].argument) == ("Bash", "true")
    assert (asked[1].question, asked[1].options) == ("which?", ("a", "b"))
    assert read[-2].text == "bye"
    assert read[-1].reason == "prompt_input_exit"


def test_files_are_private_whatever_the_umask_and_the_status_file_goes(demo: Demo) -> None:
    before = os.umask(0)
    try:
        demo.start()
        demo.send("[[say: hello]]")
        demo.sees("Worked for")
    finally:
        os.umask(before)
    status = demo.wait_status("idle")
    stat = Path(f"/proc/{demo.pid}/stat").read_text()
    assert status["procStart"] == stat.rpartition(")")[2].split()[19]
    assert (status["pid"], status["kind"], status["cwd"]) == (
        demo.pid,
        "interactive",
        str(demo.cwd),
    )
    assert status["startedAt"] <= status["statusUpdatedAt"] == status["updatedAt"]
    for path in [demo.config, *demo.config.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    demo.send("/exit")
    assert demo.exit_status() == "0"
    assert not demo.status_file.exists()


# -- dialogs ---------------------------------------------------------------------------------------


def test_a_permission_is_asked_and_answered_with_a_digit(demo: Demo) -> None:
    demo.start()
    demo.send("[[ask-tool Bash: echo it ran]] [[ask-tool Bash: echo again]]")
    demo.wait_status("waiting", "permission prompt")
    look = demo.looks("blocked")
    assert (look.status, look.ask) == ("blocked", "permission")
    assert [key for key, _ in look.options] == ["1", "2", "3"]
    assert [label for _, label in look.options] == ["Yes", "Yes, and don't ask again", "No"]
    assert "echo it ran" in look.text
    assert look.draft is None
    demo.keys("2")
    demo.sees("Worked for")
    assert demo.events().count("PermissionRequest") == 1, "it does not ask again"
    assert demo.screen("-S", "-").count("it ran") == 3


def test_text_and_enter_into_a_dialog_lose_the_text_and_take_what_is_marked(demo: Demo) -> None:
    demo.start()
    demo.send("[[ask-tool Bash: echo it ran]]")
    demo.wait_status("waiting", "permission prompt")
    demo.paste("no, rather not")
    demo.keys("Enter")
    demo.wait_status("idle")
    demo.sees("⎿  it ran")
    wait_until(lambda: demo.look().draft == "", "an empty input line")


@pytest.mark.parametrize("keys", [("3",), ("Down", "Down", "Down", "Enter"), ("Escape",)])
def test_a_refused_tool_ends_the_turn_without_a_hook(demo: Demo, keys: tuple[str, ...]) -> None:
    demo.start()
    demo.send("[[ask-tool Bash: echo it ran]] [[say: never]]")
    demo.wait_status("waiting", "permission prompt")
    demo.keys(*keys)
    demo.wait_status("idle")
    demo.sees("Interrupted · What should I do instead?")
    demo.send("[[say: next]]")
    demo.sees("● next")
    demo.wait_status("idle")
    assert demo.said() == ["next"]
    expected = ["SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest"]
    demo.wait_events(*expected, "UserPromptSubmit", "Stop")


@pytest.mark.parametrize("behavior", ["allow", "deny"])
def test_a_hook_can_answer_while_the_dialog_is_open(demo: Demo, behavior: str) -> None:
    gate = demo.home / "gate"
    decision = {"behavior": behavior, "message": "not today"}
    answer = json.dumps({"hookSpecificOutput": {"decision": decision}})
    demo.hook_command(
        f"while ! [ -e {gate} ]; do sleep 0.02; done; echo '{answer}'",
        "PermissionRequest",
        timeout=60,
    )
    demo.start()
    demo.send("[[ask-tool Bash: echo it ran]] [[say: went on]]")
    demo.wait_status("waiting", "permission prompt")
    demo.looks("blocked")
    gate.touch()
    demo.wait_status("idle")
    assert demo.said() == ["went on"]
    (result,) = [
        block
        for record in demo.transcript()
        if record["type"] == "user" and isinstance(record["message"]["content"], list)
        for block in record["message"]["content"]
    ]
    refused = behavior == "deny"
    assert (result["content"].strip(), result["is_error"]) == (
        "not today" if refused else "it ran",
        refused,
    )
    assert demo.events().count("PostToolUse") == (0 if refused else 1)


def test_a_mode_that_lets_everything_run_asks_nothing(demo: Demo) -> None:
    demo.start("--permission-mode", "bypass")
    demo.send("[[ask-tool Bash: echo it ran]]")
    demo.sees("Worked for")
    assert "PermissionRequest" not in demo.events()


def test_a_question_is_answered_by_arrows_or_declined(demo: Demo) -> None:
    demo.start()
    demo.send("[[ask: which colour?|red|blue|green]]")
    demo.wait_status("waiting", "input needed")
    look = demo.looks("blocked")
    assert (look.status, look.ask) == ("blocked", "question")
    assert look.options == (("1", "red"), ("2", "blue"), ("3", "green"))
    demo.keys("Down", "Down", "Up", "Enter")
    demo.wait_status("idle")
    assert demo.said() == ["blue"]
    demo.send("[[ask: again?|yes|no]]")
    demo.wait_status("waiting", "input needed")
    demo.keys("Escape")
    demo.wait_status("idle")
    assert demo.events().count("Stop") == 1


def test_a_tool_that_another_agent_asks_for_needs_permission(demo: Demo) -> None:
    demo.start()
    demo.send("[crew message 3 from other]\n[[tool Bash: echo it ran]]")
    demo.wait_status("waiting", "permission prompt")
    demo.keys("Escape")
    demo.wait_status("idle")


# -- turns -----------------------------------------------------------------------------------------


def test_escape_interrupts_and_ends_the_tool_that_runs(demo: Demo) -> None:
    pidfile = demo.home / "pid"
    demo.start()
    demo.send(f"[[tool Bash: echo $$ >{pidfile}; exec sleep 600]] [[say: never]]")
    pid = int(wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), "the tool"))
    demo.wait_status("busy")
    wait_until(lambda: demo.look().status == "working", "the spinner")
    demo.keys("Escape")
    demo.wait_status("idle")
    wait_until(lambda: not alive(pid), "the tool has ended")
    demo.sees("⎿  Interrupted · What should I do instead?")
    assert demo.transcript()[-1]["message"]["content"][0]["text"] == "[Request interrupted by user]"
    demo.wait_events("SessionStart", "UserPromptSubmit", "PreToolUse")


def test_escape_before_the_first_word_puts_the_prompt_back(demo: Demo) -> None:
    demo.start()
    demo.send("[[sleep 600]] [[say: never]]\nand more")
    wait_until(lambda: demo.look().status == "working", "the spinner")
    demo.keys("Escape")
    demo.wait_status("idle")
    wait_until(lambda: demo.look().draft == "[[sleep 600]] [[say: never]]", "the prompt is back")
    assert "Interrupted" not in demo.screen()
    demo.wait_events("SessionStart", "UserPromptSubmit")
    demo.keys("C-u")
    wait_until(lambda: demo.look().draft == "", "it can be cleared")
    demo.send("[[say: next]]")
    demo.sees("● next")
    assert demo.said() == ["next"]


def test_a_turn_is_just_interrupted_where_something_stands_in_the_input_line(demo: Demo) -> None:
    demo.start()
    demo.send("[[sleep 600]]")
    wait_until(lambda: demo.look().status == "working", "the spinner")
    demo.keys("-l", "my own")
    wait_until(lambda: demo.look().draft == "my own", "a draft")
    demo.keys("Escape")
    demo.sees("⎿  Interrupted · What should I do instead?")
    wait_until(lambda: demo.look().draft == "my own", "the draft stays")


def test_a_prompt_that_was_put_back_is_not_gone_on_with(demo: Demo) -> None:
    demo.start()
    demo.send("[[sleep 600]] [[say: never]]")
    demo.wait_status("busy")
    demo.keys("Escape")
    demo.wait_status("idle")
    end(demo.pid)
    demo.gone()
    demo.resume()
    demo.send("continue")
    demo.sees("There is nothing to go on with.")


def test_enter_behind_a_backslash_breaks_the_line(demo: Demo) -> None:
    demo.start()
    demo.send("a path\\")
    wait_until(lambda: demo.look().draft == "a path", "a draft of two lines")
    demo.send("of two\\ ")
    demo.wait_events("SessionStart", "UserPromptSubmit", "Stop")
    assert demo.hooks()[1]["prompt"] == "a path\nof two\\"


def test_prompts_that_come_while_it_works_wait_and_are_merged(demo: Demo) -> None:
    demo.start()
    demo.send("[[sleep 600]]")
    demo.wait_status("busy")
    demo.send("[[say: two]]")
    demo.send("[[say: three]]")
    demo.sees("⎿  Queued: [[say: three]]")
    demo.wait_events("SessionStart", *["UserPromptSubmit"] * 3)
    demo.keys("Escape")
    demo.wait_status("idle")
    demo.wait_events("SessionStart", *["UserPromptSubmit"] * 3, "Stop")
    assert demo.said() == ["two", "three"]
    prompts = [
        line["message"]["content"]
        for line in demo.transcript()
        if line["type"] == "user" and isinstance(line["message"]["content"], str)
    ]
    assert prompts == ["[[sleep 600]]", "[[say: two]]\n[[say: three]]"]


def test_a_limit_has_its_status_and_the_time_of_its_end(demo: Demo) -> None:
    demo.start()
    # Long enough to be seen on a busy machine as well.
    demo.send("[[limit 5]] [[say: on again]]")
    limited = demo.wait_status("limited")
    assert 0 < limited["until"] - limited["updatedAt"] / 1000 <= 5.1
    wait_until(lambda: (look := demo.look()).status == "limited" and look.seconds, "its screen")
    demo.wait_status("idle")
    assert demo.said() == ["on again"]


def test_what_it_does_not_understand_it_repeats(demo: Demo) -> None:
    demo.start()
    demo.send("x" * 70 + " [[sleep much]]")
    demo.sees("● heard: " + "x" * 60)
    demo.wait_status("idle")
    assert demo.said() == ["heard: " + "x" * 60]
