"""The polling dashboard, and the window that programs are measured in, when something fails."""

import os
from pathlib import Path

import pytest

from orchestrator.locations import session_paths
from tests.bench.polling import Polling
from tests.bench.window import Window
from tests.dashboard.test_keys import until
from tests.fake_supervisor import FakeSupervisor, agent


async def test_the_polling_one_lives_on_where_it_is_not_answered(home: Path) -> None:
    paths = session_paths("t")
    app = Polling(paths.socket)
    async with app.run_test() as pilot:
        await app.poll()  # nothing listens
        await pilot.press("j")  # and there is no row to go to
        with FakeSupervisor(paths, agent("a"), agent("b")) as fake:
            await until(lambda: app.table.row_count == 2, pilot)
            fake.breaks = 1
            await until(lambda: not fake.breaks, pilot)
            fake.publish(agents=[agent("c")])
            await until(lambda: app.table.row_count == 3, pilot)
        await app.poll()
        assert app.table.row_count == 3


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("echo last words; exit 3", "exit status 3"),
        ("echo last words; kill -KILL $$", "by SIGKILL"),
    ],
)
def test_of_a_program_that_ends_it_is_told_how_and_its_last_words(script: str, how: str) -> None:
    argv = ["/bin/sh", "-c", script]
    with (
        Window(argv, {"PATH": os.environ["PATH"]}, (80, 24)) as window,
        pytest.raises(AssertionError, match=rf"it has ended, {how}: b'last words"),
    ):
        window.watch(20)
