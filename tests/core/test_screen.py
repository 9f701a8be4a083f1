"""Screens as a real CLI drew them, shells, and what no CLI would draw."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.screen import Look, choose, plain, read
from orchestrator.core.spec import ScreenPattern, ScreenSpec

SCREENS = Path(__file__).parents[1] / "screens" / "claude" / "2.1.329"

CLAUDE = ScreenSpec(
    patterns=(
        ScreenPattern(
            match=r"^ ?Esc to cancel · Tab to amend$", status="blocked", ask="permission"
        ),
        ScreenPattern(
            match=r"^Enter to select · .*Esc to cancel$", status="blocked", ask="question"
        ),
        ScreenPattern(
            match=r"^ *(Enter to confirm · Esc to cancel|Esc to exit · To add it)",
            status="blocked",
            ask="dialog",
        ),
        ScreenPattern(match=r"^  [⏸⏵].* · esc to interrupt", status="working"),
        ScreenPattern(match=r"^  [⏸⏵]", status="ready"),
    ),
    # After an error the CLI prints a hint where a draft would stand.
    composer=r"^❯(?:\s(?:Resend your message .*|Run /rewind .*|(?P<draft>.*)))?$",
    option=r"^ *(?:❯ )? *(?P<key>\d)\. (?P<label>.+)$",
)

SHELL = ScreenSpec(
    patterns=(
        ScreenPattern(match=r"^Allow .*\[y/n\]", status="blocked", ask="permission"),
        ScreenPattern(match=r"limit reached, (?P<seconds>\d+) s", status="limited"),
        ScreenPattern(match=r"^\$ ?", status="ready"),
    ),
    composer=r"^\$(?: (?P<draft>.*))?$",
    option=r"^\s*(?P<key>[yn]): (?P<label>.+)$",
)


def recorded(name: str) -> list[str]:
    return (SCREENS / f"{name}.txt").read_text("utf-8").split("\n")


# -- recorded screens ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("10-idle-ready", "ready"),
        ("11-waiting-first-byte", "working"),
        ("12-streaming", "working"),
        ("13-idle-after-turn", "ready"),
        ("14c-permission-no", "ready"),
        ("15-tool-running", "working"),
        ("19-interrupted-stream", "ready"),
        ("20-retry-529", "working"),
        ("22c-error-429-final", "ready"),
        ("23-rate-limit-429-retrying", "working"),
        ("24-compacting", "working"),
        ("60-stalled-stream", "working"),
    ],
)
def test_status_and_empty_composer(name: str, status: str) -> None:
    assert read(recorded(name), CLAUDE) == Look(status=status, draft="")  # type: ignore[arg-type] # parametrized


def test_permission_with_what_it_is_for() -> None:
    look = read(recorded("14-permission-bash"), CLAUDE)
    assert (look.status, look.ask, look.draft) == ("blocked", "permission", None)
    assert look.text == (
        "Bash command\n"
        'Tip: auto mode handles these prompts for you — choose "switch to auto mode" below\n'
        "Run a scripted command\n"
        "touch /home/dev/project/x1 && sleep 3\n"
        "Do you want to proceed?"
    )
    assert look.options == (
        ("1", "Yes"),
        ("2", "Yes, and always allow access to /home/dev/project from this project"),
        ("3", "Yes, and switch to auto mode · auto mode handles these prompts for you"),
        ("4", "No"),
    )


def test_the_same_question_about_another_command_is_another_text() -> None:
    one, other = (read(recorded(n), CLAUDE) for n in ("14-permission-bash", "42-text-in-dialog"))
    assert one.options == other.options
    assert "touch /home/dev/project/danger\n" in other.text
    assert one.text != other.text


def test_question_with_descriptions_and_a_rule_between_its_options() -> None:
    look = read(recorded("17-question"), CLAUDE)
    assert (look.status, look.ask) == ("blocked", "question")
    assert look.text == "☐ Choice\nWhich colour?"
    assert look.options == (
        ("1", "Yes"),
        ("2", "No"),
        ("3", "Type something."),
        ("4", "Chat about this"),
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("02-trust-dialog", "Quick safety check"),
        ("03-apikey-dialog", "Do you want to use this API key?"),
        ("05-bypass-warning", "Bypass Permissions mode"),
        ("06-add-dir-dialog", "Adding a new directory:"),
    ],
)
def test_dialogs_without_numbers(name: str, says: str) -> None:
    look = read(recorded(name), CLAUDE)
    assert (look.status, look.ask, look.options, look.draft) == ("blocked", "dialog", (), None)
    assert says in look.text
    assert "─" not in look.text


def test_exited_says_nothing() -> None:
    assert read(recorded("34-exit"), CLAUDE) == Look()


# -- dialogs ---------------------------------------------------------------------------------------


def test_a_list_in_the_answer_is_no_choice() -> None:
    lines = ["● Steps:", "  1. Yes, begin", "  2. Stop", *recorded("14-permission-bash")[-30:]]
    assert [key for key, _ in read(lines, CLAUDE).options] == ["1", "2", "3", "4"]
    close = ["  1. Begin", "  2. Go on", "─" * 40, " Really?", " ❯ 1. Yes", "   2. No", ""]
    look = read([*close, " Esc to cancel · Tab to amend"], CLAUDE)
    assert look.options == (("1", "Yes"), ("2", "No"))
    assert look.text == "Really?"


def test_line_mode_dialog_is_the_last_paragraph() -> None:
    lines = ["$ agent", "some output", "", "about to run: rm x", "Allow rm x? [y/n]", "", ""]
    look = read(lines, SHELL)
    assert look == Look(
        status="blocked", ask="permission", text="about to run: rm x\nAllow rm x? [y/n]"
    )
    look = read([*lines[:-2], "y: yes", "n: no"], SHELL)
    assert look.options == (("y", "yes"), ("n", "no"))
    assert look.text == "about to run: rm x\nAllow rm x? [y/n]"


def test_box_is_cleaned() -> None:
    lines = ["words", "╭──── Edit ────╮", "│ Allow x? [y/n] │", "│ y: yes    │", "╰────╯"]
    spec = ScreenSpec(
        patterns=(ScreenPattern(match=r"Allow", status="blocked"),),
        option=r"│ (?P<key>y): (?P<label>.*)",
    )
    look = read(lines, spec)
    assert (look.text, look.options, look.ask) == ("Allow x? [y/n]", (("y", "yes"),), "dialog")


# -- menus -----------------------------------------------------------------------------------------

MENU = ScreenSpec(
    patterns=(ScreenPattern(match=r"to confirm$", status="blocked", name="trust"),),
    composer=r"^> ?(?P<draft>.*)$",
    option=r"^ *(?P<cursor>❯)? *(?:(?P<key>\d)\. )?(?P<label>\S.*)$",
)
RULE = "─" * 40


def test_a_menu_is_numbered_here_and_tells_where_its_cursor_is() -> None:
    lines = [RULE, " Trust /r?", "", "   No, exit", " ❯ Yes", "   Perhaps", "", " Enter to confirm"]
    assert read(lines, MENU) == Look(
        status="blocked",
        ask="dialog",
        name="trust",
        text="Trust /r?",
        options=(("1", "No, exit"), ("2", "Yes"), ("3", "Perhaps")),
        menu=True,
        cursor=1,
    )


def test_only_lines_that_begin_where_the_highlighted_one_does_are_of_the_menu() -> None:
    lines = [RULE, " Security guide", " ❯ No", "   Yes", "     more of it", " Enter to confirm"]
    assert read(lines, MENU).options == (("1", "No"), ("2", "Yes"))


@pytest.mark.parametrize(
    "lines",
    [
        # Nothing is highlighted yet: no key would be taken.
        [RULE, " Sure?", "   No", "   Yes", " Enter to confirm"],
        # Above the box: what was said before, and answered.
        [" ❯ No", "   Yes", RULE, " Sure?", " Enter to confirm"],
        # One line is no choice.
        [RULE, " ❯ Go on", "", " Enter to confirm"],
    ],
)
def test_what_is_no_menu_has_no_options(lines: list[str]) -> None:
    look = read(lines, MENU)
    assert (look.status, look.options, look.menu, look.cursor) == ("blocked", (), False, None)


def test_a_menu_in_a_box_with_words_below_it() -> None:
    lines = [
        "╭────────╮",
        "│ Sure?  │",
        "╰────────╯",
        "╭────╮",
        " ❯ No",
        "   Yes",
        "╰────╯",
        "to confirm",
    ]
    look = read(lines, MENU)
    assert (look.options, look.cursor) == ((("1", "No"), ("2", "Yes")), 0)


def test_choices_with_keys_are_no_menu_and_tell_where_the_cursor_is() -> None:
    lines = [RULE, "Sure?", "  1. Yes", "❯ 2. No", RULE, "   Something else", "Enter to confirm"]
    look = read(lines, MENU)
    assert (look.options, look.menu, look.cursor) == ((("1", "Yes"), ("2", "No")), False, 1)
    lines[3], lines[5] = "  2. No", " ❯ Something else"
    assert read(lines, MENU).cursor is None


def test_a_folded_description_is_part_of_its_choice() -> None:
    described = ["❯ 1. Yes", *["     words of it"] * 6, "  2. No", "Enter to confirm"]
    assert read([RULE, "Sure?", *described], MENU).options == (("1", "Yes"), ("2", "No"))


def test_what_a_dialog_is_about_may_begin_above_the_lines_that_are_read() -> None:
    spec = ScreenSpec(patterns=MENU.patterns, option=MENU.option, lines=4)
    lines = [RULE, "run this:", *"abcdef", "Sure?", " ❯ 1. Yes", "   2. No", "Enter to confirm"]
    assert read(lines, spec).text == "run this:\na\nb\nc\nd\ne\nf\nSure?"


# -- the input line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "draft"),
    [
        ("$", ""),
        ("$ ", ""),
        ("$ ls -l  ", "ls -l"),
        ("\x1b[32m$\x1b[39m ls", "ls"),
        ("$ \x1b[2mtry something\x1b[0m", ""),
        ("$ \x1b[0;2mtry something", ""),
        ("$ ec\x1b[2mho hello\x1b[22m", "ec"),
        ("$ \x1b[38;5;2mgreen\x1b[0m", "green"),
        # The cursor stands on the first character of a hint.
        ("$ \x1b[7mR\x1b[0;2m\x1b[39mesend it\x1b[0m", ""),
        ("$ \x1b[7m\x1b[39mP\x1b[0;2mress\x1b[0m \x1b[2mup", ""),
        ("$ /co\x1b[7mm\x1b[0;2mpact\x1b[0m", "/co"),
        # ... and on a character that was typed.
        ("$ ec\x1b[7mh\x1b[0mo", "echo"),
        ("$ ech\x1b[7mo\x1b[0m \x1b[2mhello", "echo"),
        ("output", None),
    ],
)
def test_draft(line: str, draft: str | None) -> None:
    assert read(["before", line, ""], SHELL).draft == draft


def test_lowest_input_line_counts() -> None:
    assert read(["$ old command", "output", "$ new"], SHELL).draft == "new"


@pytest.mark.parametrize(
    ("below", "draft"),
    [
        (["", "  second row", "third", RULE, "hints"], "second row"),
        ([RULE, "hints"], ""),
        (["hints"], ""),
    ],
)
def test_a_draft_may_begin_below_an_empty_row_between_rules(below: list[str], draft: str) -> None:
    assert read(["said", RULE, "$", *below], SHELL).draft == draft
    assert read(["said", "$", *below], SHELL).draft == ""


def test_draft_of_the_real_composer() -> None:
    lines = recorded("10-idle-ready")
    place = max(n for n, line in enumerate(lines) if line.startswith("❯"))
    lines[place] = "❯\N{NO-BREAK SPACE}half a thought"
    assert read(lines, CLAUDE).draft == "half a thought"


# -- patterns --------------------------------------------------------------------------------------


def test_first_pattern_wins_wherever_it_matches() -> None:
    look = read(["limit reached, 90 s left", "$ "], SHELL)
    assert (look.status, look.seconds, look.draft) == ("limited", 90.0, "")


def test_only_the_last_lines_count() -> None:
    spec = ScreenSpec(patterns=(ScreenPattern(match="old", status="working"),), lines=3)
    assert read(["old", "", "1", "2", "", "3", ""], spec).status is None
    assert read(["", "old", "2", "", "3", "", ""], spec).status == "working"


def test_colours_do_not_hide_a_match() -> None:
    assert read(["\x1b[1mAllow\x1b[0m it? \x1b[32m[y/n]"], SHELL).status == "blocked"
    assert plain("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b[0m") == "link"


@given(st.lists(st.text(max_size=60), max_size=60))
def test_any_lines_can_be_read(lines: list[str]) -> None:
    for spec in (CLAUDE, SHELL, MENU, ScreenSpec()):
        look = read(lines, spec)
        assert look.status == "blocked" or (look.text, look.options, look.menu) == ("", (), False)
        assert look.cursor is None or look.cursor < len(look.options)


@given(
    st.lists(
        st.sampled_from(
            ["", "─" * 20, "╌" * 20, "1. a", " 2. b", "3. c", "❯ 1. x", "❯ ", "text",
             " Esc to cancel · Tab to amend", "\x1b[2m❯ hint"]
        ),
        max_size=40,
    )
)  # fmt: skip
def test_options_count_up_and_end_before_the_text(lines: list[str]) -> None:
    look = read(lines, CLAUDE)
    keys = [int(key) for key, _ in look.options]
    assert keys == list(range(keys[0], keys[0] + len(keys))) if keys else True
    assert "─" not in look.text
    assert "╌" not in look.text


# -- choices ---------------------------------------------------------------------------------------

OPTIONS = (("1", "Yes"), ("2", "Yes, and always"), ("3", "Yes, auto mode"), ("4", "No"))
ANSWERS = {"allow": "^Yes$", "always": "(?i)ALWAYS", "deny": "^No", "later": "Later"}


@pytest.mark.parametrize(
    ("choice", "key"),
    [
        ("1", "1"),
        ("4", "4"),
        ("5", None),
        ("yes", "1"),
        (" NO ", "4"),
        ("n", "4"),
        ("y", None),
        ("yes, a", None),
        ("yes, au", "3"),
        ("allow", "1"),
        ("Always", "2"),
        ("deny", "4"),
        ("later", None),
        ("", None),
        (" ", None),
    ],
)
def test_choose(choice: str, key: str | None) -> None:
    assert choose(OPTIONS, ANSWERS, choice) == key


def test_two_equal_labels_are_no_choice() -> None:
    assert choose((("1", "Go"), ("2", "go")), {}, "go") is None


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=9))), st.text(max_size=9))
def test_choose_gives_a_key_that_is_there(options: list[tuple[str, str]], choice: str) -> None:
    assert choose(options, {choice: "a"}, choice) in {None, *(key for key, _ in options)}
