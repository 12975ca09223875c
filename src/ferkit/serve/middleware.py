"""Around every request: an id, the security headers, one structured log line, the metrics."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Collection
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

__all__ = ["JsonFormatter", "Watch", "log"]

log = logging.getLogger("ferkit.serve")

# No inline script or style, nothing from elsewhere; blob: is a chosen photo or a picture to download.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_METHODS = {"GET", "HEAD", "POST", "OPTIONS"}


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


class Watch:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Collection[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(6)
        # What fills labels and logs comes from fixed lists, so that no client can make them grow.
        route = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        route = route if route in self._routes else "/static" if route.startswith("/static/") else "other"
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        scope.setdefault("state", {})["fields"] = fields = {"id": request_id, "method": method, "route": route}
        start, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers["X-Request-Id"] = request_id
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - start
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            # Probes come every few seconds for ever; they are worth a line only when they fail.
            quiet = status < 400 and route in ("/healthz", "/readyz", "/metrics")
            log.log(
                logging.DEBUG if quiet else logging.INFO,
                "request",
                extra={"fields": {**fields, "status": status, "ms": round(seconds * 1000, 1)}},
            )
