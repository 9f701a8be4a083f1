"""Trust: nothing of a project's runs unseen, and any change of what would run asks again."""

import json
import logging
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator import locations, trust
from orchestrator.blueprints import load_team
from orchestrator.core.spec import TeamSpec
from orchestrator.errors import StorageError

TOOL = """
[launch]
command = ["cat"]
fresh = ["--new", "{conversation}"]
resume = ["--again", "{conversation}"]
role = ["--role", "{role_prompt}"]
model = ["--model", "{model}"]
mode = ["--mode", "{mode}"]
env = { IN = "{root}", LACKS = "{settings}" }
"""
TEAM = """
name = "t"
[defaults]
cli = "tool"
[[agents]]
name = "boss"
role = "lead"
mode = "bypass"
prompt = "Begin.\\u001b]52;c;x\\u0007"
env = { TOKEN = "a b" }
[[agents]]
name = "worker"
count = 3
model = "small"
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def project(home: Path) -> Path:
    write(home / "p" / ".crew" / "roles" / "lead.md", "Lead the others.\n")
    write(locations.config_root() / "agents" / "tool.toml", TOOL)
    write(home / "p" / "crew.toml", TEAM)
    return home / "p"


def load(file: Path) -> TeamSpec:
    return load_team(file, cwd=file.parent, environ={"PATH": "/usr/bin:/bin"}, session=None)


def test_a_project_is_trusted_once_it_was_said(project: Path) -> None:
    team = load(project / "crew.toml")
    assert trust.needs_trust(team)
    assert not trust.is_trusted(team)
    assert not locations.trust_file().exists()
    trust.trust(team)
    assert trust.is_trusted(load(project / "crew.toml"))


def test_a_file_that_was_trusted_and_edited_is_known(project: Path) -> None:
    file = str(project / "crew.toml")
    assert not trust.was_trusted(file)
    trust.trust(load(project / "crew.toml"))
    write(project / "crew.toml", TEAM.replace("bypass", "plan"))
    assert not trust.is_trusted(load(project / "crew.toml"))
    assert trust.was_trusted(file)
    assert not trust.was_trusted(str(project / "other.toml"))


CHANGES = {
    "the role": (".crew/roles/lead.md", "Lead the others.", "Lead the 0thers."),
    "the mode": ("crew.toml", "bypass", "bypast"),
    "a variable": ("crew.toml", "a b", "a c"),
    "the message": ("crew.toml", "Begin.", "Begun."),
    "the count": ("crew.toml", "count = 3", "count = 4"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_byte_of_what_runs_asks_again(project: Path, change: str) -> None:
    trust.trust(load(project / "crew.toml"))
    name, old, new = CHANGES[change]
    file = project / name
    write(file, file.read_text().replace(old, new))
    assert not trust.is_trusted(load(project / "crew.toml"))
    write(file, file.read_text().replace(new, old))
    assert trust.is_trusted(load(project / "crew.toml"))


def test_a_change_of_the_users_own_definition_asks_again_too(project: Path) -> None:
    trust.trust(load(project / "crew.toml"))
    write(locations.config_root() / "agents" / "tool.toml", TOOL.replace("--new", "--now"))
    assert not trust.is_trusted(load(project / "crew.toml"))


def test_the_same_files_elsewhere_are_not_trusted(project: Path) -> None:
    trust.trust(load(project / "crew.toml"))
    moved = project.rename(project.with_name("q"))
    assert not trust.is_trusted(load(moved / "crew.toml"))


def test_a_link_in_a_project_to_what_needs_no_trust_needs_it(project: Path) -> None:
    mine = write(
        locations.config_root() / "sessions" / "mine.toml",
        """
name = "mine"
[[agents]]
name = "a"
cli = "tool"
""",
    )
    assert trust.is_trusted(load(mine))
    link = project / "link.toml"
    link.symlink_to(mine)
    team = load(link)
    assert not trust.is_trusted(team)
    shown = list(trust.would_run(team, {}).lines())
    assert f"  project  {link} -> {mine}" in shown


def test_the_plan_says_what_would_run(project: Path) -> None:
    environ = {"PATH": "/nowhere:/usr/bin:/bin", "SHELL": "/bin/zsh"}
    plan = trust.would_run(load(project / "crew.toml"), environ)
    boss, workers = plan.agents
    cat = boss.command[0]
    assert cat in ("/usr/bin/cat", "/bin/cat")
    assert boss.command[1:] == (
        *("--new", "{conversation}", "--role", "{role_prompt}", "--mode", "bypass"),
    )
    assert boss.mode == "bypass"
    assert boss.environment == (("IN", str(project)), ("TOKEN", "a b"))
    assert workers.names == ("worker-1", "worker-2", "worker-3")
    assert list(plan.lines()) == [
        f"{project}/crew.toml would run, in {project}:",
        f"  boss (tool): {cat} --new '{{conversation}}' --role '{{role_prompt}}' --mode bypass",
        f"    to resume: {cat} --again '{{conversation}}' --role '{{role_prompt}}' --mode bypass",
        "    mode: bypass",
        f"    environment: IN={project}",
        "    environment: TOKEN='a b'",
        "    role lead: Lead the others.\\n",
        "    first message: Begin.\\x1b]52;c;x\\x07",
        f"  worker-1 … worker-3 (3 agents) (tool): {cat} --new '{{conversation}}' --model small",
        f"    to resume: {cat} --again '{{conversation}}' --model small",
        f"    environment: IN={project}",
        "by these files:",
        f"  project  {project}/crew.toml",
        f"  user     {locations.config_root()}/agents/tool.toml",
        f"  project  {project}/.crew/roles/lead.md",
    ]


def test_a_long_prompt_is_cut_and_its_length_said(project: Path) -> None:
    write(project / ".crew" / "roles" / "lead.md", "x" * 5000)
    lines = list(trust.would_run(load(project / "crew.toml"), {}).lines())
    assert f"    role lead: {'x' * 300}… (5000 characters)" in lines


def test_the_file_is_private_and_whole(project: Path) -> None:
    team = load(project / "crew.toml")
    trust.trust(team)
    file = locations.trust_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    (entry,) = json.loads(file.read_text()).items()
    assert entry[0] == team.digest
    assert entry[1]["blueprint"] == str(project / "crew.toml")
    assert sorted(path.name for path in file.parent.iterdir()) == [".trusted.json", ".trusted.lock"]


def test_of_many_that_trust_at_once_none_is_lost(project: Path) -> None:
    teams = [load(write(project / f"{n}.toml", TEAM.replace("a b", str(n)))) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(trust.trust, teams))
    assert all(map(trust.is_trusted, teams))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": {"blueprint": "b"}}', "\0"])
def test_a_damaged_file_counts_as_empty_is_kept_and_said(
    project: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    team = load(project / "crew.toml")
    trust.trust(team)
    file = locations.trust_file()
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert not trust.is_trusted(team)
    (aside,) = file.parent.glob(".trusted.json.*")
    assert aside.read_text() == content
    assert caplog.messages == [
        f"{file}: it is damaged: it is kept as {aside.name}, and nothing is trusted"
    ]
    trust.trust(team)
    assert trust.is_trusted(team)


def test_a_file_that_others_could_have_written_is_not_believed(project: Path) -> None:
    team = load(project / "crew.toml")
    trust.trust(team)
    locations.trust_file().chmod(0o622)
    assert not trust.is_trusted(team)


def test_a_file_that_cannot_be_read_or_replaced_is_said(project: Path) -> None:
    team = load(project / "crew.toml")
    locations.trust_file().mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        trust.is_trusted(team)
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        trust.trust(team)
    assert list(locations.trust_file().iterdir()) == []


def test_a_write_that_fails_leaves_what_was_there(project: Path) -> None:
    first = load(project / "crew.toml")
    trust.trust(first)
    before = sorted(locations.trust_file().parent.iterdir())
    second = load(write(project / "crew.toml", TEAM.replace("small", "large")))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # bytes: as a full disk, half way
    try:
        with pytest.raises(StorageError, match="cannot be written: File too large"):
            trust.trust(second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(locations.trust_file().parent.iterdir()) == before
    assert trust.is_trusted(first)
    assert not trust.is_trusted(second)
