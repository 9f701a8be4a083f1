"""Whatever is killed, frozen or late: every message is in the conversation once, and the status
is true at the end.

The reducer is the real one, and so is what tells a prompt of ours. The supervisor around it and
the CLI are models (`cli_model`). One schedule alone, with all that happened in it:
`python -m tests.core.test_delivery "two kills" 17`.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import pytest

from orchestrator.core import effects as ef
from orchestrator.core import events as ev
from orchestrator.core.receipts import comparable, is_receipt
from orchestrator.core.reducer import reduce
from orchestrator.core.spec import RestartPolicy
from orchestrator.core.state import World
from orchestrator.core.turns import is_older
from tests.core.cli_model import WALL, Action, Cli, Disk, Source, Sources, Span, Timeline, stamp
from tests.core.worlds import BOOT, agent_spec, process, running

Verdict = Literal["taken", "queued", "absent", "unknown"]

# Of the supervisor, in seconds: a few milliseconds for each step, on a machine with nothing else to
# do, and now and then a pause, as a CPU with other work makes them.
NOTICED, LAST_LOOK, POINTED = Span(0.001, 0.02, 0.08), Span(0.001, 0.05, 0.1), Span(0.001, 0.03)
REDUCED, COMMITTED, TIMED = Span(0.0002, 0.003), Span(0.001, 0.01), Span(0.0, 0.01)
SPAWNED, LOOKED, PASTED = Span(0.01, 0.05, 0.05), Span(0.002, 0.02, 0.05), Span(0.001, 0.01, 0.05)
# A process's death is told; a supervisor that was killed runs again.
DIED, AWAY = Span(0.001, 0.05), (0.3, 2.0)
# How often a look at one source is a look at all.
ALL_AT_ONCE = 0.4
ALL: tuple[Source, ...] = ("spool", "status", "transcript")
# Between two messages; from the last on, whatever happens happens within so many seconds.
APART, AFTER = (0.1, 4.0), 4.0
# How often a fault comes at any moment; else soon (s) behind one of so many writes of the CLI.
ANY_MOMENT, SOON, WRITES = 0.25, (0.0, 0.1), 18
# Simulated seconds in which everything comes to rest: receipts are asked for again after 30.
LONG = 400.0
BY_HAND = "typed by hand"


@dataclass(frozen=True)
class Mix:
    """What happens in a schedule, each at a random moment while three messages are sent."""

    load: float
    kills: int = 0
    supervisor_kills: int = 0
    quick: bool = False
    same: bool = False
    by_hand: int = 0
    freezes: bool = False
    # Schedules of a full run: fewer where one in a thousand or two is known to fail.
    full: int = 2000


MIXES = {
    "quiet": Mix(load=1),
    "loaded": Mix(load=3, kills=1),
    "quick turns": Mix(load=1, kills=2, quick=True),
    "two kills": Mix(load=2, kills=2),
    "supervisor killed too": Mix(load=3, kills=1, supervisor_kills=2, full=2_000),
    "equal texts": Mix(load=2, kills=1, same=True),
    "a person types too": Mix(load=1, kills=1, by_hand=2),
    "frozen": Mix(load=1, freezes=True, full=1000),
}


@dataclass
class Journal:
    """What a supervisor has committed, and the next one goes on with."""

    world: World
    # How far the transcript was read, which hooks were, and what was said to be accepted.
    offset: int = 0
    hooks: frozenset[int] = frozenset()
    accepted: list[str] = field(default_factory=list)


class Supervisor:
    """The loop, the timers and the effects around the reducer, until it is killed."""

    def __init__(self, machine: "Machine") -> None:
        self.is_up = True
        self._machine, self._time, self._journal = machine, machine.time, machine.journal
        self.world = self._journal.world
        self._sources = Sources(machine.disk, self._journal.hooks, self._journal.offset)
        self._timers: dict[str, float] = {}
        # When each queue has done what is in it.
        self._busy_until: dict[str, float] = {}
        machine.disk.changed = self._changed

    def start(self) -> None:
        self._arm()
        if self.world.agents["a"].process is not None:
            self._point()

    def recover(self, pane: ev.PaneFact) -> None:
        """It takes over after another was killed."""
        self.start()
        self._take(
            ev.Recovered(
                boot=BOOT,
                epoch=2,
                supervisor=2,
                server=self.world.server,
                panes=(pane,),
                jitter=self._jitter(),
                **stamp("crew", self._time.now),
            )
        )
        self._look("spool")

    def send(self, text: str, request: str) -> None:
        now = stamp("person", self._time.now)
        self._post(ev.SendRequested(agent="a", sender="person", text=text, request=request, **now))

    def exited(self, run: int) -> None:
        """The CLI was killed."""
        self._later(self._time.takes(DIED), partial(self._tell_exit, run))

    def kill(self) -> None:
        self.is_up = False

    def _later(self, seconds: float, action: Action) -> None:
        self._time.after(seconds, lambda: self.is_up and action())

    def _queue(self, name: str, span: Span, action: Action) -> None:
        """Do it when everything is done that was put into this queue before."""
        begin = max(self._time.now, self._busy_until.get(name, 0.0))
        self._busy_until[name] = begin + self._time.takes(span)
        self._later(self._busy_until[name] - self._time.now, action)

    def _jitter(self) -> float:
        return self._time.chance.random()

    # -- what it is told --------------------------------------------------------------------------

    def _changed(self, source: Source) -> None:
        self._later(self._time.takes(NOTICED), partial(self._notice, source))

    def _notice(self, source: Source) -> None:
        everywhere = self._time.chance.random() < ALL_AT_ONCE
        self._look(*(ALL if everywhere else (source,)))

    def _look(self, *sources: Source) -> None:
        for event in self._sources.read(*sources):
            self._post(event)

    def _tell_exit(self, run: int) -> None:
        told = stamp("process", self._time.now)
        self._post(ev.ProcessExited(agent="a", run=run, signal=9, jitter=self._jitter(), **told))

    def _due(self, name: str, due: float) -> None:
        if self.world.deadlines.get(name) == due:
            told = stamp("clock", self._time.now)
            self._post(ev.DeadlinePassed(name=name, due=due, jitter=self._jitter(), **told))

    # -- the loop ---------------------------------------------------------------------------------

    def _post(self, event: ev.AnyEvent) -> None:
        self._queue("loop", REDUCED, partial(self._take, event))

    def _take(self, event: ev.AnyEvent) -> None:
        before = self.world
        self.world, effects = reduce(before, event)
        self._time.say(f"{_brief(event)} -> {_state(self.world)}")
        self._follow(before)
        commit = partial(self._commit, event, self.world, self._sources.offset, effects)
        self._queue("commits", COMMITTED, commit)

    def _commit(
        self, event: ev.AnyEvent, world: World, offset: int, effects: Sequence[ef.AnyEffect]
    ) -> None:
        """It is on disk: only now it is answered, and anything is done."""
        journal = self._journal
        journal.world, journal.offset = world, offset
        if isinstance(event, ev.SendRequested):
            journal.accepted.append(event.text)
        if isinstance(event, ev.HookReceived) and event.key is not None:
            journal.hooks |= {int(event.key)}
        for effect in effects:
            self._do(effect)

    def _follow(self, before: World) -> None:
        self._arm()
        old, new = before.agents["a"], self.world.agents["a"]
        if (old.process, old.run, old.tty) == (new.process, new.run, new.tty):
            return
        if new.process is None:
            self._sources.part()
            self._later(self._time.takes(LAST_LOOK), self._look_back)
        else:
            self._point()

    def _look_back(self) -> None:
        if self._sources.is_parting:
            self._look("transcript")

    def _point(self) -> None:
        """Read what this process writes; of the conversation, what is younger than it is."""
        agent, cli = self.world.agents["a"], self._machine.cli
        assert agent.process is not None
        began = cli.began if cli.pid == agent.process.pid else 0.0
        told = agent.said["transcript"].at - WALL if "transcript" in agent.said else 0.0
        self._sources.point(agent.process.pid, agent.run, max(began, told))
        self._later(self._time.takes(POINTED), partial(self._look, "status"))
        self._later(self._time.takes(POINTED), partial(self._look, "transcript"))

    def _arm(self) -> None:
        for name, due in self.world.deadlines.items():
            if self._timers.get(name) != due:
                late = self._time.takes(TIMED)
                self._later(due - self._time.now + late, partial(self._due, name, due))
        self._timers = dict(self.world.deadlines)

    # -- effects, one after the other -------------------------------------------------------------

    def _do(self, effect: ef.AnyEffect) -> None:
        match effect:
            case ef.Spawn():
                self._queue("effects", SPAWNED, partial(self._spawn, effect))
            case ef.TypeMessage():
                self._type(effect)
            case ef.JudgeMessage():
                self._judge(effect)
            case _:
                pass  # For people, or for processes that are gone here by themselves.

    def _spawn(self, effect: ef.Spawn) -> None:
        cli = self._machine.launch(effect.run)
        self._post(
            ev.AgentSpawned(
                agent="a",
                run=effect.run,
                pane="%100",
                tty=_tty(cli),
                process=process(cli.pid),
                resumed=True,
                **stamp("tmux", self._time.now),
            )
        )

    def _type(self, effect: ef.TypeMessage) -> None:
        """As `speaking.why_held` and `type_message` do: a look at the screen, then the paste."""
        seen: list[bool] = []

        def paste() -> None:
            now = stamp("crew", self._time.now)
            common = {"agent": "a", "number": effect.number, "run": effect.run, **now}
            if seen[0]:
                self._machine.paste(effect.text)
                self._post(ev.MessageTyped(**common))
            else:
                self._post(ev.MessageHeld(**common, reason="its input line is not there"))

        self._queue("effects", LOOKED, lambda: seen.append(self._machine.cli.is_drawn))
        self._queue("effects", PASTED, paste)

    def _judge(self, effect: ef.JudgeMessage) -> None:
        """As `speaking.judge` does: the terminal and the transcript, then the screen."""
        found: list[Verdict | None] = []

        def tell() -> None:
            verdict = self._verdict(effect, found[0])
            self._time.say(f"message {effect.number} is judged: {verdict}")
            if verdict is not None:
                self._post(
                    ev.MessageJudged(
                        agent="a",
                        run=effect.run,
                        number=effect.number,
                        verdict=verdict,
                        since=effect.since,
                        **stamp("crew", self._time.now),
                    )
                )

        self._queue("effects", LOOKED, lambda: found.append(self._read_of(effect)))
        self._queue("effects", LOOKED, tell)

    def _read_of(self, effect: ef.JudgeMessage) -> Verdict | None:
        if effect.typed_in == effect.run and self._machine.cli.unread:
            return None
        found: Verdict = "absent"
        for line in self._machine.disk.transcript:
            if is_older(WALL + line.at, effect.since):
                continue
            ours = is_receipt(effect.text, line.text)
            joined = found == "queued" and comparable(effect.text) in comparable(line.text)
            if line.kind == "prompt" and (ours or joined):
                return "taken"
            if line.kind == "queued" and ours:
                found = "queued"
        return found

    def _verdict(self, effect: ef.JudgeMessage, found: Verdict | None) -> Verdict | None:
        lives = effect.typed_in == effect.run
        if found in (None, "taken") or (found == "queued" and lives):
            return found
        return "absent" if not lives or self._machine.cli.is_drawn else "unknown"


class Machine:
    """An agent that is ready, its supervisor, and what befalls them."""

    def __init__(self, mix: Mix, seed: int) -> None:
        policy = RestartPolicy(backoff=1.0, backoff_max=1.0, limit=50)
        play = running(agent_spec("a", restart=policy))
        agent = replace(play.world.agents["a"], transcript="/t")
        self.journal = Journal(world=replace(play.world, agents={"a": agent}))
        self.time = Timeline(seed, mix.load, play.now)
        self.disk = Disk(self.time)
        assert agent.process is not None
        self._mix, self._pid = mix, agent.process.pid
        self.cli = Cli(self.time, self.disk, agent.run, self._pid, quick=mix.quick)
        self.supervisor = Supervisor(self)
        self.supervisor.start()

    def plan(self) -> None:
        """Draw when everything happens."""
        chance, now = self.time.chance, 0.0
        texts = ["go on"] * 3 if self._mix.same else [f"message {n} x" for n in (1, 2, 3)]
        for number, text in enumerate(texts):
            now += chance.uniform(*APART)
            self.time.after(now, partial(self._send, text, f"r{number}"))
        mix, faults = self._mix, list[Action]()
        faults += [self.kill_cli] * mix.kills + [self.kill_supervisor] * mix.supervisor_kills
        faults += [self._freeze] * mix.freezes + [partial(self.paste, BY_HAND)] * mix.by_hand
        for fault in faults:
            if chance.random() < ANY_MOMENT:
                self.time.after(chance.uniform(0.3, now + AFTER), fault)
            else:
                behind = chance.uniform(*SOON) * mix.load
                soon = partial(self.time.after, behind, fault)
                self.disk.behind(chance.randint(1, WRITES), soon)

    def launch(self, run: int) -> Cli:
        self.cli.kill()
        self._pid += 1
        self.time.say(f"LAUNCHED: run {run}, process {self._pid}")
        self.cli = Cli(self.time, self.disk, run, self._pid, quick=self._mix.quick)
        self.cli.launch()
        return self.cli

    def paste(self, text: str) -> None:
        self.time.say(f"PASTED into run {self.cli.run}: {text}")
        self.cli.paste(text)

    def kill_cli(self) -> None:
        if self.cli.is_alive:
            self.time.say(f"KILLED: run {self.cli.run}")
            self.cli.kill()
            self.supervisor.exited(self.cli.run)

    def kill_supervisor(self) -> None:
        if self.supervisor.is_up:
            self.time.say("KILLED: the supervisor")
            self.supervisor.kill()
            self.time.after(self.time.chance.uniform(*AWAY), self._take_over)

    def _take_over(self) -> None:
        cli, alive = self.cli, self.cli.is_alive
        pane = ev.PaneFact(
            agent="a",
            run=cli.run,
            pane="%100",
            tty=_tty(cli),
            dead=not alive,
            signal=None if alive else 9,
            process=process(cli.pid) if alive else None,
        )
        self.supervisor = Supervisor(self)
        self.supervisor.recover(pane)

    def _send(self, text: str, request: str) -> None:
        """A command waits for its supervisor."""
        if self.supervisor.is_up:
            self.supervisor.send(text, request)
        else:
            self.time.after(0.5, partial(self._send, text, request))

    def _freeze(self) -> None:
        self.time.say(f"FROZEN: run {self.cli.run}")
        self.cli.freeze()


def _tty(cli: Cli) -> str:
    return f"/dev/pts/{cli.pid}"


def _brief(event: ev.AnyEvent) -> str:
    names = ("name", "hook", "status", "text", "prompts", "queued", "last_words", "number", "run")
    told = {name: value for name in names if (value := getattr(event, name, None))}
    return f"{event.kind} of {event.mono:.3f} {told}"


def _state(world: World) -> str:
    agent = world.agents["a"]
    open_ones = [f"{message.number} {message.state}" for message in world.messages.values()]
    return f"{agent.status}, {open_ones}, unwritten {[m.number for m in agent.unwritten]}"


# -- what must hold at the end ---------------------------------------------------------------------


def played(mix: Mix, seed: int) -> Machine:
    machine = Machine(mix, seed)
    machine.plan()
    machine.time.run(machine.time.now + LONG)
    return machine


def wrong(machine: Machine) -> list[str]:
    """What does not hold; nothing, as it should be."""
    return [*_miscounted(machine), *_untrue(machine)]


def _miscounted(machine: Machine) -> list[str]:
    prompts = [line.text for line in machine.disk.transcript if line.kind == "prompt"]
    # Several that had waited are one prompt of the conversation.
    said = Counter(part for prompt in prompts for part in prompt.split("\n"))
    sent = Counter(machine.journal.accepted)
    del said[BY_HAND]
    return [
        f"{text!r} is there {said[text]} times, not {sent[text]}"
        for text in (said | sent)
        if said[text] != sent[text]
    ]


def _untrue(machine: Machine) -> list[str]:
    agent = machine.supervisor.world.agents["a"]
    truth = "working" if machine.cli.is_busy else "ready"
    told = [str(agent.status), *sorted(agent.flags), *_pending(machine)]
    return [] if machine.cli.is_alive and told == [truth] else [f"{told} for {truth}"]


def _pending(machine: Machine) -> list[str]:
    return [f"message {m.number} {m.state}" for m in machine.supervisor.world.messages.values()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MIXES)
def test_every_message_is_in_the_conversation_once(
    name: str, count: Callable[[str, int, int], int]
) -> None:
    mix = MIXES[name]
    for seed in range(count(f"schedules of a modelled CLI: {name}", 80, mix.full)):
        machine = played(mix, seed)
        if found := wrong(machine):
            log = "\n".join(machine.time.log)
            again = f'python -m tests.core.test_delivery "{name}" {seed}'
            pytest.fail(f"{log}\n{found}\n{again}", pytrace=False)


if __name__ == "__main__":
    shown = played(MIXES[sys.argv[1]], int(sys.argv[2]))
    print(*shown.time.log, wrong(shown) or "nothing is wrong", sep="\n")
