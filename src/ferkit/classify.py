"""The expression classifier: prepare crops, run the network, answer calibrated probabilities."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._geometry import CropGeometry, centre
from ._image import to_grey
from ._runtime import open_runtime
from .errors import InputError
from .labels import LabelSet
from .results import Expression
from .weights import Output, WeightsSpec, read_verified, resolve

__all__ = ["Crops", "ExpressionClassifier", "View", "normalised", "random_views", "resized", "views"]

Crops = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
_BATCH = 16  # measured: a tenth faster than 64 on two cores, and the buffers stay small
_CORNER = 2.0  # pixels of a 48-pixel face: the ten-crop of 44 in 48
_TTA = "expected None, 'flip', 'ten-crop', a number of views from 1 to 100, or 'random:N' (random:N:SEED)"


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
        raise InputError(f"tta={count}; {_TTA}.")
    shifts = [(0.0, 0.0), (-_CORNER, -_CORNER), (_CORNER, -_CORNER), (-_CORNER, _CORNER), (_CORNER, _CORNER)]
    for i in range(1, count // 2 - 3):
        shifts.append(tuple(2 * _CORNER * ((0.5 + i * step) % 1 - 0.5) for step in (0.7548776662466927, 0.5698402909980532)))  # type: ignore[arg-type]
    return [View(x, y, mirrored) for x, y in shifts for mirrored in (False, True)][:count]


def random_views(count: int, seed: int = 0) -> list[View]:
    """Return ``count`` random views, the same for the same seed: mirrored or not, rotated to 10 degrees, shifted and zoomed to a tenth.

    Every face is seen in the same views, so that the answer does not depend on which faces come together.
    """
    if not 1 <= count <= 100:
        raise InputError(f"tta='random:{count}'; {_TTA}.")
    draw = np.random.default_rng(seed).uniform(-1, 1, (count, 5))
    return [View(4.8 * x, 4.8 * y, bool(m > 0), 10 * angle, 1 + 0.1 * zoom) for x, y, m, angle, zoom in draw.tolist()]


def _parse_tta(tta: str | int | None) -> tuple[str | int, list[View]]:
    """Return a test-time augmentation's one spelling, and its views."""
    if isinstance(tta, str) and (match := re.fullmatch(r"random:(\d+)(?::(\d+))?", tta)):
        return tta, random_views(int(match[1]), int(match[2] or 0))
    known = {None: 1, "none": 1, "flip": 2, "ten-crop": 10}
    try:
        count = known[tta] if tta is None or tta in known else int(tta)
    except (TypeError, ValueError):
        raise InputError(f"tta={tta!r}; {_TTA}.") from None
    return {1: "none", 2: "flip"}.get(count, count), views(count)


def resized(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a grey face ``(H, W)`` as ``(side, side)``: areas are averaged when shrinking, where a bilinear sample would alias."""
    import cv2

    if grey.shape == (side, side):
        return grey
    how = cv2.INTER_AREA if min(grey.shape) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (side, side), interpolation=how), np.uint8)


def normalised(pixels: NDArray[Any], settings: Mapping[str, Any]) -> NDArray[np.float32]:
    """Map pixel values 0-255 ``(n, ...)`` to a network's input scale, float32.

    Args:
        pixels: Faces.
        settings: ``mean`` and ``std`` of pixels / 255; with ``standardise`` every face is first centred on its own mean and
            scaled to unit variance.
    """
    values = np.asarray(pixels, np.float32) / 255.0
    if settings.get("standardise"):
        axes = tuple(range(1, values.ndim))
        values = values - values.mean(axis=axes, keepdims=True)
        # One grey level more than nothing: a face of a single colour is all zeros, not noise blown up.
        values = values / np.maximum(values.std(axis=axes, keepdims=True), 1 / 255)
    return np.asarray((values - settings["mean"]) / settings["std"], np.float32)


class ExpressionClassifier:
    """Classifies face crops.

    Args:
        weights: A name, ``hf://org/repo@revision`` or a folder; None is the bundled default.
        labels: Which of the weights' outputs to answer in (``"fer2013"``, ``"ferplus"``, ...), or class names (a
            LabelSet or a sequence), which must all be in the weights' default output: the rest is left out and the
            probabilities are renormalised. None is the weights' own default.
        runtime: ``"opencv"`` or ``"onnxruntime"``.
        tta: Test-time augmentation: None, ``"flip"``, ``"ten-crop"``, a number of views (10 is the ten-crop), or
            ``"random:10"`` for so many random views, ``"random:10:7"`` with another seed than 0.
        min_confidence: Abstain (label None, with a reason) below this probability, 0-1.

    Raises:
        InputError: Unknown labels, runtime or tta, or a min_confidence outside 0-1.
        WeightsError: The weights cannot be found, or are damaged.
        MissingExtraError: The runtime is not installed.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        labels: str | LabelSet | Sequence[str] | None = None,
        runtime: str = "opencv",
        tta: str | int | None = None,
        min_confidence: float | None = None,
    ) -> None:
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence={min_confidence}; expected a probability from 0 to 1.")
        self.tta, self._views = _parse_tta(tta)
        self._min_confidence = min_confidence
        self.folder = folder = resolve(weights)
        self.spec = WeightsSpec.load(folder)
        self._mix, self._labels = _mixing(self.spec, labels)
        self._engine = runtime
        self._runtime = open_runtime(runtime, read_verified(folder, self.spec))
        self._size = int(self.spec.input["size"])

    def __repr__(self) -> str:
        labels = self.labels.classes if self.labels.name == "custom" else self.labels.name
        floor = "" if self._min_confidence is None else f", min_confidence={self._min_confidence:g}"
        return f"ExpressionClassifier({self.name!r}, labels={labels!r}, runtime={self._engine!r}, tta={self.tta!r}{floor})"

    @property
    def labels(self) -> LabelSet:
        """The classes, in the order of the probabilities' columns."""
        return self._labels

    @property
    def name(self) -> str:
        """The weights' name."""
        return self.spec.name

    @property
    def crop(self) -> CropGeometry:
        """How these weights want a detected face to be cropped."""
        return self.spec.crop

    def predict(self, crops: Crops) -> list[Expression]:
        """Classify face crops: one Expression each. Arguments and errors as in :meth:`predict_proba`."""
        return [self.expression(row) for row in self.predict_proba(crops)]

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return calibrated class probabilities.

        Args:
            crops: uint8, 0-255, ``(n, H, W)`` grey or ``(n, H, W, 3)`` RGB of any size, or a sequence of such crops
                of different sizes. Square crops keep the face's shape; others are stretched.

        Returns:
            float32 ``(n, k)``; every row sums to 1. An empty batch gives ``(0, k)``.

        Raises:
            InputError: Another shape or dtype.
        """
        return self.probabilities(self.logits(crops))

    def logits(self, crops: Crops) -> NDArray[np.float32]:
        """Return the network's raw outputs for every view, float32 ``(views, n, columns)``. Arguments as above."""
        faces = self.prepare(crops)
        out = np.zeros((len(self._views), len(faces), self.spec.columns), np.float32)
        for v, view in enumerate(self._views):
            for start in range(0, len(faces), _BATCH):
                batch = _seen(faces[start : start + _BATCH], view)
                out[v, start : start + _BATCH] = self._runtime.run(self._normalise(batch))
        return out

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn raw outputs ``(views, n, columns)`` into probabilities ``(n, k)``: the mean over the views."""
        scores = logits.astype(np.float64) @ self._mix
        scores -= scores.max(axis=-1, keepdims=True)
        exp = np.exp(scores)
        return np.asarray((exp / exp.sum(axis=-1, keepdims=True)).mean(axis=0), np.float32)

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        """Return crops as the network's grey squares, uint8 ``(n, size, size)``. Arguments as in predict_proba."""
        return np.stack(list(self._prepared(crops))) if len(crops) else np.zeros((0, self._size, self._size), np.uint8)

    def _prepared(self, crops: Crops) -> Iterator[NDArray[np.uint8]]:
        # (H, W, 3) would also be H grey crops three pixels wide, which nobody has.
        if isinstance(crops, np.ndarray) and (crops.ndim not in (3, 4) or (crops.ndim == 3 and crops.shape[2] == 3)):
            raise InputError(f"Crops of shape {crops.shape}; expected (n, H, W) or (n, H, W, 3). For one crop type: crop[None].")
        for number, given in enumerate(crops):
            crop = np.asarray(given)
            if crop.dtype != np.uint8:
                raise InputError(
                    f"Crop {number} has dtype {crop.dtype}; expected uint8, 0-255. For values 0-1: (crop * 255).astype('uint8')."
                )
            if crop.ndim == 3 and crop.shape[2] == 1:
                crop = crop[:, :, 0]
            if crop.ndim not in (2, 3) or (crop.ndim == 3 and crop.shape[2] != 3) or 0 in crop.shape:
                raise InputError(f"Crop {number} has shape {crop.shape}; expected (H, W) or (H, W, 3), at least one pixel.")
            yield resized(to_grey(crop), self._size)

    def _normalise(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen = centre(faces, int(self.spec.input.get("window", self._size)))
        return np.ascontiguousarray(normalised(seen[:, None], self.spec.input))

    def expression(self, row: NDArray[np.float32], min_confidence: float | None = None) -> Expression:
        """Return one row of probabilities ``(k,)`` as an Expression, abstaining below ``min_confidence`` (by default the classifier's)."""
        floor = self._min_confidence if min_confidence is None else min_confidence
        best = int(row.argmax())
        confidence = float(row[best])
        label: str | None = self._labels[best]
        reason = None
        if floor is not None and confidence < floor:
            label, reason = None, f"confidence {confidence:.3f} is below {floor:g}; most likely {self._labels[best]}"
        return Expression(label, confidence, {name: float(p) for name, p in zip(self._labels, row, strict=True)}, reason)


def _mixing(spec: WeightsSpec, labels: str | LabelSet | Sequence[str] | None) -> tuple[NDArray[np.float64], LabelSet]:
    """Return the matrix from raw columns to an output's logits, and the output's labels."""
    if labels is None or isinstance(labels, str):
        output = spec.output(labels or spec.default_output)
        wanted = output.label_set
    else:
        output = spec.output(spec.default_output)
        wanted = labels if isinstance(labels, LabelSet) else LabelSet("custom", tuple(labels))
    return _matrix(spec, output, output.label_set.columns(wanted)), wanted


def _matrix(spec: WeightsSpec, output: Output, chosen: list[int]) -> NDArray[np.float64]:
    matrix = np.zeros((spec.columns, len(chosen)))
    for weight, columns in zip(output.weights, output.columns, strict=True):
        for k, label in enumerate(chosen):
            matrix[columns[label], k] += weight / output.temperature
    return matrix


def _seen(faces: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
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
