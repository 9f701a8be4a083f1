"""The errors that reach a person, each one clear sentence.

CrewError                       what was asked for failed: exit status 1
├── UserError                   the user's mistake, with its remedy: exit status 2
│   ├── SpecError               a blueprint, definition or role file: names file and key
│   └── TrustError              a project's own files that nobody has trusted yet
├── SupervisorError             the supervisor could not be started or reached
├── TmuxError                   tmux said no; carries the command and what it printed
│   └── TmuxGone                the server or its control client is not there
└── StorageError                the session's database
    ├── StorageFull             cannot be written now (disk full, read-only); tried again
    ├── StorageDamaged          does not open or is not what it should be; set aside
    └── Fenced                  another supervisor owns the session now: leave at once
"""


class CrewError(Exception):
    """What was asked for failed. `str(error)` is the sentence that a person reads."""

    exit_status = 1


class UserError(CrewError):
    """The user's mistake, with its remedy."""

    exit_status = 2


class SpecError(UserError):
    """Something in a file is wrong: `file`, the dotted `key` in it, what, and the remedy."""

    def __init__(self, file: str, key: str | None, problem: str) -> None:
        self.file = file
        self.key = key
        self.problem = problem
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")


class TrustError(UserError):
    """A project's own files would run commands, and nobody has trusted them yet."""


class SupervisorError(CrewError):
    """The supervisor could not be started or reached."""


class TmuxError(CrewError):
    """tmux said no: `command` is what was asked, `output` what it printed."""

    def __init__(self, command: str, output: str) -> None:
        self.command = command
        self.output = output
        super().__init__(f"tmux {command}: {output}")


class TmuxGone(TmuxError):
    """The tmux server, or our control client of it, is not there."""


class StorageError(CrewError):
    """The session's database."""


class StorageFull(StorageError):
    """It cannot be written now."""


class StorageDamaged(StorageError):
    """It does not open, or is not what it should be."""


class Fenced(StorageError):
    """Another supervisor owns the session now."""
