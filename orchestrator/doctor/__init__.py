"""The doctor: what on this machine keeps a crew from working, each with its remedy.

Things are tried, not guessed: a server is started, a watch is woken, a CLI's hook arrives. What is
started for that runs in a throw-away session. `checkup.py` is where to begin to read.
"""
