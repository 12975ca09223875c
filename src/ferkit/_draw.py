"""Drawing: boxes, labels and probability bars on a copy of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .labels import LabelSet
from .results import Expression, Face

__all__ = ["draw_faces"]

_UNSURE = (110, 110, 110)


def draw_faces(pixels: NDArray[np.uint8], faces: Sequence[Face]) -> Image.Image:
    """Annotate a copy of RGB uint8 ``(H, W, 3)``: a box, the label with its confidence, and bars where there is room.

    Sizes follow the picture's, so that a thumbnail and a 40-megapixel photo are both readable.
    """
    picture = Image.fromarray(pixels).convert("RGB")
    pen = ImageDraw.Draw(picture, "RGBA")
    unit = max(9.0, min(picture.size) / 32)
    font = ImageFont.load_default(size=unit)
    small = ImageFont.load_default(size=max(8.0, unit * 0.7))
    occupied: list[tuple[float, float, float, float]] = [face.box for face in faces]
    for face in faces:
        e = face.expression
        colour = _colours(e).get(e.label, _UNSURE) if e and e.label else _UNSURE
        x1, y1, x2, y2 = face.box
        pen.rectangle((x1, y1, x2, y2), outline=(*colour, 255), width=max(2, round(unit / 6)))
        for x, y in face.landmarks or ():
            r = max(1.0, unit / 9)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(*colour, 255))
        if e is None:
            continue
        text = f"{e.label or 'unsure'} {e.confidence:.0%}"
        _tag(pen, picture.size, text, font, colour, x1, y1, y2, unit)
        _bars(pen, picture.size, e, small, face.box, occupied, unit)
    return picture


def _colours(expression: Expression | None) -> dict[str, tuple[int, int, int]]:
    if expression is None:
        return {}
    labels = LabelSet("drawn", tuple(expression.probabilities))
    return dict(zip(labels.classes, labels.colours, strict=True))


def _tag(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: tuple[int, int, int],
    x: float,
    top: float,
    bottom: float,
    unit: float,
) -> None:
    """Write on a plate above the box, or inside its lower edge where there is no room above."""
    width, height = pen.textlength(text, font=font) + unit * 0.6, unit * 1.35
    x = min(max(0.0, x), max(0.0, size[0] - width))
    y = top - height if top >= height else min(bottom, size[1]) - height
    pen.rectangle((x, y, x + width, y + height), fill=(*colour, 235))
    ink = (0, 0, 0) if sum(w * c for w, c in zip((0.299, 0.587, 0.114), colour, strict=True)) > 140 else (255, 255, 255)
    pen.text((x + unit * 0.3, y + height / 2), text, font=font, fill=ink, anchor="lm")


def _bars(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    expression: Expression,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    box: tuple[float, float, float, float],
    occupied: list[tuple[float, float, float, float]],
    unit: float,
) -> None:
    """Put a small bar chart beside the face, if it fits the picture without covering another one."""
    colours = _colours(expression)
    row = unit * 0.95
    if box[3] - box[1] < row * len(colours) / 2:
        return  # beside a small face the chart would be the picture
    name_width = max(pen.textlength(name, font=font) for name in colours)
    width, height = name_width + unit * 4.6, row * len(colours) + unit * 0.5
    y = min(max(0.0, box[1]), size[1] - height)
    for x in (box[2] + unit * 0.3, box[0] - width - unit * 0.3):
        panel = (x, y, x + width, y + height)
        inside = x >= 0 and y >= 0 and x + width <= size[0]
        if inside and not any(_overlap(panel, other) for other in occupied if other != box):
            break
    else:
        return
    occupied.append(panel)
    pen.rectangle(panel, fill=(20, 20, 20, 175))
    for i, (name, p) in enumerate(expression.probabilities.items()):
        middle = y + unit * 0.25 + row * (i + 0.5)
        pen.text((x + unit * 0.3, middle), name, font=font, fill=(255, 255, 255), anchor="lm")
        left = x + name_width + unit * 0.6
        pen.rectangle((left, middle - row * 0.3, left + unit * 3.7 * p, middle + row * 0.3), fill=(*colours[name], 255))


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
