"""What an answer to a dialog means: a plain yes or no, which a hook can give, or a choice. Pure.

A hook can only allow or deny. Every other choice of a dialog (not to be asked again, another mode)
is a key of the dialog's own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from orchestrator.core.screen import choose
from orchestrator.core.spec import AskKind
from orchestrator.core.state import Ask

Decision = Literal["allow", "deny"]

DECIDABLE: AskKind = "permission"
# Tools whose dialogs are more than a yes or a no, although a hook asks for them as for any other.
NOT_DECIDABLE = frozenset({"AskUserQuestion", "ExitPlanMode"})
YES_LABEL = "yes"
YES = frozenset({"yes", "y", "allow"})
NO = frozenset({"no", "n", "deny"})
# What a hook can tell -> its name, where the screen does not show the dialog's choices (yet).
NAMES: Mapping[Decision, str] = {"allow": "Yes", "deny": "No"}
# The word of a definition for the choice of a question where an answer is typed, and how many
# characters are: what is typed is looked for on the screen before it is submitted.
OWN = "own words"
OWN_MAX = 200
# Characters of what is asked that a dialog shows for certain.
SHOWN = 200
# What an agent is told where the person gives no reason.
REFUSED = "The person refused this. Do not try it in another way; go on without it, or ask them."


def decision(ask: Ask, answers: Mapping[str, str], choice: str) -> Decision | None:
    """What `choice` decides, if it is a plain yes or no to a permission.

    `answers` are the words of the definition, as in KeysSpec.
    """
    if ask.kind != DECIDABLE or ask.tool is None or ask.tool in NOT_DECIDABLE:
        return None
    key = choose(ask.options, answers, choice)
    if key is not None:
        if dict(ask.options)[key].strip().casefold() == YES_LABEL:
            return "allow"
        return "deny" if key == choose(ask.options, answers, "no") else None
    word = choice.strip().casefold()
    if word in YES:
        return "allow"
    return "deny" if word in NO else None


def label(ask: Ask, answers: Mapping[str, str], choice: str, decided: Decision) -> str:
    """What the dialog calls the `choice` that decides so."""
    key = choose(ask.options, answers, choice)
    return NAMES[decided] if key is None else dict(ask.options)[key]


def own_words(options: Sequence[tuple[str, str]], answers: Mapping[str, str]) -> str | None:
    """The key of the choice that takes any text, while none is typed there yet."""
    pattern = answers.get(OWN)
    if pattern is None:
        return None
    return next((key for key, label in options if re.search(pattern, label)), None)


def begins(text: str, shown: str) -> bool:
    """Whether the row that is shown is the beginning of `text`, blanks apart."""
    row = " ".join(shown.split())
    return bool(row) and " ".join(text.split()).startswith(row)


def shows(text: str, ask: Ask) -> bool:
    """Whether a dialog's text is about what is asked, blanks apart: a narrow screen folds lines,
    and may not hold all of a long one."""
    about = ask.text.removeprefix(f"{ask.tool}: ")[:SHOWN]
    return "".join(about.split()) in "".join(text.split())
