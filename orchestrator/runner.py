"""The other end: what each effect does. One `match` over every kind, ending in `assert_never`.

Effects about one agent run one after the other, in their order; those about different agents side
by side, launches under a throttle. Whatever comes of an effect, or goes wrong in it, is posted as
an event; nothing here changes the world.
"""

import asyncio
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

from orchestrator import answering, failpoints, interrupting, launching, procfs, speaking
from orchestrator.answering import Outcome
from orchestrator.asking import Asking
from orchestrator.core.effects import (
    AnyEffect,
    ClosePane,
    EndProcess,
    Finish,
    GiveAnswer,
    JudgeMessage,
    KillServer,
    ListPanes,
    LookAtScreen,
    Notify,
    PressSubmit,
    Reply,
    SaveMessage,
    SendInterrupt,
    Spawn,
    StartServer,
    TypeMessage,
)
from orchestrator.core.events import (
    AgentSpawned,
    AnswerGiven,
    AnyEvent,
    EffectFailed,
    InterruptSent,
    MessageHeld,
    MessageJudged,
    MessageTyped,
    PanesSeen,
    ScreenSeen,
    ServerFailed,
    ServerStarted,
    SpawnFailed,
)
from orchestrator.core.receipts import ends_in_images, is_command
from orchestrator.core.recovery import differs
from orchestrator.core.screen import Look
from orchestrator.core.state import Process, SessionState, Source, World
from orchestrator.core.versions import as_told
from orchestrator.errors import CrewError, TmuxError, UserError
from orchestrator.launching import Environment
from orchestrator.locations import SessionPaths
from orchestrator.logs import say
from orchestrator.sources import clock, processes
from orchestrator.tmux import bootstrap, panes
from orchestrator.tmux.control import Control
from orchestrator.tmux.link import Link

log = logging.getLogger(__name__)

# Effects that read a screen.
OnScreen = TypeMessage | PressSubmit | JudgeMessage | GiveAnswer | SendInterrupt | LookAtScreen

# Agents that start at the same moment: each costs about a core for its first tenths of a second.
STARTS = max(4, 2 * (os.cpu_count() or 1))
# Seconds that a process is given to end by itself before it is killed.
GRACE = 5.0
SESSION = ""  # the lane of effects that are about no agent


class Runner:
    """Runs effects. `reply` answers a request; `finish` ends the supervisor; `settle` waits for
    what is still asked of the panes."""

    def __init__(
        self,
        paths: SessionPaths,
        link: Link,
        *,
        world: Callable[[], World],
        post: Callable[[AnyEvent], None],
        reply: Callable[[Reply], None],
        finish: Callable[[], None],
        settle: Callable[[], Awaitable[None]],
        environment: Callable[[], Environment],
        asking: Asking,
    ) -> None:
        self._paths = paths
        self._link = link
        self._world = world
        self._post = post
        self._reply = reply
        self._finish = finish
        self._settle = settle
        self._environment = environment
        self._asking = asking
        self._lanes: dict[str, asyncio.Task[None]] = {}
        # Looks that wait for their turn: agent, run and pane.
        self._looks: set[tuple[str, int, str]] = set()
        self._starts = asyncio.Semaphore(STARTS)

    def run(self, effects: Sequence[AnyEffect]) -> None:
        """Start effects, in order within each agent's lane."""
        for effect in effects:
            match effect:
                case Reply():
                    self._reply(effect)
                case Notify():
                    say(effect)
                case SaveMessage():
                    pass  # written with the events that caused it
                case LookAtScreen() if _look_of(effect) in self._looks:
                    pass  # the one that waits sees what this one would
                case _:
                    if isinstance(effect, LookAtScreen):
                        self._looks.add(_look_of(effect))
                    lane = getattr(effect, "agent", None) or SESSION
                    before = self._lanes.get(lane)
                    task = asyncio.get_running_loop().create_task(self._after(before, effect))
                    self._lanes[lane] = task
                    task.add_done_callback(functools.partial(self._left, lane))

    def _left(self, lane: str, task: asyncio.Task[None]) -> None:
        if self._lanes.get(lane) is task:
            del self._lanes[lane]

    async def _after(self, before: asyncio.Task[None] | None, effect: AnyEffect) -> None:
        if before is not None:
            await asyncio.wait({before})
        if isinstance(effect, LookAtScreen):
            self._looks.discard(_look_of(effect))
        try:
            await self._do(self._as_told(effect))
        except Exception as error:  # whatever it is, it becomes a fact
            known = isinstance(error, CrewError | OSError)
            log.log(
                logging.WARNING if known else logging.ERROR,
                "%s failed: %s",
                effect.kind,
                error,
                exc_info=None if known else error,
                extra={"agent": getattr(effect, "agent", None)},
            )
            # What a person has written wrong does not mend by being tried again.
            permanent = isinstance(error, UserError)
            self._failed(effect, str(error) or type(error).__name__, permanent=permanent)

    def _as_told(self, effect: AnyEffect) -> AnyEffect:
        """The effect for the version of the CLI that runs there."""
        if not isinstance(effect, OnScreen):
            return effect
        agent = self._world().agents.get(effect.agent)
        version = None if agent is None else agent.version
        return replace(effect, cli=as_told(effect.cli, version))

    async def drain(self, timeout: float) -> None:
        """Wait for the effects under way, at most so many seconds."""
        if self._lanes:
            await asyncio.wait(set(self._lanes.values()), timeout=timeout)

    async def _do(self, effect: AnyEffect) -> None:
        match effect:
            case StartServer():
                await self._start_server()
            case KillServer():
                if self._is_down():
                    # The last words of the panes are being taken.
                    await self._settle()
                    await self._link.close()
                    await asyncio.to_thread(bootstrap.kill_server, self._paths)
            case Finish():
                if self._is_down():
                    self._finish()
            case Spawn():
                if effect.end_first is not None:
                    # Never two writers on one conversation.
                    await self._end(effect.end_first)
                async with self._starts:
                    await self._spawn(effect)
            case EndProcess():
                await self._end(effect.process)
            case ClosePane():
                await panes.close_pane(self._link.control, effect.pane)
            case TypeMessage():
                await self._type(effect)
            case PressSubmit():
                await speaking.press_submit(self._link.control, effect)
            case JudgeMessage():
                await self._judge(effect)
            case GiveAnswer():
                outcome = await answering.give(
                    self._link.control,
                    effect,
                    self._asking,
                    lambda: self._world().agents.get(effect.agent),
                )
                self._answered(effect, outcome)
            case SendInterrupt():
                refused, note = await interrupting.interrupt(
                    self._link.control, effect, lambda: self._world().agents.get(effect.agent)
                )
                self._interrupted(effect, refused, note)
            case LookAtScreen():
                await self._look(effect)
            case ListPanes():
                await self.list_panes(audit=False)
            case Reply() | Notify() | SaveMessage():
                pass  # done in `run`
            case _:
                assert_never(effect)

    def _is_down(self) -> bool:
        """Whether the session is still to be down: somebody may have restored it meanwhile."""
        return self._world().state is SessionState.DOWN

    def _failed(self, effect: AnyEffect, reason: str, *, permanent: bool) -> None:
        """Post the failure in the words of the effect, where it has any."""
        match effect:
            case Spawn():
                self._post(
                    SpawnFailed(
                        agent=effect.agent,
                        run=effect.run,
                        reason=reason,
                        permanent=permanent,
                        jitter=clock.roll(),
                        **_stamp("crew"),
                    )
                )
            case StartServer():
                self._post(ServerFailed(reason=reason, **_stamp("tmux")))
            case GiveAnswer():
                refused = f"the answer could not be given: {reason}"
                self._answered(effect, Outcome(refused=refused))
            case SendInterrupt():
                self._interrupted(effect, f"it could not be interrupted: {reason}")
            case _:
                agent = getattr(effect, "agent", None)
                self._post(
                    EffectFailed(effect=effect.kind, agent=agent, reason=reason, **_stamp("crew"))
                )

    # -- the server and its panes -----------------------------------------------------------------

    async def _start_server(self) -> None:
        failpoints.hit(failpoints.TMUX)
        environ = self._environment().values
        pid = await asyncio.to_thread(bootstrap.start_server, self._paths, environ)
        server = procfs.process_of(pid)
        if server is None:
            raise TmuxError("start-server", "it ended at once")
        await self._link.connect(server)
        self._post(ServerStarted(server=server, **_stamp("tmux")))

    async def _spawn(self, effect: Spawn) -> None:
        world = self._world()
        assert world.team is not None, "a spawn belongs to a team"
        file, resumed, transcript = await asyncio.to_thread(
            launching.prepare,
            effect,
            self._paths,
            world.session,
            world.team.root,
            self._environment(),
        )
        control = self._link.control
        opened = await self._already(control, effect)
        failpoints.hit(failpoints.TMUX)
        if opened is None:
            opened = await self._respawn(control, effect, file)
        if opened is None:
            opened = await panes.open_pane(
                control,
                world.session,
                effect.agent,
                place=effect.place,
                layout=world.team.layout,
                launch_file=file,
            )
        failpoints.hit(failpoints.TMUX)
        process = procfs.process_of(opened.pid)
        if process is None:
            # Gone before it could be looked at: its pane knows how it ended.
            process = Process(pid=opened.pid, start=0, boot=procfs.boot_id())
        self._post(
            AgentSpawned(
                agent=effect.agent,
                run=effect.run,
                pane=opened.pane,
                tty=opened.tty,
                process=process,
                resumed=resumed,
                transcript=transcript,
                **_stamp("tmux"),
            )
        )

    async def _already(self, control: Control, effect: Spawn) -> panes.OpenedPane | None:
        """This very run, if tmux opened it after we had given it up; other runs are ended."""
        found = None
        for pane in await panes.list_panes(control, effect.agent):
            if pane.process is None:
                continue
            if pane.run == effect.run:
                found = panes.OpenedPane(pane=pane.pane, tty=pane.tty, pid=pane.process.pid)
                continue
            await self._end(pane.process)
            if pane.pane != effect.pane:
                await panes.close_pane(control, pane.pane)
        return found

    async def _respawn(
        self, control: Control, effect: Spawn, file: Path
    ) -> panes.OpenedPane | None:
        """Launch in the pane of the run before; None if it is gone."""
        if effect.pane is None or await panes.exit_status(control, effect.pane) is None:
            return None
        return await panes.respawn(control, effect.pane, file)

    async def _end(self, process: Process) -> None:
        await processes.end(process, grace=GRACE)
        await processes.sweep(process)

    async def list_panes(self, *, audit: bool) -> None:
        """Take a full look at the panes; what is as we think it is no event."""
        found = tuple(await panes.list_panes(self._link.control))
        if differs(self._world(), found):
            self._post(PanesSeen(panes=found, audit=audit, jitter=clock.roll(), **_stamp("tmux")))

    # -- talking to an agent ----------------------------------------------------------------------

    async def _type(self, effect: TypeMessage) -> None:
        try:
            held = await speaking.why_held(self._link.control, effect)
        except TmuxError:
            held = "tmux does not answer"
        common: dict[str, Any] = {
            "number": effect.number,
            "agent": effect.agent,
            "run": effect.run,
        }
        if held is not None:
            self._post(MessageHeld(**common, reason=held, **_stamp("crew")))
            return
        await speaking.type_message(self._link.control, effect)
        self._post(MessageTyped(**common, **_stamp("crew")))
        if effect.cli.hooks is not None and ends_in_images(effect.text):
            await speaking.submit_images(
                self._link.control, effect, lambda: effect.number in self._world().messages
            )
        deaf = effect.cli.hooks is None and effect.cli.transcript is None
        if deaf or is_command(effect.text):
            taken = await speaking.taken_by_screen(self._link.control, effect)
            verdict: speaking.Verdict = "unknown" if taken is None else "taken"
            self._post(MessageJudged(**common, verdict=verdict, **_stamp("screen")))
            if taken is not None and deaf:
                # In a line-mode terminal the kernel echoes what is typed: nothing wakes us.
                self._post(screen_seen(effect.agent, effect.run, replace(taken, draft=None)))

    async def _judge(self, effect: JudgeMessage) -> None:
        verdict = await speaking.judge(self._link.control, effect)
        if verdict is None:
            return  # It is ordered again when the receipt is overdue once more.
        self._post(
            MessageJudged(
                number=effect.number,
                agent=effect.agent,
                run=effect.run,
                verdict=verdict,
                since=effect.since,
                **_stamp("crew"),
            )
        )

    def _answered(self, effect: GiveAnswer, outcome: Outcome) -> None:
        if outcome.after is not None:
            # No hook tells of it: the next question of the same tool, the next first-run dialog.
            self._post(screen_seen(effect.agent, effect.run, outcome.after))
        self._post(
            AnswerGiven(
                agent=effect.agent,
                run=effect.run,
                request=effect.request,
                choice=effect.choice,
                hook=effect.ask.hook,
                by=outcome.by,
                label=outcome.label,
                refused=outcome.refused,
                mistake=outcome.mistake,
                **_stamp("crew"),
            )
        )

    def _interrupted(self, effect: SendInterrupt, refused: str | None, note: str = "") -> None:
        self._post(
            InterruptSent(
                agent=effect.agent,
                run=effect.run,
                request=effect.request,
                refused=refused,
                note=note,
                **_stamp("crew"),
            )
        )

    async def _look(self, effect: LookAtScreen) -> None:
        look = await speaking.look_for_dialog(self._link.control, effect.pane, effect.cli)
        if look is not None:
            self._post(screen_seen(effect.agent, effect.run, look))


def _look_of(effect: LookAtScreen) -> tuple[str, int, str]:
    return effect.agent, effect.run, effect.pane


def screen_seen(
    agent: str, run: int, look: Look, taken: tuple[float, float] | None = None
) -> ScreenSeen:
    """The event that a reading of the screen is. `taken`: when the snapshot was ordered."""
    at, mono = taken or clock.now()
    return ScreenSeen(
        at=at,
        mono=mono,
        source="screen",
        agent=agent,
        run=run,
        status=look.status,
        ask=look.ask,
        doing=look.doing,
        name=look.name,
        text=look.text,
        options=look.options,
        seconds=look.seconds,
    )


def _stamp(source: Source) -> Mapping[str, Any]:
    at, mono = clock.now()
    return {"at": at, "mono": mono, "source": source}
