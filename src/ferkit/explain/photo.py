"""From a photo to reasons: the maps of every face, back on the photo, and one sheet that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..crops import picture_to_crop
from ..drawing.fonts import font, readable
from ..errors import InputError
from ..faces import Face
from ..gate import native
from ..images import ImageLike, load_image
from ..labels import need_classes
from ..protocols import Reader, cut, expressions_of, is_whole, prepared, rotations_of
from ..resizing import resized_to
from ..turning import judged, turn_upright
from .coloring import overlay
from .gradients import grad_cam
from .occluding import occlusion

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["METHODS", "Explanation", "explain", "sheet"]

METHODS = {"occlusion": occlusion, "grad-cam": grad_cam}
_TILE, _GAP, _LINE = 176, 12, 22  # pixels of the sheet
_PHOTO = 720  # its longer side on the sheet
_SHOWN = 3  # labels a face, the most probable first


@dataclass(frozen=True)
class Explanation:
    """Why a face got its label.

    Attributes:
        face: With its expression.
        crop: What the network sees, uint8 ``(S, S)`` or ``(S, S, 3)``.
        labels: The classifier's, in the order of the maps.
        maps: float32 ``(k, S, S)``, as ``occlusion`` and ``grad_cam`` return them.
        matrix: float64 ``(2, 3)``, from the upright picture, in pixels of its edges, to the unit square of the crop.
    """

    face: Face
    crop: NDArray[np.uint8] = field(repr=False, compare=False)
    labels: tuple[str, ...]
    maps: NDArray[np.float32] = field(repr=False, compare=False)
    matrix: NDArray[np.float64] = field(repr=False, compare=False)

    def ranked(self) -> list[str]:
        """Return the labels, the most probable first."""
        table = {} if self.face.expression is None else self.face.expression.probabilities
        return sorted(self.labels, key=lambda label: -table.get(label, 0.0))

    def map(self, label: str | None = None) -> NDArray[np.float32]:
        """Return a label's map, float32 ``(S, S)``; None is the most probable label's. Raises InputError for one that is not there."""
        label = self.ranked()[0] if label is None else label
        if label not in self.labels:
            raise InputError(f"No map for {label!r}; expected one of {', '.join(self.labels)}.")
        return np.asarray(self.maps[self.labels.index(label)])

    def on_photo(self, width: int, height: int, label: str | None = None) -> NDArray[np.float32]:
        """Return a label's map where it lies in the photo of ``width`` x ``height`` pixels, float32 ``(height, width)``; 0 elsewhere."""
        import cv2

        turn, side = self.face.turn or 0, self.maps.shape[1]
        across, down = _turned(width, height, turn)
        matrix = self.matrix * side  # then from edges to pixel centres, on both sides
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        with native:
            lying = cv2.warpAffine(self.map(label), matrix, (across, down), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return np.ascontiguousarray(np.rot90(np.asarray(lying, np.float32), -turn // 90))

    def corners(self, width: int, height: int) -> NDArray[np.float64]:
        """Return where the corners of the crop lie in the photo of ``width`` x ``height`` pixels: float64 ``(4, 2)``, x and y in pixels
        of its edges; upper left, upper right, lower right, lower left of the crop.
        """
        turn = self.face.turn or 0
        unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
        points = np.asarray(np.linalg.solve(self.matrix[:, :2], (unit - self.matrix[:, 2]).T).T, np.float64)
        across, down = _turned(width, height, turn)
        for _ in range(turn // 90):  # a quarter clockwise each time, as np.rot90 with -1
            points, (across, down) = np.column_stack([down - points[:, 1], points[:, 0]]), (down, across)
        return points


def _turned(width: int, height: int, turn: int) -> tuple[int, int]:
    return (height, width) if turn in (90, 270) else (width, height)


def explain(
    pipeline: Reader, image: ImageLike, *, method: Literal["occlusion", "grad-cam"] = "occlusion", most: int | None = None
) -> list[Explanation]:
    """Explain what a pipeline says about the faces of a photo.

    Args:
        pipeline: A ``ferkit.Pipeline``, or whatever has a detector and a classifier.
        image: What ``ferkit.load_image`` takes.
        method: ``"occlusion"``, for any classifier and engine, or ``"grad-cam"``, for weights with a ``model.keras`` where Keras is installed.
        most: Explain only so many of the largest faces; None explains them all.

    Returns:
        One for each face, the largest first; an empty list where there is none.

    Raises:
        ImageError, InputError: As load_image; InputError also for an unknown method, or for ``most`` below 1.
        MissingExtraError: ``"grad-cam"`` without Keras.

    Examples:
        >>> from ferkit import Pipeline
        >>> from ferkit.explain import explain, sheet
        >>> faces = explain(Pipeline(classifier="fer2013-n-v6"), "photo.jpg")
        >>> faces[0].ranked()[0], faces[0].map("happy").shape
        ('happy', (48, 48))
        >>> sheet("photo.jpg", faces).save("why.png")
    """
    if method not in METHODS:
        raise InputError(f"method={method!r}; expected one of {', '.join(METHODS)}.")
    if most is not None and most < 1:
        raise InputError(f"most={most}; expected a number of faces, 1 or more, or None for all.")
    need_classes(pipeline.classifier.labels, pipeline.classifier.name, "Explaining")
    pixels, classifier = load_image(image), pipeline.classifier
    faces = pipeline.detector.detect_rgb(pixels)[:most]
    crops = [cut(pixels, face, pipeline.detector, classifier.crop) for face in faces]
    out = []
    for face, crop, expression in zip(faces, crops, expressions_of(classifier, crops), strict=True):
        if is_whole(pipeline.detector):
            matrix = np.array([[1 / pixels.shape[1], 0, 0], [0, 1 / pixels.shape[0], 0]])
        else:
            seen = turn_upright(face, face.turn or 0, pixels.shape[1], pixels.shape[0])
            matrix = picture_to_crop(seen.box, classifier.crop, seen.landmarks)
        told = judged(face, expression, rotations_of(pipeline.detector))
        out.append(Explanation(told, prepared(classifier, crop), tuple(classifier.labels), METHODS[method](classifier, crop), matrix))
    return out


def sheet(image: ImageLike, explanations: list[Explanation], *, label: str | None = None) -> Image.Image:
    """Draw one sheet: the photo with the maps on its faces, below it each face with the maps of its most probable labels.

    Args:
        image: The photo that was explained.
        explanations: From ``explain``.
        label: Show this one's maps only; None shows each face's three most probable labels.

    Raises:
        ImageError, InputError: As load_image; InputError also for a label that the classifier does not answer.
    """
    from PIL import Image, ImageDraw

    pixels = load_image(image)
    height, width = pixels.shape[:2]
    heat = np.zeros((height, width), np.float32)
    for found in explanations:
        heat += found.on_photo(width, height, label) / max(float(np.abs(found.map(label)).max()), 1e-9)
    photo = Image.fromarray(overlay(pixels, heat, strongest=1.0))
    photo.thumbnail((_PHOTO, _PHOTO))
    columns = 1 + (_SHOWN if label is None else 1)
    wide = max(photo.width, columns * (_TILE + _GAP) - _GAP)
    page = Image.new("RGB", (wide + 2 * _GAP, photo.height + 2 * _GAP + len(explanations) * (_TILE + _LINE + _GAP)), (255, 255, 255))
    page.paste(photo, (_GAP, _GAP))
    draw = ImageDraw.Draw(page)
    for row, found in enumerate(explanations):
        top = photo.height + 2 * _GAP + row * (_TILE + _LINE + _GAP)
        shown = found.ranked()[:_SHOWN] if label is None else [label]
        tiles = [(f"face {row + 1}", found.crop)]
        for name in shown:
            probability = found.face.expression.probabilities[name] if found.face.expression else 0.0
            tiles.append(
                (f"{readable(name, f'label {found.labels.index(name) + 1}')} {probability:.0%}", overlay(found.crop, found.map(name)))
            )
        for number, (caption, tile) in enumerate(tiles):
            left = _GAP + number * (_TILE + _GAP)
            page.paste(Image.fromarray(resized_to(tile, _TILE, _TILE)).convert("RGB"), (left, top))
            draw.text((left, top + _TILE + 4), caption, fill=(28, 37, 48), font=font(caption, 14))
    return page
