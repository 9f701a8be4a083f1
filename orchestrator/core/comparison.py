"""What a blueprint would change in a session, and what `crew up` would do about it. Pure.

The deeds are not worked out a second time: the reducer is asked, and nothing of it is done.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal

from orchestrator.core.effects import Reply
from orchestrator.core.events import UpRequested
from orchestrator.core.reducer import reduce_safely
from orchestrator.core.spec import AgentSpec, CliSpec, TeamSpec, WarmSpec
from orchestrator.core.state import SessionState, Status, World
from orchestrator.core.values import value

Kind = Literal["added", "removed", "changed", "same"]
Deed = Literal["starts", "restarts", "adopts", "ends"]

# What the answer to `crew up` calls each deed.
ANSWERED: Mapping[str, Deed] = {
    "started": "starts",
    "changed": "restarts",
    "adopted": "adopts",
    "removed": "ends",
}
# Their values may be secrets: a key, a token in the environment of an MCP server.
_SECRET = frozenset({"env", "mcp_servers"})
# No request of a person can have this id.
_ASKED = "comparison"


@value
class Change:
    """A key that differs, dotted. `shown` is its old and its new value, None for none, as JSON has
    them; None where values are not to be shown.
    """

    key: str
    kind: Kind
    shown: tuple[Any, Any] | None = None


@value
class Difference:
    """One agent, in the blueprint or in the session.

    `kind` is about the blueprint alone. `status`: what it does now; None for one that is not
    there. `up`: what `crew up` would do to it; None for nothing. `resumes`: with its conversation.
    """

    name: str
    kind: Kind
    spec: AgentSpec
    status: Status | None
    up: Deed | None
    resumes: bool
    changes: tuple[Change, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether it is, or does, anything else than the blueprint says."""
        return self.kind != "same" or self.up != "adopts" or self.status is Status.STOPPING


@value
class Comparison:
    """A blueprint against a session. `refused`: why `crew up` would do nothing."""

    state: SessionState
    root: Change | None
    layout: Change | None
    # What is asked ahead.
    warm: Change | None
    agents: tuple[Difference, ...]
    refused: str | None

    @property
    def same(self) -> bool:
        """Whether what runs is what the blueprint says."""
        return self.state is SessionState.UP and not (
            self.root or self.layout or self.warm or any(agent.differs for agent in self.agents)
        )


def compare(world: World, team: TeamSpec) -> Comparison:
    """`team`, whole and checked, against the session as it is."""
    before = world.team
    root = _changed("root", before.root, team.root) if before else None
    layout = _changed("layout", before.layout, team.layout) if before else None
    after, deeds, refused = _asked(world, team)
    if root and world.state is not SessionState.DOWN:
        refused = f"it runs already, in {root.shown[0] if root.shown else ''}"
    agents = []
    for spec in (*team.agents, *_gone(world, team)):
        old = world.agents.get(spec.name)
        new = after.agents.get(spec.name)
        kind, changes = _kind(world, team, spec)
        agents.append(
            Difference(
                name=spec.name,
                kind=kind,
                spec=spec,
                status=old.status if old else None,
                up=None if refused else deeds.get(spec.name),
                resumes=new is not None and new.begun,
                changes=changes,
            )
        )
    return Comparison(
        state=world.state,
        root=root,
        layout=layout,
        warm=_of_warm(before.warm, team.warm) if before else None,
        agents=tuple(agents),
        refused=refused,
    )


def _asked(world: World, team: TeamSpec) -> tuple[World, dict[str, Deed], str | None]:
    """The world after `crew up`, what it would do to whom, and why it would not, if so."""
    asked = UpRequested(
        at=0.0,
        mono=0.0,
        source="person",
        team=team,
        conversations={agent.name: "" for agent in team.agents},
        request=_ASKED,
    )
    after, effects = reduce_safely(world, asked)
    answers = (e for e in effects if isinstance(e, Reply) and e.request == _ASKED)
    answer = next(answers, None)
    if answer is None or answer.exit != 0:
        return world, {}, str(answer.body["error"]) if answer else "it gives no answer"
    deeds = {name: deed for key, deed in ANSWERED.items() for name in answer.body[key]}
    return after, deeds, None


def _gone(world: World, team: TeamSpec) -> list[AgentSpec]:
    """Who is in the session and not in the blueprint."""
    names = {spec.name for spec in team.agents}
    return [agent.spec for name, agent in world.agents.items() if name not in names]


def _kind(world: World, team: TeamSpec, spec: AgentSpec) -> tuple[Kind, tuple[Change, ...]]:
    old = world.agents.get(spec.name)
    if old is None:
        return "added", ()
    if all(spec.name != each.name for each in team.agents):
        return "removed", ()
    changes = list(_of_agent(old.spec, spec))
    cli = world.team.clis.get(spec.cli) if world.team else None
    if cli is not None and old.spec.cli == spec.cli:
        changes += _of_definition(cli, team.clis[spec.cli])
    return ("changed" if changes else "same"), tuple(changes)


# -- keys ------------------------------------------------------------------------------------------


def _changed(key: str, old: object, new: object) -> Change | None:
    """A key with its values; None if they are the same."""
    if old == new:
        return None
    return Change(key=key, kind="changed", shown=(_plain(old), _plain(new)))


def _plain(item: object) -> object:
    return list(item) if isinstance(item, tuple) else item


def _of_warm(old: Sequence[WarmSpec], new: Sequence[WarmSpec]) -> Change | None:
    """By the prompts alone, where these tell."""
    prompts = [[warm.prompt for warm in each] for each in (old, new)]
    change = _changed("ask.warm", *prompts)
    if change is None and tuple(old) != tuple(new):
        return Change(key="ask.warm", kind="changed")
    return change


def _of_agent(old: AgentSpec, new: AgentSpec) -> Iterator[Change]:
    for field in fields(AgentSpec):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name in _SECRET:
            yield from _hidden(field.name, before, after)
        elif is_dataclass(before):
            for inner in fields(before):
                key = f"{field.name}.{inner.name}"
                change = _changed(key, getattr(before, inner.name), getattr(after, inner.name))
                yield from (change,) if change else ()
        elif change := _changed(field.name, before, after):
            yield change


def _hidden(at: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    """The names whose values differ, and never the values."""
    for name in (*new, *(name for name in old if name not in new)):
        if name not in old:
            yield Change(key=f"{at}.{name}", kind="added")
        elif name not in new:
            yield Change(key=f"{at}.{name}", kind="removed")
        elif old[name] != new[name]:
            yield Change(key=f"{at}.{name}", kind="changed")


def _of_definition(old: CliSpec, new: CliSpec) -> Iterator[Change]:
    """The keys of the agent CLI's own file that differ. Its environment can hold secrets, and
    its patterns are long: no values.
    """
    at = f"definition {new.name}"
    if old != new:
        yield from _below(at, asdict(old), asdict(new))


def _below(at: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for change in _hidden(at, old, new):
        name = change.key.removeprefix(f"{at}.")
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _below(change.key, before, after)
        else:
            yield change
