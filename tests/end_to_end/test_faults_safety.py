"""Names and texts that would run something, and values that must not get out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.client import Client
from orchestrator.errors import CrewError, UserError
from orchestrator.locations import session_paths
from tests.end_to_end import faults
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

TWO = """
[[agents]]
name = "a"

[[agents]]
name = "b"
"""

NAMES = (
    "../x",
    "#(touch canary)",
    "a\nb",
    "-x",
    "x" * 10_000,
    "$(touch canary)",
    "a;touch canary",
    "\x1b]0;x\x07",
    "%1",
    "=t:",
    "",
)
ABOUT_AGENTS = ("send", "answer", "interrupt", "restart", "stop", "why", "logs", "attach")
VERBS = (
    ["up", "--trust", "-s", "NAME"],
    ["down", "-s", "NAME"],
    ["restore", "--", "NAME"],
    ["status", "-s", "NAME"],
    ["ls", "NAME"],
    ["events", "--agent", "NAME"],
    ["send", "--", "NAME", "hello"],
    ["answer", "--", "NAME", "1"],
    ["answer", "--", "a", "NAME"],
    ["interrupt", "--", "NAME"],
    ["restart", "--", "NAME"],
    ["stop", "--", "NAME"],
    ["why", "--", "NAME"],
    ["logs", "--", "NAME"],
    ["attach", "--", "NAME"],
)


@pytest.mark.timeout(300)
def test_names_are_never_run(crew: Crew, count: Callable[[str, int, int], int]) -> None:
    """Each verb with each name: refused in a sentence. The supervisor is asked directly too."""
    each = count("bad names for each verb of the command line", 2, len(NAMES))
    crew.blueprint(TWO)
    crew.up("--wait")
    faults.begun(crew)
    before = crew.view()["agents"]
    for place, verb in enumerate(VERBS):
        for name in [NAMES[(place * each + n) % len(NAMES)] for n in range(each)]:
            done = crew.run(*(part.replace("NAME", name) for part in verb), check=False)
            expected = (0, 1, 2) if verb[0] == "events" else (1, 2)
            assert done.returncode in expected, (verb, name[:40], done)
            assert "\x1b" not in done.stdout + done.stderr
    with Client.connect(session_paths("t"), start=False) as client:
        for asked in ABOUT_AGENTS:
            for name in NAMES:
                with pytest.raises(UserError):
                    client.request(asked, agent=name, text="hello", choice="1")
        for name in NAMES:
            with pytest.raises(CrewError):
                client.request("answer", agent="a", choice=name, asked=name)
            with pytest.raises(UserError):
                client.request(name or "?")
    assert crew.view()["agents"] == before
    assert not list(crew.home.rglob("canary"))
    assert sorted(p.name for p in crew.state.parent.iterdir() if p.is_dir()) == ["t"]


def test_texts_are_never_run(crew: Crew) -> None:
    """A text arrives as it is, whatever it looks like."""
    crew.blueprint(TWO)
    crew.up("--wait")
    texts = [
        "#(touch canary) #{pane_id} #[fg=red]",
        "$(touch canary) `touch canary` ; touch canary",
        "-x --help",
        "first line\nsecond line\n\nlast line",
        "x" * 10_000,
        "../../canary %1 =t: {state}",
    ]
    for text in texts:
        crew.run("send", "--wait", "--timeout", "40", "--", "a", text)
        crew.wait_status(a="ready")
    assert faults.prompts(crew, "a") == texts
    assert not list(crew.home.rglob("canary"))


# -- what must not get out ------------------------------------------------------------------------


def test_secrets_of_the_environment_are_nowhere_but_in_the_agents(
    crew: Crew, count: Callable[[str, int, int], int]
) -> None:
    """Also not after restarts, a new supervisor, and a new tmux server."""
    secrets = {f"SECRET_{n}": f"canary-{n:03}-5f2c9" for n in range(count("secrets", 20, 50))}
    crew.blueprint(TWO)
    crew.env |= secrets
    crew.up("--wait")
    crew.run("restart", "a")
    crew.wait(lambda v: v["agents"][0]["run"] == 2, "restarted")
    crew.wait_status(a="ready", b="ready")
    for name in secrets:
        del crew.env[name]  # Whoever starts the next supervisor does not know them.
    faults.kill(crew.supervisor())
    server = crew.view()["server"]
    faults.kill(server)
    crew.wait(lambda v: v["server"] not in (None, server), "a new tmux server")
    view = crew.wait_status(a="ready", b="ready")
    for agent in view["agents"]:
        environ = Path(f"/proc/{agent['pid']}/environ").read_bytes()
        assert all(secret.encode() in environ for secret in secrets.values()), "agents have them"
    faults.begun(crew)
    # A hook has its agent's environment, and may not have ended yet when it was taken in.
    runs = [Path(f"/proc/{a['pid']}/task/{a['pid']}/children") for a in view["agents"]]
    wait_until(lambda: not any(map(faults.contents, runs)), "no hook runs any more", 30)
    places = {p: faults.contents(p) for p in crew.state.parent.rglob("*") if p.is_file()}
    assert len(places) > 10
    agents = {agent["pid"] for agent in view["agents"]}
    for pid in crew.processes():
        process = Path(f"/proc/{pid}")
        places[process / "cmdline"] = faults.contents(process / "cmdline")
        if pid not in agents:
            places[process / "environ"] = faults.contents(process / "environ")
    places[Path("tmux's environment")] = crew.tmux("show-environment", "-g").encode()
    places[Path("tmux's session")] = crew.tmux("show-environment", "-t", "=t:").encode()
    places[Path("tmux's panes")] = crew.tmux(
        "list-panes", "-a", "-F", "#{pane_start_command}"
    ).encode()
    found = [path for path, data in places.items() if b"-5f2c9" in data]
    assert found == []
