"""Boxes, overlap and similarity transforms. Pure functions that never change their arguments."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

__all__ = ["Float", "area", "clip_boxes", "intersection", "iou", "nms", "similarity", "window"]

Float = NDArray[np.float64]


def _boxes(boxes: ArrayLike) -> Float:
    return np.asarray(np.array(boxes, np.float64).reshape(-1, 4) if np.size(boxes) else np.zeros((0, 4)))


def area(boxes: ArrayLike) -> Float:
    """Return the areas ``(n,)`` of boxes xyxy ``(n, 4)``; an inverted box has area 0."""
    b = _boxes(boxes)
    return np.asarray(np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0))


def intersection(a: ArrayLike, b: ArrayLike) -> Float:
    """Return the shared areas ``(n, m)`` of boxes xyxy ``(n, 4)`` and ``(m, 4)``."""
    first, second = _boxes(a), _boxes(b)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=2))


def iou(a: ArrayLike, b: ArrayLike) -> Float:
    """Return the intersection over union ``(n, m)``, 0-1, of boxes xyxy ``(n, 4)`` and ``(m, 4)``."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def nms(boxes: ArrayLike, scores: ArrayLike, threshold: float = 0.4) -> NDArray[np.intp]:
    """Non-maximum suppression.

    Args:
        boxes: xyxy ``(n, 4)``.
        scores: ``(n,)``, larger is better.
        threshold: A box is dropped if its IoU with a better one is above this.

    Returns:
        Indices of the boxes that stay, best first.
    """
    b, s = _boxes(boxes), np.asarray(scores, np.float64).reshape(-1)
    order = np.argsort(-s, kind="stable")
    keep: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        order = rest[iou(b[best : best + 1], b[rest])[0] <= threshold]
    return np.array(keep, np.intp)


def clip_boxes(boxes: ArrayLike, width: int, height: int) -> Float:
    """Return boxes xyxy ``(n, 4)`` cut to an image of ``width`` x ``height`` pixels."""
    limits = np.array([width, height, width, height], np.float64)
    return np.clip(_boxes(boxes), 0, limits)


def similarity(source: ArrayLike, target: ArrayLike) -> Float:
    """Fit the rotation, scale and shift that best map points to points, in the least-squares sense.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.

    Args:
        source, target: ``(n, 2)``, n at least 2, not all equal.

    Returns:
        A 2x3 matrix for ``target = M[:, :2] @ source + M[:, 2]``.

    Raises:
        InputError: Other shapes, or points that determine no transform.
    """
    src, dst = np.array(source, np.float64), np.array(target, np.float64)
    if src.shape != dst.shape or src.ndim != 2 or src.shape[1] != 2 or len(src) < 2:
        raise InputError(f"Points of shape {src.shape} and {dst.shape}; expected two equal shapes (n, 2), n at least 2.")
    src_mean, dst_mean = src.mean(0), dst.mean(0)
    # A similarity of the plane is one complex factor, which least squares gives in closed form.
    s, d = (src - src_mean) @ [1, 1j], (dst - dst_mean) @ [1, 1j]
    spread = float((s.conj() @ s).real)
    if not np.isfinite(spread) or spread <= 1e-12:
        raise InputError("All source points coincide or are not finite; a similarity needs two distinct points.")
    factor = (s.conj() @ d) / spread
    matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.hstack([matrix, (dst_mean - matrix @ src_mean)[:, None]])


def window(image: NDArray[np.uint8], left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Copy a window of whole pixels; outside the image the nearest pixel is repeated."""
    last_x, last_y = image.shape[1] - 1, image.shape[0] - 1
    # A window can be far larger than the image it repeats; what it shows then is a few pixels, so sample it coarsely.
    step = max(1, max(width, height) // 4096)
    if step > 1:
        rows = np.clip(np.arange(top, top + height, step), 0, last_y)
        columns = np.clip(np.arange(left, left + width, step), 0, last_x)
        return image.take(rows, axis=0).take(columns, axis=1)
    x1, y1 = min(max(left, 0), last_x), min(max(top, 0), last_y)
    x2, y2 = max(min(left + width, last_x + 1), x1 + 1), max(min(top + height, last_y + 1), y1 + 1)
    shown = image[y1:y2, x1:x2]
    if shown.shape[:2] == (height, width):
        return shown.copy()
    import cv2

    # A sixteenth of the time of taking rows and columns by number.
    above, before = min(max(-top, 0), height - (y2 - y1)), min(max(-left, 0), width - (x2 - x1))
    below, after = height - (y2 - y1) - above, width - (x2 - x1) - before
    return np.asarray(cv2.copyMakeBorder(shown, above, below, before, after, cv2.BORDER_REPLICATE), np.uint8)
