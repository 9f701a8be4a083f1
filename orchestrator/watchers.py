"""What is watched follows the world: compare the old and the new one, and point the sources.

There is no order to start or end a watch: whichever way an agent came to have a process, a
terminal or a transcript (launched, adopted, restored), its watches are what its value says.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import aiofiles

from orchestrator import launching, procfs, speaking
from orchestrator.checks import Checks
from orchestrator.core import changes, views
from orchestrator.core.events import DeadlinePassed, ProcessExited
from orchestrator.core.readings import in_first_run
from orchestrator.core.screen import Look, is_emptied, read
from orchestrator.core.spec import CliSpec
from orchestrator.core.state import NEEDS_HUMAN, Agent, Doing, Process, Source, Status, World
from orchestrator.core.versions import as_told
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.launching import Environment
from orchestrator.locations import SessionPaths
from orchestrator.runner import screen_seen
from orchestrator.sources import clock
from orchestrator.sources.files import Files, always
from orchestrator.sources.processes import Exits
from orchestrator.sources.ptys import Screens, Terminals
from orchestrator.tmux import panes
from orchestrator.tmux.conf import Colour
from orchestrator.tmux.link import Link

log = logging.getLogger(__name__)

# Seconds in which tmux is expected to tell an exit status. Most come within 2 ms; some versions
# lose one in fifty.
STATUS_SOON, STATUS_LATE = 0.01, 0.5
STATUS_STEP = 0.005
# Seconds in which a control client that has ended is expected to be there again, if tmux lives.
AWAY = 10.0
# Seconds that the last words of all panes may take when the session ends.
SETTLE = 2.0
# Status lines are redrawn at most this often (s).
MARKS = 0.5
# Seconds after which a first-run dialog that shows no choices is taken for one that has none: they
# are drawn half a second after the dialog itself, and more on a busy machine.
CHOICES = 4.0
# Two ends of a limit that differ by less (s) are one: the screen shows whole seconds.
SAME_END = 2.0
# Marks that call a person; the others are calm.
COLOURS: Mapping[Status, Colour] = {Status.BLOCKED: "yellow", Status.FAILED: "red"}


class Watchers:
    """Everything that turns the world's agents into watches.

    `wrong(source, sentence)` is told what is out of order for long, None when nothing is any more:
    `files` or `screens`. `room()` waits until the loop can take in what is seen.
    """

    def __init__(
        self,
        paths: SessionPaths,
        link: Link,
        *,
        world: Callable[[], World],
        post: Callable[..., None],
        already: Callable[[Sequence[str]], set[str]],
        doubt: Callable[[Source, str], None],
        environment: Callable[[], Environment],
        wrong: Callable[[str, str | None], None],
        room: Callable[[], Awaitable[object]] = always,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._paths = paths
        self._link = link
        self._world = world
        self._post = post
        self._environment = environment
        self._room = room
        self.files = Files(
            paths.spool,
            post=lambda events: post(*events),
            already=already,
            doubt=doubt,
            report=lambda text: log.warning("%s", text),
            wrong=lambda text: wrong("files", text),
            room=room,
        )
        self._exits = Exits(loop, self._exited)
        self._terminals = Terminals(
            loop,
            self._written,
            lambda text: wrong("screens", text),
            lambda: wrong("screens", None),
        )
        self._screens = Screens(loop, self._terminals, self._snapshot, self._screen)
        self._checks = Checks(
            loop,
            agent_of=self._agent,
            glance=lambda name: self._spawn(self._glance(name)),
            post=post,
            report=lambda text: log.info("%s", text),
        )
        self._deadlines = clock.Deadlines(loop, self._due)
        # By agent: the run, what its screen said last, and the loop time (s) at which a limit ends.
        self._looks: dict[str, tuple[int, Look, float | None]] = {}
        # By agent: when its newest snapshot was ordered (wall clock, monotonic).
        self._taken: dict[str, tuple[float, float]] = {}
        # Dialogs that show no choices yet, and those that may not show all of them.
        self._undrawn: dict[str, tuple[Look, asyncio.TimerHandle]] = {}
        self._standing: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._marking = False
        self._marked: Process | None = None
        self._marks: dict[str, str] = {}
        self._summary: tuple[str, str] | None = None

    def follow(self, old: World, new: World) -> None:
        """Called by the loop at each change of the world. Never blocks."""
        if new.deadlines is not old.deadlines:
            self._deadlines.follow(new.deadlines)
        if new.team is not old.team and new.team is not None:
            self.files.watch_edits(new.team.files)
        if new.agents is old.agents and new.team is old.team:
            return
        changed, gone = changes.of_agents(old, new)
        for agent in changed:
            self._follow_agent(old.agents.get(agent.name), agent, new)
        for name in gone:
            self._forget(name)
        self._mark_soon()

    def _follow_agent(self, before: Agent | None, agent: Agent, world: World) -> None:
        def watched(a: Agent) -> tuple[object, ...]:
            conversations = a.transcript, a.conversation, tuple(a.usage.transcripts)
            return a.process, a.run, a.tty, conversations, _needs_screen(a)

        cli = world.team.clis.get(agent.spec.cli) if world.team is not None else None
        if cli is not None:
            self._checks.follow(agent, cli)
        same = before is not None and watched(before) == watched(agent)
        if same or world.team is None:
            return
        process = agent.process
        if process is None:
            self._forget(agent.name)
        else:
            self._exits.watch(agent.name, agent.run, process)
        if cli is None:
            return  # It left the team and is ending.
        known = launching.values(
            agent.spec,
            cli,
            self._paths,
            world.team.root,
            self._environment().values,
            agent.conversation,
        )
        self.files.follow(
            agent.name,
            agent.run,
            cli,
            process=process,
            status_path=launching.status_path(cli, known, process.pid) if process else None,
            transcript_path=launching.transcript_path(cli, known, agent),
            since=agent.said["transcript"].at if "transcript" in agent.said else None,
            usage=agent.usage,
        )
        if process and agent.tty is not None and (reads_screen(cli) or _needs_screen(agent)):
            self._screens.follow(agent.name, agent.tty)
        else:
            self._screens.unfollow(agent.name)
            self._looks.pop(agent.name, None)
            self._drawn(agent.name)
            self._falls(agent.name)

    def _forget(self, name: str) -> None:
        self._exits.unwatch(name)
        self.files.unfollow(name)
        self._screens.unfollow(name)
        self._looks.pop(name, None)
        self._taken.pop(name, None)
        self._checks.forget(name)
        self._drawn(name)
        self._falls(name)

    def _agent(self, name: str) -> Agent | None:
        return self._world().agents.get(name)

    def _due(self, name: str, due: float) -> None:
        at, mono = clock.now()
        self._post(
            DeadlinePassed(
                at=at, mono=mono, source="clock", name=name, due=due, jitter=clock.roll()
            )
        )

    # -- deaths -----------------------------------------------------------------------------------

    def _exited(self, name: str, run: int, process: Process) -> None:
        """A pidfd fired: find out how it ended, and tell."""
        del process
        agent = self._agent(name)
        pane = agent.pane if agent is not None and agent.run == run else None
        self._spawn(self._tell_exit(name, run, pane))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell_exit(self, name: str, run: int, pane: str | None) -> None:
        """Post the death at once, and its exit status as soon as tmux knows it."""
        at, mono = clock.now()
        stamp: Mapping[str, Any] = {"at": at, "mono": mono, "source": "process"}
        known, code, signal, gone = False, None, None, False
        # A tmux that is busy answers late: that it died is told in time all the same.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATUS_SOON):
                known, code, signal, gone = await self._exit_status(pane, STATUS_SOON)
        common = {"agent": name, "run": run, "jitter": clock.roll(), **stamp}
        if not known and not gone:
            self._post(ProcessExited(known=False, **common))
            known, code, signal, gone = await self._exit_status(pane, STATUS_LATE, away=AWAY)
            if self._is_waiting(name):
                return  # With the server everything was lost: it is about to start again.
        self._post(ProcessExited(code=code, signal=signal, pane_gone=gone, **common))
        if pane is not None and not gone:
            await self._keep_last_words(name, pane)

    async def _exit_status(
        self, pane: str | None, within: float, away: float = 0.0
    ) -> tuple[bool, int | None, int | None, bool]:
        """(known, code, signal, pane gone) as tmux has it within so many seconds.

        `away`: those that a control client which is gone may take to be there again.
        """
        if pane is None:
            return True, None, None, False
        loop = asyncio.get_running_loop()
        end, back = loop.time() + within, loop.time() + away
        while True:
            try:
                status = await panes.exit_status(self._link.control, pane)
            except TmuxGone:
                if not self._server_lives():
                    # Whether the pane was closed is not for us to say.
                    return True, None, None, False
                status = panes.UNKNOWN
                if loop.time() < back:
                    end = loop.time() + within
            except (TmuxError, OSError) as error:
                log.warning("no exit status: %s", error)
                return True, None, None, False
            if status is None:
                return True, None, None, True
            known, code, signal = status
            if known or loop.time() >= end:
                return known, code, signal, False
            await asyncio.sleep(STATUS_STEP)

    def _server_lives(self) -> bool:
        server = self._world().server
        return server is not None and procfs.is_alive(server)

    def _is_waiting(self, name: str) -> bool:
        agent = self._agent(name)
        return agent is not None and agent.status is Status.STARTING and agent.process is None

    async def _keep_last_words(self, name: str, pane: str) -> None:
        """Keep what the pane showed: its place may be taken by the next run."""
        try:
            lines = await self._link.control.snapshot(pane, history=True)
            if lines:
                path = self._paths.panes / f"{name}.txt"
                async with aiofiles.open(path, "w", opener=launching.private) as file:
                    await file.write("\n".join(lines).rstrip() + "\n")
        except (TmuxError, OSError) as error:
            log.info("the last screen was not kept: %s", error, extra={"agent": name})

    # -- screens ----------------------------------------------------------------------------------

    def _written(self, name: str) -> None:
        self._screens.written(name)

    async def _snapshot(self, name: str) -> list[str] | None:
        """What `Screens` takes of an agent's pane when its terminal was written to."""
        # One look later stands for all that was drawn until then.
        await self._room()
        agent = self._agent(name)
        if agent is None or agent.pane is None:
            return None
        # What is reported while the snapshot is taken is newer than what it shows.
        self._taken[name] = clock.now()
        try:
            return await self._link.control.snapshot(agent.pane)
        except (TmuxError, OSError):
            return None

    def _screen(self, name: str, lines: list[str]) -> None:
        """A screen changed: an event only when it says something else."""
        world = self._world()
        agent = world.agents.get(name)
        if agent is None or world.team is None or agent.spec.cli not in world.team.clis:
            return
        cli = world.team.clis[agent.spec.cli]
        look = _read(lines, cli, agent)
        if not look.options:
            self._falls(name)
        if look.status == "blocked" and not look.options and not reads_screen(cli):
            told = self._looks.get(name)
            if told is not None and told[0] == agent.run and is_emptied(look, told[1]):
                return
            if name in self._undrawn and self._undrawn[name][0] == look:
                return
            self._drawn(name)
            later = asyncio.get_running_loop().call_later
            self._undrawn[name] = look, later(CHOICES, self._seen, name, agent.run, look)
            look = Look()
        else:
            self._drawn(name)
        # What it said before may be overtaken: by a command typed since, say.
        depends = reads_screen(cli) or "status" in agent.doubts
        overtaken = depends and look.status not in (None, agent.status.value)
        if overtaken or self._is_news(name, agent.run, look):
            if not look.options or agent.pane is None:
                self._seen(name, agent.run, look)
            elif name not in self._standing:
                task = self._spawn(self._stands(agent, agent.pane, cli, look))
                self._standing[name] = task
                task.add_done_callback(partial(self._stood, name))

    async def _stands(self, agent: Agent, pane: str, cli: CliSpec, look: Look) -> None:
        """Tell of a dialog once it stands: the first look may have come while it was drawn."""
        told = as_told(cli, agent.version)
        with contextlib.suppress(TmuxError, OSError):
            look = await speaking.look_for_dialog(self._link.control, pane, told) or look
        self._seen(agent.name, agent.run, replace(look, draft=None))

    def _is_news(self, name: str, run: int, look: Look) -> bool:
        """Whether it says something else than the last: of a limit, that it ends at another time.

        The seconds that are left of one change with every look.
        """
        told = self._looks.get(name)
        if told is None or told[0] != run:
            return True
        before, ends, ended = told[1], self._ends(look), told[2]
        if replace(look, seconds=None) != replace(before, seconds=None):
            return True
        return (ends is None) != (ended is None) or abs((ends or 0) - (ended or 0)) > SAME_END

    @staticmethod
    def _ends(look: Look) -> float | None:
        """Loop time (s) at which the limit that it shows ends."""
        if look.seconds is None:
            return None
        return asyncio.get_running_loop().time() + look.seconds

    async def _glance(self, name: str) -> None:
        """Look at the screen of who waits for its model: only what nothing else tells is news."""
        lines = await self._snapshot(name)
        world = self._world()
        agent = world.agents.get(name)
        if lines is None or agent is None or world.team is None:
            return
        cli = world.team.clis.get(agent.spec.cli)
        if cli is None or agent.status is not Status.WORKING:
            return
        look = _read(lines, cli, agent)
        if look.status == "limited" or look.doing is not None:
            self._seen(name, agent.run, look)

    def _seen(self, name: str, run: int, look: Look) -> None:
        self._looks[name] = (run, look, self._ends(look))
        self._post(screen_seen(name, run, look, self._taken.get(name)))

    def _drawn(self, name: str) -> None:
        """A dialog that had no choices yet has them, or has gone."""
        if waiting := self._undrawn.pop(name, None):
            waiting[1].cancel()

    def _falls(self, name: str) -> None:
        """What was waited for to stand has gone."""
        if standing := self._standing.pop(name, None):
            standing.cancel()

    def _stood(self, name: str, task: asyncio.Task[None]) -> None:
        if self._standing.get(name) is task:
            del self._standing[name]

    # -- the status line --------------------------------------------------------------------------

    def _mark_soon(self) -> None:
        """Show the team in tmux's status line, soon, and only what is different."""
        if not self._marking:
            self._marking = True
            asyncio.get_running_loop().call_later(MARKS, lambda: self._spawn(self._mark()))

    async def _mark(self) -> None:
        self._marking = False
        world = self._world()
        if world.server != self._marked:
            # A new server knows none of it, and gives its panes the same names.
            self._marked, self._marks, self._summary = world.server, {}, None
        try:
            control = self._link.control
            # First: a pane that is just gone ends what follows.
            texts = _texts(world)
            if texts != self._summary:
                await panes.set_summary(control, *texts)
                self._summary = texts
            for agent in world.agents.values():
                mark = views.GLYPHS[agent.status]
                place = f"{agent.pane}"
                if agent.pane is not None and self._marks.get(place) != mark:
                    colour = COLOURS.get(agent.status, "default")
                    await panes.set_mark(control, agent.pane, mark, colour)
                    self._marks[place] = mark
        except TmuxGone:
            self._marked = None
        except TmuxError as error:
            log.info("the status line was not changed: %s", error)

    async def settle(self) -> None:
        """Wait until what was begun is done, such as keeping a dead pane's last words."""
        reading = asyncio.create_task(self.files.settled())
        await asyncio.wait({reading, *self._tasks}, timeout=SETTLE)
        reading.cancel()

    async def close(self) -> None:
        await self.files.stop()
        self._screens.close()
        self._terminals.close()
        self._exits.close()
        self._checks.close()
        self._deadlines.close()
        for name in list(self._undrawn):
            self._drawn(name)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _texts(world: World) -> tuple[str, str]:
    """The team in a few words but for those who need a person, and how many those are."""
    calm = {n: a for n, a in world.agents.items() if a.status not in NEEDS_HUMAN}
    needing = len(world.agents) - len(calm)
    urgent = f"{needing} {'needs' if needing == 1 else 'need'} you" if needing else ""
    return views.summary(replace(world, agents=calm)) if calm else "", urgent


def _unheard(agent: Agent) -> bool:
    """Whether only the screen can tell of a dialog: the CLI has reported nothing of itself yet."""
    return agent.status is Status.STARTING or in_first_run(agent)


def _read(lines: list[str], cli: CliSpec, agent: Agent) -> Look:
    """What the screen says, but for the input line: each key in it would be an event."""
    return replace(read(lines, as_told(cli, agent.version).screen), draft=None)


def _needs_screen(agent: Agent) -> bool:
    """Whether the screen is followed although the CLI has something better to report by."""
    tries = agent.status is Status.LIMITED or agent.doing is Doing.RETRYING
    return tries or _unheard(agent) or "status" in agent.doubts


def reads_screen(cli: CliSpec) -> bool:
    """Whether the screen is what tells the status: the CLI has nothing better."""
    return cli.hooks is None and cli.status_file is None
