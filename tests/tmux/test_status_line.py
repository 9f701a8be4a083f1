"""What a person sees around the panes, and may reach with the keys, at the sizes they have."""

import os
import re
from pathlib import Path

import pytest

from orchestrator import procfs
from orchestrator.core.spec import Layout
from orchestrator.locations import SessionPaths, login_shell
from orchestrator.tmux import conf, panes
from orchestrator.tmux.control import Control
from tests.support import end, wait_until
from tests.tmux.conftest import until
from tests.tmux.screens import SESSION, Screen, attached, open_agent

YELLOW, RED, ON_YELLOW = "\x1b[33m", "\x1b[31m", "\x1b[43m"
REVERSE = re.compile(r"\x1b\[(?:1;)?7m(?:\x1b\[[34]9m)*(.*?)\x1b\[0m")
SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])


async def team(control: Control, paths: SessionPaths, count: int, layout: Layout) -> list[str]:
    made = []
    for n in range(1, count + 1):
        pane = await open_agent(control, paths, f"worker-{n}", n, layout)
        glyph, colour = {2: ("?", "yellow"), 3: ("✗", "red")}.get(n, ("●", "default"))
        await panes.set_mark(control, pane, glyph, colour)  # type: ignore[arg-type]  # a literal
        made.append(pane)
    await panes.set_summary(control, "7 working · 1 ready", "2 need you")
    return made


def current(screen: Screen) -> list[str]:
    """What stands out in the status line: the current window."""
    return REVERSE.findall(screen.coloured()[-1])


async def answer(control: Control, *command: str) -> str:
    (lines,) = await control.run(list(command))
    return b"\n".join(lines).decode()


@SIZES
async def test_who_needs_a_person_stands_first_however_many_windows_there_are(
    control: Control, paths: SessionPaths, home: Path, columns: int, rows: int
) -> None:
    await team(control, paths, 10, "windows")
    with attached(home, paths, columns, rows) as screen:
        line = screen.wait_for_status(
            f" crew {SESSION}  2 need you  1:worker-1 ●  2:worker-2 ?",
            conf.KEYS if columns == 80 else conf.HINT,
        )
        assert len(line) <= columns
        drawn = screen.coloured()[-1]
        assert f"{ON_YELLOW} 2 need you " in drawn
        assert f"2:worker-2 {YELLOW}?" in drawn
        assert f"3:worker-3 {RED}✗" in drawn
        # The list is moved so that the current window is seen, and stands out.
        screen.type("C-b", "9")
        screen.wait_for("9:worker-9")
        screen.wait_for_status(f" crew {SESSION}  2 need you ")
        wait_until(lambda: current(screen) == [" 9:worker-9 ● "], "it stands out")


@pytest.mark.parametrize("columns", [30, 50])
async def test_a_narrow_terminal_still_shows_who_needs_a_person(
    control: Control, paths: SessionPaths, home: Path, columns: int
) -> None:
    await team(control, paths, 4, "windows")
    with attached(home, paths, columns) as screen:
        screen.wait_for_status(f" {SESSION}  2 need you ")


@SIZES
@pytest.mark.parametrize("layout", ["tiled", "main"])
async def test_borders_show_the_marks_where_agents_share_a_window(
    control: Control, paths: SessionPaths, home: Path, columns: int, rows: int, layout: Layout
) -> None:
    await team(control, paths, 4, layout)
    with attached(home, paths, columns, rows) as screen:
        screen.wait_for_status(f" crew {SESSION}  2 need you  1:team ● ? ✗ ● ")
        for border in ("─ worker-1 ● ─", "─ worker-2 ? ─", "─ worker-3 ✗ ─", "─ worker-4 ● ─"):
            screen.wait_for(border)
        drawn = "\n".join(screen.coloured())
        assert f"worker-2 {YELLOW}?" in drawn
        assert f"worker-3 {RED}✗" in drawn


async def test_the_hint_is_of_the_terminal_that_it_is_shown_in(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    await team(control, paths, 2, "windows")
    with attached(home, paths, 120) as first, attached(home, paths, 140) as second:
        for screen in (first, second):
            screen.wait_for(conf.HINT)
        ttys = [screen.format("#{pane_tty}") for screen in (first, second)]
        for tty in (ttys[1], ttys[0], ttys[1]):
            await control.run(conf.nested_option(tty, nested=True))
        second.wait_for(conf.HINT_NESTED)
        first.wait_for(conf.HINT_NESTED)
        await control.run(conf.nested_option(ttys[0], nested=False))
        first.wait_for(conf.HINT)
        second.wait_for(conf.HINT_NESTED)
        await control.run(conf.nested_option(ttys[1], nested=False))
        second.wait_for(conf.HINT)
        assert not await answer(control, "show-options", "-gqv", conf.NESTED)


async def test_the_session_that_holds_the_server_is_met_by_no_key(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    await team(control, paths, 2, "windows")
    with attached(home, paths, 80, 24) as screen:
        screen.wait_for("1:worker-1")

        def menu(*keys: str) -> str:
            screen.type(*keys)
            wait_until(lambda: screen.lines()[0].startswith("(0)"), f"the menu of {keys}")
            text = screen.text()
            screen.type("q")
            wait_until(lambda: not screen.lines()[0].startswith("(0)"), f"no menu of {keys}")
            return text

        for keys in ("s", "w", "D"):
            shown = menu("C-b", keys)
            assert SESSION in shown
            assert "_crew" not in shown
            assert "hold" not in shown
        for key in ("(", ")", "L"):
            screen.type("C-b", key)
        # Keys are taken in their order: when this one has done its work, the others have.
        screen.type("C-b", "2")
        tty = screen.format("#{pane_tty}")
        at = ["list-clients", "-F", "#{client_tty} #{client_session}:#{window_name}"]

        async def there() -> bool:
            clients = (await answer(control, *at)).splitlines()
            return f"{tty} {SESSION}:worker-2" in clients

        await until(there, "the person is at the second window")


@SIZES
async def test_a_pane_that_ended_says_how_and_what_to_do(
    control: Control, paths: SessionPaths, home: Path, columns: int, rows: int
) -> None:
    wait = ("sh", "-c", "read x; exit 3")
    first = await open_agent(control, paths, "boss", 1, "windows", *wait)
    second = await open_agent(control, paths, "worker-with-a-name-of-32-letters", 2)
    with attached(home, paths, columns, rows) as screen:
        screen.wait_for("1:boss")
        await control.paste(first, "go", ["Enter"])
        await status_known(control, first)
        lines = screen.wait_for("ended (status 3): crew restart boss")
        assert lines[-2].strip() == "ended (status 3): crew restart boss"
        (found,) = [p for p in await panes.list_panes(control) if p.pane == second]
        assert found.process is not None
        end(found.process.pid)
        await status_known(control, second)
        screen.type("C-b", "2")
        lines = screen.wait_for(": crew restart worker-with-a-name-of-32-letters")
        assert any(line.startswith("ended (signal ") for line in lines)
        await control.run(["new-window", "-t", f"={SESSION}:", "sh", "-c", "read x"])
        pane = await answer(control, "display-message", "-p", "-t", f"={SESSION}:", "#{pane_id}")
        await control.paste(pane, "go", ["Enter"])
        await status_known(control, pane)
        lines = screen.wait_for("ended (status 0)")
        assert "ended (status 0)" in [line.strip() for line in lines]


async def status_known(control: Control, pane: str) -> None:
    async def known() -> bool:
        status = await panes.exit_status(control, pane)
        return status is not None and status.known

    await until(known, "the exit status")


async def test_who_comes_before_the_first_agent_finds_a_current_window(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    await open_agent(control, paths, "worker-3", 3, "windows", "sh", "-c", "echo here; exec cat")
    with attached(home, paths, 80, 24) as screen:
        assert screen.wait_for("here")[0] == "here"
        wait_until(lambda: current(screen) == [" 3:worker-3 "], "it is the current one")
        await open_agent(control, paths, "boss", 1)
        screen.wait_for("1:boss  3:worker-3")
        assert screen.lines()[0] == "here"
        wait_until(lambda: current(screen) == [" 3:worker-3 "], "it still is")


async def test_what_a_person_opens_is_their_own_shell(
    control: Control, server: int, paths: SessionPaths
) -> None:
    assert procfs.process_of(server) is not None
    assert await answer(control, "show-options", "-gv", "default-command") == ""
    shell = await answer(control, "show-options", "-gv", "default-shell")
    assert shell == login_shell(os.environ), "also where the environment names none"
