"""What a blueprint gives an agent beyond its CLI's own settings: rules, directories, servers."""

from pathlib import Path

import pytest

from orchestrator.core.spec import PermissionsSpec
from orchestrator.trust import would_run
from tests.projects import Project, write

AGENT = """
settings = { tui = "default" }
mode = "careful"
[launch]
command = ["tool"]
mode = ["--mode", "{mode}"]
settings = ["--settings", "{settings}"]
mcp = ["--mcp-config", "{mcp}"]
[hooks]
dialect = "claude"
events = ["Stop"]
[[screen.patterns]]
match = "trust"
status = "blocked"
name = "trust"
"""
ONE = 'name = "t"\n[[agents]]\nname = "boss"\ncli = "agent"\n'


@pytest.fixture
def project(home: Path) -> Project:
    project = Project(home)
    write(project.user / "agents" / "agent.toml", AGENT)
    return project


def test_everything_that_can_be_given(project: Project) -> None:
    (project.path / "data").mkdir()
    (project.home / "notes").mkdir()
    team = project.load(
        'name = "t"\n[defaults]\ncli = "agent"\npermissions = { allow = ["Read"] }\n'
        '[[agents]]\nname = "boss"\nadd_dirs = ["data", "~/notes"]\ntrust_folder = true\n'
        'permissions = { deny = ["Bash"] }\nmcp_servers = { docs = { command = "serve" } }\n'
    )
    (boss,) = team.agents
    assert boss.permissions == PermissionsSpec(allow=("Read",), deny=("Bash",))
    assert boss.add_dirs == (f"{project.path}/data", f"{project.home}/notes")
    assert boss.mcp_servers == {"docs": {"command": "serve"}}
    # Whoever is asked to trust the blueprint is shown all of it.
    shown = "\n".join(would_run(team, project.environ).lines())
    for line in (
        "may unasked: Read",
        "may not: Bash",
        f"may also work in: {project.path}/data, {project.home}/notes",
        'MCP server docs: {"command": "serve"}',
        "says yes to the question whether the folder is trusted",
        "--mode careful",
        "--mcp-config '{mcp}'",
    ):
        assert line in shown


def test_settings_of_the_agents_own_are_a_file_of_the_team(project: Project) -> None:
    own = write(project.path / "own.json", '{"tui": "fullscreen"}')
    team = project.load(ONE + 'arguments = ["--settings", "own.json"]\n')
    assert str(own) in team.files, "an edit of it is noticed"
    write(own, '{"hooks": {}}')
    again = project.load(ONE + 'arguments = ["--settings", "own.json"]\n')
    assert again.digest != team.digest, "it decides what runs"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('add_dirs = ["gone"]', "agents.boss.add_dirs[0]: P/gone is not a directory: make it"),
        (
            'arguments = ["--settings", "gone.json"]',
            "agents.boss.arguments: agent boss: P/gone.json: cannot be read: No such file",
        ),
        (
            'permissions = { alow = ["x"] }',
            "agents.boss.permissions.alow: there is no such key (did you mean 'allow'?)",
        ),
        ('permissions = { allow = "x" }', "agents.boss.permissions.allow: should be a list"),
        ("trust_folder = 1", "agents.boss.trust_folder: "),
    ],
)
def test_each_mistake_has_its_sentence(project: Project, line: str, sentence: str) -> None:
    refusal = project.refusal(f"{ONE}{line}\n")
    assert sentence in refusal


@pytest.mark.parametrize(
    "line",
    [
        'permissions = { allow = ["x"] }',
        'add_dirs = ["."]',
        'mcp_servers = { docs = { command = "serve" } }',
        "trust_folder = true",
    ],
)
def test_what_a_cli_cannot_be_given_is_refused_not_dropped(project: Project, line: str) -> None:
    key = line.partition(" ")[0]
    refusal = project.refusal(f'name = "t"\n[[agents]]\nname = "boss"\ncli = "tool"\n{line}\n')
    assert f"agents.boss.{key}: the agent CLI 'tool' takes no {key}: remove it" in refusal
