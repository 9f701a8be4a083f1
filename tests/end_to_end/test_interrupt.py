"""`crew interrupt` with real agents: what stands in the input line afterwards, and whose it is."""

from functools import partial

import pytest

from orchestrator.locations import PACKAGE
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

ONE = """
[[agents]]
name = "a"
"""
TAKEN_BACK = "a was interrupted: it had not begun to answer: the prompt was taken back\n"


def up(crew: Crew) -> str:
    """One agent, ready; its pane."""
    crew.blueprint(ONE)
    crew.up("--wait")
    pane: str = crew.agent("a")["pane"]
    return pane


def shows(crew: Crew, pane: str, text: str) -> bool:
    return text in crew.tmux("capture-pane", "-p", "-t", pane)


def works(crew: Crew, text: str, *options: str) -> None:
    """Give it something to do that it does not answer for a long time."""
    crew.run("send", *options, "a", text)
    crew.wait_status(a="working")
    faults.hooked(crew, "a", text.rstrip())
    pane = crew.agent("a")["pane"]
    wait_until(partial(shows, crew, pane, "esc to interrupt"), "it works on its screen", 30)


@pytest.mark.parametrize(
    "text",
    ["[[sleep 600]]", "[[sleep 600]]\nand\n\nmore", "[[sleep 600]] " + "very long " * 60],
    ids=["short", "lines", "long"],
)
def test_a_prompt_that_is_put_back_is_cleared(crew: Crew, text: str) -> None:
    """The next message would be added to it."""
    pane = up(crew)
    works(crew, text)
    assert crew.run("interrupt", "a").stdout == TAKEN_BACK
    assert crew.agent("a")["status"] == "ready"
    assert shows(crew, pane, "❯\n")
    assert crew.run("send", "--wait", "a", "[[say: next]]").stdout == "next\n"
    assert faults.prompts(crew, "a")[1:] == ["[[say: next]]"]


def test_a_framed_message_is_cleared(crew: Crew) -> None:
    crew.blueprint(ONE + '[[agents]]\nname = "b"\n')
    crew.up("--wait")
    crew.run("send", "b", "[[tool Bash: crew send a think it over; sleep 600]]")
    crew.wait(lambda v: v["agents"][0]["detail"] == "heard: think it over", "a has answered")
    works(crew, "[[sleep 600]]")
    crew.run("interrupt", "a")
    assert shows(crew, crew.agent("a")["pane"], "❯\n")


def test_a_persons_draft_stays(crew: Crew) -> None:
    pane = up(crew)
    works(crew, "[[sleep 600]]")
    crew.tmux("send-keys", "-t", pane, "-l", "my own words")
    wait_until(partial(shows, crew, pane, "❯ my own words"), "a draft")
    said = crew.run("interrupt", "a").stdout
    assert said == "a was interrupted: in its input line stands: my own words\n"
    assert shows(crew, pane, "❯ my own words\n")


def test_a_draft_that_is_the_prompt_is_left_where_nothing_clears_it(crew: Crew) -> None:
    shipped = (PACKAGE.parent / "agents/demo.toml").read_text()
    changed = shipped.replace('clear = ["C-u"]\n', "")
    assert changed != shipped
    faults.define(crew, "demo", changed)
    pane = up(crew)
    works(crew, "[[sleep 600]]")
    said = crew.run("interrupt", "a").stdout
    assert said == (
        "a was interrupted: in its input line stands: [[sleep 600]] "
        "(`keys.clear` in demo.toml would let it be cleared)\n"
    )
    assert shows(crew, pane, "❯ [[sleep 600]]\n")


def test_keys_that_clear_nothing_are_said(crew: Crew) -> None:
    shipped = (PACKAGE.parent / "agents/demo.toml").read_text()
    faults.define(crew, "demo", shipped.replace('clear = ["C-u"]', 'clear = ["Up"]'))
    up(crew)
    works(crew, "[[sleep 600]]")
    assert "it could not be cleared" in crew.run("interrupt", "a").stdout


def test_what_waited_goes_on_at_once(crew: Crew) -> None:
    """Nothing is put back then, and nothing is cleared."""
    pane = up(crew)
    works(crew, "[[sleep 600]]")
    crew.tmux("send-keys", "-t", pane, "-l", "[[sleep 0.1]] [[say: by hand]]")
    crew.tmux("send-keys", "-t", pane, "Enter")
    wait_until(partial(shows, crew, pane, "Queued"), "it waits")
    crew.run("interrupt", "a")
    wait_until(partial(shows, crew, pane, "● by hand"), "it went on")
    crew.wait_status(a="ready")


def test_a_message_that_waited_is_typed_into_an_empty_line(crew: Crew) -> None:
    up(crew)
    works(crew, "[[sleep 600]]")
    assert "queued" in crew.run("send", "a", "[[say: next]]").stdout
    assert crew.run("interrupt", "a").stdout.startswith("a was interrupted")
    crew.wait(lambda v: not v["messages"] and v["agents"][0]["detail"] == "next", "it was next")
    assert faults.prompts(crew, "a") == ["[[sleep 600]]", "[[say: next]]"]


def test_a_dialog(crew: Crew) -> None:
    pane = up(crew)
    crew.run("send", "a", "[[ask-tool Bash: ls]]")
    # Its hook is known: one that came behind the end would be of another dialog.
    crew.wait(lambda v: (v["agents"][0]["ask"] or {}).get("hook"), "it asks")
    wait_until(partial(shows, crew, pane, "Esc to cancel"), "the dialog", 30)
    assert crew.run("interrupt", "a").stdout == "a was interrupted\n"
    assert crew.agent("a")["status"] == "ready"


def test_nothing_to_interrupt(crew: Crew) -> None:
    pane = up(crew)
    crew.tmux("send-keys", "-t", pane, "-l", "my own words")
    wait_until(partial(shows, crew, pane, "❯ my own words"), "a draft", 30)
    done = crew.run("interrupt", "a", check=False)
    assert (done.returncode, done.stderr) == (1, "crew: a is ready: nothing to interrupt\n")
    assert shows(crew, pane, "❯ my own words")


def test_a_text_behind_which_the_submit_key_means_something_else(crew: Crew) -> None:
    """A backslash at its end: with Enter it would only break the line."""
    up(crew)
    assert crew.run("send", "--wait", "a", "in C:\\temp\\").stdout == "heard: in C:\\temp\\\n"
    assert crew.run("send", "--wait", "a", "/tmp/file is there?").stdout == (
        "heard: /tmp/file is there?\n"
    )
    assert faults.prompts(crew, "a") == ["in C:\\temp\\", "/tmp/file is there?"]


def test_marks_of_direction_never_reach_a_pane(crew: Crew) -> None:
    up(crew)
    done = crew.run("send", "--wait", "a", "\u202eleft\u202c e\u0301")
    assert done.stdout == "heard: left e\u0301\n"
