"""The fixture of real CLIs: a team comes up, speaks, is seen, and nothing of it is left."""

from tests.counts import measured
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

TWO = """
[[agents]]
name = "boss"

[[agents]]
name = "worker-1"
"""


def test_a_team_of_real_clis_speaks_with_the_stand_in(claude: Claude) -> None:
    claude.blueprint(TWO)
    claude.crew("up", "--trust", "--wait", timeout=60)
    assert {claude.status("boss"), claude.status("worker-1")} == {"ready"}
    claude.crew("send", "boss", "hello [[hold x]] [[say: good day]]")
    claude.api.wait_held("x")
    # A busy machine may take longer for the receipt than `send` waits for it.
    claude.crew.wait(lambda view: not view["messages"], "it is delivered")
    claude.crew.wait_status(boss="working")
    claude.api.release("x")
    claude.crew.wait_status(boss="ready")
    conversation = claude.conversation("boss")
    assert claude.api.prompts(conversation) == ("hello [[hold x]] [[say: good day]]",)
    wait_until(lambda: "● good day" in claude.pane("boss"), "the answer is on the screen", 30)
    claude.keys("worker-1", "typed by hand", "Enter")
    request = claude.api.wait_for(lambda each: each.newest == "typed by hand", "the typed prompt")
    assert request.conversation == claude.conversation("worker-1") != conversation


def test_bare_clis_start_at_once_and_end(claude: Claude) -> None:
    measured("2 bare Claude CLIs, from nothing to idle", claude.bare(2), "s")
    left = Crew(claude.home / "bare", claude.root)
    wait_until(lambda: left.processes() == [], "nothing of them is left", 30)
