"""Definitions and roles: the layers, what wins, and what is said of each mistake."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator import locations
from orchestrator.blueprints import load_team
from orchestrator.core.spec import CliSpec, PriceSpec, PricesSpec, ScreenOverride
from orchestrator.definitions import layer_of, load_definition
from orchestrator.errors import SpecError
from tests.projects import ONE, PLAIN, TOOL, Project, load_error, unprivileged, write
from tests.support import alive, wait_until


@pytest.fixture
def project(home: Path) -> Project:
    return Project(home)


# -- layers ---------------------------------------------------------------------------------------


def test_layers_and_links(project: Project) -> None:
    assert layer_of(locations.builtin() / "agents" / "shell.toml") == "shipped"
    assert layer_of(project.user / "sessions" / "x.toml") == "user"
    assert layer_of(project.file) == "project"
    assert layer_of(project.user / "agents" / ".." / ".." / ".." / "x.toml") == "project"
    # A directory of the user's that is a link stays the user's.
    elsewhere = project.home / "dotfiles"
    shutil.move(project.user, elsewhere)
    project.user.symlink_to(elsewhere)
    assert layer_of(project.user / "agents" / "tool.toml") == "user"
    # A project's link is the project's, whatever it points to.
    project.file.symlink_to(write(elsewhere / "sessions" / "team.toml", ONE))
    assert layer_of(project.file) == "project"
    team = load_team(project.file, cwd=project.home, environ=project.environ, session=None)
    assert (team.root, team.blueprint) == (str(project.path), str(project.file))


def test_the_nearest_layer_wins_for_definitions_and_roles(project: Project) -> None:
    role = ONE + 'role = "lead"\n'
    write(project.user / "agents" / "roles" / "lead.md", "The user's.")
    assert project.load(role).agents[0].role_prompt == "The user's."
    near = write(project.path / ".crew" / "roles" / "lead.md", "The project's.\n")
    team = project.load(role)
    assert team.agents[0].role_prompt == "The project's.\n"
    assert team.files[-1] == str(near)
    write(project.user / "agents" / "shell.toml", PLAIN)
    assert load_definition("shell", None).launch.command == ("/bin/cat",)


def test_a_directory_that_may_not_be_read_hides_nothing(project: Project) -> None:
    near = write(project.path / ".crew" / "agents" / "tool.toml", TOOL).parent
    write(project.file, ONE)
    project.home.chmod(0o711)
    near.chmod(0)
    with unprivileged():
        said = load_error(project)
    assert said.startswith("P/.crew/agents/tool.toml: cannot be read: you have no permission")


def test_a_broken_link_does_not_let_the_next_layer_in(project: Project) -> None:
    write(project.user / "agents" / "roles" / "lead.md", "The user's.")
    (project.path / ".crew" / "roles").mkdir(parents=True)
    (project.path / ".crew" / "roles" / "lead.md").symlink_to("gone.md")
    assert project.refusal(ONE + 'role = "lead"\n').startswith("P/.crew/roles/lead.md: is a link")


# -- what is wrong -------------------------------------------------------------------------------


PRICED = (
    "[prices]\ndated = '2026-11-01'\n"
    "[prices.models.m]\ninput = 1\noutput = 2\ncache_write = 1.5\ncache_read = {}\n"
)
VERSIONED = (
    PLAIN + "[screen]\nversions = ['2.1.197', '2.1.329']\n"
    "[[screen.patterns]]\nmatch = 'x'\nstatus = 'ready'\n"
)
WRONG_DEFINITIONS: list[tuple[str, str]] = [
    ("summary = 'x'\n", "launch.command: is missing: add it"),
    ("[launch]\ncommand = []\n", "launch.command: is empty: its first word is the program to run"),
    ("[lunch]\n" + PLAIN, "lunch: there is no such key (did you mean 'launch'?)"),
    (
        "name = 'x'\n" + PLAIN,
        "name: is 'x' in a file called bad.toml: make them the same",
    ),
    (
        PLAIN + "model = ['{modle}']\n",
        "launch.model[0]: there is no placeholder {modle} (did you mean 'model'?)",
    ),
    (
        PLAIN + "fresh = ['{pid}']\n",
        "launch.fresh[0]: there is no placeholder {pid}: known here are {config}, "
        "{conversation}, {mcp}, {mode}, {model}, {name}, {package}, {python}, {role_prompt}, "
        "{root}, {root_slug}, {settings}, {shell}, {state}",
    ),
    (
        PLAIN + "[transcript]\npath = '{config}/x'\n",
        "config_dir: is missing: {config} is used and stands for it: add it",
    ),
    (
        PLAIN + "[[screen.patterns]]\nmatch = '('\nstatus = 'ready'\n",
        "screen.patterns[0].match: is not a regular expression: missing ), unterminated "
        "subpattern at position 0",
    ),
    (
        PLAIN + "[[screen.patterns]]\nmatch = 'x'\nstatus = 'redy'\n",
        "screen.patterns[0].status: should be one of 'starting', 'ready', 'working', 'blocked', "
        "'limited' (did you mean 'ready'?)",
    ),
    (PLAIN + "[screen]\ncomposer = '> '\n", "screen.composer: has no group (?P<draft>...): add it"),
    (
        PLAIN + "[screen]\noption = '(?P<key>1)'\n",
        "screen.option: has no group (?P<label>...): add it",
    ),
    (PLAIN + "[screen]\nlines = 0\n", "screen.lines: should be 1 or more"),
    (
        PLAIN + "[screen]\nversions = ['2.1.329', 'v2']\n",
        "screen.versions[1]: 'v2' is not a version: write its numbers alone, as in 2.1.329",
    ),
    (
        VERSIONED + "since = '2.x'\n",
        "screen.patterns[0].since: '2.x' is not a version: write its numbers alone, as in 2.1.329",
    ),
    (
        VERSIONED + "until = 2.1\n",
        'screen.patterns[0].until: should be text, not a number with a fraction: write "2.1"',
    ),
    (
        VERSIONED + "since = '2.1.300'\nuntil = '2.1.299'\n",
        "screen.patterns[0]: holds for no version: 2.1.300 is newer than 2.1.299",
    ),
    (
        VERSIONED + "since = '2.1.200'\nuntil = '2.1.300'\n",
        "screen.patterns[0]: holds for none of screen.versions, 2.1.197, 2.1.329",
    ),
    (
        VERSIONED.replace("versions", "#") + "since = '2.1.200'\n",
        "screen.patterns[0]: is for some versions only: add screen.versions, those that all this "
        "is meant for",
    ),
    (
        VERSIONED + "[[screen.overrides]]\nuntil = '1.9'\noption = '(?P<key>1)'\n",
        "screen.overrides[0].option: has no group (?P<label>...): add it\n"
        "FILE: screen.overrides[0]: holds for none of screen.versions, 2.1.197, 2.1.329",
    ),
    (
        VERSIONED + "[[screen.overrides]]\nsince = '2.1.329'\n",
        "screen.overrides[0]: overrides nothing: add one of composer, interruptible, option, or "
        "remove it",
    ),
    (
        PLAIN + "[keys]\nsubmit = ['a b']\n",
        'keys.submit[0]: is not the name of a key, such as "Enter" or "C-c"',
    ),
    (
        PLAIN + "[keys.answers]\nyes = '*'\n",
        "keys.answers.yes: is not a regular expression: nothing to repeat at position 0",
    ),
    (
        PLAIN + "[hooks]\ndialect = 'clod'\nevents = []\n",
        "hooks.dialect: should be one of 'claude' (did you mean 'claude'?)",
    ),
    (
        PLAIN + "[prices]\ndated = 'last week'\n",
        "prices.dated: 'last week' is not a date: write it as 2026-11-30",
    ),
    (
        PLAIN + "[prices]\ndated = '2026-02-30'\n",
        "prices.dated: '2026-02-30' is not a date: write it as 2026-11-30",
    ),
    (
        PLAIN + PRICED.format("-0.1"),
        "prices.models.m.cache_read: is no price: it should be 0 or more, USD per million tokens",
    ),
    (
        PLAIN + PRICED.format("inf"),
        "prices.models.m.cache_read: is no price: it should be 0 or more, USD per million tokens",
    ),
    (PLAIN + PRICED.format("'1'"), "prices.models.m.cache_read: should be a number, not text"),
    ("config_env = 'A B'\n" + PLAIN, "config_env: 'A B' cannot be the name of a variable"),
]


def test_prices_of_a_definition(project: Project) -> None:
    write(project.user / "agents" / "paid.toml", PLAIN + PRICED.format(0))
    prices = load_definition("paid", None).prices
    price = PriceSpec(input=1, output=2, cache_write=1.5, cache_read=0)
    assert prices == PricesSpec(dated="2026-11-01", models={"m": price})


def test_screens_of_some_versions_only(project: Project) -> None:
    override = "[[screen.overrides]]\nsince = '2.1.300'\ncomposer = '^> (?P<draft>.*)'\n"
    text = VERSIONED + "since = '2.1.197'\nuntil = '2.1.197'\n" + override
    write(project.user / "agents" / "some.toml", text)
    screen = load_definition("some", None).screen
    assert screen.versions == ("2.1.197", "2.1.329")
    assert [(each.since, each.until) for each in screen.patterns] == [("2.1.197", "2.1.197")]
    assert screen.overrides == (ScreenOverride(since="2.1.300", composer="^> (?P<draft>.*)"),)


@pytest.mark.parametrize(("text", "sentence"), WRONG_DEFINITIONS)
def test_each_mistake_in_a_definition(project: Project, text: str, sentence: str) -> None:
    file = write(project.user / "agents" / "bad.toml", text)
    with pytest.raises(SpecError) as caught:
        load_definition("bad", None)
    assert str(caught.value).replace(str(file), "FILE") == f"FILE: {sentence}"


def test_a_role_file_that_no_program_could_be_given(project: Project) -> None:
    role = write(project.path / ".crew" / "roles" / "lead.md", "x" * 120_001)
    assert "is longer than 120000 bytes" in project.refusal(ONE + 'role = "lead"\n')
    role.write_text("a\0b")
    assert "holds a NUL character" in project.refusal(ONE + 'role = "lead"\n')


# -- what is shipped and what is written about it ------------------------------------------------


def examples(readme: Path) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", readme.read_text(), re.S)


def test_the_examples_of_the_readmes_load(project: Project) -> None:
    (definition,) = examples(locations.builtin() / "agents" / "README.md")
    write(project.user / "agents" / "example.toml", definition)
    cli = load_definition("example", None)
    # Complete: every field is shown.
    assert all(getattr(cli, name) for name in CliSpec.__dataclass_fields__)
    (blueprint,) = examples(locations.builtin() / "sessions" / "README.md")
    assert [agent.name for agent in project.load(blueprint).agents] == (
        ["server", "worker-1", "worker-2", "worker-3", "reviewer"]
    )


def reading(lines: list[str]) -> str | None:
    """What the shell's definition makes of the last line that is not blank."""
    screen = load_definition("shell", None).screen
    filled = [line for line in lines if line.strip()][-screen.lines :]
    for pattern in screen.patterns:
        if any(re.search(pattern.match, line) for line in filled):
            return pattern.status
    return None


@pytest.mark.parametrize(
    ("line", "status", "draft"),
    [
        ("user@host:~$", "ready", ""),
        ("user@host:~$ ", "ready", ""),
        ("host%", "ready", ""),
        ("# ls -l > x", "working", "ls -l > x"),
        ("downloaded 45%", "working", None),
        ("costs $5", "working", None),
        ("", None, None),
    ],
)
def test_how_the_shell_is_read(
    home: Path, line: str, status: str | None, draft: str | None
) -> None:
    assert reading([line]) == status
    composer = load_definition("shell", None).screen.composer
    assert composer is not None
    found = re.search(composer, line)
    assert (found["draft"] if found else None) == draft


def test_a_real_shell_is_working_and_then_ready(home: Path) -> None:
    socket = str(home / "tmux.sock")

    def tmux(*command: str) -> str:
        argv = ["tmux", "-S", socket, "-f", "/dev/null", *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def status() -> str | None:
        return reading(tmux("capture-pane", "-p", "-e", "-t", "%0").split("\n"))

    tmux("new-session", "-d", "-x", "80", "-y", "24", "--", "/bin/sh")
    server = int(tmux("display-message", "-p", "#{pid}"))
    try:
        wait_until(lambda: status() == "ready", "the prompt")
        tmux("send-keys", "-t", "%0", "echo going on; read answer", "Enter")
        wait_until(lambda: status() == "working", "the command's output")
        tmux("send-keys", "-t", "%0", "Enter")
        wait_until(lambda: status() == "ready", "the prompt again")
    finally:
        tmux("kill-server")
        wait_until(lambda: not alive(server), "the end of the server")
