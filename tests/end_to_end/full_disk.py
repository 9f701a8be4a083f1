"""Run in a mount namespace of its own: a session on a small disk that fills and is freed again.

Usage: full_disk.py CREW PROJECT STATE
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import wait_until

crew, project, state = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


def run(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [crew, *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=50,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def view() -> dict[str, object]:
    found: dict[str, object] = json.loads(run("status", "--json").stdout)
    return found


subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(state.parent)], check=True
)
run("up", "--trust", "--wait")
agents = view()["agents"]
filler = state.parent / "filler"
try:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
except OSError:
    pass
refused = None


def refuses() -> bool:
    global refused
    done = run("send", "a", "[[say: while full]]", check=False)
    refused = done
    return done.returncode == 1


# The journal still has room in its last page or so; then it is refused, aloud.
wait_until(refuses, "a message is refused", 30)
assert refused is not None
assert "disk" in refused.stderr or "full" in refused.stderr, refused.stderr
status = run("status").stdout
assert "full" in status or "written" in status, status
pids = [a["pid"] for a in view()["agents"]]  # type: ignore[attr-defined] # a list of dicts
assert pids == [a["pid"] for a in agents], "agents run on"  # type: ignore[attr-defined] # the same
filler.unlink()
wait_until(
    lambda: run("send", "a", "[[say: after]]", check=False).returncode == 0, "accepted again", 30
)
wait_until(lambda: "after" in run("logs", "a").stdout, "delivered", 30)
run("down")
print("ok", os.getpid())
