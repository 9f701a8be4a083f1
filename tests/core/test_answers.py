"""What an answer means, what it is bound to, and what it leaves of the status."""

from typing import Any

import pytest

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.answers import begins, decision, label, own_words, shows
from orchestrator.core.state import Ask
from orchestrator.core.views import agent_view
from tests.core.worlds import Play, agent_spec, of, running

WORDS = {"yes": "^Yes$", "always": "don't ask again", "no": "^No", "own words": "^Type something"}
BASH = (
    ("1", "Yes"),
    ("2", "Yes, and don't ask again for: ls *"),
    ("3", "Yes, and switch to auto mode"),
    ("4", "No, and tell it what to do"),
)
MENU = (("1", "No"), ("2", "Yes"))


def ask(**fields: Any) -> Ask:
    given = {"kind": "permission", "text": "Bash: ls", "tool": "Bash", "options": BASH, **fields}
    return Ask(**given)


@pytest.mark.parametrize(
    ("choice", "decided"),
    [
        ("1", "allow"),
        ("yes", "allow"),
        ("Y", "allow"),
        ("allow", "allow"),
        (" Yes ", "allow"),
        ("4", "deny"),
        ("no", "deny"),
        ("n", "deny"),
        ("deny", "deny"),
        ("No, and tell", "deny"),
        ("2", None),
        ("3", None),
        ("always", None),
        ("Yes, and switch", None),
        ("5", None),
        ("", None),
        ("nope", None),
    ],
)
def test_what_is_a_plain_yes_or_no(choice: str, decided: str | None) -> None:
    assert decision(ask(), WORDS, choice) == decided


def test_a_key_means_what_stands_behind_it() -> None:
    assert decision(ask(options=MENU), WORDS, "1") == "deny"
    assert decision(ask(options=MENU), WORDS, "2") == "allow"
    assert decision(ask(options=()), WORDS, "1") is None, "what it is, nobody has seen yet"
    assert decision(ask(options=()), WORDS, "yes") == "allow"


def test_what_was_decided_is_called_by_its_name() -> None:
    assert label(ask(), WORDS, "no", "deny") == "No, and tell it what to do"
    assert label(ask(), WORDS, "1", "allow") == label(ask(), WORDS, "allow", "allow") == "Yes"
    assert label(ask(options=()), WORDS, "no", "deny") == "No", "its screen shows it a moment later"


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "question"},
        {"kind": "dialog"},
        {"tool": None},
        {"tool": "ExitPlanMode"},
        {"tool": "AskUserQuestion"},
    ],
)
def test_only_a_tool_is_allowed_or_denied(other: dict[str, Any]) -> None:
    assert decision(ask(**other), WORDS, "yes") is None
    assert decision(ask(**other), WORDS, "no") is None


def test_own_words_have_a_choice_of_their_own() -> None:
    options = (("1", "Red"), ("2", "Type something."), ("3", "Chat about this"))
    assert own_words(options, WORDS) == "2"
    assert own_words(options[:1], WORDS) is None
    assert own_words(options, {}) is None
    typed = (("1", "Red"), ("2", "light gre"), ("3", "Chat about this"))
    assert own_words(typed, WORDS) is None, "somebody is typing there"


def test_the_row_of_a_text() -> None:
    assert begins("a  light green, with dots", "a light green,")
    assert not begins("a light green", "a light green, not")
    assert not begins("a light green", "")


# -- bound to the request -------------------------------------------------------------------------


def asks(key: str | None = "k1", command: str = "ls") -> Play:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="go")
    request(play, key, command)
    return play


def request(play: Play, key: str | None, command: str = "ls") -> None:
    play.hook("a", "PreToolUse", tool="Bash", argument=command)
    play.hook("a", "PermissionRequest", tool="Bash", argument=command, key=key)


def answered(play: Play, choice: str = "yes", **fields: Any) -> list[Any]:
    request = f"r{len(play.journal)}"
    given = ev.AnswerRequested(
        agent="a", choice=choice, request=request, **fields, **play.stamp("person")
    )
    return list(play.give(given))


def test_the_request_that_was_seen_is_answered_and_no_later_one() -> None:
    play = asks("k1")
    request(play, "k2")
    current = play.world.agents["a"].ask
    assert (current and current.hook, current and current.text) == ("k2", "Bash: ls")
    (reply,) = answered(play, asked="Bash: ls", hook="k1")
    assert reply.body["error"] == "a asks something else now: Bash: ls"
    (given,) = answered(play, asked="Bash: ls", hook="k2", reason="why")
    assert (given.ask.hook, given.reason) == ("k2", "why")


def test_of_two_requests_in_a_row_each_has_its_own_choices() -> None:
    """Nothing was heard between them: the screen is read again."""
    play = asks("k1")
    shown = "Bash command\nls"
    play.give(
        ev.ScreenSeen(
            agent="a", run=1, status="blocked", text=shown, options=BASH, **play.stamp("screen")
        )
    )
    play.hook("a", "PermissionRequest", tool="Write", argument="f", key="k2")
    current = play.world.agents["a"].ask
    assert current is not None
    assert (current.text, current.options, current.shown) == ("Write: f", (), None)
    assert len(of(play, ef.LookAtScreen)) == 1


def test_the_status_file_tells_of_the_same_request() -> None:
    play = asks("k1")
    play.status_file("a", "blocked", waiting_for="permission prompt")
    current = play.world.agents["a"].ask
    assert (current and current.hook, current and current.text) == ("k1", "Bash: ls")


def at_once(*commands: str) -> Play:
    """Tools that run side by side ask in the same moment; one dialog is shown."""
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="go")
    for command in commands:
        play.hook("a", "PreToolUse", tool="Read", argument=command)
    for command in commands:
        play.hook("a", "PermissionRequest", tool="Read", argument=command, key=f"k-{command}")
    play.status_file("a", "blocked", waiting_for="permission prompt")
    return play


def current(play: Play) -> str | None:
    ask = play.world.agents["a"].ask
    return None if ask is None else ask.text


def done(play: Play, given: Any, refused: str | None = None) -> None:
    play.give(
        ev.AnswerGiven(
            agent="a",
            run=1,
            request=given.request,
            choice="yes",
            hook=given.ask.hook,
            refused=refused,
            **play.stamp("crew"),
        )
    )


def test_requests_of_one_moment_are_asked_one_after_the_other() -> None:
    play = at_once("x", "y", "z")
    assert current(play) == "Read: z"
    for this, following in (("z", "y"), ("y", "x")):
        (given,) = answered(play, asked=f"Read: {this}", hook=f"k-{this}")
        done(play, given)
        assert current(play) == f"Read: {following}"
        assert play.world.agents["a"].detail == f"asks permission: Read: {following}"
        assert len(of(play, ef.LookAtScreen)) == 1
    (given,) = answered(play)
    done(play, given)
    assert current(play) == "Read: x", "until a report says that nothing is asked"
    play.status_file("a", "working")
    assert (play.status("a"), play.world.agents["a"].behind) == ("working", ())


def test_an_answer_that_was_not_given_moves_nothing_on() -> None:
    play = at_once("x", "y")
    (given,) = answered(play)
    done(play, given, refused="no")
    assert current(play) == "Read: y"


@pytest.mark.parametrize("words", ["x", "y"])
def test_an_answer_takes_only_its_own_request_away(words: str) -> None:
    """The next request came, of the same words even, before the answer to this had arrived."""
    play = at_once("x")
    (given,) = answered(play)
    play.hook("a", "PermissionRequest", tool="Read", argument=words, key="k-new")
    assert play.world.agents["a"].answering is None, "it can be answered"
    done(play, given)
    agent = play.world.agents["a"]
    assert agent.ask is not None
    assert (agent.ask.hook, agent.behind) == ("k-new", ())


def test_what_waits_behind_is_forgotten_when_nothing_is_asked() -> None:
    """Also by a report that is older than the answer, but newer than the question."""
    play = at_once("x", "y")
    (given,) = answered(play)
    before = play.now - 0.5
    done(play, given)
    assert current(play) == "Read: x"
    play.status_file("a", "ready", at=before)
    play.settle("a")
    assert (play.status("a"), play.world.agents["a"].behind) == ("ready", ())


@pytest.mark.parametrize(("before", "waits"), [(0.013, True), (5.0, False)])
def test_requests_of_one_moment_may_be_read_in_any_order(before: float, waits: bool) -> None:
    play = running(agent_spec("a"))
    play.now += 10
    play.hook("a", "UserPromptSubmit", text="go")
    play.hook("a", "PermissionRequest", tool="Read", argument="x", key="k-x")
    at = play.now - 1 - before
    play.hook("a", "PermissionRequest", at, tool="Read", argument="y", key="k-y")
    behind = [one.text for one in play.world.agents["a"].behind]
    assert (current(play), behind) == ("Read: x", ["Read: y"] if waits else [])


def test_another_tool_of_the_same_moment_ends_no_question() -> None:
    """It begins beside the one that asks; the status file is read a moment later."""
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="go")
    play.hook("a", "PreToolUse", tool="Read", argument="x")
    play.hook("a", "PermissionRequest", tool="Read", argument="x", key="k-x")
    asked = play.now - 1
    play.hook("a", "PreToolUse", asked + 0.002, tool="Read", argument="y")
    play.hook("a", "PermissionRequest", asked + 0.003, tool="Read", argument="y", key="k-y")
    play.status_file("a", "blocked", asked + 0.001, waiting_for="permission prompt")
    agent = play.world.agents["a"]
    assert (current(play), [one.text for one in agent.behind]) == ("Read: y", ["Read: x"])
    play.status_file("a", "working")
    play.hook("a", "PreToolUse", tool="Read", argument="z")
    assert (play.status("a"), play.world.agents["a"].detail) == ("working", "Read: z")


@pytest.mark.parametrize(("before", "told"), [(0.5, True), (5.0, False)])
def test_the_hook_of_a_request_may_be_read_after_the_status_file(before: float, told: bool) -> None:
    play = running(agent_spec("a"))
    play.hook("a", "UserPromptSubmit", text="go")
    play.now += 10
    play.status_file("a", "blocked", waiting_for="permission prompt")
    at = play.now - 1 - before
    play.hook("a", "PermissionRequest", at, tool="Bash", argument="ls", key="k1")
    ask = play.world.agents["a"].ask
    assert ask is not None
    assert (ask.text, ask.hook) == (("Bash: ls", "k1") if told else ("permission prompt", None))


def test_a_dialog_is_about_what_is_asked() -> None:
    about = ask(text="Read: /etc/some/long file", tool="Read")
    assert shows("Read file\n Read(/etc/some/lo\nng file)\nProceed?", about)
    assert not shows("Read file\n Read(/etc/other)\nProceed?", about)
    long = Ask(kind="permission", text=f"Bash: echo {'again ' * 400}", tool="Bash")
    assert shows(f"Bash command\n echo {'again ' * 50}", long), "a screen holds no more of it"
    assert not shows("Bash command\n echo again", long)


# -- what goes on after it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "detail"), [("yes", "Bash: ls"), ("always", "Bash: ls"), ("no", "")]
)
def test_what_was_denied_is_not_shown_as_running(choice: str, detail: str) -> None:
    play = asks()
    (given,) = answered(play, choice)
    play.status_file("a", "working")
    assert (play.status("a"), play.world.agents["a"].detail) == ("working", detail)
    result = ev.AnswerGiven(
        agent="a",
        run=1,
        request=given.request,
        choice=choice,
        by="hook",
        label="its label",
        **play.stamp("crew"),
    )
    play.give(result)
    (reply,) = of(play, ef.Reply)
    assert (reply.exit, reply.body) == (0, {"choice": choice, "label": "its label"})


@pytest.mark.parametrize("mistake", [False, True])
def test_a_no_that_was_not_given_denies_nothing(mistake: bool) -> None:
    play = asks()
    (given,) = answered(play, "no")
    refused = ev.AnswerGiven(
        agent="a",
        run=1,
        request=given.request,
        choice="no",
        refused="no such choice",
        mistake=mistake,
        **play.stamp("crew"),
    )
    play.give(refused)
    (reply,) = of(play, ef.Reply)
    assert (reply.exit, reply.body["error"]) == (2 if mistake else 1, "no such choice")
    play.status_file("a", "working")
    assert play.world.agents["a"].detail == "Bash: ls"


def test_the_view_names_the_hook() -> None:
    play = asks("k1")
    assert agent_view(play.world, play.world.agents["a"])["ask"]["hook"] == "k1"
