"""The application: routes and what they share."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from .. import __version__
from ..colors import in_hex
from ..engines.threads import limit_opencv
from ..protocols import Classifier, Detector
from .admission import Admission, StreamPlaces, Ticket
from .catalogue import Catalogue, Own
from .connections import raise_descriptor_limit
from .engine import Answer, Engine
from .films import add_films, why_no_films
from .interface import EXAMPLE, describe, errors, upload
from .jobs import Jobs
from .logs import log, log_everything, log_libraries
from .memory import keep_small_buffers
from .metrics import Metrics
from .middleware import Doorman, Watch
from .page import add_page, tabled
from .people import TRACKS_PEOPLE
from .problems import Problem, busy
from .schemas import ClassOut, ExplainResponse, HealthResponse, LabelsOut, PredictResponse, WeightsOut, WeightsResponse
from .security import key_of, require_key
from .settings import Settings
from .static_export import browser_files
from .stream import Stream
from .uploads import FORMATS, Arrival, Pace, Upload, parse_multipart, read_body
from .wire import error_json, explained_out, image_out

__all__ = ["app_from_env", "create_app"]


def app_from_env() -> FastAPI:
    """Make the application from the settings in the environment; what a worker process starts with."""
    settings = Settings.from_env()
    log_everything()
    log_libraries()
    fitting = raise_descriptor_limit(settings.max_connections)
    if fitting < settings.max_connections:
        log.warning("the limit of open files leaves room for %d connections, not %d", fitting, settings.max_connections)
        settings = replace(settings, max_connections=fitting)
        os.environ.update(settings.to_env())  # from which every connection reads its limits
    limit_opencv(settings.threads)
    keep_small_buffers()
    return create_app(settings)


def create_app(settings: Settings | None = None, *, detector: Detector | None = None, classifiers: Sequence[Classifier] = ()) -> FastAPI:
    """Make the ASGI application. The networks are opened when it starts, not here.

    Args:
        settings: None stands for the defaults.
        detector: Finds the faces, instead of the one that the settings name; the lanes call it in turn.
        classifiers: On offer by their names, beside the weights that the settings name, or instead of the bundled ones. Films
            are then not read: a process of their own reads them, which opens what it needs by name.
    """
    settings, own = settings or Settings(), Own(detector, tuple(classifiers))
    metrics = Metrics()
    app = FastAPI(
        title="ferkit",
        version=__version__,
        description="Faces in, calibrated facial expressions out: apparent expression, not feeling.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=_lifespan(settings, own, metrics),
    )
    app.state.settings, app.state.metrics = settings, metrics
    app.state.browser = {}
    app.state.admission, app.state.places = Admission(settings), StreamPlaces(settings.max_streams)
    _add_errors(app)
    _add_probes(app)
    _add_v1(app, settings)
    _add_explain(app, settings)
    add_films(app, settings, [Depends(_key), Depends(_known_parameters)])
    _add_stream(app, settings, metrics)
    add_page(app)
    describe(app, key=settings.api_key is not None)
    routes = {path for route in app.routes if "{" not in (path := getattr(route, "path", "{"))}
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    app.add_middleware(Doorman, settings=settings)
    app.add_middleware(Watch, metrics=metrics, routes=routes, wasm=settings.onnxruntime_web is not None)
    return app


def _lifespan(settings: Settings, own: Own, metrics: Metrics) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what opens the networks when the service starts, and stops its work when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(_log_fault_of_loop)

        def start() -> tuple[Catalogue, Engine]:
            catalogue = Catalogue(settings, own)
            engine = Engine(settings, catalogue, metrics, lambda error: log.error("a picture failed", exc_info=error))
            engine.start()
            if settings.onnxruntime_web is not None:
                app.state.browser = tabled(browser_files(catalogue, settings.onnxruntime_web))
            return catalogue, engine

        app.state.catalogue, app.state.engine = await run_in_threadpool(start)
        app.state.jobs = Jobs(settings)
        app.state.jobs.start()
        log.info("ready", extra={"fields": {"weights": list(app.state.catalogue.offers), "lanes": settings.lanes, "version": __version__}})
        yield
        await app.state.jobs.stop()
        await run_in_threadpool(app.state.engine.stop)

    return lifespan


def _log_fault_of_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for what the event loop has to say. Out of descriptors it says the same two thousand times in a row."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logging.getLogger("ferkit.serve.loop").warning("%s: %s", context["message"], error.strerror)
    else:
        logging.getLogger("ferkit.serve.loop").error(context["message"], exc_info=error)


def _problem(request: Request, problem: Problem) -> Response:
    body = error_json(problem, request.state.fields.get("id"))
    return Response(body, problem.status, problem.headers(), "application/json")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return _problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Where and what, without the value itself.
        reasons = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return _problem(request, Problem(422, "invalid", reasons[:500]))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed", 426: "upgrade_required"}.get(error.status_code, "http_error")
        response = _problem(request, Problem(error.status_code, code, f"{error.detail}. The interface is described at /docs."))
        response.headers.update(error.headers or {})
        return response


def _key(request: Request) -> None:
    require_key(key_of(request.headers), request.app.state.settings.api_key)


def _known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: a misspelt one would be ignored without a word."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        expected = f"expected {', '.join(known)}" if known else "this route has none"
        raise Problem(422, "unknown_parameter", f"Unknown query parameter {unknown[0][:80]!r}; {expected}.")


def _add_probes(app: FastAPI) -> None:
    known = Depends(_known_parameters)

    @app.get(
        "/healthz",
        tags=["operations"],
        summary="The process answers",
        response_description="It does",
        operation_id="health",
        responses=errors(422),
        dependencies=[known],
    )
    async def healthz() -> HealthResponse:
        return HealthResponse(status="ok")

    @app.get(
        "/readyz",
        tags=["operations"],
        summary="The networks are loaded",
        response_description="They are",
        operation_id="ready",
        responses=errors(422),
        dependencies=[known],
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
        operation_id="metrics",
        dependencies=[Depends(_key), known],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors(401, 422)},
    )
    async def metrics() -> Response:
        return Response(app.state.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_v1(app: FastAPI, settings: Settings) -> None:
    @app.get(
        "/v1/weights",
        tags=["v1"],
        summary="The weights and label sets on offer",
        response_description="What predict accepts as weights and labels, with emoji and colours, and the limits",
        operation_id="weights",
        dependencies=[Depends(_key), Depends(_known_parameters)],
        responses=errors(401, 422),
    )
    async def weights() -> WeightsResponse:
        return _weights(app.state.catalogue, app.state.jobs, settings)

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
        operation_id="predict",
        openapi_extra=upload(FORMATS),
        responses={
            200: {"content": {"application/json": {"example": EXAMPLE}, "image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **errors(400, 401, 413, 415, 422),
        },
        dependencies=[Depends(_key), Depends(_known_parameters)],
    )
    async def predict(
        request: Request,
        weights: Annotated[str | None, Query(description="A name from /v1/weights", max_length=200)] = None,
        labels: Annotated[str | None, Query(description="A label set of those weights", max_length=200)] = None,
        draw: Annotated[bool, Query(description="Answer the annotated picture")] = False,
        blur: Annotated[bool, Query(description="Cover the heads in the annotated picture; no face can be brought back")] = False,
    ) -> Any:
        choice = app.state.catalogue.choose(weights, labels)
        engine: Engine = app.state.engine
        async with _received(request, settings, engine) as uploads:
            if draw and len(uploads) > 1:
                raise Problem(422, "one_picture", f"draw=1 answers one picture; the request has {len(uploads)}.")
            if blur and not draw:
                raise Problem(422, "blur_without_draw", "blur=1 is for the annotated picture; add draw=1.")
            answers = await engine.submit([upload.data for upload in uploads], choice, draw=draw, blur=blur)
        request.state.fields["images"] = len(uploads)
        done = [answer for answer in answers if isinstance(answer, Answer)]
        if not done:
            raise max((answer for answer in answers if isinstance(answer, Problem)), key=lambda problem: problem.status)
        request.state.fields["faces"] = sum(len(answer.result) for answer in done)
        if draw:
            return Response(done[0].picture, media_type="image/png")
        images = [
            image_out(upload.name, answer if isinstance(answer, Problem) else answer.result)
            for upload, answer in zip(uploads, answers, strict=True)
        ]
        return PredictResponse(weights=choice[0], labels=choice[1], images=images)


def _add_explain(app: FastAPI, settings: Settings) -> None:
    @app.post(
        "/v1/explain",
        tags=["v1"],
        summary="Say what the answers for a picture rest on",
        response_description="The largest faces with maps of evidence for each label",
        description=(
            "Parts of each face are blurred one after the other, and the network is asked again: over a hundred answers a face, "
            "so that only the largest faces are explained, and fewer such requests may wait than others."
        ),
        operation_id="explain",
        openapi_extra=upload(FORMATS),
        responses=errors(400, 401, 413, 415, 422, 501),
        dependencies=[Depends(_key), Depends(_known_parameters)],
    )
    async def explain(
        request: Request,
        weights: Annotated[str | None, Query(description="A name from /v1/weights", max_length=200)] = None,
        labels: Annotated[str | None, Query(description="A label set of those weights", max_length=200)] = None,
    ) -> ExplainResponse:
        if not settings.max_explained:
            raise Problem(501, "no_explanations", "This service explains nothing; whoever runs it gives --max-explained a number of faces.")
        choice = app.state.catalogue.choose(weights, labels)
        engine: Engine = app.state.engine
        async with _received(request, settings, engine) as uploads:
            if len(uploads) > 1:
                raise Problem(422, "one_picture", f"One picture is explained at a time; the request has {len(uploads)}.")
            (answer,) = await engine.submit([uploads[0].data], choice, explain=True)
        if isinstance(answer, Problem):
            raise answer
        request.state.fields["faces"] = len(answer.result)
        return explained_out(choice, answer.result, answer.evidence)


@asynccontextmanager
async def _received(request: Request, settings: Settings, engine: Engine) -> AsyncIterator[list[Upload]]:
    """Give a request's files, and hold what they take until its answer is made. Raises Problem."""
    arrival = Arrival(Pace(settings.body_gap_seconds, settings.body_rate))
    with request.app.state.admission.enter(arrival, engine.retry_after()) as ticket:
        yield await _uploads(request, settings, arrival, ticket)


async def _uploads(request: Request, settings: Settings, arrival: Arrival, ticket: Ticket) -> list[Upload]:
    body = await read_body(request.stream(), request.headers.get("content-length"), settings.max_bytes, arrival, ticket.take)
    ticket.arrived()
    request.state.fields["bytes"] = len(body)
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        return await run_in_threadpool(parse_multipart, body, content_type, settings.max_images)
    if not body:
        raise Problem(400, "empty", "The body is empty. Try: curl --data-binary @photo.jpg ADDRESS, or curl -F image=@photo.jpg ADDRESS")
    return [Upload(body)]


def _weights(catalogue: Catalogue, jobs: Jobs, settings: Settings) -> WeightsResponse:
    offered = []
    for name, offer in catalogue.offers.items():
        sets = [
            LabelsOut(
                name=set_name,
                default=set_name == offer.default,
                classes=[
                    ClassOut(name=c, emoji=emoji, colour=in_hex(colour))
                    for c, emoji, colour in zip(labels.classes, labels.emoji, labels.colours, strict=True)
                ],
            )
            for set_name, labels in offer.label_sets.items()
        ]
        offered.append(WeightsOut(name=name, default=name == catalogue.default[0], licence=offer.licence, labels=sets))
    limits = {
        key: getattr(settings, key)
        for key in ("max_bytes", "max_images", "max_pixels", "max_side", "max_explained", "max_frame_bytes", "max_video_bytes")
    }
    limits["max_video_seconds"] = round(settings.max_video_seconds)
    return WeightsResponse(
        ferkit=__version__,
        detector=catalogue.detector_name,
        limits=limits,
        weights=offered,
        tracks_people=TRACKS_PEOPLE,
        reads_films=why_no_films(catalogue, jobs) is None,
        answers_in_browser=settings.onnxruntime_web is not None,
    )


def _add_stream(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await Stream(socket, settings, app.state.catalogue, app.state.engine, metrics, app.state.places).run()

    @app.get("/v1/stream", include_in_schema=False)
    async def not_upgraded() -> None:
        # What a proxy that does not hand on Upgrade makes of a stream; 404 would send people looking for another address.
        raise HTTPException(
            426, "A stream is a WebSocket, and the request asks for none; a proxy has to hand on Upgrade", {"Upgrade": "websocket"}
        )
