"""What is typed for a message, and how it is known again in what the agent says it took. Pure.

Between our hands and the conversation a CLI changes a text. All that it is known to do to one,
as seen with the Claude CLI 2.1.329 (`tests/core/test_receipts.py` has what came back):

    what was typed                          what its hook and its transcript have
    ------------------------------------    -----------------------------------------------------
    a tab                                   four blanks
    blanks and line ends behind the text    nothing
    more than 800 characters, 4 lines       the same between <pasted_content id="..."> and its end
    such a mark in the text itself          <\\pasted_content ...>
    line and paragraph separators           a line end
    letters and marks of their own          the letter that they make together (NFC)
    what has neither width nor look         nothing, but where it makes an emoji
    marks of a text's direction             nothing, and the submit key is not taken: `typed`
    a backslash at the end                  a line end, and nothing is submitted: `typed`
    the path of an image, alone             [Image #1], if there is such a file
    such a path as the last line            it, and the submit key is not taken: `ends_in_images`
    while it works                          a queue-operation line; its hook at once; then a line
                                            of its own, one with others, or an attachment

A slash command, a line for its shell, or a word that makes it leave is neither told by a hook nor
by a transcript: `is_command`.
"""

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.core.spec import CliSpec

PERSON = "person"
BLUEPRINT = "blueprint"
CREW = "crew"
# Who is typed as he is; everybody else is named in a first line, which makes a leading `/` inert.
AS_THEY_ARE = frozenset({PERSON, BLUEPRINT})
FRAME = "[crew message "

# States of a message that is on its way.
PENDING = ("queued", "typing")
# Seconds that who has sent one waits for its receipt, which normally takes less than a tenth of
# one; more on a machine that is held up. What is still queued after SOON although its agent is
# ready is held up by a person at its pane.
SOON, RECEIPT = 2.0, 5.0
# And for its end to be on disk, where it is looked up: it is told a moment before, and a disk that
# is busy takes its time.
SETTLED = 10.0

# The sources of prompts cut them at this length or above (characters).
CUT_AT = 2_000
_WRAPPER = re.compile(r"<\\?/?pasted_content\b[^>]*>")
# The same, cut off in its middle.
_HALF = re.compile(r"<\\?/?[a-z_]*[^>]{0,40}$")
# Unicode's ignorable characters, and marks of annotations and hieroglyphs.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What stands in the input line for a long paste.
_PASTED = re.compile(r"\[Pasted text #\d+(?: \+(?P<lines>\d+) lines?)?\]")
_PASTED_LENGTH, _PASTED_LINES = 800, 3
# A path that the CLI looks for an image at, and what it puts into the input line for one.
_IMAGE_PATH = re.compile(r"""["']?\S+\.(?:png|jpe?g|gif|webp)["']?""", re.IGNORECASE)
_IMAGE = re.compile(r"\[Image #\d+\]")
# A second slash in the first word makes it the path of a file.
_COMMAND = re.compile(r"\s*/(?![^\s/]*/)")
# Words that make it leave, as `/exit` does, where they are the whole text.
_LEAVE = frozenset({"exit", "quit", ":q", ":q!", ":wq", ":wq!"})


def framed(number: int, sender: str, text: str) -> str:
    """A person's own text as it is, any other with its sender in a first line."""
    if sender in AS_THEY_ARE:
        return text
    return f"{FRAME}{number} from {sender}]\n{text}"


def typed(text: str, cli: "CliSpec") -> str:
    """What is typed so that `text` arrives. A CLI without hooks is no agent's: it takes all."""
    if cli.hooks is None:
        return text
    text = _DIRECTION.sub("", text)
    # A blank between the backslash and the submit key; the CLI takes it off again.
    return f"{text} " if text.endswith("\\") else text


def is_command(text: str) -> bool:
    """Whether the CLI takes this for an order to itself, of which no hook or transcript tells."""
    seen = _visible(text)
    return is_for_shell(text) or _COMMAND.match(seen) is not None or seen.strip() in _LEAVE


def is_for_shell(text: str) -> bool:
    """Whether the CLI runs this as a shell command."""
    return _visible(text).startswith("!")


def ends_in_images(text: str) -> bool:
    """Whether the last line is nothing but paths of images: the CLI reads these files first, and
    drops the submit key that comes meanwhile."""
    return _images(text.rstrip().split("\n")[-1]) > 0


def _images(text: str) -> int:
    """How many paths of images `text` is; 0 if it holds anything else."""
    words = text.split()
    return len(words) if all(map(_IMAGE_PATH.fullmatch, words)) else 0


def _are_images(shown: str, text: str) -> bool:
    """Whether `shown` is what the CLI makes of paths of images, and `text` is as many."""
    shown = shown.strip()
    found = len(_IMAGE.findall(shown))
    return not _IMAGE.sub("", shown).strip() and 0 < found == _images(text)


def is_blank(text: str) -> bool:
    """Whether nothing of it would arrive."""
    return not _visible(text).strip()


def _visible(text: str) -> str:
    return text if text.isascii() else _INVISIBLE.sub("", text)


def comparable(text: str) -> str:
    """`text` without anything that a CLI is known to change."""
    if not text.isascii():
        text = _visible(unicodedata.normalize("NFC", text))
    return " ".join(_WRAPPER.sub(" ", text).split())


def is_receipt(sent: str, prompt: str) -> bool:
    """Whether `prompt`, which the agent says it took, is what was sent.

    One with its sender in the first line is told by that line, wherever it stands: several may
    have been made into one prompt. A long one may be cut by its source.
    """
    if sent.startswith(FRAME):
        head = comparable(sent.split("\n", 1)[0])
        return any(comparable(line) == head for line in prompt.split("\n") if FRAME.strip() in line)
    ours, got = comparable(sent), comparable(prompt)
    if ours == got or _are_images(got, sent):
        return True
    if len(prompt) < CUT_AT:
        return False
    got = comparable(_HALF.sub("", prompt))
    return got != "" and ours.startswith(got)


def is_draft_of(draft: str | None, text: str, *, cut: bool = False) -> bool:
    """Whether the input line holds `text`: `draft` is the first line of it on the screen.

    `cut`: of `text` too there is only the beginning.
    """
    if not draft:
        return False
    if placeholder := _PASTED.fullmatch(draft.strip()):
        if cut:
            return _WRAPPER.search(text) is not None
        lines = text.count("\n")
        long = lines >= _PASTED_LINES or len(text) > _PASTED_LENGTH
        return long and lines == int(placeholder["lines"] or 0)
    if _are_images(draft, text):
        return True
    shown, whole = comparable(draft), comparable(text)
    if not shown or not whole:
        return False
    return whole.startswith(shown) or (cut and shown.startswith(whole))
