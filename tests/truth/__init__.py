"""Whether the status that is shown is the true one, against the real CLI.

A scenario drives a CLI as a person at its pane does, and says step by step what is true: each step
with the time at which the CLI itself, the stand-in for the API, a tool or the kernel showed it
(observers.py). Beside it stands what a subscriber of the supervisor was told, and when. How the
two are compared is in timeline.py; runner.py plays the scenarios of scenarios.py.
"""
