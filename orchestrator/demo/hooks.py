"""Hooks: the commands of a settings file that are told what happens, in order, one at a time.

No hook can disturb the agent: one that is missing, fails or says something odd is as good as one
that did nothing, and one that takes too long is killed.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .children import Child

# Seconds, for a hook that gives no time of its own.
TIMEOUT = 60.0


class Decision(NamedTuple):
    """What a hook answers in the person's place, and what it has the agent told."""

    behavior: Literal["allow", "deny"]
    message: str = ""


class Hook(NamedTuple):
    """One command; `matcher`, a regular expression, limits it to the tools that it names."""

    command: str
    timeout: float = TIMEOUT
    matcher: str = ""

    def wants(self, tool: str | None) -> bool:
        if self.matcher in ("", "*") or tool is None:
            return True
        try:
            return re.fullmatch(self.matcher, tool) is not None
        except re.error:
            return False


class SettingsError(Exception):
    """The settings file cannot be used; the text is for the person."""


def load(path: Path) -> dict[str, list[Hook]]:
    """The hooks of a settings file, by event; what is not of their shape is passed over."""
    try:
        settings = json.loads(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"Settings file not found: {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"Settings file is not JSON: {path}: {error}") from error
    events = settings.get("hooks") if isinstance(settings, dict) else None
    return {
        event: list(_commands(groups))
        for event, groups in (events if isinstance(events, dict) else {}).items()
    }


def _commands(groups: object) -> Iterator[Hook]:
    for group in groups if isinstance(groups, list) else ():
        found = group.get("hooks") if isinstance(group, dict) else None
        for hook in found if isinstance(found, list) else ():
            if isinstance(hook, dict) and isinstance(hook.get("command"), str):
                timeout, matcher = hook.get("timeout"), group.get("matcher")
                yield Hook(
                    hook["command"],
                    float(timeout) if isinstance(timeout, int | float) else TIMEOUT,
                    matcher if isinstance(matcher, str) else "",
                )


class HookRun:
    """All commands of one event, one after the other."""

    def __init__(self, hooks: list[Hook], payload: bytes) -> None:
        self._left = deque(hooks)
        self._payload = payload
        self._child: Child | None = None
        self.decision: Decision | None = None

    @property
    def done(self) -> bool:
        return self._child is None and not self._left

    @property
    def due(self) -> float | None:
        """When the command that runs is to be killed."""
        return self._child.due if self._child else None

    def poll(self) -> None:
        """Take the end of a command, start the next."""
        while not self.done:
            if self._child is None:
                hook = self._left.popleft()
                self._child = Child(["sh", "-c", hook.command], self._payload, hook.timeout)
            if not self._child.ended():
                return
            self.decision = self.decision or _decision(self._child.output())
            self._child = None

    def kill(self) -> None:
        self._left.clear()
        if self._child:
            self._child.kill()
            self._child = None


class Hooks:
    """Runs hooks in the order of their events.

    One that may take as long as a person does (`aside`) runs beside the others: it answers a
    dialog that is open meanwhile.
    """

    def __init__(self, hooks: Mapping[str, list[Hook]]) -> None:
        self._hooks = hooks
        self._queue: deque[HookRun] = deque()
        self._aside: list[HookRun] = []

    def fire(self, event: str, payload: Mapping[str, Any], *, aside: bool = False) -> HookRun:
        tool = payload.get("tool_name")
        wanted = [hook for hook in self._hooks.get(event, ()) if hook.wants(tool)]
        run = HookRun(wanted, json.dumps(payload).encode() + b"\n")
        (self._aside if aside else self._queue).append(run)
        self.poll()
        return run

    def poll(self) -> None:
        """Go on with what can go on."""
        for run in self._aside:
            run.poll()
        self._aside = [run for run in self._aside if not run.done]
        while self._queue:
            self._queue[0].poll()
            if not self._queue[0].done:
                return
            self._queue.popleft()

    @property
    def busy(self) -> bool:
        """Whether a hook runs or waits for its turn, other than one beside."""
        return bool(self._queue)

    @property
    def due(self) -> float | None:
        """When `poll` is needed even if nothing happens, monotonic seconds."""
        times = [run.due for run in (*self._aside, *list(self._queue)[:1]) if run.due is not None]
        return min(times, default=None)

    def kill(self) -> None:
        """End what still runs."""
        for run in (*self._aside, *self._queue):
            run.kill()
        self._aside.clear()
        self._queue.clear()


def _decision(output: str) -> Decision | None:
    """What a PermissionRequest hook decided, if it printed a decision."""
    try:
        found = json.loads(output)["hookSpecificOutput"]["decision"]
        behavior, message = found["behavior"], found.get("message")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if behavior not in ("allow", "deny"):
        return None
    return Decision(behavior, message if isinstance(message, str) else "")
