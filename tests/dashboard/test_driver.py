"""The dashboard's terminal: a small app on a real pty, which writes down whatever reaches it."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest
from textual import constants, events
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size

from orchestrator import procfs
from orchestrator.dashboard.driver import TerminalDriver
from orchestrator.dashboard.theme import Themed
from tests.bench.kernel import wake_ups
from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, ROWS = 80, 24
# Seconds in which nothing may happen.
REST = 1.0


class Listening(Themed[None]):
    """Writes down what comes. `q` and Ctrl-C end it, `o` is out for a line, `f` draws a lot, `w` is
    told a size that is wrong."""

    CSS_PATH = str(ROOT / "orchestrator/dashboard/app.tcss")
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file.open("a", buffering=1, encoding="utf-8")

    def write(self, line: str) -> None:
        self._file.write(f"{line}\n")

    def on_key(self, event: events.Key) -> None:
        match event.key:
            case "q" | "ctrl+c":
                self.exit()
            case "o":
                with self.suspend():
                    # Raw, as a program that takes over the terminal reads it.
                    self.write("out")
                    line = os.read(0, 100)
                    self.write(f"read {line!r}")
            case "f":
                assert self._driver is not None
                self.write("floods")
                for _ in range(100):
                    self._driver.write("\x1b[H" + "x" * 10_000)
            case "w":
                wrong = Size(61, 17)
                self.post_message(events.Resize(wrong, wrong))
        self.write(f"key {event.key} {event.character!r}")

    def on_paste(self, event: events.Paste) -> None:
        self.write(f"paste {event.text!r}")

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.write(f"mouse {event.screen_x:.0f} {event.screen_y:.0f}")

    def on_resize(self, event: events.Resize) -> None:
        self.write(f"size {event.size.width} {event.size.height}")


class Terminal:
    """`Listening` on a pty; `owned`: that is its controlling terminal. Ended with the block."""

    def __init__(self, file: Path, *, owned: bool = True) -> None:
        self._file = file
        self._far, self.near = pty.openpty()
        self.resize(COLUMNS, ROWS)
        self.before = termios.tcgetattr(self.near)
        argv = [sys.executable, "-m", "tests.dashboard.test_driver", str(file)]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv] if owned else ["setsid", *argv],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            stdin=self.near,
            stdout=self.near,
            stderr=self.near,
        )
        self.drawn = b""
        self.gone = False

    def __enter__(self) -> "Terminal":
        self.wait(self.is_drawn, "it has started", 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """The terminal goes away."""
        if not self.gone:
            self.gone = True
            os.close(self.near)
            os.close(self._far)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        """All of it; returns when it has been read."""
        while data:
            data = data[os.write(self._far, data[:1000]) :]
            self.wait(lambda: not self._unread(), "what was typed is read")

    def _unread(self) -> int:
        held = array("i", [0])
        fcntl.ioctl(self.near, termios.FIONREAD, held)
        return held[0]

    def came(self) -> list[str]:
        """What the app has written down."""
        return self._file.read_text("utf-8").splitlines() if self._file.exists() else []

    def take(self) -> None:
        """Read what is drawn, as a terminal does all the time."""
        while not self.gone and select.select([self._far], [], [], 0)[0]:
            self.drawn += os.read(self._far, 1 << 16)

    def wait(self, look: Callable[[], object], what: str, deadline: float = 30) -> None:
        def looked() -> object:
            self.take()
            return look()

        try:
            wait_until(looked, what, deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.came()}\n{self.drawn[-500:]!r}") from None

    def wait_for(self, *lines: str) -> None:
        """Wait until exactly these are the last ones that came, besides sizes."""

        def look() -> bool:
            came = [line for line in self.came() if not line.startswith("size")]
            return tuple(came[-len(lines) :]) == lines

        self.wait(look, f"{lines} came")

    def is_drawn(self) -> bool:
        """To the last line."""
        return f"\x1b[{ROWS};1H".encode() in self.drawn

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def is_stopped(self) -> bool:
        found = procfs.stat(self.process.pid)
        return found is not None and found.state == b"T"

    def ended(self) -> int:
        """Wait until it has; its exit status."""
        self.wait(self.has_ended, "it has ended")
        return self.process.returncode

    def settle(self) -> None:
        """Wait until nothing of it has run for a while."""
        since, count = time.monotonic(), wake_ups(self.process.pid)

        def rests() -> bool:
            nonlocal since, count
            if (now := wake_ups(self.process.pid)) != count:
                since, count = time.monotonic(), now
            return time.monotonic() - since > REST

        self.wait(rests, f"no thread is woken for {REST} s")


def split(terminal: Terminal, *parts: bytes) -> bool:
    """Type one sequence in parts, each of which is read by itself; whether they came as quickly as
    those of one do."""
    began = time.monotonic()
    for part in parts[:-1]:
        terminal.type(part)
    os.write(terminal._far, parts[-1])
    return time.monotonic() - began < constants.ESCAPE_DELAY / 2


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(tmp_path / "came") as made:
        yield made


def test_keys_arrive_each_as_what_it_is(terminal: Terminal) -> None:
    terminal.type(b"a")
    terminal.wait_for("key a 'a'")
    terminal.type(b"\x1b[A\x1b[15~\tZ")
    terminal.wait_for("key up None", "key f5 None", "key tab '\\t'", "key Z 'Z'")
    # A character in two parts, and bytes that are none.
    terminal.type(b"\xc3")
    terminal.type(b"\xa9")
    terminal.wait_for("key é 'é'")
    terminal.type(b"\xffz")
    terminal.wait_for("key z 'z'")


def test_a_lone_escape_is_the_key_without_another_one(terminal: Terminal) -> None:
    terminal.type(b"\x1b")
    terminal.wait_for("key escape '\\x1b'")
    terminal.type(b"b\x1b")
    terminal.wait_for("key b 'b'", "key escape '\\x1b'")
    # What is split on its way is one key all the same: if it comes in time, which on a busy machine
    # may take more than one go.
    while not split(terminal, b"\x1b", b"[", b"B"):
        terminal.type(b"c")
        terminal.wait_for("key c 'c'")
    terminal.wait(lambda: terminal.came()[-1] == "key down None", "the key came")
    assert terminal.came()[-2] in ("key escape '\\x1b'", "key c 'c'"), "as one"


def test_what_is_pasted_arrives_whole(terminal: Terminal) -> None:
    text = "".join(f"line {n} of it: ü\n" for n in range(1500))
    while True:
        terminal.type(b"\x1b[200~" + text.encode())
        if split(terminal, b"\x1b[2", b"01~"):
            break
        terminal.type(b"\x1b[201~d")
        terminal.wait(lambda: terminal.came()[-1:] == ["key d 'd'"], "the end of one that failed")
    terminal.type(b"c")
    terminal.wait_for(f"paste {text!r}", "key c 'c'")


def test_the_mouse_and_the_size(terminal: Terminal) -> None:
    terminal.type(b"\x1b[<0;11;6M\x1b[<0;11;6m")
    terminal.wait_for("mouse 10 5")
    terminal.resize(61, 17)
    terminal.wait(lambda: terminal.came()[-1] == "size 61 17", "the new size")
    terminal.type(b"d")
    terminal.wait_for("key d 'd'")


def test_a_size_that_was_told_too_early_is_looked_at_again(terminal: Terminal) -> None:
    terminal.type(b"\x1b[<0;11;6M\x1b[<0;11;6m")
    terminal.wait_for("mouse 10 5")
    terminal.type(b"w")
    terminal.wait(lambda: terminal.came()[-1] == f"size {COLUMNS} {ROWS}", "the right size again")


def test_at_rest_nothing_runs(terminal: Terminal) -> None:
    terminal.settle()
    terminal.type(b"\x1b")
    terminal.wait_for("key escape '\\x1b'")
    terminal.settle()
    terminal.type(b"o")
    terminal.wait_for("out")
    terminal.type(b"words\n")
    terminal.wait_for("read b'words\\n'", "key o 'o'")
    terminal.settle()


def test_another_program_has_the_terminal_meanwhile(terminal: Terminal) -> None:
    for word in ("one", "two", "three"):
        terminal.type(b"o")
        terminal.wait_for("out")
        terminal.wait(lambda: termios.tcgetattr(terminal.near) == terminal.before, "as it was")
        terminal.type(word.encode() + b"\n")
        terminal.wait_for(f"read b'{word}\\n'", "key o 'o'")
        terminal.type(b"e\x1b")
        terminal.wait_for("key e 'e'", "key escape '\\x1b'")
    terminal.type(b"q")
    assert terminal.ended() == 0


@pytest.mark.parametrize("way", ["q", "ctrl+c", "SIGTERM", "SIGHUP"])
def test_it_ends_and_leaves_the_terminal_as_it_was(terminal: Terminal, way: str) -> None:
    assert termios.tcgetattr(terminal.near) != terminal.before
    match way:
        case "q":
            terminal.type(b"q")
        case "ctrl+c":
            terminal.type(b"\x03")
        case _:
            os.kill(terminal.process.pid, signal.Signals[way])
    assert terminal.ended() == 0
    terminal.take()
    assert termios.tcgetattr(terminal.near) == terminal.before
    ended = b"\x1b[?1049l\x1b[?25h\x1b[?1004l"
    assert terminal.drawn.count(ended) == 1
    assert b"\x1b[?1049h" not in terminal.drawn.partition(ended)[2]


@pytest.mark.parametrize("owned", [True, False], ids=["told by a signal", "not told"])
@pytest.mark.parametrize("doing", ["rests", "draws", "is out"])
def test_it_ends_when_the_terminal_goes_away(tmp_path: Path, owned: bool, doing: str) -> None:
    with Terminal(tmp_path / "came", owned=owned) as terminal:
        match doing:
            case "draws":
                # More than the terminal takes, and nobody reads it.
                os.write(terminal._far, b"f")
                wait_until(lambda: "floods" in terminal.came(), "it draws")
            case "is out":
                terminal.type(b"o")
                terminal.wait_for("out")
        terminal.close()
        assert terminal.ended() in (0, -signal.SIGHUP)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGTSTP])
def test_a_process_that_was_stopped_goes_on(terminal: Terminal, how: signal.Signals) -> None:
    for key in "xyz":
        os.kill(terminal.process.pid, how)
        terminal.wait(terminal.is_stopped, "it is stopped")
        # A shell has made the terminal its own meanwhile.
        termios.tcsetattr(terminal.near, termios.TCSANOW, terminal.before)
        terminal.take()
        terminal.drawn = b""
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.wait(terminal.is_drawn, "it is drawn anew")
        terminal.type(key.encode())
        terminal.wait_for(f"key {key} {key!r}")
    terminal.settle()
    terminal.type(b"q")
    assert terminal.ended() == 0
    assert termios.tcgetattr(terminal.near) == terminal.before


def test_what_is_taken_from_textual_is_there() -> None:
    """Each is overridden or called by its name, and is no promise of Textual's."""
    overridden = [name for name in vars(TerminalDriver) if name in dir(LinuxDriver)]
    assert {
        "start_application_mode",
        "stop_application_mode",
        "disable_input",
        "run_input_thread",
        "_sigcont_application",
    } <= set(overridden)
    assert "run_input_thread" in LinuxDriver._run_input_thread.__code__.co_names
    names = LinuxDriver.__init__.__code__.co_names
    assert {"_file", "fileno", "_key_thread", "_sigcont_application"} <= set(names)
    assert {"_app", "_loop", "_debug", "_auto_restart"} <= set(Driver.__init__.__code__.co_names)
    parser = XTermParser()
    assert list(parser.feed("\x1b")) == []
    assert list(parser.tick()) == []


if __name__ == "__main__":
    Listening(Path(sys.argv[1])).run()
