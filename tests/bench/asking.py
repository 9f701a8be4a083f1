"""Many `crew ask`s, some at a time, and what they cost: time, CPU, memory."""

import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.procfs import stat
from tests.bench.surroundings import CREW

# Seconds between two samples of the memory of all processes.
SAMPLE = 0.25
# Seconds after which an ask is given up.
DEADLINE = 120.0


@dataclass(frozen=True)
class Asked:
    """One ask: how it ended by its own word, and the seconds until its process had ended."""

    outcome: str
    seconds: float


@dataclass
class Cost:
    """Of all processes that were started, and of what those started. `cpu` in seconds, `memory`
    in MiB times seconds, `peak` in MiB."""

    seconds: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    peak: float = 0.0
    asks: list[Asked] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The mean response time, in seconds."""
        return sum(each.seconds for each in self.asks) / len(self.asks)

    def count(self, *outcomes: str) -> int:
        """How many asks ended so."""
        return sum(each.outcome in outcomes for each in self.asks)


def question(number: int, delay: float) -> str:
    """A question that the stand-in answers after `delay` seconds."""
    return f"[[sleep {delay:g}]] {_words(number)}"


def ask_all(
    numbers: Sequence[int],
    env: Mapping[str, str],
    delay: float,
    parallel: int,
    *options: str,
    every: float = 0.0,
) -> Cost:
    """Ask these questions in this order, `parallel` at a time, each by a process of its own.

    `every`: one comes so many seconds after the one before, whether that is answered or not, and
    its time counts from then on; 0: it comes when it can be asked at once.
    """
    first = time.monotonic()

    def one(place: int, number: int) -> Asked:
        came = first + place * every if every else time.monotonic()
        time.sleep(max(0.0, came - time.monotonic()))
        argv = [CREW, "ask", "--json", *options, question(number, delay)]
        told: dict[str, Any] = json.loads(timed(argv, env)[1])
        assert told["text"] == f"ok: {_words(number)}", f"question {number} was answered {told}"
        return Asked(told["outcome"], time.monotonic() - came)

    with measured() as cost, ThreadPoolExecutor(parallel) as pool:
        cost.asks.extend(pool.map(one, range(len(numbers)), numbers))
    return cost


def timed(argv: Sequence[str], env: Mapping[str, str], said: str = "") -> tuple[float, str]:
    """Run it: its seconds, and what it printed."""
    begun = time.monotonic()
    done = subprocess.run(
        argv, env=env, input=said, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    taken = time.monotonic() - begun
    assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return taken, done.stdout


@contextmanager
def measured() -> Iterator[Cost]:
    """What is started, and has ended, within the block."""
    cost = Cost()
    over = threading.Event()
    sampler = threading.Thread(target=_sample, args=(cost, over))
    begun, cpu = time.monotonic(), _cpu_of_children()
    sampler.start()
    try:
        yield cost
    finally:
        over.set()
        sampler.join()
    cost.seconds = time.monotonic() - begun
    cost.cpu = _cpu_of_children() - cpu


def _words(number: int) -> str:
    return f"Question {number}: what is it about?"


def _cpu_of_children() -> float:
    """Of those that were waited for, and of those that they had waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sample(cost: Cost, over: threading.Event) -> None:
    """Add up the memory of all processes below this one: each sample holds until the next."""
    before, held = time.monotonic(), 0.0
    while not over.wait(SAMPLE):
        now = time.monotonic()
        cost.memory += held * (now - before)
        before, held = now, sum(map(_proportional_mib, _below(os.getpid())))
        cost.peak = max(cost.peak, held)
    cost.memory += held * (time.monotonic() - before)


def _below(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    numbers = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    found = [each for number in numbers if (each := stat(number))]
    below, young = [], [pid]
    while young:
        parents = {*young}
        young = [each.pid for each in found if each.parent in parents]
        below += young
    return below


def _proportional_mib(pid: int) -> float:
    """Its memory; of what it shares with others, its part (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:  # it has ended, or is just starting its program
        return 0.0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1024
