"""A map as colors over a picture: orange speaks for the label, blue against it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..resizing import resized_to

__all__ = ["overlay"]

_FOR, _AGAINST = (213, 94, 0), (0, 114, 178)  # Okabe and Ito's vermilion and blue
_MOST = 0.75  # of the color, where the map is strongest: the face stays visible


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32], *, strongest: float | None = None) -> NDArray[np.uint8]:
    """Return a picture with a map over it: orange where it is above 0, blue where it is below.

    Args:
        pixels: uint8 ``(H, W)`` or ``(H, W, 3)``. Not changed.
        heat: float32 ``(H, W)``, or of another size, to which it is resized.
        strongest: The value that is drawn strongest; None is the map's own largest, whatever its sign.

    Returns:
        RGB uint8 ``(H, W, 3)``.
    """
    height, width = pixels.shape[:2]
    heat = resized_to(heat, width, height)
    rgb = np.asarray(pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2), np.float32)
    top = strongest if strongest is not None else float(np.abs(heat).max())
    share = np.clip(np.abs(heat) / max(top, 1e-9), 0, 1)[:, :, None] * _MOST
    color = np.where(heat[:, :, None] > 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    return np.asarray((rgb + (color - rgb) * share).round(), np.uint8)
