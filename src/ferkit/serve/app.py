"""The application: routes and what they share."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from .. import __version__
from .._threads import limit_opencv
from ..detect import DEFAULT_DETECTOR
from .catalogue import Catalogue
from .engine import Engine
from .metrics import Metrics
from .middleware import Watch, log
from .problems import Problem, busy
from .schemas import (
    ClassOut,
    ErrorBody,
    ErrorResponse,
    HealthResponse,
    LabelsOut,
    PredictResponse,
    WeightsOut,
    WeightsResponse,
)
from .security import key_of, may_open_stream, require_key
from .settings import Settings
from .stream import Stream, refuse
from .uploads import Upload, parse_multipart, read_body
from .wire import image_out

__all__ = ["app_from_env", "create_app"]

# Every file of the page, read once: a request picks a key of this table, so no path of a client ever reaches a disk.
_FILES = {
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "index.html": "text/html; charset=utf-8",
    "api.html": "text/html; charset=utf-8",
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "description": "One picture as the raw body, or several as multipart/form-data. JPEG, PNG, WebP, GIF or BMP.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "Not a picture that can be decoded, or a malformed body"},
    401: {"model": ErrorResponse, "description": "The API key is missing or wrong"},
    408: {"model": ErrorResponse, "description": "The body arrived too slowly"},
    413: {"model": ErrorResponse, "description": "Too many bytes, pixels or pictures"},
    415: {"model": ErrorResponse, "description": "Not a format that the service reads"},
    422: {"model": ErrorResponse, "description": "An unknown name, or an argument of the wrong kind"},
    503: {
        "model": ErrorResponse,
        "description": "The queue is full",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    },
}


class _Admission:
    """Counts what is in memory, so that uploads are bounded before they reach the queue. Event-loop only: no lock."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes, self._max_requests = settings.max_pending_bytes, 2 * settings.queue + 8
        self._bytes = self._requests = 0

    @contextmanager
    def enter(self, retry_after: int) -> Iterator[_Ticket]:
        if self._requests >= self._max_requests:
            raise busy(f"{self._requests} requests are being answered.", retry_after)
        self._requests += 1
        ticket = _Ticket(self, retry_after)
        try:
            yield ticket
        finally:
            self._requests -= 1
            self._bytes -= ticket.taken

    def take(self, count: int, retry_after: int) -> None:
        if self._bytes + count > self._max_bytes:
            raise busy("The service holds as many uploads as it may.", retry_after)
        self._bytes += count


class _Ticket:
    def __init__(self, admission: _Admission, retry_after: int) -> None:
        self._admission, self._retry_after, self.taken = admission, retry_after, 0

    def take(self, count: int) -> None:
        self._admission.take(count, self._retry_after)
        self.taken += count


def app_from_env() -> FastAPI:
    """Make the application from the settings in the environment; what a worker process starts with."""
    settings = Settings.from_env()
    limit_opencv(settings.threads)
    _give_memory_back()
    return create_app(settings)


def _give_memory_back() -> None:
    """Have glibc return every larger buffer to the system as soon as it is free.

    Left alone it learns from the first large photo to keep such buffers: 135 MB after some load with 12 megapixels
    (benchmarks/serve_load.py --photo-size 4000x3000). Other C libraries have no such setting, and nothing is done there.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(-3, 1 << 17)  # M_MMAP_THRESHOLD, fixed at what is otherwise its first value


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the ASGI application. The networks are opened when it starts, not here.

    Args:
        settings: None is the defaults.
    """
    settings = settings or Settings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def start() -> tuple[Catalogue, Engine]:
            catalogue = Catalogue(settings)
            engine = Engine(settings, catalogue, metrics, lambda error: log.error("a picture failed", exc_info=error))
            engine.start()
            return catalogue, engine

        app.state.catalogue, app.state.engine = await run_in_threadpool(start)
        log.info("ready", extra={"fields": {"weights": list(app.state.catalogue.specs), "lanes": settings.lanes, "version": __version__}})
        yield
        await run_in_threadpool(app.state.engine.stop)

    app = FastAPI(
        title="ferkit",
        version=__version__,
        description="Faces in, calibrated facial expressions out: apparent expression, not feeling.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.settings, app.state.metrics, app.state.admission, app.state.streams = settings, metrics, _Admission(settings), 0
    _add_errors(app)
    _add_probes(app)
    _add_v1(app, settings)
    _add_stream(app, settings, metrics)
    _add_page(app)
    routes = ["/", "/docs", "/openapi.json", "/v1/predict", "/v1/weights", "/v1/stream", "/healthz", "/readyz", "/metrics"]
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    app.add_middleware(Watch, metrics=metrics, routes=routes)
    return app


def _problem(problem: Problem) -> JSONResponse:
    body = ErrorResponse(error=ErrorBody(code=problem.code, message=problem.message))
    return JSONResponse(body.model_dump(by_alias=True), problem.status, headers=problem.headers())


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return _problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Where and what, without the value itself.
        reasons = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return _problem(Problem(422, "invalid", reasons[:500]))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        response = _problem(Problem(error.status_code, code, f"{error.detail}. The interface is described at /docs."))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return _problem(Problem(500, "internal", "ferkit failed on this request; the service's log says why."))


def _key(request: Request) -> None:
    require_key(key_of(request.headers), request.app.state.settings.api_key)


def _add_probes(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operations"], summary="The process answers", response_description="It does")
    async def healthz() -> HealthResponse:
        return HealthResponse(status="ok")

    @app.get(
        "/readyz", tags=["operations"], summary="The networks are loaded", response_description="They are", responses={503: _ERRORS[503]}
    )
    async def readyz() -> HealthResponse:
        engine = getattr(app.state, "engine", None)
        if engine is None or not engine.alive:
            raise busy("The networks are not loaded.", 1)
        return HealthResponse(status="ready")

    @app.get(
        "/metrics",
        tags=["operations"],
        summary="Prometheus metrics",
        response_description="Text exposition",
        dependencies=[Depends(_key)],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: _ERRORS[401]},
    )
    async def metrics() -> Response:
        return Response(app.state.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_v1(app: FastAPI, settings: Settings) -> None:
    @app.get(
        "/v1/weights",
        tags=["v1"],
        summary="The weights and label sets on offer",
        response_description="What predict accepts as weights and labels, with emoji and colours, and the limits",
        dependencies=[Depends(_key)],
        responses={401: _ERRORS[401]},
    )
    async def weights() -> WeightsResponse:
        return _weights(app.state.catalogue, settings)

    @app.post(
        "/v1/predict",
        tags=["v1"],
        summary="Find faces and classify their expressions",
        response_description="The faces of every picture; with draw=1 the annotated picture",
        description=(
            "Each picture of a multipart request answers for itself: one that cannot be decoded carries an error in its place. "
            "With draw=1 and one picture the answer is that picture with boxes, labels and bars, as PNG."
        ),
        response_model=PredictResponse,
        openapi_extra=_UPLOAD,
        responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}, **_ERRORS},
        dependencies=[Depends(_key)],
    )
    async def predict(
        request: Request,
        weights: Annotated[str | None, Query(description="A name from /v1/weights", max_length=200)] = None,
        labels: Annotated[str | None, Query(description="A label set of those weights", max_length=200)] = None,
        draw: Annotated[bool, Query(description="Answer the annotated picture")] = False,
    ) -> Any:
        choice = app.state.catalogue.choose(weights, labels)
        engine: Engine = app.state.engine
        with app.state.admission.enter(engine.retry_after()) as ticket:
            uploads = await _uploads(request, settings, ticket)
            if draw and len(uploads) > 1:
                raise Problem(422, "one_picture", f"draw=1 answers one picture; the request has {len(uploads)}.")
            answers = await engine.submit([upload.data for upload in uploads], choice, draw=draw)
        request.state.fields["images"] = len(uploads)
        failed = [answer for answer in answers if isinstance(answer, Problem)]
        if len(failed) == len(answers) or any(problem.status >= 500 for problem in failed):
            raise max(failed, key=lambda problem: problem.status)
        request.state.fields["faces"] = sum(len(answer.result) for answer in answers if not isinstance(answer, Problem))
        if draw:
            return Response(answers[0].picture, media_type="image/png")  # type: ignore[union-attr]
        images = [
            image_out(upload.name, answer if isinstance(answer, Problem) else answer.result)
            for upload, answer in zip(uploads, answers, strict=True)
        ]
        return PredictResponse(weights=choice[0], labels=choice[1], images=images)


async def _uploads(request: Request, settings: Settings, ticket: _Ticket) -> list[Upload]:
    body = await read_body(request.stream(), request.headers.get("content-length"), settings.max_bytes, settings.body_seconds, ticket.take)
    request.state.fields["bytes"] = len(body)
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        return parse_multipart(body, content_type, settings.max_images)
    if not body:
        raise Problem(400, "empty", "The body is empty. Try: curl --data-binary @photo.jpg ADDRESS, or curl -F image=@photo.jpg ADDRESS")
    return [Upload(body)]


def _weights(catalogue: Catalogue, settings: Settings) -> WeightsResponse:
    offered = []
    for name, spec in catalogue.specs.items():
        default = catalogue.default_labels(name)
        sets = [
            LabelsOut(
                name=set_name,
                default=set_name == default,
                classes=[
                    ClassOut(name=c, emoji=emoji, colour="#{:02x}{:02x}{:02x}".format(*colour))
                    for c, emoji, colour in zip(labels.classes, labels.emoji, labels.colours, strict=True)
                ],
            )
            for set_name, labels in catalogue.label_sets(name).items()
        ]
        offered.append(WeightsOut(name=name, default=name == catalogue.default[0], licence=spec.licence, labels=sets))
    limits = {key: getattr(settings, key) for key in ("max_bytes", "max_images", "max_pixels", "max_frame_bytes")}
    return WeightsResponse(ferkit=__version__, detector=settings.detector or DEFAULT_DETECTOR, limits=limits, weights=offered)


def _add_stream(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        if not may_open_stream(socket.headers, settings.cors):
            await socket.close()  # before accepting: HTTP 403
            return
        if app.state.streams >= settings.max_streams:
            await refuse(socket)
            return
        app.state.streams += 1
        metrics.streams.set(app.state.streams)
        try:
            await socket.accept()
            await Stream(socket, settings, app.state.catalogue, app.state.engine, metrics).run()
        finally:
            app.state.streams -= 1
            metrics.streams.set(app.state.streams)


def _add_page(app: FastAPI) -> None:
    folder = files(__package__) / "static"
    table: dict[str, tuple[bytes, str, str]] = {}
    for name, media_type in _FILES.items():
        data = (folder / name).read_bytes()
        table[name] = (data, media_type, f'"{hashlib.sha256(data).hexdigest()[:20]}"')

    def send(request: Request, name: str) -> Response:
        if name not in table:
            raise HTTPException(404)
        data, media_type, tag = table[name]
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=media_type, headers=headers)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
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
