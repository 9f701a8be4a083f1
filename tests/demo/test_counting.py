"""The count, against one that is made another way, over trees that nobody thought of."""

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.demo import counting
from orchestrator.demo.counting import Count

NAMES = ("a", "b.d", "node_modules", "__pycache__", ".git", "ü x")
FILES = ("m.py", "n.PY", "x.rs", "notes.md", "Makefile", "data.bin", ".hidden.toml", "py", "a.b.ts")
BY_ENDING = {
    ".py": "Python",
    ".rs": "Rust",
    ".md": "Markdown",
    ".toml": "TOML",
    ".ts": "TypeScript",
}

paths = st.tuples(st.lists(st.sampled_from(NAMES), max_size=3), st.sampled_from(FILES))
contents = st.lists(st.sampled_from([b"line", b"", b"\r", b"\xff\n", b"x\n", b"\n\n"])).map(
    b"".join
)
trees = st.lists(st.tuples(paths, contents), max_size=12)


def build(root: Path, tree: list[tuple[tuple[list[str], str], bytes]]) -> None:
    for (folders, name), content in tree:
        directory = root.joinpath(*folders)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def expected(root: Path) -> dict[str, tuple[int, int]]:
    """The same by other means: every path is looked at, and every line split off."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for path in root.rglob("*"):
        folders = path.relative_to(root).parts[:-1]
        language = BY_ENDING.get(path.suffix.lower())
        hidden = any(f.startswith(".") or f in ("node_modules", "__pycache__") for f in folders)
        linked = any(root.joinpath(*folders[: n + 1]).is_symlink() for n in range(len(folders)))
        if language and not hidden and not linked and path.is_file() and not path.is_symlink():
            pieces = path.read_bytes().split(b"\n")
            files[language] += 1
            lines[language] += len(pieces) - (not pieces[-1])
    return {language: (count, lines[language]) for language, count in files.items()}


def counted(root: Path) -> dict[str, tuple[int, int]]:
    counts: counting.Counts = {}
    for name in counting.entries(root):
        for path in counting.files(root / name):
            language = counting.language_of(path.name)
            assert language is not None
            counting.add(counts, language, Count(1, counting.count_lines(path)))
    return {language: (count.files, count.lines) for language, count in counts.items()}


@given(trees)
def test_any_tree_is_counted_as_it_is(tree: list[tuple[tuple[list[str], str], bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        build(root, tree)
        (root / "link.py").symlink_to(root)
        (root / "into").symlink_to("/etc")
        assert counted(root) == expected(root)


def test_a_file_larger_than_a_chunk(tmp_path: Path) -> None:
    for tail, lines in ((b"", 3), (b"x", 4)):
        path = tmp_path / "big.py"
        path.write_bytes(
            b"x" * counting.CHUNK + b"\n\n" + b"x" * (counting.CHUNK - 3) + b"\n" + tail
        )
        assert counting.count_lines(path) == lines


def test_a_link_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.py").write_text("x\n")
    (tmp_path / "link").symlink_to("there")
    assert list(counting.files(tmp_path / "link")) == []
    assert list(counting.files(tmp_path / "nothing")) == []


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 500)), st.integers(1, 5))
def test_the_shares_are_even(weights: dict[str, int], shares: int) -> None:
    parts = counting.split(weights, shares)
    assert sorted(name for part in parts for name in part) == sorted(weights)
    loads = [sum(weights[name] for name in part) for part in parts]
    # No share is heavier than the lightest by more than one entry.
    assert max(loads) - min(loads) <= max(weights.values(), default=0)


def test_the_table_is_aligned_and_sorted() -> None:
    counts = {"Go": Count(2, 7), "Python": Count(1234, 56789), "CSS": Count(1, 7)}
    assert counting.table(counts).split("\n") == [
        "Language  Files   Lines",
        "Python    1,234  56,789",
        "CSS           1       7",
        "Go            2       7",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
        "Total     1,237  56,803",
    ]
