"""The engine: a bounded queue of images in front of a few threads that decode, detect and classify."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ..errors import FerkitError
from ..explain.photo import explain
from ..images import Loaded
from ..pipeline import Pipeline
from ..protocols import ReleasesBuffers
from ..results import Result
from .admission import PixelBudget
from .catalogue import Catalogue, Choice
from .evidence import Evidence
from .memory import LARGE, give_memory_back
from .metrics import Metrics
from .problems import Problem, busy
from .settings import Settings
from .uploads import decode

__all__ = ["Answer", "Engine"]

_MOST_EXPLAINING = 4  # pictures in the queue that are to be explained: each takes as long as dozens of others


@dataclass(frozen=True)
class Answer:
    """What a lane says about one image: a result without pixels, and where they were asked for the annotated picture as PNG, or reasons."""

    result: Result
    picture: bytes | None = field(default=None, repr=False)
    evidence: tuple[Evidence, ...] = field(default=(), repr=False)


@dataclass(eq=False)
class _Request:
    """What the pictures of one request share: how long the first of them may wait. The others follow it in the queue."""

    deadline: float
    begun: bool = False

    def late(self) -> bool:
        """Return True where none of the request's pictures has begun in time; else from now on none is late."""
        self.begun = self.begun or time.monotonic() <= self.deadline
        return not self.begun


@dataclass(frozen=True, eq=False)
class _Job:
    data: bytes = field(repr=False)
    choice: Choice
    draw: bool
    blur: bool
    keep_pixels: bool
    explain: bool
    request: _Request
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]

    def finish(self, answer: Answer | BaseException) -> None:
        """Hand the answer to the event loop that waits for it; a caller who left gets nothing."""

        def tell() -> None:
            if self.future.done():
                return
            if isinstance(answer, BaseException):
                self.future.set_exception(answer)
            else:
                self.future.set_result(answer)

        try:
            self.loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop is closed: the service stopped meanwhile
            return


class Engine:
    """Runs pipelines on threads of its own, so that the event loop only moves bytes.

    The queue is bounded: what does not fit is refused at once, and what waited too long is refused when its turn comes.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, metrics: Metrics, on_error: Callable[[BaseException], None]) -> None:
        self._settings, self._catalogue, self._metrics, self._on_error = settings, catalogue, metrics, on_error
        self._waiting: deque[_Job] = deque()
        self._budget = PixelBudget(settings.max_decoding_pixels)
        self._changed = threading.Condition()
        self._stopping = False
        self._seconds = 0.1  # a running mean of the time an image takes, for Retry-After
        self._threads = [threading.Thread(target=self._lane, name=f"ferkit-lane-{i}", daemon=True) for i in range(settings.lanes)]
        self._ready = threading.Semaphore(0)
        self._failed: BaseException | None = None

    def start(self) -> None:
        """Start the lanes and wait until every one has looked at a picture. Raises what a lane raised."""
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            self._ready.acquire()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Let the lanes finish what they hold; what still waits is answered 503."""
        with self._changed:
            self._stopping = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for job in left:
            job.finish(busy("The service is stopping.", 1))
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """True while every lane runs."""
        return not self._stopping and all(thread.is_alive() for thread in self._threads)

    async def submit(
        self,
        images: Sequence[bytes],
        choice: Choice,
        *,
        draw: bool = False,
        blur: bool = False,
        keep_pixels: bool = False,
        explain: bool = False,
    ) -> list[Answer | Problem]:
        """Queue the images of one request, all or none, and wait for their answers in order.

        Args:
            images: Encoded pictures.
            choice: From Catalogue.choose.
            draw: Also make the annotated pictures.
            blur: Cover the heads in them.
            keep_pixels: Leave the decoded pictures in the results.
            explain: Also say what the answers for the largest faces rest on.

        Raises:
            Problem: 503, the queue has no room for them.
        """
        loop = asyncio.get_running_loop()
        request = _Request(time.monotonic() + self._settings.queue_seconds)
        jobs = [
            _Job(data, choice, draw, blur or self._settings.blur_faces, keep_pixels, explain, request, loop, loop.create_future())
            for data in images
        ]
        with self._changed:
            if self._stopping or len(self._waiting) + len(jobs) > self._settings.queue:
                raise busy(f"{len(self._waiting)} pictures are waiting, of at most {self._settings.queue}.", self.retry_after())
            if explain and sum(job.explain for job in self._waiting) >= _MOST_EXPLAINING:
                raise busy(f"{_MOST_EXPLAINING} pictures are waiting to be explained.", self.retry_after())
            self._waiting.extend(jobs)
            self._metrics.queue.set(len(self._waiting))
            self._changed.notify(len(jobs))
        try:
            answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        finally:
            for job in jobs:  # a caller who left: the lanes skip what is cancelled
                job.future.cancel()
        told: list[Answer | Problem] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Problem):
                raise answer
            told.append(answer)
        return told

    def retry_after(self) -> int:
        """Return the whole seconds after which the present queue will have been worked off."""
        return max(1, math.ceil(len(self._waiting) * self._seconds / self._settings.lanes))

    def _lane(self) -> None:
        try:
            pipelines: dict[Choice, Pipeline] = {}
            self._pipeline(pipelines, self._catalogue.default)(np.full((64, 64, 3), 128, np.uint8))
            # The first run of a network allocates and plans; that belongs to the start, not to the first request.
            self._catalogue.classifier(self._catalogue.default).predict_proba([np.zeros((48, 48, 3), np.uint8)])
        except BaseException as error:
            self._failed = error
            return
        finally:
            self._ready.release()
        while batch := self._next():
            start = time.perf_counter()
            if self._work(batch, pipelines) > LARGE:
                give_memory_back()
            spent = time.perf_counter() - start
            self._metrics.work.observe(spent)
            self._metrics.batch.observe(len(batch))
            self._seconds += 0.1 * (spent / len(batch) - self._seconds)

    def _pipeline(self, pipelines: dict[Choice, Pipeline], choice: Choice) -> Pipeline:
        """Return this lane's pipeline: classifiers are shared by the lanes, the detector is the lane's own."""
        if choice not in pipelines:
            detector = next(iter(pipelines.values())).detector if pipelines else self._catalogue.detector()
            pipelines[choice] = Pipeline(detector, self._catalogue.classifier(choice))
        return pipelines[choice]

    def _next(self) -> list[_Job]:
        """Wait for a job and take what may run with it; an empty list says stop."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            batch: list[_Job] = []
            # Never wait for a batch to fill: what queued up while the last one ran is the batch.
            while self._waiting and len(batch) < self._settings.batch:
                batch.append(self._waiting.popleft())
            self._metrics.queue.set(len(self._waiting))
            return batch

    def _work(self, batch: list[_Job], pipelines: dict[Choice, Pipeline]) -> int:
        """Answer a batch; return the pixels of its largest picture."""
        largest = 0
        groups: dict[tuple[Choice, bool, bool], list[tuple[_Job, Loaded]]] = {}
        for job in batch:
            if job.future.cancelled():
                continue
            if job.request.late():
                job.finish(busy(f"The picture waited longer than {self._settings.queue_seconds:g} s.", self.retry_after()))
                continue
            try:
                loaded = decode(job.data, self._settings, self._budget, partial(_release, pipelines))
                largest = max(largest, loaded.width * loaded.height)
                if job.explain:
                    job.finish(_explained(self._pipeline(pipelines, job.choice), loaded, self._settings.max_explained))
                    continue
                self._pipeline(pipelines, job.choice)
                groups.setdefault((job.choice, job.draw, job.keep_pixels), []).append((job, loaded))
            except Problem as problem:
                job.finish(problem)
            except Exception as error:
                self._broken(job, error)
        for (choice, draw, keep_pixels), group in groups.items():
            self._read(group, self._pipeline(pipelines, choice), draw, keep_pixels)
        return largest

    def _read(self, group: list[tuple[_Job, Loaded]], pipeline: Pipeline, draw: bool, keep_pixels: bool) -> None:
        """Answer pictures that go through the networks together; where they fail together, one by one."""
        try:
            pixels = [loaded.pixels for _, loaded in group]
            results = list(pipeline.stream(pixels, batch_size=len(group), on_error="yield", keep_pixels=draw or keep_pixels))
        except Exception as error:
            if len(group) == 1:
                self._broken(group[0][0], error)
                return
            self._on_error(error)
            for one in group:
                self._read([one], pipeline, draw, keep_pixels)
            return
        for (job, loaded), result in zip(group, results, strict=True):
            if isinstance(result, FerkitError):  # of this picture's faces alone
                self._broken(job, result)
                continue
            try:
                job.finish(_answer(result, loaded, draw, job.blur))
            except Exception as error:  # of the drawing: the others of the batch have their answers
                self._broken(job, error)
            self._metrics.faces.inc(len(result))

    def _broken(self, job: _Job, error: Exception) -> None:
        """A fault of ours, not of the request: log it, answer 500, and go on with the next."""
        self._on_error(error)
        job.finish(Problem(500, "internal", "ferkit failed on this picture; the service's log says why."))


def _release(pipelines: dict[Choice, Pipeline]) -> None:
    """Let go of the buffers of a lane's detector, which is idle while the lane decodes: they must not lie beside a huge picture."""
    for pipeline in pipelines.values():
        if isinstance(pipeline.detector, ReleasesBuffers):
            pipeline.detector.release_buffers()


def _explained(pipeline: Pipeline, loaded: Loaded, most: int) -> Answer:
    found = explain(pipeline, loaded.pixels, most=most)
    height, width = loaded.pixels.shape[:2]
    across, down = loaded.width / width, loaded.height / height
    faces = tuple(one.face.scaled(across, down) for one in found)
    reasons = tuple(Evidence.of(one, one.corners(width, height) * [across, down]) for one in found)
    return Answer(Result(faces, loaded.width, loaded.height, None, pipeline.classifier.name), evidence=reasons)


def _answer(result: Result, loaded: Loaded, draw: bool, blur: bool) -> Answer:
    """Return what a client gets: boxes in pixels of the picture as it came, though it may have been read at a smaller scale."""
    across, down = loaded.width / result.width, loaded.height / result.height
    own = replace(result, faces=tuple(face.scaled(across, down) for face in result.faces), width=loaded.width, height=loaded.height)
    if not draw:
        return Answer(own)
    buffer = io.BytesIO()
    result.draw(blur=blur).save(buffer, "PNG", compress_level=3)  # nearly as small as the default level and several times faster
    return Answer(replace(own, pixels=None), buffer.getvalue())
