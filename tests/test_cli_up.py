"""up: trust, what is asked for, waiting, and what is printed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import start, trust
from orchestrator.blueprints import load_team
from orchestrator.locations import SessionPaths, session_paths
from orchestrator.verbs import up
from tests.cli_support import crew, over_after, refused
from tests.fake_supervisor import FakeSupervisor, agent, ask
from tests.terminal import Terminal

BLUEPRINT = """
name = "demo"
[[agents]]
name = "boss"
cli = "shell"
[[agents]]
name = "worker"
cli = "shell"
depends_on = ["boss"]
"""


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a blueprint that nobody has trusted yet, as the working directory."""
    directory = home / "project"
    directory.mkdir()
    (directory / "crew.toml").write_text(BLUEPRINT)
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def paths(project: Path) -> SessionPaths:
    return session_paths("demo")


@pytest.fixture
def trusted(project: Path) -> None:
    trust.trust(load_team(project / "crew.toml", cwd=project, environ=os.environ, session=None))


def starting(name: str, *waits: str, **more: Any) -> dict[str, Any]:
    detail = f"waits for {', '.join(waits)}" if waits else ""
    return agent(name, "starting", pid=None, waiting_for=list(waits), detail=detail, **more)


@pytest.mark.parametrize(
    ("typed", "session", "own", "name"),
    [
        (None, None, None, "demo"),
        (None, "other", None, "other"),
        (None, None, "mine", "mine"),
        ("crew.toml", None, "mine", "demo"),
        (".", None, None, "demo"),
        ("solo", None, None, "solo"),
        ("nowhere.toml", None, None, None),
        ("bad.toml", None, None, None),
        ("pipe", None, None, None),
        ("piped", None, None, None),
    ],
)
def test_which_session_it_is_about_is_known_before_anything_is_loaded(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: str | None,
    session: str | None,
    own: str | None,
    name: str | None,
) -> None:
    (project / "bad.toml").write_bytes(b"\xff")
    os.mkfifo(project / "pipe")
    (project / "piped").mkdir()
    os.mkfifo(project / "piped" / "crew.toml")
    if own:
        monkeypatch.setenv("CREW_SESSION", own)
    assert up._likely(typed, session) == name


def test_a_blueprint_that_is_wrong_leaves_no_supervisor(project: Path, home: Path) -> None:
    (project / "crew.toml").write_text(BLUEPRINT.replace("cli =", "clj ="))
    assert crew("up").status == 2
    assert start._loaded == {}
    assert not (home / ".local").exists()


@pytest.fixture
def fake(paths: SessionPaths, project: Path, trusted: None) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(paths) as fake:
        fake.view["state"] = "down"
        team(fake, starting("boss"), starting("worker", "boss"))
        yield fake


def team(fake: FakeSupervisor, *agents: dict[str, Any]) -> None:
    """What is there once `up` was accepted."""
    names = [a["name"] for a in agents]

    def accept(_: Any) -> dict[str, Any]:
        fake.publish(state="up", root=str(Path.cwd()), agents=list(agents))
        return {"started": names, "adopted": [], "changed": [], "removed": []}

    fake.handlers["up"] = accept


def then(fake: FakeSupervisor, *steps: dict[str, Any]) -> None:
    """What changes, one by one, while somebody watches."""

    def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        stream = fake._watch(request)
        yield next(stream)
        for step in steps:
            fake.publish(**step)
            yield next(stream)
        yield from stream

    fake.streams["watch"] = watch


# -- trust -----------------------------------------------------------------------------------------


def test_what_nobody_trusted_is_not_started_without_a_terminal(
    project: Path, paths: SessionPaths
) -> None:
    refused(
        crew("up"),
        2,
        f"{project}/crew.toml is not trusted yet and nobody can be asked: "
        "look at what it runs, then say `crew up --trust`",
    )
    assert crew("up", ".", "-s", "x").err.endswith("then say `crew up --trust . -s x`\n")
    assert not paths.root.exists()


def test_trust_is_remembered(project: Path, paths: SessionPaths) -> None:
    with FakeSupervisor(paths) as fake:
        fake.view["state"] = "down"
        team(fake, agent("boss"))
        assert crew("up", "--trust").status == 0
        assert crew("up").status == 0, "trusted from now on"
        (project / "crew.toml").write_text(BLUEPRINT.replace("boss", "chief"))
        ran = crew("up")
        assert ran.status == 2, "until it is edited"
        assert "crew.toml has changed since you trusted it and nobody can be asked" in ran.err


def test_a_person_is_told_that_it_has_changed(project: Path, trusted: None) -> None:
    (project / "crew.toml").write_text(BLUEPRINT.replace("boss", "chief"))
    with Terminal("up") as terminal:
        terminal.until("Trust it [y/N]:")
        terminal.say(b"n\n")
        assert terminal.wait() == 2
    assert "would run" in terminal.shown
    assert "It has changed since you trusted it." in terminal.shown
    assert "Nobody has trusted" not in terminal.shown


@pytest.mark.parametrize(("said", "status"), [(b"\n", 2), (b"n\n", 2), (b"y\n", 0), (b"\x04", 130)])
def test_a_person_is_asked_once_and_no_is_the_default(
    project: Path, paths: SessionPaths, said: bytes, status: int
) -> None:
    with FakeSupervisor(paths) as fake:
        fake.view["state"] = "down"
        team(fake, agent("boss"))
        with Terminal("up") as terminal:
            terminal.until("Trust it [y/N]:")
            assert "would run" in terminal.shown
            assert "Nobody has trusted this yet." in terminal.shown
            terminal.say(said)
            assert terminal.wait() == status
        assert len(fake.asked("up")) == (status == 0)
        if status == 2:
            assert "crew: not trusted: nothing was started" in terminal.shown


# -- what is asked for -----------------------------------------------------------------------------


def test_up_hands_over_the_team_and_the_environment(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydantic import TypeAdapter

    from orchestrator.core.spec import TeamSpec

    monkeypatch.setenv("MINE", "caf\udce9")
    then(fake, {"agents": [agent("boss")]})
    assert crew("up").status == 0
    (asked,) = fake.asked("up")
    made = TypeAdapter(TeamSpec).validate_python(asked["team"])
    assert [a.name for a in made.agents] == ["boss", "worker"]
    assert asked["env"] == dict(os.environ)


def test_the_session_may_have_another_name(project: Path, trusted: None) -> None:
    with FakeSupervisor(session_paths("second")) as fake:
        fake.view["state"] = "down"
        team(fake, agent("boss"))
        assert crew("up", "--trust", "-s", "second").status == 0
        assert fake.asked("up")[0]["team"]["name"] == "second"


def test_another_projects_session_is_not_taken_over(fake: FakeSupervisor) -> None:
    fake.publish(state="up", root="/srv/other")
    refused(
        crew("up"),
        2,
        "session demo runs already, in /srv/other: give this one another name with -s, or end "
        "that one with `crew down -s demo`",
    )
    assert not fake.asked("up")


def test_a_directory_stands_for_its_blueprint(fake: FakeSupervisor, project: Path) -> None:
    then(fake, {"agents": [agent("boss")]})
    for named in (".", "../project", str(project)):
        assert crew("up", named).status == 0
    assert {line["team"]["blueprint"] for line in fake.asked("up")} == {f"{project}/crew.toml"}


def test_up_says_who_runs_already(fake: FakeSupervisor, project: Path) -> None:
    then(fake, {"agents": [agent("boss")]})
    done = {"started": ["a"], "adopted": ["boss", "worker"], "changed": ["b"], "removed": ["c"]}
    fake.handlers["up"] = lambda _: done
    fake.publish(state="up", root=str(project))
    first = crew("up").out.splitlines()[0]
    assert first == "demo is up: 1 started, 2 already running, 1 restarted as edited, 1 ended"


def test_several_mistakes_are_a_line_each(project: Path, paths: SessionPaths) -> None:
    (project / "crew.toml").write_text('nme = "demo"\nlayot = "x"\n' + BLUEPRINT.partition("\n")[2])
    ran = crew("up")
    assert ran.status == 2
    lines = ran.err.splitlines()
    assert len(lines) > 1
    assert all(line.startswith(f"crew: {project}/crew.toml: ") for line in lines), lines


def test_a_mistake_in_the_blueprint_starts_nothing(project: Path, paths: SessionPaths) -> None:
    (project / "crew.toml").write_text('name = "demo"\n')
    ran = crew("up")
    assert ran.status == 2
    assert ran.err.startswith(f"crew: {project}/crew.toml: agents: ")
    assert not paths.root.exists()


def test_no_tmux(
    project: Path, paths: SessionPaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = crew("up")
    assert ran.status == 2
    assert "tmux is not installed" in ran.err
    assert not paths.root.exists()


# -- waiting ---------------------------------------------------------------------------------------


def test_up_returns_when_everybody_who_waits_for_nobody_has_a_process(
    fake: FakeSupervisor,
) -> None:
    team(fake, starting("boss", "the tmux server"), starting("worker", "the tmux server"))
    then(
        fake,
        {"server": 99},
        {"agents": [starting("worker", "boss")]},
        {"agents": [agent("boss", "starting", pid=7)]},
    )
    ran = crew("up")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "demo is up: 2 started",
        "◌  boss    starting",
        "◌  worker  starting  waits for boss",
        "",
        "    crew watch        what everybody does, live",
        "    crew status       the same, once",
        "    crew attach       go to their windows",
        "    crew logs NAME    what an agent printed",
    ]


def test_wait_waits_for_everybodys_prompt(fake: FakeSupervisor) -> None:
    blocked = agent("worker", "blocked", ask=ask("Trust this directory?", k1="Yes"))
    then(
        fake,
        {"agents": [agent("boss", "starting", pid=7)]},
        {"agents": [agent("boss", "ready")]},
        {"agents": [blocked]},
    )
    ran = crew("up", "--wait")
    assert ran.status == 0
    assert "○  boss    ready\n?  worker  blocked  asks (permission): Trust" in ran.out
    assert "worker asks (permission): Trust this directory?\n    crew answer worker 1" in ran.out


@pytest.mark.parametrize("status", ["failed", "exited"])
def test_wait_names_who_failed(fake: FakeSupervisor, status: str) -> None:
    then(fake, {"agents": [agent("boss", status, pid=None, detail="exit status 127")]})
    ran = crew("up", "--wait")
    assert ran.status == 1
    told = f"not everybody is up: boss {status}: exit status 127; `crew why boss` tells more"
    assert ran.err == f"crew: {told}\n"


def test_without_wait_a_failed_launch_is_a_failure_too(fake: FakeSupervisor) -> None:
    then(fake, {"agents": [agent("boss", "failed", pid=None, detail="no such program")]})
    ran = crew("up")
    assert ran.status == 1
    told = "not everybody is up: boss failed: no such program; `crew why boss` tells more"
    assert ran.err == f"crew: {told}\n"
    assert "crew restart boss" in ran.out


@pytest.mark.parametrize("flags", [[], ["--wait"]])
def test_waiting_has_a_bound(
    fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    if flags:
        then(fake, {"agents": [agent("boss", "ready")]})
        late = "worker is starting"
    else:
        late = "boss is starting"
    over_after(monkeypatch, lambda line: "change" in line if flags else "view" in line)
    ran = crew("up", *flags, "--timeout", "60.5")
    assert ran.status == 1
    name = late.split()[0]
    told = f"not everybody is up after 60.5 s: {late}; `crew why {name}` tells more"
    assert ran.err == f"crew: {told}\n"


def test_who_is_not_wanted_is_not_waited_for(fake: FakeSupervisor) -> None:
    team(fake, agent("boss"), agent("worker", "stopped", pid=None, wanted=False))
    assert crew("up", "--wait").status == 0


def test_a_supervisor_that_says_nothing(fake: FakeSupervisor) -> None:
    fake.streams["watch"] = lambda request: _silence(fake, request)
    ran = crew("up", "--timeout", "0.2")
    refused(
        ran,
        1,
        f"the supervisor of demo did not say how the team is within 0 s: see {fake.paths.log}",
    )


def _silence(fake: FakeSupervisor, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    stream = fake._watch(request)
    next(stream)
    yield from stream


def test_up_for_scripts(fake: FakeSupervisor) -> None:
    then(fake, {"agents": [agent("boss", pid=7)]})
    printed = json.loads(crew("up", "--json").out)
    assert printed["started"] == ["boss", "worker"]
    assert [a["pid"] for a in printed["agents"]] == [7, None]
