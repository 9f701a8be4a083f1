"""Files that a question brings along, and the state of a repository that it is about."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.oneshot.inputs import INPUT_MAX, git_context, read_inputs

# -- files -----------------------------------------------------------------------------------------


def test_names_as_given_with_text_and_digest(home: Path) -> None:
    (home / "a").write_bytes("é\r\n".encode())
    (home / "b").write_text("")
    one, two = read_inputs(["a", str(home / "b")], home)
    assert (one.name, one.text) == ("a", "é\r\n")
    assert one.digest == hashlib.sha256(b"\xc3\xa9\r\n").hexdigest()
    assert (two.name, two.text) == (str(home / "b"), "")


def test_a_pipe_of_the_shells(home: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"from a command")
    os.close(writer)
    try:
        (found,) = read_inputs([f"/dev/fd/{reader}"], home)
    finally:
        os.close(reader)
    assert found.text == "from a command"


def test_the_largest_that_goes(home: Path) -> None:
    (home / "a").write_bytes(b"x" * INPUT_MAX)
    assert len(read_inputs(["a"], home)[0].text) == INPUT_MAX


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("gone", None, "gone: cannot be read: No such file or directory"),
        (".", None, ".: is a directory: name the files in it"),
        ("a\0b", None, "ab: cannot be read: embedded null byte"),
        ("big", b"x" * (INPUT_MAX + 1), "big: is larger than 1024 KiB: send a part of it"),
        ("raw", b"ab\xff", "raw: is not UTF-8 text (byte 2)"),
        ("nul", b"a\0b", "nul: is not text: it holds a NUL character"),
        ("/dev/zero", None, "/dev/zero: is larger than 1024 KiB: send a part of it"),
    ],
)
def test_what_cannot_be_sent(home: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (home / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_inputs([name], home)
    assert str(caught.value) == sentence


# -- git -------------------------------------------------------------------------------------------

Git = Callable[..., str]


def git_in(directory: Path) -> Git:
    def git(*arguments: str) -> str:
        author = ["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"]
        argv = ["git", *author, *arguments]
        done = subprocess.run(argv, cwd=directory, check=True, capture_output=True, text=True)
        return done.stdout

    return git


@pytest.fixture
def root(home: Path) -> Path:
    """A repository with a commit of two files."""
    directory = home / "project"
    directory.mkdir()
    git = git_in(directory)
    git("init", "-q")
    (directory / "one").write_text("1\n")
    (directory / "sub").mkdir()
    (directory / "sub" / "two").write_text("2\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return directory


def test_each_change_is_another_state(root: Path) -> None:
    """And taking it back is the one before."""
    git, seen = git_in(root), [git_context(root)]

    def changed() -> None:
        now = git_context(root)
        assert now not in seen
        assert git_context(root) == now
        seen.append(now)

    (root / "one").write_text("1 changed\n")
    changed()
    (root / "one").write_bytes(b"\0\xff")
    changed()
    (root / "one").write_bytes(b"\0\xfe")
    changed()
    (root / "one").write_text("1\n")
    assert git_context(root) == seen[0]
    (root / "one").chmod(0o755)
    changed()
    (root / "one").chmod(0o644)
    (root / "new").write_text("a")
    changed()
    (root / "new").write_text("b")
    changed()
    (root / "new").chmod(0o755)
    changed()
    (root / "new").rename(root / "newer")
    changed()
    (root / "newer").unlink()
    (root / "newer").symlink_to("one")
    changed()
    (root / "newer").unlink()
    (root / "newer").symlink_to("two")
    changed()
    (root / "newer").unlink()
    (root / "sub" / "two").unlink()
    changed()
    git("commit", "-q", "-a", "-m", "second")
    changed()


def test_ignored_files_and_times_say_nothing(root: Path) -> None:
    (root / ".git" / "info" / "exclude").write_text("*.o\n")
    before = git_context(root)
    (root / "a.o").write_text("x")
    os.utime(root / "one", (1, 1))
    assert git_context(root) == before


def test_it_is_the_whole_repository_from_anywhere_in_it(root: Path) -> None:
    git_in(root)("config", "diff.relative", "true")
    (root / "one").write_text("changed")
    (root / "new").write_text("new")
    assert git_context(root / "sub") == git_context(root)


def test_before_the_first_commit(home: Path) -> None:
    git = git_in(home)
    git("init", "-q")
    empty = git_context(home)
    (home / "a").write_text("a")
    untracked = git_context(home)
    git("add", "a")
    assert len({empty, untracked, git_context(home)}) == 3


def test_a_conflict_that_is_being_solved(root: Path) -> None:
    git = git_in(root)
    for branch, text in (("left", "l\n"), ("right", "r\n")):
        git("checkout", "-q", "-b", branch, "HEAD" if branch == "left" else "HEAD~1")
        (root / "one").write_text(text)
        git("commit", "-q", "-a", "-m", branch)
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "-q", "left")
    conflict = git_context(root)
    (root / "one").write_text("both\n")
    assert git_context(root) != conflict


def test_changes_inside_a_submodule(root: Path, home: Path) -> None:
    git = git_in(root)
    git("clone", "-q", str(root), str(home / "other"))
    git("submodule", "--quiet", "add", str(home / "other"), "inner")
    git("commit", "-q", "-m", "with a submodule")
    inner, seen = root / "inner", {git_context(root)}
    for name, text in (("one", "a\n"), ("one", "b\n"), ("new", "c\n")):
        (inner / name).write_text(text)
        seen.add(git_context(root))
    git_in(inner)("add", ".")
    git_in(inner)("commit", "-q", "-m", "inside")
    seen.add(git_context(root))
    assert len(seen) == 5
    # Gone, it has no state of its own.
    git("rm", "-q", "-f", "inner")
    assert git_context(root) not in seen


def test_a_change_that_git_could_miss_by_the_time(root: Path) -> None:
    """Of the same length, in the moment in which the index was written."""
    git = git_in(root)
    at = (root / ".git" / "index").stat().st_mtime_ns
    os.utime(root / "one", ns=(at, at))
    git("update-index", "--refresh")
    os.utime(root / ".git" / "index", ns=(at, at))
    before = git_context(root)
    (root / "one").write_text("2\n")
    os.utime(root / "one", ns=(at, at))
    assert git_context(root) != before


def test_the_variables_of_a_git_hook_do_not_lead_elsewhere(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = git_context(root)
    monkeypatch.setenv("GIT_DIR", str(home / "gone"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(home / "gone"))
    assert git_context(root) == here


def test_nothing_of_the_repository_is_touched(root: Path) -> None:
    (root / "one").write_text("changed\n")
    os.utime(root / "sub" / "two", (1, 1))  # git would note this in its index

    def files() -> dict[str, tuple[int, int]]:
        found = {str(path): path.lstat() for path in (root, *root.rglob("*"))}
        return {name: (info.st_mtime_ns, info.st_ino) for name, info in found.items()}

    before = files()
    git_context(root)
    assert files() == before


def test_no_program_of_the_configurations_is_run(root: Path, home: Path) -> None:
    ran = home / "ran"
    program = home / "program"
    program.write_text(f"#!/bin/sh\necho x >> {ran}\n")
    program.chmod(0o755)
    git = git_in(root)
    for key in ("core.fsmonitor", "diff.external", "core.pager", "diff.mine.textconv"):
        git("config", key, str(program))
    (root / ".git" / "info" / "attributes").write_text("* diff=mine\n")
    (root / "one").write_text("changed\n")
    first = git_context(root)
    (root / "one").write_text("changed again\n")
    assert git_context(root) != first
    assert not ran.exists()


def test_no_repository(home: Path) -> None:
    with pytest.raises(UserError) as caught:
        git_context(home)
    assert str(caught.value).startswith("--context git: not a git repository")


def test_git_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(UserError, match="needs git, which is not installed"):
        git_context(root)
