"""What the demo agent draws, and how the shipped definition reads it.

The recorded screens below `tests/screens/demo/` were taken from the agent as it is.
"""

import os
import pty
from pathlib import Path

import pytest

from orchestrator.core.screen import Look, read
from orchestrator.demo.screen import Screen
from orchestrator.demo.view import Picture, View
from tests.demo.conftest import Demo, screen_spec
from tests.support import wait_until

SCREENS = Path(__file__).parents[1] / "screens" / "demo"
LOOKS = {
    "starting": Look(draft=""),
    "idle": Look(status="ready", draft=""),
    "after-a-turn": Look(status="ready", draft=""),
    "draft": Look(status="ready", draft="1. Yes, a draft"),
    "leaving": Look(status="ready", draft=""),
    "working": Look(status="working", draft=""),
    "queued": Look(status="working", draft="typed meanwhile"),
    "narrow": Look(status="working", draft=""),
    "limited": Look(status="limited", seconds=30.0, draft=""),
    "interrupted": Look(status="ready", draft=""),
    "permission": Look(
        status="blocked",
        ask="permission",
        text="Bash command\nls -l\nDo you want to proceed?",
        options=(("1", "Yes"), ("2", "Yes, and don't ask again"), ("3", "No")),
    ),
    "question": Look(
        status="blocked",
        ask="question",
        text="☐ Choice\nwhich one?",
        options=(("1", "red"), ("2", "blue")),
    ),
}


@pytest.mark.parametrize("name", LOOKS)
def test_recorded_screens_are_read_as_what_they_show(name: str) -> None:
    lines = (SCREENS / f"{name}.txt").read_text("utf-8").split("\n")
    assert read(lines, screen_spec()) == LOOKS[name]


def test_every_recorded_screen_is_known() -> None:
    assert {path.stem for path in SCREENS.glob("*.txt")} == set(LOOKS)


def test_the_screens_of_today_are_read_the_same(demo: Demo) -> None:
    """The recorded screens again, from the agent that runs now."""
    demo.launch("--session-id", demo.conversation, rows=24)
    demo.wait_status("idle")

    def shows(name: str) -> None:
        wait_until(lambda: demo.look() == LOOKS[name], f"{name}: {demo.look()}")

    shows("idle")
    demo.keys("-l", "1. Yes, a draft")
    shows("draft")
    demo.keys("C-u")
    demo.keys("C-c")
    shows("leaving")
    demo.send("[[ask-tool Bash: ls -l]] [[ask: which one?|red|blue]] [[sleep 600]]")
    shows("permission")
    demo.keys("1")
    shows("question")
    demo.keys("2")
    shows("working")
    demo.send("[[say: one]] [[limit 600]]")
    demo.keys("-l", "typed meanwhile")
    shows("queued")
    demo.keys("C-u")
    demo.tmux("resize-window", "-x", "24", "-y", "12")
    shows("narrow")
    demo.keys("Escape")
    demo.wait_status("limited")
    wait_until(lambda: demo.look().status == "limited", "limited, narrow")
    demo.tmux("resize-window", "-x", "90", "-y", "24")
    wait_until(lambda: (look := demo.look()).status == "limited" and look.seconds, "limited")
    demo.keys("Escape")
    shows("interrupted")


def test_it_redraws_at_a_new_size(demo: Demo) -> None:
    demo.start(columns=100, rows=30)
    demo.keys("-l", "draft with 宽 wide 字 characters that goes on and on over the edge of a row")
    for columns, rows in ((60, 20), (33, 20), (20, 20), (80, 20), (50, 10)):
        demo.tmux("resize-window", "-x", str(columns), "-y", str(rows))

        def fits(columns: int = columns) -> bool:
            lines = demo.screen().rstrip("\n").split("\n")
            rows_with = [sum(mark in line for line in lines) for mark in ("❯", "──", "? f")]
            return rows_with == [1, 2, 1] and "─" * (columns - 1) in lines

        wait_until(fits, f"each of the live rows once, as wide as {columns}x{rows}")
    demo.keys("C-u")
    wait_until(lambda: demo.look() == LOOKS["idle"], "an empty input line")


def test_a_new_size_in_the_middle_of_a_drawing_is_drawn_too() -> None:
    """A signal may come between any two steps: it asks for one more drawing."""
    controller, tty = pty.openpty()

    class Resized(View):
        def picture(self, columns: int, height: int) -> Picture:
            made = super().picture(columns, height)
            self.dirty = True  # what the handler of SIGWINCH does
            return made

    try:
        view = Resized()
        Screen(tty).draw(view)
        assert view.dirty
    finally:
        os.close(controller)
        os.close(tty)


def test_what_was_said_scrolls_into_the_terminals_history(demo: Demo) -> None:
    demo.start(rows=20)
    demo.send("[[flood 64]] [[say: after the flood]]")
    demo.sees("● after the flood")
    demo.wait_status("idle")
    demo.looks("ready")
    state = demo.tmux("display-message", "-p", "#{alternate_on} #{history_size}").split()
    assert state[0] == "0"
    text = demo.screen("-S", "-")
    numbers = [line.split()[0] for line in text.split("\n") if line.startswith("0000")]
    assert numbers == [f"{number:08d}" for number in range(1, 64 * 1024 // 64 + 1)]
    assert text.count("? for shortcuts") == 1, "the live rows were never left behind"


def test_control_bytes_never_reach_the_screen(demo: Demo) -> None:
    raw = demo.home / "raw"
    demo.start()
    title = demo.tmux("display-message", "-p", "#{pane_title}")
    demo.tmux("pipe-pane", f"cat >{raw}")
    evil = "\x1b]0;title\x07\x1b[31mred\x1b[2J\x9b31m\u202eright\x00\x08\x7f"
    demo.tmux("load-buffer", "-b", "b", "-", stdin=f"[[say: {evil}]] end")
    demo.tmux("paste-buffer", "-p", "-d", "-b", "b")
    wait_until(lambda: "end" in demo.screen(), "the draft")
    demo.keys("Enter")
    demo.wait_events("SessionStart", "UserPromptSubmit", "Stop")
    assert demo.hooks()[1]["prompt"] == f"[[say: {evil}]] end"
    demo.sees("● ␛]0;title␇␛[31mred␛[2J")
    wait_until(lambda: raw.exists() and b"Worked" in raw.read_bytes(), "the raw output")
    written = raw.read_bytes()
    for bad in (b"\x1b]", b"\x1b[31m", b"\x1b[2J", b"\x9b31", "\u202e".encode(), b"\x00", b"\x7f"):
        assert bad not in written, bad
    assert demo.tmux("display-message", "-p", "#{pane_title}") == title


def test_a_paste_of_many_lines_is_one_draft_until_enter(demo: Demo) -> None:
    demo.start()
    text = "\n".join(f"line {number}\tof many" for number in range(1, 13))
    demo.paste(text + "\n\n")
    # The first line is what shows that a draft is the beginning of a text.
    wait_until(lambda: demo.look().draft == "line 1    of many", "the draft")
    assert demo.events() == ["SessionStart"]
    demo.keys("Enter")
    demo.wait_events("SessionStart", "UserPromptSubmit", "Stop")
    assert demo.hooks()[1]["prompt"] == text.replace("\t", "    ")


def test_a_large_prompt_arrives_whole(demo: Demo) -> None:
    demo.start()
    text = "x" * 300_000
    demo.send(text)
    demo.wait_events("SessionStart", "UserPromptSubmit", "Stop")
    assert demo.hooks()[1]["prompt"] == text
