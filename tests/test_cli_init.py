"""init: what is written, what is asked, what is trusted, and what is never replaced."""

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import trust
from orchestrator.blueprints import load_team
from orchestrator.core.spec import AgentSpec, TeamSpec
from orchestrator.entries import Entry
from orchestrator.locations import builtin, config_root, trust_file
from orchestrator.verbs.template import AGENT, MORE, TOP, toml
from tests.cli_support import crew, refused
from tests.projects import program, write
from tests.terminal import Terminal

SHIPPED = sorted(file.stem for file in (builtin() / "sessions").glob("*.toml"))


@pytest.fixture
def cwd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the working directory, and nothing but a `claude` on the PATH."""
    directory = home / "my project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    program(home / "bin" / "claude")
    monkeypatch.setenv("PATH", str(home / "bin"))
    return directory


def load(file: Path) -> TeamSpec:
    return load_team(file, cwd=file.parent, environ=os.environ, session=None)


def agents(file: Path) -> list[str]:
    return [agent.name for agent in load(file).agents]


def names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


# -- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_written_is_the_blueprint_with_a_comment_for_each_key(cwd: Path, name: str) -> None:
    ran = crew("init", "--from", name)
    assert (ran.status, ran.err) == (0, "")
    file = cwd / "crew.toml"
    made, source = load(file), load(builtin() / "sessions" / f"{name}.toml")
    assert made.agents == source.agents
    assert (made.name, made.root, made.layout) == ("my-project", str(cwd), source.layout)
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert "# " in line or lines[number - 1].startswith("# "), line
    assert ran.out.splitlines()[-1].split("    ")[1:] == ["crew up", "launches it"]
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask(), "a file of the person's own"
    assert names(cwd) == ["crew.toml"], "nothing is left of how it was written"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_every_key_has_a_comment() -> None:
    assert {*AGENT} == {*Entry.__dataclass_fields__} >= {*AgentSpec.__dataclass_fields__}
    assert {*MORE} < {*AGENT}
    assert {*TOP} == {"name", "root", "layout"}


def test_the_answers_may_all_be_flags(cwd: Path, home: Path) -> None:
    words = ("--from", "boss-and-workers", "--name", "x", "--cli", "shell", "--workers", "2")
    ran = crew("init", "../new/project", *words)
    assert ran.out.splitlines() == [
        "wrote ../new/project/crew.toml: session x, from boss-and-workers",
        "left out, being in another CLI's words: permissions",
        "",
        "    crew up ../new/project    launches it",
    ]
    file = home / "new" / "project" / "crew.toml"
    assert agents(file) == ["boss", "worker-1", "worker-2"]
    assert {agent.cli for agent in load(file).agents} == {"shell"}
    # The session may be named as for every other verb; a word may be the name of a blueprint.
    assert crew("-s", "y", "init", "demo", "--from", "demo").out.endswith(
        "crew up ./demo    launches it\n"
    )
    assert load(cwd / "demo" / "crew.toml").name == "y"


def test_what_nobody_says_is_as_usual(cwd: Path, home: Path) -> None:
    said = "as usual, for nobody said otherwise: --from boss-and-workers, --name my-project, "
    assert said + "--workers 3\n" in crew("init").out
    (home / "bin" / "claude").unlink()
    assert "otherwise: --from demo, --name my-project\n" in crew("init", "--force").out
    ran = crew("init", "--force", "--from", "solo")
    assert ran.status == 0, "it is written, for where claude is installed"
    assert ran.err.startswith(f"crew: `crew up` does not take it yet: {cwd}/crew.toml: agents.")
    assert "claude is not installed" in ran.err


@pytest.mark.parametrize(
    ("directory", "name"), [("-x- ü.y", "x-y"), ("---", "crew"), ("a" * 40, "a" * 32)]
)
def test_the_name_is_the_directorys_as_far_as_it_can_be(
    cwd: Path, directory: str, name: str
) -> None:
    assert crew("init", f"./{directory}", "--from", "demo").status == 0
    assert load(cwd / directory / "crew.toml").name == name


def test_a_blueprint_of_ones_own_may_be_the_start(cwd: Path) -> None:
    write(
        config_root() / "sessions" / "mine.toml",
        '# Mine. All of it.\nname = "m"\nlayout = "tiled"\n[[agents]]\nname = "a"\ncli = "shell"\n'
        'prompt = "two\\nlines \\"and\\" a \\u007f"\narguments = ["-i"]\n'
        '[agents.env]\nA = "x=y"\n[agents.restart]\nwhen = "never"\nbackoff = 0.5\n'
        '[ask]\nwarm = ["What is it?", { prompt = "And how?", input = ["README.md"] }]\n',
    )
    ran = crew("init", "--from", "mine", "--name", "m")
    assert (ran.status, ran.err) == (0, "")
    made = load(cwd / "crew.toml")
    source = load(config_root() / "sessions" / "mine.toml")
    assert (made.agents, made.layout) == (source.agents, "tiled")
    assert [each.prompt for each in made.warm] == ["What is it?", "And how?"]
    assert made.warm == source.warm
    assert "# From the blueprint mine. Mine.\n" in (cwd / "crew.toml").read_text()
    # Only what another CLI would not understand is left out.
    assert crew("init", "--force", "--from", "mine", "--cli", "demo").status == 0
    (agent,) = load(cwd / "crew.toml").agents
    assert (agent.cli, agent.arguments, agent.env) == ("demo", (), {"A": "x=y"})


JSONS = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSONS)
def test_what_is_written_as_toml_is_read_as_it_was(item: object) -> None:
    assert tomllib.loads(f"x = {toml(item)}") == {"x": item}


# -- what is asked ---------------------------------------------------------------------------------


def test_a_person_is_asked_three_things(cwd: Path) -> None:
    with Terminal("init", COLUMNS="80") as terminal:
        terminal.until("Team [boss-and-workers]:")
        for name in SHIPPED:
            assert f"  {name}  " in terminal.shown
        assert "…" not in terminal.shown, "no line about a team is cut off"
        terminal.say(b"9\n")
        terminal.until("say a number from 1 to 3, or a name")
        terminal.say(b"1\n")
        terminal.until("Name of the session [my-project]:")
        terminal.say(b"a b\n")
        terminal.until("is not allowed")
        terminal.say(b"team\n")
        terminal.until("How many workers [3]:")
        terminal.say(b"0\n")
        terminal.until("should be a whole number, 1 or more")
        terminal.say(b"2\n")
        assert terminal.wait() == 0
    assert agents(cwd / "crew.toml") == ["boss", "worker-1", "worker-2"]
    assert load(cwd / "crew.toml").name == "team"


def test_a_person_who_leaves_gets_no_file(cwd: Path) -> None:
    with Terminal("init") as terminal:
        terminal.until("Team [")
        terminal.say(b"\x04")
        assert terminal.wait() == 130
    assert not names(cwd)


def test_with_yes_nothing_is_asked(cwd: Path) -> None:
    with Terminal("init", "--yes") as terminal:
        assert terminal.wait() == 0
    assert "--workers 3" in terminal.shown


# -- what is trusted -------------------------------------------------------------------------------


def test_what_was_just_written_is_trusted_and_no_edit_of_it(cwd: Path) -> None:
    assert crew("init", "--from", "demo").status == 0
    file = cwd / "crew.toml"
    assert trust.is_trusted(load(file))
    assert stat.S_IMODE(trust_file().stat().st_mode) == 0o600
    file.write_text(file.read_text().replace("Count the lines", "Count the words"))
    assert not trust.is_trusted(load(file))


def test_what_lay_in_the_project_already_is_not_trusted(cwd: Path) -> None:
    """A directory that somebody else made may have a definition called as a shipped one."""
    write(cwd / ".crew" / "agents" / "shell.toml", '[launch]\ncommand = ["/bin/evil"]\n')
    assert crew("init", "--from", "demo", "--cli", "shell").status == 0
    assert not trust.is_trusted(load(cwd / "crew.toml"))
    assert not trust_file().exists()


def test_a_blueprint_of_somebody_elses_is_not_trusted(cwd: Path, home: Path) -> None:
    write(home / "other" / "crew.toml", 'name = "o"\n[[agents]]\nname = "a"\ncli = "shell"\n')
    assert crew("init", "--from", "../other").status == 0
    assert not trust.is_trusted(load(cwd / "crew.toml"))


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["file", "link", "directory"])
def test_nothing_is_replaced_unless_it_is_said(cwd: Path, there: str) -> None:
    file = cwd / "crew.toml"
    match there:
        case "file":
            file.write_text("mine")
        case "link":
            file.symlink_to("nowhere")
        case _:
            file.mkdir()
    refused(
        crew("init", "--from", "demo"),
        2,
        "crew.toml is there already: edit it, or say --force to replace it",
    )
    forced = crew("init", "--from", "demo", "--force")
    if there == "directory":
        refused(forced, 1, "crew.toml: cannot be written: Is a directory")
    else:
        assert forced.status == 0
        assert agents(file) == ["boss", "worker-1", "worker-2"]
    assert names(cwd) == ["crew.toml"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from", "dem"), "there is no blueprint 'dem' (did you mean 'demo'?): looked for "),
        (("--cli", "shel"), "there is no agent CLI 'shel' (did you mean 'shell'?): looked for "),
        (("--name", "a b"), "session name 'a b' is not allowed: use 1 to 32 letters"),
        (("--workers", "0"), "--workers: should be a whole number, 1 or more, not '0': see "),
        (("--from", "solo", "--workers", "2"), "solo has no workers to be counted: leave out "),
        (
            ("--froce",),
            "there is no option --froce (did you mean --force?): see `crew init --help`",
        ),
        (("file",), "file is not a directory"),
        (("--from", "./broken.toml"), "broken.toml: agents: is missing: add it"),
        (("--from", "./empty.toml"), "empty.toml: agents: is empty: a team has at least one"),
    ],
)
def test_a_mistake_is_a_sentence_and_writes_nothing(
    cwd: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    write(cwd / "file", "")
    write(cwd / "broken.toml", 'name = "x"\n')
    write(cwd / "empty.toml", 'name = "x"\nagents = []\n')
    ran = crew("init", *arguments)
    assert ran.status == 2
    assert sentence in ran.err
    assert ran.err.startswith("crew: ")
    assert ran.err.count("\n") == 1
    assert not (cwd / "crew.toml").exists()
