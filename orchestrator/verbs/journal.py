"""Events in plain words: one line of the journal for a person, from the event as JSON."""

import datetime
from typing import Any, get_args

from orchestrator.core.agents import exit_text
from orchestrator.core.events import AnyEvent
from orchestrator.core.text import clip, pad, safe_text
from orchestrator.core.wording import to_use

Event = dict[str, Any]

KINDS = tuple(str(one.__dataclass_fields__["kind"].default) for one in get_args(AnyEvent))
# Columns for an agent's name, and characters that a text may take.
WHO = 10
TEXT = 300
# What every event has, and no person asks for.
_USUAL = ("seq", "at", "mono", "source", "agent", "kind", "key", "run", "request")
_VERDICTS = {
    "taken": "message {} was delivered",
    "queued": "message {} was delivered: it waits for the end of the turn",
    "absent": "message {} was lost on its way",
    "draft": "message {} stands in its input line",
    "unknown": "message {} was typed; nothing proves that it was taken",
}


def is_dull(event: Event) -> bool:
    """Whether an event says nothing to a person: a clock, a look that was only a look."""
    match event.get("kind"):
        case "deadline_passed" | "status_line_seen":
            return True
        case "panes_seen":
            return not event.get("audit")
        case "transcript_seen":
            return not any(event.get(said) for said in ("prompts", "queued", "last_words"))
        case _:
            return False


def event_line(event: Event, columns: int, now: float, *, numbered: bool = False) -> str:
    """When, who, what. `numbered`: with the event's number before it."""
    number = f"{event.get('seq', 0):>6}  " if numbered else ""
    who = pad(safe_text(str(event.get("agent") or "")), WHO)
    line = f"{number}{_clock(event.get('at') or 0, now)}  {who}  {safe_text(told(event))}"
    return clip(line.rstrip(), columns)


def _clock(at: float, now: float) -> str:
    """The local time of day; of another day with its date."""
    moment = datetime.datetime.fromtimestamp(at)
    today = moment.date() == datetime.datetime.fromtimestamp(now).date()
    return f"{moment:%H:%M:%S}" if today else f"{moment:%Y-%m-%d %H:%M:%S}"


def told(event: Event) -> str:
    """What happened, in plain words. It may hold anything that an agent wrote."""
    of = event.get
    number = of("number")
    match of("kind"):
        case "up_requested":
            names = [agent.get("name", "") for agent in (of("team") or {}).get("agents", ())]
            return _with("a person launches the team", ", ".join(names))
        case "down_requested":
            return "a person ends the session"
        case "restore_requested":
            return "a person restores the session"
        case "send_requested":
            return f"is sent a message by {of('sender')}: {_short(of('text'))}"
        case "answer_requested":
            because = f", because: {_short(of('reason'))}" if of("reason") else ""
            return f"is to be answered: {of('choice')}{because}"
        case "interrupt_requested":
            return "is to be interrupted"
        case "restart_requested":
            return "is to be restarted"
        case "stop_requested":
            return "is to be stopped"
        case "recovered":
            return f"the supervisor took over (pid {of('supervisor')})"
        case "server_started":
            return f"tmux server started{_pid(of('server'))}"
        case "server_failed":
            return _with("tmux server could not be started", of("reason"))
        case "server_lost":
            return _with("tmux server lost", of("reason"))
        case "panes_seen":
            who = "the audit" if of("audit") else "the supervisor"
            return f"{who} looked at the panes: there are {len(of('panes') or ())}"
        case "agent_spawned":
            how = " with its conversation" if of("resumed") else ""
            return f"launched{how}{_pid(of('process'))}"
        case "spawn_failed":
            return _with("could not be launched", of("reason"))
        case "process_exited":
            how = exit_text(of("code"), of("signal")) if of("known", True) else "ended"
            return f"{how}; its pane was closed" if of("pane_gone") else how
        case "hook_received":
            return f"its sub-agent: {_hook(event)}" if of("subagent") else _hook(event)
        case "status_file_seen":
            return _with(f"is {of('status')}, by its status file", of("waiting_for"))
        case "status_file_gone":
            return "its status file is gone"
        case "terminal_seen":
            return "nothing moves any more" if of("quiet_since") else "it moves again"
        case "transcript_seen":
            return _transcript(event)
        case "status_line_seen":
            return f"its conversation has cost ${of('cost_usd') or 0:.4f}, says its status line"
        case "screen_seen":
            shows = of("doing") or of("status") or "nothing that is known"
            return _with(f"its screen shows {shows}", _short(of("text")))
        case "message_typed":
            return f"message {number} typed"
        case "message_held":
            return _with(f"message {number} waits", of("reason"))
        case "message_judged":
            verdict = _VERDICTS.get(str(of("verdict")), "message {}: " + str(of("verdict")))
            return verdict.format(number)
        case "answer_given":
            return _refused("answered", of("refused")) or f"answered: {of('label') or of('choice')}"
        case "interrupt_sent":
            return _refused("interrupted", of("refused")) or "interrupted"
        case "effect_failed":
            return _with(f"{str(of('effect')).replace('_', ' ')} failed", of("reason"))
        case "deadline_passed":
            return f"it is time for {of('name')}"
        case "files_edited":
            return f"edited: {', '.join(of('files') or ())}"
        case "source_doubted":
            return _with(f"something of {of('doubted')} may have been missed", of("reason"))
        case "events_missed":
            return f"{of('count')} change(s) were noticed late, by the audit"
        case _:
            return _unknown(event)


def _hook(event: Event) -> str:
    """What an agent's hook told."""
    of = event.get
    tool, argument = str(of("tool") or "a tool"), _short(of("argument"))
    match of("hook"):
        case "SessionStart":
            return _reasoned("its conversation begins", of("reason"))
        case "SessionEnd":
            return _reasoned("its conversation ends", of("reason"))
        case "UserPromptSubmit":
            return _with("takes up", _short(of("text")))
        case "PreToolUse":
            return _with("runs " + tool if tool == "Bash" else "uses " + tool, argument)
        case "PermissionRequest" if of("question"):
            return f"asks: {_short(of('question'))}"
        case "PermissionRequest":
            return f"asks to {to_use(tool, argument)}"
        case "PermissionDenied":
            return f"may not {to_use(tool, argument)}"
        case "PostToolUse":
            return f"{tool} is done"
        case "PostToolUseFailure":
            return f"{tool} failed"
        case "PostToolBatch":
            return "its tools are done"
        case "Stop" if of("background"):
            return f"goes on in the background ({of('background')})"
        case "Stop":
            return _with("ready", _short(of("text")))
        case "StopFailure":
            return _with("its turn failed", _short(of("text") or of("reason")))
        case "Notification":
            return _with("notice", _short(of("text") or of("reason")))
        case "PreCompact":
            return "compacts its conversation"
        case "MessageDisplay":
            return _with("says", _short(of("text")))
        case hook:
            return _with(str(hook), _short(of("tool") or of("text") or of("reason")))


def _transcript(event: Event) -> str:
    prompts, words = event.get("prompts") or (), event.get("last_words")
    told = [f"keeps for the end of its turn: {_short(text)}" for text in event.get("queued") or ()]
    told += [f"has taken up: {_short(prompt)}" for prompt in prompts]
    told += [f"said: {_short(words)}"] if words else []
    tokens = sum(sum(used.values()) for used in (event.get("tokens") or {}).values())
    return "; ".join(told) or f"its transcript has more ({tokens} tokens)"


def _unknown(event: Event) -> str:
    """Of a newer supervisor: its fields as they are."""
    rest = [f"{k}={_short(v)}" for k, v in event.items() if k not in _USUAL and v not in _EMPTY]
    return "  ".join([str(event.get("kind")).replace("_", " "), *rest])


_EMPTY: tuple[object, ...] = (None, "", [], {})


def _short(text: object) -> str:
    """A text as one line, cut."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= TEXT else f"{line[: TEXT - 1]}…"


def _with(what: str, more: object) -> str:
    return f"{what}: {more}" if more else what


def _reasoned(what: str, reason: object) -> str:
    return f"{what} ({reason})" if reason else what


def _refused(what: str, reason: object) -> str:
    return f"was not {what}: {reason}" if reason else ""


def _pid(process: object) -> str:
    pid = process.get("pid") if isinstance(process, dict) else None
    return "" if pid is None else f" (pid {pid})"
