"""crewmux: an event-driven supervisor of CLI agents in tmux."""
