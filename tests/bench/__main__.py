"""`bin/bench [--list] [NAME...]`: runs benchmarks, all of them if none is named.

Exit status: 0 every figure is within its budget, 1 one is not or could not be taken, 2 a mistake
in what was asked.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench import benchmarks
from tests.bench.figures import Figure, head, row
from tests.bench.surroundings import new_home

Measure = Callable[[Path], Iterator[Figure]]


def found() -> dict[str, Measure]:
    """The benchmarks by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    package = benchmarks.__name__
    return {name: importlib.import_module(f"{package}.{name}").measure for name in names}


def main(arguments: Sequence[str], known: Mapping[str, Measure]) -> int:
    """Print the table of the named ones; the exit status."""
    if "--list" in arguments:
        for name, measure in known.items():
            about = sys.modules[measure.__module__].__doc__ or ""
            print(f"{name:<16}{about.partition(chr(10))[0]}")
        return 0
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"bench: there is no {unknown[0]!r}: `bin/bench --list` names them", file=sys.stderr)
        return 2
    _warn_of_company()
    print(head(), flush=True)
    wrong = [name for name in arguments or known if not _run(name, known[name])]
    return 1 if wrong else 0


def _warn_of_company() -> None:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        told = f"load average {load:.1f} on {cores} cores: times are longer than they would be"
        print(f"bench: {told} if nothing else ran", file=sys.stderr, flush=True)


def _run(name: str, measure: Measure) -> bool:
    """Print its rows; whether every figure was taken and is within its budget."""
    good = True
    try:
        with new_home() as home:
            for figure in measure(home):
                print(row(figure), flush=True)
                good = good and not figure.is_over
    except (OSError, AssertionError) as error:
        print(f"bench: {name}: could not be measured: {error}", file=sys.stderr, flush=True)
        return False
    return good


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], found()))
    except KeyboardInterrupt:
        sys.exit(130)
