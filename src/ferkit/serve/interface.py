"""What the OpenAPI description says beside the routes: bodies, errors, examples, and how a key is sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .schemas import ErrorResponse

__all__ = ["EXAMPLE", "describe", "errors", "upload"]

EXAMPLE: dict[str, Any] = {
    "schema": 1,
    "weights": "fer2013-s-v6",
    "labels": "photos",
    "images": [
        {
            "image": "photo.jpg",
            "width": 512,
            "height": 512,
            "faces": [
                {
                    "box": [178.11, 57.3, 268.75, 176.03],
                    "score": 0.925,
                    "landmarks": [[203.46, 101.95], [245.23, 105.32], [221.78, 125.76], [203.56, 140.71], [239.21, 143.73]],
                    "label": "happy",
                    "confidence": 0.928,
                    "probabilities": {
                        "angry": 0.009, "disgust": 0.01, "fear": 0.008, "happy": 0.928, "sad": 0.007, "surprise": 0.013, "neutral": 0.025,
                    },
                }
            ],
            "error": None,
        }
    ],
}  # fmt: skip

_REASONS = {
    400: ("damaged", "Not a picture that can be decoded, or a malformed body"),
    401: ("unauthorized", "The API key is missing or wrong"),
    403: ("foreign_page", "Another site's page asks, and its origin is not on the list"),
    404: ("not_found", "No such route or job"),
    405: ("method_not_allowed", "The route has no such method"),
    409: ("not_ready", "The film is not read yet"),
    408: ("too_slow", "The request arrived too slowly"),
    413: ("too_large", "Too many bytes, pixels, parts or pictures"),
    415: ("unsupported_type", "Not a format that the service reads"),
    421: ("wrong_host", "The service does not answer under this name"),
    422: ("unknown_weights", "An unknown name or parameter, or an argument of the wrong kind"),
    429: ("too_many_connections", "This address has too many connections at work"),
    500: ("internal", "A fault of the service, which is in its log"),
    501: ("no_video", "The service does not offer this: it reads no films, or explains nothing"),
    503: ("busy", "The queue is full; Retry-After says how many seconds to wait"),
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of some error statuses, and of those that every route may answer."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 403, 408, 421, 429, 500, 503}):
        code, reason = _REASONS[status]
        example = {"schema": 1, "error": {"code": code, "message": f"{reason}."}, "request_id": "8c0f3d1a52be"}
        described[status] = {"model": ErrorResponse, "description": reason, "content": {"application/json": {"example": example}}}
        if status in (429, 503):
            described[status]["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return described


def upload(kinds: str) -> dict[str, Any]:
    """Return the description of a body with pictures of these kinds."""
    binary = {"type": "string", "format": "binary"}
    return {
        "requestBody": {
            "required": True,
            "description": f"One picture as the raw body, or several as multipart/form-data: {kinds}.",
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {"image": {"type": "array", "minItems": 1, "items": binary}},
                    }
                },
                "application/octet-stream": {"schema": binary},
                "image/*": {"schema": binary},
            },
        }
    }


def describe(app: FastAPI, *, key: bool) -> None:
    """Give the application's OpenAPI its security schemes. ``key``: this service asks for one."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            # An older FastAPI adds a proxy's prefix to app.servers, a newer one to the answer.
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, servers=app.servers or None
            )
            schema.setdefault("components", {})["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            wanted: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    if path.startswith("/v1/") or path == "/metrics":
                        operation["security"] = wanted if key else [{}, *wanted]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
