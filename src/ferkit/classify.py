"""The expression classifier: prepare crops, run the network, answer calibrated probabilities."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._committee import Committee
from ._geometry import CropGeometry, centre
from ._image import load_image, to_grey
from ._runtime import open_runtime
from ._specs import EnsembleOutput, EnsembleSpec
from .errors import InputError, WeightsError
from .gate import native
from .labels import LabelSet
from .pickling import ByArguments
from .results import Expression
from .tensors import is_one_image, to_array
from .weights import SPEC_FILE, Output, WeightsSpec, load_classifier_spec, member_folder, read_verified, resolve

__all__ = [
    "Crops",
    "ExpressionClassifier",
    "View",
    "checked",
    "normalised",
    "normalised_by",
    "open_members",
    "random_views",
    "resized",
    "views",
]

Crops = NDArray[np.uint8] | Iterable[NDArray[np.uint8]]
CUSTOM = "custom"  # the name of an output that is a part of the networks' default one
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
        pixels: Faces, the part of them that the network sees.
        settings: ``mean`` and ``std`` of pixels / 255; with ``standardise`` every face is first centred on its own mean and
            scaled to unit variance.
    """
    return np.asarray(normalised_by(np, np.asarray(pixels, np.float32), settings), np.float32)


def normalised_by(arrays: Any, values: Any, settings: Mapping[str, Any]) -> Any:
    """Do what :func:`normalised` does with another library's arrays: the one formula of a network's input.

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
    return (values - float(settings["mean"])) / float(settings["std"])


def checked(crops: Crops) -> list[NDArray[np.uint8]]:
    """Return crops as a list of uint8 arrays, grey ``(H, W)`` or RGB ``(H, W, 3)``.

    Raises:
        InputError: One crop instead of many, or crops of another shape or dtype.
    """
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


class ExpressionClassifier(ByArguments):
    """Classifies face crops.

    Args:
        weights: A name, ``hf://org/repo@revision`` or a folder, of one network or of an ensemble; None is the bundled default.
        labels: Which of the weights' outputs to answer in (``"fer2013"``, ``"ferplus"``, ...), or class names (a
            LabelSet or a sequence), which must all be in the weights' default output: the rest is left out and the
            probabilities are renormalised. None is the weights' own default.
        runtime: ``"opencv"`` or ``"onnxruntime"``.
        tta: Test-time augmentation: None, ``"flip"``, ``"ten-crop"``, a number of views (10 is the ten-crop), or
            ``"random:10"`` for so many random views, ``"random:10:7"`` with another seed than 0.
        min_confidence: Abstain (label None, with a reason) below this probability, 0-1.
        providers: onnxruntime's execution providers in order of preference, such as ``["cuda", "cpu"]``; None is the CPU.
        threads: Of the engine; None is ``FERKIT_THREADS``, else the CPUs that this process is given. OpenCV's threads are
            those of the whole process.

    Example:
        >>> import numpy as np
        >>> ExpressionClassifier("fer2013-n-v5").predict_proba(np.zeros((2, 48, 48), np.uint8)).shape
        (2, 7)

    Raises:
        InputError: Unknown labels, runtime, provider or tta, a min_confidence outside 0-1, or threads below 1.
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
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence={min_confidence}; expected a probability from 0 to 1.")
        self.tta, self._views = _parse_tta(tta)
        self._min_confidence = min_confidence
        self.folder = folder = resolve(weights)
        self._spec = spec = load_classifier_spec(folder)
        self._engine = runtime
        self._committee: Committee[ExpressionClassifier] | None = None
        if isinstance(spec, EnsembleSpec):
            members, output = open_members(folder, spec, labels=labels, runtime=runtime, tta=tta, providers=providers, threads=threads)
            self._committee = Committee(members, weights=output.weights, combine=spec.combine, temperature=output.temperature)
            self._labels = self._committee.labels
        else:
            self._mix, self._labels = _mixing(spec, labels)
            self._runtime = open_runtime(runtime, read_verified(folder, spec), providers, threads)

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
        return self._spec.name

    @property
    def spec(self) -> WeightsSpec:
        """Everything in the network's ``spec.json``. Raises WeightsError for an ensemble, whose :attr:`members` have one each."""
        if isinstance(self._spec, EnsembleSpec):
            raise WeightsError(
                f"{self.folder} is an ensemble, not one network, which this needs; take one of {', '.join(m.name for m in self.members)}."
            )
        return self._spec

    @property
    def members(self) -> tuple[ExpressionClassifier, ...]:
        """The classifiers behind an ensemble's name; of one network, itself alone."""
        return (self,) if self._committee is None else self._committee.members

    @property
    def crop(self) -> CropGeometry:
        """How these weights want a detected face to be cropped."""
        return self.spec.crop if self._committee is None else self._committee.crop

    @property
    def size(self) -> int:
        """The side of the network's input, of an ensemble's largest, pixels."""
        return int(self.spec.input["size"]) if self._committee is None else self._committee.size

    @property
    def columns(self) -> int:
        """How many raw outputs there are, of all networks together."""
        return self.spec.columns if self._committee is None else self._committee.columns

    def predict(self, crops: Crops) -> list[Expression]:
        """Classify face crops: one Expression each, an ensemble's with its disagreement. Arguments and errors as in :meth:`predict_proba`."""
        logits = self.logits(crops)
        answers = [self.expression(row) for row in self.probabilities(logits)]
        if self._committee is None:
            return answers
        return [replace(answer, disagreement=float(d)) for answer, d in zip(answers, self._committee.disagreement(logits), strict=True)]

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return calibrated class probabilities.

        Args:
            crops: uint8, 0-255, ``(n, H, W)`` grey or ``(n, H, W, 3)`` RGB of any size, or an iterable of such crops
                of different sizes, as arrays, tensors or PIL images. Square crops keep the face's shape; others are stretched.

        Returns:
            float32 ``(n, k)``; every row sums to 1. An empty batch gives ``(0, k)``.

        Raises:
            InputError: Another shape or dtype, or one crop instead of several.
        """
        return self.probabilities(self.logits(crops))

    def logits(self, crops: Crops) -> NDArray[np.float32]:
        """Return the raw outputs for every view, float32 ``(views, n, columns)``, networks side by side. Arguments as above."""
        if self._committee is not None:
            return self._committee.logits(crops)
        faces = self.prepare(crops)
        out = np.zeros((len(self._views), len(faces), self.spec.columns), np.float32)
        for v, view in enumerate(self._views):
            for start in range(0, len(faces), _BATCH):
                with native:
                    batch = _seen(faces[start : start + _BATCH], view)
                    out[v, start : start + _BATCH] = self._runtime.run(self._normalise(batch))
        return out

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn raw outputs ``(views, n, columns)`` into probabilities ``(n, k)``: the mean over the views."""
        if self._committee is not None:
            return self._committee.probabilities(logits)
        scores = logits.astype(np.float64) @ self._mix
        scores -= scores.max(axis=-1, keepdims=True)
        exp = np.exp(scores)
        return np.asarray((exp / exp.sum(axis=-1, keepdims=True)).mean(axis=0), np.float32)

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        """Return crops as the network's grey squares, uint8 ``(n, size, size)``. Arguments as in predict_proba."""
        if self._committee is not None:
            return self._committee.prepare(crops)
        given = checked(crops)
        with native:
            prepared = [resized(to_grey(crop), self.size) for crop in given]
        return np.stack(prepared) if prepared else np.zeros((0, self.size, self.size), np.uint8)

    def _normalise(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen = centre(faces, int(self.spec.input.get("window", self.size)))
        return np.ascontiguousarray(normalised(seen[:, None], self.spec.input))

    def expression(self, row: NDArray[np.float32], min_confidence: float | None = None) -> Expression:
        """Return one row of probabilities ``(k,)`` as an Expression, abstaining below ``min_confidence`` (by default the classifier's)."""
        return as_expression(row, self._labels, self._min_confidence if min_confidence is None else min_confidence)


def as_expression(row: NDArray[np.float32], labels: LabelSet, min_confidence: float | None) -> Expression:
    """Return probabilities ``(k,)`` as an Expression, without a label but with a reason below ``min_confidence``; None never abstains."""
    best = int(row.argmax())
    confidence = float(row[best])
    label: str | None = labels[best]
    reason = None
    if min_confidence is not None and confidence < min_confidence:
        label, reason = None, f"confidence {confidence:.3f} is below {min_confidence:g}; most likely {labels[best]}"
    return Expression(label, confidence, {name: float(p) for name, p in zip(labels, row, strict=True)}, reason)


def open_members(
    folder: Path, spec: EnsembleSpec, labels: str | LabelSet | Sequence[str] | None = None, **options: Any
) -> tuple[list[ExpressionClassifier], EnsembleOutput]:
    """Open an ensemble's members, each for the labels that are asked for, and return them with how the ensemble combines them.

    Args:
        folder: The ensemble's.
        spec: Its spec.
        labels, options: As ExpressionClassifier takes them.

    Raises:
        InputError, WeightsError, MissingExtraError: As ExpressionClassifier; WeightsError also for members that are missing, or
            not those that the ensemble was saved with.
    """
    output = spec.output(labels if isinstance(labels, str) else spec.default_output)
    if labels is None or isinstance(labels, str):
        labels = output.labels if output.name == CUSTOM else output.name
    try:
        return [ExpressionClassifier(member_folder(folder, entry), labels=labels, **options) for entry in spec.members], output
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / SPEC_FILE} is no whole ensemble: it lacks {error}.") from error


def _mixing(spec: WeightsSpec, labels: str | LabelSet | Sequence[str] | None) -> tuple[NDArray[np.float64], LabelSet]:
    """Return the matrix from raw columns to an output's logits, and the output's labels."""
    if labels is None or isinstance(labels, str):
        output = spec.output(labels or spec.default_output)
        wanted = output.label_set
    else:
        output = spec.output(spec.default_output)
        wanted = labels if isinstance(labels, LabelSet) else _part(output.label_set, tuple(labels))
    return _matrix(spec, output, output.label_set.columns(wanted)), wanted


def _part(whole: LabelSet, classes: Sequence[str]) -> LabelSet:
    """Return some classes of a label set, each in the color that it has there."""
    part = LabelSet(CUSTOM, tuple(classes))
    return LabelSet(CUSTOM, part.classes, colours=tuple(whole.colours[column] for column in whole.columns(part)))


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
