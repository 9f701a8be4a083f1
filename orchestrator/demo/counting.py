"""Counting lines of code.

What is counted: regular files, no links, whose extension is in `LANGUAGES`, whatever its case. Not
looked into: directories that are links, whose name starts with a dot, or that are in `SKIPPED`. A
line is a piece that ends with a newline, or a last piece that is not empty.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LANGUAGES: Mapping[str, str] = {
    "c": "C",
    "h": "C",
    "cc": "C++",
    "cpp": "C++",
    "hpp": "C++",
    "cs": "C#",
    "css": "CSS",
    "scss": "CSS",
    "go": "Go",
    "html": "HTML",
    "java": "Java",
    "js": "JavaScript",
    "jsx": "JavaScript",
    "mjs": "JavaScript",
    "json": "JSON",
    "kt": "Kotlin",
    "lua": "Lua",
    "md": "Markdown",
    "php": "PHP",
    "pl": "Perl",
    "py": "Python",
    "pyi": "Python",
    "rb": "Ruby",
    "rs": "Rust",
    "sh": "Shell",
    "bash": "Shell",
    "sql": "SQL",
    "swift": "Swift",
    "tcss": "CSS",
    "toml": "TOML",
    "ts": "TypeScript",
    "tsx": "TypeScript",
    "yaml": "YAML",
    "yml": "YAML",
}
SKIPPED = frozenset({"node_modules", "__pycache__"})
CHUNK = 1024 * 1024


class Count(NamedTuple):
    """How much there is of one language."""

    files: int
    lines: int

    def plus(self, other: "Count") -> "Count":
        return Count(self.files + other.files, self.lines + other.lines)


Counts = dict[str, Count]


def language_of(name: str) -> str | None:
    return LANGUAGES.get(Path(name).suffix[1:].lower())


def _is_entered(name: str) -> bool:
    return not name.startswith(".") and name not in SKIPPED


def _is_counted(path: Path) -> bool:
    try:
        return language_of(path.name) is not None and stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def entries(root: Path) -> list[str]:
    """The names in `root` that may hold something to count, sorted."""
    with os.scandir(root) as found:
        return sorted(
            entry.name
            for entry in found
            if (entry.is_dir(follow_symlinks=False) and _is_entered(entry.name))
            or _is_counted(Path(entry.path))
        )


def files(path: Path) -> Iterator[Path]:
    """The files that count, at or below `path`."""
    if _is_counted(path):
        yield path
    if path.is_symlink():
        return
    # What cannot be listed holds nothing that could be counted.
    for directory, below, names in os.walk(path):
        below[:] = sorted(filter(_is_entered, below))
        yield from filter(_is_counted, (Path(directory, name) for name in sorted(names)))


def count_lines(path: Path) -> int:
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def add(counts: Counts, language: str, count: Count) -> None:
    counts[language] = counts.get(language, Count(0, 0)).plus(count)


def split(weights: Mapping[str, int], shares: int) -> list[list[str]]:
    """The names in `shares` parts of about the same weight: the heaviest first, to the lightest.

    Of parts that weigh the same, to the last: a folder with one file is for who asks first.
    """
    parts: list[list[str]] = [[] for _ in range(shares)]
    loads = [0] * shares
    for name in sorted(weights, key=lambda name: (-weights[name], name)):
        lightest = shares - 1 - loads[::-1].index(min(loads))
        parts[lightest].append(name)
        loads[lightest] += weights[name]
    return [sorted(part) for part in parts]


def table(counts: Counts) -> str:
    """An aligned table, most lines first, with the sums."""
    order = sorted(counts.items(), key=lambda item: (-item[1].lines, item[0]))
    total = Count(0, 0)
    for count in counts.values():
        total = total.plus(count)
    rows = [("Language", "Files", "Lines")]
    rows += [(name, f"{count.files:,}", f"{count.lines:,}") for name, count in order]
    rows.append(("Total", f"{total.files:,}", f"{total.lines:,}"))
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, str, str]]) -> str:
    first, second, third = (max(len(row[place]) for row in rows) for place in range(3))
    lines = [f"{a:<{first}}  {b:>{second}}  {c:>{third}}" for a, b, c in rows]
    return "\n".join([*lines[:-1], "╌" * len(lines[0]), lines[-1]])
