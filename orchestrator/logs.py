"""The supervisor's log: lines of JSON, rotated, private. Lower-case, past tense, no secrets.

`crew logs` shows what agents printed; this is what the supervisor did. The level is INFO, or what
CREW_LOG_LEVEL says.
"""

import json
import logging
import logging.handlers
import os
from pathlib import Path

from orchestrator.core.effects import Notify

# A day of a busy team is about 1 MB.
SIZE = 2 * 1024 * 1024
KEPT = 3
# The fixed set of extra keys.
EXTRA = ("agent", "pid", "uid", "took")


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "from": record.name.removeprefix("orchestrator."),
            "said": record.getMessage(),
        }
        for key in EXTRA:
            value = getattr(record, key, None)
            if value is not None:
                line[key] = value
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start_log(path: Path) -> None:
    """Send the process's log to `path` (0600 by the process's umask)."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=SIZE, backupCount=KEPT)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get("CREW_LOG_LEVEL", "INFO").upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # A log that cannot be written (disk full) is no reason to end, or to write to stderr.
    logging.raiseExceptions = False


def say(notice: Notify) -> None:
    """Put a notice in the log."""
    level = logging.getLevelNamesMapping()[notice.level.upper()]
    logging.getLogger(__name__).log(level, notice.text, extra={"agent": notice.agent})
