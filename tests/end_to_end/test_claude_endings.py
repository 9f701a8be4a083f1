"""How turns and conversations of the real CLI end, and itself: each is shown as what it is."""

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any

from tests.end_to_end.claude_team import Claude
from tests.support import wait_until

# Seconds that a busy machine may take to start a CLI again.
LONG = 40
AGENT = """
[[agents]]
name = "a"
"""


def table(claude: Claude) -> str:
    """The line of `a` in `crew status`."""
    return claude.crew("status").stdout.split("\n\n")[1].splitlines()[0]


def shown(agent: dict[str, Any]) -> tuple[str, str, list[str]]:
    return agent["status"], agent["detail"], agent["flags"]


def shows(claude: Claude, *wanted: object) -> None:
    """Wait until it is so: of a turn's end several sources tell, one after the other."""
    claude.crew.wait(lambda view: shown(view["agents"][0]) == wanted, f"{wanted}", LONG)


def interrupted(claude: Claude, key: str, *, answering: bool = True) -> None:
    """Press `key` in the middle of a turn, once the CLI shows that it is being answered."""
    # The mark of an answer, whose first line is held back until it is whole.
    mark = re.compile("^● *$", re.MULTILINE)
    wait_until(lambda: not answering or mark.search(claude.pane("a")), "an answer", LONG)
    claude.keys("a", key)
    shows(claude, "ready", "interrupted", ["interrupted"])
    assert table(claude).rstrip().endswith("interrupted")


def begin(claude: Claude, text: str, hold: str) -> None:
    """Send a text whose answer is held there, and wait until that is seen."""
    claude.crew("send", "a", text)
    claude.api.wait_held(hold)
    (agent,) = claude.crew.wait_status(LONG, a="working")["agents"]
    assert agent["flags"] == [], "it is another turn"


def test_turns_that_a_person_interrupts(claude: Claude) -> None:
    claude.blueprint(AGENT)
    claude.crew("up", "--trust", "--wait", timeout=60)
    begin(claude, "one [[hold x]] [[say: one]]", "x")
    interrupted(claude, "Escape", answering=False)
    # Not a word of an answer had come: the prompt is back in the input line. It is a person's now.
    wait_until(lambda: "❯\xa0one [[hold x]]" in claude.pane("a"), "the prompt is back", LONG)
    claude.crew("send", "a", "two [[say: begun]] [[hold y]] [[say: two]]")
    claude.crew.wait(lambda view: view["agents"][0]["held"], "the message waits")
    # For a moment, now and then, it is looked at whether somebody still is.
    wait_until(lambda: "1 queued: somebody is typing there" in table(claude), "it is shown", LONG)
    claude.keys("a", "C-u")
    claude.api.wait_held("y")
    claude.crew.wait_status(LONG, a="working")
    assert claude.api.prompts()[-1] == "two [[say: begun]] [[hold y]] [[say: two]]"
    interrupted(claude, "Escape")
    begin(claude, "three [[say: begun]] [[hold z]] [[say: three]]", "z")
    interrupted(claude, "C-c")
    # A turn that ends by itself is none of these, and takes the flag away.
    claude.crew("send", "a", "four [[say: four]]", "--wait")
    shows(claude, "ready", "four", [])


def test_a_conversation_that_is_cleared_and_one_that_is_cut(claude: Claude) -> None:
    claude.blueprint(AGENT + "restart = { backoff = 0.1, backoff_max = 0.1 }\n")
    claude.crew("up", "--trust", "--wait", timeout=60)
    claude.crew("send", "a", "old [[say: old words]]", "--wait")
    old = claude.conversation("a")
    claude.press("a", "/clear", "Enter")
    view = claude.crew.wait(lambda v: v["agents"][0]["conversation"] != old, "another conversation")
    new = view["agents"][0]["conversation"]
    shows(claude, "ready", "a fresh conversation, after /clear", [])
    claude.crew("send", "a", "new [[say: new words]]", "--wait")
    begin(claude, "cut [[say: begun]] [[hold x]] [[say: end]]", "x")
    # What the transcript has not got is typed again.
    transcript = Path(claude.crew.agent("a")["transcript"])
    written = '"role":"user","content":"cut [[say: begun]]'
    wait_until(lambda: written in transcript.read_text(), "the prompt is written", LONG)
    os.kill(claude.crew.agent("a")["pid"], signal.SIGKILL)
    claude.api.wait_let_go("x")
    claude.api.release("x")
    view = back(claude, 2)
    assert view["agents"][0]["conversation"] == new, "not the one that was cleared"
    died = [e for e in claude.crew.events() if e["kind"] == "process_exited" and e["known"]]
    assert [(e["code"], e["signal"]) for e in died] == [(None, signal.SIGKILL)]
    claude.crew("send", "a", "after [[say: after words]]", "--wait")
    assert claude.api.prompts(new)[0] == "new [[say: new words]]"
    assert claude.api.requests[-1].prompts[-1] == "after [[say: after words]]"
    assert claude.api.prompts(old) == ("old [[say: old words]]",)
    # SIGTERM lets it take its leave, and is no wish of a person's either.
    os.kill(claude.crew.agent("a")["pid"], signal.SIGTERM)
    view = back(claude, 3)
    assert view["agents"][0]["conversation"] == new
    died = [e for e in claude.crew.events() if e["kind"] == "process_exited" and e["known"]]
    assert [(e["code"], e["signal"]) for e in died[1:]] == [(143, None)]


def back(claude: Claude, run: int) -> dict[str, Any]:
    """The view once it is ready in that run."""

    def look(view: dict[str, Any]) -> bool:
        (agent,) = view["agents"]
        return bool(agent["run"] == run and agent["status"] == "ready")

    return claude.crew.wait(look, f"ready in run {run}", LONG)


def test_ends_of_the_process(claude: Claude) -> None:
    claude.blueprint(AGENT + 'restart = { when = "never" }\n')
    claude.crew("up", "--trust", "--wait", timeout=60)

    def ended(detail: str) -> None:
        shows(claude, "exited", detail, [])
        agent = claude.crew.agent("a")
        assert (agent["pid"], agent["ask"]) == (None, None)
        assert "exited" in table(claude)
        assert detail in table(claude)

    def again() -> int:
        claude.crew("restart", "a")
        pid: int = claude.crew.wait_status(LONG, a="ready")["agents"][0]["pid"]
        return pid

    # Keys only to a screen that has stood: the CLI drops those of its first moment.
    claude.press("a", "/exit", "Enter")
    ended("left at its prompt (exit status 0)")
    again()
    pane = claude.crew.agent("a")["pane"]

    def asks_again() -> bool:
        return "Press Ctrl-C again to exit" in claude.crew.tmux("capture-pane", "-p", "-t", pane)

    def pressed_once() -> bool:
        claude.press("a", "C-c")
        with contextlib.suppress(AssertionError):
            return wait_until(asks_again, "it asks for the second", 5)
        return False

    # It asks for less than a second: a busy machine may miss it, and not press another in time.
    wait_until(pressed_once, "it asks for the second", LONG)
    assert claude.status("a") == "ready"
    wait_until(lambda: not asks_again(), "it does not wait for it any more", LONG)
    claude.keys("a", "C-c", "C-c")
    ended("left at its prompt (exit status 0)")
    os.kill(again(), signal.SIGKILL)
    ended("killed by signal 9")
    os.kill(again(), signal.SIGTERM)
    ended("exit status 143")
