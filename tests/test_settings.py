"""The one settings file of an agent: what is in it, and what of the person's stays in force."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.core.spec import (
    AgentSpec,
    CliSpec,
    HooksSpec,
    KeysSpec,
    LaunchSpec,
    PermissionsSpec,
    ScreenSpec,
)
from orchestrator.errors import UserError
from tests.core.worlds import agent_spec

LINE = Path("/s/boss.status-line")


def cli(**fields: Any) -> CliSpec:
    given: dict[str, Any] = {
        "name": "tool",
        "launch": LaunchSpec(command=("tool",), settings=("--settings", "{settings}"), env={}),
        "hooks": HooksSpec(dialect="claude", events=("Stop",)),
        "settings": {"tui": "default"},
        "screen": ScreenSpec(),
        "keys": KeysSpec(answers={}),
    }
    return CliSpec(**{**given, **fields})


def boss(*arguments: str, **fields: Any) -> AgentSpec:
    return agent_spec("boss", arguments=arguments, **fields)


def test_hooks_and_the_definitions_settings_are_one_file() -> None:
    made = settings.build(cli(), boss(), "/r", LINE)
    command = f"{settings.HOOK} Stop"
    hook = {"type": "command", "command": command, "timeout": settings.HOOK_TIMEOUT}
    assert made == {"tui": "default", "hooks": {"Stop": [{"hooks": [hook]}]}}


def test_permissions_and_directories_of_the_blueprint() -> None:
    rules = PermissionsSpec(allow=("Bash(crew send:*)",), ask=("Write",))
    agent = boss(permissions=rules, add_dirs=("/data",))
    made = settings.build(cli(), agent, "/r", LINE)
    assert made["permissions"] == {
        "allow": ["Bash(crew send:*)"],
        "ask": ["Write"],
        "additionalDirectories": ["/data"],
    }


@pytest.mark.parametrize("form", ["two words", "one word", "file", "relative file"])
def test_the_agents_own_settings_are_merged_in_not_lost(form: str, tmp_path: Path) -> None:
    own = {
        "tui": "fullscreen",
        "permissions": {"allow": ["Read"]},
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]},
    }
    text = json.dumps(own)
    file = tmp_path / "own.json"
    file.write_text(text)
    given = {"file": str(file), "relative file": "own.json"}.get(form, text)
    words = [f"--settings={given}"] if form == "one word" else ["--settings", given]
    agent = boss("-x", *words, "-y", permissions=PermissionsSpec(allow=("Write", "Read")))
    made = settings.build(cli(), agent, str(tmp_path), LINE)
    assert made["tui"] == "fullscreen", "the person's own word goes before the definition's"
    assert made["permissions"]["allow"] == ["Read", "Write"]
    commands = [hook["hooks"][0]["command"] for hook in made["hooks"]["Stop"]]
    assert commands == ["mine", f"{settings.HOOK} Stop"]
    assert settings.without(cli(), agent.arguments) == ("-x", "-y")


def test_what_is_behind_two_dashes_is_no_option() -> None:
    agent = boss("--", "--settings", "{}")
    assert settings.given(cli(), agent.arguments) == []
    assert settings.without(cli(), agent.arguments) == ("--", "--settings", "{}")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{", "agent boss: --settings: is not JSON"),
        ("gone.json", "gone.json: cannot be read: No such file"),
        ("list.json", "list.json: is not a table of settings"),
    ],
)
def test_settings_that_cannot_be_read(given: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match=sentence):
        settings.build(cli(), boss("--settings", given), str(tmp_path), LINE)


def test_the_hook_that_may_answer_waits_as_long_as_its_dialog() -> None:
    hooks = HooksSpec(dialect="claude", events=("Stop", "PermissionRequest"), answers=True)
    made = settings.build(cli(hooks=hooks), boss(), "/r", LINE)
    (asking,) = made["hooks"]["PermissionRequest"][0]["hooks"]
    assert asking["timeout"] == settings.ASKING_TIMEOUT
    assert asking["command"].endswith(str(settings.ASKING))
    (other,) = made["hooks"]["Stop"][0]["hooks"]
    assert other["timeout"] == settings.HOOK_TIMEOUT


# -- the status line ------------------------------------------------------------------------------

LINES = HooksSpec(dialect="claude", events=(), status_line=True)


def line(command: str) -> str:
    return json.dumps({"statusLine": {"type": "command", "command": command}})


def test_the_status_line_in_force_without_ours_is_found(tmp_path: Path) -> None:
    root, config = tmp_path / "p", tmp_path / "c"
    (root / ".claude").mkdir(parents=True)
    config.mkdir()

    def own(*arguments: str) -> str | None:
        return settings.own_status_line(cli(hooks=LINES), boss(*arguments), str(root), str(config))

    assert own() is None
    (config / "settings.json").write_text("{half")
    assert own() is None
    (config / "settings.json").write_text(line("the person's"))
    assert own() == "the person's"
    (root / ".claude/settings.json").write_text(line("the project's"))
    assert own() == "the project's"
    (root / ".claude/settings.local.json").write_text(line("the local one"))
    assert own() == "the local one"
    assert own("--settings", line("the agent's")) == "the agent's"


@pytest.mark.parametrize("own", ["", "cat; printf ' and more'"])
def test_the_status_line_is_told_and_the_persons_own_is_shown(own: str, tmp_path: Path) -> None:
    spool, file = tmp_path / "spool", tmp_path / "it's a line"
    for part in ("new", "tmp"):
        (spool / part).mkdir(parents=True)
    file.write_text(own)
    made = settings.build(cli(hooks=LINES), boss(), "/r", file)
    state = '{"cost": {"total_cost_usd": 1}, "text": "back\\\\slash $(x) %s"}'
    done = subprocess.run(
        ["/bin/sh", "-c", made["statusLine"]["command"]],
        input=state,
        env={"PATH": "/usr/bin:/bin", "CREW_SPOOL": f"{spool}", "CREW_AGENT": "a", "CREW_RUN": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (told,) = (spool / "new").iterdir()
    assert told.name.startswith("a.1.StatusLine.")
    assert json.loads(told.read_text()) == json.loads(state)
    assert done.stdout == (f"{state}\n and more" if own else "")
    assert done.stderr == ""
