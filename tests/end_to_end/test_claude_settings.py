"""The real CLI with settings of the person's own: what we need is known all the same."""

import json

from tests.end_to_end.claude_team import Claude

# Seconds that a busy machine may take.
LONG = 30


def ask(claude: Claude, text: str) -> None:
    """Send a prompt and wait for the end of its turn, in which nothing may be asked."""
    claude.crew("send", "a", text, "--wait", "--timeout", "60", timeout=90)


def test_without_any_hook_the_status_file_tells(claude: Claude) -> None:
    """The person has switched hooks off: ours with their own."""
    (claude.home / ".claude").mkdir()
    settings = claude.home / ".claude/settings.json"
    settings.write_text(json.dumps({"disableAllHooks": True}))
    claude.blueprint('[[agents]]\nname = "a"\n')
    claude.crew("up", "--trust", "--wait", timeout=60)
    claude.crew("send", "a", "one [[hold x]] [[say: one]]")
    claude.api.wait_held("x")
    claude.crew.wait_status(LONG, a="working")
    claude.api.release("x")
    (found,) = claude.crew.wait_status(LONG, a="ready")["agents"]
    assert found["flags"] == [], "it was not interrupted"
    ask(claude, "two [[say: two]]")
    claude.crew("send", "a", "three [[tool Bash: touch made]] [[say: three]]")
    view = claude.crew.wait(lambda v: (v["agents"][0]["ask"] or {}).get("options"), "it asks", LONG)
    assert "touch made" in view["agents"][0]["ask"]["text"]
    claude.crew("answer", "a", "yes")
    claude.crew.wait_status(LONG, a="ready")
    assert (claude.root / "made").exists()
    assert [e for e in claude.crew.events() if e["kind"] == "hook_received"] == []
    # Prompts are known from the transcript: each was delivered, once.
    assert len(claude.api.prompts()) == 3
    claude.crew.wait(lambda v: v["messages"] == [], "every receipt has come", LONG)
