"""The real CLI with settings of the person's, the blueprint's and ours: all of them count."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.claude.home import prepare
from tests.end_to_end.claude_team import Claude
from tests.support import wait_until

# Seconds that a busy machine may take.
LONG = 30
# A server of one tool, over standard input and output.
SERVER = """
import json, pathlib, sys

ABOUT = {"capabilities": {"tools": {}}, "serverInfo": {"name": "tiny", "version": "1"}}
TOOL = {"name": "answer", "description": "Say it", "inputSchema": {"type": "object"}}
for line in sys.stdin:
    asked = json.loads(line)
    match asked.get("method"):
        case "initialize":
            told = {"protocolVersion": asked["params"]["protocolVersion"], **ABOUT}
        case "tools/list":
            told = {"tools": [TOOL]}
        case "tools/call":
            told = {"content": [{"type": "text", "text": "forty-two"}]}
        case _:
            told = {}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}), flush=True)
    if asked.get("method") == "tools/list":
        pathlib.Path(sys.argv[1]).touch()
"""


def agent(claude: Claude, name: str) -> dict[str, Any]:
    return claude.crew.agent(name)


def ask(claude: Claude, text: str) -> None:
    """Send a prompt and wait for the end of its turn, in which nothing may be asked."""
    claude.crew("send", "a", text, "--wait", "--timeout", "60", timeout=90)


def whole(file: Path) -> dict[str, Any]:
    """What a hook was told, once it has written all of it."""

    def read() -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads(file.read_text())
            return told
        return {}

    return wait_until(read, f"{file} is written", LONG)


def ready(claude: Claude, name: str, words: str) -> dict[str, Any]:
    """The agent once it is ready with these last words: its hook may tell of them later."""

    def look(view: dict[str, Any]) -> bool:
        found = next(a for a in view["agents"] if a["name"] == name)
        return (found["status"], found["detail"]) == ("ready", words)

    claude.crew.wait(look, f"{name} has said: {words}", LONG)
    return agent(claude, name)


def test_what_the_person_the_blueprint_and_we_have_set_counts(claude: Claude) -> None:
    extra = claude.home / "extra"
    extra.mkdir()
    (extra / "far.txt").write_text("from afar\n")
    server = claude.home / "server.py"
    server.write_text(SERVER)
    heard, listed = claude.home / "heard", claude.home / "listed"
    own = {
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": f"cat >>{heard}"}]}]},
        "statusLine": {"type": "command", "command": "echo my own line"},
        "permissions": {"allow": ["Bash(touch mine:*)"]},
    }
    (claude.home / ".claude").mkdir()
    settings = claude.home / ".claude/settings.json"
    settings.write_text(json.dumps(own))
    given = {
        "env": {"GIVEN": "in a file"},
        "permissions": {"allow": ["Bash(printenv:*)"], "deny": ["Bash(touch never:*)"]},
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": f"cat >>{heard}-given"}]}]},
    }
    (claude.root / "given.json").write_text(json.dumps(given))
    claude.blueprint(f"""
[[agents]]
name = "a"
model = "sonnet"
role_prompt = "You are the tester of this house."
add_dirs = ["{extra}"]
permissions = {{ allow = ["Bash(touch ours:*)", "mcp__tiny__answer"], deny = ["Bash(touch no:*)"] }}
arguments = ["--settings", "given.json"]
mcp_servers.tiny = {{ command = "{sys.executable}", args = ["{server}", "{listed}"] }}
""")
    claude.crew("up", "--trust", "--wait", timeout=60)
    assert claude.status("a") == "ready", "it is not asked about the directory"
    drawn = "the person's status line is drawn"
    wait_until(lambda: "my own line" in claude.pane("a"), drawn, LONG)
    # The CLI is ready before its servers are.
    wait_until(listed.exists, "its server has told of its tool", LONG)
    tools = [
        "[[tool Bash: touch mine]]",
        "[[tool Bash: touch ours]]",
        "[[tool Bash: touch never]]",
        "[[tool Bash: touch no]]",
        "[[tool Bash: printenv GIVEN]]",
        f"[[tool Read: {extra}/far.txt]]",
        "[[tool mcp__tiny__answer {}]]",
    ]
    ask(claude, f"go {' '.join(tools)} [[say: done]]")
    last = claude.api.requests[-1]
    assert last.model == "claude-sonnet-5-5"
    assert "You are the tester of this house." in last.system
    assert "mcp__tiny__answer" in json.dumps(last.messages), "its tool is offered"
    _, _, never, no, echoed, read, answered = last.results
    assert (claude.root / "mine").exists()
    assert (claude.root / "ours").exists()
    assert "denied" in never
    assert "denied" in no
    assert echoed == "in a file"
    assert "from afar" in read
    assert answered == "forty-two"
    # Hooks of all three: ours has told of the turn, and the status line of what it cost.
    assert whole(heard)["hook_event_name"] == "Stop"
    assert whole(Path(f"{heard}-given"))["last_assistant_message"] == "done"
    ready(claude, "a", "done")
    claude.crew.wait(
        lambda v: (
            v["agents"][0]["usage"]["cost_source"] == "cli"
            and v["agents"][0]["usage"]["cost_usd"] > 0
        ),
        "a cost, from the CLI itself",
        LONG,
    )
    assert json.loads(settings.read_text()) == own, "and stays as it was"


def test_each_may_have_a_directory_of_its_own_for_the_clis_files(claude: Claude) -> None:
    """Set for all where `crew up` is typed, and for one in the blueprint."""
    common, own = claude.home / "common", claude.root / "own"
    for config in (common, own):
        config.mkdir()
        prepare(config, claude.root)
    (claude.home / ".claude.json").unlink()
    claude.crew.env["CLAUDE_CONFIG_DIR"] = str(common)
    claude.blueprint(f"""
[[agents]]
name = "a"
restart = {{ backoff = 0.1, backoff_max = 0.1 }}

[[agents]]
name = "b"
env = {{ CLAUDE_CONFIG_DIR = "{own}" }}
restart = {{ backoff = 0.1, backoff_max = 0.1 }}
""")
    claude.crew("up", "--trust", "--wait", timeout=60)
    for name, config in (("a", common), ("b", own)):
        claude.crew("send", name, f"to {name} [[say: from {name}]]", "--wait")
        found = ready(claude, name, f"from {name}")
        (transcript,) = (config / "projects").glob("*/*.jsonl")
        assert found["transcript"] == str(transcript)
        assert transcript.stem == found["conversation"]
        assert (config / f"sessions/{found['pid']}.json").exists()
        os.kill(found["pid"], signal.SIGKILL)
    claude.crew.wait(
        lambda view: all((a["run"], a["status"]) == (2, "ready") for a in view["agents"]),
        "both are back",
        LONG,
    )
    for name in ("a", "b"):
        claude.crew("send", name, f"again [[say: again, {name}]]", "--wait")
        prompts = claude.api.prompts(claude.conversation(name))
        assert [p.split(" [[")[0] for p in prompts] == [f"to {name}", "again"], "resumed"
    assert [path.name for path in claude.home.glob(".claude*")] == []
