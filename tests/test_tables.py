"""Tables of hand-written files: what is said of each mistake, and of files that are no files."""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import tables
from orchestrator.blueprints import find_blueprint, load_team
from orchestrator.core import spec
from orchestrator.errors import CrewError, SpecError
from tests.projects import ONE, Project, load_error, unprivileged, write


@pytest.fixture
def project(home: Path) -> Project:
    return Project(home)


# -- what is wrong -------------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    # keys
    (ONE + 'modle = "x"\n', "agents.boss.modle: there is no such key (did you mean 'model'?)"),
    ('nam = "t"\n' + ONE, "nam: there is no such key (did you mean 'name'?)"),
    (
        "zzz = 1\n" + ONE,
        "zzz: there is no such key: known here are name, root, layout, defaults, agents, ask",
    ),
    ('"a b\\u001b" = 1\n' + ONE, "'a b\\x1b': there is no such key: known here are name, root, "),
    (
        ONE + "[agents.restart]\nlimt = 1\n",
        "agents.boss.restart.limt: there is no such key (did you mean 'limit'?)",
    ),
    ('name = "t"\n[[agents]]\ncli = "tool"\n', "agents[0].name: is missing: add it"),
    ('name = "t"\n[[agents]]\nname = "boss"\n', "agents.boss.cli: is missing: add it"),
    (ONE.replace('name = "t"\n', ""), "name: is missing: add it"),
    ('name = "t"\n', "agents: is missing: add it"),
    (
        'name = "t"\n[defaults]\nmodle = "x"\n[[agents]]\nname = "boss"\n',
        "defaults.modle: there is no such key (did you mean 'model'?)",
    ),
    # types
    ("name = 3\n[[agents]]\n", 'name: should be text, not a number: write "3"'),
    ('name = "t"\nagents = 3\n', "agents: should be a list, not a number"),
    ('name = "t"\nagents = ["boss"]\n', "agents[0]: should be a table, not text"),
    ('name = "t"\ndefaults = 1\nagents = []\n', "defaults: should be a table, not a number"),
    (
        ONE + 'depends_on = "worker"\n',
        'agents.boss.depends_on: should be a list, not text: write ["worker"]',
    ),
    (ONE + "count = '3'\n", "agents.boss.count: should be a whole number, not text"),
    (
        ONE + "count = 1.5\n",
        "agents.boss.count: should be a whole number, not a number with a fraction",
    ),
    (ONE + "count = true\n", "agents.boss.count: should be a whole number, not true or false"),
    (ONE + "env = ['A']\n", "agents.boss.env: should be a table, not a list"),
    (ONE + "env = { A = 1 }\n", 'agents.boss.env.A: should be text, not a number: write "1"'),
    (ONE + "restart = 'no'\n", "agents.boss.restart: should be a table, not text"),
    (
        ONE + "restart = { limit = 'x' }\n",
        "agents.boss.restart.limit: should be a whole number, not text",
    ),
    (
        ONE + "restart = { window = [] }\n",
        "agents.boss.restart.window: should be a number, not a list",
    ),
    (
        ONE + "restart = { when = 'allways' }\n",
        "agents.boss.restart.when: should be one of 'on-failure', 'always', 'never' "
        "(did you mean 'always'?)",
    ),
    ('layout = "x"\n' + ONE, "layout: should be one of 'windows', 'tiled', 'main'"),
    ("layout = 1\n" + ONE, "layout: should be one of 'windows', 'tiled', 'main'"),
    (
        ONE + "prompt = 2020-01-01\n",
        "agents[0].prompt: is a date or time, which nothing here takes: put it in quotes",
    ),
    # what no program could be given, or no number hold
    (
        ONE + 'prompt = "a\\u0000"\n',
        "agents[0].prompt: holds a NUL character, which no program can be given: remove it",
    ),
    (
        ONE + f'prompt = "{"x" * 120_001}"\n',
        "agents[0].prompt: is longer than 120000 bytes, more than a program can be given",
    ),
    (
        ONE + "count = 0x1_0000_0000_0000_0000\n",
        "agents[0].count: is a number of more than 64 bits",
    ),
    (ONE + "a." * 2000 + "a = 1\n", "agents[0]: is nested more than 16 levels deep"),
    # TOML
    ("name = \n", "line 1, column 8: is not TOML: Invalid value"),
    ('a = 1\na = "', "is not TOML: Unterminated string, at the end of the file"),
    ("a = 1\na = 2\n", "line 2, column 6: is not TOML: Cannot overwrite a value"),
    ("a = " + "[" * 5000, "is nested too deeply"),
    ("#" * (256 * 1024 + 1), "is larger than 256 KiB: shorten it"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_each_mistake_has_its_sentence(project: Project, text: str, sentence: str) -> None:
    said = project.refusal(text)
    if sentence.endswith(" "):  # the rest is said by another of these
        assert said.startswith(f"P/crew.toml: {sentence}")
    else:
        assert said == f"P/crew.toml: {sentence}"


def test_several_mistakes_are_said_at_once_one_a_line(project: Project) -> None:
    said = project.refusal(ONE + "modle = 1\ncount = 'x'\nenv = 1\na = 1\nb = 2\nc = 3\n")
    assert len(said.splitlines()) == tables.PROBLEMS_MAX
    assert all(line.startswith("P/crew.toml: agents.boss.") for line in said.splitlines())


# -- files that are no files ---------------------------------------------------------------------


def test_a_file_that_may_not_be_read(project: Project) -> None:
    write(project.file, ONE).chmod(0)
    project.home.chmod(0o711)
    with unprivileged():
        said = load_error(project)
    assert said == (
        "P/crew.toml: cannot be read: you have no permission: change its mode or its owner"
    )


def test_what_is_not_a_regular_file(project: Project) -> None:
    project.file.mkdir()
    assert load_error(project) == "P/crew.toml: is a directory: a file should stand there"
    project.file.rmdir()
    os.mkfifo(project.file)
    assert load_error(project) == "P/crew.toml: is not a regular file"


def test_what_cannot_be_followed_or_understood(project: Project) -> None:
    assert load_error(project) == "P/crew.toml: there is no such file"
    project.file.symlink_to("gone.toml")
    assert load_error(project) == (
        "P/crew.toml: is a link to a file that is not there: remove it or mend it"
    )
    project.file.unlink()
    project.file.symlink_to("crew.toml")
    assert load_error(project) == ("P/crew.toml: cannot be read: Too many levels of symbolic links")
    project.file.unlink()
    project.file.write_bytes(b'name = "\xff"\n')
    assert load_error(project) == "P/crew.toml: is not UTF-8 text (byte 8): save it as UTF-8"


def test_names_of_files_cannot_act_on_a_terminal(project: Project) -> None:
    with pytest.raises(SpecError) as caught:
        find_blueprint("./\x1b]0;x\x07.toml", project.path)
    assert str(caught.value).isprintable()
    odd = project.home / os.fsdecode(b"\xff")
    write(odd / "crew.toml", ONE)
    with pytest.raises(SpecError, match=r"is not UTF-8: rename it"):
        load_team(odd / "crew.toml", cwd=odd, environ=project.environ, session=None)


# -- anything ------------------------------------------------------------------------------------

FIELDS = {
    field.name
    for cls in vars(spec).values()
    if dataclasses.is_dataclass(cls)
    for field in dataclasses.fields(cls)
}
KEYS = st.sampled_from(sorted(FIELDS | {"defaults", "count"})) | st.text(max_size=5)
LEAVES = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.sampled_from(["tool", "boss", "always", "{config}", "{", "(", "ready", "\0"])
    | st.text(max_size=8)
    | st.datetimes()
    | st.dates()
    | st.times()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=6)


def as_toml(item: Any) -> str:
    """A TOML value: the inverse of what tomllib reads."""
    match item:
        case bool():
            return "true" if item else "false"
        case str():
            # Every character by its number, so that none has to be known here.
            return '"' + "".join(f"\\U{ord(char):08X}" for char in item) + '"'
        case list():
            return f"[{', '.join(map(as_toml, item))}]"
        case dict():
            return f"{{{', '.join(f'{as_toml(k)} = {as_toml(v)}' for k, v in item.items())}}}"
        case int() | float():
            return repr(item)
        case _:
            return str(item.isoformat())


def document(table: Mapping[str, Any]) -> str:
    return "".join(f"{as_toml(key)} = {as_toml(item)}\n" for key, item in table.items())


def no_surprise(project: Project) -> None:
    """It loads, or is refused in text that a terminal can be given."""
    said = ""
    try:
        load_team(project.file, cwd=project.home, environ=project.environ, session=None)
    except CrewError as error:
        said = str(error)
    assert all(line.isprintable() for line in said.split("\n"))


def anew(home: Path) -> Project:
    shutil.rmtree(home)
    home.mkdir()
    return Project(home)


# `home` is one directory for all examples: each begins by emptying it.
@given(table=TABLES, extra=TABLES)
def test_no_table_is_a_surprise(
    home_of_examples: Path, table: dict[str, Any], extra: dict[str, Any]
) -> None:
    project = anew(home_of_examples)
    write(project.file, document(table))
    no_surprise(project)
    agent = {"name": "boss", "cli": "tool", **extra}
    write(project.file, document({"name": "t", "agents": [agent], "defaults": table}))
    no_surprise(project)


@given(table=TABLES)
def test_no_definition_is_a_surprise(home_of_examples: Path, table: dict[str, Any]) -> None:
    project = anew(home_of_examples)
    launch = {"command": ["tool"]}
    write(project.user / "agents" / "tool.toml", document({"launch": launch, **table}))
    write(project.file, ONE)
    no_surprise(project)


@given(st.binary(max_size=60))
def test_no_bytes_are_a_surprise(home_of_examples: Path, content: bytes) -> None:
    project = anew(home_of_examples)
    project.file.write_bytes(ONE.encode() + content)
    no_surprise(project)


@pytest.fixture(scope="module")
def home_of_examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """hypothesis runs many examples in one test, so a fixture of each test would not do."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("examples") / "home"
        directory.mkdir()
        patch.setenv("HOME", str(directory))
        patch.delenv("XDG_CONFIG_HOME", raising=False)
        yield directory


def test_what_a_terminal_acts_on_is_never_repeated_raw(home: Path) -> None:
    project = Project(home)
    write(project.file, 'name = "t"\nagents = "\\u007f"\n')
    no_surprise(project)
