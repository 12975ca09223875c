"""Pixels at another size: one rule for every picture, crop and map."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .gate import native

__all__ = ["resized_to"]

_Pixel = TypeVar("_Pixel", bound=np.generic)


def resized_to(pixels: NDArray[_Pixel], width: int, height: int, *, sampled: bool = False) -> NDArray[_Pixel]:
    """Return pixels at another size: areas are averaged where they shrink, where a bilinear sample would alias; else bilinear.

    Args:
        pixels: uint8 or float32, ``(H, W)`` or ``(H, W, channels)``. Not changed; returned as they are if they have the size.
        width, height: In pixels, at least 1.
        sampled: Bilinear always: about a fifth of the time, for what is looked at many times a second and never shown.

    Returns:
        The same dtype, ``(height, width)`` or ``(height, width, channels)``.
    """
    import cv2

    before = pixels.shape[:2]
    if before == (height, width):
        return pixels
    averaged = not sampled and before[0] >= height and before[1] >= width
    with native:
        out: NDArray[Any] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if averaged else cv2.INTER_LINEAR)
    return np.asarray(out, pixels.dtype).reshape(height, width, *pixels.shape[2:])  # OpenCV drops a single channel's axis
