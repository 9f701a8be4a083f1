"""Whether a CLI's hooks arrive: it is started once as a session starts it, and told nothing.

What counts is the file that its SessionStart hook puts into the spool. No message is sent, so no
model is asked; a dialog that stands before is named, and left alone.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import launching, settings
from orchestrator.core.effects import Spawn
from orchestrator.core.screen import Look, plain, read
from orchestrator.core.spec import AgentSpec, CliSpec, RestartPolicy
from orchestrator.doctor.findings import Finding, bad, ok, warn
from orchestrator.errors import CrewError, TmuxError
from orchestrator.locations import SessionPaths
from orchestrator.tmux.bootstrap import HOLDING
from orchestrator.tmux.opening import LAUNCHER
from orchestrator.tmux.panes import zombie_status

FIRST = "SessionStart"
# Seconds in which the hook should have arrived, on a slow machine too.
ARRIVES = 15.0
# Seconds for which a dialog must stand: the first screens of a CLI come and go.
STANDS = 1.0
# Seconds between looks at the spool, and at the screen. This process has no loop to be woken in.
_STEP, _LOOK = 0.05, 0.3
UNKNOWN = "unknown"
# What stands in a pane whose process has ended: as tmux has it, and as our configuration does.
TMUX_SAYS = ("Pane is dead", "ended (")
_ANSWERS = 5.0


def examine(
    cli: CliSpec, paths: SessionPaths | None, root: Path, environ: Mapping[str, str]
) -> Finding | None:
    """Start `cli` in the directory `root`, on the server at `paths`; None: it has no such hooks.

    It is not ended here but with the server.
    """
    if cli.hooks is None or FIRST not in cli.hooks.events:
        return None
    name = f"{cli.name} hooks"
    if not os.access(settings.HOOK, os.X_OK):
        return bad(name, f"{settings.HOOK} cannot be run", f"chmod +x {settings.HOOK}")
    if paths is None:
        return warn(name, "not tried: there is no tmux server to start it in", "mend that first")
    try:
        return _Trial(cli, paths, root, environ).run(name)
    except (CrewError, OSError, subprocess.SubprocessError) as error:
        text = f"not tried: {cli.name} could not be started: {error}"
        return warn(name, text, f"try `crew doctor {cli.name}` again")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pane as it was seen: its exit status if its process has ended, and its screen."""

    dead: str | None
    lines: list[str]


class _Trial:
    def __init__(
        self, cli: CliSpec, paths: SessionPaths, root: Path, environ: Mapping[str, str]
    ) -> None:
        self._cli = cli
        self._paths = paths
        self._root = root
        self._environ = environ

    def run(self, name: str) -> Finding:
        environment = launching.Environment(self._environ)
        try:
            pane = self._open(self._prepare(environment))
            return self._wait(name, pane)
        finally:
            environment.close()

    def _prepare(self, environment: launching.Environment) -> Path:
        spec = AgentSpec(name=self._cli.name, cli=self._cli.name, env={}, restart=RestartPolicy())
        order = Spawn(
            agent=spec.name,
            run=1,
            spec=spec,
            cli=self._cli,
            conversation=str(uuid.uuid4()),
            transcript=None,
            resume=False,
            pane=None,
            end_first=None,
            place=1,
        )
        session = self._paths.name
        file, _, _ = launching.prepare(order, self._paths, session, str(self._root), environment)
        return file

    def _open(self, order: Path) -> str:
        argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(order)]
        where = ["-d", "-t", f"={HOLDING}:", "-c", "/"]
        return self._tmux("new-window", *where, "-P", "-F", "#{pane_id}", *argv).strip()

    def _tmux(self, *command: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-N", "-S", str(self._paths.tmux_socket), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWERS,
            check=False,
        )
        if done.returncode != 0:
            raise TmuxError(command[0], done.stderr.decode(errors="replace").strip())
        return done.stdout.decode(errors="replace")

    def _wait(self, name: str, pane: str) -> Finding:
        began = looked = time.monotonic()
        asked: float | None = None
        ended: float | None = None
        while (now := time.monotonic()) < began + ARRIVES:
            if self._arrived():
                return ok(name, f"{FIRST} arrived after {now - began:.1f} s")
            if now - looked > _LOOK:
                looked = now
                seen = self._look(pane)
                # The hook may have come just before the end; tmux may tell the status after it.
                ended = (ended or now) if seen.dead is not None else None
                told = seen.dead != UNKNOWN or (ended is not None and now - ended > STANDS)
                if seen.dead is not None and told and not self._arrived():
                    return self._ended(name, seen)
                look = read(seen.lines, self._cli.screen)
                asked = (asked or now) if look.status == "blocked" else None
                if asked is not None and now - asked > STANDS:
                    return self._asks(name, look)
            time.sleep(_STEP)
        return self._silent(name)

    def _arrived(self) -> bool:
        pattern = f"{self._cli.name}.1.{FIRST}.*"
        return any((self._paths.spool / "new").glob(pattern))

    def _look(self, pane: str) -> _Seen:
        said = "#{pane_pid} #{pid} #{pane_dead} #{pane_dead_status}"
        # From the line above: what tmux writes of an end pushes the first one out.
        screen_of = ["capture-pane", "-p", "-S", "-1", "-t", pane]
        shown = self._tmux("display-message", "-p", "-t", pane, said, ";", *screen_of)
        first, _, screen = shown.partition("\n")
        pid, server, dead, *told = first.split()
        status = told[0] if told else self._unheard(int(pid), int(server))
        return _Seen(status or UNKNOWN if dead == "1" else None, screen.split("\n"))

    def _unheard(self, pid: int, server: int) -> str | None:
        """The exit status that tmux has missed, as some builds do now and then."""
        kept = zombie_status(pid, server)
        return str(kept.code) if kept.code is not None else None

    @property
    def _by_hand(self) -> str:
        return f"start it by hand in {self._root}"

    def _ended(self, name: str, seen: _Seen) -> Finding:
        words = [line for each in seen.lines if (line := plain(each).strip())]
        # tmux's own line comes behind them, sooner or later.
        words = [line for line in words if not line.startswith(TMUX_SAYS)]
        last = f": {words[-1]}" if words else ""
        text = f"{self._cli.name} ended before its first hook, exit status {seen.dead}{last}"
        return bad(name, text, f"{self._by_hand} and see what is wrong")

    def _asks(self, name: str, look: Look) -> Finding:
        what = f"{look.name or look.ask or 'dialog'}"
        text = f"not tried: {self._cli.name} has a question first ({what})"
        return warn(name, text, f"{self._by_hand}, answer, then `crew doctor {self._cli.name}`")

    def _silent(self, name: str) -> Finding:
        given = self._cli.launch.settings
        how = f"from {given[0]}" if given else "(its definition has no `settings`)"
        text = f"{self._cli.name} runs, and no hook of it arrived in {ARRIVES:g} s"
        remedy = (
            f"see that it takes hooks {how}, and that no settings of its own switch them off "
            "(disableAllHooks)"
        )
        return bad(name, text, remedy)
