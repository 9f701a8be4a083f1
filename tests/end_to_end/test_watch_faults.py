"""The dashboard stays open while what it looks at is killed, hangs, goes down and comes back."""

import contextlib
import os
import signal
from pathlib import Path

from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.end_to_end.watching import FOOTER, SOON, Recording, choose, dashboard, see, watch, write
from tests.support import end, wait_until

TEAM = '[[agents]]\nname = "boss"\n[[agents]]\nname = "worker"\n'
GONE = "the supervisor is gone: it is being started again"
HANGS = "✗ the supervisor has not answered for "


def dashboards(crew: Crew) -> list[int]:
    """The processes that run `crew watch`."""
    found = []
    for pid in crew.processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"/crew\0watch\0"):
                found.append(pid)
    return found


def test_a_supervisor_that_is_killed_and_one_that_hangs(crew: Crew) -> None:
    crew.blueprint(TEAM)
    crew.up("--wait")
    with dashboard(crew) as screen:
        shown = Recording(screen, crew.home / "shown")
        see(screen, "✓ supervisor", "boss [Screen]", "? for shortcuts")
        killed = crew.supervisor()
        faults.kill(killed)
        # It may be back before it is seen to be gone.
        shown.wait_for(GONE, SOON)
        see(screen, " t · up ", "✓ supervisor", "boss [Screen]", "? for shortcuts", gone=GONE)
        hung = crew.supervisor()
        assert hung != killed

        with faults.hanging(hung):
            see(screen, HANGS, "✗ not watched", deadline=SOON)
            # Keys are obeyed, and a message is kept until it can be told.
            choose(screen, 1, "worker")
            screen.type("?")
            see(screen, "start it again, with its conversation")
            screen.type("Escape")
            see(screen, FOOTER, gone="start it again")
            screen.type("s")
            see(screen, "message to worker")
            write(screen, "are you there")
            screen.type("C-s", "C-s")
            see(screen, FOOTER, gone="message to worker")
        # How slow it was meanwhile is said until the next reading.
        see(screen, FOOTER, gone=HANGS, deadline=SOON)
        # It is said for some seconds only.
        shown.wait_for("✓ message 1 delivered to worker")
        see(screen, "● heard: are you there")
        see(screen, "✓ supervisor")
        assert len(faults.journal(crew, "send_requested")) == 1

        with faults.hanging(hung):
            see(screen, HANGS, deadline=SOON)
            screen.type("q")
            see(screen, "prompt$", gone=FOOTER, deadline=SOON)
            watch(screen)
            see(screen, HANGS, deadline=SOON)
        see(screen, "worker  ○ ready", gone=HANGS, deadline=SOON)
        see(screen, "✓ supervisor")
        assert crew.supervisor() == hung


def test_a_tmux_that_is_killed_and_a_session_that_goes_down(crew: Crew) -> None:
    crew.blueprint(TEAM)
    crew.up("--wait")
    with dashboard(crew) as screen:
        crew("send", "--wait", "boss", "hello")
        see(screen, "● heard: hello", "Worked for")
        os.kill(crew.view()["server"], signal.SIGKILL)
        # What a turn took is not in the conversation that it was brought back from.
        ready = ("boss    ○ ready", "worker  ○ ready", "? for shortcuts")
        see(screen, *ready, "● heard: hello", gone="Worked for")

        choose(screen, 1, "worker")
        crew("down")
        see(screen, " t · down", "✗ session t is down: `", "restore t` brings its agents back")
        screen.type("s")
        see(screen, "message to worker")
        write(screen, "for later")
        # The key right behind it is no word of the message.
        screen.type("C-s", "x")
        see(screen, " ✗ session t is down", gone="message to worker")
        crew("up")
        see(screen, " t · up", "✓ supervisor", "worker [Screen]", *ready)
        screen.type("s")
        see(screen, "message to worker", "│ for later ")
        screen.type("C-s")
        see(screen, "● heard: for later", gone="message to worker")

        # Its terminal is closed.
        assert dashboards(crew)
        end(screen.pid)
        wait_until(lambda: not dashboards(crew), "the dashboard has ended", 30)
        crew.wait_status(boss="ready", worker="ready")
