"""Events in plain words: a sentence for each kind, whatever an agent wrote."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.events import AnyEvent
from orchestrator.core.text import safe_text, width
from orchestrator.verbs import journal
from tests.cli_support import NOW

PROCESS = {"pid": 42, "start": 7, "boot": "b"}
TOLD: list[tuple[dict[str, Any], str]] = [
    (
        {"kind": "up_requested", "team": {"agents": [{"name": "a"}, {"name": "b"}]}},
        "a person launches the team: a, b",
    ),
    ({"kind": "down_requested"}, "a person ends the session"),
    ({"kind": "restore_requested"}, "a person restores the session"),
    (
        {"kind": "send_requested", "sender": "person", "text": "do\n this"},
        "is sent a message by person: do this",
    ),
    ({"kind": "answer_requested", "choice": "yes", "asked": "?"}, "is to be answered: yes"),
    (
        {"kind": "answer_requested", "choice": "no", "reason": "not now"},
        "is to be answered: no, because: not now",
    ),
    ({"kind": "interrupt_requested"}, "is to be interrupted"),
    ({"kind": "restart_requested"}, "is to be restarted"),
    ({"kind": "stop_requested"}, "is to be stopped"),
    (
        {
            "kind": "recovered",
            "boot": "b",
            "epoch": 3,
            "supervisor": 123,
            "server": PROCESS,
            "panes": [{}],
            "jitter": 0.5,
        },
        "the supervisor took over (pid 123)",
    ),
    ({"kind": "server_started", "server": PROCESS}, "tmux server started (pid 42)"),
    ({"kind": "server_failed", "reason": "no tmux"}, "tmux server could not be started: no tmux"),
    ({"kind": "server_lost", "reason": ""}, "tmux server lost"),
    (
        {"kind": "panes_seen", "audit": True, "panes": [{}, {}], "jitter": 0.5},
        "the audit looked at the panes: there are 2",
    ),
    (
        {"kind": "agent_spawned", "process": PROCESS, "resumed": False, "pane": "%1"},
        "launched (pid 42)",
    ),
    (
        {"kind": "agent_spawned", "process": PROCESS, "resumed": True},
        "launched with its conversation (pid 42)",
    ),
    (
        {"kind": "spawn_failed", "reason": "no such program", "jitter": 0.5},
        "could not be launched: no such program",
    ),
    ({"kind": "process_exited", "code": 3, "known": True, "jitter": 0.5}, "exit status 3"),
    (
        {"kind": "process_exited", "signal": 9, "known": True, "pane_gone": True},
        "killed by signal 9; its pane was closed",
    ),
    ({"kind": "process_exited", "known": False}, "ended"),
    (
        {"kind": "hook_received", "hook": "SessionStart", "reason": "resume"},
        "its conversation begins (resume)",
    ),
    (
        {"kind": "hook_received", "hook": "SessionEnd", "reason": "clear"},
        "its conversation ends (clear)",
    ),
    ({"kind": "hook_received", "hook": "UserPromptSubmit", "text": "count"}, "takes up: count"),
    (
        {"kind": "hook_received", "hook": "PreToolUse", "tool": "Bash", "argument": "ls"},
        "runs Bash: ls",
    ),
    (
        {"kind": "hook_received", "hook": "PreToolUse", "tool": "Read", "argument": "/x"},
        "uses Read: /x",
    ),
    ({"kind": "hook_received", "hook": "PostToolUse", "tool": "Read"}, "Read is done"),
    ({"kind": "hook_received", "hook": "PostToolBatch"}, "its tools are done"),
    ({"kind": "hook_received", "hook": "PostToolUseFailure", "tool": "Read"}, "Read failed"),
    (
        {"kind": "hook_received", "hook": "PermissionRequest", "tool": "Bash", "argument": "ls"},
        "asks to run Bash: ls",
    ),
    (
        {"kind": "hook_received", "hook": "PermissionRequest", "tool": "Read", "argument": "/x"},
        "asks to Read /x",
    ),
    (
        {"kind": "hook_received", "hook": "PermissionRequest", "tool": "WebFetch"},
        "asks to use WebFetch",
    ),
    (
        {
            "kind": "hook_received",
            "hook": "PermissionRequest",
            "tool": "AskUserQuestion",
            "question": "which?",
        },
        "asks: which?",
    ),
    (
        {"kind": "hook_received", "hook": "PermissionDenied", "tool": "Bash", "argument": "ls"},
        "may not run Bash: ls",
    ),
    ({"kind": "hook_received", "hook": "Stop", "text": "All is\ndone."}, "ready: All is done."),
    ({"kind": "hook_received", "hook": "Stop", "background": 2}, "goes on in the background (2)"),
    (
        {"kind": "hook_received", "hook": "Stop", "subagent": "s", "text": "Found it."},
        "its sub-agent: ready: Found it.",
    ),
    (
        {"kind": "hook_received", "hook": "StopFailure", "reason": "rate_limit"},
        "its turn failed: rate_limit",
    ),
    ({"kind": "hook_received", "hook": "Notification", "text": "hello"}, "notice: hello"),
    ({"kind": "hook_received", "hook": "PreCompact"}, "compacts its conversation"),
    ({"kind": "hook_received", "hook": "MessageDisplay", "text": "so"}, "says: so"),
    ({"kind": "hook_received", "hook": "Unheard", "text": "of"}, "Unheard: of"),
    (
        {"kind": "status_file_seen", "status": "blocked", "raw": "waiting", "waiting_for": "input"},
        "is blocked, by its status file: input",
    ),
    (
        {"kind": "transcript_seen", "prompts": ["a"], "last_words": "b", "tokens": {}},
        "has taken up: a; said: b",
    ),
    (
        {"kind": "transcript_seen", "tokens": {"m": {"input": 1, "output": 2}, "n": {"input": 4}}},
        "its transcript has more (7 tokens)",
    ),
    (
        {"kind": "status_line_seen", "conversation": "c", "cost_usd": 0.25},
        "its conversation has cost $0.2500, says its status line",
    ),
    ({"kind": "screen_seen", "status": None, "text": ""}, "its screen shows nothing that is known"),
    (
        {"kind": "screen_seen", "status": "blocked", "text": "Run it?", "options": [["1", "Yes"]]},
        "its screen shows blocked: Run it?",
    ),
    ({"kind": "status_file_gone"}, "its status file is gone"),
    ({"kind": "terminal_seen", "quiet_since": 5.0}, "nothing moves any more"),
    ({"kind": "terminal_seen", "quiet_since": None}, "it moves again"),
    ({"kind": "message_typed", "number": 5}, "message 5 typed"),
    (
        {"kind": "message_held", "number": 5, "reason": "a dialog is open"},
        "message 5 waits: a dialog is open",
    ),
    ({"kind": "message_judged", "number": 5, "verdict": "taken"}, "message 5 was delivered"),
    ({"kind": "message_judged", "number": 5, "verdict": "absent"}, "message 5 was lost on its way"),
    ({"kind": "answer_given", "choice": "1"}, "answered: 1"),
    ({"kind": "answer_given", "choice": "1", "label": "Yes"}, "answered: Yes"),
    ({"kind": "answer_given", "choice": "1", "refused": "too late"}, "was not answered: too late"),
    ({"kind": "interrupt_sent", "refused": None}, "interrupted"),
    (
        {"kind": "effect_failed", "effect": "type_message", "reason": "no pane"},
        "type message failed: no pane",
    ),
    (
        {"kind": "deadline_passed", "name": "restart:a", "due": 9.5, "jitter": 0.5},
        "it is time for restart:a",
    ),
    ({"kind": "files_edited", "files": ["/a", "/b"]}, "edited: /a, /b"),
    (
        {"kind": "source_doubted", "doubted": "hook", "reason": "overflow"},
        "something of hook may have been missed: overflow",
    ),
    ({"kind": "events_missed", "count": 2}, "2 change(s) were noticed late, by the audit"),
    (
        {"kind": "of_the_future", "seq": 3, "at": 1.0, "size": 3, "empty": []},
        "of the future  size=3",
    ),
]


@pytest.mark.parametrize(("event", "text"), TOLD, ids=[text for _, text in TOLD])
def test_each_kind_in_plain_words(event: dict[str, Any], text: str) -> None:
    assert journal.told(event) == text


def test_no_kind_is_forgotten() -> None:
    assert {event["kind"] for event, _ in TOLD} == {*journal.KINDS, "of_the_future"}
    assert len(journal.KINDS) == len(get_args(AnyEvent))


TEXTS = st.text(max_size=400) | st.none()


@given(
    st.sampled_from([*journal.KINDS, "unheard"]),
    st.fixed_dictionaries(dict.fromkeys(("hook", "tool", "argument", "text", "reason"), TEXTS)),
    st.sampled_from([20, 80, 200]),
)
def test_whatever_an_agent_wrote_is_one_line_that_fits(
    kind: str, fields: dict[str, Any], columns: int
) -> None:
    event = {"seq": 1, "at": NOW, "kind": kind, "agent": "boss", "source": "hook", **fields}
    line = journal.event_line(event, columns, NOW)
    assert width(line) <= columns
    assert safe_text(line) == line
    assert "\n" not in line
