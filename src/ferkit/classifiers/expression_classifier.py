"""The expression classifier: prepare crops, run the network, answer calibrated probabilities."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, Crops, centre, normalised, squares
from ..engines.features import with_features
from ..engines.feeding import Feeding, open_fed
from ..engines.onnx_file import with_output
from ..engines.table import open_engine
from ..errors import WeightsError
from ..faces import Expression, as_expression, checked_confidence
from ..gate import native
from ..labels import CLASSES, CUSTOM, VALUES, LabelSet, need_classes
from ..logits import finite, sigmoid, softmax
from ..pickling import ByArguments
from ..protocols import Engine
from ..weights.specs import SPEC_FILE, EnsembleOutput, EnsembleSpec, Output, WeightsSpec, load_classifier_spec
from ..weights.store import member_folder, read_verified, resolve
from .committee import Committee
from .views import View, parse_tta, seen

__all__ = ["CUSTOM", "ExpressionClassifier", "open_members"]

_BATCH = 16  # measured: a tenth faster than 64 on two cores, and the buffers stay small


class ExpressionClassifier(ByArguments):
    """Classifies face crops.

    Args:
        weights: A name, ``hf://org/repo@revision`` or a folder, of one network or of an ensemble; None is the bundled default.
        labels: Which of the weights' outputs to answer in (``"fer2013"``, ``"ferplus"``, ...), or class names (a
            LabelSet or a sequence), which must all be in the weights' default output: the rest is left out and the
            probabilities are renormalised. None is the weights' own default.
        runtime: ``"opencv"`` or ``"onnxruntime"``. Adopted networks (``ferkit.adopt``) that OpenCV cannot run have an engine of their own.
        tta: Test-time augmentation: None, ``"flip"``, ``"ten-crop"``, a number of views (10 is the ten-crop), or
            ``"random:10"`` for so many random views, ``"random:10:7"`` with another seed than 0.
        min_confidence: Abstain (label None, with a reason) below this probability, 0-1.
        providers: onnxruntime's execution providers in order of preference, such as ``["cuda", "cpu"]``; None is the CPU.
        threads: Of the engine; None is ``FERKIT_THREADS``, else the CPUs that this process is given. OpenCV's threads are
            those of the whole process.

    Examples:
        >>> import numpy as np
        >>> crops = np.zeros((2, 48, 48), np.uint8)
        >>> ExpressionClassifier("fer2013-n-v6").predict_proba(crops).shape
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
        self.tta, self._views = parse_tta(tta)
        self._min_confidence = checked_confidence(min_confidence)
        self.folder = folder = resolve(weights)
        self._spec = spec = load_classifier_spec(folder)
        self._engine = runtime
        self._committee: Committee[ExpressionClassifier] | None = None
        if isinstance(spec, EnsembleSpec):
            members, output = open_members(folder, spec, labels=labels, runtime=runtime, tta=tta, providers=providers, threads=threads)
            self._committee = Committee(members, weights=output.weights, combine=spec.combine, temperature=output.temperature)
            self._labels = self._committee.labels
        else:
            self.mix, self._labels = _mixing(spec, labels)
            if min_confidence is not None:
                need_classes(self._labels, spec.name, "min_confidence")
            self._open = _opener(folder, spec, runtime, providers=providers, threads=threads)
            self._runtime = self._open(read_verified(folder, spec, spec.network_file))
            self._described: Engine | None = None  # opened when features are first asked for
            self._opening = threading.Lock()

    def __repr__(self) -> str:
        labels = self.labels.classes if self.labels.name == CUSTOM else self.labels.name
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
        """Everything in the network's ``spec.json``. Raises WeightsError for an ensemble, whose ``members`` have one each."""
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
    def committee(self) -> Committee[ExpressionClassifier] | None:
        """How the members answer together, of an ensemble's name; None of one network."""
        return self._committee

    @property
    def crop(self) -> CropGeometry:
        """How these weights want a detected face to be cropped."""
        return self.spec.crop if self._committee is None else self._committee.crop

    @property
    def size(self) -> int:
        """The side of the network's input, of an ensemble's largest, pixels."""
        return self.spec.input["size"] if self._committee is None else self._committee.size

    @property
    def channels(self) -> int:
        """Of a prepared face: 1, grey, or 3, in color; an ensemble's where any of its networks sees colors."""
        return self.spec.channels if self._committee is None else self._committee.channels

    @property
    def columns(self) -> int:
        """How many raw outputs there are, of all networks together."""
        return self.spec.columns if self._committee is None else self._committee.columns

    def predict(self, crops: Crops) -> list[Expression]:
        """Classify face crops: one Expression each, an ensemble's with its disagreement. Arguments and errors as in ``predict_proba``."""
        return self._expressions(self.logits(crops))

    def predict_with_features(self, crops: Crops) -> tuple[list[Expression], NDArray[np.float32]]:
        """Return what ``predict`` and ``features`` do, for the price of one of them. Arguments and errors as theirs."""
        logits, features = self.logits_and_features(crops)
        return self._expressions(logits), features

    def _expressions(self, logits: NDArray[np.float32]) -> list[Expression]:
        answers = [self.expression(row) for row in self.probabilities(logits)]
        if self._committee is None:
            return answers
        return [replace(answer, disagreement=float(d)) for answer, d in zip(answers, self._committee.disagreement(logits), strict=True)]

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return calibrated class probabilities; of weights for several labels each label's own, of weights for values the values.

        Args:
            crops: uint8, 0-255, ``(n, H, W)`` grey or ``(n, H, W, 3)`` RGB of any size, or an iterable of such crops
                of different sizes, as arrays, tensors or PIL images. Square crops keep the face's shape; others are stretched.

        Returns:
            float32 ``(n, k)``; every row sums to 1 where ``labels.kind`` is ``"classes"``. An empty batch gives ``(0, k)``.

        Raises:
            InputError: Another shape or dtype, or one crop instead of several.
            WeightsError: The network answers with numbers that are not finite.
        """
        return self.probabilities(self.logits(crops))

    def logits(self, crops: Crops) -> NDArray[np.float32]:
        """Return the raw outputs for every view, float32 ``(views, n, columns)``, networks side by side. Arguments as above."""
        if self._committee is not None:
            return self._committee.logits(crops)
        faces = self.prepare(crops)
        return self._rows(faces, self._runtime) if len(faces) else np.zeros((len(self._views), 0, self.spec.columns), np.float32)

    def features(self, crops: Crops) -> NDArray[np.float32]:
        """Return what the network's last layer, which tells the labels apart, reads: faces alike in expression lie close together.

        Features compare by their directions (cosine similarity), of the same weights only. They come from any engine; the
        first call opens the network a second time.

        Args:
            crops: As in ``predict_proba``.

        Returns:
            float32 ``(n, d)``, the mean over the test-time views; an ensemble's are its members' side by side. An empty batch
            gives ``(0, d)``.

        Raises:
            InputError: As ``predict_proba``.
            WeightsError: The network does not end in a linear layer.

        Examples:
            >>> import numpy as np
            >>> crops = np.zeros((2, 48, 48), np.uint8)
            >>> ExpressionClassifier("fer2013-n-v6").features(crops).shape
            (2, 80)
        """
        return self.logits_and_features(crops)[1]

    def logits_and_features(self, crops: Crops) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what ``logits`` and ``features`` do, from one run of the network. Arguments and errors as theirs."""
        if self._committee is not None:
            return self._committee.logits_and_features(crops)
        faces = self.prepare(crops)
        columns, engine = self.spec.columns, self._features_engine()
        rows = self._rows(faces if len(faces) else np.zeros((1, *faces.shape[1:]), np.uint8), engine)[:, : len(faces)]
        return rows[:, :, :columns], rows[:, :, columns:].mean(axis=0)

    def _features_engine(self) -> Engine:
        with self._opening:
            if self._described is None:
                self._described = self._open(read_verified(self.folder, self.spec, self.spec.network_file), features=True)
            return self._described

    def _rows(self, faces: NDArray[np.uint8], engine: Engine) -> NDArray[np.float32]:
        """Run an engine on prepared faces, at least one, in every view: float32 ``(views, n, columns)``. Raises WeightsError."""
        return finite(np.stack([np.concatenate(list(self._batches(faces, engine, view))) for view in self._views]), self.name)

    def _batches(self, faces: NDArray[np.uint8], engine: Engine, view: View) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(faces), _BATCH):
            with native:
                rows = engine.run(self.normalise(seen(faces[start : start + _BATCH], view)))
            yield rows

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn raw outputs ``(views, n, columns)`` into probabilities ``(n, k)``: the mean over the views."""
        if self._committee is not None:
            return self._committee.probabilities(logits)
        scores = logits.astype(np.float64) @ self.mix
        if self._labels.kind != CLASSES:
            return np.asarray((scores if self._labels.kind == VALUES else sigmoid(scores)).mean(axis=0), np.float32)
        return np.asarray(softmax(scores).mean(axis=0), np.float32)

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        """Return crops as the network's squares, uint8 ``(n, size, size)``, or ``(n, size, size, 3)`` in color. Arguments as in predict_proba."""
        return squares(crops, self.size, self.channels)

    def normalise(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return prepared faces as the network takes them: their middle, scaled, float32 ``(n, channels, window, window)``."""
        seen = centre(faces, self.spec.window)
        seen = seen[..., None] if self.channels == 1 else seen[..., ::-1] if self.spec.input.get("order") == "bgr" else seen
        return np.ascontiguousarray(np.moveaxis(normalised(seen, self.spec.input), -1, 1))

    def expression(self, row: NDArray[np.float32], min_confidence: float | None = None) -> Expression:
        """Return one row of probabilities ``(k,)`` as an Expression, abstaining below ``min_confidence`` (by default the classifier's)."""
        return as_expression(row, self._labels, self._min_confidence if min_confidence is None else min_confidence)


def _opener(folder: Path, spec: WeightsSpec, runtime: str, **options: Any) -> Callable[..., Engine]:
    """Return what opens the bytes of a network, as it is or with its features beside its logits."""
    where = f"{folder / spec.network_file}"
    feeding = Feeding.of(spec.network) if spec.network else None
    if feeding is not None and feeding.suffix == ".onnx":
        options["runtime"] = runtime

    def opened(model: bytes, features: bool = False) -> Engine:
        if features:
            if feeding is not None and feeding.suffix != ".onnx":
                raise WeightsError(f"{where} gives no features; expected an ONNX network, from which ferkit reads them.")
            model = with_features(model if feeding is None or feeding.output is None else with_output(model, feeding.output, where), where)
        if feeding is None:
            return open_engine(runtime, model, **options)
        fed = replace(feeding, output=None) if features else feeding
        return open_fed(model, fed, where=where, columns=spec.columns, **options)

    return opened


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
        folders = [member_folder(folder, entry) for entry in spec.members]
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / SPEC_FILE} is not a whole ensemble: it lacks {error}.") from error
    return [ExpressionClassifier(member, labels=labels, **options) for member in folders], output


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
    part = LabelSet(CUSTOM, tuple(classes), kind=whole.kind)
    return replace(part, colours=tuple(whole.colours[column] for column in whole.columns(part)))


def _matrix(spec: WeightsSpec, output: Output, chosen: list[int]) -> NDArray[np.float64]:
    matrix = np.zeros((spec.columns, len(chosen)))
    for weight, columns in zip(output.weights, output.columns, strict=True):
        for k, label in enumerate(chosen):
            matrix[columns[label], k] += weight / output.temperature
    return matrix
