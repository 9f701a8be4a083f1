"""How the demo agent ends, comes back, refuses to start, and what must not disturb it."""

import os
import signal
import subprocess
import uuid

import pytest

from tests.demo.conftest import Demo, argv
from tests.support import alive, end, wait_until

TURN = ["SessionStart", "UserPromptSubmit", "Stop"]


# -- crashes and endings ---------------------------------------------------------------------------


def test_after_a_crash_it_resumes_idle_and_continues_when_told(demo: Demo) -> None:
    demo.start()
    demo.send("[[say: first]] [[crash KILL]] [[say: second]]")
    assert demo.exit_status() == "signal 9"
    assert demo.status()["status"] == "busy", "a killed process leaves its status file as it was"
    demo.resume()
    demo.sees("● first")
    assert demo.said() == ["first"]
    assert demo.hooks()[-1]["source"] == "resume"
    demo.send("continue")
    demo.sees("● second")
    demo.wait_status("idle")
    assert demo.said() == ["first", "second"], "what was done is not done again"
    demo.send("continue")
    demo.sees("There is nothing to go on with.")


def test_a_turn_that_is_cut_twice_goes_on(demo: Demo) -> None:
    demo.start()
    demo.send("[[say: one]] [[sleep 600]] [[say: two]]")
    wait_until(lambda: demo.said() == ["one"], "the first step")
    end(demo.pid)
    demo.gone()
    demo.resume()
    demo.send("continue")
    demo.wait_status("busy")
    end(demo.pid)
    demo.gone()
    text = demo.transcript_file.read_text().replace("[[sleep 600]]", "[[sleep 0.1]]")
    demo.transcript_file.write_text(text + '{"type": "user", "mess')
    demo.resume()
    demo.send("continue")
    wait_until(lambda: "two" in demo.transcript_file.read_text().split("continue")[-1], "the rest")
    demo.wait_status("idle")


def test_a_prompt_that_waited_when_it_was_killed_is_lost(demo: Demo) -> None:
    """As with the Claude CLI: whoever sent it has to know."""
    demo.start()
    demo.send("[[sleep 600]]")
    demo.wait_status("busy")
    demo.send("[[say: waited]]")
    demo.sees("Queued")
    end(demo.pid)
    demo.gone()
    demo.resume()
    demo.looks("ready")
    assert "Queued" not in demo.screen()
    demo.send("[[say: now]]")
    wait_until(demo.said, "an answer")
    demo.wait_status("idle")
    assert demo.said() == ["now"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, "143"), (signal.SIGHUP, "129"), (signal.SIGINT, "0")]
)
def test_signals_end_it_cleanly(demo: Demo, number: signal.Signals, status: str) -> None:
    demo.start()
    demo.send("[[sleep 600]]")
    demo.wait_status("busy")
    os.kill(demo.pid, number)
    assert demo.exit_status() == status
    assert not demo.status_file.exists()
    assert demo.hooks()[-1]["hook_event_name"] == "SessionEnd"
    assert demo.hooks()[-1]["reason"] == "other"


def test_ctrl_c_clears_then_warns_then_ends(demo: Demo) -> None:
    demo.start()
    demo.keys("-l", "a draft")
    wait_until(lambda: demo.look().draft == "a draft", "the draft")
    demo.keys("C-c")
    wait_until(lambda: demo.look().draft == "", "no draft")
    demo.keys("C-c")
    demo.sees("Press Ctrl-C again to exit")
    demo.looks("ready")
    demo.keys("C-c")
    assert demo.exit_status() == "0"
    assert demo.hooks()[-1]["reason"] == "prompt_input_exit"
    assert "❯" not in demo.screen(), "the line is clean"


def test_a_scripted_exit(demo: Demo) -> None:
    demo.start()
    demo.send("[[exit 7]]")
    assert demo.exit_status() == "7"
    assert not demo.status_file.exists()


def test_without_a_terminal_it_lives_on_if_told_to(demo: Demo) -> None:
    demo.start("--ignore-hup")
    demo.send("[[sleep 600]]")
    demo.wait_status("busy")
    server = int(demo.tmux("display-message", "-p", "#{pid}"))
    demo.tmux("kill-server")
    wait_until(lambda: not alive(server), "the server is gone")
    assert alive(demo.pid)
    os.kill(demo.pid, signal.SIGTERM)
    demo.gone()
    wait_until(lambda: not demo.status_file.exists(), "its status file is gone")


def test_clear_begins_a_new_conversation(demo: Demo) -> None:
    demo.start()
    demo.send("[[say: old]]")
    demo.sees("● old")
    # Idle again, not still: a command is taken between turns alone.
    demo.wait_status("idle")
    demo.send("/clear")
    status = wait_until(
        lambda: (
            (found := demo.status()).get("sessionId") not in (None, demo.conversation) and found
        ),
        "another conversation",
    )
    assert isinstance(status, dict)
    # Its hook is told behind it.
    wait_until(lambda: demo.hooks()[-1].get("source") == "clear", "the hook")
    assert [
        (h["hook_event_name"], h.get("reason"), h.get("source")) for h in demo.hooks()[-2:]
    ] == [
        ("SessionEnd", "clear", None),
        ("SessionStart", None, "clear"),
    ]
    demo.send("[[say: new]]")
    demo.sees("● new")
    demo.conversation = status["sessionId"]
    wait_until(lambda: demo.said() == ["new"], "a transcript of its own")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--resume", "00000000-0000-4000-8000-000000000000"],
            "No conversation found with session ID: 00000000-0000-4000-8000-000000000000",
        ),
        (["--session-id", "me"], "Error: Invalid session ID. Must be a valid UUID."),
        (["--settings", "nowhere.json"], "Error: Settings file not found: nowhere.json"),
        (["--permission-mode", "loose"], "Error: argument --permission-mode: invalid choice"),
        (["--no-such-option"], "Error: unrecognized arguments: --no-such-option"),
        ([], "Error: the demo agent needs a terminal."),
    ],
)
def test_what_it_refuses_to_start_with(demo: Demo, arguments: list[str], line: str) -> None:
    done = subprocess.run(
        argv(*arguments),
        env={**os.environ, **demo.env},
        cwd=demo.cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(line)


def test_a_conversation_is_begun_once(demo: Demo) -> None:
    demo.start()
    demo.send("[[say: hello]]")
    demo.sees("Worked for")
    demo.launch("--session-id", demo.conversation)
    assert demo.exit_status() == "1"
    demo.sees(f"Error: Session ID {demo.conversation} is already in use.")


def test_it_can_be_told_to_fail_at_its_start(demo: Demo) -> None:
    demo.launch("--session-id", str(uuid.uuid4()), "--exit-at-start", "3")
    assert demo.exit_status() == "3"


# -- what must not disturb it ----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["/no/such/hook", "exit 2", "kill -9 $$", "echo '{\"half'"])
def test_a_hook_that_fails_does_not_disturb(demo: Demo, command: str) -> None:
    demo.hook_command(command)
    demo.start()
    demo.send("[[ask-tool Bash: true]] [[say: all well]]")
    demo.wait_status("waiting", "permission prompt")
    demo.keys("1")
    demo.wait_status("idle")
    assert demo.said() == ["all well"]


def test_a_hook_that_hangs_is_killed_when_its_time_is_over(demo: Demo) -> None:
    demo.start()
    demo.hook_command("exec sleep 600", "UserPromptSubmit", timeout=0.2)
    demo.keys("C-d")
    demo.gone()
    demo.start()
    demo.send("[[say: at last]]")
    demo.wait_status("idle")
    wait_until(lambda: demo.said() == ["at last"], "the turn")


def test_files_that_cannot_be_written_are_told_of_and_stop_nothing(demo: Demo) -> None:
    demo.config.write_text("a file, where a directory should be")
    demo.launch("--session-id", demo.conversation)
    demo.sees("? for shortcuts")
    demo.send("[[say: still here]]")
    demo.sees("● still here")
    demo.sees("! cannot write")
    demo.wait_events(*TURN)
