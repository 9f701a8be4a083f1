"""Command lines and environments, put together from definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import launch
from orchestrator.core.spec import (
    AgentSpec,
    CliSpec,
    KeysSpec,
    LaunchSpec,
    RestartPolicy,
    ScreenSpec,
    StatusFileSpec,
)
from orchestrator.errors import UserError

ALL = {"conversation": "c-1", "settings": "/s.json", "root": "/home/dev/my project"}


def cli(**parts: tuple[str, ...]) -> CliSpec:
    spec = LaunchSpec(**{"command": ("tool",), "env": {}, **parts})  # type: ignore[arg-type]  # by name
    return CliSpec(name="tool", launch=spec, screen=ScreenSpec(), keys=KeysSpec(answers={}))


def agent(**given: object) -> AgentSpec:
    base = {"name": "boss", "cli": "tool", "env": {}, "restart": RestartPolicy()}
    return AgentSpec(**{**base, **given})  # type: ignore[arg-type]  # by name


WHOLE = cli(
    fresh=("--session-id", "{conversation}"),
    resume=("--resume", "{conversation}"),
    role=("--role", "{role_prompt}"),
    model=("--model={model}",),
    mode=("--mode", "{mode}"),
    settings=("--settings", "{settings}"),
)


def test_every_part_in_order_and_own_arguments_last() -> None:
    whole = agent(role_prompt="lead", model="m", mode="plan", arguments=("-v", "{model}"))
    argv = launch.build_argv(WHOLE, whole, values=ALL, resume=False)
    assert " ".join(argv) == (
        "tool --session-id c-1 --role lead --model=m --mode plan --settings /s.json -v {model}"
    )


def test_resume_takes_the_place_of_fresh() -> None:
    argv = launch.build_argv(WHOLE, agent(), values=ALL, resume=True)
    assert argv == ["tool", "--resume", "c-1", "--settings", "/s.json"]


def test_a_cli_that_cannot_resume_starts_fresh() -> None:
    plain = cli(fresh=("--session-id", "{conversation}"))
    argv = launch.build_argv(plain, agent(), values=ALL, resume=True)
    assert argv == ["tool", "--session-id", "c-1"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_part_without_a_value_is_left_out_whole(nothing: str | None) -> None:
    values = {"conversation": nothing, "settings": "/s.json"}
    argv = launch.build_argv(WHOLE, agent(model=nothing), values=values, resume=False)
    assert argv == ["tool", "--settings", "/s.json"]


def test_values_go_before_what_the_agent_has() -> None:
    values = {**ALL, "role_prompt": "noted", "settings": None}
    argv = launch.build_argv(WHOLE, agent(role_prompt="lead"), values=values, resume=False)
    assert argv[-2:] == ["--role", "noted"]


def test_a_command_without_its_value_is_an_error() -> None:
    with pytest.raises(UserError) as caught:
        launch.build_argv(cli(command=("{shell}",)), agent(), values={}, resume=False)
    assert str(caught.value) == (
        "agent boss: the command of the agent CLI 'tool' needs {shell}, which has no value here"
    )


def test_json_stands_and_values_are_not_looked_at_again() -> None:
    text = '{"tui":"{name}","a":{"b":1}}'
    assert launch.fill(text, {"name": "{root}", "root": "/"}) == '{"tui":"{root}","a":{"b":1}}'


def test_root_slug_is_made_of_the_root() -> None:
    slug = cli(command=("tool", "{root_slug}"))
    argv = launch.build_argv(slug, agent(), values=ALL, resume=False)
    assert argv == ["tool", "-home-dev-my-project"]


def test_environment_of_the_definition_then_of_the_agent() -> None:
    env = {"A": "{name}", "B": "{model}", "C": "cli"}
    spec = cli(env=env)  # type: ignore[arg-type]  # a mapping, not a part
    got = launch.build_environment(spec, agent(env={"C": "{own}"}), values={})
    assert got == {"A": "boss", "C": "{own}"}


def test_pid_is_known_in_the_status_file_alone() -> None:
    spec = CliSpec(
        name="tool",
        config_dir="~/.tool",
        launch=WHOLE.launch,
        status_file=StatusFileSpec(path="{config}/{pid}.json", states={}),
        screen=ScreenSpec(),
        keys=KeysSpec(answers={}),
    )
    known = {at: names for at, _, names in launch.templates(spec)}
    assert "pid" in known[("status_file", "path")]
    assert all("pid" not in names for at, names in known.items() if at[0] == "launch")
    assert "config" not in known[("config_dir",)]
    assert launch.taken(spec) == {"conversation", "role_prompt", "model", "mode", "settings"}


@given(st.text(), st.dictionaries(st.sampled_from(sorted(launch.KNOWN)), st.text()))
def test_filling_any_text_leaves_what_is_not_a_placeholder(
    text: str, values: dict[str, str]
) -> None:
    if not launch.placeholders(text):
        assert launch.fill(text, values) == text
    for name, filled in values.items():
        assert launch.fill(f"<{{{name}}}>", values) == f"<{filled}>"
