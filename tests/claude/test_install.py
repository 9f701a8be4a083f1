"""How bin/test gets the CLI, with a stand-in for npm: once, whole, or not at all."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import ROOT, System, environment, run
from tests.claude.cli import PIN
from tests.support import wait_until

SCRIPT = """#!/bin/sh
set -eu
self=$0
. "${self%/*}/_setup"
. "${self%/*}/_claude"
fetch_claude
echo goes on
"""
# Where npm is to install, as its arguments say.
NPM = """echo "$*" >>"{asked}"
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/.bin"
{then}
printf '#!/bin/sh\\necho "{version} (Claude Code)"\\n' >"$2/node_modules/.bin/claude"
chmod +x "$2/node_modules/.bin/claude"
"""


class Checkout:
    """A directory with what the installation needs of a checkout, and a system with our npm."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "check out"
        self.asked = directory / "asked"
        self.system = System(directory, lacks={"npm"})
        self.cache = self.root / ".cache/claude"
        for name in ("bin/_setup", "bin/_claude", "tests/claude/pin.txt"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.script = self.root / "bin/test"
        self.script.write_text(SCRIPT)
        self.script.chmod(0o755)
        self.env = environment(directory, str(self.system.bin))

    def npm(self, then: str = "", version: str = PIN) -> None:
        self.system.add("npm", NPM.format(asked=self.asked, then=then, version=version))

    def fetch(self, **env: str) -> "subprocess.CompletedProcess[str]":
        done = run(self.script, env={**self.env, **env})
        assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
        return done

    def times(self) -> int:
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0


INSTALLS = f"test: installs the Claude CLI {PIN} for the tests (npm)\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_installed_once_then_silent(checkout: Checkout) -> None:
    checkout.npm()
    assert checkout.fetch().stderr == INSTALLS
    assert f"@anthropic-ai/claude-code@{PIN}" in checkout.asked.read_text()
    assert checkout.fetch().stderr == ""
    assert checkout.times() == 1
    assert [each.name for each in checkout.cache.iterdir()] == [PIN]


def test_two_at_once_install_it_once(checkout: Checkout, tmp_path: Path) -> None:
    started, go_on = tmp_path / "started", tmp_path / "go on"
    os.mkfifo(go_on)
    checkout.npm(f': >"{started}"; read -r _ <"{go_on}"')
    said = [tmp_path / "one", tmp_path / "two"]
    both = []
    for each in said:
        with each.open("w") as file:
            both.append(
                subprocess.Popen(
                    [checkout.script],
                    env=checkout.env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                )
            )
    try:
        wait_until(started.exists, "npm runs")
        waits = "waits for another installation"
        wait_until(lambda: any(waits in each.read_text() for each in said), "the other waits")
    finally:
        with go_on.open("w") as file:
            file.write("\n")
        ended = [process.wait(timeout=40) for process in both]
    assert ended == [0, 0]
    assert checkout.times() == 1


def test_an_installation_that_was_killed_is_made_anew(checkout: Checkout, tmp_path: Path) -> None:
    started = tmp_path / "started"
    checkout.npm(f': >"{started}"; exec sleep 600')
    process = subprocess.Popen(
        [checkout.script],
        env=checkout.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(started.exists, "npm runs")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (checkout.cache / PIN).exists()
    checkout.npm()
    # Who was killed may keep the lock for a moment.
    assert checkout.fetch().stderr.endswith(INSTALLS)
    assert checkout.fetch().stderr == ""


@pytest.mark.parametrize(
    ("then", "version", "why"),
    [
        ("echo no network >&2; exit 1", PIN, "npm could not install it; its messages are in "),
        ("", "1.0.0", f"what npm installed does not say that it is {PIN}\n"),
    ],
    ids=["npm fails", "another version"],
)
def test_it_goes_on_without(checkout: Checkout, then: str, version: str, why: str) -> None:
    checkout.npm(then, version)
    said = checkout.fetch().stderr
    assert said.startswith(f"{INSTALLS}test: goes on without the Claude CLI: {why}")
    assert said.count("\n") == 2
    assert not list(checkout.cache.glob("*/"))
    if then:
        assert Path(said.partition("are in ")[2].strip()).read_text() == "no network\n"
    checkout.npm()
    assert checkout.fetch().stderr == INSTALLS


def test_it_goes_on_without_npm(checkout: Checkout) -> None:
    said = checkout.fetch().stderr
    assert said == "test: goes on without the Claude CLI: npm, which installs it, is missing\n"


def test_another_installation_is_left_alone(checkout: Checkout) -> None:
    checkout.npm()
    assert checkout.fetch(CREW_TEST_CLAUDE="/elsewhere").stderr == ""
    assert not checkout.cache.exists()
