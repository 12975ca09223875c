"""The page's own files, from a table in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

__all__ = ["add_page", "tabled"]

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".wasm": "application/wasm",
}


@dataclass(frozen=True)
class _File:
    data: bytes
    media_type: str
    tag: str


def tabled(data: Mapping[str, bytes]) -> dict[str, _File]:
    """Return files by name, ready to be sent; those of an unknown kind are left out."""
    kinds = {name: _TYPES.get(PurePosixPath(name).suffix) for name in data}
    return {
        name: _File(content, kind, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
        for name, content in data.items()
        if (kind := kinds[name]) is not None
    }


def _has(tags: str, tag: str) -> bool:
    """Return whether ``If-None-Match`` names this tag: one of several, or weakly, as a proxy that compresses makes it (RFC 9110, 13.1.2)."""
    return tags.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in tags.split(",")]


def add_page(app: FastAPI) -> None:
    """Add the routes of the page and its files; ``app.state.browser`` has those with which a browser answers alone."""
    # Every file of the page, read once: a request picks a key of this table, so no path of a client ever reaches a disk.
    table = tabled({file.name: file.read_bytes() for file in (files(__package__) / "static").iterdir() if file.is_file()})

    def send(request: Request, name: str, table: Mapping[str, _File] = table) -> Response:
        if name not in table:
            raise HTTPException(404)
        file = table[name]
        headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
        if _has(request.headers.get("if-none-match", ""), file.tag):
            return Response(status_code=304, headers=headers)
        return Response(file.data, media_type=file.media_type, headers=headers)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return send(request, "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return send(request, "api.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon(request: Request) -> Response:
        return send(request, "icon.svg")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return send(request, name)

    @app.get("/local/{name}", include_in_schema=False)
    async def local(request: Request, name: str) -> Response:
        return send(request, name, request.app.state.browser)
