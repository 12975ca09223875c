"""Around every request: an id, the security headers, one structured log line, the metrics; and who is let in at all."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import log
from .metrics import Metrics
from .problems import Problem
from .security import is_known_host, is_ours
from .settings import Settings
from .wire import error_json

__all__ = ["Doorman", "Watch", "policy"]


def policy(*, wasm: bool = False, framed: bool = True) -> str:
    """Return the page's Content-Security-Policy: no inline script or style, nothing from elsewhere; blob: is a chosen photo or a picture to save.

    Args:
        wasm: The page may run WebAssembly, for networks in the browser.
        framed: Also forbid other pages to frame it, which only a header can.
    """
    rules = [
        "default-src 'none'",
        f"script-src 'self'{' ' + repr('wasm-unsafe-eval') if wasm else ''}",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*rules, *(["frame-ancestors 'none'"] if framed else [])])


SECURITY_HEADERS = {
    "Content-Security-Policy": policy(),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_BELOW = ("/static", "/local", "/v1/jobs")
_SAFE = {"GET", "HEAD", "OPTIONS"}
_METHODS = _SAFE | {"POST", "DELETE"}


class Watch:
    """ASGI middleware, the outermost. A HEAD request is answered as the GET of the same route, without a body."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Collection[str], *, wasm: bool = False) -> None:
        self._headers = {**SECURITY_HEADERS, "Content-Security-Policy": policy(wasm=wasm)}
        self._app, self._metrics, self._routes = app, metrics, frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(6)
        # What fills labels and logs comes from fixed lists, so that no client can make them grow.
        route = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        below = next((prefix for prefix in _BELOW if route.startswith(f"{prefix}/")), "other")
        route = route if route in self._routes else below
        method = scope.get("method", "GET")
        method = method if method in _METHODS else "OTHER"
        scope.setdefault("state", {})["fields"] = fields = {"id": request_id, "method": method, "route": route}
        start, status, begun = time.perf_counter(), 500, False
        if scope["type"] == "websocket":
            try:
                await self._app(scope, receive, send)
            finally:
                log.info("stream", extra={"fields": {**fields, "seconds": round(time.perf_counter() - start, 1)}})
            return

        async def watched(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers["X-Request-Id"] = request_id
                headers.setdefault("Cache-Control", "no-store")
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app({**scope, "method": "GET"} if method == "HEAD" else scope, receive, watched)
        except Exception:  # a fault of ours, which the server logs
            if not begun:
                body = error_json(Problem(500, "internal", "ferkit failed on this request; the service's log says why."), request_id)
                await Response(body, 500, None, "application/json")(scope, receive, watched)
            raise
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


class Doorman:
    """ASGI middleware that turns away wrong host names and other sites' pages, before a byte of a body is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else None
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it was accepted: HTTP 403
        else:
            body = error_json(problem, scope["state"]["fields"]["id"])
            headers = {"Connection": "close"} if problem.status == 400 else None
            await Response(body, problem.status, headers, "application/json")(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy may go by the one and this service by the other, and take the end of a body for the next request (RFC 9112, section 6.1).
            return Problem(400, "bad_request", "Both Transfer-Encoding and Content-Length, of which one may be meant; send one.")
        if not is_known_host(headers, self._settings.hosts):
            return Problem(421, "wrong_host", f"Not a name of this service; it answers as {', '.join(self._settings.hosts)}.")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and not is_ours(headers, self._settings.cors):
            return Problem(403, "foreign_page", "Another site's page asks; its origin has to be allowed with --cors.")
        return None
