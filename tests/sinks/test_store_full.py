"""Full and read-only disks: nothing that was taken is lost, and it goes on by itself."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.sinks.store import Store
from tests.counts import cannot
from tests.sinks.small_disk import fill
from tests.sinks.values import NOW, fold, names

ROOT = Path(__file__).parents[2]


def namespace() -> list[str]:
    """The command that gives a process mounts of its own."""
    own = ["unshare", "--mount", "--propagation", "private"]
    return own if os.getuid() == 0 else [*own, "--user", "--map-root-user"]


def on_small_disk(scenario: str, directory: Path, module: str = "tests.sinks.small_disk") -> Any:
    """What the scenario of `module` tells, with `directory` on a disk of its own."""
    if shutil.which("unshare") is None:
        cannot("there is no `unshare`")
    tried = [*namespace(), "mount", "-t", "tmpfs", "tmpfs", str(directory)]
    probe = subprocess.run(tried, capture_output=True, text=True, timeout=30, check=False)
    if probe.returncode:
        cannot(probe.stderr.strip())
    command = [sys.executable, "-m", module, scenario, str(directory)]
    done = subprocess.run(
        [*namespace(), *command], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_full_disk_refuses_whole_batches_until_there_is_room(tmp_path: Path) -> None:
    found = on_small_disk("full", tmp_path)
    assert found["taken"] > 10
    assert "cannot be read or written now (database or disk is full)" in found["said"]


def test_no_room_for_a_database(tmp_path: Path) -> None:
    assert "cannot be opened now" in on_small_disk("full_from_the_start", tmp_path)["said"]


def test_a_read_only_file_system_can_be_read(tmp_path: Path) -> None:
    said = on_small_disk("read_only", tmp_path)["said"]
    assert len(said) == 2
    assert all("now" in sentence for sentence in said)


def test_a_file_size_limit_is_like_a_full_disk(tmp_path: Path) -> None:
    """The same without any privilege: the kernel refuses to let the log grow."""
    store, _ = Store.open(tmp_path / "crew.db", now=NOW)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store:
        store.take_over()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
            taken, said = fill(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert taken > 10
        assert "now" in said
        assert store.load("team", fold).world.edited == names(1, taken)
