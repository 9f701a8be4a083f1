"""crewmux: an event-driven supervisor of CLI agents in tmux."""

__version__ = "0.1.0"
