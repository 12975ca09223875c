"""Photos with face boxes, and augmented batches of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ...detectors.ferkit_face_format import MIRRORED
from ...errors import DataError, ImageError
from ...image_files import expanded, image_files
from ...images import load_image
from ...resizing import resized_to
from ..common.fingerprints import PIXELS, fingerprint
from ..common.values import check_number, check_pair

__all__ = ["AugmentTable", "Augmentation", "LabelledPhoto", "PhotoPool", "parts_of", "read_photos", "sample"]

_PADDING = 114  # grey beyond a picture's edge
_SMALLEST = 7.0  # px: a smaller face says too little about itself to be learnt from
_LEAST_VISIBLE = 0.3  # of a face's box; what is cut off further neither counts nor is punished
_NEGLIGIBLE = 0.1  # of a face's box, below which what shows is not a face: an eye or a mouth that fills the view must not look like one


@dataclass(frozen=True)
class LabelledPhoto:
    """A picture and its faces.

    Attributes:
        pixels: RGB uint8 ``(H, W, 3)``.
        boxes: float32 ``(n, 4)``, xyxy pixels.
        landmarks: float32 ``(n, 5, 2)``, pixels; NaN where unknown.
        ignore: bool ``(n,)``: regions that are neither faces nor background.
        shown: float32 ``(n, 4)``, xyxy pixels: the part of each box that the picture shows; None: all of it.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    ignore: NDArray[np.bool_]
    shown: NDArray[np.float32] | None = None

    @property
    def seen(self) -> NDArray[np.float32]:
        """What shows of each box, ``(n, 4)``."""
        return self.boxes if self.shown is None else self.shown

    @cached_property
    def digest(self) -> str:
        """Of the pixels; a run asks for it several times, and photos are gigabytes."""
        return fingerprint(self.pixels)


class AugmentTable(TypedDict, total=False):
    """``[augment]``, of a recipe or of a stage: what is otherwise than ``Augmentation`` has it."""

    mosaic: float
    negatives: float
    face: Sequence[float]
    enlarge: float
    close: float
    cut: float
    kept: Sequence[float]
    sideways: float
    cut_face: Sequence[float]
    rotation: float
    rotated: float
    brightness: float
    contrast: float
    colour: float
    grey: float
    blur: float
    jpeg: float


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are made.

    Attributes:
        mosaic: Probability that a picture is put together from four (Bochkovskiy et al., "YOLOv4", 2020).
        negatives: Share of pictures without faces.
        face: The range, log-uniform, of the size in pixels that one chosen face of each picture is brought to
            (data-anchor sampling; Tang et al., "PyramidBox", ECCV 2018).
        enlarge: The largest magnification.
        close: Share of views so near that the chosen face is 0.95 to 2.5 times as large as they are.
        cut: Share of photos of which an edge is cut off beforehand, through one of the faces.
        kept: The range, uniform, of what stays of that face's width or height.
        sideways: Share of the cuts that take the left or the right off for certain; of the others every second does.
        cut_face: As ``face``, for photos that are cut: they are then drawn among those with a face at least half as large as the
            least of these sizes, and the face is the one that is cut. Empty: any photo and face, of the sizes of ``face``.
        rotation: Standard deviation in degrees, of the share ``rotated`` of the pictures.
        rotated: That share.
        brightness, contrast, colour: Standard deviations, relative to the full range, to 1 and to 1.
        grey, blur, jpeg: Probabilities.
    """

    mosaic: float = 0.5
    negatives: float = 0.12
    face: Sequence[float] = (9.0, 300.0)
    enlarge: float = 3.0
    close: float = 0.0
    cut: float = 0.0
    kept: Sequence[float] = (0.3, 0.9)
    sideways: float = 0.0
    cut_face: Sequence[float] = ()
    rotation: float = 12.0
    rotated: float = 0.4
    brightness: float = 0.12
    contrast: float = 0.2
    colour: float = 0.08
    grey: float = 0.15
    blur: float = 0.1
    jpeg: float = 0.15

    def __post_init__(self) -> None:
        for key in ("mosaic", "negatives", "close", "cut", "sideways", "rotated", "grey", "blur", "jpeg"):
            check_number(f"{key} in [augment]", getattr(self, key), 0, 1)
        for key in ("rotation", "brightness", "contrast", "colour"):
            check_number(f"{key} in [augment]", getattr(self, key), 0)
        check_number("enlarge in [augment]", self.enlarge, 1)
        check_pair("face in [augment]", self.face, 1)
        check_pair("kept in [augment]", self.kept, 0, 1)
        cut_face: Any = self.cut_face  # TOML's empty list is as good as none
        if cut_face not in ((), []):
            check_pair("cut_face in [augment]", cut_face, 1)


def read_photos(folder: str | Path) -> tuple[list[LabelledPhoto], list[LabelledPhoto]]:
    """Read ``train/labels.json`` with its pictures, and ``negatives/``.

    ``labels.json`` is a list of ``{"file": path below train/, "faces": [{"box": [x1, y1, x2, y2], "use": "pos" | "ignore",
    "landmarks": five points or absent}]}``.

    Returns:
        Pictures with faces, and pictures without; all in memory.

    Raises:
        DataError: A file is missing, is not a picture, a label lacks a field, or a face's box is empty or turned round.
    """
    folder = expanded(folder)

    def pixels(path: Path) -> NDArray[np.uint8]:
        try:
            return load_image(path)
        except ImageError as error:
            raise DataError(f"{path} is missing or is not a picture. {error}") from error

    path = folder / "train" / "labels.json"
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
        photos = [_labelled(pixels(folder / "train" / record["file"]), record["faces"], record["file"]) for record in records]
    except DataError:  # of one picture, which it names
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not a list of labelled photos ({error!r}); docs/training.md shows one.") from error
    empty = image_files(folder / "negatives") if (folder / "negatives").is_dir() else []
    return photos, [_labelled(pixels(path), [], path.name) for path in empty]


def _labelled(pixels: NDArray[np.uint8], faces: list[dict[str, Any]], name: str) -> LabelledPhoto:
    unknown = np.full((5, 2), np.nan)
    boxes = np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)
    for box, face in zip(boxes, faces, strict=True):
        if face["use"] not in ("pos", "ignore") or (face["use"] == "pos" and not (np.isfinite(box).all() and (box[:2] < box[2:]).all())):
            raise DataError(
                f"{name} has a face with box {face['box']} and use {face['use']!r}; expected x1 < x2 and y1 < y2, pixels, and pos or ignore."
            )
    return LabelledPhoto(
        pixels,
        boxes,
        np.array([face.get("landmarks") or unknown for face in faces], np.float32).reshape(-1, 5, 2),
        np.array([face["use"] != "pos" for face in faces], bool),
    )


def parts_of(photos: Sequence[LabelledPhoto], negatives: Sequence[LabelledPhoto] = ()) -> dict[str, str]:
    """Return a digest of each part of what a detector learns from; the pixels are another machine's decoder's, perhaps."""

    def labels(photo: LabelledPhoto) -> str:
        return fingerprint(np.array(photo.pixels.shape), photo.boxes, photo.landmarks, photo.ignore, photo.shown)

    return {
        "photos": fingerprint([labels(photo) for photo in photos]),
        "negatives": fingerprint([labels(photo) for photo in negatives]),
        PIXELS: fingerprint([photo.digest for photo in (*photos, *negatives)]),
    }


class PhotoPool:
    """Photos, drawn the more often the more faces they have (by the square root: crowds are few, portraits many)."""

    def __init__(self, photos: list[LabelledPhoto]) -> None:
        self.photos = photos
        self._cumulative = np.cumsum([np.sqrt(max(1, int((~photo.ignore).sum()))) for photo in photos])

        largest = np.array([max(_counted_sizes(photo), default=0.0) for photo in photos])
        self._by_size = np.argsort(largest, kind="stable")
        self._largest = largest[self._by_size]

    def draw(self, rng: np.random.Generator) -> LabelledPhoto:
        return self.photos[int(np.searchsorted(self._cumulative, rng.uniform(0, self._cumulative[-1]), side="right"))]

    def draw_large(self, rng: np.random.Generator, least: float) -> LabelledPhoto:
        """Draw one of the photos with a face of at least ``least`` pixels, each as often; any photo if there is none."""
        first = int(np.searchsorted(self._largest, least))
        return self.draw(rng) if first == len(self.photos) else self.photos[self._by_size[rng.integers(first, len(self.photos))]]


def _counted_sizes(photo: LabelledPhoto) -> NDArray[np.float64]:
    """Return the sizes, square roots of the areas, of the faces to learn."""
    boxes = photo.boxes[~photo.ignore].astype(np.float64)
    return np.asarray(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))


def sample(
    photos: PhotoPool, negatives: list[LabelledPhoto], size: int, augmentation: Augmentation, rng: np.random.Generator
) -> LabelledPhoto:
    """Make one training picture of ``size`` x ``size`` pixels; a pure function of its arguments."""
    if rng.random() >= augmentation.mosaic:
        return _recoloured(_tile(photos, negatives, size, size, augmentation, rng), augmentation, rng)
    x, y = (rng.uniform(0.35, 0.65, 2) * size).astype(int)
    canvas = np.empty((size, size, 3), np.uint8)
    parts = []
    for left, top, right, bottom in ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)):
        tile = _tile(photos, negatives, int(right - left), int(bottom - top), augmentation, rng)
        canvas[top:bottom, left:right] = tile.pixels
        shift = np.array([left, top], np.float32)
        parts.append((tile.boxes + np.tile(shift, 2), tile.landmarks + shift, tile.ignore, tile.seen + np.tile(shift, 2)))
    boxes, landmarks, ignore, shown = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _recoloured(LabelledPhoto(canvas, boxes, landmarks, ignore, shown), augmentation, rng)


def _drawn(
    photos: PhotoPool, negatives: list[LabelledPhoto], augmentation: Augmentation, rng: np.random.Generator
) -> tuple[LabelledPhoto, int | None, Sequence[float]]:
    """Draw a photo, cut off or whole; return it, the face that is cut, and the sizes that the face to be shown may have."""
    empty = bool(negatives) and rng.random() < augmentation.negatives
    photo = negatives[rng.integers(len(negatives))] if empty else photos.draw(rng)
    face: int | None = None
    if rng.random() < augmentation.cut:
        if augmentation.cut_face and not empty:
            photo = photos.draw_large(rng, augmentation.cut_face[0] / 2)
        photo, face = _cut(photo, augmentation, rng)
    return photo, face, augmentation.cut_face if augmentation.cut_face and face is not None else augmentation.face


def _tile(
    photos: PhotoPool,
    negatives: list[LabelledPhoto],
    width: int,
    height: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> LabelledPhoto:
    """Cut a random view of a random photo, most often around one of its faces."""
    import cv2

    photo, face, sizes = _drawn(photos, negatives, augmentation, rng)
    h, w = photo.pixels.shape[:2]
    least = 0.8 * min(width / w, height / h)  # less would leave the tile mostly grey
    wanted = np.flatnonzero(~photo.ignore)
    if len(wanted):
        chosen = rng.choice(wanted)
        if augmentation.cut_face and face is not None:
            chosen = face
        box = photo.boxes[chosen]
        side = np.sqrt(np.prod(box[2:] - box[:2]))
        low, high = sizes[0], min(sizes[1], 0.95 * min(width, height))
        most = augmentation.enlarge
        if rng.random() < augmentation.close:
            low, high, most = 0.95 * min(width, height), 2.5 * max(width, height), 2 * most
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))) / side)
        anchor = (box[:2] + box[2:]) / 2
    else:
        most = augmentation.enlarge
        scale = float(np.exp(rng.uniform(np.log(least), np.log(max(least, 2.0)))))
        anchor = rng.uniform(0, [w, h])
    scale = min(max(scale, least), most)
    angle = np.radians(np.clip(rng.normal(0, augmentation.rotation), -35, 35)) if rng.random() < augmentation.rotated else 0.0
    mirror = rng.random() < 0.5
    to = rng.uniform(0.15, 0.85, 2) * [width, height]

    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    if mirror:
        turn = turn @ np.diag([-1.0, 1.0])
    # The chosen face goes to a random place, as far as that leaves no more of the tile bare than the picture's size does.
    middle, half = np.array([w / 2, h / 2]), np.array([w, h]) * scale / 2
    centre = np.array([width / 2, height / 2])
    slack = np.abs(half - centre)
    shown = np.clip(turn @ (middle - anchor) + to, centre - slack, centre + slack)
    matrix = np.column_stack([turn, shown - turn @ middle])

    source, first = photo.pixels, 1.0
    if scale < 0.7:  # warping alone would skip pixels
        first = scale
        source = resized_to(source, max(1, round(w * first)), max(1, round(h * first)))
    pixels = cv2.warpAffine(
        source,
        np.column_stack([matrix[:, :2] / first, matrix[:, 2]]),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(_PADDING, _PADDING, _PADDING),
    )
    return _moved(photo, pixels, matrix, scale, mirror)


def _cut(photo: LabelledPhoto, augmentation: Augmentation, rng: np.random.Generator) -> tuple[LabelledPhoto, int | None]:
    """Cut one edge of a photo off through one of its faces, which is told too: cameras cut people so."""
    wanted = np.flatnonzero(~photo.ignore)
    if augmentation.cut_face:
        wanted = wanted[_counted_sizes(photo) >= augmentation.cut_face[0] / 2]
    if not len(wanted):
        return photo, None
    height, width = photo.pixels.shape[:2]
    least, most = augmentation.kept
    face, axis, kept = int(rng.choice(wanted)), int(rng.integers(2)), rng.uniform(least, most)
    if augmentation.sideways and rng.random() < augmentation.sideways:
        axis = 0
    box, frame = photo.boxes[face], np.array([0, 0, width, height])
    if rng.random() < 0.5:
        frame[axis] = max(0, round(float(box[2 + axis] - kept * (box[2 + axis] - box[axis]))))
    else:
        frame[2 + axis] = min(frame[2 + axis], round(float(box[axis] + kept * (box[2 + axis] - box[axis]))))
    left, top, right, bottom = (int(v) for v in frame)
    if min(right - left, bottom - top) < _SMALLEST:
        return photo, None
    shift = np.array([left, top], np.float32)
    boxes = photo.boxes - np.tile(shift, 2)
    return LabelledPhoto(photo.pixels[top:bottom, left:right], boxes, photo.landmarks - shift, photo.ignore), face


def _moved(photo: LabelledPhoto, pixels: NDArray[Any], matrix: NDArray[np.float64], scale: float, mirror: bool) -> LabelledPhoto:
    """Carry the labels along. A turned face keeps its box's width and height: a face is nearer to an ellipse than to a box."""
    height, width = pixels.shape[:2]
    centres = (photo.boxes[:, :2] + photo.boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (photo.boxes[:, 2:] - photo.boxes[:, :2]) * scale / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    landmarks = photo.landmarks @ matrix[:, :2].T + matrix[:, 2]
    if mirror:
        landmarks = landmarks[:, MIRRORED]
    # What shows is what lies within the photo and within the view.
    frame = np.array(photo.pixels.shape[1::-1] * 2)
    inner = np.clip(photo.boxes, 0, frame)
    middles, reach = (inner[:, :2] + inner[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2], (inner[:, 2:] - inner[:, :2]) * scale / 2
    shown = np.clip(np.concatenate([middles - reach, middles + reach], axis=1), 0, [width, height, width, height])
    visible = (shown[:, 2:] - shown[:, :2]).prod(axis=1) / np.maximum((2 * half).prod(axis=1), 1e-6)
    ignore = photo.ignore | (visible < _LEAST_VISIBLE) | (np.sqrt((2 * half).prod(axis=1)) < _SMALLEST)
    keep = visible > np.where(photo.ignore, 0, _NEGLIGIBLE)
    # A neighbouring tile must not be masked by what lies outside this one.
    boxes = np.where(ignore[:, None], shown, boxes)
    return LabelledPhoto(
        pixels, boxes[keep].astype(np.float32), landmarks[keep].astype(np.float32), ignore[keep], shown[keep].astype(np.float32)
    )


def _recoloured(photo: LabelledPhoto, augmentation: Augmentation, rng: np.random.Generator) -> LabelledPhoto:
    import cv2

    gain = (1 + rng.normal(0, augmentation.contrast)) * (1 + rng.normal(0, augmentation.colour, 3))
    shift = 127.5 + 255 * rng.normal(0, augmentation.brightness)
    table = np.clip((np.arange(256)[:, None] - 127.5) * np.clip(gain, 0.3, 2.0) + shift, 0, 255).astype(np.uint8)
    pixels = cv2.LUT(photo.pixels, table[None])
    if rng.random() < augmentation.grey:
        pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < augmentation.blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.5, 1.5)))
    if rng.random() < augmentation.jpeg:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return replace(photo, pixels=np.asarray(pixels, np.uint8))
