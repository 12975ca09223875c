"""Landmarks to learn from: steadied answers of a teacher, and augmented crops of single faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ...detectors.ferkit_face_format import MIRRORED, POINTS_ROOM, POINTS_SIZE, mirrored_points
from ...faces import Face
from ...geometry import iou
from ...resizing import resized_to
from ..common.values import check_number
from .photos import LabelledPhoto

__all__ = ["PointAugmentation", "PointCrops", "cut_faces", "point_batch", "steady_landmarks"]

Float = NDArray[np.float64]
Detect = Callable[[NDArray[np.uint8]], list[Face]]

_CANVAS, _FACE = 224, 104.0  # px: a teacher's view of one face
_TURNS = 3  # at most, each by the roll that the views before found
_UPRIGHT = 2.0  # degrees: as upright as need be
_SIZES = (0.8, 1.0, 1.25)  # of the views whose answers are averaged, with their mirror images
_AGREE = 0.15  # mean distance of the views' answers from their mean, in eye distances, above which none is believed
_PIXELS, _CROP_FACE = 128, 64.0  # px of a stored crop, and of the face in it
_ROOM = 1.2  # face sizes around the face's centre that a crop shows
_LEAST = 20.0  # px: smaller faces' landmarks are guesses


@dataclass(frozen=True)
class PointCrops:
    """Faces cut out with room around them, each scaled to 64 px: RGB uint8 ``(n, 128, 128, 3)``, points ``(n, 5, 2)`` and box
    sides ``(n, 2)`` in a crop's pixels; the box's centre is the crop's."""

    pixels: NDArray[np.uint8]
    points: NDArray[np.float32]
    sides: NDArray[np.float32]


class PointAugmentTable(TypedDict, total=False):
    """``[points.augment]``: what is otherwise than ``PointAugmentation`` has it."""

    rotation: float
    scale: float
    shift: float
    brightness: float
    contrast: float
    grey: float
    coarse: float
    noise: float


@dataclass(frozen=True)
class PointAugmentation:
    """How training crops are made; standard deviations unless said otherwise.

    Attributes:
        rotation: Degrees.
        scale: Of the logarithm of the size.
        shift: Of the box, as a fraction of its side.
        brightness, contrast: Relative to the full range, to 1.
        grey, coarse, noise: Probabilities; a coarse crop is shrunk to as little as a quarter and enlarged again.
    """

    rotation: float = 18.0
    scale: float = 0.07
    shift: float = 0.04
    brightness: float = 0.1
    contrast: float = 0.2
    grey: float = 0.2
    coarse: float = 0.4
    noise: float = 0.3

    def __post_init__(self) -> None:
        for key in ("rotation", "scale", "shift", "brightness", "contrast"):
            check_number(f"{key} in [points.augment]", getattr(self, key), 0)
        for key in ("grey", "coarse", "noise"):
            check_number(f"{key} in [points.augment]", getattr(self, key), 0, 1)


def steady_landmarks(pixels: NDArray[np.uint8], box: Float, rough: Float | None, teacher: Detect) -> Float | None:
    """Ask a teacher for a face's landmarks until they are steady.

    A detector that was trained on upright faces answers too upright, and something else for the same face mirrored or a little
    larger (YuNet by a tenth of the eye distance). The face is therefore turned by its own roll until it stands upright, and there
    the answers for six views are averaged.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
        box: The face, xyxy.
        rough: ``(5, 2)``, a first guess of the landmarks.
        teacher: Finds faces with landmarks.

    Returns:
        ``(5, 2)`` pixels, or None: the teacher does not find the face, or contradicts itself.
    """
    roll = 0.0 if rough is None else _roll(rough)
    for _ in range(_TURNS):
        once = _answers(pixels, box, roll, (1.0,), teacher)
        if once is None:
            return None
        left = _roll(once.mean(axis=0)) - roll
        roll += left
        if abs(left) < np.radians(_UPRIGHT):
            break
    answers = _answers(pixels, box, roll, _SIZES, teacher)
    if answers is None:
        return None
    mean = answers.mean(axis=0)
    spread = np.linalg.norm(answers - mean, axis=2).mean() / max(1e-6, float(np.linalg.norm(mean[1] - mean[0])))
    return mean if spread < _AGREE else None


def _answers(pixels: NDArray[np.uint8], box: Float, roll: float, sizes: Sequence[float], teacher: Detect) -> Float | None:
    """Return a teacher's landmarks ``(2 sizes, 5, 2)`` in views turned upright and in their mirror images, in the picture's pixels."""
    import cv2

    side = float(np.sqrt(np.prod(box[2:] - box[:2])))
    rows = []
    for size in sizes:
        matrix = _turned((box[:2] + box[2:]) / 2, size * _FACE / side, -roll, _CANVAS)
        view = cv2.warpAffine(pixels, matrix, (_CANVAS, _CANVAS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        plain = _central(teacher(view), size)
        mirrored = _central(teacher(np.ascontiguousarray(view[:, ::-1])), size)
        if plain is None or mirrored is None:
            return None
        back = np.linalg.inv(matrix[:, :2]).T
        for points in (plain, mirrored_points(mirrored, _CANVAS - 1)):
            rows.append((points - matrix[:, 2]) @ back)
    return np.array(rows)


def _roll(points: Float) -> float:
    dx, dy = points[1] - points[0]
    return float(np.arctan2(dy, dx))


def _central(faces: Sequence[Face], size: float) -> Float | None:
    """Return the landmarks of the face in a view's middle."""
    low, high = (_CANVAS - size * _FACE) / 2, (_CANVAS + size * _FACE) / 2
    if not faces:
        return None
    shared = iou([[low, low, high, high]], [face.box for face in faces])[0]
    face = faces[int(shared.argmax())]
    return np.array(face.landmarks, np.float64) if shared.max() > 0.35 and face.landmarks is not None else None


def _turned(centre: Float, scale: float, angle: float, side: int) -> Float:
    """Map a picture's pixels to a square view: ``centre`` to its middle, scaled, turned by ``angle`` radians."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, (side - 1) / 2 - turn @ centre])


def cut_faces(photos: Sequence[LabelledPhoto], teacher: Detect | None = None) -> PointCrops:
    """Cut out every face that has landmarks to learn from: the teacher's if there is one, else the labels'."""
    with ThreadPoolExecutor(2) as pool:
        rows = [row for part in pool.map(lambda photo: _cut(photo, teacher), photos) for row in part]
    pixels, points, sides = zip(*rows, strict=True) if rows else ((), (), ())
    return PointCrops(
        np.array(pixels, np.uint8).reshape(-1, _PIXELS, _PIXELS, 3),
        np.array(points, np.float32).reshape(-1, 5, 2),
        np.array(sides, np.float32).reshape(-1, 2),
    )


def _cut(photo: LabelledPhoto, teacher: Detect | None) -> list[tuple[NDArray[np.uint8], Float, Float]]:
    import cv2

    rows = []
    for box, points, ignore in zip(photo.boxes.astype(np.float64), photo.landmarks.astype(np.float64), photo.ignore, strict=True):
        side = float(np.sqrt(np.prod(np.maximum(box[2:] - box[:2], 0))))
        known = bool(np.isfinite(points).all())
        if ignore or side < _LEAST or (teacher is None and not known):
            continue
        steady = points if teacher is None else steady_landmarks(photo.pixels, box, points if known else None, teacher)
        if steady is None:
            continue
        centre, scale = (box[:2] + box[2:]) / 2, _CROP_FACE / side
        low = np.maximum(np.floor(centre - _ROOM * side).astype(int), 0)
        high = np.ceil(centre + _ROOM * side).astype(int) + 1
        window = photo.pixels[low[1] : high[1], low[0] : high[0]]
        first = np.ones(2)
        if scale < 1:  # warping alone would skip pixels
            height, width = window.shape[:2]
            shrunk = resized_to(window, max(1, round(width * scale)), max(1, round(height * scale)))
            first, window = np.array([shrunk.shape[1] / width, shrunk.shape[0] / height]), shrunk
        matrix = _turned(centre, scale, 0.0, _PIXELS)
        # From the window's pixels to the picture's, whose centres are at whole numbers, to the crop's.
        inner = np.column_stack([matrix[:, :2] / first, matrix[:, 2] + matrix[:, :2] @ (low + 0.5 / first - 0.5)])
        crop = cv2.warpAffine(window, inner, (_PIXELS, _PIXELS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rows.append((np.asarray(crop, np.uint8), steady @ matrix[:, :2].T + matrix[:, 2], (box[2:] - box[:2]) * scale))
    return rows


def point_batch(
    crops: PointCrops, count: int, augmentation: PointAugmentation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Make RGB uint8 ``(count, 48, 48, 3)`` and points ``(count, 5, 2)`` in units of the view, -0.5 to 0.5, from its centre."""
    import cv2

    size, a = POINTS_SIZE, augmentation
    views, targets = np.empty((count, size, size, 3), np.uint8), np.empty((count, 5, 2), np.float32)
    for n in range(count):
        i = int(rng.integers(len(crops.pixels)))
        side = POINTS_ROOM * float(crops.sides[i].max()) * float(np.exp(rng.normal(0, a.scale)))
        centre = (_PIXELS - 1) / 2 + rng.normal(0, a.shift, 2) * crops.sides[i]
        angle = np.radians(np.clip(rng.normal(0, a.rotation), -50, 50))
        matrix = _turned(centre, size / side, angle, size)
        mirror = rng.random() < 0.5
        if mirror:
            matrix[0] = [*-matrix[0, :2], size - 1 - matrix[0, 2]]
        view = cv2.warpAffine(crops.pixels[i], matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        points = crops.points[i] @ matrix[:, :2].T + matrix[:, 2]
        targets[n] = ((points[MIRRORED] if mirror else points) - (size - 1) / 2) / size
        if rng.random() < a.coarse:
            small = int(size * rng.uniform(0.25, 0.8))
            view = resized_to(resized_to(view, small, small), size, size)
        if rng.random() < a.grey:
            view = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        values = (
            (view.astype(np.float32) - 127.5) * np.clip(1 + rng.normal(0, a.contrast), 0.4, 1.8) + 127.5 + 255 * rng.normal(0, a.brightness)
        )
        if rng.random() < a.noise:
            values += rng.normal(0, rng.uniform(2, 14), values.shape)
        views[n] = np.clip(values, 0, 255)
    return views, targets
