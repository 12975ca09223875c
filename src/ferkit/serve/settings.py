"""The service's settings: one frozen value, checked once, handed to worker processes through the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..engines.threads import thread_count
from ..errors import InputError
from ..turning import checked_rotations
from .origins import PORTS, Origin

__all__ = ["ENV_NAME", "Settings", "default_batch", "default_lanes"]

ENV_NAME = "FERKIT_SERVE_SETTINGS"

_COUNTS = (
    "lanes", "threads", "batch", "queue", "max_bytes", "max_images", "max_pixels", "max_side", "max_decoding_pixels",
    "max_connections", "body_rate", "max_streams", "max_frame_bytes", "max_jobs", "max_video_bytes", "max_video_pixels",
)  # fmt: skip
_SECONDS = ("queue_seconds", "header_seconds", "keep_alive_seconds", "body_gap_seconds", "send_seconds", "idle_seconds", "max_video_seconds",
            "job_seconds", "keep_job_seconds")  # fmt: skip


def default_lanes(workers: int) -> int:
    """Return the lanes of each worker: one for every CPU, since OpenCV 5 runs most of a detector in one thread, whatever it is given.

    CPUs are those that this process is given, or ``FERKIT_THREADS``. Raises InputError.
    """
    return max(1, thread_count() // workers)


def default_batch(detector: str | None) -> int:
    """Return the batch that benchmarks/serve_load.py found to win: none where a detector takes most of the time."""
    return 8 if detector == "none" else 1


@dataclass(frozen=True)
class Settings:
    """What an operator can choose.

    Attributes:
        weights: Names, ``hf://`` addresses or folders that requests may choose from; empty is the bundled default.
        labels: The label set to answer in when a request names none; None is the weights' own default.
        detector: As FaceDetector takes it.
        detector_model: As FaceDetector's ``model``.
        runtime: As ExpressionClassifier takes it.
        rotations: Turns of faces to look for too, as FaceDetector takes them; empty is upright faces only.
        lanes: Threads that decode, detect and classify in each worker process.
        threads: OpenCV's own threads in each worker process; lanes that each start several fight over the same CPUs.
        batch: Images that one lane classifies together, when that many are waiting; 1 is no batching.
        queue: Images that may wait in each worker process; beyond them requests are answered 503.
        max_bytes: Largest body of one request, bytes.
        max_pending_bytes: Of all bodies held in a worker process at once; beyond them requests are answered 503.
        max_images: Pictures in one request.
        max_pixels: Largest picture accepted, in pixels.
        max_explained: Faces of a picture that ``/v1/explain`` explains, the largest; 0: it explains none. Each costs over a hundred answers.
        max_side: Pictures are read at a scale that brings their longer side to at most this many pixels; fewer need less memory;
            boxes in the answers are in pixels of the picture as it came.
        max_decoding_pixels: Of all pictures that a worker's lanes decode at the same time; a larger one is decoded alone.
        queue_seconds: Time that a request's first picture may wait for a lane, then 503. The request's others follow it.
        max_connections: Open connections in each worker process; above them the one that has been idle for longest is closed.
        max_client_connections: Of one address, in each worker process; 0 is no limit, as behind a proxy that has the one address.
        header_seconds: Time for a request's head to arrive, then 408.
        keep_alive_seconds: Time that a connection may be idle between two requests.
        body_gap_seconds: Time without a byte of a request's body, then 408.
        body_rate: Bytes a second that a body must reach on average once ``body_gap_seconds`` have passed, then 408.
        send_seconds: Time for which a client may leave an answer unread before its connection is closed.
        max_streams: Open webcam streams in each worker process.
        max_frame_bytes: Largest webcam frame, bytes.
        idle_seconds: A webcam stream without a frame for this long is closed, whatever else it sends.
        max_jobs: Films of each worker process that are held: waiting, being read, or read. The oldest that is read makes room.
        max_video_bytes: Largest film, bytes.
        max_video_seconds: Longer films are read up to here, and the answer says so.
        max_video_pixels: Largest picture of a film, in pixels.
        job_seconds: Time that reading one film may take.
        keep_job_seconds: Time for which the results of a film are kept, unless they are removed before.
        jobs_folder: Where films and their results lie, for all workers of a service; None is a temporary folder.
        onnxruntime_web: Folder of the npm package onnxruntime-web, with which the page can answer without sending pictures; None: it cannot.
        api_key: What ``/v1`` and ``/metrics`` ask for; None asks for nothing.
        cors: Origins whose pages may call the service, for example ``https://example.org``.
        hosts: Names in a request's ``Host`` that are answered; empty is every name.
        blur_faces: Every annotated picture that is answered has its heads covered, whether a request asks for it or not.
        root_path: The prefix under which a proxy publishes the service.

    Raises:
        InputError: A value is out of range.
    """

    weights: tuple[str, ...] = ()
    labels: str | None = None
    detector: str | None = None
    detector_model: str | None = None
    rotations: tuple[int, ...] = ()
    runtime: str = "opencv"
    lanes: int = 1
    threads: int = 1
    batch: int = 1
    queue: int = 32
    max_bytes: int = 20_000_000
    max_pending_bytes: int = 256_000_000
    max_images: int = 16
    max_explained: int = 4
    max_pixels: int = 50_000_000
    max_side: int = 2000
    max_decoding_pixels: int = 50_000_000
    queue_seconds: float = 5.0
    max_connections: int = 500
    max_client_connections: int = 100
    header_seconds: float = 10.0
    keep_alive_seconds: float = 15.0
    body_gap_seconds: float = 15.0
    body_rate: int = 4_000
    send_seconds: float = 30.0
    max_streams: int = 8
    max_frame_bytes: int = 2_000_000
    idle_seconds: float = 60.0
    max_jobs: int = 8
    max_video_bytes: int = 200_000_000
    max_video_seconds: float = 600.0
    max_video_pixels: int = 9_000_000
    job_seconds: float = 1800.0
    keep_job_seconds: float = 3600.0
    jobs_folder: str | None = None
    onnxruntime_web: str | None = None
    api_key: str | None = field(default=None, repr=False)
    cors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    root_path: str = ""
    blur_faces: bool = False

    def __post_init__(self) -> None:
        for name in ("weights", "rotations", "cors", "hosts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        checked_rotations(self.rotations)
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected at least 1.")
        if self.max_explained < 0:
            raise InputError(f"max_explained={self.max_explained}; expected a number of faces, or 0 to explain none.")
        if self.max_client_connections < 0:
            raise InputError(f"max_client_connections={self.max_client_connections}; expected a number of connections, or 0 for no limit.")
        for name in _SECONDS:
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)}; expected seconds, more than 0.", arguments=[name])
        if self.max_images > self.queue:
            raise InputError(
                f"max_images={self.max_images} never fit a queue of {self.queue}; raise the queue, or lower the images of a request.",
                arguments=["queue", "max_images"],
            )
        if self.max_bytes > self.max_pending_bytes:
            raise InputError(f"max_bytes={self.max_bytes} is more than max_pending_bytes={self.max_pending_bytes}; raise the latter.")
        if self.api_key is not None and len(self.api_key) < 8:
            raise InputError(
                f"An API key of {len(self.api_key)} characters; expected at least 8. To make one type: openssl rand -hex 24",
                arguments=["api_key"],
            )
        if self.api_key is not None and (self.api_key != self.api_key.strip() or not self.api_key.isprintable()):
            raise InputError(
                "An API key with white space at its ends, or with characters that cannot be printed: no header can carry it. Often it is the line "
                "break at the end of the file that it was read from; leave that out.",
                arguments=["api_key"],
            )
        if self.api_key is not None and not self.api_key.isascii():
            raise InputError(
                "An API key with characters beyond ASCII: browsers and other programs send them in different encodings, so that it would open for "
                "some and not for others. Make another one; to make one type: openssl rand -hex 24",
                arguments=["api_key"],
            )
        for origin in self.cors:
            # Compared as it is with what browsers write, whose schemes are small.
            if Origin.of(origin) is None or origin.partition(":")[0] not in PORTS:
                raise InputError(
                    f"CORS origin {origin!r}; expected a scheme and a host, such as https://example.org, and never '*'.", arguments=["cors"]
                )
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise InputError(
                f"root_path={self.root_path!r}; expected a path such as /ferkit, without a slash at its end.", arguments=["root_path"]
            )

    def to_env(self) -> dict[str, str]:
        """Return the environment variable that carries these settings to worker processes."""
        return {ENV_NAME: json.dumps(asdict(self))}

    @staticmethod
    def from_env(environ: Mapping[str, str] | None = None) -> Settings:
        """Read what ``to_env`` wrote; the defaults where there is nothing. Raises InputError."""
        text = (os.environ if environ is None else environ).get(ENV_NAME)
        if text is None:
            return Settings()
        try:
            table: dict[str, Any] = json.loads(text)
            return Settings(**table)
        except (TypeError, ValueError) as error:
            raise InputError(f"{ENV_NAME} does not hold the settings of this version of ferkit: {error}") from error
