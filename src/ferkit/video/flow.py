"""Where boxes went between two frames, and what the faces in them look like. No detector, no state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..resizing import resized_to

__all__ = ["likeness", "look", "moved", "shrunk"]

Float = NDArray[np.float64]

_MAX_SIDE = 480  # optical flow needs no more, and its time grows with the area
_GRID = 6  # points along each side of a box
_BACK_PX = 1.0  # a point that does not come back this close to where it began was lost
_NEEDED = 8  # points out of _GRID ** 2
_PATCH = 20


def shrunk(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Return RGB ``(H, W, 3)`` as a small grey picture, and its scale."""
    import cv2

    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = min(1.0, _MAX_SIDE / max(grey.shape))
    if scale < 1:
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        grey = resized_to(grey, *size, sampled=True)
    return grey, scale


def moved(before: NDArray[np.uint8], after: NDArray[np.uint8], boxes: Float) -> list[tuple[float, float, float] | None]:
    """Return how each box moved between two grey pictures of one size: shift x, shift y (pixels) and zoom, or None.

    Median flow (Kalal et al., "Forward-Backward Error", ICPR 2010): points that do not find their way back are left out,
    the medians of the others count. None where too few points are left.
    """
    import cv2

    if not len(boxes):
        return []
    line = np.linspace(0.15, 0.85, _GRID)
    unit = np.stack(np.meshgrid(line, line), axis=-1).reshape(1, -1, 2)
    points = boxes[:, None, :2] + unit * (boxes[:, None, 2:] - boxes[:, None, :2])
    start = points.reshape(-1, 1, 2).astype(np.float32)
    options: dict[str, Any] = {"winSize": (11, 11), "maxLevel": 3, "criteria": (3, 10, 0.05)}
    there, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **options)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)
    good = (ok.ravel() == 1) & (ok_back.ravel() == 1) & (np.abs(back - start).max(axis=(1, 2)) < _BACK_PX)
    good = good.reshape(len(boxes), -1)
    there = there.reshape(len(boxes), -1, 2).astype(np.float64)
    answers: list[tuple[float, float, float] | None] = []
    for n in range(len(boxes)):
        if good[n].sum() < _NEEDED:
            answers.append(None)
            continue
        old, new = points[n][good[n]], there[n][good[n]]
        shift = np.median(new - old, axis=0)
        spread_old = np.median(np.linalg.norm(old - np.median(old, axis=0), axis=1))
        spread_new = np.median(np.linalg.norm(new - np.median(new, axis=0), axis=1))
        zoom = float(np.clip(spread_new / max(spread_old, 1e-6), 0.9, 1.1))
        answers.append((float(shift[0]), float(shift[1]), zoom))
    return answers


def look(pixels: NDArray[np.uint8], box: Float) -> Float | None:
    """Describe what is in a box: a unit vector of the face's shades and its surroundings' colours, or None outside the picture."""
    import cv2

    face = _cut(pixels, box, 1.0)
    around = _cut(pixels, box, 1.7)
    if face is None or around is None:
        return None
    shades = resized_to(np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8), _PATCH, _PATCH).astype(np.float64).ravel()
    shades -= shades.mean()
    shades /= np.linalg.norm(shades) + 1e-6
    small = cv2.cvtColor(resized_to(around, 32, 32), cv2.COLOR_RGB2LAB)
    colours = cv2.calcHist([small], [0, 1, 2], None, [4, 8, 8], [0, 256, 64, 192, 64, 192]).ravel().astype(np.float64)
    colours = np.sqrt(colours / max(colours.sum(), 1e-6))
    return np.asarray(np.concatenate([shades, colours]) / np.sqrt(2), np.float64)


def likeness(a: Float | None, b: Float | None) -> float:
    """Return how alike two looks are, from -0.5 to 1; 0.5 where one is missing, which decides nothing."""
    return 0.5 if a is None or b is None else float(a @ b)


def _cut(pixels: NDArray[np.uint8], box: Float, zoom: float) -> NDArray[np.uint8] | None:
    height, width = pixels.shape[:2]
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * zoom / 2
    x1, y1 = np.maximum(np.floor(centre - half), 0).astype(int)
    x2, y2 = np.minimum(np.ceil(centre + half), (width, height)).astype(int)
    return None if x2 - x1 < 4 or y2 - y1 < 4 else pixels[y1:y2, x1:x2]
