"""What a person does wrong gets one clear sentence, the right exit status, and starts nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts import cannot
from tests.end_to_end.conftest import CREW, Crew

GOOD = '[[agents]]\nname = "a"\ncli = "demo"\n'


def refused(crew: Crew, text: str | None, *arguments: str) -> str:
    """`crew up` on this blueprint: status 2, one sentence on stderr, nothing started."""
    if text is not None:
        (crew.cwd / "crew.toml").write_text(text)
    done = crew.run(*(arguments or ("up", "--trust")), check=False)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert crew.processes() == []
    sentence = done.stderr.strip()
    assert sentence.startswith("crew: ")
    assert "\n" not in sentence
    return sentence.removeprefix("crew: ").replace(str(crew.cwd), "DIR")


def test_unknown_key(crew: Crew) -> None:
    said = refused(crew, 'name = "t"\n[[agents]]\nname = "a"\ncli = "demo"\nmodle = "x"\n')
    assert said.startswith("DIR/crew.toml: agents.a.modle: ")
    assert "'model'" in said


def test_wrong_type(crew: Crew) -> None:
    said = refused(crew, 'name = "t"\n[[agents]]\nname = "a"\ncli = "demo"\ncount = "three"\n')
    assert said.startswith("DIR/crew.toml: agents.a.count: ")


def test_syntax_error(crew: Crew) -> None:
    said = refused(crew, 'name = "t\n')
    assert said.startswith("DIR/crew.toml: ")
    assert "line 1" in said


def test_two_agents_of_one_name(crew: Crew) -> None:
    said = refused(crew, 'name = "t"\n' + GOOD + GOOD)
    assert "'a'" in said or " a " in said


def test_a_cycle(crew: Crew) -> None:
    said = refused(
        crew,
        'name = "t"\n[[agents]]\nname = "a"\ncli = "demo"\ndepends_on = ["b"]\n'
        '[[agents]]\nname = "b"\ncli = "demo"\ndepends_on = ["a"]\n',
    )
    assert " -> " in said


def test_an_agent_cli_that_is_not_installed(crew: Crew) -> None:
    agents = crew.cwd / ".crew/agents"
    agents.mkdir(parents=True)
    (agents / "nope.toml").write_text(
        'name = "nope"\n[launch]\ncommand = ["no-such-program-here"]\n'
    )
    said = refused(crew, 'name = "t"\n[[agents]]\nname = "a"\ncli = "nope"\n')
    assert "no-such-program-here" in said
    assert "not installed" in said


def test_a_root_that_does_not_exist(crew: Crew) -> None:
    said = refused(crew, 'name = "t"\nroot = "nowhere"\n' + GOOD)
    assert said.startswith("DIR/crew.toml: root: ")


@pytest.mark.parametrize("name", ["a/b", "#(touch canary)", "../x", "a b", "x" * 33, "a\\nb"])
def test_names_that_are_none(crew: Crew, name: str) -> None:
    refused(crew, f'name = "t"\n[[agents]]\nname = "{name}"\ncli = "demo"\n')
    refused(crew, f'name = "{name}"\n' + GOOD)
    refused(crew, 'name = "t"\n' + GOOD, "up", "--trust", "-s", name)
    refused(crew, None, "status", "-s", name)
    assert not (crew.cwd / "canary").exists()
    assert not (crew.home / "canary").exists()


def test_tmux_is_missing_or_too_old(crew: Crew) -> None:
    programs = crew.home / "programs"
    programs.mkdir()
    crew.env["PATH"] = str(programs)
    (crew.cwd / "crew.toml").write_text('name = "t"\n' + GOOD)
    done = crew.run("up", "--trust", check=False)
    assert done.returncode == 2
    assert "tmux is not installed" in done.stderr
    (programs / "tmux").write_text("#!/bin/sh\necho tmux 3.1c\n")
    (programs / "tmux").chmod(0o755)
    done = crew.run("up", "--trust", check=False)
    assert done.returncode == 2
    assert "3.2a" in done.stderr
    assert crew.processes() == []


def test_an_untrusted_project_runs_nothing_without_a_person(crew: Crew) -> None:
    (crew.cwd / "crew.toml").write_text('name = "t"\n' + GOOD)
    said = refused(crew, None, "up")
    assert "--trust" in said
    crew.session = "t"
    crew.run("up", "--trust", "--wait")
    crew.run("down")
    crew.run("up", "--wait")
    crew.run("down")
    (crew.cwd / "crew.toml").write_text('name = "t"\n' + GOOD + 'prompt = "other"\n')
    refused(crew, None, "up")


def test_a_state_directory_of_another_user(crew: Crew) -> None:
    if os.getuid() != 0:
        cannot("giving a directory to another user needs root", required=True)
    crew.blueprint(GOOD)
    crew.state.mkdir(parents=True, mode=0o700)
    os.chown(crew.state, 12345, 12345)
    said = refused(crew, None)
    assert "12345" in said
    assert "XDG_STATE_HOME" in said


def test_a_socket_path_that_is_too_long(crew: Crew) -> None:
    crew.blueprint(GOOD)
    crew.env["XDG_STATE_HOME"] = str(crew.home / ("long" * 30))
    said = refused(crew, None)
    assert "107" in said
    assert "XDG_STATE_HOME" in said


def test_a_verb_about_nobody(crew: Crew) -> None:
    crew.blueprint(GOOD)
    crew.up("--wait")
    for verb in (
        ["send", "x", "hello"],
        ["stop", "x"],
        ["restart", "x"],
        ["interrupt", "x"],
        ["answer", "x", "1"],
        ["why", "x"],
        ["logs", "x"],
    ):
        done = crew.run(*verb, check=False)
        assert done.returncode == 2, verb
        assert "there is no agent 'x' here: there is a" in done.stderr


def test_two_projects_of_one_name(crew: Crew) -> None:
    crew.blueprint(GOOD)
    crew.up("--wait")
    other = crew.home / "other"
    other.mkdir()
    shutil.copy(crew.cwd / "crew.toml", other)
    done = crew.run("up", "--trust", check=False, cwd=other)
    assert done.returncode == 2
    assert "-s" in done.stderr


@pytest.mark.timeout(240)
def test_a_full_disk(crew: Crew) -> None:
    """Nothing is accepted, it is said, agents run on, and it goes on by itself afterwards."""
    crew.blueprint(GOOD)
    crew.state.parent.mkdir(parents=True, mode=0o700)
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if done.returncode != 0:
        cannot("a mount namespace is not permitted")
    script = Path(__file__).with_name("full_disk.py")
    run = subprocess.run(
        ["unshare", "-m", sys.executable, str(script), str(CREW), str(crew.cwd), str(crew.state)],
        env={**crew.env, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=crew.cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
