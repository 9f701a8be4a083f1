"""Recorded worlds, each the JSON of `crew status --json`, for pictures of the dashboard.

The clock stands at `NOW` in all of them.
"""

import json
from pathlib import Path
from typing import Any

from orchestrator.client import Json
from orchestrator.dashboard.feeds import SPOKEN
from orchestrator.dashboard.model import LOOKS
from tests.fake_supervisor import NOTHING_USED, agent, ask, message, session

# Noon of a day, in UTC.
NOW = 1_800_014_400.0
# The world of the README's picture; it holds a live screen and its own clock as well.
README_WORLD = Path(__file__).parent / "webshop.json"

COMMAND = "Bash: git push --force origin release && rm -rf build dist && make release TARGET=live"
# One name of each kind that is hard to measure.
WIDE_NAMES = (
    "日本語の名前",
    "👩‍💻👩‍💻",
    "cafe\u0301-re\u0301sume\u0301",
    "a-name-that-is-longer-than-its-column",
    "ｆｕｌｌ",
    "e" + "\u0301" * 12,
)


def used(tokens: int, cost: float | None, context: int, size: int = 200_000) -> Json:
    """What an agent has used: `context` tokens of `size`."""
    return {**NOTHING_USED, "output": tokens, "cost_usd": cost,
            "context": {"used": context, "size": size}}  # fmt: skip


def team() -> Json:
    """Six agents, of whom three need a person, and a message that nobody confirmed."""
    members = (
        agent("boss", "working", role="lead", doing="thinking", detail="on message 12 from ana",
              since=NOW - 74, usage=used(182_000, 1.42, 88_000)),
        agent("ana", "blocked", role="developer", since=NOW - 12, usage=used(52_000, 0.42, 120_000),
              ask=ask(COMMAND, k1="Yes", k2="Yes, and don't ask again", k3="No") | {"hook": "h-1"}),
        agent("bob", "working", role="tester", doing="tool", detail="Bash: pytest -x tests/",
              since=NOW - 190, usage=used(94_000, 0.77, 171_000)),
        agent("cid", "limited", role="developer", limited_until=NOW + 1800, since=NOW - 600),
        agent("dora", "failed", role="reviewer", detail="ended 5 times", since=NOW - 3000),
        agent("日本語の名前", role="翻訳", detail="翻訳が終わりました。", since=NOW - 90_000),
    )  # fmt: skip
    return session(
        "release",
        *members,
        usage=used(328_000, None, 0),
        samples={
            "boss": {"cpu": 0.03, "rss": 190 << 20, "children": 2, "pss": None},
            "ana": {"cpu": 0.12, "rss": 412 << 20, "children": 3, "pss": 240 << 20},
            "bob": {"cpu": 0.9, "rss": 1 << 31, "children": 14, "pss": None},
        },
        messages=[
            message(14, "bob", "unconfirmed", "no receipt"),
            message(15, "ana", "queued", "it is blocked"),
        ],
        edited=["crew.toml"],
    )


def statuses() -> Json:
    """An agent of each status."""
    more: dict[str, Json] = {
        "working": {"doing": "tool", "detail": "Edit: src/cart.py"},
        "blocked": {"ask": ask("Bash: make deploy", k1="Yes", k2="No")},
        "limited": {"limited_until": NOW + 5400},
        "backoff": {"restart_at": NOW + 40, "detail": "ended with exit status 1"},
        "exited": {"detail": "ended with exit status 0"},
        "failed": {"detail": "ended 5 times within 60 s"},
        "lost": {"detail": "its pane is gone"},
        "ready": {"detail": "The tests pass.", "queued": 2, "held": "its input line holds a draft"},
    }
    members = [
        agent(f"agent-{number}", status, since=NOW - 45 * number**3, **more.get(status, {}))
        for number, status in enumerate(LOOKS)
    ]
    return session("each", *members)


def asking() -> Json:
    """An agent that asks a question, and one whose dialog no answer is known for."""
    question = ask("Which of the two designs is to be built?", k1="One table", k2="Two tables")
    members = (
        agent("ana", "blocked", ask=question | {"kind": "question", "tool": None}, since=NOW - 65),
        agent("bob", "blocked", ask={"kind": "dialog", "text": "", "options": []}, since=NOW - 65),
    )
    return session("asking", *members)


def many(number: int) -> Json:
    """`number` agents, at all kinds of work; one in twenty asks something."""
    kinds = ("working", "working", "ready", "working", "starting")
    members = []
    for n in range(number):
        blocked = n % 20 == 7
        members.append(
            agent(
                f"worker-{n}",
                "blocked" if blocked else kinds[n % 5],
                role=("developer", "tester")[n % 2],
                detail="" if n % 5 in (2, 4) else f"Read: src/module_{n}.py",
                ask=ask(f"Bash: make part-{n}", k1="Yes", k2="No") if blocked else None,
                since=NOW - 7 * n,
                usage=used(1_000 * n, 0.013 * n, 1_500 * n),
            )
        )
    samples = {one["name"]: {"cpu": n / 200, "rss": n << 22} for n, one in enumerate(members)}
    total = used(sum(range(number)) * 1000, 0.013 * sum(range(number)), 0)
    return session("crowd", *members, usage=total, samples=samples)


def wide() -> Json:
    """Names and texts that a terminal shows wider or narrower than they are long."""
    members = [
        agent(name, "working", role="役割", since=NOW - 300, doing="tool",
              detail=f"Write: {name}/漢字 👨‍👩‍👧 a\u0308o\u0308.txt")
        for name in WIDE_NAMES
    ]  # fmt: skip
    text = "Write: 日本語の長い名前のファイル👩‍💻 [red]no markup[/] " + "長い" * 60
    asked = ask(text, k1="はい、許可します" * 8, k2="いいえ") | {"tool": "Write"}
    members[1] |= {"status": "blocked", "ask": asked}
    return session("广", *members)


def nobody() -> Json:
    """A session without agents."""
    return session("empty")


def down() -> Json:
    """A session that was ended."""
    members = [agent(name, "stopped", role="worker", since=NOW - 7200) for name in ("ana", "bob")]
    return session("release", *members, state="down", supervisor=None)


def webshop() -> Json:
    """The world of the README's picture."""
    world: Json = json.loads(README_WORLD.read_text(encoding="utf-8"))
    return world


def screen(*lines: str) -> Json:
    """What the stream of a live screen tells."""
    return {"screen": {"lines": list(lines)}}


DIALOG = screen(
    "\x1b[1m●\x1b[m The release branch is behind. I push it, and build what is released.",
    "",
    "\x1b[2m" + "─" * 78 + "\x1b[m",
    "\x1b[1;34m Bash command\x1b[m",
    "",
    "   git push --force origin release && rm -rf build dist && make release TARGET=live",
    "   \x1b[2mPush the branch and make the release\x1b[m",
    "",
    " Do you want to proceed?",
    " \x1b[36m❯ 1. Yes\x1b[m",
    "   2. Yes, and don't ask again",
    "   3. No",
)


def _hook(seq: int, hook: str, **more: Any) -> Json:
    return {"event": {"seq": seq, "at": NOW - 60 + seq, "kind": "hook_received", "agent": "ana",
                      "source": "hook", "hook": hook, **more}}  # fmt: skip


EVENTS: list[Json] = [
    {"event": {"seq": 1, "at": NOW - 90_000, "kind": "agent_spawned", "agent": "ana",
               "source": "tmux", "resumed": True, "process": {"pid": 4242}}},
    {"event": {"seq": 2, "at": NOW - 58, "kind": "send_requested", "agent": "ana",
               "source": "person", "sender": "boss", "text": "Make the release.\nThen tell me."}},
    {"event": {"seq": 3, "at": NOW - 57, "kind": "message_judged", "agent": "ana",
               "source": "hook", "number": 12, "verdict": "taken"}},
    _hook(4, "UserPromptSubmit", text="Make the release."),
    _hook(5, "PreToolUse", tool="Bash", argument=COMMAND.partition(" ")[2]),
    _hook(48, "PermissionRequest", tool="Bash", argument=COMMAND.partition(" ")[2]),
]  # fmt: skip

# Of these, what is said to agents and by them: the tab of messages asks for no other.
TALK = [line for line in EVENTS if line["event"]["kind"] in SPOKEN]

REASONS: Json = {
    "agent": "ana",
    "status": "blocked",
    "doing": None,
    "detail": f"asks permission: {COMMAND}",
    "since": NOW - 12,
    "flags": [],
    "doubts": {},
    "quiet_since": None,
    "version": "2.1.329",
    "guess": None,
    "evidence": {"kind": "hook_received", "source": "hook", "at": NOW - 12},
    "said": {
        "screen": {"text": "blocked", "at": NOW - 11.5},
        "hook": {"text": "PermissionRequest Bash", "at": NOW - 12},
        "status": {"text": "waiting", "at": NOW - 11.9},
        "transcript": {"text": "a prompt", "at": NOW - 56},
    },
    "next": [],
    "deadlines": [],
}
