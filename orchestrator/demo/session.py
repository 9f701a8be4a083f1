"""What an agent does in a turn: say, think, use a tool, ask. Told to hooks, files and the screen.

The parts of a turn are generators (see `children.Steps`); closing one is an interrupt.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import files
from .children import Child, Steps
from .dialog import ALWAYS, NO, PERMISSION_OPTIONS, Dialog
from .hooks import Decision, HookRun, Hooks
from .text import clip
from .view import THINKING, View

# Which tools a permission mode lets run without asking; None: all of them. Those but `acceptReads`
# and `bypass` are modes of the agent CLI that this one is modelled on.
MODES: Mapping[str, frozenset[str] | None] = {
    "default": frozenset(),
    "manual": frozenset(),
    "plan": frozenset(),
    "acceptEdits": frozenset(),
    "acceptReads": frozenset({"Read"}),
    "auto": None,
    "dontAsk": None,
    "bypass": None,
    "bypassPermissions": None,
}
# What the spinner says, and what a dialog is titled, by tool.
DOING = {"Bash": "Running a command", "Read": "Reading", "LS": "Looking around"}
TITLES = {"Bash": "Bash command", "Read": "Read file"}
# Rows of a tool's output that are shown.
OUTPUT_ROWS = 14
# Columns of what a tool is used on.
SHOWN = 200
REFUSED = "The person refused this."


class Interrupted(Exception):
    """The person wants the turn to end."""


class Result(NamedTuple):
    """What a tool gave. `refused`: it was not let run; `told`: and a hook told the agent why."""

    text: str
    error: bool = False
    refused: bool = False
    told: bool = False


class Session:
    """One conversation and everything that shows it."""

    def __init__(
        self, home: Path, cwd: str, conversation: str, hooks: Hooks, mode: str, pace: float
    ) -> None:
        self.home = home
        self.cwd = cwd
        self.hooks = hooks
        self.mode = mode
        self.pace = pace
        self.view = View()
        self.status = files.StatusFile(home, cwd, conversation)
        self.last_words = ""
        # The prompt of the turn, its id, and its place among the records.
        self.prompt = ""
        self.prompt_id = ""
        self.place = 0
        self._allowed: set[str] = set()
        self.begin(conversation)

    def begin(self, conversation: str) -> None:
        """Take up a conversation; what was allowed in another does not count."""
        self.conversation = conversation
        self.status.conversation = conversation
        path = files.transcript_path(self.home, self.cwd, conversation)
        self.transcript = files.Transcript(path, conversation, self.cwd)
        self._allowed.clear()

    # -- hooks -------------------------------------------------------------------------------------

    def fire(self, event: str, *, aside: bool = False, **fields: Any) -> HookRun:
        """Tell the hooks of an event, without waiting for them."""
        payload = {
            "session_id": self.conversation,
            "transcript_path": str(self.transcript.path),
            "cwd": self.cwd,
            "prompt_id": self.prompt_id,
            "permission_mode": self.mode,
            "hook_event_name": event,
            **fields,
        }
        return self.hooks.fire(event, payload, aside=aside)

    def hook(self, event: str, **fields: Any) -> Steps[None]:
        """Tell the hooks, and wait for them."""
        run = self.fire(event, **fields)
        while not run.done:
            yield run.due

    # -- words and time ----------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self.last_words = text
        self.view.print("")
        self.view.print(text, first="● ", rest="  ")
        self._assistant({"type": "text", "text": text}, len(text))

    def _assistant(self, block: dict[str, Any], size: int) -> None:
        # A token is about four characters.
        usage = {
            "input_tokens": len(self.prompt) // 4 + 1,
            "output_tokens": size // 4 + 1,
        }
        message = {
            "id": f"msg_{uuid.uuid4().hex}",
            "role": "assistant",
            "model": "demo",
            "content": [block],
            "usage": usage,
        }
        self.transcript.append("assistant", message=message)

    def pause(self, seconds: float, doing: str = THINKING) -> Steps[None]:
        """Be busy for a time, seconds."""
        self.view.doing = doing
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield end

    def think(self, seconds: float, doing: str = THINKING) -> Steps[None]:
        """`pause`, for a person to watch: scaled by the pace."""
        return self.pause(seconds * self.pace, doing)

    def wait_for_limit(self, seconds: float) -> Steps[None]:
        """Be kept waiting by a limit on the rate of requests."""
        self.view.limited = time.monotonic() + seconds
        try:
            self.view.dirty = True
            self.status.set("limited", until=round(time.time() + seconds, 3))
            yield from self.pause(seconds)
        finally:
            self.view.limited = None
        self.status.set("busy")

    # -- tools -------------------------------------------------------------------------------------

    def tool(
        self,
        name: str,
        tool_input: Mapping[str, Any],
        work: Callable[[], Steps[Result]],
        *,
        shown: str,
        ask: bool = False,
    ) -> Steps[Result]:
        """Use a tool. With `ask` a person is asked, unless the mode lets it run."""
        use = f"toolu_{uuid.uuid4().hex[:24]}"
        block = {"type": "tool_use", "id": use, "name": name, "input": dict(tool_input)}
        self._assistant(block, len(json.dumps(tool_input)))
        about = {"tool_name": name, "tool_input": dict(tool_input)}
        yield from self.hook("PreToolUse", **about, tool_use_id=use)
        started = time.monotonic()
        refusal = None
        if ask and not self._may(name):
            refusal = yield from self._permission(name, shown, about)
        if refusal is not None:
            result = refusal
        else:
            self.view.print("")
            self.view.print(f"● {_headline(name, shown)}", rest="  ", style="1")
            self.view.doing = DOING.get(name, THINKING)
            result = yield from work()
            self.view.doing = THINKING
        self._result(use, result)
        if not result.refused:
            yield from self.hook(
                "PostToolUse",
                **about,
                tool_response={"stdout": result.text, "stderr": "", "interrupted": False},
                tool_use_id=use,
                duration_ms=int((time.monotonic() - started) * 1000),
            )
        return result

    def _may(self, tool: str) -> bool:
        free = MODES[self.mode]
        return free is None or tool in free or tool in self._allowed

    def _result(self, use: str, result: Result) -> None:
        lines = result.text.rstrip("\n").split("\n")
        if len(lines) > OUTPUT_ROWS:
            lines = [*lines[:OUTPUT_ROWS], f"… {len(lines) - OUTPUT_ROWS} more lines"]
        style = "31" if result.error else "2"
        self.view.print("\n".join(lines) or "(no output)", first="  ⎿  ", rest="     ", style=style)
        block = {
            "type": "tool_result",
            "tool_use_id": use,
            "content": result.text,
            "is_error": result.error,
        }
        self.transcript.append(
            "user", message={"role": "user", "content": [block]}, toolUseResult=result.text
        )

    def run(self, argv: list[str], stdin: bytes = b"") -> Steps[Result]:
        """Run a program; it ends with the turn."""
        child = Child(argv, stdin)
        code = yield from child.finish()
        text = child.output()
        return Result(text if code == 0 else f"{text}\nexit status {code}".lstrip(), code != 0)

    # -- dialogs -----------------------------------------------------------------------------------

    def _permission(self, tool: str, shown: str, about: Mapping[str, Any]) -> Steps[Result | None]:
        """Ask whether a tool may run; returns what comes of it if not."""
        title = TITLES.get(tool, tool)
        dialog = Dialog("permission", title, shown, PERMISSION_OPTIONS)
        about = {**about, "permission_suggestions": []}
        told = yield from self._open(dialog, about, "permission prompt")
        if dialog.answer == ALWAYS:
            self._allowed.add(tool)
        if dialog.answer != NO:
            return None
        why = told.message if told else ""
        return Result(why or REFUSED, error=True, refused=True, told=told is not None)

    def _open(
        self, dialog: Dialog, about: Mapping[str, Any], waiting_for: str
    ) -> Steps[Decision | None]:
        """Put a dialog before the person; returns the answer of a hook if that came first."""
        told = None
        self.view.dialog = dialog
        self.view.dirty = True
        try:
            # It is on the screen before anybody is told that there is one.
            yield 0.0
            self.status.set("waiting", waiting_for)
            run = self.fire("PermissionRequest", aside=True, **about)
            while dialog.answer is None:
                # A hook can allow or deny; it cannot choose among the answers to a question.
                told = run.decision
                if told and (told.behavior == "deny" or dialog.kind == "permission"):
                    dialog.answer = dialog.decided(told.behavior)
                    break
                told = None
                yield run.due
            if dialog.answer < 0:
                raise Interrupted
        finally:
            self.view.dialog = None
            self.view.dirty = True
        self.status.set("busy")
        return told

    def question(self, text: str, header: str, options: tuple[str, ...]) -> Steps[str]:
        """Ask a question; returns the label of the option that was chosen."""
        asked = {
            "question": text,
            "header": header,
            "multiSelect": False,
            "options": [{"label": label, "description": ""} for label in options],
        }

        def work() -> Steps[Result]:
            dialog = Dialog("question", header, text, options)
            about = {"tool_name": "AskUserQuestion", "tool_input": {"questions": [asked]}}
            yield from self._open(dialog, about, "input needed")
            assert dialog.answer is not None
            return Result(options[dialog.answer])

        questions = {"questions": [asked]}
        result = yield from self.tool("AskUserQuestion", questions, work, shown=text)
        return result.text


def _headline(tool: str, shown: str) -> str:
    what = clip(shown, SHOWN)
    return what if what.startswith(f"{tool} ") else f"{tool}({what})"
