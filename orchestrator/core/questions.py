"""One-shot questions: what makes two of them the same, and what the CLI is given. Pure.

`key` decides whether an answer is given again, so it must never take two questions for one that
could be answered differently: where it cannot be told whether a text is code, it is kept as it is.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from orchestrator.core.values import value

# Raised when keys are made in another way: what was kept under the old ones is not found again.
FORMAT = "1"

BLANKS = " \t\r"
# The beginning of a fenced block, in a list or a quotation too.
_FENCE = re.compile(r"(?:[ \t>]|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t]))*(`{3,}(?=[^`]*$)|~{3,})")
# A line of code without a fence: indented, also behind the mark of a quotation or of a diff.
_CODE_LINE = re.compile(r"[ \t\r]|[>|+-]+(?:[ \t]{2}|\t)")
_PIECES = re.compile(
    r"(?P<span>(?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    rf"|(?P<line>^(?:{_CODE_LINE.pattern})[^\n]*)"
    r"|(?P<open>`)"
    r"|(?P<trailing>[ \t\r]+$)"
    r"|[ \t\r]+",
    re.MULTILINE | re.DOTALL,
)
_QUOTED_MENTION = re.compile(r'@"([^"]*)"')
_MENTION = re.compile(r"(?<![A-Za-z0-9])@")  # not that of an address
# What a sentence may put behind a path.
_BEHIND = "\"'`)]}>.,;:!?*/"
# Something of a server that the CLI is connected to, `@server:its-name`.
_RESOURCE = re.compile(r"[^\s:/]+:[^\s:]")
_IN_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "\n": "&#10;"}
)


@value
class Question:
    """All that an answer depends on, as far as it is known before the CLI runs.

    `arguments`: the whole command line, with the model and the system prompt. `inputs`: the files,
    each by its name as given and the sha-256 of its content. `context`: what else, by kind, with a
    digest of its state.
    """

    cli: str
    version: str
    arguments: tuple[str, ...]
    model: str
    system: str
    prompt: str
    inputs: tuple[tuple[str, str], ...]
    context: tuple[tuple[str, str], ...]


# -- what is the same ------------------------------------------------------------------------------


def key(question: Question) -> str:
    """64 hexadecimal digits: the same for questions that one answer answers."""
    return _digest(_fields(question))


def coarse(question: Question) -> str:
    """The same for questions that differ in version, model, input or context alone."""
    return _digest((("cli", question.cli), ("prompt", normalised(question.prompt))))


def _fields(question: Question) -> Iterable[tuple[str, str]]:
    yield "format", FORMAT
    yield "cli", question.cli
    yield "version", question.version
    for argument in question.arguments:
        # The system prompt stands in the command line as it was typed, and counts normalised.
        parts = argument.split(question.system) if question.system else [argument]
        yield "argument", str(len(parts))
        yield from (("part", part) for part in parts)
    yield "model", question.model
    yield "system", normalised(question.system)
    yield "prompt", normalised(question.prompt)
    for name, content in question.inputs:
        yield "input", name
        yield "content", content
    for kind, state in question.context:
        yield "context", kind
        yield "state", state


def _digest(fields: Iterable[tuple[str, str]]) -> str:
    """Each field with its tag and length: no two lists of fields are the same bytes."""
    digest = hashlib.sha256()
    for tag, text in fields:
        # File names and arguments can be bytes that are no UTF-8.
        content = text.encode("utf-8", "surrogatepass")
        digest.update(f"{tag}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def normalised(text: str) -> str:
    """`text` in the form in which it is compared: spacing that says nothing is gone.

    Code is kept: fenced blocks, `spans`, and indented lines with the blank lines between them. So
    is a paragraph with a backtick that has no partner or that is escaped.
    """
    text = "\n".join(line.rstrip("\r") for line in text.split("\n"))
    done: list[str] = []
    paragraph: list[str] = []
    blank: list[str] = []
    fence = previous = ""
    for line in unicodedata.normalize("NFC", text).strip().split("\n"):
        if fence:
            done.append(line)
            fence = "" if _closes(line, fence) else fence
            continue
        opening = _FENCE.match(line)
        if paragraph and (opening or not line.strip(BLANKS)):
            done.append(_prose("\n".join(paragraph)))
            paragraph = []
        if not line.strip(BLANKS):
            blank.append(line)
            continue
        if blank:
            in_code = _CODE_LINE.match(previous) and _CODE_LINE.match(line)
            done += blank if in_code else [""]
            blank = []
        previous = line
        if opening:
            fence = opening[1]
            done.append(line)
        else:
            paragraph.append(line)
    return "\n".join([*done, _prose("\n".join(paragraph))] if paragraph else done)


def _closes(line: str, fence: str) -> bool:
    bare = line.strip(" \t>")
    return len(bare) >= len(fence) and set(bare) == {fence[0]}


def _prose(paragraph: str) -> str:
    """Lines without a blank one between them: each run of blanks as one, but in code."""
    if "\\`" in paragraph or any(piece["open"] for piece in _PIECES.finditer(paragraph)):
        return paragraph
    return _PIECES.sub(_spaced, paragraph)


def _spaced(piece: re.Match[str]) -> str:
    if piece["span"] or piece["line"]:
        return piece[0]
    return "" if piece["trailing"] else " "


# -- what cannot be told ---------------------------------------------------------------------------


def mentions(text: str) -> frozenset[str]:
    """What `text` names with an `@`: a CLI attaches the file, if it is one. Rather too much: where
    a path ends is the CLI's to say.
    """
    found = set(_QUOTED_MENTION.findall(text))
    for word in text.split() if "@" in text else ():
        before, *parts = _MENTION.split(word)
        if parts:
            for part in (*parts, word[len(before) + 1 :]):
                name = part.partition("#")[0]  # of lines in it, as `@a.py#L10`
                found |= {part, part.rstrip(_BEHIND), name, name.rstrip(_BEHIND)}
    return frozenset(filter(None, found))


def leads_out(mention: str) -> bool:
    """Whether it can be something that is not below the directory where the CLI runs."""
    if mention.startswith(("/", "~")) or _RESOURCE.match(mention):
        return True
    return any(part.startswith("..") for part in mention.split("/"))


# -- what the CLI is given -------------------------------------------------------------------------


def composed(prompt: str, inputs: Sequence[tuple[str, str]]) -> str:
    """The CLI's standard input: the prompt, then each file, by its name, as a block.

    The blocks' tag stands in none of the files: none can end its block, or begin another.
    """
    tag, number = "file", 1
    while any(f"<{tag}" in text or f"</{tag}" in text for _, text in inputs):
        number += 1
        tag = f"file-{number}"
    blocks = [
        f'<{tag} path="{name.translate(_IN_ATTRIBUTE)}">\n{_ended(text)}</{tag}>\n'
        for name, text in inputs
    ]
    return "\n".join([prompt, *blocks])


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"
