"""Fixtures of whatever drives the real CLI; a conftest that wants them imports them."""

from collections.abc import Iterator

import pytest

from tests.claude.api import MessagesApi
from tests.claude.cli import available
from tests.counts import cannot


@pytest.fixture
def api() -> Iterator[MessagesApi]:
    with MessagesApi() as serving:
        yield serving


@pytest.fixture
def claude_cli() -> None:
    """The pinned CLI is there; else the test cannot be made (and fails where CI=true)."""
    why = available()
    if why is not None:
        cannot(why, required=True)
