"""Who may call: the API key and the origin of a page."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from .problems import Problem

__all__ = ["key_of", "may_open_stream", "require_key"]


def key_of(headers: Headers) -> str | None:
    """Return the key of a request: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else headers.get("x-api-key")


def require_key(given: str | None, wanted: str | None) -> None:
    """Raise Problem 401 unless the key is right, or none is wanted. The comparison takes the same time for every wrong key."""
    if wanted is None:
        return
    if not hmac.compare_digest((given or "").encode("utf-8", "replace"), wanted.encode()):
        raise Problem(401, "unauthorized", "This service needs an API key; send the header Authorization: Bearer KEY.")


def may_open_stream(headers: Headers, cors: tuple[str, ...]) -> bool:
    """Return whether the page that opens a WebSocket is ours or allowed; browsers do not apply CORS to WebSockets."""
    origin = headers.get("origin")
    if origin is None:  # not a browser
        return True
    return origin in cors or urlsplit(origin).netloc == headers.get("host", "")
