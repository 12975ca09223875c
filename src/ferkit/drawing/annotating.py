"""Drawing: boxes, labels and probability bars on a copy of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..colors import RGB
from ..faces import Expression, Face
from ..labels import LabelSet
from .anonymous import anonymized
from .fonts import font, readable
from .layout import Box, clipped, gap, overlap, place, text_sizes

__all__ = ["draw_faces"]

_UNSURE: RGB = (110, 110, 110)


def draw_faces(
    pixels: NDArray[np.uint8],
    faces: Sequence[Face],
    *,
    landmarks: bool = False,
    bars: bool = True,
    blur: bool = False,
    colors: Mapping[str, RGB] | None = None,
) -> Image.Image:
    """Annotate a copy of RGB uint8 ``(H, W, 3)``: a box, the label with its confidence, and bars where there is room.

    Sizes follow the picture's, so that a thumbnail, a crowd and a 40-megapixel photo are legible. Every face has its label: where
    there is no room beside the face a line leads to it. Nothing covers eyes and mouths that can be helped.

    Args:
        pixels: The image.
        faces: Of it.
        landmarks: Draw the five points too, as thin circles; not together with ``blur``.
        bars: Draw the probabilities beside faces where nothing is covered.
        blur: Cover the heads first, see ``ferkit.drawing.anonymous.anonymized``.
        colors: Of the labels; None derives them from the names.
    """
    picture = Image.fromarray(anonymized(pixels, [face.box for face in faces]) if blur else pixels).convert("RGB")
    pen = ImageDraw.Draw(picture, "RGBA")
    paints = [_paint(face.expression, colors) for face in faces]
    for face, paint in zip(faces, paints, strict=True):
        _box(pen, picture.size, face, paint)
        if landmarks and not blur:
            _points(pen, face, paint)
    unit, plates = _labels(pen, picture.size, faces, paints)
    if bars:
        taken = [clipped(face.box, *picture.size) for face in faces] + [plate for plate in plates if plate is not None]
        for face in faces:
            if face.expression is not None and face.expression.probabilities:
                _bars(pen, picture.size, face.expression, face.box, taken, min(unit, max(9.0, face.height / 5)), colors)
    return picture


def _colors(expression: Expression, colors: Mapping[str, RGB] | None) -> dict[str, RGB]:
    labels = LabelSet("drawn", tuple(expression.probabilities)) if len(expression.probabilities) > 1 else None
    derived = dict(zip(labels.classes, labels.colours, strict=True)) if labels is not None else {}
    return derived | {name: color for name, color in (colors or {}).items() if name in expression.probabilities}


def _paint(expression: Expression | None, colors: Mapping[str, RGB] | None) -> RGB:
    return _UNSURE if expression is None or expression.label is None else _colors(expression, colors).get(expression.label, _UNSURE)


def _box(pen: ImageDraw.ImageDraw, size: tuple[int, int], face: Face, paint: RGB) -> None:
    """Outline the part of a face's box that is in the picture: the edge of one that leaves it stays in sight."""
    x1, y1, x2, y2 = clipped(face.box, *size)
    line = max(1, round(min(text_sizes(*size)[0] / 7, max(x2 - x1, y2 - y1) / 24)))
    right, bottom = max(x1, min(x2, size[0] - 1)), max(y1, min(y2, size[1] - 1))
    pen.rectangle((x1, y1, right, bottom), outline=(0, 0, 0, 110), width=line + max(1, line // 2))
    pen.rectangle((x1, y1, right, bottom), outline=(*paint, 255), width=line)


def _points(pen: ImageDraw.ImageDraw, face: Face, paint: RGB) -> None:
    r = max(1.0, face.height / 60)
    for x, y in face.landmarks or ():
        pen.ellipse((x - r, y - r, x + r, y + r), outline=(*paint, 255), width=max(1, round(r / 4)))


def _text(face: Face, number: int | None, short: bool) -> str:
    """Return a face's label as it is written: its number where there are several, what it shows, and how sure that is."""
    assert face.expression is not None
    said = face.expression
    names = {name: readable(name, f"label {number + 1}") for number, name in enumerate(said.numbers)}
    sure = "" if short or said.labels is not None or said.values is not None else f" {said.confidence:.0%}"
    if said.values is not None:
        text = ", ".join(f"{names[name]} {value:.2f}" for name, value in said.values.items())
    elif said.labels is not None:
        text = ", ".join(names[name] for name in said.labels) or ("none" if said.reason is None else "unsure")
    else:
        text = "unsure" if said.label is None else names[said.label]
    return "".join(["" if number is None else f"{number} ", text, sure])


def _labels(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], faces: Sequence[Face], paints: Sequence[RGB]
) -> tuple[float, list[Box | None]]:
    """Write every face's label, as large and whole as there is room for; return the size of the text, and the labels' boxes."""
    numbers = [face.track_id if face.track_id is not None else number + 1 if len(faces) > 1 else None for number, face in enumerate(faces)]
    # A face that nobody classified has no label, but other labels stay off it: it comes last, with nothing to write.
    known = [i for i, face in enumerate(faces) if face.expression is not None]
    order = known + [i for i in range(len(faces)) if i not in known]
    largest, least = text_sizes(*size)
    best: tuple[float, float, list[str], list[Box]] | None = None
    for unit, short in ((largest, False), ((largest + least) / 2, False), (least, False), (least, True)):
        texts = [_fitting(pen, _text(faces[i], numbers[i], short), unit, size[0]) for i in known]
        widths = [pen.textlength(text, font=font(text, unit)) + 0.7 * unit for text in texts]
        plates, covered = place(*size, [faces[i].box for i in order], [(min(w, size[0]), min(1.4 * unit, size[1])) for w in widths])
        if best is None or covered < best[0] - 1e-6:
            best = covered, unit, texts, plates
        if covered < 0.02:
            break
    assert best is not None
    _, unit, texts, plates = best
    found: list[Box | None] = [None] * len(faces)
    for i, plate in zip(known, plates, strict=True):
        found[i] = plate
        _leader(pen, clipped(faces[i].box, *size), plate, paints[i], unit)
    for i, text, plate in zip(known, texts, plates, strict=True):
        pen.rectangle(plate, fill=(*paints[i], 240))
        pen.text(((plate[0] + plate[2]) / 2, (plate[1] + plate[3]) / 2), text, font=font(text, unit), fill=_ink(paints[i]), anchor="mm")
    return unit, found


def _fitting(pen: ImageDraw.ImageDraw, text: str, unit: float, width: float) -> str:
    """Return a text, cut where it is wider than the picture."""
    while len(text) > 4 and pen.textlength(text, font=font(text, unit)) + 0.7 * unit > width:
        text = text[:-4] + "..."
    return text


def _ink(paint: RGB) -> RGB:
    return (0, 0, 0) if sum(w * c for w, c in zip((0.299, 0.587, 0.114), paint, strict=True)) > 140 else (255, 255, 255)


def _leader(pen: ImageDraw.ImageDraw, face: Box, plate: Box, paint: RGB, unit: float) -> None:
    """Draw a thin line from a label that lies away from its face."""
    if gap(face, plate) <= 0.5 * unit:
        return
    ends = []
    for a, b in ((face, plate), (plate, face)):
        middle = ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)
        ends.append((min(max(middle[0], a[0]), a[2]), min(max(middle[1], a[1]), a[3])))
    pen.line([*ends], fill=(0, 0, 0, 110), width=max(2, round(unit / 7)))
    pen.line([*ends], fill=(*paint, 255), width=max(1, round(unit / 12)))


def _bars(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    expression: Expression,
    box: Box,
    taken: list[Box],
    unit: float,
    colors: Mapping[str, RGB] | None,
) -> None:
    """Put a small bar chart beside a face, where it covers no face and no label."""
    paints = _colors(expression, colors)
    text = max(text_sizes(*size)[1], unit * 0.7)
    unit = text / 0.7
    row = unit * 0.95
    if box[3] - box[1] < row * len(paints) / 2:
        return  # beside a small face the chart would be the picture
    names = [readable(name, f"label {number + 1}") for number, name in enumerate(expression.probabilities)]
    face = font("".join(names), text)
    name_width = max(pen.textlength(name, font=face) for name in names)
    width, height = name_width + unit * 4.6, row * len(names) + unit * 0.5
    y = min(max(0.0, box[1]), size[1] - height)
    places = [(box[2] + unit * 0.3, y), (box[0] - width - unit * 0.3, y)]
    panel = _free([(x, y, x + width, y + height) for x, y in places], size, taken)
    if panel is None:
        return
    taken.append(panel)
    x, y = panel[:2]
    pen.rectangle(panel, fill=(20, 20, 20, 175))
    for i, (name, (label, p)) in enumerate(zip(names, expression.probabilities.items(), strict=True)):
        middle = y + unit * 0.25 + row * (i + 0.5)
        pen.text((x + unit * 0.3, middle), name, font=face, fill=(255, 255, 255), anchor="lm")
        left, top, bottom = x + name_width + unit * 0.6, middle - row * 0.3, middle + row * 0.3
        pen.rectangle((left, top, left + unit * 3.7, bottom), fill=(255, 255, 255, 45))
        if p >= 0.005:
            pen.rectangle((left, top, left + unit * 3.7 * p, bottom), fill=(*paints.get(label, _UNSURE), 255))


def _free(panels: Sequence[Box], size: tuple[int, int], taken: Sequence[Box]) -> Box | None:
    """Return the first panel that lies in the picture and covers nothing; None if none does."""
    for panel in panels:
        inside = panel[0] >= 0 and panel[1] >= 0 and panel[2] <= size[0] and panel[3] <= size[1]
        if inside and not any(overlap(panel, other) > 0 for other in taken):
            return panel
    return None
