"""Every path, decided once. Nothing here reads or writes a file but `ensure_private`."""

import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError

# Also the pattern of agent names: short enough for a socket path, no separator, nothing that a
# shell, tmux or a format string reads.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# sun_path of sockaddr_un holds 108 bytes with its NUL on Linux.
SOCKET_PATH_MAX = 107

PACKAGE = Path(__file__).resolve().parent


def check_name(name: str, what: str) -> str:
    """Return `name`, or raise UserError if it cannot name a session or an agent."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"{what} name {name!r} is not allowed: use 1 to 32 letters, digits, '_' and '-', "
            "the first a letter or digit"
        )
    return name


def builtin() -> Path:
    """The directory that holds `agents/` and `sessions/`: in the wheel, else the checkout."""
    packed = PACKAGE / "_builtin"
    return packed if packed.is_dir() else PACKAGE.parent


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The XDG specification: a relative path is invalid and to be ignored.
    base = Path(value) if value.startswith("/") else Path.home() / default
    return base / "crewmux"


def login_shell(environ: Mapping[str, str]) -> str:
    """The person's own shell, found as tmux finds it: `$SHELL`, else the password database's."""
    if environ.get("SHELL"):
        return environ["SHELL"]
    try:
        return pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    except KeyError:  # a container may run as a user whom nobody knows
        return "/bin/sh"


def state_root() -> Path:
    """Holds one directory per session."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def config_root() -> Path:
    """The user's own `agents/` and `sessions/`."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def cache_root() -> Path:
    """The answers to one-shot questions, and what the processes that ask agree by."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def ask_file() -> Path:
    """The user's settings of `crew ask`."""
    return config_root() / "ask.toml"


def trust_file() -> Path:
    """What a person has trusted. A leading dot: no session can have this name."""
    return state_root() / ".trusted.json"


@dataclass(frozen=True)
class SessionPaths:
    """Everything one session keeps on disk, below one 0700 directory."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def database(self) -> Path:
        return self.root / "crew.db"

    @property
    def spare(self) -> Path:
        """A copy of the world, for when the database is damaged."""
        return self.root / "world.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def root_link(self) -> Path:
        """A link to where the team works: tells quickly which session a directory has."""
        return self.root / "root"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens."""
        return self.root / "crew.sock"

    @property
    def tmux_socket(self) -> Path:
        return self.root / "tmux.sock"

    @property
    def tmux_conf(self) -> Path:
        return self.root / "tmux.conf"

    @property
    def log(self) -> Path:
        return self.root / "supervisor.log"

    @property
    def spool(self) -> Path:
        """Hooks write `tmp/`, then rename into `new/`; what cannot be read goes to `bad/`."""
        return self.root / "spool"

    @property
    def launch(self) -> Path:
        """Launch orders, `<agent>.<run>.order`, removed by the launcher that has read them."""
        return self.root / "launch"

    @property
    def settings(self) -> Path:
        """Generated settings files of agent CLIs, `<agent>.json`."""
        return self.root / "settings"

    @property
    def bin(self) -> Path:
        """Put first on the PATH of each agent: holds `crew` and nothing else."""
        return self.root / "bin"

    @property
    def panes(self) -> Path:
        """The last text of panes whose process ended, `<agent>.txt`."""
        return self.root / "panes"

    def directories(self) -> tuple[Path, ...]:
        return (
            self.root,
            self.spool,
            self.spool / "tmp",
            self.spool / "new",
            self.spool / "bad",
            self.launch,
            self.settings,
            self.bin,
            self.panes,
        )


def session_paths(session: str) -> SessionPaths:
    """The paths of a session; raises UserError for a bad name or a socket path too long."""
    check_name(session, "session")
    paths = SessionPaths(state_root() / session)
    longest = max(len(os.fsencode(p)) for p in (paths.socket, paths.tmux_socket))
    if longest > SOCKET_PATH_MAX:
        raise UserError(
            f"{paths.tmux_socket}: this socket path is {longest} bytes long and the system takes "
            f"{SOCKET_PATH_MAX}: set XDG_STATE_HOME to a shorter directory"
        )
    return paths


def sessions() -> list[str]:
    """The names of all sessions that have a database."""
    root = state_root()
    if not root.is_dir():
        return []
    return sorted(p.parent.name for p in root.glob("*/crew.db") if NAME.fullmatch(p.parent.name))


def ensure_private(directory: Path) -> None:
    """Make `directory` with mode 0700; raises UserError if it is another user's or a link."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = directory.lstat()
    except OSError as error:
        raise UserError(f"{directory}: cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(info.st_mode):
        raise UserError(f"{directory}: is not a directory: move it away")
    if info.st_uid != os.getuid():
        of_cache = directory.is_relative_to(cache_root())
        variable = "XDG_CACHE_HOME" if of_cache else "XDG_STATE_HOME"
        raise UserError(
            f"{directory}: belongs to uid {info.st_uid}, not to you ({os.getuid()}): "
            f"set {variable} to a directory of your own"
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        directory.chmod(0o700)
