"""The demo agent's program: `python -I agent.py --session-id UUID | --resume UUID ...`."""

import sys
import types
from pathlib import Path


def main() -> None:
    """Run the agent, also where this file is not imported as a part of a package."""
    global __package__
    if not __package__:
        # A script under -I finds none of its neighbours: make this directory a package by itself.
        __package__ = "demo_agent"
        package = types.ModuleType(__package__)
        package.__path__ = [str(Path(__file__).resolve().parent)]
        sys.modules[__package__] = package
    from .app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
