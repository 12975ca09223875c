"""Drawing: boxes, labels and probability bars on a copy of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .labels import LabelSet
from .results import Expression, Face

__all__ = ["draw_faces"]

Box = tuple[float, float, float, float]

_UNSURE = (110, 110, 110)


def draw_faces(pixels: NDArray[np.uint8], faces: Sequence[Face]) -> Image.Image:
    """Annotate a copy of RGB uint8 ``(H, W, 3)``: a box, the label with its confidence, and bars where there is room.

    Sizes follow the picture's and the face's, so that a thumbnail, a crowd and a 40-megapixel photo stay readable.
    What would cover another face is left out; the box's colour still tells the label.
    """
    picture = Image.fromarray(pixels).convert("RGB")
    pen = ImageDraw.Draw(picture, "RGBA")
    largest = max(9.0, min(picture.size) / 32)
    occupied: list[Box] = [face.box for face in faces]
    for face in faces:
        e = face.expression
        colour = _colours(e).get(e.label, _UNSURE) if e and e.label else _UNSURE
        unit = min(largest, max(9.0, face.height / 5))
        pen.rectangle(face.box, outline=(*colour, 255), width=max(1, round(min(unit / 6, face.height / 24))))
        for x, y in face.landmarks or ():
            r = max(1.0, face.height / 50)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(*colour, 255), outline=(255, 255, 255, 255), width=max(1, round(r / 3)))
        if e is not None:
            number = "" if face.track_id is None else f"#{face.track_id} "
            _tag(pen, picture.size, f"{number}{e.label or 'unsure'} {e.confidence:.0%}", colour, face.box, occupied, unit)
            _bars(pen, picture.size, e, face.box, occupied, unit)
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
    colour: tuple[int, int, int],
    box: Box,
    occupied: list[Box],
    unit: float,
) -> None:
    """Write on a plate above the box, else below it, else inside its lower edge."""
    font = ImageFont.load_default(size=unit)
    width, height = pen.textlength(text, font=font) + unit * 0.6, unit * 1.35
    x = min(max(0.0, box[0]), size[0] - width)
    inside = box[3] - height if box[3] - box[1] > 3 * height else -height
    plate = _reserve([(x, y, x + width, y + height) for y in (box[1] - height, box[3], inside)], size, box, occupied)
    if plate is None:
        return
    x, y = plate[:2]
    pen.rectangle(plate, fill=(*colour, 235))
    ink = (0, 0, 0) if sum(w * c for w, c in zip((0.299, 0.587, 0.114), colour, strict=True)) > 140 else (255, 255, 255)
    pen.text((x + unit * 0.3, y + height / 2), text, font=font, fill=ink, anchor="lm")


def _bars(pen: ImageDraw.ImageDraw, size: tuple[int, int], expression: Expression, box: Box, occupied: list[Box], unit: float) -> None:
    """Put a small bar chart beside the face, or in the corner of one that fills the picture."""
    colours = _colours(expression)
    font = ImageFont.load_default(size=max(8.0, unit * 0.7))
    row = unit * 0.95
    if box[3] - box[1] < row * len(colours) / 2:
        return  # beside a small face the chart would be the picture
    name_width = max(pen.textlength(name, font=font) for name in colours)
    width, height = name_width + unit * 4.6, row * len(colours) + unit * 0.5
    y = min(max(0.0, box[1]), size[1] - height)
    places = [(box[2] + unit * 0.3, y), (box[0] - width - unit * 0.3, y)]
    if height < (box[3] - box[1]) / 3 and width < (box[2] - box[0]) / 2:
        places.append((min(box[2], size[0]) - width, min(box[3], size[1]) - height))
    panel = _reserve([(x, y, x + width, y + height) for x, y in places], size, box, occupied)
    if panel is None:
        return
    x, y = panel[:2]
    pen.rectangle(panel, fill=(20, 20, 20, 175))
    for i, (name, p) in enumerate(expression.probabilities.items()):
        middle = y + unit * 0.25 + row * (i + 0.5)
        pen.text((x + unit * 0.3, middle), name, font=font, fill=(255, 255, 255), anchor="lm")
        left, top, bottom = x + name_width + unit * 0.6, middle - row * 0.3, middle + row * 0.3
        pen.rectangle((left, top, left + unit * 3.7, bottom), fill=(255, 255, 255, 45))
        if p >= 0.005:
            pen.rectangle((left, top, left + unit * 3.7 * p, bottom), fill=(*colours[name], 255))


def _reserve(panels: Sequence[Box], size: tuple[int, int], own: Box, occupied: list[Box]) -> Box | None:
    """Return the first panel that is free, and keep others off it from now on; None if none is."""
    for panel in panels:
        if _free(panel, size, own, occupied):
            occupied.append(panel)
            return panel
    return None


def _free(panel: Box, size: tuple[int, int], own: Box, occupied: list[Box]) -> bool:
    """Return True if a panel lies inside the picture and covers nothing but its own face."""
    inside = panel[0] >= 0 and panel[1] >= 0 and panel[2] <= size[0] and panel[3] <= size[1]
    return inside and not any(_overlap(panel, other) for other in occupied if other != own)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
