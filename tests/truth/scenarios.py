"""What a CLI can do and what can be done to it: each as a person at its pane does it.

A scenario ends with its agent at an empty prompt, or dead.
"""

import json
import os
import signal
import time
from collections.abc import Callable

from tests.truth.observers import Death, Tool, born
from tests.truth.runner import (
    ANSWERS,
    BY_PROCESS,
    BY_SCREEN,
    CUT,
    READY,
    Driver,
    Hold,
    Scenario,
)

SCENARIOS: list[Scenario] = []
Play = Callable[..., None]


def scenario(*agents: str, quick: bool = False) -> Callable[[Play], Play]:
    """The function is a scenario of these agents; its name is the function's."""

    def add(play: Play) -> Play:
        SCENARIOS.append(Scenario(play.__name__.replace("_", " "), agents, play, quick))
        return play

    return add


# -- its start -------------------------------------------------------------------------------------


@scenario("new")
def started(on: Driver) -> None:
    on.launch()
    on.is_over(born(on.pid))


def first_dialog(on: Driver, shown: str, name: str, key: str, label: str) -> None:
    """Launched, asked, and answered by hand with yes."""
    on.launch()
    at = on.pane.until(shown)
    on.step("blocked/dialog", cause=born(on.pid), at=at, says=name, sources=BY_SCREEN)
    cause = on.choose(key, label)
    on.passing("starting", cause=cause)
    on.is_over(cause)


@scenario("trust")
def trust_dialog(on: Driver) -> None:
    first_dialog(on, "Yes, I trust this folder", "trust", "Up", "Yes, I trust")


@scenario("api-key")
def api_key_dialog(on: Driver) -> None:
    first_dialog(on, "Do you want to use this API key", "api key", "Up", "Yes")


@scenario("bypass")
def bypass_dialog(on: Driver) -> None:
    first_dialog(on, "Yes, I accept", "bypass permissions", "Down", "Yes, I accept")


@scenario("add-directory")
def add_directory_dialog(on: Driver) -> None:
    first_dialog(on, "Adding a new directory", "add directory", "Down", "Yes, add it")


# -- a turn ----------------------------------------------------------------------------------------


@scenario("a")
def an_answer(on: Driver) -> None:
    """No byte yet; then words, and a stop in their middle; then the end."""
    first, midst = on.hold(), on.hold()
    cause = on.enter(f"{first} [[say: I begin]] [[say: so]] {midst} [[say: and end]]")
    on.answers(cause)
    first.let_go()
    on.pane.until("● I begin")
    on.stays(on.stage.dwell)
    on.is_over(midst.let_go(), says="I begin")


@scenario("a", quick=True)
def a_tool(on: Driver) -> None:
    first, last, tool = on.hold(), on.hold(), on.tool()
    on.answers(on.enter(f"{first} [[tool Bash: {tool.command}]] {last} [[say: done]]"))
    on.runs(tool, first.let_go())
    ended = tool.let_go()
    on.answers(ended, on.asked(ended))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def a_long_tool(on: Driver) -> None:
    """Nothing moves for as long as it runs, which is no stall."""
    last, tool = on.hold(), on.tool()
    cause = on.enter(f"[[tool Bash: {tool.command}]] {last} [[say: done]]")
    on.passing(*ANSWERS, cause=cause)
    on.runs(tool, cause)
    on.stays(5.0)
    ended = tool.let_go()
    on.answers(ended, on.asked(ended))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def two_tools_at_once(on: Driver) -> None:
    first, last, one, two = on.hold(), on.hold(), on.tool(), on.tool()
    calls = f"[[tool Bash: {one.command}]] [[tool Bash: {two.command}]]"
    on.answers(on.enter(f"[[parallel]] {first} {calls} {last} [[say: done]]"))
    on.runs(one, first.let_go())
    one.let_go()
    two.began()
    on.is_told(two.command)
    ended = two.let_go()
    on.answers(ended, on.asked(ended))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def prompt_queued(on: Driver) -> None:
    """Taken while it is busy, and answered at once behind the first: there is no end in between."""
    first, second = on.hold(), on.hold()
    on.answers(on.enter(f"{first} [[say: one]]"))
    on.enter(f"{second} [[say: two]]")
    on.pane.until("Press up to edit queued messages")
    on.stays(on.stage.dwell)
    cause = first.let_go()
    at = on.asked(cause)
    on.stays(on.stage.dwell)
    on.passing_idle(cause, at)
    on.is_over(second.let_go(), says="two")


@scenario("a")
def prompt_queued_in_a_tool(on: Driver) -> None:
    """The model is told of it with what the tool gave back: it is one turn, with one end."""
    first, last, tool = on.hold(), on.hold(), on.tool()
    on.answers(on.enter(f"{first} [[tool Bash: {tool.command}]] [[say: one]]"))
    on.runs(tool, first.let_go())
    on.enter(f"{last} [[say: two]]")
    on.pane.until("Press up to edit queued messages")
    on.stays(on.stage.dwell)
    ended = tool.let_go()
    on.answers(ended, on.asked(ended))
    on.is_over(last.let_go(), says="two")


@scenario("a")
def interrupted_with_a_queue(on: Driver) -> None:
    """What waited is sent at once."""
    midst, second = on.hold(), on.hold()
    on.answers(on.enter(f"[[say: I begin]] [[say: so]] {midst} [[say: never]]"))
    on.enter(f"{second} [[say: two]]")
    on.pane.until("Press up to edit queued messages")
    cause = on.pane.keys("Escape")
    at = on.asked(cause)
    on.stays(on.stage.dwell)
    on.passing_idle(cause, at, CUT)
    on.is_over(second.let_go(), says="two")


@scenario("a")
def stalled_stream(on: Driver) -> None:
    """Its bytes stop; it is working until a person ends it."""
    cause = on.enter("[[stall]] [[say: some words and no more]]")
    on.answers(cause)
    on.stays(2.0)
    on.pane.until("esc to interrupt")
    on.is_over(on.pane.keys("Escape"), CUT)
    on.clean()


@scenario("a")
def draft(on: Driver) -> None:
    """A person who types changes nothing."""
    on.pane.type("half a thought")
    on.pane.until("half a thought")
    on.stays(on.stage.dwell)
    on.clean()
    on.pane.until("half a thought", gone=True)


@scenario("a")
def menu(on: Driver) -> None:
    """One that a person opens: nothing can be said to it until it is closed."""
    cause = on.pane.press("/model", "Enter")
    on.passing(*ANSWERS, cause=cause)
    on.step("blocked/dialog", cause=cause, at=on.filed("waiting", cause))
    cause = on.pane.press("Escape")
    on.passing(*ANSWERS, cause=cause)
    on.is_over(cause)


@scenario("a", "b")
def two_agents_in_one_folder(one: Driver, other: Driver) -> None:
    first, second, tool = one.hold(), other.hold(), other.tool()
    one.answers(one.enter(f"{first} [[say: one]]"))
    other.answers(other.enter(f"{second} [[tool Bash: {tool.command}]] [[say: other]]"))
    one.is_over(first.let_go(), says="one")
    other.runs(tool, second.let_go())
    ended = tool.let_go()
    other.passing("working/thinking", cause=ended)
    other.is_over(ended, says="other")


# -- what it asks ----------------------------------------------------------------------------------


def permission(on: Driver) -> tuple[Hold, Tool]:
    """It asks for a command."""
    first, last, tool = on.hold(), on.hold(), on.tool("gated")
    on.answers(on.enter(f"{first} [[tool Bash: {tool.command}]] {last} [[say: done]]"))
    on.asks(first.let_go(), "permission", f"Bash: {tool.command}", "permission")
    return last, tool


@scenario("a")
def permission_yes(on: Driver) -> None:
    """Answered by `crew answer`, which the hook that waits gives to the CLI."""
    last, tool = permission(on)
    cause = time.monotonic()
    on.stage.crew("answer", on.name, "yes")
    on.runs(tool, cause)
    ended = tool.let_go()
    on.answers(ended, on.asked(ended))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def permission_no(on: Driver) -> None:
    """Refused by `crew answer`: the model is told so, and goes on."""
    last, _ = permission(on)
    cause = time.monotonic()
    on.stage.crew("answer", on.name, "no", "--because", "not now")
    on.answers(cause)
    on.is_over(last.let_go(), says="done")


@scenario("a", quick=True)
def permission_by_hand(on: Driver) -> None:
    """No hook tells of that: only the status file does."""
    last, tool = permission(on)
    on.runs(tool, on.pane.press("1"))
    ended = tool.let_go()
    on.answers(ended, on.asked(ended))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def permission_for_a_quick_tool(on: Driver) -> None:
    """It is over before the status file tells that the dialog is."""
    first, last = on.hold(), on.hold()
    on.answers(on.enter(f"{first} [[tool Bash: touch made]] {last} [[say: done]]"))
    on.asks(first.let_go(), "permission", "Bash: touch made", "permission")
    cause = on.pane.press("1")
    on.passing("working/tool", cause=cause)
    on.answers(cause, on.asked(cause))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def permission_escaped(on: Driver) -> None:
    permission(on)
    on.is_over(on.pane.press("Escape"), CUT)
    on.clean()


@scenario("a")
def question(on: Driver) -> None:
    first, last = on.hold(), on.hold()
    on.answers(on.enter(f"{first} [[ask: Which?|One|Other]] {last} [[say: done]]"))
    on.asks(first.let_go(), "question", "Which?", "input")
    on.is_told("2. Other")
    on.answers(on.pane.press("2"))
    on.is_over(last.let_go(), says="done")


@scenario("a")
def question_escaped(on: Driver) -> None:
    cause = on.enter("[[ask: Which?|One|Other]]")
    on.passing(*ANSWERS, cause=cause)
    on.asks(cause, "question", "Which?", "input")
    on.is_over(on.pane.press("Escape"), CUT)
    on.clean()


@scenario("planner")
def plan_approval(on: Driver) -> None:
    first, last = on.hold(), on.hold()
    plan = json.dumps({"plan": "# The plan\n1. think\n2. act"})
    on.answers(on.enter(f"{first} [[tool ExitPlanMode {plan}]] {last} [[say: off we go]]"))
    on.asks(first.let_go(), "permission", "ExitPlanMode")
    cause = on.pane.press("1")
    on.passing("working/tool", cause=cause)
    on.answers(cause, on.asked(cause))
    on.is_over(last.let_go())


# -- what goes wrong in it -------------------------------------------------------------------------


@scenario("a")
def api_error(on: Driver) -> None:
    """403 is final at once: the turn is over."""
    first = on.hold()
    on.answers(on.enter(f"{first} [[error 403]]"))
    on.is_over(first.let_go(), says="403")
    on.clean()


@scenario("a")
def bad_request(on: Driver) -> None:
    """400 is tried in other shapes first, all within a moment."""
    first = on.hold()
    on.answers(on.enter(f"{first} [[error 400]]"))
    on.is_over(first.let_go(), says="400")
    on.clean()


@scenario("a")
def interrupted_at_once(on: Driver) -> None:
    """The CLI puts the prompt back into its input line."""
    first = on.hold()
    cause = on.enter(f"{first} [[say: never]]")
    on.passing(*ANSWERS, cause=cause, at=on.filed("busy", cause))
    on.is_over(on.pane.keys("Escape"), CUT)
    on.clean()


@scenario("a")
def interrupted_before_the_first_byte(on: Driver) -> None:
    first = on.hold()
    on.answers(on.enter(f"{first} [[say: never]]"))
    on.pane.until("esc to interrupt")
    on.is_over(on.pane.keys("Escape"), CUT)
    on.clean()


@scenario("a", quick=True)
def interrupted_in_an_answer(on: Driver) -> None:
    midst = on.hold()
    on.answers(on.enter(f"[[say: I begin]] [[say: so]] {midst} [[say: never]]"))
    on.pane.until("● I begin")
    on.is_over(on.pane.keys("Escape"), CUT)
    on.clean()


@scenario("a")
def interrupted_in_a_tool(on: Driver) -> None:
    first, tool = on.hold(), on.tool()
    on.answers(on.enter(f"{first} [[tool Bash: {tool.command}]] [[say: never]]"))
    on.runs(tool, first.let_go())
    on.pane.until("esc to interrupt")
    on.is_over(on.pane.keys("Escape"), CUT)
    on.clean()


# -- what goes on beside it ------------------------------------------------------------------------


def agent_call(task: str) -> str:
    given = {"description": "a task", "prompt": task, "subagent_type": "general-purpose"}
    return f"[[tool Agent {json.dumps(given)}]]"


@scenario("a")
def sub_agent_outlives_the_turn(on: Driver) -> None:
    first, last, sub, after = on.hold(), on.hold(), on.hold(), on.hold()
    on.stage.api.unprompted = f"{after} [[say: it has ended]]"
    call = agent_call(f"{sub} [[say: sub]]")
    on.answers(on.enter(f"{first} {call} {last} [[say: sent]]"))
    let_go = first.let_go()
    on.passing("working/tool", cause=let_go)
    on.passing(*ANSWERS, cause=let_go)
    sub.reached()
    let_go = last.let_go()
    at = on.pane.until("Waiting for 1 background agent")
    on.step("working/background", cause=let_go, at=at)
    let_go = sub.let_go()
    at = on.asked(let_go)
    on.stays(on.stage.dwell)
    if not on.passing_idle(let_go, at):
        on.answers(let_go, at)
    on.is_over(after.let_go(), says="it has ended")


@scenario("a")
def sub_agent_asks(on: Driver) -> None:
    """Its dialog is the session's, and its own hooks are not."""
    first, last, sub, after = on.hold(), on.hold(), on.hold(), on.hold()
    tool = on.tool("gated")
    on.stage.api.unprompted = f"{after} [[say: it has ended]]"
    call = agent_call(f"{sub} [[tool Bash: {tool.command}]] [[say: sub]]")
    on.answers(on.enter(f"{first} {call} {last} [[say: sent]]"))
    let_go = first.let_go()
    on.passing("working/tool", cause=let_go)
    on.passing(*ANSWERS, cause=let_go)
    sub.reached()
    let_go = last.let_go()
    at = on.pane.until("Waiting for 1 background agent")
    on.step("working/background", cause=let_go, at=at)
    let_go = sub.let_go()
    on.step("blocked/permission", cause=let_go, at=on.filed("waiting", let_go))
    cause = on.pane.press("1")
    tool.began()
    at = on.filed("busy", cause)
    on.step("working/background", "working/tool", *ANSWERS, cause=cause, at=at)
    ended = tool.let_go()
    # Of the sub-agent, then of the turn that its end begins.
    at = on.asked_again(ended, 1)
    on.stays(on.stage.dwell)
    if not on.passing_idle(ended, at):
        on.passing(*ANSWERS, cause=ended)
    on.is_over(after.let_go(), says="it has ended")


@scenario("a")
def background_shell(on: Driver) -> None:
    """A prompt is taken at once, whatever runs in the background; its end begins another turn."""
    first, last, after, tool = on.hold(), on.hold(), on.hold(), on.tool()
    on.stage.api.unprompted = f"{after} [[say: it has ended]]"
    given = {"command": tool.command, "description": "a task", "run_in_background": True}
    call = f"[[tool Bash {json.dumps(given)}]]"
    on.answers(on.enter(f"{first} {call} {last} [[say: sent]]"))
    let_go = first.let_go()
    on.passing("working/tool", cause=let_go)
    on.passing(*ANSWERS, cause=let_go)
    tool.began()
    let_go = last.let_go()
    on.step("ready", cause=let_go, at=on.filed("shell", let_go))
    ended = tool.let_go()
    after.reached()
    on.answers(ended, on.asked(ended))
    on.is_over(after.let_go(), says="it has ended")


@scenario("a")
def compacted(on: Driver) -> None:
    on.has_spoken()
    summary = on.hold()
    on.stage.api.unprompted = f"{summary} [[say: the sum of it]]"
    cause = on.pane.press("/compact", "Enter")
    on.passing(*ANSWERS, cause=cause)
    on.step("working/compacting", cause=cause, at=on.asked(cause))
    on.is_over(summary.let_go())


@scenario("a")
def cleared(on: Driver) -> None:
    """Another conversation, at the same prompt."""
    on.has_spoken()
    before = on.conversation()
    cause = on.pane.press("/clear", "Enter")
    # Any command makes its file say so for a moment.
    on.passing(*ANSWERS, cause=cause)
    on.stage.files.wait(
        lambda f: f.pid == on.pid and f.conversation not in ("", before),
        cause,
        "a new conversation",
    )
    on.is_over(cause, says="a fresh conversation")


# -- the limits of others --------------------------------------------------------------------------


RETRIES = "retrying"
REFUSED = "^. 429 .* retrying"


@scenario("a")
def retried(on: Driver) -> None:
    """529 twice (a third one is final): the request is repeated, and then answered."""
    midst = on.hold()
    cause = on.enter(
        f"[[retry-after 2]] [[error 529 x2]] [[say: recovered]] {midst} [[say: at last]]"
    )
    on.passing(*ANSWERS, cause=cause)
    on.step("working/retrying", cause=on.asked(cause), at=on.pane.until(RETRIES))
    answered = on.asked_again(cause, 2)
    on.step(*ANSWERS, cause=answered, at=on.pane.until(RETRIES, gone=True))
    on.is_over(midst.let_go())


@scenario("a")
def given_up(on: Driver) -> None:
    """529 three times is final."""
    cause = on.enter("[[retry-after 2]] [[error 529]]")
    on.passing(*ANSWERS, cause=cause)
    on.step("working/retrying", cause=on.asked(cause), at=on.pane.until(RETRIES))
    on.is_over(cause, says="529")
    on.clean()


@scenario("a")
def cut_stream(on: Driver) -> None:
    """The connection drops in the middle of an answer, twice."""
    last = on.hold()
    cause = on.enter(f"[[midfail x2]] [[say: some words and more]] {last}")
    on.passing(*ANSWERS, cause=cause)
    on.step("working/retrying", cause=on.asked(cause), at=on.pane.until(RETRIES))
    again = on.asked_again(cause, 2)
    on.step(*ANSWERS, cause=again, at=on.pane.until(RETRIES, gone=True))
    on.is_over(last.let_go())


@scenario("a")
def limited(on: Driver) -> None:
    """429: the CLI says so from the third time on; then it is answered."""
    midst = on.hold()
    cause = on.enter(f"[[error 429 x3]] [[say: recovered]] {midst} [[say: at last]]")
    on.passing(*ANSWERS, cause=cause)
    on.step("working/retrying", cause=on.asked(cause), at=on.pane.until(RETRIES))
    third = on.asked_again(cause, 2)
    on.step("limited", cause=third, at=on.pane.until(REFUSED), sources=BY_SCREEN)
    answered = on.asked_again(cause, 3)
    on.step(*ANSWERS, cause=answered, at=on.pane.until(REFUSED, gone=True))
    on.is_over(midst.let_go())


# -- its end ---------------------------------------------------------------------------------------


@scenario("mortal")
def left(on: Driver) -> None:
    death = Death(on.pid)
    cause = on.pane.press("/exit", "Enter")
    at = death.at()
    # Any command makes its file say so for a moment.
    on.passing(*ANSWERS, cause=cause)
    on.passing(*READY, cause=cause)
    on.step("exited", cause=cause, at=at, says="exit status 0", sources=BY_PROCESS)


@scenario("mortal")
def terminated(on: Driver) -> None:
    on.dies(lambda: on.kill(signal.SIGTERM), "exit status 143")


@scenario("mortal")
def killed_at_its_prompt(on: Driver) -> None:
    on.dies(lambda: on.kill(signal.SIGKILL), "killed by signal 9")


@scenario("mortal")
def killed_at_work(on: Driver) -> None:
    """Its status file says for ever that it is busy."""
    tool, first = on.tool(), on.hold()
    on.answers(on.enter(f"{first} [[tool Bash: {tool.command}]]"))
    on.runs(tool, first.let_go())
    on.dies(lambda: on.kill(signal.SIGKILL), "killed by signal 9")


@scenario("mortal")
def killed_while_it_asks(on: Driver) -> None:
    permission(on)
    on.dies(lambda: on.kill(signal.SIGKILL), "killed by signal 9")


@scenario("risen")
def resumed_after_a_crash(on: Driver) -> None:
    """In the middle of a turn: it is back at its prompt, with its conversation."""
    on.has_spoken()
    before, pid, midst = on.conversation(), on.pid, on.hold()
    on.answers(on.enter(f"[[say: I begin]] {midst} [[say: never]]"))
    midst.reached()
    death = Death(pid)
    cause = on.kill(signal.SIGKILL)
    on.step("backoff", cause=cause, at=death.at(), sources=BY_PROCESS)
    on.reborn(pid, cause)
    on.step("starting", cause=cause, at=born(on.pid))
    on.is_over(born(on.pid))
    assert on.conversation() == before, "it has its conversation again"


@scenario("risen")
def lost_with_its_terminal(on: Driver) -> None:
    """The tmux server is killed, and with it every pane: it is brought back."""
    on.has_spoken()
    before, pid, server = on.conversation(), on.pid, on.stage.server()
    death = Death(server)
    cause = time.monotonic()
    os.kill(server, signal.SIGKILL)
    on.passing("lost", cause=cause, at=death.at())
    on.reborn(pid, cause)
    on.step("starting", cause=cause, at=born(on.pid))
    on.is_over(born(on.pid))
    assert on.conversation() == before, "it has its conversation again"
