"""Faces in pictures that are turned by quarters: look at the picture from each side, and say what was found in its own pixels.

A face's ``turn`` is clockwise, in degrees: 180 is upside down. The picture is turned back by it, which makes the face upright.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .faces import Expression, Face
from .gate import native
from .geometry import area, intersection

__all__ = ["checked_rotations", "judged", "surest", "turn_back", "turn_upright", "upright"]

_TURNED = "the face looks {how} and such faces were not asked for; rotations=(0, {turn}) reads it"
_ONE_FACE = 0.5  # share of the smaller box that lies in the other, above which two sides' answers are one face


def checked_rotations(rotations: Sequence[int] | None) -> tuple[int, ...]:
    """Return the turns to look for, 0 among them; empty if nobody asked. Raises InputError."""
    if rotations is None:
        return ()
    try:
        wanted = set(rotations)
    except TypeError:
        wanted = {-1}
    if isinstance(rotations, str) or not wanted <= {0, 90, 180, 270}:
        raise InputError(f"rotations={rotations!r}; expected some of 0, 90, 180 and 270 degrees, for example (0, 90, 180, 270).")
    return tuple(sorted({int(turn) for turn in wanted} | {0}))


def upright(pixels: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Return a picture turned back, counter-clockwise, by ``turn`` degrees."""
    if not turn:
        return pixels
    import cv2

    how = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}[turn]
    with native:  # a quarter of the time of copying NumPy's turned view
        return np.asarray(cv2.rotate(pixels, how), np.uint8)


def judged(face: Face, expression: Expression, rotations: Sequence[int]) -> Face:
    """Return a face with its expression: without a label where it is turned in a way that ``rotations`` does not have."""
    if face.turn and face.turn not in rotations:
        how = "upside down" if face.turn == 180 else f"turned by {face.turn} degrees"
        expression = expression.unsure(_TURNED.format(how=how, turn=face.turn))
    return face.with_expression(expression)


def turn_back(face: Face, turn: int, width: int, height: int) -> Face:
    """Carry a face that was found in ``upright`` pixels over to the picture of ``width`` x ``height`` pixels.

    Its own turn there, if it has one, is added.
    """
    total = (turn + (face.turn or 0)) % 360
    if turn == 0:
        return replace(face, turn=total)
    seen = (height, width) if turn != 180 else (width, height)
    return replace(_carried(face, 360 - turn, *seen), turn=total)


def turn_upright(face: Face, turn: int, width: int, height: int) -> Face:
    """Carry a face of a picture of ``width`` x ``height`` pixels over to its ``upright`` pixels."""
    return _carried(face, turn, width, height) if turn else face


def _carried(face: Face, turn: int, width: int, height: int) -> Face:
    """Turn a face counter-clockwise with its picture. Boxes tell edges, landmarks pixel centres: their last is one less."""
    x1, y1, x2, y2 = face.box
    (ax, ay), (bx, by) = (_point(x, y, turn, width, height) for x, y in ((x1, y1), (x2, y2)))
    points = None if face.landmarks is None else tuple(_point(x, y, turn, width - 1, height - 1) for x, y in face.landmarks)
    return replace(face, box=(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)), landmarks=points)


def _point(x: float, y: float, turn: int, width: float, height: float) -> tuple[float, float]:
    return {90: (y, width - x), 180: (width - x, height - y), 270: (height - y, x)}[turn]


def surest(found: Iterable[tuple[int, Face]]) -> list[Face]:
    """Keep of answers from several sides, the surest first, one for each face.

    Two sides may tell one face by two boxes, and agree on its turn: one sees it upright, the other marks it as upside down. What one side
    tells apart, such as a child before an adult, stays apart.

    Args:
        found: The side, degrees, and the face in the picture's own pixels.
    """
    kept: list[tuple[int, Face]] = []
    for side, face in found:
        others = np.array([other.box for from_side, other in kept if from_side != side]).reshape(-1, 4)
        least = np.maximum(np.minimum(area([face.box]), area(others)), 1e-9)
        if not (intersection([face.box], others)[0] / least > _ONE_FACE).any():
            kept.append((side, face))
    return [face for _, face in kept]
