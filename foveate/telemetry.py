"""Logs: one JSON object a line, ids as fields, never in the message.

In: a level and who is logging. Out: the root logger, configured once by an app's `__main__`.
Knows nothing of what is logged.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import ClassVar


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), level, app, logger, message and the record's own fields."""

    _PLAIN: ClassVar[frozenset[str]] = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def __init__(self, app: str) -> None:
        super().__init__()
        self._app = app

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "app": self._app,
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in self._PLAIN},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def log_to_stderr(*, app: str, level: str = "INFO") -> None:
    """Sends every log record of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(app))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The client logs each reconnect attempt; the bus says once what matters.
    logging.getLogger("nats").setLevel(logging.ERROR)
