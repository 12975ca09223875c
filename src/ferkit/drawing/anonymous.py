"""Copies without faces: what is drawn over a head is made from its surroundings alone, so nothing of the face can be brought back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .layout import Box

__all__ = ["anonymized", "head"]

_TILES = 6  # across a head: plainly a mosaic
_ASIDE, _ABOVE, _BELOW = 0.4, 0.6, 0.3  # what belongs to the head beside a face's box: ears, hair, chin
_GREY = 128.0


def head(box: Box) -> Box:
    """Return the whole head's region for a face's box: ears, hair and chin, whichever way it is turned in the plane."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    return x1 - _ASIDE * w, y1 - _ABOVE * h, x2 + _ASIDE * w, y2 + _BELOW * h


def anonymized(pixels: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """Return a copy with every head replaced by a mosaic.

    Pixelation and blur of the face itself can be matched or undone (McPherson, Shokri and Shmatikov, "Defeating Image
    Obfuscation with Deep Learning", 2016). Here the tiles take their colors from the picture around the heads, and from nothing
    else: two pictures that differ in the covered regions only give the same copy.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
        boxes: The faces, xyxy pixels; they may reach past the picture.
    """
    out = pixels.copy()
    height, width = pixels.shape[:2]
    regions = []
    for box in boxes:
        x1, y1, x2, y2 = head(box)
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
        if left < right and top < bottom:
            regions.append((left, top, right, bottom))
    hidden = np.zeros((height, width), bool)
    for left, top, right, bottom in regions:
        hidden[top:bottom, left:right] = True
    for region in regions:
        _cover(out, pixels, hidden, region)
    return out


def _cover(out: NDArray[np.uint8], pixels: NDArray[np.uint8], hidden: NDArray[np.bool_], region: tuple[int, int, int, int]) -> None:
    """Fill a region with tiles between the mean colors of what can be seen on its four sides."""
    left, top, right, bottom = region
    tile = max(1, round(max(right - left, bottom - top) / _TILES))
    height, width = hidden.shape
    sides = [
        (slice(top, bottom), slice(max(0, left - tile), left)),
        (slice(top, bottom), slice(right, min(width, right + tile))),
        (slice(max(0, top - tile), top), slice(left, right)),
        (slice(bottom, min(height, bottom + tile)), slice(left, right)),
    ]
    colors = [_mean(pixels[side], hidden[side]) for side in sides]
    known = [color for color in colors if color is not None]
    middle = np.mean(known, axis=0) if known else np.full(3, _GREY)
    west, east, north, south = (middle if color is None else color for color in colors)
    for y in range(top, bottom, tile):
        v = min(1.0, (y + tile / 2 - top) / (bottom - top))
        for x in range(left, right, tile):
            u = min(1.0, (x + tile / 2 - left) / (right - left))
            color = (west * (1 - u) + east * u + north * (1 - v) + south * v) / 2
            # A chequer, so that nobody takes the mosaic for a wall behind the head.
            shade = 10 if ((x - left) // tile + (y - top) // tile) % 2 else -10
            out[y : min(bottom, y + tile), x : min(right, x + tile)] = np.clip(color + shade, 0, 255).round()


def _mean(pixels: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    seen = pixels[~hidden]
    return np.asarray(seen.mean(axis=0, dtype=np.float64)) if len(seen) else None
