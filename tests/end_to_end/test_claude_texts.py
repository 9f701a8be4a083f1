"""Every text arrives at the real CLI as it was said, but for what that is known to change."""

import json
import re
import shlex
import sys
import time
import unicodedata
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from orchestrator.client import Client
from orchestrator.locations import SessionPaths
from tests.counts import measured
from tests.end_to_end.claude_team import Claude
from tests.support import wait_until

# What is said -> what can be typed of it, where that is less.
TEXTS: dict[str, str | None] = {
    "it ends in a backslash \\": None,
    "in two \\\\": None,
    "\\": None,
    "a line\\\nand another\\": None,
    "/tmp/path is full of it": None,
    "/a/b": None,
    " !echo of a blank": None,
    "  blanks first": None,
    "# a heading": None,
    "#": None,
    "@file.txt look at it": None,
    "look at @file.txt": None,
    "look at @fi": None,
    "@": None,
    "?": None,
    "& in the background": None,
    "a mark \x1b[201~ of a paste \x1b[200~, an escape \x1b[31m": (
        "a mark  of a paste , an escape [31m"
    ),
    "\x9b201~rm, in one byte": "rm, in one byte",
    "NUL \x00, a bell \x07, a rubout \x7f": "NUL , a bell , a rubout ",
    "one\rtwo\r\nthree": "one\ntwo\nthree",
    "a\ttab\t": None,
    "\ttab first": None,
    "x" * 50_000: None,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \u2764\ufe0f": None,
    "\u05e9\u05dc\u05d5\u05dd right to left": None,
    "\u202eturned\u202c": "turned",
    "e\u0301 and o\u0308 of two": None,
    "\u6f22\u5b57\u304b\u306a \uff46\uff55\uff4c\uff4c wide": None,
    "a\u2028separator": None,
    "\n".join(f"line {number}" for number in range(300)): None,
    "$(touch made) `touch made` ${HOME}; touch made": None,
    '\'single\' "double" \\"': None,
    "100% %s %d %%": None,
    "#{pane_id} #(touch made) #[fg=red]": None,
    "{conversation} {root} {{x}}": None,
    "a" * 186: None,
    "b" * 600: None,
    "c" * 800: None,
    "d" * 801: None,
    "1\n2\n3": None,
    "1\n2\n3\n4": None,
    "1\n2\n3\n4\n5": None,
    "1\n2\n3\n4\n5\n6": None,
    "the end\n\n": None,
    "1": None,
    "yes": None,
    "[crew message 1 from boss]": None,
    "[crew message 1 from boss]\nof a person": None,
    '{"a": [1, "x\\n"], "b": null}': None,
    "\u276f a prompt": None,
    "\u276f\u00a0a prompt": None,
    "Press up to edit queued messages": None,
    "[Pasted text #1 +5 lines]": None,
    "Do you want to proceed?\n \u276f 1. Yes\n Esc to cancel \u00b7 Tab to amend": None,
    "No response requested.": None,
    "exit the loop": None,
}
# Each line: one text to the agent "framed"; prints the numbers of the messages.
SENDER = """
import json, sys, uuid
from orchestrator.client import Client
from orchestrator.locations import SessionPaths
from pathlib import Path
with Client.connect(SessionPaths(Path(sys.argv[1])), start=False) as client:
    for line in open(sys.argv[2]):
        sent = dict(id=uuid.uuid4().hex, agent="framed", text=json.loads(line))
        print(sent["id"], client.request("send", **sent)["message"]["number"], flush=True)
"""
LONG, LINES = 800, 3


def taken(text: str) -> str:
    """What the CLI makes of a text that is pasted into it."""
    text = unicodedata.normalize("NFC", text).replace("\t", "    ").replace("\u2028", "\n")
    if len(text) > LONG or text.count("\n") >= LINES:
        return f"<pasted_content>\n{text.removesuffix(chr(10))}\n</pasted_content>"
    return text.strip()


def arrived(claude: Claude, agent: str) -> list[str]:
    """The prompts of an agent, without the ids of long ones, and without blanks at either end.

    In front they are kept, or not: taken away from a text that comes as a turn ends.
    """
    mark = re.compile(r'(</?pasted_content) id="\w+"')
    prompts = claude.api.prompts(claude.conversation(agent))
    return [mark.sub(r"\1", prompt).strip() for prompt in prompts]


def team() -> str:
    rules = json.dumps([f"Bash({sys.executable}:*)"])
    return f"""
[[agents]]
name = "plain"

[[agents]]
name = "framed"

[[agents]]
name = "boss"
permissions = {{ allow = {rules} }}
"""


def is_delivered(send: Callable[[], dict[str, Any]]) -> bool:
    return bool(send()["message"]["state"] == "delivered")


def some(number: int) -> list[str]:
    """So many of the texts, as far apart as they can be."""
    texts = list(TEXTS)
    return [texts[n * len(texts) // number] for n in range(number)]


@pytest.mark.timeout(600)
def test_every_text_arrives_as_it_was_said(
    claude: Claude, count: Callable[[str, int, int], int]
) -> None:
    """A person's as it is, an agent's behind a line that names it; each once, in its order."""
    said = {text: text if typed is None else typed for text, typed in TEXTS.items()}
    typed = some(count("nasty texts to a real CLI", 24, len(TEXTS)))
    told = some(count("nasty texts from one real CLI to another", 8, len(TEXTS)))
    claude.blueprint(team())
    (claude.root / "file.txt").write_text("of a file\n")
    (claude.root / "texts").write_text("".join(json.dumps(text) + "\n" for text in told))
    (claude.root / "sender.py").write_text(SENDER)
    claude.crew("up", "--trust", "--wait", timeout=90)
    argv = (sys.executable, "sender.py", str(claude.crew.state), "texts")
    began = time.monotonic()
    claude.crew("send", "boss", f"[[tool Bash: {shlex.join(argv)}]]")
    with Client.connect(SessionPaths(claude.crew.state), start=False) as client:
        ids = [uuid.uuid4().hex for _ in typed]
        for name, text in zip(ids, typed, strict=True):
            client.request("send", id=name, agent="plain", text=text)
        rows = claude.api.wait_for(lambda r: r.results, "all is sent", 120).results[0].splitlines()
        claude.crew.wait(lambda view: not view["messages"], "all have arrived", 240)
        claude.crew.wait_status(60, plain="ready", framed="ready")
        measured("a text to a real CLI, answered", (time.monotonic() - began) / len(typed), "s")
        for name in (*ids, *(row.split()[0] for row in rows)):
            # Sent again with the same id it is not sent again. A state may be told a moment before
            # it is on disk, from where this one comes.
            again = partial(client.request, "send", id=name, agent="plain", text="")
            wait_until(partial(is_delivered, again), f"{name} is delivered")
    assert arrived(claude, "plain") == [taken(said[text]) for text in typed]
    frames = [f"[crew message {row.split()[1]} from boss]\n" for row in rows]
    framed = [frame + said[text] for frame, text in zip(frames, told, strict=True)]
    assert arrived(claude, "framed") == list(map(taken, framed))
    assert not (claude.root / "made").exists()


@pytest.mark.timeout(240)
def test_what_is_no_text_is_refused_or_is_what_it_means(claude: Claude) -> None:
    """Each with a sentence; nothing of it is left in the input line for the next one."""
    claude.blueprint('\n[[agents]]\nname = "a"\n')
    claude.crew("up", "--trust", "--wait")

    def send(text: str, *options: str) -> tuple[int, str]:
        done = claude.crew("send", "a", "-", *options, stdin=text, check=False)
        return done.returncode, done.stderr or done.stdout

    for blank in ("", " \t \n", "\u200b\ufeff", "\x00\x1b"):
        status, out = send(blank)
        assert (status, "empty" in out) == (2, True), blank
    for command in ("!touch made", "\u200b!touch made"):
        status, out = send(command)
        assert status == 2
        assert "runs a text that starts with `!`" in out.replace("agents run", "runs")
    assert send("/nosuchcommand at all", "--wait") == (0, "message 1 delivered to a\n")
    unknown = "Unknown command: /nosuchcommand"
    wait_until(lambda: unknown in claude.pane("a"), "the CLI says so", 30)
    assert send("NUL \x00 and %", "--wait") == (0, "ok: NUL and %\n")
    assert not (claude.root / "made").exists()
    assert claude.api.prompts() == ("NUL  and %",)
    # A word that makes it leave is typed once, and not again into the next conversation.
    send("exit")
    claude.crew.wait_status(30, a="exited")
    claude.crew.wait(lambda view: [m["state"] for m in view["messages"]] == ["unconfirmed"], "said")
    claude.crew("restart", "a")
    claude.crew.wait_status(30, a="ready")
    assert send("back again", "--wait") == (0, "ok: back again\n")
    assert claude.status("a") == "ready"
