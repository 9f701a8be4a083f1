"""inotify, and whose code a supervisor would run: asked of a process started as one is."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from orchestrator.doctor.findings import Finding, bad, ok, warn
from orchestrator.locations import PACKAGE
from orchestrator.start import own_environment

OURS = "crewmux"
LIMITS = Path("/proc/sys/fs/inotify")
# Seconds; it takes a third of one.
TIMEOUT = 20.0
ISOLATE = "install crew apart from other packages: `uv tool install` or `pipx install`"
RAISE = "sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024"
# The sentences of the sources end in a remedy for the one limit; both are to be raised.
_REMEDY = re.compile(r"\.? Remedy: |; (?=raise )")


def examine(directory: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Try watches in `directory`, which is empty."""
    said, problem = _ask(directory, environ)
    yield package(said, problem, packages_distributions())
    if said is not None:
        yield inotify(said, _limits())


def _ask(directory: Path, environ: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    """What the process says, or why it says nothing."""
    argv = [sys.executable, "-I", "-m", "orchestrator.doctor.watching", str(directory)]
    try:
        done = subprocess.run(
            argv,
            env=own_environment(environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {TIMEOUT:g} s"
    except OSError as error:
        return None, str(error.strerror)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return None, last or f"exit status {done.returncode}"
    return (found, "") if isinstance(found, dict) else (None, "it spoke nonsense")


def package(
    said: Mapping[str, Any] | None, problem: str, owners: Mapping[str, Iterable[str]]
) -> Finding:
    """Whether `orchestrator` is ours and ours alone: it is a common name."""
    if said is None:
        return bad("package", f"a supervisor would not run: {problem}", ISOLATE)
    if said["package"] != str(PACKAGE):
        text = f"a supervisor would run {said['package']}, and this is {PACKAGE}"
        return bad("package", text, ISOLATE)
    if others := sorted(set(owners.get("orchestrator", ())) - {OURS}):
        text = f"{', '.join(others)} has files in {PACKAGE} too: one overwrites the other's"
        return bad("package", text, ISOLATE)
    beside = sorted(set(owners.get("agents", ())) - {OURS})
    harmless = f"; `agents` of {', '.join(beside)} does no harm" if beside else ""
    return ok("package", f"{PACKAGE}{harmless}")


def _limits() -> str:
    try:
        watches, instances = (
            (LIMITS / name).read_text("ascii").strip()
            for name in ("max_user_watches", "max_user_instances")
        )
    except OSError:
        return "its limits are not known"
    return f"at most {watches} watches, {instances} instances"


def inotify(said: Mapping[str, Any], limits: str) -> Finding:
    if refused := [str(sentence) for sentence in said["refused"]]:
        return warn("inotify", _REMEDY.split(refused[0])[0], f"as root: `{RAISE}`")
    if unnoticed := [str(what) for what in said["unnoticed"]]:
        text = f"a write to {' and to '.join(unnoticed)} wakes nobody: changes are seen late"
        remedy = "run crew on Linux itself, with XDG_STATE_HOME on a local disk"
        return warn("inotify", text, remedy)
    return ok("inotify", f"writes to files and terminals wake us; {limits}")
