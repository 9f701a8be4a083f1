"""The parts of one session, put together: what runs them, and what compares them with what is.

The process around it is `supervisor.py`.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator import procfs, recovering, showing
from orchestrator.asking import Asking
from orchestrator.core.effects import AnyEffect
from orchestrator.core.events import (
    AnyEvent,
    EventsMissed,
    Recovered,
    ServerLost,
    SourceDoubted,
)
from orchestrator.core.recovery import differs
from orchestrator.core.state import (
    Agent,
    Process,
    Source,
    World,
    empty_world,
)
from orchestrator.core.views import View
from orchestrator.errors import TmuxError, TmuxGone
from orchestrator.launching import Environment
from orchestrator.locations import SessionPaths
from orchestrator.requests import Requests
from orchestrator.runner import Runner
from orchestrator.runtime import Runtime
from orchestrator.sampling import Meter, Sampler
from orchestrator.sinks.publish import Publisher
from orchestrator.sinks.spare import Spare
from orchestrator.sinks.store import Loaded, Store
from orchestrator.sinks.worker import Worker
from orchestrator.sources import clock
from orchestrator.tmux import panes
from orchestrator.tmux.link import Link
from orchestrator.viewing import Viewing
from orchestrator.warming import Warming
from orchestrator.watchers import Watchers

log = logging.getLogger(__name__)

# Seconds between two comparisons of what is with what we think: at least, and for each agent, as
# each makes them longer. So a large team that is idle costs no more than a small one.
AUDIT, AUDIT_EACH = 30.0, 1.0
# A difference that the audit finds is looked at again after this long (s): the event that tells
# of it may be on its way.
AUDIT_AGAIN = 1.0
# Closings are looked at once, this long (s) after the first hint: they come in bursts.
CLOSING = 0.05
# Seconds that effects under way are given when the session is down.
DRAIN = 15.0


class Supervisor:
    """The parts of one session, put together."""

    def __init__(
        self,
        paths: SessionPaths,
        store: Store,
        worker: Worker,
        loaded: Loaded,
        env: Mapping[str, str],
    ) -> None:
        world, seq = loaded.world, loaded.seq
        self.paths = paths
        self.spare = Spare(paths.spare)
        self.environment = Environment(env)
        self.publisher = Publisher(world)
        self.publisher.committed = seq
        # The tmux server does not answer.
        self._hanging = False
        self.link = Link(
            paths,
            procfs.is_alive,
            on_lost=self._server_lost,
            on_closing=self._closing,
            on_away=self._gone_away,
            on_back=self._doubt_tmux,
            on_silent=self._hangs,
        )
        self.runtime = Runtime(
            world,
            seq,
            store,
            worker,
            self.publisher,
            follow=self._follow,
            run=self._run,
            committed=self._committed,
        )
        self.meter = Meter()
        self.sampler = Sampler(
            self._processes, self.meter, self._sampled, shown=lambda: self.viewing.viewed
        )
        self.viewing = Viewing(
            lambda: self.link.control,
            lambda: self.runtime.world,
            report=lambda text: self._wrong("screens", text),
        )
        post = self._post
        self.asking = Asking(lambda: self.runtime.world, lambda keys: worker.call(store.seen, keys))
        self.requests = Requests(
            self.publisher,
            store,
            worker,
            post,
            logs=self._logs,
            environ=self._set_environment,
            target=self._target,
            asking=self.asking,
            viewing=self.viewing,
            watching=self.sampler.watching,
            ahead=lambda pid: pid in self.warming.children,
            room=self.runtime.room,
        )
        self.watchers = Watchers(
            paths,
            self.link,
            world=lambda: self.runtime.world,
            post=post,
            already=lambda keys: worker.wait(store.seen, keys),
            doubt=self._doubt,
            environment=lambda: self.environment,
            wrong=self._wrong,
            room=self.runtime.room,
        )
        self.warming = Warming(
            paths.name,
            environ=lambda: self.environment.values,
            watch=self.watchers.files.watch_inputs,
        )
        self.runner = Runner(
            paths,
            self.link,
            world=lambda: self.runtime.world,
            post=post,
            reply=self.requests.reply,
            finish=self._finish,
            settle=self.watchers.settle,
            environment=lambda: self.environment,
            asking=self.asking,
        )
        self._root: str | None = None
        self._looking = False
        self._jobs: set[asyncio.Task[None]] = set()

    # -- what the loop calls ----------------------------------------------------------------------

    def _follow(self, old: World, new: World) -> None:
        self.meter.published(clock.mono())
        self.asking.follow(new)
        self.viewing.follow(old, new)
        self._follow_root(new)
        self.warming.follow(new)
        if self.publisher.health["sources"]["tmux"] is not None:
            self._say_source("tmux", self._away())
        self.watchers.follow(old, new)

    def _run(self, effects: Sequence[AnyEffect]) -> None:
        self.runner.run(effects)

    def _committed(self, events: Sequence[AnyEvent]) -> None:
        self.meter.committed(events)
        keys = [e.key for e in events if e.key is not None and e.key.startswith("hook:")]
        if keys:
            self.watchers.files.consumed(keys)
            self.asking.committed(keys)
        self.spare.follow(self.runtime.world)

    def _follow_root(self, world: World) -> None:
        """Have the link to the root say where that is."""
        if world.team is None or world.team.root == self._root:
            return
        self._root = world.team.root
        half = self.paths.root_link.with_suffix(".half")
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
            half.symlink_to(self._root)
            half.replace(self.paths.root_link)

    def _finish(self) -> None:
        self.runtime.leave("down")

    def leave(self) -> None:
        """End this process; agents run on."""
        self.runtime.leave("now")

    # -- what sources call ------------------------------------------------------------------------

    def _post(self, *events: AnyEvent) -> None:
        self.meter.posted(events)
        self.runtime.post(*events)

    def _job(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _server_lost(self, reason: str) -> None:
        at, mono = clock.now()
        self._post(ServerLost(at=at, mono=mono, source="tmux", reason=reason))

    def _doubt(self, source: Source, reason: str) -> None:
        at, mono = clock.now()
        log.warning("%s is doubted: %s", source, reason)
        self._post(SourceDoubted(at=at, mono=mono, source="crew", doubted=source, reason=reason))

    def _doubt_tmux(self) -> None:
        self._doubt("tmux", "the control client was away")
        self._say_source("tmux", None)
        self.viewing.again()

    def _wrong(self, source: str, sentence: str | None) -> None:
        """A source is out of order for long, and something slower stands in for it; or no more."""
        if sentence is None:
            log.info("%s: in order again", source)
        else:
            log.warning("%s", sentence)
        self._say_source(source, sentence)

    def _gone_away(self) -> None:
        self._hanging = False
        self._say_source("tmux", self._away())

    def _hangs(self, hangs: bool) -> None:
        """The tmux server does not answer; or does again."""
        self._hanging = hangs
        self._wrong("tmux", self._away())
        if not hangs:
            self._doubt("tmux", "the server had not answered")

    def _say_source(self, source: str, sentence: str | None) -> None:
        self.publisher.say(sources={**self.publisher.health["sources"], source: sentence})

    # -- numbers for whoever watches --------------------------------------------------------------

    def _processes(self) -> Mapping[str, Process]:
        agents = self.runtime.world.agents.values()
        return {agent.name: agent.process for agent in agents if agent.process is not None}

    def _sampled(self, samples: View, load: View | None) -> None:
        self.publisher.sample(samples)
        self.publisher.say(loop=load)
        self._say_source("tmux", self._away())

    def _closing(self) -> None:
        """Panes may have gone: one look, after the burst."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(CLOSING, lambda: self._job(self._look()))

    async def _look(self) -> None:
        self._looking = False
        with contextlib.suppress(TmuxError):
            await self.runner.list_panes(audit=False)

    def _away(self) -> str | None:
        """What is wrong with the connection to the tmux server, where there is one."""
        try:
            _ = self.link.control
        except TmuxGone:
            server = self.runtime.world.server
            return None if server is None else f"not connected to tmux (pid {server.pid})"
        if self._hanging and (server := self.runtime.world.server) is not None:
            return f"the tmux server (pid {server.pid}) does not answer"
        return None

    # -- questions that need a pane ---------------------------------------------------------------

    async def _logs(self, agent: Agent, lines: int) -> str:
        return await showing.text(agent, lines, self.link, self.paths)

    async def _target(self, agent: Agent | None) -> Mapping[str, Any]:
        return showing.target(self.runtime.world, agent, str(self.paths.tmux_socket))

    def _set_environment(self, environ: Mapping[str, str]) -> None:
        if environ and dict(environ) != self.environment.values:
            old, self.environment = self.environment, Environment(environ)
            # A launcher may still be reading the old one.
            asyncio.get_running_loop().call_later(60, old.close)

    # -- life -------------------------------------------------------------------------------------

    async def recover(self, epoch: int) -> None:
        """Find out what lives, and post it: everything else follows from that."""
        server, found = await recovering.find_server(self.paths, self.link, self._hung_server)
        self.publisher.say(tmux=None)
        running = [pane.process for pane in found if pane.process is not None]
        self._set_environment(
            recovering.environment_of(running, self.runtime.world, self.paths) or {}
        )
        at, mono = clock.now()
        self._post(
            Recovered(
                at=at,
                mono=mono,
                source="crew",
                boot=procfs.boot_id(),
                epoch=epoch,
                supervisor=os.getpid(),
                server=server,
                panes=tuple(found),
                jitter=clock.roll(),
            )
        )

    def _hung_server(self, server: Process) -> None:
        """It lives and does not answer: what was last recorded is shown, with the reason."""
        self.publisher.say(tmux=f"the tmux server (pid {server.pid}) does not answer")
        self.requests.readable.set()

    async def audit(self) -> None:
        """Compare what is with what we think, for ever. What differs twice was missed."""
        while True:
            await asyncio.sleep(max(AUDIT, AUDIT_EACH * len(self.runtime.world.agents)))
            try:
                await self._compare()
            except TmuxError as error:
                log.info("no audit: %s", error)
            except Exception:  # it must go on: it is what finds that something else does not
                log.exception("the audit failed")

    async def _compare(self) -> None:
        if await self._differs():
            await asyncio.sleep(AUDIT_AGAIN)
            await self.runner.list_panes(audit=True)
        missed = await self.watchers.files.rescan()
        if missed:
            log.warning("the audit found %d file events that nothing told of", missed)
            at, mono = clock.now()
            self._post(EventsMissed(at=at, mono=mono, source="audit", count=missed))

    async def _differs(self) -> bool:
        return differs(self.runtime.world, await panes.list_panes(self.link.control))

    async def run(self, epoch: int) -> None:
        """Recover, serve, and run the loop to its end."""
        before = self.publisher.committed
        await self.recover(epoch)
        loop = asyncio.create_task(self.runtime.run())
        while self.publisher.committed == before and not loop.done():
            changed = asyncio.ensure_future(self.publisher.changed())
            await asyncio.wait({changed, loop}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if self.publisher.health["storage"] is not None:
                # It is read-only: what is known can be shown, nothing is accepted.
                self.requests.readable.set()
        self.watchers.follow(empty_world(self.paths.name), self.runtime.world)
        await self.watchers.files.start()
        self._follow_root(self.runtime.world)
        self.warming.follow(self.runtime.world)
        self.requests.readable.set()
        self.requests.ready.set()
        audit = asyncio.create_task(self.audit())
        sampling = asyncio.create_task(self.sampler.run())
        try:
            await loop
        finally:
            self.requests.close()
            audit.cancel()
            sampling.cancel()
            if self.runtime.leaving == "down":
                # What agents leave behind is swept by effects that are still under way.
                await self.runner.drain(DRAIN)
                await self.requests.finish()
            for job in self._jobs:
                job.cancel()
            self.viewing.close()
            await self.warming.close()
            await self.watchers.close()
            await self.link.close()
            await self.spare.close()
