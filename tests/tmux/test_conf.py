"""The generated configuration: accepted whole, runs nothing, and looks as it should."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.core.spec import Layout
from orchestrator.locations import SessionPaths
from orchestrator.tmux import bootstrap, conf, panes
from orchestrator.tmux.control import Control
from tests.support import wait_until
from tests.tmux.screens import attached, open_agent

AGENTS = {"boss": "●", "worker-1": "◐", "worker-2": "✋", "worker-3": "✓"}


async def launch(control: Control, paths: SessionPaths, layout: Layout) -> dict[str, str]:
    opened = {}
    for place, (agent, glyph) in enumerate(AGENTS.items(), 1):
        opened[agent] = await open_agent(control, paths, agent, place, layout)
        await panes.set_mark(control, opened[agent], glyph, "yellow")
    return opened


def test_every_line_is_accepted(server: int, paths: SessionPaths) -> None:
    again = ["tmux", "-S", str(paths.tmux_socket), "source-file", str(paths.tmux_conf)]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_runs_no_command() -> None:
    for terminal in ("tmux-256color", "screen-256color"):
        text = conf.render(terminal)
        assert "#(" not in text
        assert "run-shell" not in text
        assert "if-shell" not in text
        assert f'"{terminal}"' in text


def test_what_a_program_in_a_pane_may_not_do(server: int, paths: SessionPaths) -> None:
    def show(*arguments: str) -> str:
        argv = ["tmux", "-S", str(paths.tmux_socket), "show-options", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert show("-sv", "set-clipboard") == "off"
    assert show("-gwv", "allow-rename") == "off"
    assert show("-gwv", "allow-passthrough") in ("off", "")
    assert show("-gv", "update-environment") == ""
    assert show("-gwv", "remain-on-exit") == "on"
    assert show("-sv", "exit-empty") == "off"


@pytest.mark.parametrize("columns", [80, 200])
async def test_the_status_line_shows_every_agent_and_its_mark(
    control: Control, paths: SessionPaths, home: Path, columns: int
) -> None:
    await launch(control, paths, "windows")
    everybody = "  ".join(f"{n}:{a} {m}" for n, (a, m) in enumerate(AGENTS.items(), 1))
    with attached(home, paths, columns) as screen:
        screen.wait_for_status(f" crew team-1  {everybody}", conf.HINT)
        await panes.set_summary(control, "1 ready #[fg=red]", "1 asks #[fg=red]")
        screen.wait_for_status(
            " crew team-1  1 asks #[fg=red]  1:boss ●  2:worker-1 ◐",
            f"1 ready #[fg=red] | {conf.HINT}" if columns == 200 else conf.KEYS,
        )
        await panes.set_summary(control, "1 ready")
        screen.wait_for_status(f" crew team-1  {everybody}", conf.HINT)


async def test_a_change_of_mark_is_drawn_without_a_timer(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    opened = await launch(control, paths, "windows")
    with attached(home, paths, 120) as screen:
        screen.wait_for("2:worker-1 ◐")
        await panes.set_mark(control, opened["worker-1"], "✗", "red")
        screen.wait_for("2:worker-1 ✗")
        await panes.set_mark(control, opened["worker-1"], "")
        screen.wait_for("2:worker-1  3:")


async def test_borders_name_the_agents_of_a_shared_window(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    await launch(control, paths, "tiled")
    with attached(home, paths, 80) as screen:
        screen.wait_for_status(" crew team-1  1:team ● ◐ ✋ ✓", conf.HINT)
        wait_until(
            lambda: all(agent in screen.lines()[0] for agent in ("boss ●", "worker-1 ◐")),
            "the borders of the first row",
        )
        screen.wait_for("worker-3")


async def test_a_person_leaves_when_the_teams_session_ends(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    await launch(control, paths, "tiled")
    with attached(home, paths, 80) as screen:
        screen.wait_for("team-1")
        await control.run(["kill-session", "-t", "=team-1"])
        clients = ["list-clients", "-F", "#{session_name}"]

        def left() -> bool:
            argv = ["tmux", "-S", str(paths.tmux_socket), *clients]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            return done.stdout.split() == [bootstrap.HOLDING]

        wait_until(left, "the person's client to leave")
