"""One file each: see `tests.bench`."""
