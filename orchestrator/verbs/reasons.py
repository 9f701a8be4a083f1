"""`crew why` in words: the status and who says so, what each source said, what comes next."""

from typing import Any

from orchestrator.core.text import clip, safe_text, span, width
from orchestrator.core.wording import asks, due, waiting
from orchestrator.verbs import program
from orchestrator.verbs.render import GAP, moment, table

View = dict[str, Any]

SOURCES = {
    "hook": "its hooks",
    "status": "its status file",
    "transcript": "its transcript",
    "screen": "its screen",
    "process": "its process",
    "tmux": "tmux",
    "audit": "the audit",
    "clock": "the clock",
    "person": "a person",
    "agent": "an agent",
    "crew": "the supervisor",
}
BECAUSE = {
    "hook_received": "its hook says so",
    "status_file_seen": "its status file says so",
    "screen_seen": "its screen shows it",
    "transcript_seen": "its transcript says so",
    "agent_spawned": "it was launched",
    "spawn_failed": "it could not be launched",
    "process_exited": "its process ended",
    "panes_seen": "its pane shows it",
    "server_started": "the tmux server was started",
    "server_lost": "the tmux server was lost",
    "recovered": "a supervisor took over and found it so",
    "deadline_passed": "it was time for it",
    "up_requested": "`crew up` asked for it",
    "down_requested": "`crew down` ended the session",
    "restore_requested": "`crew restore` asked for it",
    "restart_requested": "`crew restart` asked for it",
    "stop_requested": "`crew stop` asked for it",
    "message_judged": "a message to it was found taken",
}
# A remark is a word in a list; here there is room for what it means.
FLAGS = {
    "interrupted": "its turn was interrupted",
    "stalled": "nothing of it moves",
    "disagreement": "its sources do not fit together:",
}
# What ends each status, beside a person's `stop` and the end of its process.
CHANGES = {
    "starting": "its first prompt, or a dialog before that",
    "ready": "a prompt, from a message or typed in its pane",
    "working": "the end of its turn, or a question; an interrupt ends it at once",
    "blocked": "an answer, with `answer` or in its pane",
    "limited": "the end of the limit, as its screen or its status file shows it",
    "backoff": "the time of its next start, or `restart`",
    "stopping": "the end of its process",
    "stopped": "`up`, `restart` or `restore`",
    "exited": "`up`, `restart` or `restore`",
    "failed": "`up` or `restart`, once what ended it is mended",
    "lost": "its new pane",
}
# Columns that what a source said has at least.
SAID = 20


def why_lines(reasons: View, agent: View, columns: int, now: float) -> list[str]:
    """All of it. `agent`: the agent as it is in the view of the session."""
    lines = [sentence(reasons, now)]
    ask = agent.get("ask")
    if about := asks(ask, safe_text) if ask else safe_text(reasons.get("detail") or ""):
        lines.append(clip(f"  {about}", columns))
    for flag in sorted(reasons.get("flags", ()), reverse=True):
        lines.append(f"  {_flag(flag, reasons, now)}")
    lines += [
        clip(f"    {safe_text(doubt['text'])}, since {moment(doubt['at'], now)}", columns)
        for doubt in (reasons.get("doubts") or {}).values()
    ]
    if guess := reasons.get("guess"):
        lines.append(clip(f"  {safe_text(guess)}", columns))
    said = [
        (SOURCES.get(source, safe_text(source)), safe_text(one.get("text") or ""), one.get("at"))
        for source, one in (reasons.get("said") or {}).items()
    ]
    said.sort(key=lambda row: row[2] or 0.0)
    rows = [(source, text, moment(at, now) if at else "") for source, text, at in said]
    if rows:
        lines += ["", *_table(rows, columns)]
    coming = [*due(agent, now), *filter(None, [waiting(agent, safe_text)])]
    if change := CHANGES.get(str(reasons.get("status"))):
        coming.append(clip(f"what would change it: {change}", columns))
    return [*lines, "", *coming] if coming else lines


def _flag(flag: str, reasons: View, now: float) -> str:
    quiet = reasons.get("quiet_since")
    if flag == "stalled" and quiet:
        return f"nothing has moved since {moment(quiet, now)}: neither its screen nor a report"
    return FLAGS.get(flag, flag)


def sentence(reasons: View, now: float) -> str:
    """Its status, since when, and the evidence for it."""
    evidence = reasons.get("evidence") or {}
    doing = f" ({reasons['doing']})" if reasons.get("doing") else ""
    since = reasons.get("since")
    when = ""
    if since is not None:
        clock = moment(since, now).partition(" ")[0]
        when = f" since {clock} ({span(now - since)})"
    kind = str(evidence.get("kind") or "")
    source = SOURCES.get(str(evidence.get("source")), "nobody known")
    because = program.as_typed(BECAUSE.get(kind, f"{source} says so"))
    told = f"{reasons.get('agent') or 'it'} is {reasons.get('status') or 'unknown'}{doing}{when}"
    return safe_text(f"{told}: {because}.")


def _table(rows: list[tuple[str, str, str]], columns: int) -> list[str]:
    """Source, what it last said, when: what it said is what is cut."""
    taken = sum(max(width(row[place]) for row in rows) for place in (0, 2)) + 2 * len(GAP)
    room = max(SAID, columns - taken)
    head = ("SOURCE", "LAST SAID", "WHEN")
    return table([head, *((source, clip(text, room), at) for source, text, at in rows)], columns)
