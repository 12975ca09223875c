"""Test-time augmentation: the views of a face whose answers are averaged."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["View", "parse_tta", "random_views", "seen", "views"]

_CORNER = 2.0  # pixels of a 48-pixel face: the ten-crop of 44 in 48


class View(NamedTuple):
    """One test-time view: a shift in pixels of a 48-pixel face, mirroring, a rotation in degrees and a magnification."""

    x: float
    y: float
    mirrored: bool
    angle: float = 0.0
    zoom: float = 1.0


def views(count: int) -> list[View]:
    """Return ``count`` test-time views: shifts in pixels of a 48-pixel face, and their mirror images.

    They come in mirrored pairs: the face as it is, its four corner crops, then further shifts spread evenly by the R2
    low-discrepancy sequence. So 1 is the plain face, 2 adds the flip and 10 is the usual ten-crop.
    """
    if not 1 <= count <= 100:
        raise _unknown(count)
    shifts = [(0.0, 0.0), (-_CORNER, -_CORNER), (_CORNER, -_CORNER), (-_CORNER, _CORNER), (_CORNER, _CORNER)]
    for i in range(1, count // 2 - 3):
        shifts.append(tuple(2 * _CORNER * ((0.5 + i * step) % 1 - 0.5) for step in (0.7548776662466927, 0.5698402909980532)))  # type: ignore[arg-type]
    return [View(x, y, mirrored) for x, y in shifts for mirrored in (False, True)][:count]


def random_views(count: int, seed: int = 0) -> list[View]:
    """Return ``count`` random views, the same for the same seed: mirrored or not, rotated to 10 degrees, shifted and zoomed to a tenth.

    Every face is seen in the same views, so that the answer does not depend on which faces come together.
    """
    if not 1 <= count <= 100:
        raise _unknown(f"random:{count}")
    draw = np.random.default_rng(seed).uniform(-1, 1, (count, 5))
    return [View(4.8 * x, 4.8 * y, bool(m > 0), 10 * angle, 1 + 0.1 * zoom) for x, y, m, angle, zoom in draw.tolist()]


def parse_tta(tta: str | int | None) -> tuple[str | int, list[View]]:
    """Return a test-time augmentation's one spelling, and its views."""
    if isinstance(tta, str) and (match := re.fullmatch(r"random:(\d+)(?::(\d+))?", tta)):
        return tta, random_views(int(match[1]), int(match[2] or 0))
    known = {None: 1, "none": 1, "flip": 2, "ten-crop": 10}
    try:
        count = known[tta] if tta is None or tta in known else int(tta)
    except (TypeError, ValueError):
        raise _unknown(tta) from None
    return {1: "none", 2: "flip"}.get(count, count), views(count)


def _unknown(tta: str | int | None) -> InputError:
    return InputError(
        f"tta={tta!r}; expected None, 'flip', 'ten-crop', a number of views from 1 to 100, or 'random:N' (random:N:SEED).",
        arguments=["tta"],
    )


def seen(faces: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Apply one test-time view to ``(n, S, S)``: faces moved under the network's window, borders reflected."""
    if view.mirrored:
        faces = faces[:, :, ::-1]
    if view[:2] + view[3:] != (0.0, 0.0, 0.0, 1.0):
        import cv2

        side = faces.shape[1]
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), view.angle, view.zoom)
        matrix[:, 2] += np.array((view.x, view.y)) * side / 48
        faces = np.stack([cv2.warpAffine(f, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101) for f in np.ascontiguousarray(faces)])
    return faces
