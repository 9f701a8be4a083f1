"""The HOME of a person who has used the Claude CLI before, and a clean environment for it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tests.claude.api import MessagesApi
from tests.claude.cli import BIN

KEY = "sk-ant-fake-key-for-local-testing-0000000000"


def prepare(
    home: Path,
    root: Path,
    *,
    trusted: bool = True,
    onboarded: bool = True,
    key_approved: bool = True,
) -> None:
    """Write `.claude.json`: which of the first dialogs were answered, for work in `root`.

    Without `onboarded` the CLI asks servers elsewhere, whatever address it is given.
    """
    answers = {
        "hasCompletedOnboarding": onboarded,
        "customApiKeyResponses": {"approved": [KEY[-20:]] if key_approved else [], "rejected": []},
        "projects": {str(root): {"hasTrustDialogAccepted": True}} if trusted else {},
    }
    (home / ".claude.json").write_text(json.dumps(answers))


def environment(api: MessagesApi, home: Path, path: str = os.defpath) -> Mapping[str, str]:
    """Everything that a CLI is started with: nothing of the machine's but its programs."""
    return {
        "PATH": f"{BIN}:{path}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "SHELL": "/bin/sh",
        # Its sockets and its tools' output; else both are in /tmp, and outlive it there.
        "CLAUDE_CODE_TMPDIR": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # Which the switch above leaves on: a clone of a repository, elsewhere.
        "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    }
