"""The text of a project's `crew.toml`, made from a blueprint and what a person wants of it. Pure.

Each key has a comment: the file is where most people meet the keys for the first time.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.text import safe_text

Table = dict[str, Any]

# Keys whose values are in the words of one agent CLI: another one would not understand them.
OWN_WORDS = frozenset(
    {"model", "mode", "permissions", "mcp_servers", "arguments", "add_dirs", "trust_folder"}
)
TOP = {
    "name": "the session: what `-s NAME` means",
    "root": "where the agents work, from this file on",
    "layout": "windows: one each. tiled, main: panes of one window",
}
AGENT = {
    "name": "what it is called",
    "cli": "which agent CLI it is",
    "count": "how many; NAME-1 is the first",
    "role": "its role prompt, by name",
    "role_prompt": "its role prompt itself",
    "model": "which model, in the CLI's own words",
    "mode": "what it may do unasked, in the CLI's own word",
    "prompt": "its first message",
    "resume_prompt": "what it is told when a crash cut its work",
    "depends_on": "it starts when these are ready",
    "arguments": "added to its command line",
    "env": "added to its environment",
    "restart": "when it is started again, and how often",
    "permissions": "rules for what it may do, in the CLI's own words",
    "mcp_servers": "MCP servers, by name",
    "add_dirs": "directories besides root that it may work in",
    "trust_folder": "says yes when the CLI asks whether root is trusted",
}
# What is worth knowing of besides, at the end of the file.
MORE = {
    "model": '"..."',
    "mode": '"..."',
    "prompt": '"..."',
    "env": '{ KEY = "value" }',
    "add_dirs": '["../other"]',
    "trust_folder": "true",
}
# Columns at which a comment stands; behind a longer value it has a line of its own, above.
COMMENT = 34
WIDTH = 100


@dataclass(frozen=True)
class Draft:
    """A blueprint to start from, and what becomes of it.

    `label`: how it was named; `summary`: what it says of itself; `table`: its TOML, with at least
    one agent, which the methods change.
    """

    label: str
    summary: str
    table: Table

    def counted(self) -> Table | None:
        """The one agent of which there are as many as its `count` says, if there is just one."""
        counted = [agent for agent in self.table["agents"] if "count" in agent]
        return counted[0] if len(counted) == 1 else None

    def use_cli(self, cli: str, not_taken: Iterable[str] = ()) -> list[str]:
        """Make every agent this CLI. What another CLI was told in its own words is left out, as
        is what this one takes none of (`not_taken`): the keys, each once.
        """
        defaults = self.table.get("defaults", {})
        of_all = defaults.get("cli")
        changing = [a for a in self.table["agents"] if a.get("cli", of_all) != cli]
        unfit = OWN_WORDS | {*not_taken}
        left_out: dict[str, None] = {}
        for each in (defaults, *changing) if changing else ():
            for key in [key for key in each if key in unfit]:
                del each[key]
                left_out[key] = None
        for agent in self.table["agents"]:
            agent.pop("cli", None)
        self.table["defaults"] = {**defaults, "cli": cli}
        return list(left_out)

    def text(self) -> str:
        """A whole `crew.toml`, each of its keys with a comment."""
        about = safe_text(f"From the blueprint {self.label}. {self.summary}").rstrip(". ")
        lines = [
            "# A team of agents: `crew up` launches it, and applies what is edited here.",
            *textwrap.wrap(f"{about}.", WIDTH, initial_indent="# ", subsequent_indent="# "),
            "",
        ]
        top = {"name": "", "root": ".", "layout": "windows", **self.table}
        for key, comment in TOP.items():
            lines += _entry(key, top[key], comment)
        parts = [("[[agents]]", agent) for agent in self.table["agents"]]
        if self.table.get("defaults"):
            of_every = f"{'[defaults]':<{COMMENT}}# of every agent; its own go before"
            parts.insert(0, (of_every, self.table["defaults"]))
        for heading, part in parts:
            lines += ["", heading]
            for key, item in part.items():
                lines += _entry(key, item, AGENT.get(key, ""))
        if warm := self.table.get("ask", {}).get("warm"):
            heading = f"{'[ask]':<{COMMENT}}# questions that are answered before anybody asks"
            lines += ["", heading, "warm = [", *(f"  {toml(each)}," for each in warm), "]"]
        return "\n".join([*lines, "", *_more({key for _, part in parts for key in part})]) + "\n"


def _entry(key: str, item: object, comment: str) -> list[str]:
    """A key and its value, with its comment behind it or, if it is long, above it."""
    line = f"{_key(key)} = {toml(item)}"
    if not comment:
        return [line]
    if len(line) < COMMENT:
        return [f"{line:<{COMMENT}}# {comment}"]
    return [f"# {comment}", line]


def _more(used: set[str]) -> list[str]:
    """What else an agent may have, as a comment."""
    spare = [
        f"#   {f'{key} = {example}':<{COMMENT - 4}}{AGENT[key]}"
        for key, example in MORE.items()
        if key not in used
    ]
    return ["# More that an agent, or [defaults], may have where the CLI takes it:", *spare]


def toml(item: object) -> str:
    """A value on one line of TOML. Dates, which no blueprint has, are none of it."""
    match item:
        case Mapping():
            inner = ", ".join(f"{_key(key)} = {toml(each)}" for key, each in item.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list():
            return f"[{', '.join(map(toml, item))}]"
        case str():
            # JSON's escapes are TOML's, but it leaves DEL as it is.
            return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return "true" if item else "false"
        case _:
            return repr(item)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)
