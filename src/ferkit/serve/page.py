"""The page's own files, from a table in memory."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

__all__ = ["add_page"]

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}


def add_page(app: FastAPI) -> None:
    """Add the routes of the page and its files."""
    # Every file of the page, read once: a request picks a key of this table, so no path of a client ever reaches a disk.
    table: dict[str, tuple[bytes, str, str]] = {}
    for file in (files(__package__) / "static").iterdir():
        if (media_type := _TYPES.get(PurePosixPath(file.name).suffix)) is not None:
            data = file.read_bytes()
            table[file.name] = (data, media_type, f'"{hashlib.sha256(data).hexdigest()[:20]}"')

    def send(request: Request, name: str) -> Response:
        if name not in table:
            raise HTTPException(404)
        data, media_type, tag = table[name]
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=media_type, headers=headers)

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
