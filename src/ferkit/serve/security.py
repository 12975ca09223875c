"""Who may call: the API key, the origin of a page, and the name under which the service is called."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers

from .origins import PORTS, Host, Origin
from .problems import Problem

__all__ = ["is_known_host", "is_ours", "key_of", "require_key"]


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


def is_ours(headers: Headers, cors: tuple[str, ...]) -> bool:
    """Return whether a request comes from our own page, an allowed one, or from no page at all.

    Browsers send a foreign page's simple posts and its WebSockets without asking first; only these headers tell.
    """
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    own = Origin.of(origin)
    return origin in cors or (own is not None and own.host == Host.of(headers.get("host", ""), PORTS[own.scheme]))


def is_known_host(headers: Headers, hosts: tuple[str, ...]) -> bool:
    """Return whether the name that a client asks for is one of ``hosts``; none means any.

    A page that makes its own name point to this machine (DNS rebinding) is same-origin to a browser; its name gives it away.
    """
    if not hosts or "*" in hosts:
        return True
    asked = Host.of(headers.get("host", ""))
    return asked is not None and asked.name in {host.lower().strip("[]").removesuffix(".") for host in hosts}
