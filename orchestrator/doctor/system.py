"""Python, the kernel and the locale."""

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping

from orchestrator import procfs
from orchestrator.doctor.findings import Finding, bad, ok, warn

# As `requires-python` has it.
OLDEST_PYTHON = (3, 11)


def examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    yield python(sys.version_info[:2])
    yield kernel(procfs.boot_id, lambda: procfs.start_of(os.getpid()), pidfd)
    yield locale(environ)


def python(version: tuple[int, ...]) -> Finding:
    found = f"{platform.python_version()}, {sys.executable}"
    if version < OLDEST_PYTHON:
        return bad("python", f"{found} is too old", "install Python 3.11 or newer for crew")
    return ok("python", found)


def pidfd() -> None:
    """Raises OSError where the kernel or what confines us has no such thing."""
    os.close(os.pidfd_open(os.getpid()))


def kernel(
    boot: Callable[[], str], start: Callable[[], int | None], pidfd: Callable[[], None]
) -> Finding:
    """/proc and pidfds, by which processes are told apart and their ends are seen."""
    try:
        known = bool(boot()) and start() is not None
    except (OSError, ValueError):
        known = False
    if not known:
        remedy = "mount it (`mount -t proc proc /proc`), in a container with its own boot id"
        return bad("kernel", "/proc does not tell of processes and of this boot", remedy)
    try:
        pidfd()
    except (OSError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "this Python has none"
        remedy = "use Linux 5.3 or newer, and allow pidfd_open where a container filters it"
        return bad("kernel", f"the end of a process cannot be waited for: {reason}", remedy)
    return ok("kernel", f"Linux {platform.release()}: /proc and pidfds work")


def locale(environ: Mapping[str, str]) -> Finding:
    """What the person's terminal is said to show, by the first variable that is set."""
    name = next((n for n in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(n)), None)
    said = f"{name}={environ[name]}" if name else "neither LC_ALL, LC_CTYPE nor LANG is set"
    if name and environ[name].lower().replace("-", "").partition("@")[0].endswith("utf8"):
        return ok("locale", said)
    remedy = "export LANG=C.UTF-8 (else what agents draw is shown as question marks)"
    if name in ("LC_ALL", "LC_CTYPE"):
        remedy = f"export {name}=C.UTF-8, or unset it (else agents' drawings are question marks)"
    return warn("locale", f"is not UTF-8: {said}", remedy)
