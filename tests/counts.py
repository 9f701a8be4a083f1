"""How much a run of the tests did: a pytest plugin.

A test that does a thing many times asks `count` how often, and the table at the end says what was
done, in this run and in the other kind: small (the default) or full (`CREW_TEST_FULL=1`). A figure
that a test took is put beside it with `measured`; what a machine cannot do is said with `cannot`.

Records travel in `user_properties`, which pytest hands on from its worker processes.
"""

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

FULL = bool(os.environ.get("CREW_TEST_FULL"))
CANNOT = "cannot be made here: "
_COUNT = "crew.count"
_MEASURED = "crew.measured"

_running: list[pytest.Item] = []


class _Records:
    """What the reports of all finished tests carried."""

    def __init__(self) -> None:
        # name -> (done in this run, small, full)
        self.counts: dict[str, tuple[int, int, int]] = {}
        self.figures: list[tuple[str, float, str]] = []
        self.cannot: list[str] = []


_RECORDS = pytest.StashKey[_Records]()


# -- for tests -----------------------------------------------------------------------------------


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str, int, int], int]:
    """`count(name, small, full)`: how often this run does the thing; recorded under `name`."""

    def count(name: str, small: int, full: int) -> int:
        done = full if FULL else small
        request.node.user_properties.append((_COUNT, [name, done, small, full]))
        return done

    return count


def measured(name: str, value: float, unit: str) -> None:
    """Put a figure that the running test took into the summary."""
    if not _running:
        raise RuntimeError("measured() is called by a running test")
    _running[-1].user_properties.append((_MEASURED, [name, value, unit]))


def cannot(why: str, *, required: bool = False) -> NoReturn:
    """End the test as skipped: this machine cannot do it. `required`: failed where CI=true."""
    if required and os.environ.get("CI") == "true":
        pytest.fail(f"{CANNOT}{why}", pytrace=False)
    pytest.skip(f"{CANNOT}{why}")


# -- for pytest ----------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RECORDS] = _Records()
    config.pluginmanager.register(_Collector(config.stash[_RECORDS]), "crew-counts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not FULL:
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="runs with bin/test --full"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


class _Collector:
    def __init__(self, records: _Records) -> None:
        self.records = records

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            _, found, why = report.longrepr[2].partition(CANNOT)
            if found:
                self.records.cannot.append(f"{report.nodeid}: {why}")
        # The last report of a test carries the properties of all its phases.
        if report.when != "teardown":
            return
        for key, value in report.user_properties:
            if key == _COUNT and isinstance(value, list):
                name, done, small, full = value
                before = self.records.counts.get(name, (0, 0, 0))
                self.records.counts[name] = (
                    before[0] + done,
                    before[1] + small,
                    before[2] + full,
                )
            elif key == _MEASURED and isinstance(value, list):
                name, figure, unit = value
                self.records.figures.append((name, figure, unit))


def _table(rows: list[list[str]]) -> list[str]:
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    records = terminalreporter.config.stash[_RECORDS]
    lines = []
    if records.counts:
        rows = [["done how often", "this run", "small", "full"]]
        for name, numbers in sorted(records.counts.items()):
            rows.append([name, *(f"{number:,}" for number in numbers)])
        lines += _table(rows)
    if records.figures:
        rows = [["measured", "", ""]]
        rows += [[name, f"{value:,.4g}", unit] for name, value, unit in sorted(records.figures)]
        lines += ["", *_table(rows)] if lines else _table(rows)
    if records.cannot:
        lines.append(f"cannot be made here: {len(records.cannot)}")
        lines += [f"  {each}" for each in sorted(records.cannot)]
    if lines:
        terminalreporter.section(f"counts ({'full' if FULL else 'small'} run)")
        for line in lines:
            terminalreporter.write_line(line)
