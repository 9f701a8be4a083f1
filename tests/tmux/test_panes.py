"""Windows and panes on a real server: order, places, deaths, and names that would like to run."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator import procfs
from orchestrator.core.events import PaneFact
from orchestrator.core.spec import Layout
from orchestrator.errors import TmuxError, UserError
from orchestrator.locations import SessionPaths
from orchestrator.tmux import panes
from orchestrator.tmux.control import Control
from orchestrator.tmux.panes import OpenedPane
from tests.support import alive, end, wait_until
from tests.tmux.conftest import Heard, connect, until, write_order

SESSION = "team-1"
NAMES = ("boss", "worker-1", "worker-2", "worker-3")
# Panes of agents as (window's index and name, agent), in tmux's order.
Shape = list[tuple[str, str]]


async def launch(
    control: Control, paths: SessionPaths, agent: str, layout: Layout = "windows", *argv: str
) -> OpenedPane:
    order = await write_order(paths, f"{agent}.1", *(argv or ("cat", "-")))
    place = NAMES.index(agent) + 1
    return await panes.open_pane(
        control, SESSION, agent, place=place, layout=layout, launch_file=order
    )


async def shape(control: Control) -> Shape:
    listing = ["list-panes", "-s", "-t", f"={SESSION}:", "-F", "#I:#W #{@crew_name}"]
    (lines,) = await control.run(listing)
    split = (line.decode().partition(" ") for line in lines)
    return [(window, agent) for window, _, agent in split]


async def option(control: Control, target: str, fmt: str) -> str:
    ((line,),) = await control.run(["display-message", "-p", "-t", target, fmt])
    return line.decode()


async def fact(control: Control, agent: str) -> PaneFact:
    (found,) = await panes.list_panes(control, agent)
    return found


async def test_windows_stand_in_the_teams_order_however_they_are_opened(
    control: Control, paths: SessionPaths
) -> None:
    for agent in ("worker-2", "boss", "worker-3", "worker-1"):
        await launch(control, paths, agent)
    assert await shape(control) == [(f"{n}:{name}", name) for n, name in enumerate(NAMES, 1)]
    # Who attaches begins with the first agent.
    assert await option(control, f"={SESSION}:", "#W") == "boss"


@pytest.mark.parametrize("layout", ["windows", "tiled", "main"])
async def test_agents_that_start_side_by_side_share_one_session(
    control: Control, paths: SessionPaths, layout: Layout
) -> None:
    await asyncio.gather(*(launch(control, paths, agent, layout) for agent in reversed(NAMES)))
    assert [agent for _, agent in await shape(control)] == list(NAMES)
    assert {pane.agent for pane in await panes.list_panes(control)} == set(NAMES)
    (sessions,) = await control.run(["list-sessions", "-F", "#S"])
    assert sorted(sessions) == [b"_crew", b"team-1"]


async def test_a_window_whose_number_a_person_took_gets_the_next_free_one(
    control: Control, paths: SessionPaths
) -> None:
    await launch(control, paths, "boss")
    await control.run(["new-window", "-d", "-t", f"={SESSION}:2", "-n", "mine", "cat", "-"])
    await launch(control, paths, "worker-1")
    await launch(control, paths, "worker-2")
    windows = await shape(control)
    assert ("1:boss", "boss") in windows
    assert ("2:mine", "") in windows
    assert sorted(agent for _, agent in windows if agent) == ["boss", "worker-1", "worker-2"]
    assert await option(control, f"={SESSION}:", "#W") == "boss"


@pytest.mark.parametrize("layout", ["tiled", "main"])
async def test_one_window_holds_all_in_the_teams_order(
    control: Control, paths: SessionPaths, layout: Layout
) -> None:
    opened = {agent: await launch(control, paths, agent, layout) for agent in reversed(NAMES)}
    assert await shape(control) == [("1:team", name) for name in NAMES]
    assert await option(control, f"={SESSION}:", "#{@crew_name}") == "boss"
    assert await option(control, opened["boss"].pane, "#{pane_at_left}#{pane_at_top}") == "11"
    height = await option(control, opened["boss"].pane, "#{pane_height}")
    assert int(height) > 40 if layout == "main" else int(height) < 25


async def test_a_border_is_drawn_where_several_agents_share_a_window(
    control: Control, paths: SessionPaths
) -> None:
    await launch(control, paths, "boss", "tiled")
    await launch(control, paths, "worker-1", "tiled")
    own = await launch(control, paths, "worker-2", "windows")
    assert await option(control, f"={SESSION}:1", "#{pane-border-status}") == "top"
    assert await option(control, own.pane, "#{pane-border-status}") == "off"


async def test_a_team_window_is_made_again_and_the_one_beside_is_believed(
    control: Control, paths: SessionPaths
) -> None:
    first = await launch(control, paths, "boss", "tiled")
    await control.run(["new-window", "-d", "-t", f"={SESSION}:", "-n", "mine", "cat", "-"])
    await panes.close_pane(control, first.pane)
    await launch(control, paths, "worker-1", "tiled")
    second = await launch(control, paths, "worker-2", "tiled")
    assert sorted(await shape(control)) == [
        ("1:team", "worker-1"),
        ("1:team", "worker-2"),
        ("2:mine", ""),
    ]
    await control.run(["break-pane", "-d", "-s", second.pane, "-t", f"={SESSION}:"])
    order = await write_order(paths, "worker-3.1", "cat", "-")
    third = await panes.open_pane(
        control, SESSION, "worker-3", place=4, layout="tiled", launch_file=order, beside=second.pane
    )
    window = "#{window_id}"
    assert await option(control, third.pane, window) == await option(control, second.pane, window)


async def test_where_a_person_is_stays_where_they_are(
    control: Control, paths: SessionPaths
) -> None:
    await launch(control, paths, "boss", "tiled")
    second = await launch(control, paths, "worker-1", "tiled")
    watcher = await asyncio.create_subprocess_exec(
        *("tmux", "-S", str(paths.tmux_socket), "-C", "attach-session", "-t", f"={SESSION}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )

    async def attached() -> bool:
        return await option(control, f"={SESSION}:", "#{session_attached}") == "1"

    try:
        await until(attached, "the person")
        await control.run(["select-pane", "-t", second.pane], ["resize-pane", "-Z"])
        await launch(control, paths, "worker-2", "tiled")
        assert await option(control, f"={SESSION}:", "#{@crew_name}") == "worker-1"
        await launch(control, paths, "worker-3", "windows")
        assert await option(control, f"={SESSION}:", "#W") == "team"
    finally:
        watcher.kill()
        await watcher.wait()


async def test_a_list_names_our_panes_and_no_others(control: Control, paths: SessionPaths) -> None:
    opened = await launch(control, paths, "boss")
    await control.run(["split-window", "-d", "-t", opened.pane, "cat", "-"])
    await control.run(["new-window", "-d", "-t", "=_crew:", "cat", "/boss.1.json"])
    (found,) = await panes.list_panes(control)
    assert found == PaneFact(
        agent="boss",
        run=1,
        pane=opened.pane,
        tty=opened.tty,
        dead=False,
        process=procfs.process_of(opened.pid),
    )
    assert found.process is not None
    assert Path(opened.tty).is_char_device()


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 0", 0, None), ("exit 137", 137, None), ("kill -9 $$", None, signal.SIGKILL)],
)
async def test_deaths_keep_their_pane_and_their_status(
    control: Control, paths: SessionPaths, script: str, code: int | None, number: int | None
) -> None:
    opened = await launch(control, paths, "boss", "windows", "sh", "-c", f"read x; {script}")
    status = await panes.exit_status(control, opened.pane)
    assert status == (False, None, None)
    await control.paste(opened.pane, "go", ["Enter"])

    async def known() -> bool:
        status = await panes.exit_status(control, opened.pane)
        return status is not None and status.known

    await until(known, "the exit status")
    assert await panes.exit_status(control, opened.pane) == (True, code, number)
    found = await fact(control, "boss")
    assert (found.dead, found.process) == (True, None)
    assert (found.code, found.signal) == (code, number)


async def test_a_respawn_keeps_pane_and_place(control: Control, paths: SessionPaths) -> None:
    for agent in NAMES[:3]:
        await launch(control, paths, agent)
    before = await fact(control, "worker-1")
    assert before.process is not None
    end(before.process.pid)
    order = await write_order(paths, "worker-1.2", "cat", "-")
    again = await panes.respawn(control, before.pane, order)
    after = await fact(control, "worker-1")
    assert (again.pane, after.pane, after.run, after.dead) == (before.pane, before.pane, 2, False)
    assert after.process is not None
    assert after.process.pid == again.pid != before.process.pid
    assert after.tty == again.tty
    assert await shape(control) == [(f"{n}:{name}", name) for n, name in enumerate(NAMES[:3], 1)]


async def test_a_respawn_ends_what_still_runs_there(control: Control, paths: SessionPaths) -> None:
    first = await launch(control, paths, "boss")
    second = await panes.respawn(
        control, first.pane, await write_order(paths, "boss.2", "cat", "-")
    )
    assert second.pid != first.pid
    await asyncio.to_thread(wait_until, lambda: not alive(first.pid), "the first one's end")
    with pytest.raises(TmuxError, match="can't find pane"):
        await panes.respawn(control, "%999", await write_order(paths, "boss.3", "cat", "-"))


async def test_a_pane_is_closed_once_or_twice(control: Control, paths: SessionPaths) -> None:
    opened = await launch(control, paths, "boss")
    await panes.close_pane(control, opened.pane)
    assert await panes.exit_status(control, opened.pane) is None
    assert await panes.list_panes(control) == []
    await panes.close_pane(control, opened.pane)
    # The server lives on without a session of the team.
    await launch(control, paths, "boss")


async def test_targets_that_are_no_ids_are_refused(control: Control) -> None:
    for target in ("boss", "=x:1", "%1;kill-server", "", "%1\n"):
        with pytest.raises(ValueError, match="not a pane's id"):
            await panes.exit_status(control, target)
        with pytest.raises(ValueError, match="not a pane's id"):
            await panes.close_pane(control, target)


async def test_names_that_run_commands_are_refused(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    order = await write_order(paths, "boss.1", "cat", "-")
    for name in (f"#(touch {home}/canary)", "a b", "a\nb", "../x", "", "a;b", "#{pid}", "_crew"):
        for session, agent in ((name, "boss"), (SESSION, name)):
            with pytest.raises(UserError, match="not allowed"):
                await panes.open_pane(
                    control, session, agent, place=1, layout="windows", launch_file=order
                )
    assert not (home / "canary").exists()


async def test_nothing_runs_that_stands_in_paths_marks_summaries_or_arguments(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    evil = f"#(touch {home}/canary) $(touch {home}/canary) `touch {home}/canary` ; kill-server"
    directory = home / "#(touch canary) $(touch canary) 'q' \"d\""
    directory.mkdir()
    argv = ("sh", "-c", 'pwd > "$0"; echo "$1" >> "$0"; exec cat', str(home / "ran"), evil)
    order = await write_order(paths, "boss.1", *argv, cwd=str(directory))
    odd = directory / "launch"
    odd.mkdir()
    moved = order.rename(odd / "boss.1.order")
    opened = await panes.open_pane(
        control, SESSION, "boss", place=1, layout="windows", launch_file=moved
    )
    await panes.set_mark(control, opened.pane, evil)
    await panes.set_summary(control, evil + "\n\x1b]0;x\x07")
    ran = home / "ran"

    def done() -> bool:
        return ran.exists() and ran.read_text() == f"{directory}\n{evil}\n"

    await asyncio.to_thread(wait_until, done, "the agent's command")
    assert (await fact(control, "boss")).pane == opened.pane
    shown = "#{E:status-right}#{E:window-status-format}"
    assert "touch" in await option(control, opened.pane, shown)
    await control.run(["display-message", "-p", "after"])
    assert not list(home.rglob("canary"))


async def test_a_launched_process_has_the_persons_environment_in_a_terminal_of_its_own(
    control: Control, paths: SessionPaths, home: Path
) -> None:
    fd = os.memfd_create("environment")
    os.write(fd, b"API_KEY=hunter2\0TERM=xterm\0TMUX=/outer\0PATH=/usr/bin:/bin\0")
    argv = ("sh", "-c", f"env > {home}/env.part; mv {home}/env.part {home}/env; exec cat")
    inherit = f"/proc/{os.getpid()}/fd/{fd}"
    order = await write_order(paths, "boss.1", *argv, inherit=inherit, path="/first")
    opened = await panes.open_pane(
        control, SESSION, "boss", place=1, layout="windows", launch_file=order
    )
    file = home / "env"
    await asyncio.to_thread(wait_until, file.exists, "the environment")
    os.close(fd)
    environ = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert environ["API_KEY"] == "hunter2"
    assert environ["TERM"] in ("tmux-256color", "screen-256color")
    assert environ["TMUX"].startswith(str(paths.tmux_socket))
    assert environ["TMUX_PANE"] == opened.pane
    assert environ["PATH"] == "/first:/usr/bin:/bin"
    assert not order.exists()
    assert b"hunter2" not in Path(f"/proc/{opened.pid}/cmdline").read_bytes()


async def test_only_closed_windows_are_told_of_to_a_client_of_another_session(
    control: Control, paths: SessionPaths, heard: Heard
) -> None:
    opened = await launch(control, paths, "boss")
    await launch(control, paths, "worker-1")
    await panes.close_pane(control, opened.pane)

    async def told() -> bool:
        return "unlinked-window-close" in heard.names()

    await until(told, "the closed window")


async def test_a_process_is_told_from_a_later_one_by_its_start() -> None:
    me = procfs.process_of(os.getpid())
    assert me is not None
    assert me == procfs.process_of(os.getpid())
    assert me.boot == procfs.boot_id()
    assert procfs.process_of(2**22 + 1) is None
    child = await asyncio.create_subprocess_exec("true")
    await child.wait()
    assert procfs.process_of(child.pid) is None


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 3", (True, 3, None)), ("exit 0", (True, 0, None)), ("kill -9 $$", (True, None, 9))],
)
def test_the_status_of_a_zombie_is_known_to_its_parents_side_alone(
    script: str, status: tuple[bool, int | None, int | None]
) -> None:
    child = subprocess.Popen(["sh", "-c", script])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert panes.zombie_status(child.pid, os.getpid()) == status
        assert panes.zombie_status(child.pid, 1) == panes.UNKNOWN
        assert procfs.process_of(child.pid) is None
    finally:
        child.wait()
    assert panes.zombie_status(child.pid, os.getpid()) == panes.UNKNOWN
    assert panes.zombie_status(os.getpid(), os.getppid()) == panes.UNKNOWN


async def test_every_one_of_many_deaths_is_known(control: Control, paths: SessionPaths) -> None:
    first = await launch(control, paths, "boss")

    async def known() -> bool:
        found = await fact(control, "boss")
        return found.dead and (found.code, found.signal) == (None, signal.SIGKILL)

    pid = first.pid
    for run in range(2, 42):
        end(pid)
        await until(known, f"the death of run {run - 1}")
        order = await write_order(paths, f"boss.{run}", "cat", "-")
        pid = (await panes.respawn(control, first.pane, order)).pid


async def test_who_waits_to_open_a_pane_is_told_when_others_get_no_answer(
    control: Control, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with control.structure():
        with monkeypatch.context() as patch:
            patch.setattr("orchestrator.tmux.control.TIMEOUT", 0.1)
            with pytest.raises(TmuxError, match="others wait"):
                await launch(control, paths, "boss")
    await launch(control, paths, "boss")


async def test_a_second_client_finds_what_the_first_one_made(
    control: Control, paths: SessionPaths
) -> None:
    await launch(control, paths, "boss", "main")
    await control.close()
    second = await connect(paths, Heard())
    await launch(second, paths, "worker-1", "main")
    assert await shape(second) == [("1:team", "boss"), ("1:team", "worker-1")]
    await second.close()
