"""Where labels go on a picture. The page's script follows the same rules (serve/static/layout.js); a test compares them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Box", "clipped", "gap", "overlap", "place", "text_sizes"]

Box = tuple[float, float, float, float]

_RINGS = (0.0, 1.0, 2.5, 5.0, 9.0)  # how far from the face a label may go, in its own heights
# What a label costs per share of it that covers something, and per own height of distance from its face.
_ON_LABEL, _ON_FACE, _ON_FEATURES, _ON_OWN, _AWAY = 10.0, 4.0, 3.0, 0.6, 0.03


def text_sizes(width: float, height: float) -> tuple[float, float]:
    """Return the size of labels and the least one that is still legible, pixels, for a picture of any size.

    A picture is looked at as a whole: what is 11 px high in a thumbnail must be 90 in a picture of 12 megapixels.
    """
    short = min(width, height)
    return max(11.0, short / 32), max(11.0, short / 60)


def overlap(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def gap(a: Box, b: Box) -> float:
    """Return the distance between two boxes along the axes, 0 where they touch."""
    return max(0.0, a[0] - b[2], b[0] - a[2]) + max(0.0, a[1] - b[3], b[1] - a[3])


def clipped(box: Box, width: float, height: float) -> Box:
    """Return the part of a box that lies in the picture; of one outside, the nearest edge."""
    x1, x2 = (min(max(0.0, v), width) for v in (box[0], box[2]))
    y1, y2 = (min(max(0.0, v), height) for v in (box[1], box[3]))
    return x1, y1, x2, y2


def place(width: float, height: float, boxes: Sequence[Box], plates: Sequence[tuple[float, float]]) -> tuple[list[Box], float]:
    """Find a place for every face's label.

    It lies in the picture, close to its face, off other labels, off other faces and off its own eyes and mouth, in that order.
    There always is one: where nothing is free it covers what matters least.

    Args:
        width, height: Of the picture, pixels.
        boxes: The faces, xyxy; they may reach past the picture.
        plates: Width and height of each label.

    Returns:
        One box a label, and what they cover: 0 where everything is free.
    """
    faces = [clipped(box, width, height) for box in boxes]
    placed: list[Box] = []
    covered = 0.0
    for number, (w, h) in enumerate(plates):
        best, least, worst = None, float("inf"), 0.0
        for left, top in _candidates(faces[number], w, h):
            x, y = min(max(0.0, left), max(0.0, width - w)), min(max(0.0, top), max(0.0, height - h))
            plate = (x, y, x + w, y + h)
            cost = _covers(plate, number, faces, placed) / (w * h)
            total = cost + _ON_OWN * overlap(plate, faces[number]) / (w * h) + _AWAY * gap(plate, faces[number]) / h
            if total < least - 1e-9:
                best, least, worst = plate, total, cost
        assert best is not None
        placed.append(best)
        covered += worst
    return placed, covered


def _candidates(face: Box, w: float, h: float) -> list[tuple[float, float]]:
    x1, y1, x2, y2 = face
    across, down = (x1, x2 - w, (x1 + x2 - w) / 2), (y1, y2 - h, (y1 + y2 - h) / 2)
    found = []
    for ring in _RINGS:
        g = ring * h
        for y in (y1 - h - g, y2 + g):
            found += [(x, y) for x in across]
        for x in (x2 + g, x1 - w - g):
            found += [(x, y) for y in down]
    return found + [(x, y) for y in (y1, y2 - h) for x in across]


def _covers(plate: Box, own: int, faces: Sequence[Box], placed: Sequence[Box]) -> float:
    cost = sum(_ON_LABEL * overlap(plate, other) for other in placed)
    cost += sum(_ON_FACE * overlap(plate, face) for number, face in enumerate(faces) if number != own)
    return cost + _ON_FEATURES * overlap(plate, _features(faces[own]))


def _features(face: Box) -> Box:
    """Return the part of a face with eyes, nose and mouth."""
    x1, y1, x2, y2 = face
    w, h = x2 - x1, y2 - y1
    return x1 + 0.15 * w, y1 + 0.25 * h, x2 - 0.15 * w, y2 - 0.1 * h
