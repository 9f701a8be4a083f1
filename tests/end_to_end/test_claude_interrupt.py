"""`crew interrupt` and the real CLI: at each stage of a turn, past whatever takes the key first."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.core.receipts import is_receipt
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.support import wait_until

ONE = """
[[agents]]
name = "a"
permissions = { allow = ["Bash(tail:*)"] }
"""
TAKEN_BACK = "a was interrupted: it had not begun to answer: the prompt was taken back\n"
INTERRUPTED = "a was interrupted\n"
LONG = "[[hold long]] " + "very long " * 100
LINES = "[[hold lines]]\nof\nmany\n\nlines\nindeed"


def draft(claude: Claude, agent: str) -> str:
    """What stands in the first row of the input line."""
    rows = [row for row in claude.pane(agent).splitlines() if row.startswith("❯\xa0")]
    return rows[-1].removeprefix("❯\xa0").strip() if rows else ""


def begin(claude: Claude, agent: str, prompt: str, held: str) -> None:
    """Give it a prompt whose answer is held there."""
    claude.crew("send", agent, prompt)
    claude.api.wait_held(held)
    # What a person sees: only then does the key end the turn.
    wait_until(lambda: "esc to interrupt" in claude.pane(agent), "it works on its screen")


def next_arrives_alone(claude: Claude, agent: str, text: str) -> None:
    assert claude.crew("send", agent, text, "--wait").stdout == f"ok: {text}\n"
    newest = [r.newest for r in claude.api.requests if r.conversation == claude.conversation(agent)]
    assert newest[-1] == text


def test_at_every_stage_of_a_turn(claude: Claude) -> None:
    """It is over at once, and the next message arrives alone, however the CLI left its line."""
    claude.blueprint(ONE)
    (claude.root / "log").touch()
    claude.crew("up", "--trust", "--wait")

    def blocked() -> None:
        claude.crew.wait(lambda view: (view["agents"][0]["ask"] or {}).get("options"), "it asks")

    def runs_a_tool() -> None:
        wait_until(lambda: tails(claude), "the tool's process")
        claude.crew.wait(lambda view: view["agents"][0]["doing"] == "tool", "the tool runs")

    held = claude.api.wait_held
    stages: list[tuple[str, Callable[[], None], str]] = [
        # Before the first byte the CLI takes the prompt back into its input line.
        ("[[hold short]]", partial(held, "short"), TAKEN_BACK),
        (LINES, partial(held, "lines"), TAKEN_BACK),
        (LONG, partial(held, "long"), TAKEN_BACK),
        ("[[say: I begin]] [[hold midst]]", partial(held, "midst"), INTERRUPTED),
        ("[[tool Bash: tail -f log]]", runs_a_tool, INTERRUPTED),
        ("[[tool Bash: touch made]]", blocked, INTERRUPTED),
        ("[[ask: Which?|One|Other]]", blocked, INTERRUPTED),
    ]
    for prompt, reached, said in stages:
        claude.crew("send", "a", prompt)
        reached()
        assert claude.crew("interrupt", "a").stdout == said, prompt
        view = claude.crew.agent("a")
        assert (view["status"], view["flags"], view["ask"]) == ("ready", ["interrupted"], None)
        assert draft(claude, "a") == ""
    next_arrives_alone(claude, "a", "the last")
    arrived = [request.newest for request in claude.api.requests]
    sent = [prompt for prompt, _, _ in stages] + ["the last"]
    assert len(arrived) == len(sent)
    assert all(map(is_receipt, sent, arrived)), arrived
    wait_until(lambda: not tails(claude), "the tool's process has ended")
    assert not (claude.root / "made").exists()
    done = claude.crew("interrupt", "a", check=False)
    assert (done.returncode, done.stderr) == (1, "crew: a is ready: nothing to interrupt\n")


def tails(claude: Claude) -> list[int]:
    found = []
    for pid in claude.crew.processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "tail\n":
                found.append(pid)
    return found


def test_a_draft_is_kept_and_said(claude: Claude) -> None:
    """Typed by a person meanwhile: it stays, is sent as it was meant, and holds a message up."""
    claude.blueprint(ONE)
    claude.crew("up", "--trust", "--wait")
    stages = (("[[hold {}]]", "before"), ("[[say: some]] [[hold {}]]", "midst"))
    for prompt, name in stages:
        begin(claude, "a", prompt.format(name), name)
        claude.keys("a", f"my own words {name}")
        wait_until(lambda: draft(claude, "a") != "", "the draft")
        said = claude.crew("interrupt", "a").stdout
        assert said == f"a was interrupted: in its input line stands: my own words {name}\n"
        assert draft(claude, "a") == f"my own words {name}"
        out = claude.crew("send", "a", f"a message {name}").stdout
        assert "is queued: somebody is typing there" in out
        claude.keys("a", "Enter")
        claude.crew.wait(lambda view: not view["messages"], "the message is delivered")
        claude.crew.wait_status(a="ready")
        newest = [request.newest for request in claude.api.requests]
        assert newest[-2:] == [f"my own words {name}", f"a message {name}"]


# What a person opens, and a row that shows it.
OPEN = {
    "transcript": (("C-o",), "Showing detailed transcript"),
    "menu": (("/model",), "❯\xa0/model"),
    "shell": (("!",), "  ! for shell mode"),
    "vi": ((), "-- INSERT --"),
}
VI = 'arguments = ["--settings", "{\\"editorMode\\": \\"vim\\"}"]'


def test_past_what_is_open_on_the_screen(claude: Claude) -> None:
    """There the CLI takes the first Escape for closing it: it is pressed again, for the turn."""
    agents = "".join(f'\n[[agents]]\nname = "{name}"\n' for name in OPEN)
    claude.blueprint(f"{agents}{VI}\n")
    claude.crew("up", "--trust", "--wait")
    for name in OPEN:
        claude.crew("send", name, f"[[say: some words]] [[hold {name}]]")
    for name, (keys, shown) in OPEN.items():
        claude.api.wait_held(name)
        if keys:
            claude.keys(name, *keys)
        wait_until(partial(shows, claude, name, shown), f"{name} is open")
    claude.keys("menu", "Enter")
    wait_until(partial(shows, claude, "menu", "Esc to cancel"), "the menu is open")
    running = {name: faults.popen(claude.crew, "interrupt", name) for name in OPEN}
    for name, process in running.items():
        out, err = process.communicate(timeout=60)
        assert (out, err) == (f"{name} was interrupted\n", ""), name
    for name in OPEN:
        view = claude.crew.agent(name)
        assert (view["status"], view["flags"]) == ("ready", ["interrupted"]), name
        next_arrives_alone(claude, name, f"next to {name}")


def shows(claude: Claude, agent: str, text: str) -> bool:
    return text in claude.pane(agent)
