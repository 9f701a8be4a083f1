"""libfaketime: another clock for a process."""

import os

from tests.counts import cannot

_PLACES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)


def library() -> str:
    """The library to be preloaded; without it the test cannot be made here."""
    found = next(filter(os.path.exists, _PLACES), None)
    if found is None:
        cannot("libfaketime is not installed", required=True)
    return found
