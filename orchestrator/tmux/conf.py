"""The generated tmux.conf: a pure function. The user's own configuration is never read.

Options of newer versions are set with `-q`, so an older tmux passes over them. Nothing here runs
a command: no `#(...)`, no run-shell. Colours are reverse, bold and the terminal's own sixteen, so
that they can be read on dark and on light.
"""

from typing import Final, Literal

# Options of ours that tmux keeps for us (`@` marks a user option).
NAME: Final = "@crew_name"  # on a pane: its agent
PLACE: Final = "@crew_place"  # on a pane: the agent's position in the team, from 1
MARK: Final = "@crew_mark"  # on a pane: a glyph with the agent's state
URGENT: Final = "@crew_urgent"  # global: who needs a person, in a few words
SUMMARY: Final = "@crew_summary"  # global: the rest of the team in a few words
NESTED: Final = "@crew_nested"  # global: terminals whose prefix another tmux takes first

# What the terminal calls its own colours.
Colour = Literal["default", "red", "green", "yellow", "blue", "magenta", "cyan"]

# The size of windows that nobody looks at: cells.
COLUMNS: Final = 160
ROWS: Final = 45

# How to leave, and how it is done from a tmux in a tmux.
KEYS: Final = "C-b d"
KEYS_NESTED: Final = "C-b C-b d"
HINT: Final = f"detach: {KEYS}"
HINT_NESTED: Final = f"detach: {KEYS_NESTED}"
# Below this width (cells) all is left out but who needs a person, and the windows.
NARROW: Final = 60

# Values that older versions refuse, which would show up as an error in the person's first window:
# each is set on its own once the server runs, and may fail.
TRIED: Final[tuple[tuple[str, ...], ...]] = (("set-option", "-gw", "main-pane-width", "55%"),)

_CONF = """\
# Written by crew at each start: changes are lost.

# Processes: a pane outlives its process, so that its last words and exit status can be read.
set -g remain-on-exit on
set -gq remain-on-exit-format "{ended}"
set -s exit-empty off
set -g destroy-unattached off
set -g detach-on-destroy on
set -g update-environment ""
set -g default-command ""
set -g history-limit 50000

# What a program in a pane may not do: write the clipboard, reach the outer terminal, rename.
set -s set-clipboard off
set -gq allow-passthrough off
set -g allow-rename off
set -gq allow-set-title off
set -g automatic-rename off
set -g set-titles off

# Windows: an agent keeps its number.
set -g base-index 1
set -g pane-base-index 1
set -g renumber-windows off
set -g window-size latest
set -g default-size {columns}x{rows}

# Keys and mouse.
set -g prefix C-b
set -g mouse on
set -g focus-events on
set -s escape-time 10
set -g default-terminal "{terminal}"
set -g display-time 2000
set -g bell-action none

# The session that keeps the server alive is nobody's to see.
bind-key s choose-tree -Zs -f "{shown}"
bind-key w choose-tree -Zw -f "{shown}"
bind-key D choose-client -Z -f "{shown_client}"
unbind-key (
unbind-key )
unbind-key L
# The session's name is how the team's windows are found.
unbind-key $
unbind-key -n MouseDown3StatusLeft

# The status line: drawn when something changes, never by a timer.
set -g status on
set -g status-position bottom
set -g status-interval 0
set -g status-justify left
set -g status-style "fg=default,bg=default"
set -g status-left-length 100
set -g status-left "{left}"
set -g status-right-length 90
set -g status-right "{right}"
set -g window-status-separator ""
set -g window-status-style "fg=default,bg=default"
set -g window-status-current-style "fg=default,bg=default,bold,reverse"
set -g window-status-bell-style "default"
set -g window-status-activity-style "default"
set -g window-status-format "{window}"
set -g window-status-current-format "{window}"
set -g message-style "reverse"
set -g message-command-style "reverse"
set -g mode-style "reverse"

# The line above a pane, where a window holds several agents (switched on per window).
set -g pane-border-status off
set -g pane-border-style "fg=default"
set -g pane-active-border-style "fg=green,bold"
set -g pane-border-format "{border}"
"""

# A window shows the marks of all its panes: one in a window of its own, all in a tiled one.
_MARKS = f"#{{P:#{{?{MARK}, #{{{MARK}}},}}}}"
_WINDOW = f" #I:#W{_MARKS} "
_BORDER = f"#{{?{NAME}, #{{{NAME}}}#{{?{MARK}, #{{{MARK}}},}} , #{{pane_index}} }}"

# In the pane of a process that ended. Of a death that tmux has not looked into yet: no status.
_HOW = (
    "#{?#{!=:#{pane_dead_signal},}, (signal #{pane_dead_signal}),"
    "#{?#{!=:#{pane_dead_status},}, (status #{pane_dead_status}),}}"
)
_ENDED = f"ended{_HOW}#{{?{NAME},: crew restart #{{{NAME}}},}}"

# Sessions of ours begin with a letter or a digit.
_SHOWN = "#{m:[!_]*,#{session_name}}"
_SHOWN_CLIENT = "#{m:[!_]*,#{client_session}}"

# The left end: who needs a person stands there whatever the width.
_IS_NARROW = f"#{{e|<|:#{{client_width}},{NARROW}}}"
_TITLE = f"#{{?{_IS_NARROW}, #{{=12:session_name}} , crew #{{session_name}} }}"
_CALL = f" #{{{URGENT}}} "
_LEFT = f"#[bold]{_TITLE}#[default]#{{?{URGENT},#[fg=black]#[bg=yellow]#[bold]{_CALL}#[default],}}"

# What the left end and the list of windows take: cells.
_LEFT_WIDTH = f"#{{w:{_TITLE}#{{?{URGENT},{_CALL},}}}}"
_USED = f"#{{e|+:#{{w:#{{W:{_WINDOW}}}}},{_LEFT_WIDTH}}}"
_LEFT_OVER = f"#{{e|-:#{{client_width}},{_USED}}}"


def _if_it_fits(width: str, text: str, otherwise: str) -> str:
    return f"#{{?#{{e|<=:{width},{_LEFT_OVER}}},{text},{otherwise}}}"


def _by_nesting(nested: str, plain: str) -> str:
    return f"#{{?#{{m:* #{{client_tty}} *,#{{{NESTED}}}}},{nested},{plain}}}"


# After the windows comes the hint, short where they need the room, and then the rest of the team.
_HINT = _by_nesting(HINT_NESTED, HINT)
_REST = f"#{{?{SUMMARY},#{{{SUMMARY}}} | ,}}"
_RIGHT = _if_it_fits(
    f"#{{e|+:#{{w:{_REST}{_HINT}}},1}}",
    f"{_REST}{_HINT} ",
    _if_it_fits(
        f"#{{e|+:#{{w:{_HINT}}},1}}",
        f"{_HINT} ",
        f"#{{?{_IS_NARROW},, {_by_nesting(KEYS_NESTED, KEYS)} }}",
    ),
)


def nested_option(tty: str, *, nested: bool) -> list[str]:
    """The command that keeps whether the terminal `tty` is one of a tmux in a tmux."""
    others = f"#{{s| {tty} ||:{NESTED}}}"
    return ["set-option", "-gF", NESTED, f"{others} {tty} " if nested else others]


def render(terminal: str) -> str:
    """Return the configuration. `terminal` is the terminfo entry that programs in panes get."""
    return _CONF.format(
        columns=COLUMNS,
        rows=ROWS,
        terminal=terminal,
        left=_LEFT,
        right=_RIGHT,
        window=_WINDOW,
        border=_BORDER,
        ended=_ENDED,
        shown=_SHOWN,
        shown_client=_SHOWN_CLIENT,
    )
