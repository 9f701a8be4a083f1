"""One-shot questions: from disk, from an identical question in flight, or by a run of the CLI.

Read `ask.py` first. A question's key (core/questions.py) finds an answer in the cache
(sinks/cache.py). Where there is none, the first process to ask leads the flight (`flight.py`) and
the others listen to it; the leader waits for a slot (`slots.py`) and runs the CLI (`process.py`).
Nothing here needs a supervisor.
"""
