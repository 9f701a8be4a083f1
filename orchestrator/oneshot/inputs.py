"""What a question is about besides its words: files that are sent along, and the state of a
repository.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.core.text import safe_text
from orchestrator.core.values import value
from orchestrator.errors import UserError

# Bytes of one file.
INPUT_MAX = 1024 * 1024


@value
class Input:
    """A file: its name as it was given, its text, and the sha-256 of its content."""

    name: str
    text: str
    digest: str


def read_inputs(names: Sequence[str], cwd: Path) -> tuple[Input, ...]:
    """The files, each read once. Raises UserError for the first that cannot be sent along."""
    return tuple(_read(name, cwd) for name in names)


def _read(name: str, cwd: Path) -> Input:
    shown = safe_text(name)
    try:
        # Not only regular files: a shell's <(command) is a pipe.
        with (cwd / name).open("rb") as file:
            content = file.read(INPUT_MAX + 1)
    except IsADirectoryError:
        raise UserError(f"{shown}: is a directory: name the files in it") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{shown}: cannot be read: {why}") from error
    if len(content) > INPUT_MAX:
        raise UserError(f"{shown}: is larger than {INPUT_MAX // 1024} KiB: send a part of it")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{shown}: is not UTF-8 text (byte {error.start})") from None
    if "\0" in text:
        raise UserError(f"{shown}: is not text: it holds a NUL character")
    return Input(name=name, text=text, digest=hashlib.sha256(content).hexdigest())


# -- git -------------------------------------------------------------------------------------------

# Which repository it is, is decided by where we are.
_NOT_OURS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})
# No option of the person's may run a program or hide a change.
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--no-renames"),
    *("--ignore-submodules=none", "--submodule=short"),
)
_SUBMODULE = b" 160000 "  # its mode, as the new one of a change


def git_context(cwd: Path) -> str:
    """A digest of the repository around `cwd`: HEAD, and all that differs from it in the working
    tree, files that are not tracked too. Ignored files are no part of it. Raises UserError.
    """
    import shutil
    import tempfile

    top = _git(cwd, "rev-parse", "--show-toplevel", "--git-path", "index")
    root, index = (cwd / os.fsdecode(name) for name in top.split(b"\n")[:2])
    with tempfile.TemporaryDirectory(prefix="crew-") as scratch:
        # `git diff` writes down in the index what it finds to be unchanged: in a copy, then. The
        # copy's time must be the old one, by which git knows what it has to look into.
        copy = Path(scratch) / "index"
        if index.exists():
            shutil.copy2(index, copy)
        return _state(root, copy)


def beyond_git(cwd: Path, names: Iterable[str]) -> bool:
    """Whether one of these paths is there, and `git_context` does not tell what it holds."""
    there = [cwd / name for name in names if os.path.lexists(cwd / name)]
    if not there:
        return False
    files = [path.resolve() for path in there]
    if not all(file.is_file() and ".git" not in file.parts for file in files):
        return True
    try:
        return bool(_git(cwd, "check-ignore", "--", *map(str, files), unless=1))
    except UserError:  # not of this repository
        return True


def _state(root: Path, index: Path) -> str:
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD", unless=1).decode().strip()
    # Before the first commit: everything is a change of the empty tree.
    base = head or _git(root, "hash-object", "-t", "tree", os.devnull).decode().strip()
    digest = hashlib.sha256(f"{base}\n".encode())
    difference = _git(root, *_DIFF, "--binary", "--full-index", base, "--", index=index)
    digest.update(hashlib.sha256(difference).digest())
    if b"Subproject commit" in difference:
        for submodule in _submodules(root, base, index):
            digest.update(git_context(submodule).encode())
    others = _git(root, "ls-files", "--others", "--exclude-standard", "-z", index=index)
    for name in sorted(others.split(b"\0")[:-1]):
        digest.update(hashlib.sha256(name).digest())
        digest.update(_untracked(root / os.fsdecode(name)))
    return digest.hexdigest()


def _submodules(root: Path, base: str, index: Path) -> list[Path]:
    """Those that are changed, and are there."""
    listed = _git(root, *_DIFF, "--raw", "-z", base, "--", index=index).split(b"\0")
    changes = zip(listed[::2], listed[1::2], strict=False)
    paths = [root / os.fsdecode(name) for change, name in changes if _SUBMODULE in change]
    return [path for path in paths if (path / ".git").exists()]


def _untracked(path: Path) -> bytes:
    """What kind of file it is, and the digest of its content."""
    try:
        if path.is_symlink():
            return b"l" + hashlib.sha256(os.fsencode(path.readlink())).digest()
        if path.is_dir():  # another repository
            return b"d"
        with path.open("rb") as file:
            kind = b"x" if os.fstat(file.fileno()).st_mode & 0o100 else b"f"
            return kind + hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError:  # it has just gone
        return b"-"
    except OSError as error:
        shown = safe_text(str(path))
        raise UserError(f"{shown}: cannot be read: {error.strerror}: ignore it in git") from error


def _git(cwd: Path, *arguments: str, index: Path | None = None, unless: int | None = None) -> bytes:
    """What git prints. `unless`: an exit status that is no error, but an empty answer."""
    import subprocess

    env = {name: text for name, text in os.environ.items() if name not in _NOT_OURS}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    env |= {"GIT_INDEX_FILE": str(index)} if index else {}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("--context git needs git, which is not installed") from None
    if done.returncode == unless:
        return b""
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it failed"]
        raise UserError(f"--context git: {safe_text(said[0].removeprefix('fatal: '))}")
    return done.stdout
