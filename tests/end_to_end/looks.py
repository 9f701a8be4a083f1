"""Looks at a crew of real CLIs, by its socket: a process for each would slow the CLIs down."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import settings
from orchestrator.client import Client
from orchestrator.definitions import read_definition
from orchestrator.errors import CrewError
from orchestrator.locations import PACKAGE, SessionPaths
from tests.core.worlds import agent_spec
from tests.end_to_end import faults
from tests.end_to_end.claude_team import Claude
from tests.end_to_end.conftest import Crew
from tests.support import wait_until

View = dict[str, Any]
SHIPPED = PACKAGE.parent / "agents/claude.toml"


def view(crew: Crew) -> View:
    try:
        with Client.connect(SessionPaths(crew.state), start=False, environ=crew.env) as client:
            found: View = client.request("status")["view"]
            return found
    except CrewError:
        return crew.view()  # A verb brings the supervisor back, and waits for one that is busy.


def of(seen: View, agent: str) -> View:
    found: View = next(a for a in seen["agents"] if a["name"] == agent)
    return found


def wait(crew: Crew, look: Callable[[View], object], what: str, deadline: float = 30) -> View:
    """Wait until `look(view)` is true; returns that view."""
    seen: View = {}

    def found() -> object:
        seen.update(view(crew))
        return look(seen)

    try:
        wait_until(found, what, deadline)
    except AssertionError as error:
        brief = [(a["name"], a["status"], a["detail"]) for a in seen["agents"]]
        raise AssertionError(f"{error}: {brief} {seen['messages']}") from None
    return seen


def wait_status(crew: Crew, **statuses: str) -> View:
    """Wait until agents have these statuses; underscores stand for hyphens in names."""
    wanted = {name.replace("_", "-"): status for name, status in statuses.items()}

    def look(seen: View) -> bool:
        return all(of(seen, name)["status"] == status for name, status in wanted.items())

    return wait(crew, look, f"{wanted}")


def settled(crew: Crew) -> View:
    """Wait until everybody is ready and has every message."""
    return wait(
        crew,
        lambda seen: not seen["messages"] and all(a["status"] == "ready" for a in seen["agents"]),
        "everybody is ready and has every message",
    )


def asked(claude: Claude, agent: str, text: str) -> View:
    """What the agent asks, once it is about `text` and the screen has shown its choices."""

    def look(seen: View) -> object:
        ask = of(seen, agent)["ask"]
        return ask and text in ask["text"] and ask["options"]

    ask: View = of(wait(claude.crew, look, f"{agent} asks: {text}"), agent)["ask"]
    return ask


def up(claude: Claude, blueprint: str) -> None:
    claude.blueprint(blueprint)
    claude.crew("up", "--trust", "--wait")


def said(claude: Claude, agent: str) -> tuple[str, ...]:
    """The prompts in the history of the agent's newest request."""
    conversation = claude.conversation(agent)
    return next(r for r in claude.api.requests[::-1] if r.conversation == conversation).prompts


def own_hooks(claude: Claude) -> tuple[Path, Path]:
    """Let the CLIs of this project run copies of our hook scripts; returns the copies."""
    copies = claude.root / "hook", claude.root / "asking.py"
    cli = read_definition("claude", SHIPPED)
    whole = settings.build(cli, agent_spec("boss"), str(claude.root), Path("/nowhere"))
    text = json.dumps(whole)
    for script, copy in zip((settings.HOOK, settings.ASKING), copies, strict=True):
        shutil.copy(script, copy)
        text = text.replace(str(script), str(copy))
    (claude.root / "hooks.json").write_text(text)
    shipped = SHIPPED.read_text()
    changed = shipped.replace('"{settings}"', '"{root}/hooks.json"')
    assert changed != shipped
    faults.define(claude.crew, "claude", changed)
    return copies
