"""The dialogs that the real CLI opens before anything else: told by name, and answered."""

import os
import time
from pathlib import Path
from typing import Any

from tests.claude.home import prepare
from tests.counts import measured
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.conftest import CREW
from tests.end_to_end.faults import Login
from tests.support import wait_until

# Seconds that a busy machine may take from a launch to a dialog, and from an answer to its effect.
LONG = 40
# Each in a directory of its own, where the others' answers are not known.
TEAM = """
[[agents]]
name = "trust"

[[agents]]
name = "api-key"

[[agents]]
name = "bypass"
mode = "bypassPermissions"

[[agents]]
name = "add-directory"
arguments = ["--add-dir", "EXTRA"]

[[agents]]
name = "onboarding"
"""
NAMES = {
    "trust": "trust",
    "api-key": "api key",
    "bypass": "bypass permissions",
    "add-directory": "add directory",
    "onboarding": "onboarding",
}
# What stands in front of the dialog's text on the screen, and what of the text tells them apart.
WORDS = {
    "trust": "Accessing workspace:",
    "api-key": "Detected a custom API key",
    "bypass": "Bypass Permissions mode",
    "add-directory": "Adding a new directory:",
    "onboarding": "Choose the text style",
}


def blueprint(claude: Claude, *agents: str) -> None:
    """A team in which each of these stands in its own dialog first."""
    (claude.home / "extra").mkdir()
    parts = TEAM.replace("EXTRA", str(claude.home / "extra")).split("[[agents]]")[1:]
    text = ""
    for name, part in zip(NAMES, parts, strict=True):
        if name in agents:
            config = claude.home / "configs" / name
            config.mkdir(parents=True)
            prepare(
                config,
                claude.root,
                trusted=name != "trust",
                onboarded=name != "onboarding",
                key_approved=name != "api-key",
            )
            # As root the CLI has no such mode but in a sandbox.
            env = f'{{ CLAUDE_CONFIG_DIR = "{config}", IS_SANDBOX = "1" }}'
            text += f"[[agents]]{part}env = {env}\n"
    claude.blueprint(text)


def asks(claude: Claude, agent: str, name: str) -> dict[str, Any]:
    """The ask of `agent`, once it is that dialog with its choices."""

    def look(view: dict[str, Any]) -> bool:
        ask = one(view, agent)["ask"]
        return bool(ask and ask["name"] == name and ask["options"])

    ask: dict[str, Any] = one(claude.crew.wait(look, f"{agent} asks: {name}", LONG), agent)["ask"]
    return ask


def one(view: dict[str, Any], agent: str) -> dict[str, Any]:
    found: dict[str, Any] = next(a for a in view["agents"] if a["name"] == agent)
    return found


def left(claude: Claude, agent: str, name: str) -> None:
    """It has left at its dialog: how it ended is told a moment after its end."""
    detail = f"left at its {name} dialog (exit status 1)"

    def look(view: dict[str, Any]) -> bool:
        found = one(view, agent)
        return (found["status"], found["detail"], found["run"]) == ("exited", detail, 1)

    claude.crew.wait(look, f"{agent}: {detail}", LONG)


def test_each_is_told_by_its_name_and_answered_with_yes(claude: Claude) -> None:
    blueprint(claude, *NAMES)
    told = claude.crew("up", "--trust", "--wait", timeout=60).stdout
    shown = claude.crew("status").stdout
    for agent, name in NAMES.items():
        assert f"\n{agent} asks ({name}): " in told, "with how to answer it"
        assert f"\n{agent} asks ({name}): " in shown
        assert WORDS[agent] in asks(claude, agent, name)["text"]
    assert "crew answer trust 2    Yes, I trust this folder\n" in told
    assert claude.crew("answer", "trust", "yes").stdout == (
        "answered trust: Yes, I trust this folder\n"
    )
    assert claude.crew("answer", "api-key", "1").stdout == "answered api-key: Yes\n"
    assert claude.crew("answer", "bypass", "yes, i").stdout == "answered bypass: Yes, I accept\n"
    # The first key that this one gets it lets fall.
    assert claude.crew("answer", "add-directory", "yes").stdout == (
        "answered add-directory: Yes, add it\n"
    )
    view = claude.crew.wait_status(
        LONG, trust="ready", api_key="ready", bypass="ready", add_directory="ready"
    )
    assert all(a["flags"] == [] and a["run"] == 1 for a in view["agents"])
    assert claude.crew("answer", "trust", "yes", check=False).stderr == (
        f"crew: trust asks nothing now: `{CREW} status` shows who does\n"
    )
    # Without the servers elsewhere it goes no further, and says so.
    claude.crew("answer", "onboarding", "2")
    wait_until(lambda: claude.status("onboarding") != "starting", "onboarding goes on", LONG)


def test_a_no_ends_it_as_what_it_is(claude: Claude) -> None:
    blueprint(claude, "trust", "api-key", "bypass", "add-directory")
    claude.crew("up", "--trust", "--wait", timeout=60)
    for agent in ("trust", "bypass", "add-directory"):
        asks(claude, agent, NAMES[agent])
        assert claude.crew("answer", agent, "no").stdout == f"answered {agent}: No, exit\n"
    asks(claude, "api-key", NAMES["api-key"])
    assert claude.crew("answer", "api-key", "no").stdout == ("answered api-key: No (recommended)\n")
    claude.crew.wait_status(LONG, api_key="ready")
    for agent in ("trust", "bypass", "add-directory"):
        left(claude, agent, NAMES[agent])
    again = claude.crew("up", "--wait", check=False, timeout=60)
    assert "\ntrust asks (trust): " in again.stdout, "it asks again when it is wanted again"


def test_one_after_the_other_and_by_hand(claude: Claude) -> None:
    prepare(claude.home, claude.root, trusted=False, key_approved=False)
    claude.blueprint('[[agents]]\nname = "a"\n\n[[agents]]\nname = "b"\n')
    claude.crew("up", "--trust", "--wait", timeout=60)
    assert asks(claude, "a", "trust")["options"][0] == {"key": "1", "label": "No, exit"}
    claude.crew("answer", "a", "yes")
    assert asks(claude, "a", "api key")["options"][0]["label"] == "Yes"
    # What is answered in the pane, without us, is no question any more.
    by_hand(claude, "a", "Up", "Yes")
    claude.crew.wait_status(LONG, a="ready")
    asks(claude, "b", "trust")
    by_hand(claude, "b", "Up", "No, exit")
    left(claude, "b", "trust")


def by_hand(claude: Claude, agent: str, move: str, label: str) -> None:
    """Move to a choice and take it, as a person does: having seen where the mark is."""

    def marked() -> bool:
        if f"❯ {label}" in claude.standing(agent):
            return True
        claude.keys(agent, move)
        return False

    wait_until(marked, f"{label} is marked", LONG)
    claude.keys(agent, "Enter")


def test_a_folder_is_trusted_where_the_blueprint_says_so(claude: Claude) -> None:
    """And that one alone; also where a small terminal folds its name."""
    root = claude.root / ("a folder with a long näme " * 3).strip() / ("b" * 40)
    extra = claude.home / "extra"
    root.mkdir(parents=True)
    extra.mkdir()
    prepare(claude.home, claude.home / "elsewhere")
    claude.blueprint("")
    file = claude.root / "crew.toml"
    base = f'name = "t"\nroot = "{root.relative_to(claude.root)}"\n[defaults]\ncli = "claude"\n'
    wide = f'[[agents]]\nname = "wide"\ntrust_folder = true\narguments = ["--add-dir", "{extra}"]\n'
    file.write_text(base + wide)
    began = time.perf_counter()
    claude.crew("up", "--trust", "--wait", timeout=60)
    asks(claude, "wide", "add directory")
    measured("through a trusted folder, 160 columns", time.perf_counter() - began, "s")
    prepare(claude.home, claude.home / "elsewhere")
    screen = Login(claude.crew, str(CREW), "attach")
    try:
        wait_until(lambda: columns(claude, "wide") == "80", "attached", LONG)
        file.write_text(f'{base}{wide}[[agents]]\nname = "narrow"\ntrust_folder = true\n')
        began = time.perf_counter()
        claude.crew("up", "--trust", "--wait", timeout=60)
        claude.crew.wait_status(LONG, narrow="ready")
        measured("through a trusted folder, 80 columns", time.perf_counter() - began, "s")
        assert columns(claude, "narrow") == "80"
    finally:
        screen.close()
    asks(claude, "wide", "add directory")

    def told() -> list[dict[str, Any]]:
        """What has happened, once both answers are among it: they are told behind their effect."""
        events = claude.crew.events()
        return events if sum(e["kind"] == "answer_given" for e in events) >= 2 else []

    events = wait_until(told, "both answers are told", LONG)
    asked = {e["agent"] for e in events if e["kind"] == "screen_seen" and e["name"] == "trust"}
    assert asked == {"wide", "narrow"}
    given = [e for e in events if e["kind"] == "answer_given"]
    assert [(e["agent"], e["choice"], e["refused"]) for e in given] == [
        ("wide", "yes", None),
        ("narrow", "yes", None),
    ]


def columns(claude: Claude, agent: str) -> str:
    pane = claude.crew.agent(agent)["pane"]
    return claude.crew.tmux("display-message", "-p", "-t", pane, "#{pane_width}").strip()


def test_the_cli_that_is_not_there_is_said_in_one_sentence(claude: Claude) -> None:
    claude.blueprint('[[agents]]\nname = "a"\n')
    path = os.pathsep.join(
        p for p in os.defpath.split(os.pathsep) if not (Path(p) / "claude").exists()
    )
    done = claude.crew("up", "--trust", check=False, env={"PATH": path})
    assert done.returncode == 2
    assert done.stderr == (
        f"crew: {claude.root}/crew.toml: agents.a.cli: claude is not installed: "
        "install it, or put its directory on PATH\n"
    )
    assert claude.crew.processes() == []
