"""Models of other projects: a bare .onnx, .keras, .h5 or .tflite file, told how to feed it and what its outputs mean."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, Crops, Scale, normalised, squares
from ..engines.feeding import SUFFIXES, open_fed
from ..errors import InputError
from ..image_files import expanded
from ..labels import FER7, label_set
from ..logits import finite, softmax
from ..pickling import ByArguments
from .adopting import inspected

__all__ = ["SUFFIXES", "ModelFileClassifier"]

_BATCH = 32
_NEVER = -1e30  # for the logarithm of 0, as of a class that a network rules out


class ModelFileClassifier(ByArguments):
    """A network file as a classifier that ``evaluate`` measures. Nothing is guessed but what the file itself says.

    Args:
        path: A file ending in .onnx, .keras, .h5 or .tflite, with one picture input and one row of scores or probabilities out.
        labels: Class names in the order of its outputs; None is FER2013's order.
        input_size: Side of its square input, pixels; None reads it from the file.
        mean, std: The input is ``(pixel / 255 - mean) / std``.
        tta: None, or ``"flip"``.

    Raises:
        InputError: Another kind of file, an input that is not a grey or RGB square, a wrong number of outputs, unknown tta.
        WeightsError: The file cannot be read.
        MissingExtraError: Its engine is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        labels: Sequence[str] | None = None,
        input_size: int | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        tta: str | int | None = None,
    ) -> None:
        path = expanded(path)
        if tta not in (None, "none", "flip"):
            raise InputError(f"tta={tta!r} for a bare model file; expected None or 'flip'.")
        if not std > 0:
            raise InputError(f"std={std}; expected a number above 0.")
        self.name, self.tta, self.crop = path.name, tta or "none", CropGeometry()
        self.labels = FER7 if labels is None else label_set(labels)
        found = inspected(path, input_size=input_size)
        self._size, self._channels = found.size, found.channels
        # A network that takes bytes gets them as they are.
        self._input: Scale = {"mean": 0.0, "std": 1 / 255} if found.feeding.dtype == "uint8" else {"mean": mean, "std": std}
        self._run = open_fed(found.data, found.feeding, where=str(path)).run
        if found.columns != len(self.labels):
            raise InputError(
                f"{path} answers {found.columns} numbers for {len(self.labels)} labels; name them in order: labels=['a', 'b', 'c'].",
                arguments=["labels"],
            )

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        """Return crops as the network's squares, uint8 ``(n, size, size)`` or ``(n, size, size, 3)``. Raises InputError for what is none."""
        return squares(crops, self._size, self._channels)

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return probabilities, float32 ``(n, k)``: the network's own rows if they are such, else their softmax.

        Raises as ``prepare``, and WeightsError for answers that are not finite numbers.
        """
        faces = self.prepare(crops)
        faces = faces[..., None] if self._channels == 1 else faces
        views = [faces, faces[:, :, ::-1]] if self.tta == "flip" else [faces]
        rows = [[self._run(self._batch(view[i : i + _BATCH])) for i in range(0, len(view), _BATCH)] for view in views]
        if not len(faces):
            return np.zeros((0, len(self.labels)), np.float32)
        return np.asarray(np.mean([self._probabilities(np.concatenate(parts)) for parts in rows], axis=0), np.float32)

    def _batch(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ascontiguousarray(np.moveaxis(normalised(faces, self._input), -1, 1), np.float32)

    def _probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return _as_probabilities(finite(np.maximum(rows.astype(np.float64), _NEVER), self.name))


def _as_probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if (values >= 0).all() and np.abs(values.sum(axis=1) - 1).max() < 1e-3:
        return values
    return softmax(values)
