"""Each recorded screen is read as what `expected.toml` beside it says that it shows.

`tests/screens/CLI/VERSION/` holds the screens of one version, `tests/screens/CLI/` those of a CLI
that has none. `crew record` makes such files.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.core.screen import read
from orchestrator.core.spec import Reported
from orchestrator.core.versions import for_version
from orchestrator.definitions import load_definition

SCREENS = Path(__file__).parents[1] / "screens"
DIRECTORIES = sorted({file.parent for file in SCREENS.rglob("*.txt")})


def place(path: Path) -> str:
    return str(path.relative_to(SCREENS))


def expected(directory: Path) -> dict[str, str]:
    file = directory / "expected.toml"
    return tomllib.loads(file.read_text("utf-8")) if file.exists() else {}


def every() -> Iterator[tuple[Path, str]]:
    for directory in DIRECTORIES:
        for name, status in expected(directory).items():
            yield directory / f"{name}.txt", status


@pytest.mark.parametrize("directory", DIRECTORIES, ids=place)
def test_each_screen_has_a_line_and_each_line_a_screen(directory: Path) -> None:
    told = expected(directory)
    assert sorted(told) == sorted(file.stem for file in directory.glob("*.txt"))
    assert set(told.values()) <= {*get_args(Reported), "unknown"}


@pytest.mark.parametrize(
    ("file", "status"), [pytest.param(*each, id=place(each[0])) for each in every()]
)
def test_a_screen_is_read_as_it_is_expected(file: Path, status: str) -> None:
    cli, *version = file.parent.relative_to(SCREENS).parts
    spec, guess = for_version(load_definition(cli, None).screen, version[0] if version else None)
    assert guess is None, "the definition is written against the versions of the corpus"
    assert (read(file.read_text("utf-8").split("\n"), spec).status or "unknown") == status
