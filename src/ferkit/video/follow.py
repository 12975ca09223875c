"""The assembly: frames in, frames with followed and classified faces out, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..faces import Face
from ..gate import native
from ..protocols import Describes, Reader, cut, expression_of, rotations_of
from ..results import Result
from ..turning import judged
from .frame import Frame
from .overlap import latest, overlap, paced
from .smoothing import Smoother
from .sources import Source, describe, is_live, need
from .tracks import Track, Tracker

__all__ = ["follow"]

_DETECT_S = 0.3  # between two looks of the detector; optical flow carries the boxes meanwhile
_BATCH = 8  # frames whose faces go through the network together
_HELD = 32  # frames that wait for a face to be confirmed, at most
_BATCH_BYTES = 64 << 20  # large frames go in smaller batches
_QUEUE = 3  # frames between two stages
_SPARSE_S = 0.09  # frames further apart than this are too different for optical flow: each is searched

Followed = list[tuple[Track, Face]]


@dataclass
class _Item:
    frame: Frame
    detected: list[Face] | None = None
    followed: Followed | None = None


def follow(
    pipeline: Reader,
    source: Source,
    decoded: Iterator[Frame],
    *,
    smooth: float = 0.5,
    detect_every: int | None = None,
    live: bool | None = None,
) -> Iterator[tuple[Frame, Result]]:
    """Do the work of ``ferkit.Pipeline.video``; its arguments, answers and errors are told there; ``decoded`` are the source's frames."""
    if not 0 <= smooth < float("inf"):
        raise InputError(f"smooth={smooth}; expected a time constant in seconds, 0 or more.")
    if detect_every is not None and detect_every < 1:
        raise InputError(f"detect_every={detect_every}; expected a number of frames, 1 or more.")
    need("scipy", "Following people in video")
    return _run(
        pipeline, decoded, describe(source), smooth, detect_every, source if live else None, is_live(source) if live is None else live
    )


def _run(
    pipeline: Reader, decoded: Iterator[Frame], name: str, smooth: float, detect_every: int | None, file: Source | None, live: bool
) -> Iterator[tuple[Frame, Result]]:
    if live:
        # Latency first: late frames are dropped before any work, and nothing waits between the stages.
        recorded = file is not None and not is_live(file) and "://" not in str(file)
        items = _detect(pipeline, latest(paced(decoded) if recorded else decoded), detect_every)
        waiting = (_confirmed(item) for item in _track(items))
        batches: Iterator[list[_Item]] = ([item] for item in waiting)
        return _classify(pipeline, batches, name, smooth)
    items = overlap(_detect(pipeline, overlap(decoded, _QUEUE), detect_every), _QUEUE)
    return overlap(_classify(pipeline, _batches(_settled(overlap(_track(items), _QUEUE))), name, smooth), _QUEUE)


def _detect(pipeline: Reader, decoded: Iterable[Frame], every: int | None) -> Iterator[_Item]:
    last = before = float("-inf")
    for number, frame in enumerate(decoded):
        now = frame.time_s
        # Either way: a camera's clock may be set back by hours.
        due = number % every == 0 if every else abs(now - last) > _DETECT_S - 1e-3 or now - before > _SPARSE_S
        last, before = now if due else last, now
        yield _Item(frame, pipeline.detector.detect_rgb(frame.pixels) if due else None)


def _track(items: Iterable[_Item]) -> Iterator[_Item]:
    tracker = Tracker()
    try:
        for item in items:
            item.followed = tracker.update(item.frame.pixels, item.frame.time_s, item.detected)
            yield item
    finally:
        tracker.finish()


def _confirmed(item: _Item) -> _Item:
    seen = [*(item.detected or []), *(face for _, face in item.followed or [])]
    item.frame = replace(item.frame, heads=tuple(face.box for face in seen))
    item.followed = [(track, face) for track, face in item.followed or [] if track.number is not None]
    return item


def _settled(items: Iterable[_Item]) -> Iterator[_Item]:
    """Hold frames back until the next detection has told false alarms from faces."""
    held: deque[_Item] = deque()
    error: BaseException | None = None
    try:
        for item in items:
            held.append(item)
            while held and (len(held) > _HELD or all(track.decided for track, _ in held[0].followed or [])):
                yield _confirmed(held.popleft())
    except Exception as broken:  # the video ends in an error: what came before is still delivered
        error = broken
    for item in held:
        yield _confirmed(item)
    if error is not None:
        raise error


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    error: BaseException | None = None
    try:
        for item in items:
            batch.append(item)
            if len(batch) == _BATCH or sum(i.frame.pixels.nbytes for i in batch) > _BATCH_BYTES:
                yield batch
                batch = []
    except Exception as broken:
        error = broken
    if batch:
        yield batch
    if error is not None:
        raise error


def _classify(pipeline: Reader, batches: Iterable[list[_Item]], name: str, smooth: float) -> Iterator[tuple[Frame, Result]]:
    smoother, features = Smoother(smooth), dict[int, NDArray[np.float32]]()
    classifier = pipeline.classifier
    for batch in batches:
        seen = [(item, track, face) for item in batch for track, face in item.followed or []]
        due = [smoother.due(_number(track), item.frame.time_s) for item, track, _ in seen]
        with native:
            crops = [
                cut(item.frame.pixels, face, pipeline.detector, classifier.crop)
                for (item, _, face), wanted in zip(seen, due, strict=True)
                if wanted
            ]
        rows, described = _read(pipeline, crops)
        answers = iter([next(rows) if wanted else None for wanted in due])
        fresh = iter([next(described) if wanted else None for wanted in due])
        for item in batch:
            found = []
            for track, face in item.followed or []:
                number, new = _number(track), next(fresh)
                row = smoother(number, item.frame.time_s, next(answers))
                if new is not None:
                    features[number] = new
                answer = judged(face, expression_of(classifier, row), rotations_of(pipeline.detector))
                found.append(replace(answer, track_id=number, features=features.get(number)))
            found.sort(key=lambda face: face.width * face.height, reverse=True)
            height, width = item.frame.pixels.shape[:2]
            yield item.frame, Result(tuple(found), width, height, name, classifier.name, item.frame.pixels, classifier.labels.colors)
        if len(features) > len(smoother.remembered):  # a camera sees people without end
            features = {number: features[number] for number in features.keys() & smoother.remembered}


def _read(pipeline: Reader, crops: list[NDArray[np.uint8]]) -> tuple[Iterator[NDArray[np.float32]], Iterator[NDArray[np.float32] | None]]:
    """Return a row of probabilities for each crop, and its features where they are asked for."""
    classifier = pipeline.classifier
    if crops and getattr(pipeline, "features", False) and isinstance(classifier, Describes):
        expressions, features = classifier.predict_with_features(crops)
        rows = [np.array([answer.probabilities[name] for name in classifier.labels], np.float32) for answer in expressions]
        return iter(rows), iter(features)
    return iter(classifier.predict_proba(crops) if crops else []), iter([None] * len(crops))


def _number(track: Track) -> int:
    assert track.number is not None  # only confirmed tracks are classified
    return track.number
