"""The import contracts of pyproject.toml: each one, broken on purpose in a copy, is reported.

What they promise statically of the core is then looked at in a running interpreter.
"""

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = Path(sys.executable).with_name("lint-imports")
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
}


@dataclass(frozen=True)
class Break:
    """`line`, added to `module`, breaks the contract `id`."""

    id: str
    module: str
    line: str


BREAKS = [
    Break("layers", "errors", "from orchestrator import locations"),
    Break("layers", "locations", "from orchestrator.core import values"),
    Break("layers", "core.values", "from orchestrator import failpoints"),
    Break("layers", "core.values", "from orchestrator.sinks import store"),
    Break("layers", "sources.clock", "from orchestrator.sinks import store"),
    Break("layers", "sinks.store", "from orchestrator.tmux import control"),
    Break("layers", "tmux.control", "from orchestrator import definitions"),
    Break("layers", "tables", "from orchestrator import definitions"),
    Break("layers", "definitions", "from orchestrator import blueprints"),
    Break("layers", "definitions", "from orchestrator import trust"),
    Break("layers", "blueprints", "from orchestrator import trust"),
    Break("layers", "sinks.store", "from orchestrator import runner"),
    Break("layers", "runtime", "from orchestrator import runner"),
    Break("layers", "runner", "from orchestrator import supervisor"),
    Break("layers", "supervisor", "from orchestrator import cli"),
    Break("readers", "blueprints", "from orchestrator.tmux import bootstrap"),
    Break("readers", "definitions", "from orchestrator.sources import files"),
    Break("clients", "cli", "from orchestrator import supervisor"),
    Break("clients", "client", "from orchestrator import runtime"),
    Break("clients", "__main__", "from orchestrator.sources import processes"),
    Break("client", "client", "from orchestrator.core import state"),
    Break("client", "client", "import pydantic"),
    Break("client", "locations", "import psutil"),  # by way of another module
    Break("pure", "core.values", "from os import path"),
    Break("pure", "core.reducer", "if False:\n    import time"),
    Break("pure", "tmux.protocol", "def late():\n    import asyncio.subprocess"),
    Break("standalone", "launcher", "from orchestrator import errors"),
    Break("standalone", "demo.agent", "from orchestrator.core import text"),
    Break("unnamed", "runner", "from orchestrator import launcher"),
    Break("unnamed", "cli", "from orchestrator.demo import agent"),
    Break("click", "client", "import click"),
    Break("pydantic", "runtime", "from pydantic import BaseModel"),
    Break("libtmux", "tmux.control", "import libtmux"),
    Break("watchdog", "sources.ptys", "from watchdog.observers import Observer"),
    Break("asyncinotify", "sources.files", "import asyncinotify"),
    Break("psutil", "runner", "import psutil"),
    Break("aiofiles", "requests", "import aiofiles.os"),
    Break("textual", "cli", "from textual.app import App"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "orchestrator", tmp_path / "orchestrator", ignore=skip)
    return tmp_path


def lint(directory: Path, *contracts: str) -> tuple[bool, str]:
    """Whether the contracts (all, if none is named) are kept, and what was printed."""
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    done = subprocess.run(
        [LINT, "--no-cache", "--no-logo", *chosen],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "is not configured correctly" not in done.stdout, done.stdout
    return done.returncode == 0, " ".join(done.stdout.split())


def add(directory: Path, module: str, line: str) -> None:
    file = directory / "orchestrator" / (module.replace(".", "/") + ".py")
    assert file.is_file(), f"{module} is no module any more: break the contract elsewhere"
    with file.open("a") as end:
        end.write(f"\n\n{line}\n")


def test_all_contracts_are_kept(copy: Path) -> None:
    kept, printed = lint(copy)
    assert kept, printed
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in printed


def test_every_contract_is_broken_below() -> None:
    assert {each.id for each in BREAKS} == set(CONTRACTS)


@pytest.mark.parametrize("broken", BREAKS, ids=lambda b: f"{b.id}-{b.module}-{b.line[-20:]}")
def test_a_broken_contract_is_reported(copy: Path, broken: Break) -> None:
    add(copy, broken.module, broken.line)
    kept, printed = lint(copy, broken.id)
    assert not kept
    assert f"{CONTRACTS[broken.id]['name']} BROKEN" in printed
    assert f"orchestrator.{broken.module} -> " in printed


@pytest.mark.parametrize("contract", ["pure", "client"])
def test_each_forbidden_module_is_found(copy: Path, contract: str) -> None:
    for module in (m.removeprefix("orchestrator.") for m in CONTRACTS[contract]["source_modules"]):
        source = module if "." in module or module == "client" else f"{module}.values"
        forbidden = CONTRACTS[contract]["forbidden_modules"]
        add(copy, source, "\n".join(f"import {name}" for name in forbidden))
        _, printed = lint(copy, contract)
        for name in forbidden:
            assert f"orchestrator.{source} -> {name} (" in printed


def test_a_module_without_a_place_is_reported(copy: Path) -> None:
    (copy / "orchestrator/novel.py").write_text("")
    kept, printed = lint(copy, "layers")
    assert not kept
    assert "- orchestrator.novel" in printed


# -- at run time ---------------------------------------------------------------------------------

# What the core's declared tools load by themselves is no doing of the core.
LOADED = """
import sys
sys.path[:0] = json_paths
import dataclasses, enum, typing, re, json
before = set(sys.modules)
import importlib, pkgutil
for package in packages:
    for module in pkgutil.iter_modules([f"{json_paths[0]}/{package.replace('.', '/')}"]):
        if only is None or module.name in only:
            importlib.import_module(f"{package}.{module.name}")
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded(package: str, only: list[str] | None, base: Path = ROOT) -> set[str]:
    """Top-level names that importing a package's modules adds to a bare interpreter."""
    head = f"json_paths = [{str(base)!r}]\npackages = [{package!r}]\nonly = {only!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", head + LOADED],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


FORBIDDEN = set(CONTRACTS["pure"]["forbidden_modules"])


def test_importing_the_core_loads_nothing_forbidden() -> None:
    got = loaded("orchestrator.core", None)
    assert "orchestrator" in got
    assert not got & FORBIDDEN


def test_importing_the_parser_loads_nothing_forbidden() -> None:
    got = loaded("orchestrator.tmux", ["protocol"])
    assert "orchestrator" in got
    assert not got & FORBIDDEN


def test_the_look_at_run_time_sees_what_it_should(copy: Path) -> None:
    add(copy, "core.values", "__import__('asyncio')")
    assert {"asyncio", "subprocess", "socket"} <= loaded("orchestrator.core", ["values"], copy)
