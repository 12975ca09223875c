"""The hosts and origins that browsers and proxies write into headers, read strictly: what is no host is none."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["PORTS", "Host", "Origin"]

PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]\\,]+)(?::([0-9]*))?")


@dataclass(frozen=True)
class Host:
    """A name or an address, in lower case, without brackets and without the dot at a full name's end; and the port's digits, or none."""

    name: str
    port: str

    @staticmethod
    def of(text: str, default: str = "") -> Host | None:
        """Read ``Host``, or what follows the scheme of an origin; ``default`` is the port where none is written. None: it is no host."""
        parts = _AUTHORITY.fullmatch(text)
        name = "" if parts is None else parts[1].lower().strip("[]").removesuffix(".")
        return Host(name, parts[2] or default) if parts is not None and name and not name.endswith(".") else None


@dataclass(frozen=True)
class Origin:
    """Where a page comes from."""

    scheme: str
    host: Host

    @staticmethod
    def of(text: str) -> Origin | None:
        """Read an ``Origin``. None: it is none of a page that a server sent, over http or https."""
        scheme, _, authority = text.partition("://")
        host = Host.of(authority, PORTS[scheme.lower()]) if scheme.lower() in PORTS else None
        return None if host is None else Origin(scheme.lower(), host)
