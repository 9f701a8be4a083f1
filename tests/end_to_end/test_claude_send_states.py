"""Messages to real CLIs in whatever state: each arrives once, when it can, and harms nothing."""

import random
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.client import Client
from orchestrator.locations import SessionPaths
from tests.counts import measured
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.looks import asked, of, own_hooks, settled, up, view, wait, wait_status
from tests.support import wait_until

pytestmark = pytest.mark.timeout(240)

ONE = '[[agents]]\nname = "a"\n'
TWO = ONE + '[[agents]]\nname = "b"\n'


def held(claude: Claude, why: str) -> None:
    """Wait until the first message that waits says why."""

    def look(seen: dict[str, object]) -> object:
        return why in (of(seen, "a")["held"] or "")

    wait(claude.crew, look, f"held: {why}")


def arrives(claude: Claude, text: str) -> None:
    # It is looked for less and less often whether a message that was held can be typed.
    claude.api.wait_for(lambda r: r.newest == text, f"{text!r} has arrived", 60)


def shown(claude: Claude, text: str, what: str) -> None:
    wait_until(lambda: text in claude.pane("a"), what, 30)


def asks(claude: Claude, text: str) -> None:
    """Wait until all is known of what it asks: its hook may be told of behind all else."""
    asked(claude, "a", text)
    wait(claude.crew, lambda seen: (of(seen, "a")["ask"] or {}).get("hook"), "its hook")


def test_a_message_waits_for_the_end_of_a_turn_and_of_a_dialog(claude: Claude) -> None:
    up(claude, ONE)
    send = partial(claude.crew, "send", "a")

    def meanwhile(text: str) -> None:
        """Sent now, it is kept: nothing is typed."""
        assert "typed when it is ready" in send(text).stdout
        assert text not in claude.api.prompts()

    send("[[hold busy]]")
    claude.api.wait_held("busy")
    wait_status(claude.crew, a="working")
    meanwhile("while busy")
    claude.api.release("busy")
    arrives(claude, "while busy")
    settled(claude.crew)
    send("[[tool Bash: touch made]]")
    asks(claude, "touch made")
    meanwhile("while it asks")
    claude.crew("answer", "a", "no")
    arrives(claude, "while it asks")
    assert not (claude.root / "made").exists(), "no dialog was answered by it"
    settled(claude.crew)
    send("[[ask: which?|red|blue]] [[say: chosen]]")
    asks(claude, "which?")
    meanwhile("1")
    claude.crew("answer", "a", "blue")
    arrives(claude, "1")
    assert any("blue" in result for r in claude.api.requests for result in r.results)
    settled(claude.crew)
    send("[[error 529 x2]] [[say: recovered]] [[hold recovered]]")
    claude.api.wait_for(lambda r: r.status == 529, "it is refused")
    wait_status(claude.crew, a="working")
    meanwhile("while it is tried again")
    claude.api.release("recovered")
    arrives(claude, "while it is tried again")
    settled(claude.crew)
    # After an error a hint stands in the input line.
    send("[[error 400]]")
    shown(claude, "API Error", "the error is shown")
    send("after an error")
    arrives(claude, "after an error")
    settled(claude.crew)
    with Client.connect(SessionPaths(claude.crew.state), start=False) as client:
        # At once: it is back in a second.
        client.request("restart", agent="a")
        request: dict[str, Any] = {"id": uuid.uuid4().hex, "agent": "a", "text": "while it starts"}
        message = client.request("send", **request)["message"]
    assert "typed when it is ready" in message["detail"]
    arrives(claude, "while it starts")
    settled(claude.crew)
    assert max(Counter(claude.api.prompts()).values()) == 1


def test_a_message_waits_for_a_person_at_the_pane(claude: Claude) -> None:
    up(claude, ONE)
    pane = claude.crew.agent("a")["pane"]
    send = partial(claude.crew, "send", "a")
    claude.crew.tmux("copy-mode", "-t", pane)
    send("in copy mode")
    held(claude, "copy mode")
    claude.keys("a", "q")
    arrives(claude, "in copy mode")
    settled(claude.crew)
    claude.keys("a", "-l", "half a thought")
    shown(claude, "half a thought", "it is drawn")
    send("behind a draft")
    held(claude, "somebody is typing there")
    claude.keys("a", "-l", ", and the rest")
    shown(claude, "and the rest", "it is drawn")
    claude.keys("a", "Enter")
    arrives(claude, "half a thought, and the rest")
    arrives(claude, "behind a draft")
    settled(claude.crew)
    claude.keys("a", "-l", "/model")
    shown(claude, "/model", "it is drawn")
    claude.keys("a", "Enter")
    shown(claude, "Esc to cancel", "the menu is open")
    send("behind a menu")
    wait(claude.crew, lambda seen: seen["messages"], "it waits")
    claude.press("a", "Escape")
    arrives(claude, "behind a menu")
    settled(claude.crew)
    assert max(Counter(claude.api.prompts()).values()) == 1


# -- many -----------------------------------------------------------------------------------------


class Storm:
    """Messages of every kind to two agents, and a person who answers and meddles meanwhile."""

    def __init__(self, claude: Claude, seed: int) -> None:
        self.claude = claude
        self.random = random.Random(seed)
        self.sent: dict[str, str] = {}

    def send(self, number: int) -> None:
        agent = self.random.choice("ab")
        kinds = ("", "[[sleep 0.2]]", f"[[tool Bash: touch f{number}]]", "[[error 529 x1]]")
        weights = (6, 2, 1, 1)
        (kind,) = self.random.choices(kinds, weights)
        text = f"m{number} {kind} [[say: s{number}]]"
        self.claude.crew("send", agent, text)
        self.sent[text] = agent
        if self.random.random() < 0.2:
            self.meddle(agent)
        self.answer()

    def meddle(self, agent: str) -> None:
        """What a person's hands do in a pane, and undo."""
        pane = of(view(self.claude.crew), agent)["pane"]
        tmux = self.claude.crew.tmux
        if self.random.random() < 0.5:
            tmux("copy-mode", "-t", pane)
            tmux("send-keys", "-t", pane, "-X", "cancel")
        elif of(view(self.claude.crew), agent)["status"] == "ready":
            tmux("send-keys", "-t", pane, "-l", "x")
            tmux("send-keys", "-t", pane, "C-u")

    def answer(self) -> None:
        """Say yes to whoever asks, as `crew status` shows it."""
        for agent in view(self.claude.crew)["agents"]:
            if agent["ask"] and agent["ask"]["options"]:
                self.claude.crew("answer", agent["name"], "yes", check=False)

    def settle(self, deadline: float) -> None:
        def over() -> bool:
            self.answer()
            seen = view(self.claude.crew)
            ready = all(agent["status"] == "ready" for agent in seen["agents"])
            waiting = [m for m in seen["messages"] if m["state"] != "unconfirmed"]
            return ready and not waiting

        wait_until(over, "everything has arrived", deadline)

    def count(self) -> tuple[list[str], list[str]]:
        """What never arrived where it was sent, and what did twice."""
        conversations = {agent: self.claude.conversation(agent) for agent in "ab"}
        told = {a: Counter(self.claude.api.prompts(c)) for a, c in conversations.items()}
        lost = [text for text, agent in self.sent.items() if not told[agent][text]]
        twice = [text for text, agent in self.sent.items() if told[agent][text] > 1]
        return lost, twice


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("hooks", ["hooks", "hooks gone half-way"])
def test_many_messages_in_every_state(
    claude: Claude, count: Callable[[str, int, int], int], hooks: str
) -> None:
    many = count(f"messages to real CLIs, {hooks}", 6, 200)
    copies: tuple[Path, ...] = ()
    if hooks != "hooks":
        copies = own_hooks(claude)
    up(claude, TWO)
    storm = Storm(claude, many)
    for number in range(many):
        if copies and number == many // 2:
            for copy in copies:
                copy.unlink()
        storm.send(number)
    storm.settle(deadline=90 + 3 * many)
    lost, twice = storm.count()
    states = Counter(m["state"] for m in view(claude.crew)["messages"])
    measured(f"messages to real CLIs, {hooks}: lost", len(lost), "")
    measured(f"messages to real CLIs, {hooks}: twice", len(twice), "")
    measured(f"messages to real CLIs, {hooks}: unconfirmed", states["unconfirmed"], "")
    assert twice == []
    assert lost == []
    if not copies:
        assert states["unconfirmed"] == 0
    assert [a["run"] for a in view(claude.crew)["agents"]] == [1, 1]
    assert faults.journal(claude.crew, "hook_received")
