"""What a person asked for: the team, its agents, and how each agent CLI is driven.

These values are made by `definitions.py` and `blueprints.py` from TOML, travel in `UpRequested`,
and are all that the supervisor knows of a blueprint: it never reads the files again. No I/O here.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from orchestrator.core.asks import AskSpec
from orchestrator.core.values import value

Layout = Literal["windows", "tiled", "main"]
RestartWhen = Literal["on-failure", "always", "never"]
# What a screen, a status file or a hook can say that an agent is doing.
Reported = Literal["starting", "ready", "working", "blocked", "limited"]
# Of what a turn does, what a screen may show and no report tells.
ScreenDoing = Literal["retrying"]
AskKind = Literal["permission", "question", "dialog"]


@value
class RestartPolicy:
    """When an agent whose process ended is started again. Seconds throughout.

    The defaults are those of long-lived process supervisors: five restarts in ten minutes, then
    give up; the pause doubles from `backoff` to `backoff_max`, with full jitter.
    """

    when: RestartWhen = "on-failure"
    limit: int = 5
    window: float = 600.0
    backoff: float = 1.0
    backoff_max: float = 300.0


@value
class LaunchSpec:
    """How a CLI's argv is put together: `command`, then each part that applies.

    Placeholders in braces: {conversation} {role_prompt} {model} {mode} {settings} {mcp} {python}
    {package} {state} {root} {root_slug} {name} {config} {shell}, and {pid} in the status file's
    path only. An argument whose placeholder has no value for an agent is left out together with
    its whole part.
    """

    command: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    mode: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    mcp: tuple[str, ...] = ()
    env: Mapping[str, str]
    # Behind `command`, alone: the CLI prints its version and ends. As it stands, not filled.
    version: tuple[str, ...] = ()


@value
class HooksSpec:
    """The hook dialect (how payloads are named and read) and the events to ask for.

    `status_line`: the CLI runs a command for its status line and tells it cost and context.
    `answers`: a PermissionRequest hook may wait and answer in the dialog's place.
    """

    dialect: Literal["claude"]
    events: tuple[str, ...]
    status_line: bool = False
    answers: bool = False


@value
class StatusFileSpec:
    """A file that the CLI itself rewrites when its state changes: JSON with a `status` key."""

    path: str
    states: Mapping[str, Reported]


@value
class TranscriptSpec:
    """The conversation's log: JSON lines, in the same dialect as the hooks."""

    path: str


@value
class ScreenPattern:
    """If `match` (a regular expression, searched line by line, or in all lines at once
    where it begins with `(?m)`) is found, the screen says `status`.

    A named group `seconds` in `match` gives the length of a limit. `name` is what people call the
    dialog that this is, such as "trust"; `doing` what a turn does. It holds for the versions from
    `since` to `until`, both included; None: without that end.
    """

    match: str
    status: Reported
    ask: AskKind | None = None
    doing: ScreenDoing | None = None
    name: str | None = None
    since: str | None = None
    until: str | None = None


@value
class ScreenOverride:
    """Rows of a `ScreenSpec` as they are in the versions from `since` to `until` only."""

    since: str | None = None
    until: str | None = None
    composer: str | None = None
    interruptible: str | None = None
    option: str | None = None


@value
class ScreenSpec:
    """How a snapshot is read. Patterns are tried in order over the last `lines` non-blank lines.

    It is meant for `versions` of the CLI; what it says of a single one, `versions.for_version`
    tells.
    """

    versions: tuple[str, ...] = ()
    patterns: tuple[ScreenPattern, ...] = ()
    # The input line; its group `draft` is what stands in it.
    composer: str | None = None
    # A row that is there while `keys.interrupt` ends a turn: else something open takes them first.
    interruptible: str | None = None
    # A choice of an open dialog: groups `key` and `label`. Where choices show no key it is a menu,
    # answered by moving: then a third group, `cursor`, is not empty on the highlighted one.
    option: str | None = None
    lines: int = 24
    # Something moves there all the time that it works: a spinner, a clock.
    animated: bool = False
    # Later ones over earlier ones, and all over the rows above.
    overrides: tuple[ScreenOverride, ...] = ()


@value
class KeysSpec:
    """tmux key names for what is done with keys."""

    submit: tuple[str, ...] = ("Enter",)
    interrupt: tuple[str, ...] = ("Escape",)
    # Empties the input line; pressed only on a text that is seen there.
    clear: tuple[str, ...] = ()
    # The words `crew answer` takes besides an option's key or label: word -> regular expression
    # over the labels (the first label that it matches is chosen).
    answers: Mapping[str, str]


@value
class PriceSpec:
    """What a model costs: USD per million tokens."""

    input: float
    output: float
    cache_write: float
    cache_read: float


@value
class PricesSpec:
    """The prices of models by name, as they were on the day `dated` (YYYY-MM-DD)."""

    dated: str
    models: Mapping[str, PriceSpec]


@value
class CliSpec:
    """One agent CLI: a parsed `agents/*.toml`."""

    name: str
    summary: str = ""
    # The permission mode of an agent whose blueprint names none.
    mode: str | None = None
    # The CLI's own settings, for every agent; they go into one file with hooks and permissions.
    settings: Mapping[str, Any] = field(default_factory=dict)
    # Where the CLI keeps its own files: the variable's value if set, else the directory.
    config_env: str | None = None
    config_dir: str | None = None
    launch: LaunchSpec
    hooks: HooksSpec | None = None
    status_file: StatusFileSpec | None = None
    transcript: TranscriptSpec | None = None
    screen: ScreenSpec
    keys: KeysSpec
    prices: PricesSpec | None = None
    ask: AskSpec | None = None


@value
class PermissionsSpec:
    """What an agent may do unasked, may not do, and must ask for: rules in its CLI's own words."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()


@value
class AgentSpec:
    """One member of the team, after `count` is expanded and defaults are filled in."""

    name: str
    cli: str
    role: str = ""
    role_prompt: str = ""
    model: str | None = None
    mode: str | None = None
    # Its first message, once, in a fresh conversation.
    prompt: str | None = None
    # Sent after a turn that was cut by a crash, once the conversation is resumed.
    resume_prompt: str | None = None
    depends_on: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str]
    restart: RestartPolicy
    permissions: PermissionsSpec = PermissionsSpec()
    # MCP servers by name, as the CLI's own configuration has them.
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)
    # Absolute directories besides the root that it may work in.
    add_dirs: tuple[str, ...] = ()
    # The CLI's question whether the root is trusted is answered with yes.
    trust_folder: bool = False


@value
class WarmSpec:
    """A question that is answered ahead, as `crew ask` would put it in the team's root.

    `input`: files that are part of it, relative to the root. It is asked again when one of them
    changes; with `context`, after each commit.
    """

    prompt: str
    cli: str = "claude"
    model: str = ""
    system: str = ""
    input: tuple[str, ...] = ()
    context: Literal["git"] | None = None


@value
class TeamSpec:
    """A resolved blueprint: everything absolute, nothing left to look up."""

    name: str
    root: str
    blueprint: str
    # sha-256 over everything that decides what would run; `trust.py` remembers it.
    digest: str
    layout: Layout = "windows"
    agents: tuple[AgentSpec, ...]
    clis: Mapping[str, CliSpec]
    # The files this was made from: an edit of one is noticed while the session runs.
    files: tuple[str, ...] = ()
    warm: tuple[WarmSpec, ...] = ()
