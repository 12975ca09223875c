"""What every cell of the detector should answer, and what a wrong answer costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from .networks import COLUMNS, STRIDES
from .photos import LabelledPhoto

__all__ = ["TARGET_COLUMNS", "cell_targets", "detection_loss"]

# Face sizes (square root of the area, pixels) that each level answers for; a size in two ranges is answered for twice.
_RANGES = {8: (0.0, 40.0), 16: (28.0, 96.0), 32: (72.0, np.inf)}
_RADIUS = 1.5  # strides from a face's centre within which a cell is positive (Tian et al., "FCOS", centre sampling)

TARGET_COLUMNS = {
    "counts": slice(0, 1),  # 0 where the cell lies in a region to ignore
    "face": slice(1, 2),
    "box": slice(2, 6),  # distances to left, top, right, bottom, strides
    "landmarks": slice(6, 16),  # offsets, strides
    "has_landmarks": slice(16, 17),
    "frame": slice(17, 21),  # as "box", to where the picture ends on the sides where it cuts the face off; beyond reach on the others
}
_WIDTH = 21
_BEYOND_REACH = 1e3  # strides
_CUT = 0.05  # strides of a side that do not show, from which the face is cut off there


def cell_targets(photo: LabelledPhoto, size: int) -> NDArray[np.float32]:
    """Return the targets ``(cells, 21)`` of a ``size`` x ``size`` picture; the levels one after another, rows first."""
    areas = np.prod(photo.boxes[:, 2:] - photo.boxes[:, :2], axis=1)
    order = np.argsort(-areas, kind="stable")  # small faces last: they win the cells that two faces claim
    levels = []
    for stride in STRIDES:
        side = size // stride
        target = np.zeros((side, side, _WIDTH), np.float32)
        target[..., TARGET_COLUMNS["counts"]] = 1
        for i in order[photo.ignore[order]]:
            x1, y1, x2, y2 = photo.boxes[i] / stride - 0.5
            rows = slice(max(0, int(np.ceil(y1))), max(0, int(np.floor(y2)) + 1))
            columns = slice(max(0, int(np.ceil(x1))), max(0, int(np.floor(x2)) + 1))
            target[rows, columns, TARGET_COLUMNS["counts"]] = 0
        low, high = _RANGES[stride]
        for i in order[~photo.ignore[order]]:
            if low <= np.sqrt(areas[i]) < high:
                _claim(target, photo.boxes[i] / stride, photo.seen[i] / stride, photo.landmarks[i] / stride)
        levels.append(target.reshape(-1, _WIDTH))
    return np.concatenate(levels)


def _claim(target: NDArray[np.float32], box: NDArray[np.float32], shown: NDArray[np.float32], landmarks: NDArray[np.float32]) -> None:
    """Let the cells around the middle of what shows of a face answer for it: for its whole box, as far as that can be guessed."""
    side = len(target)
    centre = (shown[:2] + shown[2:]) / 2
    nearest = np.clip(np.floor(centre), 0, side - 1).astype(int)
    low = np.maximum(np.maximum(centre - _RADIUS, shown[:2]) - 0.5, 0)
    high = np.minimum(np.minimum(centre + _RADIUS, shown[2:]) - 0.5, side - 1)
    first = np.minimum(np.ceil(low).astype(int), nearest)
    last = np.maximum(np.floor(high).astype(int), nearest)
    y, x = np.mgrid[first[1] : last[1] + 1, first[0] : last[0] + 1] + 0.5
    cell = target[first[1] : last[1] + 1, first[0] : last[0] + 1]
    cell[..., 0:2] = 1
    sides, ends = (np.stack([x - b[0], y - b[1], b[2] - x, b[3] - y], axis=-1) for b in (box, shown))
    cell[..., TARGET_COLUMNS["box"]] = sides
    cell[..., TARGET_COLUMNS["frame"]] = np.where(ends < sides - _CUT, np.maximum(ends, 0), _BEYOND_REACH)
    known = bool(np.isfinite(landmarks).all())
    if known:
        offsets = landmarks[None, None] - np.stack([x, y], axis=-1)[:, :, None]
        cell[..., TARGET_COLUMNS["landmarks"]] = offsets.reshape(*x.shape, 10)
    cell[..., TARGET_COLUMNS["has_landmarks"]] = known


def detection_loss(target: Any, answer: Any, landmarks: float = 5.0, precise: float = 0.05, seen: bool = False) -> Any:
    """Cost per picture ``(n,)``: varifocal scores, generalised IoU, landmarks; each divided by the batch's positive cells.

    Sources: Zhang et al., "VarifocalNet", CVPR 2021 (a face's score is trained towards its box's IoU); Rezatofighi et al.,
    "Generalized Intersection over Union", CVPR 2019.

    Args:
        target: float32 ``(n, cells, 21)`` of ``cell_targets``.
        answer: ``(n, cells, 15)``, the network's maps flattened in the same order.
        landmarks: Their weight.
        precise: Error, in face sizes, below which landmarks cost quadratically.
        seen: A cut face's score is trained towards its box's IoU within the picture: how far a face goes on beyond the frame can only be
            guessed, and is no reason to doubt that there is one.
    """
    answer = ops.cast(answer, "float32")
    part = {name: target[..., columns] for name, columns in TARGET_COLUMNS.items()}
    face, counts = part["face"][..., 0], part["counts"][..., 0]
    positives = ops.maximum(ops.sum(face), 1.0)
    n = ops.cast(ops.shape(target)[0], "float32")

    # Sides beyond a box's edge (the nearest cell of a tiny face may lie outside) are cut to 0 in the target.
    wanted = ops.maximum(part["box"], 0.0)
    given = ops.exp(ops.clip(answer[..., COLUMNS["box"]], -4.0, 4.5))
    overlap, outside = _iou(wanted, given)
    box_cost = ops.sum(face * (1.0 - overlap + outside), axis=1)

    logit = answer[..., 0]
    if seen:
        overlap, _ = _iou(ops.minimum(wanted, part["frame"]), ops.minimum(given, part["frame"]))
    quality = ops.stop_gradient(face * ops.clip(overlap, 0.05, 1.0))
    entropy = ops.maximum(logit, 0.0) - logit * quality + ops.log1p(ops.exp(-ops.abs(logit)))
    weight = face * quality + (1.0 - face) * counts * 0.75 * ops.square(ops.sigmoid(logit))
    score_cost = ops.sum(weight * entropy, axis=1)

    size = ops.sqrt(ops.maximum(_area(wanted), 0.25))[..., None]
    error = ops.abs(answer[..., COLUMNS["landmarks"]] - part["landmarks"]) / size
    smooth = ops.where(error < precise, ops.square(error) / (2 * precise), error - precise / 2)
    landmark_cost = ops.sum(part["has_landmarks"][..., 0] * ops.mean(smooth, axis=-1), axis=1)
    return (score_cost + 2.0 * box_cost + landmarks * landmark_cost) * n / positives


def _area(sides: Any) -> Any:
    return (sides[..., 0] + sides[..., 2]) * (sides[..., 1] + sides[..., 3])


def _iou(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the IoU of boxes given by distances from one point, and the share of their common hull that neither covers."""
    shared, hull = _area(ops.minimum(a, b)), _area(ops.maximum(a, b))
    union = _area(a) + _area(b) - shared
    return shared / ops.maximum(union, 1e-6), (hull - union) / ops.maximum(hull, 1e-6)
