"""`python -m orchestrator` is `crew`."""

from orchestrator.cli import run

if __name__ == "__main__":
    run()
