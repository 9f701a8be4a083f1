"""Answers to the dialogs of real CLIs: the model sees what was decided, and nothing else."""

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.client import Client
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.looks import View, asked, of, own_hooks, up, view, wait, wait_status
from tests.end_to_end.test_answers import given, nobody_waits, waiting
from tests.support import wait_until

BOSS = '[[agents]]\nname = "boss"\n'
PLANNER = '[[agents]]\nname = "worker-1"\nmode = "plan"\n'


def results(claude: Claude, agent: str) -> tuple[str, ...]:
    """What tools gave back to the agent, or what it was told instead."""
    conversation = claude.conversation(agent)
    told = (r.results for r in claude.api.requests if r.conversation == conversation)
    return max(told, key=len, default=())


def over(claude: Claude, agent: str, result: str, count: int) -> None:
    """The turn has ended, and its last tool of so many gave `result`."""
    wait(claude.crew, lambda seen: of(seen, agent)["status"] == "ready", f"{agent} is ready")
    assert len(results(claude, agent)) == count
    assert result in results(claude, agent)[-1]


def copy_mode(claude: Claude, agent: str) -> None:
    claude.crew.tmux("copy-mode", "-t", of(view(claude.crew), agent)["pane"])


def hook_waits(claude: Claude, agent: str) -> None:
    """The agent's hook waits beside its dialog: a moment after it has told of it."""
    mark = f"\0CREW_AGENT={agent}\0".encode()

    def waits() -> bool:
        hooks = waiting(claude.crew)
        with contextlib.suppress(OSError):
            its = any(mark in Path(f"/proc/{pid}/environ").read_bytes() for pid in hooks)
            return its and faults.connections(claude.crew.state / "crew.sock") == len(hooks)
        return False

    wait_until(waits, f"the hook of {agent} waits", 30)


def made(claude: Claude, names: Iterable[str]) -> set[str]:
    """Those of these files that are there."""
    return {name for name in names if (claude.root / name).exists()}


def test_permissions_of_two_agents_and_a_plan(claude: Claude) -> None:
    """Allowed, refused with a reason, chosen by number: by hook where it can be, else by keys."""
    up(claude, BOSS + PLANNER)
    crew = claude.crew
    plan = json.dumps({"plan": "# The plan\n1. think\n2. act"})
    crew("send", "worker-1", f"[[tool ExitPlanMode {plan}]] [[say: off we go]]")
    tools = ["Bash: touch a", f"Write: {claude.root / 'b'}", "Bash: touch c"]
    tools += [f"Write: {claude.root / 'd'}", f"Write: {claude.root / 'e'}"]
    crew("send", "boss", " ".join(f"[[tool {each}]]" for each in tools) + " [[say: done]]")

    ask = asked(claude, "boss", "Bash: touch a")
    assert [option["label"] for option in ask["options"]][::3] == ["Yes", "No"]
    assert len(asked(claude, "worker-1", "ExitPlanMode")["options"]) == 2
    status = crew("status").stdout
    assert "2 need you" in status
    assert "boss asks to run Bash: touch a" in status
    assert f"answer boss 4    {ask['options'][3]['label']}" in status
    copy_mode(claude, "boss")
    hook_waits(claude, "boss")
    reason = 'not before "noon":\nüben 😀'
    assert crew("answer", "boss", "no", "--because", reason).stdout == "answered boss: No\n"

    ask = asked(claude, "boss", "Write: ")
    assert [option["label"] for option in ask["options"]][::2] == ["Yes", "No"]
    assert results(claude, "boss") == (reason,)
    # What the other agent asks is not touched by any of it.
    late = crew("answer", "worker-1", "no", "--because", "too long", check=False)
    assert (late.returncode, "answer without it" in late.stderr) == (1, True)
    hook_waits(claude, "boss")
    assert crew("answer", "boss", "1").stdout == "answered boss: Yes\n"
    asked(claude, "boss", "Bash: touch c")
    hook_waits(claude, "boss")
    assert crew("answer", "boss", "y").stdout == "answered boss: Yes\n"

    ask = asked(claude, "boss", str(claude.root / "d"))
    refused = crew("answer", "boss", "2", check=False)
    assert (refused.returncode, "copy mode" in refused.stderr) == (1, True)
    crew.tmux("send-keys", "-t", of(view(crew), "boss")["pane"], "-X", "cancel")
    # With this choice the CLI does not ask again: neither for this file nor for the next.
    crew("answer", "boss", "2")
    over(claude, "boss", "File created", 5)
    assert made(claude, "abcde") == set("bcde")
    by = [e["by"] for e in crew.events("--agent", "boss") if e["kind"] == "answer_given"]
    assert by == ["hook", "hook", "hook", None, "keys"]

    assert of(view(crew), "worker-1")["status"] == "blocked"
    assert crew("answer", "worker-1", "yes").stdout.startswith("answered worker-1: ")
    over(claude, "worker-1", "approved", 1)
    wait(crew, lambda seen: "off we go" in of(seen, "worker-1")["detail"], "its last words")
    nobody_waits(crew)


def test_questions_as_far_as_they_go(claude: Claude) -> None:
    """One choice by number or label, right after it is asked; several, each by its number."""
    up(claude, BOSS)
    crew = claude.crew

    def is_told(seen: View) -> object:
        return (of(seen, "boss")["ask"] or {}).get("hook")

    for number, choice in enumerate(["2", "green", "Gr"], 1):
        crew("send", "boss", f"[[ask: Which colour, {number}?|Red|Green|Blue]]")
        # No wait for the dialog: it is hardly drawn, and loses the keys of its first moment.
        wait(crew, is_told, "its hook tells of it")
        assert crew("answer", "boss", choice).stdout == "answered boss: Green\n"
        over(claude, "boss", f'"Which colour, {number}?"="Green"', number)
        nobody_waits(crew)
    option = [{"label": name, "description": name} for name in ("Ant", "Bee", "Cow")]
    asks = {"question": "Which of them?", "header": "Them", "multiSelect": True, "options": option}
    crew("send", "boss", f"[[tool AskUserQuestion {json.dumps({'questions': [asks]})}]]")
    wait(crew, is_told, "its hook tells of it")
    asked(claude, "boss", "Which of them?")
    wait_until(lambda: "[ ] Bee" in claude.pane("boss"), "the choices are drawn", 30)
    refused = crew("answer", "boss", "bees", check=False)
    assert (refused.returncode, "[ ] Bee" in refused.stderr) == (2, True)
    crew("answer", "boss", "2")
    crew("answer", "boss", "3")
    # Nothing on the screen has a number for going on.
    claude.keys("boss", "Right")
    wait_until(lambda: "Submit answers" in claude.pane("boss"), "what was chosen is shown", 30)
    refused = crew("answer", "boss", "1", check=False)
    assert (refused.returncode, "something else now" in refused.stderr) == (1, True)
    asked(claude, "boss", "Review your answers")
    crew("answer", "boss", "yes")
    over(claude, "boss", '"Which of them?"="Bee, Cow"', 4)
    nobody_waits(crew)


def test_what_is_over_is_not_answered(claude: Claude) -> None:
    """Answered by hand a moment before, and another dialog of the same words in its place."""
    up(claude, BOSS)
    crew = claude.crew
    crew("send", "boss", "[[tool Bash: echo x >>done]] [[tool Bash: echo x >>done]] [[say: so]]")
    first = asked(claude, "boss", "Bash: echo x")
    (hook,) = wait_until(lambda: waiting(crew), "its hook waits", 30)
    claude.press("boss", "1")
    known = (None, first["hook"])
    wait(
        crew,
        lambda seen: (of(seen, "boss")["ask"] or first)["hook"] not in known,
        "the second is told of",
    )
    asked(claude, "boss", "Bash: echo x")
    wait_until(lambda: hook not in waiting(crew), "its hook has ended", 30)
    stale = {"choice": "yes", "asked": first["text"], "hook": first["hook"]}
    with (
        Client.connect(SessionPaths(crew.state), start=False) as client,
        pytest.raises(CrewError, match="asks something else now"),
    ):
        client.request("answer", agent="boss", **stale)
    assert len(results(claude, "boss")) == 1
    claude.press("boss", "4")
    wait_status(crew, boss="ready")
    assert (claude.root / "done").read_text() == "x\n"
    late = crew("answer", "boss", "1", check=False)
    assert (late.returncode, "asks nothing" in late.stderr) == (1, True)
    nobody_waits(crew)
    # No key of it went into the input line, where it would be sent with the next message.
    crew("send", "--wait", "boss", "hello")
    assert claude.api.prompts()[-1] == "hello"


def _by_hand(claude: Claude) -> None:
    claude.press("boss", "1")


def _by_crew(claude: Claude) -> None:
    assert claude.crew("answer", "boss", "yes").stdout == "answered boss: Yes\n"


def on_disk(claude: Claude, text: str) -> None:
    """The look at the dialog about `text` is in the journal: it is shown a moment before."""

    def written() -> bool:
        looks = faults.journal(claude.crew, "screen_seen")
        return any(text in str(look["text"]) and look["options"] for look in looks)

    wait_until(written, "the look at the dialog is on disk", 30)


def test_a_dialog_outlives_the_hook_and_the_supervisor(claude: Claude) -> None:
    up(claude, BOSS)
    crew = claude.crew

    def lose_the_hook() -> None:
        hook_waits(claude, "boss")
        (hook,) = waiting(crew)
        faults.kill(hook)
        nobody_waits(crew)

    def lose_the_supervisor() -> None:
        faults.kill(crew.supervisor())
        wait_until(lambda: not waiting(crew), "its hook has ended", 30)

    cases: list[tuple[Callable[[], None], Callable[[Claude], None]]] = [
        (lose_the_hook, _by_crew),
        (lose_the_supervisor, _by_crew),
        (lose_the_supervisor, _by_hand),
    ]
    for number, (lose, answer) in enumerate(cases, 1):
        crew("send", "boss", f"[[tool Bash: echo {number} >>done]] [[say: so]]")
        asked(claude, "boss", f"Bash: echo {number}")
        on_disk(claude, f"echo {number}")
        lose()
        answer(claude)
        over(claude, "boss", "no output", number)
        nobody_waits(crew)
    assert (claude.root / "done").read_text() == "1\n2\n3\n"
    assert given(crew) == [("keys", None)] * 2
    assert of(view(crew), "boss")["run"] == 1


def test_without_our_scripts_there_are_keys(claude: Claude) -> None:
    hook, asking = own_hooks(claude)
    up(claude, BOSS)
    crew = claude.crew
    heard = []
    for number, script in enumerate((asking, hook), 1):
        script.unlink()
        crew("send", "boss", f"[[tool Bash: touch n{number}]] [[say: so]]")
        # The hook's word of it comes behind what the screen shows, if it is late.
        about = f"Bash: touch n{number}" if hook.exists() else f"touch n{number}"
        ask = asked(claude, "boss", about)
        assert len(ask["options"]) == 4
        refused = crew("answer", "boss", "no", "--because", "no", check=False)
        assert refused.returncode == 1
        heard.append(len(faults.journal(crew, "hook_received")))
        crew("answer", "boss", "yes")
        over(claude, "boss", "no output", number)
    # The second request was told of by the status file, and read from the screen.
    assert made(claude, ("n1", "n2")) == {"n1", "n2"}
    assert len(faults.journal(crew, "hook_received")) > heard[0]
    assert [by for by, _ in given(crew)] == [None, "keys"] * 2


@pytest.mark.full
def test_sub_agents_that_ask_are_answered_one_by_one(claude: Claude) -> None:
    """Their turns end beside the dialogs, and tell so; what is asked stands on the screen alone."""
    up(claude, BOSS)
    crew = claude.crew
    for names in ("pq", "rs"):
        tasks = [f"[[tool Agent: do it [[tool Bash: touch {n}]] [[say: did]]]]" for n in names]
        crew("send", "boss", f"[[parallel]] {' '.join(tasks)} [[say: two]]")
        for _ in names:
            before = made(claude, names)
            ask = asked(claude, "boss", "touch")
            (name,) = [n for n in names if f"touch {n}" in ask["text"]]
            # The first look at a dialog may be older than its number among several.
            if crew("answer", "boss", "yes", check=False).returncode:
                crew("answer", "boss", "yes")
            wait_until(lambda: made(claude, names) != before, "one is done")  # noqa: B023
            assert made(claude, names) == before | {name}
        wait_status(crew, boss="ready")
        nobody_waits(crew)
