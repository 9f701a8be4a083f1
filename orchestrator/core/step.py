"""The work of one `reduce`: the world so far and the effects so far. Lives for one call only."""

from dataclasses import replace
from typing import Any

from orchestrator.core.effects import AnyEffect, Reply
from orchestrator.core.state import Agent, Message, MessageState, World


class Step:
    """Collects the changes of one event. Each mapping is copied at most once per event."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.effects: list[AnyEffect] = []
        self._owned: set[str] = set()

    def set(self, **changes: Any) -> None:
        """Change fields of the world itself."""
        self.world = replace(self.world, **changes)

    def do(self, *effects: AnyEffect) -> None:
        self.effects.extend(effects)

    def reply(self, request: str, **body: Any) -> None:
        self.do(Reply(request=request, exit=0, body=body))

    def refuse(self, request: str, sentence: str, *, mistake: bool = False) -> None:
        """Answer a request with why it is not done; `mistake`: the user's."""
        self.do(Reply(request=request, exit=2 if mistake else 1, body={"error": sentence}))

    def _own(self, field: str) -> Any:
        mapping = getattr(self.world, field)
        if field not in self._owned:
            mapping = dict(mapping)
            self._owned.add(field)
            self.set(**{field: mapping})
        return mapping

    def put(self, agent: Agent) -> Agent:
        self._own("agents")[agent.name] = agent
        return agent

    def count_run(self, name: str, run: int) -> None:
        self._own("runs")[name] = run

    def drop_agent(self, name: str) -> None:
        self._own("agents").pop(name, None)

    def deadline(self, name: str, mono: float | None) -> None:
        """Set (or with None clear) the time at which `DeadlinePassed(name)` is due."""
        if mono is None:
            if name in self.world.deadlines:
                self._own("deadlines").pop(name)
        else:
            self._own("deadlines")[name] = mono

    def keep(self, message: Message) -> Message:
        self._own("messages")[message.number] = message
        return message

    def forget(self, number: int) -> None:
        self._own("messages").pop(number, None)

    def messages_to(self, agent: str, *states: MessageState) -> list[Message]:
        """Pending messages to `agent` in one of `states`, in the order of their delivery."""
        found = [m for m in self.world.messages.values() if m.to == agent and m.state in states]
        return sorted(found, key=lambda m: (not m.first, m.number))
