"""`crew interrupt` and the real CLI: at each stage of a turn, past whatever takes the key first."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from orchestrator.core.receipts import is_receipt
from tests.claude.api import Request
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.support import wait_until

pytestmark = pytest.mark.timeout(240)

# Seconds for what a CLI draws or does, on a machine that does much else.
LONG_WAIT = 30
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


def reach(claude: Claude, agent: str, held: str) -> None:
    """Wait until its answer is held there, and it is known to work."""
    claude.api.wait_held(held)
    claude.crew.wait_status(**{agent: "working"})


def begin(claude: Claude, agent: str, prompt: str, held: str) -> None:
    """Give it a prompt whose answer is held there."""
    claude.crew("send", agent, prompt)
    reach(claude, agent, held)
    # What a person sees: only then does the key end the turn.
    screen = partial(shows, claude, agent, "esc to interrupt")
    wait_until(screen, "it works on its screen", LONG_WAIT)


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
        wait_until(lambda: tails(claude), "the tool's process", LONG_WAIT)
        claude.crew.wait(lambda view: view["agents"][0]["doing"] == "tool", "the tool runs")

    def in_its_midst() -> None:
        held("midst")
        # What it does not know of yet it has not begun to say.
        wait_until(partial(shows, claude, "a", "● I begin"), "its first words", LONG_WAIT)

    held = partial(reach, claude, "a")
    stages: list[tuple[str, Callable[[], None], str]] = [
        # Before the first byte the CLI takes the prompt back into its input line.
        ("[[hold short]]", partial(held, "short"), TAKEN_BACK),
        (LINES, partial(held, "lines"), TAKEN_BACK),
        (LONG, partial(held, "long"), TAKEN_BACK),
        ("[[say: I begin]] [[say: so]] [[hold midst]]", in_its_midst, INTERRUPTED),
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
    wait_until(lambda: not tails(claude), "the tool's process has ended", LONG_WAIT)
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
        own, message = f"my own words {name}", f"a message {name}"
        claude.keys("a", own)
        wait_until(partial(has_draft, claude, "a", own), "the draft", LONG_WAIT)
        said = claude.crew("interrupt", "a").stdout
        assert said == f"a was interrupted: in its input line stands: {own}\n"
        assert draft(claude, "a") == own
        claude.crew("send", "a", message)
        claude.crew.wait(
            lambda view: view["agents"][0]["held"] == "somebody is typing there", "it is held up"
        )
        claude.keys("a", "Enter")
        # It is looked for less and less often whether a message can be typed.
        claude.crew.wait(lambda view: not view["messages"], "the message is delivered", 60)
        claude.api.wait_for(partial(is_newest, message), "it has arrived")
        claude.crew.wait_status(a="ready")
        newest = [request.newest for request in claude.api.requests]
        assert newest[-2:] == [own, message]


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
    claude.crew("up", "--trust", "--wait", timeout=90)
    for name in OPEN:
        claude.crew("send", name, f"[[say: some words]] [[say: and]] [[hold {name}]]")
    for name, (keys, shown) in OPEN.items():
        reach(claude, name, name)
        wait_until(partial(shows, claude, name, "● some words"), "its first words", LONG_WAIT)
        if keys:
            claude.keys(name, *keys)
        wait_until(partial(shows, claude, name, shown), f"{name} is open", LONG_WAIT)
    claude.keys("menu", "Enter")
    wait_until(partial(shows, claude, "menu", "Esc to cancel"), "the menu is open", LONG_WAIT)
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


def has_draft(claude: Claude, agent: str, text: str) -> bool:
    return draft(claude, agent) == text


def is_newest(text: str, request: Request) -> bool:
    return request.newest == text
