"""The service's log: JSON lines on standard error, all of them."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from functools import cache
from typing import Any, TextIO

__all__ = ["LOGGING", "FewOfAKind", "JsonFormatter", "StandardError", "log", "log_everything", "log_libraries"]

log = logging.getLogger("ferkit.serve")

_KINDS = 1000  # of warnings whose number is remembered
_LONGEST = 2000  # characters of a library's line

# Every line on standard error is JSON: the service's, uvicorn's, warnings, and what other packages say.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "ferkit.serve.logs.JsonFormatter"}},
    "filters": {"few": {"()": "ferkit.serve.logs.FewOfAKind"}},
    "handlers": {"stderr": {"()": "ferkit.serve.logs.StandardError", "formatter": "json", "filters": ["few"]}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"uvicorn": {"level": "INFO"}, "ferkit.serve": {"level": "INFO"}, "ferkit.serve.sockets": {"level": "WARNING"}},
}


class JsonFormatter(logging.Formatter):
    """One JSON object a line. Nothing that was uploaded is in it: no pixels, no file names, no query."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class FewOfAKind(logging.Filter):
    """Lets a few warnings of each kind through in some seconds, and counts the others: an attack must not fill a disk.

    Args:
        most: Lines of one kind.
        seconds: In so many.
    """

    def __init__(self, most: int = 5, seconds: float = 10.0) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, str(record.msg)[:200])
        begun, count = self._kinds.get(kind, (record.created, 0))
        if record.created - begun > self._seconds:
            if count > self._most:
                record.fields = {**getattr(record, "fields", {}), "left_out": count - self._most}
            begun, count = record.created, 0
        if len(self._kinds) > _KINDS:
            self._kinds.clear()
        self._kinds[kind] = (begun, count + 1)
        return count < self._most


class StandardError(logging.StreamHandler[TextIO]):
    """Writes to what was standard error when the process began, whoever writes to the descriptor now."""

    def __init__(self) -> None:
        super().__init__(_own_stderr())


@cache
def _own_stderr() -> TextIO:
    return os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def log_libraries() -> None:
    """Make log lines of what libraries write to standard error: decoders written in C know no other place for their complaints."""
    _own_stderr()
    come, go = os.pipe()
    os.dup2(go, 2)
    os.close(go)
    said = logging.getLogger("ferkit.serve.library")

    def read() -> None:
        with os.fdopen(come, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if text := line.rstrip():
                    said.warning("a library says: %s", text[:_LONGEST])

    threading.Thread(target=read, name="ferkit-stderr", daemon=True).start()


def log_everything() -> None:
    """Send this process's warnings and uncaught errors to the log too."""
    logging.captureWarnings(True)
    fault = logging.getLogger("ferkit.serve.fault")
    sys.excepthook = lambda kind, error, trace: fault.critical("the process ends", exc_info=(kind, error, trace))
    threading.excepthook = lambda args: fault.error("a thread ended", exc_info=args.exc_value)
