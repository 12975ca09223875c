"""What goes into the networks of ferkit's detector and what comes out, as prediction and training both need it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, WeightsError
from ..geometry import window
from ..logits import softmax
from ..protocols import AnswersMaps, Engine
from ..resizing import resized_to

POINTS_FILE = "points.onnx"
FACE = "face"  # the second answer of the landmarks' network, from ferkit-face-v4 on: what the view adds to the logit of the score
POINTS_SIZE, POINTS_ROOM = 48, 1.25  # px of the square that the landmarks' network sees, and its side over the box's longer one
MIRRORED = [1, 0, 2, 4, 3]  # the five points after left and right have changed places
STRIDES = (8, 16, 32)
OUTPUTS = [f"stride{stride}" for stride in STRIDES]
MULTIPLE = 32  # of a side that the network takes
MEAN, STD, PADDING = 127.5, 128.0, 114  # the network's input scale, and the grey that it saw beyond pictures' edges
_SCALED = ((np.arange(256) - MEAN) / STD).astype(np.float32)


def mirrored_points(points: NDArray[np.float64], last: float = 0.0) -> NDArray[np.float64]:
    """Return five points ``(..., 5, 2)`` as they lie in the mirror image of a picture with the columns 0 to ``last``."""
    return points[..., MIRRORED, :] * [-1, 1] + [last, 0]


def filled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill a picture up with grey on the right and at the bottom, to sides that the network takes."""
    h, w = image.shape[:2]
    if (padded(h), padded(w)) == (h, w):
        return image
    canvas = np.full((padded(h), padded(w), 3), PADDING, np.uint8)
    canvas[:h, :w] = image
    return canvas


def planes(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return RGB pictures ``(n, H, W, 3)`` at the networks' input scale, ``(n, 3, H, W)``."""
    import cv2

    blob = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
    for image, scaled in zip(images, blob, strict=True):
        for plane, out in zip(cv2.split(image), scaled, strict=True):
            cv2.LUT(plane, _SCALED, out)  # in one pass: a ninth of the time of OpenCV's blobFromImages
    return blob


def open_network(data: bytes, where: str, outputs: list[str], opened: Callable[[bytes], Engine]) -> AnswersMaps:
    try:
        network = opened(data)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error
    if not isinstance(network, AnswersMaps):
        raise InputError(
            f"The engine {type(network).__name__} answers one output; ferkit's face detector needs output_names and maps too.",
            arguments=["runtime"],
        )
    names = set(network.output_names())
    if not names.issuperset(outputs):
        raise WeightsError(f"{where} has the outputs {', '.join(sorted(names))}; expected {', '.join(outputs)} (a ferkit-face network).")
    return network


def face_view(image: NDArray[np.uint8], box: NDArray[np.float64]) -> tuple[tuple[int, int, int], NDArray[np.uint8]]:
    """Return left, top and side of the square around a face, and what is in it, ``POINTS_SIZE`` pixels wide; edges repeat."""
    side = max(2, round(POINTS_ROOM * float((box[2:] - box[:2]).max())))
    left, top = (round(float(v)) for v in (box[:2] + box[2:] - side + 1) / 2)
    pixels = window(image, left, top, side, side)
    return (left, top, side), resized_to(pixels, POINTS_SIZE, POINTS_SIZE)


def soft_argmax(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where each map of ``(n, 5, s, s)`` has its softmax's mean, ``(n, 5, 2)``: from the centre, in units of the side."""
    side = maps.shape[-1]
    share = softmax(maps, axis=(2, 3))
    line = (np.arange(side) + 0.5) / side - 0.5
    return np.stack([share.sum(axis=2) @ line, share.sum(axis=3) @ line], axis=-1)


def padded(side: int) -> int:
    # Two cells at least at stride 32: on a map one cell high or wide, OpenCV 4.14 convolves with what lies beyond it.
    return max(2 * MULTIPLE, -(-side // MULTIPLE) * MULTIPLE)


def decode(level: NDArray[np.float32], stride: int, min_logit: float) -> NDArray[np.float64]:
    """Turn a level's map ``(15, h, w)`` into rows of score, box and points in the look's pixels."""
    found = np.flatnonzero(level[0] >= min_logit)
    if not len(found):
        return np.zeros((0, 15))
    y, x = np.divmod(found, level.shape[2])
    cells = level[:, y, x].T.astype(np.float64)
    centre = np.column_stack([x + 0.5, y + 0.5])
    reach = np.exp(np.clip(cells[:, 1:5], -4.0, 4.5))
    boxes = np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], axis=1)
    points = cells[:, 5:15] + np.tile(centre, 5)
    return np.concatenate([1 / (1 + np.exp(-cells[:, :1])), boxes * stride, points * stride], axis=1)
