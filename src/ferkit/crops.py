"""From a picture and a face to a network's input: the crop, its size and its scale. There is no second formula."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .gate import native
from .geometry import Float, similarity, window
from .images import load_image, to_grey
from .resizing import resized_to
from .tensors import is_one_image, many, to_array

__all__ = [
    "CropGeometry",
    "CropTable",
    "Crops",
    "Scale",
    "centre",
    "checked",
    "crop_face",
    "in_channels",
    "normalised",
    "normalised_by",
    "picture_to_crop",
    "resized",
    "squares",
]

_MUCH, _LARGE = 0.25, 4_000_000  # share of a picture that a crop has, from which it is warped in four channels, and pixels up to which

CropMode = Literal["square", "aligned", "box"]


class CropTable(TypedDict, total=False):
    """``CropGeometry`` as JSON and TOML have it, where tuples are lists."""

    mode: CropMode
    scale: float
    centre: Sequence[float]
    template: Sequence[Sequence[float]]


@dataclass(frozen=True)
class CropGeometry:
    """How a detected face becomes the square that a network was trained on. Part of the weights.

    Attributes:
        mode: ``"square"``: a square on the box. ``"aligned"``: turned and scaled so that the five landmarks fall on
            ``template``; faces without landmarks are cropped as ``"square"``. ``"box"``: the box itself, stretched.
        scale: The square's side over the box's height.
        centre: Shift of the square's centre from the box's, as fractions of the box's height (x right, y down).
        template: Landmarks in the unit square, five (x, y), for ``"aligned"``.
    """

    mode: CropMode = "square"
    scale: float = 0.95
    centre: tuple[float, float] = (0.0, 0.0)
    template: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in ("square", "aligned", "box"):
            raise InputError(f"Crop mode {self.mode!r}; expected 'square', 'aligned' or 'box'.")
        try:
            scale, (x, y) = float(self.scale), (float(v) for v in self.centre)
            template = tuple((float(across), float(down)) for across, down in self.template)
        except (TypeError, ValueError):
            raise InputError(
                f"A crop with scale {self.scale!r}, centre {self.centre!r} and template {self.template!r}; expected a number, two numbers, and "
                "pairs of numbers."
            ) from None
        if not 0 < scale < 10 or not abs(x) + abs(y) < 10:
            raise InputError(f"Crop scale {self.scale}, centre {self.centre}; expected a number between 0 and 10, and shifts below 10.")
        if self.mode == "aligned" and len(template) != 5:
            raise InputError(f"Aligned crops need a template of five points; got {len(template)}.")
        if template and not (np.isfinite(template).all() and np.ptp(template, axis=0).max() > 0):
            raise InputError(f"A crop's template of {template}; expected finite points that are not all the same.")
        object.__setattr__(self, "centre", (x, y))
        object.__setattr__(self, "template", template)

    def to_dict(self) -> CropTable:
        """Return plain JSON values; the template only where there is one."""
        out: CropTable = {"mode": self.mode, "scale": self.scale, "centre": list(self.centre)}
        return {**out, "template": [list(point) for point in self.template]} if self.template else out

    @staticmethod
    def from_dict(table: CropTable) -> CropGeometry:
        """Return the geometry that ``to_dict`` gave. Raises InputError for a value out of range, TypeError for an entry that is unknown."""
        entries: dict[str, Any] = {**table}  # lists become tuples
        return CropGeometry(**entries)


def crop_face(image: NDArray[np.uint8], box: ArrayLike, geometry: CropGeometry, landmarks: ArrayLike | None = None) -> NDArray[np.uint8]:
    """Cut a face out of an image, at the image's own resolution.

    Parts of the square outside the image repeat its edge: black corners or a stretched face are unlike anything that
    the network was trained on.

    Args:
        image: uint8 ``(H, W)`` or ``(H, W, 3)``. Not changed.
        box: xyxy, pixels; may reach outside the image, or be degenerate (a square of one pixel is returned).
        geometry: Of the weights.
        landmarks: ``(5, 2)`` pixels, used by ``mode="aligned"``.

    Returns:
        A new uint8 array ``(S, S)`` or ``(S, S, 3)``, S at least 1; ``mode="box"`` keeps the box's aspect.

    Raises:
        InputError: The box or the landmarks are not finite.
    """
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box, np.float64).reshape(4))
    if not np.isfinite([x1, y1, x2, y2]).all():
        raise InputError(f"Box {(x1, y1, x2, y2)}; expected four finite numbers.")
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if geometry.mode == "aligned" and landmarks is not None:
        return _aligned(image, np.asarray(landmarks, np.float64), geometry)
    return window(image, *_rectangle((x1, y1, x2, y2), geometry))


def picture_to_crop(box: ArrayLike, geometry: CropGeometry, landmarks: ArrayLike | None = None) -> Float:
    """Return where ``crop_face`` takes its pixels from, as a matrix.

    Args:
        box, geometry, landmarks: As there, finite.

    Returns:
        float64 ``(2, 3)``, from points of the image, in pixels of which the first reaches from 0 to 1, to the unit square of the crop.
    """
    if geometry.mode == "aligned" and landmarks is not None:
        return _unit(np.asarray(landmarks, np.float64), geometry)
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box, np.float64).reshape(4))
    left, top, width, height = _rectangle((x1, y1, x2, y2), geometry)
    return np.array([[1 / width, 0, -left / width], [0, 1 / height, -top / height]])


def _rectangle(box: tuple[float, float, float, float], geometry: CropGeometry) -> tuple[int, int, int, int]:
    """Return left, top, width and height of what is cut out without landmarks, pixels."""
    x1, y1, x2, y2 = box
    if geometry.mode == "box":
        return round(x1), round(y1), max(1, round(x2 - x1)), max(1, round(y2 - y1))
    height = y2 - y1
    side = max(1, round(geometry.scale * height))
    left = (x1 + x2) / 2 + geometry.centre[0] * height - side / 2
    top = (y1 + y2) / 2 + geometry.centre[1] * height - side / 2
    return round(left), round(top), side, side


def _unit(landmarks: Float, geometry: CropGeometry) -> Float:
    """Return the similarity that brings landmarks onto the template, from the image to the unit square of the crop."""
    return similarity(landmarks, (np.array(geometry.template) - 0.5) / geometry.scale + 0.5)


def centre(faces: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the middle ``side`` x ``side`` pixels of faces ``(n, H, W, ...)``, a view."""
    top, left = (faces.shape[1] - side) // 2, (faces.shape[2] - side) // 2
    return faces[:, top : top + side, left : left + side]


def _aligned(image: NDArray[np.uint8], landmarks: Float, geometry: CropGeometry) -> NDArray[np.uint8]:
    import cv2

    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise InputError(f"Landmarks of shape {landmarks.shape}; expected five finite points (5, 2).")
    unit = _unit(landmarks, geometry)
    side = int(np.clip(round(1 / np.hypot(*unit[:, 0])), 1, 4096))
    matrix = unit * side
    matrix[:, 2] -= 0.5  # from edges to pixel centres
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5]
    # OpenCV 5 warps four channels, to the same pixels, in half the time of three: worth a copy where the face is much of the picture, and
    # that is small enough to be copied.
    shown = image.shape[0] * image.shape[1]
    four = image.shape[2:] == (3,) and _MUCH * shown <= side * side and shown <= _LARGE
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if four else image
    warped = cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB) if four else warped, np.uint8)


Crops = NDArray[np.uint8] | Iterable[NDArray[np.uint8]]


def resized(face: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a face ``(H, W)`` or ``(H, W, 3)`` as a square of ``side``: areas are averaged when shrinking, where a bilinear sample would alias."""
    return resized_to(face, side, side)


def in_channels(face: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return a face as grey ``(H, W)`` for 1 channel, as RGB ``(H, W, 3)`` for 3: a grey one is repeated."""
    if channels == 1:
        return to_grey(face)
    return face if face.ndim == 3 else np.repeat(face[:, :, None], 3, axis=2)


def squares(crops: Crops, side: int, channels: int) -> NDArray[np.uint8]:
    """Return crops, as ``checked`` takes them, as squares: uint8 ``(n, side, side)`` for 1 channel, ``(n, side, side, 3)`` for 3."""
    given = checked(crops)
    with native:
        faces = [resized(in_channels(crop, channels), side) for crop in given]
    shape = (side, side) + ((3,) if channels == 3 else ())
    return np.stack(faces) if faces else np.zeros((0, *shape), np.uint8)


class Scale(TypedDict):
    """How pixel values become a network's input.

    ``mean`` and ``std``: of pixels / 255, a number or one for each channel. ``standardise``: every face is first centred on its own mean
    and scaled to unit variance.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    standardise: NotRequired[bool]


def normalised(pixels: NDArray[Any], settings: Scale) -> NDArray[np.float32]:
    """Map pixel values 0-255 ``(n, ...)`` to a network's input scale, float32.

    Args:
        pixels: Faces, the part of them that the network sees; their channels, if they have any, come last.
        settings: Of the network.
    """
    return np.asarray(normalised_by(np, np.asarray(pixels, np.float32), settings), np.float32)


def normalised_by(arrays: Any, values: Any, settings: Scale) -> Any:
    """Do what ``normalised`` does with another library's arrays: the one formula of a network's input.

    Args:
        arrays: What has ``mean``, ``std`` and ``maximum`` for them: numpy itself, ``keras.ops``, or an exporter's graph.
        values: Floats 0-255 ``(n, ...)``, that know ``-``, ``/`` and ``ndim``.
        settings: As there.
    """
    values = values / 255.0
    if settings.get("standardise"):
        axes = tuple(range(1, values.ndim))
        values = values - arrays.mean(values, axis=axes, keepdims=True)
        # One grey level more than nothing: a face of a single colour is all zeros, not noise blown up.
        values = values / arrays.maximum(arrays.std(values, axis=axes, keepdims=True), 1 / 255)
    return (values - _per_channel(settings["mean"])) / _per_channel(settings["std"])


def _per_channel(setting: Any) -> Any:
    return np.asarray(setting, np.float32) if isinstance(setting, Sequence) else float(setting)


def checked(crops: Crops) -> list[NDArray[np.uint8]]:
    """Return crops as a list of uint8 arrays, grey ``(H, W)`` or RGB ``(H, W, 3)``.

    Raises:
        InputError: One crop instead of many, or crops of another shape or dtype.
    """
    crops = many(crops)
    shape = getattr(crops, "shape", None)
    # (H, W, 3) would also be H grey crops three pixels wide, which nobody has.
    if is_one_image(crops) or not isinstance(crops, Iterable) or (shape is not None and len(shape) not in (1, 3, 4)):
        what = type(crops).__name__ if shape is None else f"shape {tuple(shape)}"
        raise InputError(
            f"Crops of {what}; expected (n, H, W) or (n, H, W, 3), or a list of crops. For one crop type: crop[None] or [crop]."
        )
    return [_checked(number, crop) for number, crop in enumerate(crops)]


def _checked(number: int, given: Any) -> NDArray[np.uint8]:
    from PIL import Image

    crop = load_image(given) if isinstance(given, Image.Image) else to_array(given)
    if crop is None:
        crop = np.asarray(given)
    if crop.dtype != np.uint8:
        raise InputError(f"Crop {number} has dtype {crop.dtype}; expected uint8, 0-255. For values 0-1: (crop * 255).astype('uint8').")
    if crop.ndim == 3 and crop.shape[2] == 1:
        crop = crop[:, :, 0]
    if crop.ndim not in (2, 3) or (crop.ndim == 3 and crop.shape[2] != 3) or 0 in crop.shape:
        raise InputError(f"Crop {number} has shape {crop.shape}; expected (H, W) or (H, W, 3), at least one pixel.")
    return np.asarray(crop, np.uint8)
