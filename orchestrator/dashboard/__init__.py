"""The dashboard, `crew watch`: a process of its own, and a client of the session's socket.

`model.py`, `team.py`, `needs.py` and `terminal.py` are pure: a view goes in, lines of text with
named looks come out. `link.py` speaks with the supervisor. `app.py` and `widgets/` are the only
homes of Textual, which is imported when the verb runs and not before.
"""
