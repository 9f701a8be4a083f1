"""The stand-in and the CLI, for the tests of this directory."""

from tests.claude.fixtures import api, claude_cli

__all__ = ["api", "claude_cli"]
