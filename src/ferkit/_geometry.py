"""Boxes, overlap, similarity alignment and the face crop. Pure functions that never change their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

__all__ = ["CropGeometry", "area", "centre", "clip_boxes", "crop_face", "intersection", "iou", "nms", "similarity", "window"]

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


@dataclass(frozen=True)
class CropGeometry:
    """How a detected face becomes the square that a network was trained on. Part of the weights.

    Attributes:
        mode: ``"square"``: a square on the box. ``"aligned"``: turned and scaled so that the five landmarks fall on
            ``template``; faces without landmarks are cropped as ``"square"``. ``"box"``: the box itself, stretched.
        scale: The square's side over the box's height.
        centre: Shift of the square's centre from the box's, as fractions of the box's height (x right, y down).
        template: Landmarks in the unit square, five (x, y), for ``"aligned"``.
    """

    mode: Literal["square", "aligned", "box"] = "square"
    scale: float = 0.95
    centre: tuple[float, float] = (0.0, 0.0)
    template: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in ("square", "aligned", "box"):
            raise InputError(f"Crop mode {self.mode!r}; expected 'square', 'aligned' or 'box'.")
        if not 0 < self.scale < 10:
            raise InputError(f"Crop scale {self.scale}; expected a number between 0 and 10.")
        if self.mode == "aligned" and len(self.template) != 5:
            raise InputError(f"Aligned crops need a template of five points; got {len(self.template)}.")
        object.__setattr__(self, "centre", tuple(float(v) for v in self.centre))
        object.__setattr__(self, "template", tuple((float(x), float(y)) for x, y in self.template))

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"mode": self.mode, "scale": self.scale, "centre": list(self.centre)}
        return out | ({"template": [list(p) for p in self.template]} if self.template else {})


def crop_face(image: NDArray[np.uint8], box: ArrayLike, geometry: CropGeometry, landmarks: ArrayLike | None = None) -> NDArray[np.uint8]:
    """Cut a face out of an image, at the image's own resolution.

    Parts of the square outside the image repeat its edge: black corners or a stretched face are unlike anything that
    the network was trained on.

    Args:
        image: uint8 ``(H, W)`` or ``(H, W, 3)``. Not changed.
        box: xyxy, pixels; may reach outside the image, or be degenerate (a square of one pixel is returned).
        geometry: Of the weights.
        landmarks: ``(5, 2)`` pixels, used by ``mode="aligned"``.

    Returns:
        A new uint8 array ``(S, S)`` or ``(S, S, 3)``, S at least 1; ``mode="box"`` keeps the box's aspect.

    Raises:
        InputError: The box or the landmarks are not finite.
    """
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box, np.float64).reshape(4))
    if not np.isfinite([x1, y1, x2, y2]).all():
        raise InputError(f"Box {(x1, y1, x2, y2)}; expected four finite numbers.")
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if geometry.mode == "aligned" and landmarks is not None:
        return _aligned(image, np.asarray(landmarks, np.float64), geometry)
    if geometry.mode == "box":
        return window(image, round(x1), round(y1), max(1, round(x2 - x1)), max(1, round(y2 - y1)))
    height = y2 - y1
    side = max(1, round(geometry.scale * height))
    left = (x1 + x2) / 2 + geometry.centre[0] * height - side / 2
    top = (y1 + y2) / 2 + geometry.centre[1] * height - side / 2
    return window(image, round(left), round(top), side, side)


def centre(faces: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the middle ``side`` x ``side`` pixels of faces ``(n, H, W, ...)``, a view."""
    top, left = (faces.shape[1] - side) // 2, (faces.shape[2] - side) // 2
    return faces[:, top : top + side, left : left + side]


def window(image: NDArray[np.uint8], left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Copy a window of whole pixels; outside the image the nearest pixel is repeated."""
    # A window can be far larger than the image it repeats; what it shows then is a few pixels, so sample it coarsely.
    step = max(1, max(width, height) // 4096)
    if step == 1 and left >= 0 and top >= 0 and left + width <= image.shape[1] and top + height <= image.shape[0]:
        return image[top : top + height, left : left + width].copy()
    rows = np.clip(np.arange(top, top + height, step), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + width, step), 0, image.shape[1] - 1)
    return image.take(rows, axis=0).take(columns, axis=1)


def _aligned(image: NDArray[np.uint8], landmarks: Float, geometry: CropGeometry) -> NDArray[np.uint8]:
    import cv2

    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise InputError(f"Landmarks of shape {landmarks.shape}; expected five finite points (5, 2).")
    template = (np.array(geometry.template) - 0.5) / geometry.scale + 0.5
    unit = similarity(landmarks, template)
    side = int(np.clip(round(1 / np.hypot(*unit[:, 0])), 1, 4096))
    matrix = unit * side
    matrix[:, 2] -= 0.5  # from edges to pixel centres
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5]
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
