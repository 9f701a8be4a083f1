"""A hook that is written after the end of its turn: here by hand, once it is over."""

import threading
from functools import partial

from orchestrator.locations import PACKAGE
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

ONE = """
[[agents]]
name = "a"
"""
HEARD = f'    "{faults.HEARD}",\n'


def shows(crew: Crew, pane: str, text: str) -> bool:
    return text in crew.tmux("capture-pane", "-p", "-t", pane)


def test_a_prompt_whose_hook_comes_after_the_interrupt(crew: Crew) -> None:
    """It is cleared all the same, the agent does not seem to work for ever, and is spoken to."""
    shipped = (PACKAGE.parent / "agents/demo.toml").read_text()
    assert HEARD in shipped
    faults.define(crew, "demo", shipped.replace(HEARD, ""))
    crew.blueprint(ONE)
    crew.up("--wait")
    pane = crew.agent("a")["pane"]
    crew.run("send", "a", "[[sleep 600]]")
    crew.wait_status(a="working")
    wait_until(partial(shows, crew, pane, "esc to interrupt"), "it works on its screen", 30)
    said = crew.run("interrupt", "a").stdout
    assert said == "a was interrupted: it had not begun to answer: the prompt was taken back\n"
    crew.wait_status(a="ready")
    payload = faults.payload(faults.HEARD, prompt="[[sleep 600]]")
    hook = (faults.hook_environment(crew, "a"), faults.HEARD, payload)
    # It seems to work for two seconds: who looks is there before they begin.
    late = threading.Thread(target=faults.run_hook, args=hook)
    late.start()
    crew.wait_status(a="working")
    late.join()
    crew.run("send", "a", "[[say: next]]")
    crew.wait(lambda v: not v["messages"] and v["agents"][0]["detail"] == "next", "it goes on")
    assert faults.prompts(crew, "a") == ["[[sleep 600]]", "[[say: next]]"]
