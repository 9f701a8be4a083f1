"""`bin/bench [--list] [--json] [NAME...]`: runs benchmarks, all of them if none is named.

With `--json` a list of rows is printed instead of the table, each with `name`, `budget`, `figure`,
`unit`, `baseline` (what the polling way takes) and `pass`; null: there is none. Names stay as they
are from run to run. One that could not be measured is a row without a figure that does not pass.

Exit status: 0 every figure is within its budget, 1 one is not or could not be taken, 2 a mistake
in what was asked.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO

from tests.bench import benchmarks, kernel
from tests.bench.figures import Figure, Row, entry, head, row, unmeasured
from tests.bench.surroundings import new_home

Measure = Callable[[Path], Iterator[Figure]]


class Output(Protocol):
    """Where the figures of benchmarks go, one by one."""

    def tell(self, benchmark: str, figure: Figure) -> None: ...

    def broken(self, benchmark: str) -> None:
        """Its figures, or the rest of them, could not be taken."""


class Table:
    """A line for each figure, and below them how costs were counted."""

    def __enter__(self) -> "Table":
        print(head(), flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        about = (kernel.__doc__ or "").partition("\n\n")[2]
        print(f"\n{about}", end="", flush=True)

    def tell(self, benchmark: str, figure: Figure) -> None:
        del benchmark
        print(row(figure), flush=True)

    def broken(self, benchmark: str) -> None:
        """Standard error says so."""


class Rows:
    """A JSON list, whole whatever happens; what else is printed meanwhile goes to stderr."""

    def __init__(self) -> None:
        self._out: TextIO = sys.stdout
        self._begins = "["
        self._names: set[str] = set()
        self._away = contextlib.redirect_stdout(sys.stderr)

    def __enter__(self) -> "Rows":
        self._out = sys.stdout
        self._away.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._away.__exit__(None, None, None)
        empty = "[" if self._begins == "[" else ""
        print(f"{empty}\n]", file=self._out, flush=True)

    def tell(self, benchmark: str, figure: Figure) -> None:
        self._add(entry(benchmark, figure))

    def broken(self, benchmark: str) -> None:
        self._add(unmeasured(benchmark))

    def _add(self, told: Row) -> None:
        assert told["name"] not in self._names, f"two rows are named {told['name']!r}"
        self._names.add(told["name"])
        print(f"{self._begins}\n  {json.dumps(told)}", end="", file=self._out, flush=True)
        self._begins = ","


def found() -> dict[str, Measure]:
    """The benchmarks by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    package = benchmarks.__name__
    return {name: importlib.import_module(f"{package}.{name}").measure for name in names}


def main(arguments: Sequence[str], known: Mapping[str, Measure]) -> int:
    """Print the table, or the rows, of the named ones; the exit status."""
    if "--list" in arguments:
        for name, measure in known.items():
            about = sys.modules[measure.__module__].__doc__ or ""
            print(f"{name:<16}{about.partition(chr(10))[0]}")
        return 0
    names = [name for name in dict.fromkeys(arguments) if name != "--json"]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"bench: there is no {unknown[0]!r}: `bin/bench --list` names them", file=sys.stderr)
        return 2
    _warn_of_company()
    with Rows() if "--json" in arguments else Table() as output:
        wrong = [name for name in names or known if not _run(name, known[name], output)]
    return 1 if wrong else 0


def _warn_of_company() -> None:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        told = f"load average {load:.1f} on {cores} cores: times are longer than they would be"
        print(f"bench: {told} if nothing else ran", file=sys.stderr, flush=True)


def _run(name: str, measure: Measure, output: Output) -> bool:
    """Tell its figures; whether every one was taken and is within its budget."""
    good = True
    try:
        with new_home() as home:
            for figure in measure(home):
                output.tell(name, figure)
                good = good and not figure.is_over
    except Exception as error:  # the others are measured all the same
        if not isinstance(error, OSError | AssertionError | subprocess.SubprocessError):
            traceback.print_exc()
        lines = str(error).splitlines() or [type(error).__name__]
        why = " … ".join(dict.fromkeys((lines[0], lines[-1])))
        print(f"bench: {name}: could not be measured: {why}", file=sys.stderr, flush=True)
        output.broken(name)
        return False
    return good


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], found()))
    except KeyboardInterrupt:
        sys.exit(130)
