"""Reading one film, in a process of its own: what a damaged or hostile file can do stays in there, and its memory goes with it.

``python -m ferkit.serve.film FOLDER`` reads ``request.json`` and the film in the folder, writes ``rows.csv``, ``events.json`` and
``copy.mp4`` beside them, and tells in ``state.json`` how far it is. It ends when the worker that started it does.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..classifiers.ensemble import open_classifier
from ..detectors.face_detector import open_detector
from ..engines.threads import limit_opencv
from ..errors import FerkitError
from ..orphans import die_with
from ..pipeline import Pipeline
from ..results import Result
from ..video.annotate import AnnotatedVideo
from ..video.decode import estimate
from ..video.events import Events
from ..video.frame import Frame, Span
from ..video.sources import Opened
from ..video.tables import open_table
from .records import FilmRequest, JobState

__all__ = ["COPY", "EVENTS", "FILM", "NO_ROOM", "REQUEST", "ROWS", "STATE", "containers", "read_state", "write_state"]

REQUEST, FILM, STATE = "request.json", "film", "state.json"
ROWS, EVENTS, COPY = "rows.csv", "events.json", "copy.mp4"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # what a full disk and a full quota answer
_OOM_FIRST = "800"  # of 1000
_TELL_S = 0.25  # between two notes of how far it is
_TRIES, _PAUSE_S = 20, 0.01  # at a file that another process has open
_Done = TypeVar("_Done")

# The first bytes of files that are films and nothing else. Playlists, which could name other files and addresses, are none.
_SIGNS = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (4, b"free"), (4, b"skip"),  # MP4, MOV
    (0, b"\x1aE\xdf\xa3"),  # Matroska, WebM
    (8, b"AVI "), (0, b"OggS"), (0, b"FLV\x01"), (0, b"0&\xb2u\x8ef\xcf\x11"), (0, b"\x00\x00\x01\xba"),
)  # fmt: skip


def containers(head: bytes) -> bool:
    """Return whether a file that begins with these 400 bytes may be a film: by its bytes, whatever it is called."""
    if any(head[at : at + len(sign)] == sign for at, sign in _SIGNS):
        return True
    # Transport streams: packets of 188 bytes, or of 192 with a clock before each.
    return any(len(head) > at + size and head[at] == head[at + size] == 0x47 for at, size in ((0, 188), (4, 192)))


def write_state(folder: Path, state: JobState) -> None:
    """Replace the state of a job, whole or not at all."""
    partial = folder / f"{STATE}.partial"
    partial.write_text(json.dumps(state), encoding="utf-8")
    _patiently(lambda: partial.replace(folder / STATE))


def read_state(folder: Path) -> JobState:
    """Return the state of a job. Raises OSError and ValueError where there is none."""
    state: JobState = json.loads(_patiently(lambda: (folder / STATE).read_text(encoding="utf-8")))
    return state


def _patiently(step: Callable[[], _Done]) -> _Done:
    """Do what Windows refuses while the other process, which asks for the state or replaces it, has the file open: for a moment only."""
    for _ in range(_TRIES):
        with suppress(PermissionError):
            return step()
        time.sleep(_PAUSE_S)
    return step()


def main(folder: Path) -> None:
    """Read the film of a job's folder."""
    request: FilmRequest = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    _limit(request)
    try:
        _read(folder, request)
    except FerkitError as error:
        write_state(folder, {"state": "failed", "error": {"code": "damaged", "message": _told(error, folder)}})
    except OSError as error:
        if error.errno in NO_ROOM:
            code, message = "no_room", "The service's disk has no room for what was read; send the film again later."
        elif error.errno == errno.EFBIG:
            code, message = "too_long", f"The rows are more than {_megabytes(request)} MB; send a shorter film."
        else:
            raise
        for name in (FILM, ROWS, COPY):  # or there is no room for the state either
            (folder / name).unlink(missing_ok=True)
        write_state(folder, {"state": "failed", "error": {"code": code, "message": message}})


def _told(error: FerkitError, folder: Path) -> str:
    """Return an error's message without the service's own paths, which mean nothing to a client."""
    film = str(folder / FILM)
    return str(error).replace(f"{film}:", "The film:").replace(film, "The film").replace(f"{folder}{os.sep}", "")


def _megabytes(request: FilmRequest) -> str:
    return f"{request['max_bytes'] / 1e6:g}"


class _Copy:
    """The annotated copy. Where it cannot be written it is left out: half of it could not be played, and the rows go on."""

    def __init__(self, folder: Path, request: FilmRequest) -> None:
        self._folder, self._request, self.failure = folder, request, ""
        self._video = AnnotatedVideo(folder / COPY, blur=request["blur"])

    def add(self, frame: Frame, result: Result) -> None:
        if not self.failure:
            self._tried(lambda: self._video.add(frame, result))

    def close(self) -> None:
        if not self.failure:
            self._tried(self._video.close)

    def _tried(self, step: Callable[[], None]) -> None:
        try:
            step()
        except FerkitError as error:
            large = getattr(error.__cause__, "errno", None) == errno.EFBIG
            why = f"it is more than {_megabytes(self._request)} MB, twice what a film may have." if large else _told(error, self._folder)
            self.failure = f"The annotated copy was left out: {why}"
            with suppress(FerkitError):
                self._video.close()
            (self._folder / COPY).unlink(missing_ok=True)  # its room is for the rows


def _limit(request: FilmRequest) -> None:
    limit_opencv(request["threads"])
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    os.nice(5)  # photos are answered first
    die_with(os.getppid())  # a film that hangs in a decoder looks for nobody
    if sys.platform == "linux":
        with suppress(OSError):  # where memory runs out, the system ends the film and not the service
            Path("/proc/self/oom_score_adj").write_text(_OOM_FIRST, encoding="ascii")
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_bytes"], request["max_bytes"]))


def _read(folder: Path, request: FilmRequest) -> None:
    film, parent = folder / FILM, os.getppid()
    with Opened(str(film)) as (_, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > request["max_pixels"]:
        message = f"Pictures of {width}x{height}; expected at most {request['max_pixels']:,} pixels."
        write_state(folder, {"state": "failed", "error": {"code": "too_many_pixels", "message": message}})
        return
    span = Span.of(end=request["max_seconds"])
    whole, total = estimate(str(film), Span()), estimate(str(film), span)
    runtime, threads = request["runtime"], request["threads"]
    classifier = open_classifier(
        request["weights"], labels=request["labels"], min_confidence=request["unsure"], runtime=runtime, threads=threads
    )
    detector = open_detector(
        request["detector"], request["rotations"] or None, model=request["detector_model"], runtime=runtime, threads=threads
    )
    pipeline = Pipeline(detector, classifier)
    events = Events()
    copy = _Copy(folder, request) if request["copy"] else None
    sinks: list[Any] = [open_table(folder / ROWS, list(classifier.labels)), *([] if copy is None else [copy])]
    told, count, at = 0.0, 0, 0.0
    failure: str | None = None
    results = pipeline.video(str(film), end=request["max_seconds"])
    try:
        for frame, result in results:
            for sink in (*sinks, events):
                sink.add(frame, result)
            count, at = count + 1, frame.time_s
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                if os.getppid() != parent:
                    return  # the worker is gone, and nobody will ask
                share = None if not total else min(0.99, count / total)
                write_state(folder, {"state": "running", "progress": share, "frames": count, "time_s": round(at, 3)})
    except FerkitError as error:
        if not count:
            raise
        failure = _told(error, folder)  # what came before is complete
    finally:
        results.close()  # type: ignore[attr-defined]
        events.close()
        for sink in sinks:
            try:
                sink.close()
            except FerkitError as error:
                failure = failure or _told(error, folder)
    if copy is not None and copy.failure:
        failure = f"{failure} {copy.failure}" if failure else copy.failure
    summary = events.to_dict("film", classifier.name)
    (folder / EVENTS).write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    cut = total is not None and whole is not None and whole > total + 1
    done: JobState = {"state": "done", "progress": 1.0, "frames": count, "time_s": round(at, 3), "people": summary["people"], "cut": cut}
    write_state(folder, {**done, "warning": failure})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
