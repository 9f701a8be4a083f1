"""diff: what differs, what is never shown, and that what it says is what `crew up` then does."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import trust
from orchestrator.blueprints import load_team
from orchestrator.core.comparison import ANSWERED, Comparison, compare
from orchestrator.core.spec import PermissionsSpec, TeamSpec
from orchestrator.core.state import Agent, SessionState, Status, World, empty_world
from orchestrator.locations import session_paths
from tests.cli_support import crew, ended, launched, record
from tests.end_to_end.conftest import Crew
from tests.end_to_end.conftest import crew as whole_crew  # noqa: F401 - a fixture
from tests.fake_supervisor import FakeSupervisor

SECRET = "hunter2"


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as the working directory."""
    directory = home / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("COLUMNS", "80")
    return directory


@pytest.fixture
def running(cwd: Path) -> Iterator[World]:
    """Boss and two workers, at their prompts: recorded, and somebody listens."""
    world = as_(launched(cwd), boss=Status.READY, worker_1=Status.WORKING, worker_2=Status.READY)
    trust.trust(load(cwd / "crew.toml"))
    with FakeSupervisor(session_paths("demo")):
        session_paths("demo").database.unlink()
        record(world)
        yield world


def load(file: Path) -> TeamSpec:
    return load_team(file, cwd=file.parent, environ=os.environ, session=None)


def as_(world: World, **statuses: Status) -> World:
    """The world with these statuses; underscores stand for hyphens in names."""

    def become(agent: Agent) -> Agent:
        status = statuses.get(agent.name.replace("-", "_"), agent.status)
        return dataclasses.replace(agent, status=status, waiting_for=(), begun=True)

    return dataclasses.replace(world, agents={n: become(a) for n, a in world.agents.items()})


def edit(cwd: Path, old: str, new: str) -> None:
    file = cwd / "crew.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


# -- what is said ----------------------------------------------------------------------------------


def test_nothing_differs(running: World, cwd: Path) -> None:
    ran = crew("diff")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"demo runs as {cwd}/crew.toml says: 3 agents\n"
    assert json.loads(crew("diff", "./crew.toml", "--json").out)["same"] is True


def test_what_was_edited_is_said_agent_by_agent(running: World, cwd: Path) -> None:
    edit(cwd, 'role = "a label"', f'role = "chief"\nenv = {{ TOKEN = "{SECRET}" }}')
    edit(cwd, 'name = "worker"\n', 'name = "helper"\nprompt = "x"\n')
    edit(cwd, 'name = "demo"\n', 'name = "demo"\nlayout = "tiled"\n')
    ran = crew("diff")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        f"demo is up, and not as {cwd}/crew.toml says:",
        "  ~ boss      is edited; restarts, with its conversation",
        '      role: "a label" -> "chief"',
        "      env.TOKEN: added",
        "  + helper-1  new: shell; starts",
        "  + helper-2  new: shell; starts",
        "  - worker-1  is not in the blueprint; ends",
        "  - worker-2  is not in the blueprint; ends",
        '  ~ layout: "windows" -> "tiled", for panes that are opened from then on',
        "`crew up` applies it; first it asks whether you trust what it runs",
    ]
    printed = json.loads(crew("diff", "--json").out)
    assert {key: printed[key] for key in ("session", "state", "same", "refused", "trusted")} == {
        "session": "demo",
        "state": "up",
        "same": False,
        "refused": None,
        "trusted": False,
    }
    assert printed["agents"][0] == {
        "name": "boss",
        "kind": "changed",
        "status": "ready",
        "up": "restarts",
        "resumes": True,
        "changes": [
            {"key": "role", "kind": "changed", "old": "a label", "new": "chief"},
            {"key": "env.TOKEN", "kind": "added"},
        ],
    }


def test_no_value_of_an_environment_is_printed(running: World, cwd: Path) -> None:
    file = cwd / "crew.toml"
    edit(cwd, 'role = "a label"', f'env = {{ A = "{SECRET}1", B = "{SECRET}2" }}')
    old = load(file)
    with_secrets = compare_to(old, running)
    edit(cwd, f'A = "{SECRET}1", B = "{SECRET}2"', f'A = "{SECRET}3", C = "{SECRET}4"')
    session_paths("demo").database.unlink()
    record(with_secrets)
    for flags in ([], ["--json"]):
        ran = crew("diff", *flags)
        assert ran.status == 1
        assert SECRET not in ran.out + ran.err
    assert [c["key"] + " " + c["kind"] for c in json.loads(ran.out)["agents"][0]["changes"]] == [
        "env.A changed",
        "env.C added",
        "env.B removed",
    ]


def compare_to(team: TeamSpec, world: World) -> World:
    """The world as if `team` had been launched in it."""
    specs = {spec.name: spec for spec in team.agents}
    agents = {n: dataclasses.replace(a, spec=specs[n]) for n, a in world.agents.items()}
    return dataclasses.replace(world, team=team, agents=agents)


def test_servers_and_definitions_are_compared_without_their_values(running: World) -> None:
    team = running.team
    assert team is not None
    boss, *others = team.agents
    edited = dataclasses.replace(
        boss,
        mcp_servers={"docs": {"env": {"KEY": SECRET}}},
        permissions=PermissionsSpec(allow=("Bash(ls:*)",)),
    )
    cli = team.clis["shell"]
    launch = dataclasses.replace(cli.launch, command=("/bin/sh",), env={"KEY": SECRET})
    found = compare(
        running,
        dataclasses.replace(
            team,
            agents=(edited, *others),
            clis={"shell": dataclasses.replace(cli, launch=launch)},
        ),
    )
    keys = [change.key for change in found.agents[0].changes]
    assert keys[:2] == ["permissions.allow", "mcp_servers.docs"]
    definition = ["definition shell.launch.command", "definition shell.launch.env.KEY"]
    assert keys[2:] == definition == [change.key for change in found.agents[1].changes]
    assert deeds(found) == {"boss": "restarts", "worker-1": "restarts", "worker-2": "restarts"}
    assert SECRET not in repr([agent.changes for agent in found.agents])


def deeds(found: Comparison) -> dict[str, str | None]:
    return {agent.name: agent.up for agent in found.agents}


def test_who_does_not_run_is_no_edit_but_a_difference(running: World) -> None:
    assert running.team is not None
    world = as_(running, boss=Status.FAILED, worker_1=Status.STOPPING)
    found = compare(world, running.team)
    assert deeds(found) == {"boss": "starts", "worker-1": "adopts", "worker-2": "adopts"}
    assert [agent.differs for agent in found.agents] == [True, True, False]
    assert not found.same
    assert not compare(dataclasses.replace(world, state=SessionState.PAUSED), running.team).same


def test_the_text_of_a_blueprint_is_data(running: World, cwd: Path) -> None:
    edit(cwd, 'role = "a label"', f'role = "b"\nprompt = "\\u001b[31m{"x" * 200}"')
    out = crew("diff").out
    assert "\x1b" not in out
    assert all(len(line) <= 80 for line in out.splitlines()[1:-1])


# -- which two -------------------------------------------------------------------------------------


def test_a_session_that_never_was_would_be_started(cwd: Path) -> None:
    launched(cwd)
    ran = crew("diff")
    assert ran.status == 1
    assert "  + worker-2  new: shell; starts\n" in ran.out
    assert not session_paths("demo").root.exists(), "it only looks"


def test_a_session_that_is_down_is_not_woken(cwd: Path) -> None:
    paths = record(ended(launched(cwd)))
    edit(cwd, "count = 2", "count = 1")
    lines = crew("diff").out.splitlines()
    assert lines[0] == f"demo is down, and not as {cwd}/crew.toml says:"
    assert lines[1:4] == [
        "  ! boss      is stopped; starts, afresh",
        "  ! worker-1  is stopped; starts, afresh",
        "  - worker-2  is not in the blueprint",
    ]
    assert not paths.socket.exists()


def test_elsewhere_it_is_the_blueprint_that_the_session_was_launched_from(
    running: World, cwd: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(cwd, "a label", "another")
    monkeypatch.chdir(home)
    for words in ((), ("-s", "demo"), ("project",), (str(cwd / "crew.toml"),)):
        assert '      role: "a label" -> "another"\n' in crew("diff", *words).out
    # A project of its own that is not this session's: only where it is not named.
    (home / "crew.toml").write_text('name = "own"\n[[agents]]\nname = "a"\ncli = "shell"\n')
    assert crew("diff").out.startswith("own is down")
    assert f"\n`crew up {cwd}/crew.toml` applies it" in crew("diff", "-s", "demo").out


def test_another_projects_session_would_be_refused(
    running: World, cwd: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home / "other"
    other.mkdir()
    (other / "crew.toml").write_text((cwd / "crew.toml").read_text())
    monkeypatch.chdir(other)
    ran = crew("diff")
    assert ran.status == 1
    assert ran.out.endswith(f"`crew up` would be refused: it runs already, in {cwd}\n")
    with FakeSupervisor(session_paths("demo")) as fake:
        fake.publish(state="up", root=str(cwd))
        assert f"session demo runs already, in {cwd}: " in crew("up", "--trust").err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dem",), "there is no blueprint 'dem' (did you mean 'demo'?): looked for"),
        (("./no.toml",), "no.toml: there is no such file"),
        (("-s", "typo"), "there is no session 'typo': there is demo"),
        (("--jsn",), "there is no option --jsn (did you mean --json?): see `crew diff --help`"),
    ],
)
def test_a_mistake_is_a_sentence(running: World, arguments: tuple[str, ...], sentence: str) -> None:
    ran = crew("diff", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert sentence in ran.err
    assert ran.err.count("\n") == 1


def test_what_cannot_be_told_is_no_difference(cwd: Path) -> None:
    paths = record(ended(launched(cwd)))
    paths.database.write_bytes(b"SQLite format 3\0 and no more")
    with FakeSupervisor(paths):
        ran = crew("diff")
    assert ran.status == 2
    assert ran.err.count("\n") == 1


# -- what it says is what happens ------------------------------------------------------------------


def agents(**more: str) -> str:
    """A blueprint's agents, each with its further line."""
    return "".join(f'[[agents]]\nname = "{name}"\n{line}\n' for name, line in more.items())


BEFORE = agents(same="", edited='env = { KEY = "old" }', gone="", asleep="", both="")
AFTER = agents(
    same="",
    edited='env = { KEY = "new" }',
    asleep="",
    both='resume_prompt = "go on"',
    new='depends_on = ["same"]',
)


@pytest.mark.timeout(180)
def test_up_does_what_was_said(whole_crew: Crew) -> None:  # noqa: F811 - the fixture
    crew = whole_crew

    def said() -> dict[str, Any]:
        done = crew("diff", "--json", check=False)
        assert done.returncode == 1
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def applied() -> dict[str, set[str]]:
        done = json.loads(crew.up("--wait", "--json").stdout)
        return {deed: {*done[key]} for key, deed in ANSWERED.items()}

    def foretold() -> dict[str, set[str]]:
        agents = said()["agents"]
        return {deed: {a["name"] for a in agents if a["up"] == deed} for deed in ANSWERED.values()}

    crew.blueprint(BEFORE)
    assert foretold() == applied()
    assert crew("diff").stdout.endswith("says: 5 agents\n"), "and nothing is left to be done"
    crew("stop", "asleep")
    crew("stop", "both")
    crew.wait_status(asleep="stopped", both="stopped")
    crew.blueprint(AFTER)
    kinds = {a["name"]: (a["kind"], a["up"], a["resumes"]) for a in said()["agents"]}
    assert kinds == {
        "same": ("same", "adopts", True),
        "edited": ("changed", "restarts", True),
        "gone": ("removed", "ends", True),
        "asleep": ("same", "starts", True),
        "both": ("changed", "starts", True),
        "new": ("added", "starts", False),
    }
    assert foretold() == applied()
    crew.wait(lambda view: len(view["agents"]) == 5, "who is gone has left")
    assert crew("diff").returncode == 0
    crew("down")
    kinds = {a["name"]: (a["kind"], a["up"], a["resumes"]) for a in said()["agents"]}
    assert {*kinds.values()} == {("same", "starts", False)}
    assert foretold() == applied()


def test_the_world_of_nobody_is_empty() -> None:
    team = TeamSpec(name="t", root="/", blueprint="/c", digest="", agents=(), clis={})
    assert compare(empty_world("t"), team).agents == ()
