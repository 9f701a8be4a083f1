"""Blueprints: what is found, what is put together, and what is said of each mistake."""

import re
from pathlib import Path

import pytest

from orchestrator import locations
from orchestrator.blueprints import find_blueprint, load_team
from orchestrator.core.spec import RestartPolicy
from orchestrator.errors import UserError
from tests.projects import ONE, TOOL, Project, program, write


@pytest.fixture
def project(home: Path) -> Project:
    return Project(home)


# -- what is put together ------------------------------------------------------------------------


def test_a_small_team(project: Project) -> None:
    team = project.load(ONE)
    assert (team.name, team.root, team.layout) == ("t", str(project.path), "windows")
    assert [agent.name for agent in team.agents] == ["boss"]
    assert team.agents[0].restart == RestartPolicy()
    assert team.clis["tool"].launch.command == ("tool",)
    assert team.files == (str(project.file), str(project.user / "agents" / "tool.toml"))
    assert re.fullmatch("[0-9a-f]{64}", team.digest)


def test_a_session_name_replaces_the_blueprints_and_leaves_the_digest(project: Project) -> None:
    other = project.load(ONE, session="other")
    assert other.name == "other"
    assert other.digest == project.load(ONE).digest
    with pytest.raises(UserError, match="session name 'a b' is not allowed"):
        project.load(ONE, session="a b")


def test_count_numbers_the_names_and_depends_on_means_them_all(project: Project) -> None:
    team = project.load(
        ONE
        + 'depends_on = ["worker", "single", "worker-1"]\n'
        + '[[agents]]\nname = "worker"\ncli = "tool"\ncount = 3\n'
        + '[[agents]]\nname = "single"\ncli = "tool"\ncount = 1\ndepends_on = ["worker-2"]\n'
    )
    assert [agent.name for agent in team.agents] == (
        ["boss", "worker-1", "worker-2", "worker-3", "single-1"]
    )
    assert team.agents[0].depends_on == ("worker-1", "worker-2", "worker-3", "single-1")
    assert team.agents[4].depends_on == ("worker-2",)


def test_defaults_are_under_each_agent(project: Project) -> None:
    team = project.load(
        'name = "t"\n[defaults]\ncli = "tool"\nmodel = "m"\nmode = "plan"\nrole_prompt = "Hm."\n'
        'env = { A = "1", B = "1" }\nrestart = { limit = 2, window = 9 }\n'
        '[[agents]]\nname = "a"\nenv = { B = "2" }\nrole_prompt = "Own."\nrole = "label"\n'
        '[[agents]]\nname = "b"\ncli = "plain"\nmodel = ""\nmode = ""\nrole_prompt = ""\n'
        "[agents.restart]\nlimit = 7\n"
    )
    a, b = team.agents
    assert (a.model, a.mode, a.role, a.role_prompt) == ("m", "plan", "label", "Own.")
    assert a.env == {"A": "1", "B": "2"}
    assert (a.restart.limit, b.restart.limit, b.restart.window) == (2, 7, 9.0)
    assert (b.model, b.mode, b.role_prompt) == (None, None, "")


def test_the_root_of_a_project_and_of_a_users_blueprint(project: Project) -> None:
    (project.path / "sub").mkdir()
    assert project.load('root = "sub"\n' + ONE).root == str(project.path / "sub")
    assert project.load('root = "~/p"\n' + ONE).root == str(project.path)
    mine = write(project.user / "sessions" / "mine.toml", ONE)
    team = load_team(mine, cwd=project.path, environ=project.environ, session=None)
    assert team.root == str(project.path)


def test_only_a_projects_own_blueprint_sees_its_layer(project: Project) -> None:
    write(project.path / ".crew" / "agents" / "tool.toml", TOOL.replace('"tool"', '"/bin/true"'))
    mine = write(project.user / "sessions" / "mine.toml", ONE)
    team = load_team(mine, cwd=project.path, environ=project.environ, session=None)
    assert team.clis["tool"].launch.command == ("tool",)
    assert project.load(ONE).clis["tool"].launch.command == ("/bin/true",)


def test_a_role_in_a_directory_and_a_role_that_is_a_label(project: Project) -> None:
    write(project.path / ".crew" / "roles" / "team" / "lead.md", "Lead.")
    assert project.load(ONE + 'role = "team/lead"\n').agents[0].role_prompt == "Lead."
    label = project.load(ONE.replace("tool", "plain") + 'role = "the log"\n').agents[0]
    assert (label.role, label.role_prompt) == ("the log", "")


def test_find_blueprint(project: Project) -> None:
    shipped = locations.builtin() / "sessions"
    assert find_blueprint(None, project.path) == shipped / "demo.toml"
    own = write(project.file, ONE)
    assert find_blueprint(None, project.path) == own
    assert find_blueprint("p/crew.toml", project.home) == own
    assert find_blueprint("./crew.toml", project.path) == project.path / "crew.toml"
    mine = write(project.user / "sessions" / "mine.toml", ONE)
    assert find_blueprint("mine", project.path) == mine


def test_a_directory_stands_for_the_blueprint_in_it(project: Project) -> None:
    own = write(project.file, ONE)
    (project.path / "sub").mkdir()
    for argument, cwd in (
        (".", project.path),
        ("./", project.path),
        ("p", project.home),
        ("p/", project.home),
        (str(project.path), project.home),
        ("..", project.path / "sub"),
    ):
        assert find_blueprint(argument, cwd) == own, argument
    mine = write(project.user / "sessions" / "p.toml", ONE)
    assert find_blueprint("p", project.home) == mine, "a name goes before a directory"


def test_find_blueprint_that_is_not_there(project: Project) -> None:
    write(project.user / "sessions" / "mine.toml", ONE)
    with pytest.raises(UserError) as caught:
        find_blueprint("mime", project.path)
    assert str(caught.value) == (
        "there is no blueprint 'mime' (did you mean 'mine'?): looked for mime.toml in "
        f"{project.user}/sessions and {locations.builtin()}/sessions: "
        "there is boss-and-workers, demo, mine, solo"
    )
    with pytest.raises(UserError, match=r"no/such\.toml: there is no such file"):
        find_blueprint("no/such.toml", project.path)
    with pytest.raises(UserError, match=r"p/crew\.toml: there is no such file"):
        find_blueprint("./p", project.home)
    with pytest.raises(UserError, match=r"blueprint name 'a b' is not allowed"):
        find_blueprint("a b", project.home)
    (project.path / "crew.toml").mkdir()
    with pytest.raises(UserError, match=r"p/crew\.toml: is a directory: name a file in it"):
        find_blueprint("./p", project.home)


def test_digest_follows_what_runs_and_nothing_else(project: Project) -> None:
    first = project.load(ONE).digest
    assert project.load("# a remark\n" + ONE + 'env = {}\nmodel = ""\n').digest == first
    assert project.load(ONE + 'arguments = ["-x"]\n').digest != first
    write(project.user / "agents" / "tool.toml", TOOL + 'settings = ["-y"]\n')
    assert project.load(ONE).digest != first


# -- what is wrong -------------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    # the list of agents and its defaults
    ('name = "t"\nagents = []\n', "agents: is empty: a team has at least one agent"),
    (
        'name = "t"\n[defaults]\nname = "x"\n[[agents]]\nname = "boss"\n',
        "defaults.name: each agent has a name of its own: move it there",
    ),
    # values
    (
        ONE.replace('"t"', '"../t"'),
        "name: session name '../t' is not allowed: use 1 to 32 letters, digits, '_' and '-', "
        "the first a letter or digit",
    ),
    (
        ONE.replace("boss", "a;b"),
        "agents[0].name: agent name 'a;b' is not allowed: use 1 to 32 letters, digits, '_' and "
        "'-', the first a letter or digit",
    ),
    (ONE + "count = 0\n", "agents.boss.count: should be from 1 to 1000"),
    (ONE + "count = 1001\n", "agents.boss.count: should be from 1 to 1000"),
    (
        ONE.replace("boss", "b" * 31) + "count = 2\n",
        f"agents.{'b' * 31}.name: '{'b' * 31}-2' would be longer than 32 characters: shorten it",
    ),
    (
        ONE + "count = 600\n" + '[[agents]]\nname = "b"\ncli = "tool"\ncount = 600\n',
        "agents: are 1200 agents, more than 1000: lower a count",
    ),
    (
        ONE + '[[agents]]\nname = "boss"\ncli = "tool"\n',
        "agents.boss.name: two agents would be called 'boss': rename one",
    ),
    (
        ONE + 'count = 2\n[[agents]]\nname = "boss-2"\ncli = "tool"\n',
        "agents.boss-2.name: two agents would be called 'boss-2': rename one",
    ),
    (
        ONE + "restart = { window = nan }\n",
        "agents.boss.restart.window: should be a number of seconds, 0 or more",
    ),
    (
        ONE + "restart = { backoff = -1 }\n",
        "agents.boss.restart.backoff: should be a number of seconds, 0 or more",
    ),
    (ONE + "restart = { limit = -1 }\n", "agents.boss.restart.limit: should be 0 or more"),
    (
        ONE + "restart = { backoff = 400 }\n",
        "agents.boss.restart.backoff: is longer than backoff_max (300 s): lower it",
    ),
    (
        ONE + "env = { 'A-B' = 'x' }\n",
        "agents.boss.env.A-B: cannot be the name of a variable: use letters, digits and '_'",
    ),
    # depends_on
    (
        ONE + "depends_on = ['wroker']\n[[agents]]\nname = 'worker'\ncli = 'tool'\ncount = 2\n",
        "agents.boss.depends_on: there is no agent 'wroker' (did you mean 'worker'?) in this team",
    ),
    (
        ONE + "depends_on = ['boss']\n",
        "agents.boss.depends_on: goes in a circle: boss -> boss: remove one of them",
    ),
    (
        ONE
        + "depends_on = ['a']\n[[agents]]\nname = 'a'\ncli = 'tool'\ndepends_on = ['b']\n"
        + "[[agents]]\nname = 'b'\ncli = 'tool'\ndepends_on = ['boss']\n",
        "agents.boss.depends_on: goes in a circle: boss -> a -> b -> boss: remove one of them",
    ),
    # what it refers to
    (
        ONE.replace("tool", "toll"),
        "agents.boss.cli: there is no agent CLI 'toll' (did you mean 'tool'?): looked for "
        "toll.toml in P/.crew/agents and U/agents and B/agents",
    ),
    (
        ONE.replace("tool", "../tool"),
        "agents.boss.cli: agent CLI name '../tool' is not allowed: use 1 to 32 letters, digits, "
        "'_' and '-', the first a letter or digit",
    ),
    (
        'root = "none"\n' + ONE,
        "root: P/none cannot be used: No such file or directory: make it, or change root",
    ),
    ('root = "crew.toml"\n' + ONE, "root: P/crew.toml is not a directory: change root"),
    (
        ONE + 'role = "zz"\n',
        "agents.boss.role: there is no role 'zz': looked for zz.md in P/.crew/roles and "
        "U/agents/roles and B/agents/roles: write it, or give role_prompt",
    ),
    (
        ONE + 'role = "../../etc/passwd"\n',
        "agents.boss.role: '../../etc/passwd' cannot name a role file: use letters, digits, '_' "
        "and '-'",
    ),
    (
        ONE + 'role = "a/b"\nrole_prompt = "x"\n',
        "agents.boss.role: names a file, and role_prompt gives another prompt: keep one of them",
    ),
    (
        ONE + 'role = "a\\nb"\n',
        "agents.boss.role: should be one line of up to 64 characters",
    ),
    (
        ONE.replace("tool", "plain") + 'mode = "plan"\n',
        "agents.boss.mode: the agent CLI 'plain' takes no mode: remove it, or set mode = \"\" "
        "for this agent",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_each_mistake_has_its_sentence(project: Project, text: str, sentence: str) -> None:
    said = project.refusal(text).replace(str(locations.builtin()), "B")
    assert said == f"P/crew.toml: {sentence}"


def test_a_program_that_is_not_installed(project: Project) -> None:
    (project.home / "bin" / "tool").unlink()
    assert project.refusal(ONE) == (
        "P/crew.toml: agents.boss.cli: tool is not installed: install it, or put its directory "
        "on PATH"
    )
    program(project.home / "other" / "tool")
    team = project.load(ONE + f"env = {{ PATH = '{project.home}/other' }}\n")
    assert team.agents[0].env["PATH"].endswith("/other")


def test_a_program_of_the_project(project: Project) -> None:
    write(project.path / ".crew" / "agents" / "tool.toml", TOOL.replace('"tool"', '"bin/mine"'))
    assert project.refusal(ONE).endswith("bin/mine is not installed: it is looked for below P")
    program(project.path / "bin" / "mine")
    assert project.load(ONE).clis["tool"].launch.command == ("bin/mine",)
