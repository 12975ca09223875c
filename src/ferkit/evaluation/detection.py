"""How well faces are found: average precision and recall against pictures with all faces marked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detectors.ferkit_face import FerkitFace
from ..errors import DataError
from ..faces import Face
from ..geometry import area, intersection, iou
from ..image_files import expanded
from ..images import load_image

__all__ = ["LEAST_SCORE", "AnnotatedPhoto", "DetectionScores", "measure_ap50", "read_annotated", "score_detections"]

_PRECISION = 0.9
LEAST_SCORE = 0.02  # scores below this would only lengthen the tail of the precision-recall curve


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A picture with every face marked by people: RGB uint8 ``(H, W, 3)``, boxes xyxy ``(n, 4)``, faces not to count ``(n,)``."""

    name: str
    source: str
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    ignore: NDArray[np.bool_]


@dataclass(frozen=True)
class DetectionScores:
    """Average precision and recalls, 0-1.

    Attributes:
        ap50: Area under the precision-recall curve, IoU at least 0.5, all points.
        recall: At one false positive per picture.
        recall_strict: At one false positive in ten pictures.
        threshold: The lowest score at which nine of ten detections are right; None if there is none.
        faces, pictures: Counts.
    """

    ap50: float
    recall: float
    recall_strict: float
    threshold: float | None
    faces: int
    pictures: int


def read_annotated(folder: str | Path) -> list[AnnotatedPhoto]:
    """Read ``gt.json`` (``{file: {"source", "faces": [{"box": [x, y, w, h], "ignore"}]}}``) and ``images/``. Raises DataError."""
    folder = expanded(folder)
    try:
        table = json.loads((folder / "gt.json").read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
        return [_annotated(name, load_image(folder / "images" / name), row) for name, row in table.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'gt.json'} is not a table of annotated pictures ({error!r}).") from error


def _annotated(name: str, pixels: NDArray[np.uint8], row: dict[str, Any]) -> AnnotatedPhoto:
    boxes = np.array([face["box"] for face in row["faces"]], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return AnnotatedPhoto(name, row["source"], pixels, boxes, np.array([bool(face.get("ignore")) for face in row["faces"]], bool))


def score_detections(
    found: Iterable[list[Face]], photos: list[AnnotatedPhoto], *, smallest: float = 16.0, largest: float = np.inf, overlap: float = 0.5
) -> DetectionScores:
    """Compare detections with what people marked.

    Args:
        found: The faces of each picture.
        photos: The pictures.
        smallest, largest: Faces whose shorter side is outside this range, pixels, are neither asked for nor counted, and so
            are detections of such faces.
        overlap: IoU from which a detection is right.
    """
    outcomes: list[tuple[float, bool]] = []
    faces = 0
    for photo, detections in zip(photos, found, strict=True):
        sides = photo.boxes[:, 2:] - photo.boxes[:, :2]
        shorter = sides.min(axis=1) if len(sides) else np.zeros(0)
        ignore = photo.ignore | (shorter < smallest) | (shorter >= largest)
        faces += int((~ignore).sum())
        outcomes += _outcomes(detections, photo.boxes, ignore, smallest, largest, overlap)
    outcomes.sort(key=lambda row: -row[0])
    scores = np.array([score for score, _ in outcomes])
    right = np.array([hit for _, hit in outcomes], np.float64)
    hits, misses = np.cumsum(right), np.cumsum(1 - right)
    if not faces or not len(right):
        return DetectionScores(0.0, 0.0, 0.0, None, faces, len(photos))
    recall, precision = hits / faces, hits / (hits + misses)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ap = float(np.sum(np.diff(np.concatenate([[0.0], recall])) * envelope))

    def at(per_picture: float) -> float:
        allowed = np.flatnonzero(misses <= per_picture * len(photos))
        return float(recall[allowed[-1]]) if len(allowed) else 0.0

    precise = np.flatnonzero(precision >= _PRECISION)
    threshold = float(scores[precise[-1]]) if len(precise) else None
    return DetectionScores(ap, at(1.0), at(0.1), threshold, faces, len(photos))


def _outcomes(
    detections: list[Face], boxes: NDArray[np.float64], ignore: NDArray[np.bool_], smallest: float, largest: float, overlap: float
) -> list[tuple[float, bool]]:
    """Return (score, right) of every detection that counts: each marked face is found once, by its best-scored detection."""
    outcomes = []
    found = np.zeros(len(boxes), bool)
    for face in sorted(detections, key=lambda f: -f.score):
        box = np.array([face.box])
        overlaps = iou(box, boxes)[0]
        free = np.where(found | ignore, -1.0, overlaps)
        if len(boxes) and free.max() >= overlap:
            found[free.argmax()] = True
            outcomes.append((face.score, True))
            continue
        if ignore.any():
            shared = intersection(box, boxes)[0]
            if (overlaps[ignore] >= 0.3).any() or (shared[ignore] / max(float(area(box)[0]), 1e-9) >= 0.5).any():
                continue
        if smallest <= min(face.width, face.height) < largest:
            outcomes.append((face.score, False))
    return outcomes


def measure_ap50(onnx: bytes, photos: list[AnnotatedPhoto]) -> float:
    """Return the AP at IoU 0.5 of a network, run as prediction runs it."""
    detector = FerkitFace.from_bytes(onnx, LEAST_SCORE)
    return score_detections([detector.detect(photo.pixels) for photo in photos], photos).ap50
