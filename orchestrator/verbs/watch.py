"""`crew watch`: the dashboard. What it shows and does is in `orchestrator.dashboard`."""

import datetime
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.core.text import clip, safe_text
from orchestrator.errors import UserError
from orchestrator.locations import SessionPaths, session_paths, sessions
from orchestrator.verbs import program, recorded
from orchestrator.verbs.attach import go, need_terminal
from orchestrator.verbs.common import View, choose_session, require_known
from orchestrator.verbs.options import session_option
from orchestrator.verbs.output import say
from orchestrator.verbs.render import NEED

if TYPE_CHECKING:
    from orchestrator.dashboard.words import Words

# Seconds for each session in the list of those there are.
GLANCE = 0.5
_SIZE = re.compile(r"(\d{1,3})x(\d{1,3})")


@click.command(epilog="Example: crew watch -s demo")
@click.option(
    "--screenshot",
    "picture",
    metavar="FILE.svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one picture instead, and leave.",
)
@click.option(
    "--size", metavar="COLUMNSxROWS", default="120x40", show_default=True, help="Of that picture."
)
@click.option(
    "--world",
    metavar="FILE.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --screenshot: what `crew status --json` once said.",
)
@session_option
def watch(picture: Path | None, size: str, world: Path | None, session: str | None) -> None:
    """Watch the team and act on it: the dashboard."""
    if world is not None and picture is None:
        raise UserError("--world is for pictures: add --screenshot FILE.svg")
    if picture is not None:
        _take(picture, _parsed(size), world, session)
        return
    need_terminal("watch", "use `crew status` without one")
    paths = _chosen(session)
    if paths is None:
        return
    require_known(paths)

    from orchestrator.dashboard.app import Dashboard
    from orchestrator.dashboard.link import SocketLink

    link = SocketLink(paths, lambda: recorded.offline(paths))
    app = Dashboard(link, words(paths))
    app.run()
    if app.fault is not None:
        raise app.fault


def words(paths: SessionPaths) -> "Words":
    """What the dashboard takes from the verbs. Imported when they are needed."""
    from orchestrator.dashboard.words import Words

    def event(row: View, columns: int, now: float) -> str | None:
        from orchestrator.verbs import journal

        return None if journal.is_dull(row) else _event_line(row, columns, now)

    def why(reasons: View, agent: View, columns: int, now: float) -> list[str]:
        from orchestrator.verbs.reasons import why_lines

        return why_lines(reasons, agent, columns, now)

    def kinds() -> list[str]:
        from orchestrator.verbs import journal

        return [kind for kind in journal.KINDS if kind != "deadline_passed"]

    return Words(event, why, kinds, program.as_typed, lambda agent: go(paths, agent))


def _event_line(row: View, columns: int, now: float) -> str:
    """A row of the journal of one agent, whose name need not stand in every line."""
    from orchestrator.verbs import journal

    at, today = (datetime.datetime.fromtimestamp(one) for one in (row.get("at") or 0, now))
    clock = f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%m-%d %H:%M}"
    return clip(f"{clock:<11}  {safe_text(journal.told(row))}", columns)


# -- which session --------------------------------------------------------------------------------


def _chosen(session: str | None) -> SessionPaths | None:
    """The session that is meant; where that is not clear, the one that the person picks."""
    try:
        return choose_session(session, GLANCE)
    except UserError:
        if session is not None or not sessions():
            raise
    from orchestrator.dashboard.picker import Picker

    picker = Picker([_row(name) for name in sessions()])
    picked = picker.run()
    if picker.fault is not None:
        raise picker.fault
    return None if picked is None else session_paths(picked)


def _row(name: str) -> tuple[str, str, str]:
    """A session, its state and who needs a person, and where it works."""
    view, live, problem = recorded.glance(session_paths(name), GLANCE)
    needy = sum(agent["status"] in NEED for agent in view["agents"])
    state = "unknown" if problem else str(view["state"])
    if not live and state == "up":
        state = "unwatched"
    needs = f", {needy} need{'s' * (needy == 1)} you" if needy and state != "down" else ""
    return name, f"{state}{needs}", safe_text(problem or view["root"] or "")


# -- a picture ------------------------------------------------------------------------------------


def _parsed(size: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(size)
    if match is None or int(match[1]) < 20 or int(match[2]) < 8:
        raise UserError(f"--size {size!r} is no size: say it like 120x40, at least 20x8")
    return int(match[1]), int(match[2])


def _take(file: Path, size: tuple[int, int], world: Path | None, session: str | None) -> None:
    """Write a picture of the live session, or of a recorded view."""
    from orchestrator.dashboard import picture
    from orchestrator.dashboard.link import Link, SocketLink

    link: Link
    clock = None
    if world is not None:
        view, at = _read(world)
        link, clock = picture.Still(view), lambda: at
        paths = SessionPaths(Path(str(view["session"])))
    else:
        paths = choose_session(session)
        require_known(paths)
        link = SocketLink(paths, lambda: recorded.offline(paths))
    svg = picture.take(link, words(paths), size, clock)
    try:
        file.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    say(f"wrote {file}")


def _read(file: Path) -> tuple[View, float]:
    """A recorded view, and when it was recorded: its `at`, else when the file was written."""
    try:
        view = json.loads(file.read_text(encoding="utf-8"))
        written = file.stat().st_mtime
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file}: is no JSON: {error}") from error
    if not isinstance(view, dict) or not {"session", "state", "agents"} <= view.keys():
        raise UserError(f"{file}: is no view: `crew status --json` writes one")
    at = view.get("at")
    return view, float(at) if isinstance(at, int | float) else written
