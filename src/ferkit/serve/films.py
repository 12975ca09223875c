"""The routes of films: upload, state, results, removal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from ..labels import UNSURE_BELOW
from .catalogue import Catalogue
from .film import FILM, NO_ROOM, containers
from .interface import errors
from .jobs import Jobs
from .problems import Problem, busy
from .records import FilmLimits, FilmRequest, Opening
from .schemas import JobResponse
from .settings import Settings
from .uploads import Arrival, Pace, chunks_of_body

__all__ = ["INSTALLED", "add_films", "why_no_films"]

INSTALLED = all(find_spec(name) is not None for name in ("av", "pyarrow", "scipy"))  # the extra video
_HEAD = 400  # bytes that tell what a file is
_BLOCK = 1 << 20  # bytes that are written at once

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The film as the raw body: MP4, MOV, MKV, WebM, AVI, MPEG, Ogg, FLV or WMV.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/octet-stream", "video/*")
        },
    }
}  # fmt: skip


def why_no_films(catalogue: Catalogue, jobs: Jobs) -> str | None:
    """Return why films are not read, for clients, or None where they are."""
    if not INSTALLED:
        return "This service reads no films; whoever runs it types: pip install 'ferkit[video]'"
    if not catalogue.by_name:
        return "This service reads no films: they need weights and a detector that another process opens by name."
    if not jobs.can_start:
        return "This service reads no films: on Windows it does with one worker only; whoever runs it leaves --workers out."
    return None


def add_films(app: FastAPI, settings: Settings, needed: list[Any]) -> None:
    """Add the routes. ``needed``: what every route of them depends on."""
    common: dict[str, Any] = {"tags": ["v1"], "dependencies": needed}

    @app.post(
        "/v1/video",
        summary="Read a film",
        description="Answers at once with a job, whose state and results have routes of their own.",
        response_description="The job",
        operation_id="video",
        status_code=202,
        openapi_extra=_BODY,
        responses=errors(400, 401, 413, 415, 422, 501),
        **common,
    )
    async def video(
        request: Request,
        response: Response,
        weights: Annotated[str | None, Query(description="A name from /v1/weights", max_length=200)] = None,
        labels: Annotated[str | None, Query(description="A label set of those weights", max_length=200)] = None,
        copy: Annotated[bool, Query(description="Also make a copy of the film with boxes and labels")] = True,
        blur: Annotated[bool, Query(description="Cover the heads in the copy; no face can be brought back")] = False,
        unsure: Annotated[float, Query(description="Below this probability a face has no label", ge=0, le=1)] = UNSURE_BELOW,
    ) -> JobResponse:
        catalogue, jobs = app.state.catalogue, app.state.jobs
        if (why := why_no_films(catalogue, jobs)) is not None:
            raise Problem(501, "no_video", why)
        choice = catalogue.choose(weights, labels)
        opening: Opening = catalogue.recipe(choice)
        wanted: FilmRequest = {
            "copy": copy,
            "blur": blur or settings.blur_faces,
            "unsure": unsure,
            "weights_name": choice[0],
            "labels_name": choice[1],
            **opening,
            **_limits(settings),
        }
        arrival = Arrival(Pace(settings.body_gap_seconds, settings.body_rate))
        with _room():
            name, folder = await jobs.place(arrival)
            try:
                request.state.fields["bytes"] = await _save(request, settings, arrival, folder / FILM)
                await jobs.submit(name, wanted)
            except BaseException:
                jobs.give_up(name)
                raise
        response.headers["Location"] = f"{request.scope.get('root_path', '')}/v1/jobs/{name}"
        return JobResponse.model_validate(await run_in_threadpool(jobs.state, name))

    _add_jobs(app, common)


def _add_jobs(app: FastAPI, common: dict[str, Any]) -> None:
    @app.get(
        "/v1/jobs/{job}",
        summary="How far a film is",
        response_description="Its state",
        operation_id="job",
        responses=errors(401, 404, 422),
        **common,
    )
    async def job(job: str) -> JobResponse:
        return JobResponse.model_validate(await run_in_threadpool(_jobs(app).state, job))

    @app.delete(
        "/v1/jobs/{job}",
        summary="Stop a film and remove all that belongs to it",
        response_description="Nothing is left of it",
        operation_id="remove_job",
        status_code=204,
        response_class=Response,
        responses=errors(401, 404, 422),
        **common,
    )
    async def remove(job: str) -> Response:
        await _jobs(app).remove(job)
        return Response(status_code=204)

    @app.get(
        "/v1/jobs/{job}/{result}",
        summary="A result of a film: rows, events or copy",
        response_description="Rows as CSV, events as JSON, the annotated copy as MP4",
        operation_id="result",
        response_class=Response,
        responses={200: {"content": {"text/csv": {}, "application/json": {}, "video/mp4": {}}}, **errors(401, 404, 409, 422)},
        **common,
    )
    async def result(job: str, result: str) -> Response:
        path, media_type = await run_in_threadpool(_jobs(app).result, job, result)
        return FileResponse(path, media_type=media_type, filename=path.name)


@contextmanager
def _room() -> Iterator[None]:
    """Tell a full disk from a fault. Raises Problem 503."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise busy("The service's disk has no room for this film.", 30) from None
        raise


def _jobs(app: FastAPI) -> Jobs:
    jobs: Jobs = app.state.jobs
    return jobs


def _limits(settings: Settings) -> FilmLimits:
    return {
        "threads": settings.threads,
        "runtime": settings.runtime,
        "detector": settings.detector,
        "detector_model": settings.detector_model,
        "rotations": settings.rotations,
        "max_bytes": 2 * settings.max_video_bytes,
        "max_seconds": settings.max_video_seconds,
        "max_pixels": settings.max_video_pixels,
    }


async def _save(request: Request, settings: Settings, arrival: Arrival, path: Path) -> int:
    """Write a request's body to a file and return its size. Raises Problem."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Problem(415, "unsupported_type", "Send the film as the raw body: curl --data-binary @film.mp4 ADDRESS/v1/video")
    chunks = chunks_of_body(request.stream(), request.headers.get("content-length"), settings.max_video_bytes, arrival)
    size = 0
    with path.open("wb") as file:
        async for block in _blocks(chunks):
            if size == 0 and not containers(block[:_HEAD]):
                raise Problem(
                    415, "unsupported_type", "Not an MP4, MOV, MKV, WebM, AVI, MPEG, Ogg, FLV or WMV file, whatever its name says."
                )
            await run_in_threadpool(file.write, block)
            size += len(block)
    if not size:
        raise Problem(400, "empty", "The body is empty. Try: curl --data-binary @film.mp4 ADDRESS/v1/video")
    return size


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= _BLOCK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
