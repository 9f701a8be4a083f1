"""Everything that is looked at, in order: what others need first."""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.doctor import (
    bench,
    clis,
    hooks,
    places,
    servers,
    sessions,
    system,
    watches,
)
from orchestrator.doctor.findings import Finding, bad
from orchestrator.errors import CrewError
from orchestrator.locations import SessionPaths, state_root


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at: `wanted` CLIs (none: all), for work in `directory`."""

    wanted: Sequence[str]
    directory: Path
    environ: Mapping[str, str]
    nested: bool
    glances: Iterable[sessions.Glance]


def examine(asked: Asked) -> Generator[Finding, None, None]:
    """Tell each finding as it is known. Raises UserError for a CLI that has no definition.

    To be closed: what runs on the bench is ended then.
    """
    project = clis.project_of(asked.directory, asked.environ)
    for name in asked.wanted:
        clis.require(name, project)
    yield from system.examine(asked.environ)
    judged = list(places.examine())
    yield from judged
    with contextlib.ExitStack() as stack:
        paths: SessionPaths | None = None
        try:
            if all(finding.level != "bad" for finding in judged):
                paths = stack.enter_context(bench.set_up())
        except (OSError, CrewError) as error:
            text = f"nothing can be written in {state_root()}: {error}"
            yield bad("state", text, "make room or set XDG_STATE_HOME to a directory of your own")
        if paths is not None:
            yield from watches.examine(paths.panes, asked.environ)
        server = servers.tmux(paths, asked.environ)
        yield server
        yield from servers.nesting(asked.nested)
        yield from sessions.examine(asked.glances)
        yield from _clis(asked, project, paths if server.level == "ok" else None)


def _clis(asked: Asked, project: clis.Project, paths: SessionPaths | None) -> Iterator[Finding]:
    needed = project.needs.union(asked.wanted)
    missing = []
    for name in clis.names(project, asked.wanted):
        found = clis.find(name, project, asked.environ, needed=name in needed)
        if isinstance(found, Finding):
            missing += [name] if found.level == "bad" else []
            yield found
            continue
        version = clis.version(found, asked.environ)
        yield version
        if found.runs and version.level != "bad":
            tried = hooks.examine(found.spec, paths, asked.directory, asked.environ)
            if tried is not None:
                yield tried
    yield from clis.blueprint(project, missing)
